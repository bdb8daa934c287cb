"""What the record costs: one entry made durable, a whole record audited, one entry proved.

Prints one JSON object; run it as `python -m benchmarks.audit --entries 10000000`.  The
entries are those of sends with one recipient, some 225 octets each; a checkpoint is signed
with Ed25519 and ML-DSA-65 after every 1024.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medshare.audit.checkpoint import LogKeys
from medshare.audit.entries import Act, Detail, Event, parcel, station
from medshare.audit.proof import parse_proof, verified_proof
from medshare.ids import ParcelId, StationId
from medshare.record.index import Query, search
from medshare.record.log import AuditLog
from medshare.record.reader import RecordReader
from medshare.suites.base import Signer
from medshare.suites.signatures import signer_from_seed

ORIGIN = "medshare/log/benchmark"
SIGNERS: tuple[Signer, ...] = tuple(
    signer_from_seed(algorithm, bytes([number]) * 32)
    for number, algorithm in enumerate(("ed25519", "ml-dsa-65"))
)
KEYS = LogKeys(ORIGIN, (tuple(one.public for one in SIGNERS),))
SENDER, RECIPIENT = StationId(b"s" * 32), StationId(b"r" * 32)
PER_CHECKPOINT = 1024
SAMPLES = 200


def event(number: int) -> Event:
    """Return the entry of one send."""
    return Event(
        Act.SEND,
        station(SENDER),
        parcel(ParcelId(number.to_bytes(16))),
        tier="routine",
        parties=(RECIPIENT,),
        details={Detail.CHUNKS: 12, Detail.FILES: 240, Detail.OCTETS: 120_000_000},
    )


def run(entries: int, folder: Path) -> dict[str, Any]:
    """Make a record of *entries* entries in *folder*; return what each part of its life costs."""
    log = AuditLog(folder)
    figures: dict[str, Any] = {"entries": entries}
    figures["fill_seconds"] = seconds(lambda: fill(log, entries))
    figures["octets"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    figures["audit_seconds"] = seconds(lambda: audit(folder, entries))
    figures["audit_peak_rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    figures["prove_ms"] = each(lambda number: prove(folder, number), entries)
    figures["verify_proof_ms"] = proofs(folder, entries)
    figures["open_and_record_ms"] = each(lambda number: AuditLog(folder).record(event(number)), 20)
    figures["record_ms"] = each(lambda number: log.record(event(number)), SAMPLES)
    figures["checkpoint_ms"] = each(lambda number: checkpoint(log, number), 20)
    return figures


def fill(log: AuditLog, entries: int) -> None:
    """Append that many entries, and sign after every 1024."""
    for begin in range(0, entries, PER_CHECKPOINT):
        count = min(PER_CHECKPOINT, entries - begin)
        log.record_all([event(number) for number in range(begin, begin + count)])
        log.checkpoint(ORIGIN, SIGNERS)


def audit(folder: Path, entries: int) -> None:
    """Check all of it; raise RuntimeError when that is not what was made."""
    found = RecordReader(folder).audit(KEYS)
    if found.findings or found.report.size != entries or found.report.unsigned:
        raise RuntimeError("the audit found another record than was made")


def prove(folder: Path, number: int) -> bytes:
    """Return the proof of one entry, by a reader that knows nothing yet."""
    return RecordReader(folder).prove(number).encode()


def proofs(folder: Path, entries: int) -> dict[str, float]:
    """Return what it costs to check a proof."""
    data = prove(folder, entries // 3)
    return each(lambda _: verified_proof(parse_proof(data), KEYS), SAMPLES)


def checkpoint(log: AuditLog, number: int) -> None:
    """Append one entry and sign."""
    log.record(event(number))
    log.checkpoint(ORIGIN, SIGNERS)


def index(folder: Path) -> dict[str, float]:
    """Return what it costs to index the record, and to find the entries of one parcel then."""
    query = Query(names=(bytes(ParcelId((7).to_bytes(16))),))
    first = seconds(lambda: list(search(RecordReader(folder), query)))
    return {
        "build_seconds": first,
        "search_ms": each(lambda _: list(search(RecordReader(folder), query)), 20)["median"],
    }


def seconds(action: Callable[[], object]) -> float:
    """Return how long *action* takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def each(action: Callable[[int], object], entries: int) -> dict[str, float]:
    """Return milliseconds for one call of *action*, over numbers spread over *entries*."""
    numbers = [at * entries // SAMPLES for at in range(min(SAMPLES, entries))]
    times = sorted(1000 * seconds(lambda number=number: action(number)) for number in numbers)  # type: ignore[misc]  # bound at once
    return {"median": times[len(times) // 2], "worst": times[-1]}


def main() -> None:
    """Read the command line, measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--index", action="store_true", help="measure the search index as well")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        figures = run(arguments.entries, Path(folder) / "audit")
        if arguments.index:
            figures["index"] = index(Path(folder) / "audit")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
