"""medshare and its peers, in one run, on the same inputs, on loopback.

    python -m benchmarks.peers --runs 5 --output reports/peers.json --markdown reports/peers.md

Rounds are interleaved: every tool once, in an order that turns from round to round, then
every tool again.  Before each trip earlier writes reach the disk, the source is read once,
and memory is taken and given back, so that all find the same caches.  After the first
trip of a tool what arrived is compared octet by octet, after the others by names and
sizes.  Where namespaces are permitted all of this happens in one that has a loopback
interface of its own, so that octets on the wire can be counted for every tool alike.

Peers come from Debian (`apt-get install openssh-server rsync rclone restic age`) and from
PyPI, in a virtual environment that MEDSHARE_BENCH_PEERS names (`pip install
magic-wormhole magic-wormhole-mailbox-server magic-wormhole-transit-relay crypt4gh`).  What
is not installed is skipped, and the report says so.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import inputs, tables
from benchmarks.carrying import Carrying, Costs, Wire, empty, medians, warm
from benchmarks.floor import size_in_bytes
from benchmarks.hosts import HERE, Host, is_isolated, isolated
from benchmarks.inputs import Input
from benchmarks.measure import MIB, machine
from benchmarks.tools.bare import BareRelay, Floor
from benchmarks.tools.base import Tool
from benchmarks.tools.ours import Medshare, MedshareFolder
from benchmarks.tools.ssh import Age, Crypt4gh, Rsync, RsyncZ, Scp
from benchmarks.tools.stores import Rclone, RcloneCompress, Restic
from benchmarks.tools.wormhole import Wormhole, WormholeRelay

TOOLS: Final[tuple[type[Tool], ...]] = (
    Floor,
    BareRelay,
    Medshare,
    MedshareFolder,
    Scp,
    Rsync,
    RsyncZ,
    Age,
    Crypt4gh,
    Rclone,
    RcloneCompress,
    Wormhole,
    WormholeRelay,
    Restic,
)
SIZES: Final = {
    "random": 1024 * MIB,
    "ct": 256 * MIB,  # four heads
    "mr": 128 * MIB,  # three heads
    "slices": 500 * MIB,  # a thousand of 512 KiB
}


@dataclass(slots=True)
class Comparison:
    """Tools that are ready, between two hosts, and what they cost so far."""

    root: Path
    near: Host
    far: Host
    wire: Wire | None
    warm_bytes: int = 0
    tools: list[Tool] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, kinds: Sequence[type[Tool]]) -> None:
        """Get tools ready; those that cannot run are noted, and said on stderr."""
        for kind in kinds:
            tool = kind()
            reason = tool.absent()
            if reason is None:
                place = self.root / f"tool-{len(self.tools)}"
                place.mkdir(mode=0o700)
                tool.prepare(place, self.near, self.far)
                self.tools.append(tool)
            else:
                self.skipped[tool.name] = reason
                say(f"skipped {tool.name}: {reason}")

    def once(self, tool: Tool, what: Input, *, thorough: bool) -> Costs:
        """Carry *what* once; raise RuntimeError when something else arrived."""
        target, logs = empty(self.root / "target"), empty(self.root / "logs")
        warm(self.warm_bytes)
        block = bytearray(4 * MIB)
        for file in inputs.files_below(what.path):
            _read(file, block)
        with Carrying(logs, self.wire) as trip:
            tool.carry(trip, what.path, target)
            costs = trip.finish()
        _compare(what, target / what.path.name, thorough=thorough)
        tool.clean()
        empty(target)
        return costs

    def run(self, what: Input, runs: int) -> dict[str, Any]:
        """Return every run of every tool with *what*, interleaved, and the medians."""
        tools = [tool for tool in self.tools if tool.takes(what.path)]
        found: dict[str, list[dict[str, Any]]] = {tool.name: [] for tool in tools}
        for turn in range(runs):
            at = turn % len(tools)
            for tool in tools[at:] + tools[:at]:
                costs = self.once(tool, what, thorough=turn == 0)
                found[tool.name].append(costs.as_json())
                say(f"{what.name} {turn + 1}/{runs} {tool.name}: {costs.wall:.2f} s, "
                    f"{costs.cpu:.2f} CPU s, {(costs.wire_bytes or 0) / MIB:.1f} MiB")  # fmt: skip
        return {
            "title": what.title,
            "files": what.files,
            "bytes": what.size,
            "tools": {
                tool.name: {
                    "way": tool.way,
                    "legs": tool.legs if self.near == self.far else 1,
                    "seals": tool.seals,
                    "median": medians(found[tool.name]),
                    "runs": found[tool.name],
                }
                for tool in tools
            },
        }


def _read(file: Path, block: bytearray) -> None:
    with file.open("rb", buffering=0) as stream:
        while stream.readinto(block):
            pass


def _compare(what: Input, arrived: Path, *, thorough: bool) -> None:
    """Raise RuntimeError unless *arrived* is what was sent."""
    got = inputs.measured(what.name, what.title, arrived)
    same = (got.files, got.size) == (what.files, what.size)
    if same and thorough:
        same = inputs.digest(arrived) == inputs.digest(what.path)
    if not same:
        raise RuntimeError(f"{got.files} files of {got.size} octets arrived, and not what was sent")


def say(line: str) -> None:
    """Tell a person how far it is."""
    print(line, file=sys.stderr, flush=True)


def chosen(names: str | None) -> list[type[Tool]]:
    """Return the tools of that names, all of them without *names*.

    Semicolons stand between them where one of them has a comma.
    """
    if names is None:
        return list(TOOLS)
    wanted = [name.strip() for name in names.split(";" if ";" in names else ",")]
    unknown = set(wanted) - {kind.name for kind in TOOLS}
    if unknown:
        raise SystemExit(f"unknown tools: {', '.join(sorted(unknown))}")
    return [kind for kind in TOOLS if kind.name in wanted]


def sizes(text: str | None) -> dict[str, int]:
    """Return inputs and their sizes: all, or those of `random=64MiB,ct=1MiB`."""
    if text is None:
        return dict(SIZES)
    pairs = (part.partition("=") for part in text.split(","))
    return {name: size_in_bytes(size) if size else SIZES[name] for name, _, size in pairs}


def compare(given: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Run everything that was asked for and return the report."""
    wire = Wire(HERE) if is_isolated() else None
    comparison = Comparison(root, HERE, HERE, wire, given.warm)
    comparison.add(chosen(given.tools))
    report: dict[str, Any] = {"benchmark": "peers", "runs": given.runs, "before": machine()}
    report["inputs"], report["skipped"] = {}, comparison.skipped
    for name, what in inputs.make(root, sizes(given.inputs)):
        if isinstance(what, str):
            say(f"skipped {name}: {what}")
            report["skipped"][name] = what
        else:
            report["inputs"][name] = comparison.run(what, given.runs)
    report["after"] = machine()
    return report


def main() -> int:
    """Read the command line, measure, write the report."""
    again = isolated("benchmarks.peers", sys.argv[1:])
    if again is not None:
        return again
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--inputs", help="as in random=64MiB,ct,mr,slices (default: all)")
    parser.add_argument("--tools", help="names, with commas or semicolons between")
    parser.add_argument("--warm", type=size_in_bytes, default=3 * 1024 * MIB)
    parser.add_argument("--folder", type=Path, help="where to work (default: temporary)")
    parser.add_argument("--output", type=Path, help="the report (default: standard output)")
    parser.add_argument("--markdown", type=Path, help="the same as tables")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="peers-", dir=given.folder) as temporary:
        report = compare(given, Path(temporary))
    text = json.dumps(report, indent=1)
    if given.output:
        given.output.write_text(text, encoding="utf-8")
    else:
        print(text)
    if given.markdown:
        given.markdown.write_text(tables.peers(report), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
