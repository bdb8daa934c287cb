"""Everything that medshare does with one input, beside the bare floor in the same minutes.

    python -m benchmarks.bench --size 1GiB --runs 5 > reports/bench.json

Each round runs every step once: the bare floor with one leg and through a bare relay; a
whole transfer through a relay with TLS, send and receive at the same time; sealing into a
folder, keyless verification of it, `b3sum` over the same octets, and opening.  Steps are
whole commands, with start, imports, signatures, journal and fsync.  What counts are the
ratios to the floor of the same round: the machine is noisy, and its speed drifts.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks import inputs
from benchmarks.carrying import Carrying, Costs, empty, medians, warm
from benchmarks.floor import size_in_bytes
from benchmarks.hosts import HERE
from benchmarks.measure import MIB, cores, machine
from benchmarks.peers import say
from benchmarks.tools.bare import BareRelay, Floor
from benchmarks.tools.base import Tool, found
from benchmarks.tools.ours import Medshare, command

STEPS: Final = ("transfer", "seal", "verify", "open")


class Bench:
    """One input in one folder, and the tools that carry it."""

    def __init__(self, root: Path, size: int, warm_bytes: int) -> None:
        self.root, self._warm = root, warm_bytes
        self.source = inputs.random_file(root / "random.bin", size)
        self.tools: dict[str, Tool] = {"floor": Floor(), "relay_floor": BareRelay()}
        self._medshare = Medshare()
        self.tools["transfer"] = self._medshare
        for name, tool in self.tools.items():
            place = root / name
            place.mkdir(mode=0o700)
            tool.prepare(place, HERE, HERE)

    def round(self) -> Iterator[tuple[str, Costs]]:
        """Yield each step and what it cost."""
        for name, tool in self.tools.items():
            with self._trip() as trip:
                tool.carry(trip, self.source, empty(self.root / "target"))
                yield name, trip.finish()
            tool.clean()
        yield from self._folder()

    def _trip(self) -> Carrying:
        warm(self._warm)
        return Carrying(empty(self.root / "logs"), None)

    def _folder(self) -> Iterator[tuple[str, Costs]]:
        """Seal into a folder, verify and open what is there."""
        store, out = empty(self.root / "store"), empty(self.root / "target")
        a, b = self._medshare.hospitals.a, self._medshare.hospitals.b
        seal = ["send", str(self.source), "--to", "b", "--new", "--folder", str(store)]
        yield "seal", self._step(command(*seal, "--json", "-q"), a.environment, a.folder)
        (parcel,) = (path for path in store.iterdir() if (path / "seal").exists())
        verify = command("verify", str(parcel), "--json", "-q")
        yield "verify", self._step(verify, b.environment, b.folder)
        if found("b3sum"):
            chunks = sorted(str(path) for path in (parcel / "chunks").iterdir())
            words = ["b3sum", "--no-names", "--num-threads", str(cores()), *chunks]
            yield "b3sum", self._step(words, None, self.root)
        opening = ["receive", "--folder", str(store), "--output", str(out), "--json", "-q"]
        yield "open", self._step(command(*opening), b.environment, b.folder)
        empty(store), empty(out)

    def _step(self, words: list[str], env: Mapping[str, str] | None, cwd: Path) -> Costs:
        with ExitStack() as stack:
            trip = stack.enter_context(self._trip())
            trip.begin()
            trip.run(Path(words[0]).name, words, HERE, env=env, cwd=cwd, log=False)
            return trip.finish()


def run(root: Path, size: int, runs: int, warm_bytes: int) -> dict[str, Any]:
    """Return every run of every step, their medians, and the ratios."""
    bench = Bench(root, size, warm_bytes)
    rounds: list[dict[str, Any]] = []
    for turn in range(runs):
        costs: dict[str, Any] = {}
        for name, cost in bench.round():
            costs[name] = cost.as_json()
            say(f"{turn + 1}/{runs} {name}: {cost.wall:.2f} s, {cost.cpu:.2f} CPU s")
        rounds.append(costs)
    return {
        "benchmark": "bench",
        "size": size,
        "ratios": ratios(rounds),
        "medians": {name: medians([costs[name] for costs in rounds]) for name in rounds[0]},
        "rounds": rounds,
    }


def ratios(rounds: list[dict[str, Any]]) -> dict[str, float]:
    """Return what each step costs as a multiple of the floor: medians over the rounds."""
    found: dict[str, float] = {}
    for name in STEPS:
        for figure in ("wall", "cpu"):
            values = [costs[name][figure] / costs["floor"][figure] for costs in rounds]
            found[f"{name} {figure} / floor"] = statistics.median(values)
    for figure in ("wall", "cpu"):
        values = [costs["transfer"][figure] / costs["relay_floor"][figure] for costs in rounds]
        found[f"transfer {figure} / floor through a relay"] = statistics.median(values)
    if all("b3sum" in costs for costs in rounds):
        values = [costs["verify"]["wall"] / costs["b3sum"]["wall"] for costs in rounds]
        found["verify wall / b3sum"] = statistics.median(values)
    return found


def main() -> None:
    """Read the command line, run, and print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=size_in_bytes, default=1024 * MIB, help="as in 1GiB")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--warm", type=size_in_bytes, default=2048 * MIB)
    parser.add_argument("--folder", type=Path, help="where to work (default: temporary)")
    given = parser.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=given.folder) as temporary:
        figures = run(Path(temporary), given.size, given.runs, given.warm)
    json.dump({"before": before, "after": machine(), **figures}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
