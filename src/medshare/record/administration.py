"""The signed proposals and votes that lie beside a relay's record, and judging by them.

    audit/administration/<digest>    a charter, a proposal or a vote, as it was signed

Whoever copies the folder `audit` has all that an auditor needs.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from medshare.audit.administration import CONCERNED, Judgement, judge
from medshare.audit.entries import Act, Entry, Outcome, parse_entry
from medshare.disk.atomic import read_file
from medshare.errors import AuditError, MedshareError
from medshare.ids import StationId
from medshare.record.reader import RecordReader

EVIDENCE: Final = "administration"
MAX_EVIDENCE: Final = 1 << 22
_WORDS: Final = tuple(bytes([0x60 + len(act)]) + str(act).encode() for act in CONCERNED)


def judge_record(reader: RecordReader) -> Judgement:
    """Return whether every administrative act in the record had its quorum.

    Raises AuditError when an entry cannot be read.
    """
    folder = reader.folder / EVIDENCE

    def evidence(digest: bytes) -> bytes | None:
        path = folder / digest.hex()
        if not path.exists():
            return None
        return read_file(path, limit=MAX_EVIDENCE, what="evidence", follow=False)

    return judge(_concerned(reader), evidence)


def unrecorded(reader: RecordReader, enrolled: Iterable[StationId]) -> tuple[StationId, ...]:
    """Return those of the *enrolled* stations that, by the record, are not enrolled.

    Where old entries were pruned, a station that the rest does not mention may be in them.
    """
    allowed: dict[bytes, bool] = {}
    for entry in _concerned(reader):
        event = entry.event
        if event.act in {Act.ENROL, Act.REMOVE} and event.outcome is Outcome.DONE:
            allowed[event.object.id] = event.act is Act.ENROL
    unknown = reader.first > 0
    return tuple(sorted(one for one in enrolled if not allowed.get(bytes(one), unknown)))


def _concerned(reader: RecordReader) -> Iterator[Entry]:
    """Yield the first entry that is kept, and all whose octets hold the name of such an act."""
    first = True
    for place, batch in reader.batches():
        for number, data in enumerate(batch, place):
            if first or any(word in data for word in _WORDS):
                first = False
                try:
                    yield parse_entry(data)
                except MedshareError as error:
                    raise AuditError(
                        f"entry {number} cannot be read", code="audit.altered"
                    ) from error
