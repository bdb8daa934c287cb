"""Promises that are not about one speed: start, memory, many small files, rate limits.

    python -m benchmarks.budgets --output reports/budgets.json --markdown reports/budgets.md

Each line of the report is a budget, what was measured, and whether it holds.  With
`--large` memory is also taken with so many octets in one file.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import inputs
from benchmarks.carrying import Carrying, Costs, empty, warm
from benchmarks.floor import size_in_bytes
from benchmarks.hosts import HERE
from benchmarks.measure import MIB, Program, machine
from benchmarks.peers import say
from benchmarks.tables import table
from benchmarks.tools.ours import Medshare, command

STARTS: Final = 9
MOST_MEMORY: Final = 200
MANY: Final = 1.15
RATE: Final = 20


@dataclass(frozen=True, slots=True)
class Budget:
    """A promise, what was measured, and the unit of both."""

    name: str
    limit: float
    measured: float
    unit: str
    spread: tuple[float, float]

    @property
    def holds(self) -> bool:
        """Whether the promise is kept."""
        return self.measured <= self.limit


def budget(name: str, limit: float, unit: str, values: Sequence[float]) -> Budget:
    """Return the budget for which *values* were measured."""
    found = Budget(name, limit, statistics.median(values), unit, (min(values), max(values)))
    say(f"{name}: {found.measured:.2f} {unit} of {limit:g}")
    return found


class Stage:
    """Two hospitals and a relay, to send whatever is asked for."""

    def __init__(self, root: Path, warm_bytes: int, runs: int) -> None:
        self.root, self.runs, self._warm = root, runs, warm_bytes
        self.medshare = Medshare()
        place = root / "medshare"
        place.mkdir(mode=0o700)
        self.medshare.prepare(place, HERE, HERE)

    def send(self, source: Path, *options: str) -> Costs:
        """Send and receive *source* once."""
        self.medshare.options = options
        warm(self._warm)
        with Carrying(empty(self.root / "logs"), None) as trip:
            self.medshare.carry(trip, source, empty(self.root / "target"))
            costs = trip.finish()
        self.medshare.clean()
        empty(self.root / "target")
        return costs

    def made(self, name: str, make: Callable[[Path], Path]) -> Path:
        """Return an input made in a folder of its own."""
        return make(empty(self.root / "input") / name)


def starts(stage: Stage) -> Iterator[Budget]:
    """How long the smallest commands take."""
    words = command("--help")
    yield budget("medshare --help", 0.15, "s", _walls(words))
    source = stage.made("small.bin", lambda path: inputs.random_file(path, 100_000))
    store, a = empty(stage.root / "store"), stage.medshare.hospitals.a
    send = command("send", str(source), "--to", "b", "--new", "--folder", str(store), "-q")
    Program("send", send, env=a.environment, cwd=a.folder).wait()
    (parcel,) = (path for path in store.iterdir() if (path / "seal").exists())
    verify = command("verify", str(parcel), "-q")
    yield budget("medshare verify, small parcel", 0.35, "s", _walls(verify))


def _walls(words: Sequence[str]) -> list[float]:
    Program("once", words).wait()  # whoever comes first reads from disk
    return [Program("start", words).wait().wall for _ in range(STARTS)]


def memory(stage: Stage, large: int) -> Iterator[Budget]:
    """The largest of sender, receiver and relay, for one file and for many."""
    sizes = {"64 MiB": 64 * MIB, "1 GiB": 1024 * MIB}
    if large:
        sizes[f"{large / MIB / 1024:g} GiB"] = large
    for title, size in sizes.items():
        source = stage.made("one.bin", partial(inputs.random_file, size=size))
        yield _peaks(f"memory, one file of {title}", stage.send(source))
    source = stage.made("many", lambda path: inputs.random_files(path, 3000, 512 * 1024))
    yield _peaks("memory, 3,000 files of 512 KiB", stage.send(source))
    if (inputs.CORPUS / "ct_head").is_dir():
        study = inputs.CORPUS / "ct_head"
        source = stage.made("ct", lambda path: inputs.study(path, study, 512 * MIB))
        yield _peaks("memory, CT study of 512 MiB", stage.send(source))


def _peaks(name: str, costs: Costs) -> Budget:
    return budget(name, MOST_MEMORY, "MiB", [costs.peak_rss / MIB])


def small_files(stage: Stage) -> Iterator[Budget]:
    """Many files against the same octets in one."""
    for count, size in ((1000, 512 * 1024), (20_000, 10_000)):
        many = stage.made("many", partial(inputs.random_files, count=count, size=size))
        one = inputs.random_file(many.parent / "one.bin", count * size)
        ratios = []
        for _ in range(stage.runs):
            alone = stage.send(one).wall
            ratios.append(stage.send(many).wall / alone)
        yield budget(f"{count:,} files of {size:,} octets / one file", MANY, "times", ratios)


def rate_limit(stage: Stage) -> Iterator[Budget]:
    """How far from the rate that was asked for octets go out."""
    seconds = 12
    source = stage.made("rate.bin", lambda p: inputs.random_file(p, seconds * RATE * MIB))
    off = []
    for limit in (f"{RATE}M", f"00:00,{RATE}M;23:59,{RATE}M"):
        costs = stage.send(source, "--limit-rate", limit)
        sender = next(one for one in costs.processes if one.name == "sender")
        figures = json.loads(sender.output.splitlines()[-1])
        off.append(100 * abs(figures["wire_bytes"] / MIB / sender.wall / RATE - 1))
    yield budget(f"distance from --limit-rate {RATE}M", 10, "%", off)


def measure(given: argparse.Namespace, root: Path) -> list[Budget]:
    """Return all budgets that were asked for."""
    stage = Stage(root, given.warm, given.runs)
    groups = {
        "start": lambda: starts(stage),
        "memory": lambda: memory(stage, given.large),
        "files": lambda: small_files(stage),
        "rate": lambda: rate_limit(stage),
    }
    return [one for name in given.only.split(",") for one in groups[name]()]


def markdown(budgets: Sequence[Budget]) -> str:
    """Return the budgets as a table."""
    rows = [
        [
            one.name,
            f"≤ {one.limit:g} {one.unit}",
            f"{one.measured:.2f} ({one.spread[0]:.2f}–{one.spread[1]:.2f})",
            "yes" if one.holds else "**no**",
        ]
        for one in budgets
    ]
    return table(["", "budget", "measured", "holds"], rows) + "\n"


def main() -> int:
    """Read the command line, measure, write the report; return 1 when a budget does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="start,memory,files,rate")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--large", type=size_in_bytes, default=0, help="as in 6GiB")
    parser.add_argument("--warm", type=size_in_bytes, default=1024 * MIB)
    parser.add_argument("--folder", type=Path, help="where to work (default: temporary)")
    parser.add_argument("--output", type=Path, help="the report (default: standard output)")
    parser.add_argument("--markdown", type=Path, help="the same as a table")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="budgets-", dir=given.folder) as temporary:
        budgets = measure(given, Path(temporary))
    found = [{**asdict(one), "holds": one.holds} for one in budgets]
    text = json.dumps({"machine": machine(), "budgets": found}, indent=1)
    if given.output:
        given.output.write_text(text, encoding="utf-8")
    else:
        print(text)
    if given.markdown:
        given.markdown.write_text(markdown(budgets), encoding="utf-8")
    return 0 if all(one.holds for one in budgets) else 1


if __name__ == "__main__":
    sys.exit(main())
