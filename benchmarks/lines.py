"""medshare and its peers on slow, long and lossy lines.

    python -m benchmarks.lines --runs 3 --output reports/lines.json --markdown reports/lines.md

For each line: what iperf3 gets out of it with one connection and with eight; how much of
that medshare makes of octets that nobody can compress; and real studies, with medshare and
with peers.  The receiver, and whatever server a tool needs, stand at the far end: the line
is crossed once.  See benchmarks/line.py for how the lines are made; where namespaces are
not permitted the program says so and measures nothing.

Lossy lines are measured with CUBIC, which most machines use, and with BBR, which some do:
BBR does not take every loss for congestion.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import inputs, tables
from benchmarks.carrying import READY_SECONDS, Wire
from benchmarks.floor import size_in_bytes
from benchmarks.hosts import Host, free_port, listens
from benchmarks.line import LINES, Line, laid, unavailable
from benchmarks.measure import MIB, Program, machine
from benchmarks.peers import Comparison, say
from benchmarks.tools.base import Tool
from benchmarks.tools.ours import Medshare
from benchmarks.tools.ssh import Rsync, RsyncZ, Scp
from benchmarks.tools.stores import RcloneCompress, Restic

TOOLS: Final[tuple[type[Tool], ...]] = (Medshare, Scp, Rsync, RsyncZ, RcloneCompress, Restic)
STREAMS: Final = (1, 8)
IPERF_SECONDS: Final = 10
FILL_SECONDS: Final = 30
LEAST_STUDY: Final = 1 * MIB  # as it is
MOST_STUDY: Final = 256 * MIB
_STUDY_SECONDS: Final = 8
_NOWHERE: Final = Path(os.devnull)


def iperf(near: Host, far: Host, streams: int, seconds: int) -> float:
    """Return the bits a second that iperf3 gets across with *streams* connections."""
    port = free_port()
    server = Program("iperf3", far.command(["iperf3", "-s", "-p", str(port)]), log=_NOWHERE)
    with server:
        deadline = time.monotonic() + READY_SECONDS
        while not listens(server.pid, port) and time.monotonic() < deadline:
            time.sleep(0.02)
        words = ["iperf3", "-c", far.address, "-p", str(port), "-t", str(seconds), "-J"]
        client = subprocess.run(
            near.command([*words, "-P", str(streams)]), check=True, capture_output=True, text=True
        )
    return float(json.loads(client.stdout)["end"]["sum_received"]["bits_per_second"])


def on_line(line: Line, congestion: str, given: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Return everything measured on one line."""
    with laid(line, congestion=congestion) as (near, far, wire):
        reached = {n: iperf(near, far, n, given.iperf_seconds) for n in STREAMS}
        say(f"{line.title}, {congestion}: iperf3 {_mbit(reached.values())} Mbit/s")
        report: dict[str, Any] = {
            "title": line.title,
            "congestion": congestion,
            "iperf3": {str(n): rate for n, rate in reached.items()},
            "inputs": {},
        }
        comparison = _ready(root, near, far, wire, given.tools)
        report["fill"] = _fill(comparison, max(reached.values()), given, root)
        for name, what in inputs.make(root, _studies(line, given)):
            if isinstance(what, str):
                comparison.skipped[name] = what
            else:
                report["inputs"][name] = comparison.run(what, given.runs)
        return {**report, "skipped": comparison.skipped}


def _mbit(rates: Any) -> str:
    return ", ".join(f"{rate / 1e6:.1f}" for rate in rates)


def _ready(root: Path, near: Host, far: Host, wire: Wire, names: str | None) -> Comparison:
    comparison = Comparison(root, near, far, wire)
    wanted = names.split(",") if names else [kind.name for kind in TOOLS]
    comparison.add([kind for kind in TOOLS if kind.name in wanted])
    return comparison


def _fill(
    comparison: Comparison, best: float, given: argparse.Namespace, root: Path
) -> dict[str, Any]:
    """Return how much of the line medshare fills with octets that nobody can compress."""
    (tool,) = (tool for tool in comparison.tools if isinstance(tool, Medshare))
    size = min(int(best / 8 * given.fill_seconds), given.most_fill)
    what = next(what for _, what in inputs.make(root, {"random": size}))
    if isinstance(what, str):
        raise TypeError(what)
    runs = [comparison.once(tool, what, thorough=False).as_json() for _ in range(given.runs)]
    rates = [8 * what.size / run["wall"] for run in runs]
    wired = [8 * run["wire_bytes"] / run["wall"] for run in runs]
    say(f"fill: {_mbit(rates)} of {best / 1e6:.1f} Mbit/s")
    what.path.unlink()
    return {"bytes": what.size, "bits_per_second": rates, "on_the_wire": wired, "runs": runs}


def _studies(line: Line, given: argparse.Namespace) -> dict[str, int]:
    """Return studies as large as the line carries in some seconds, within bounds."""
    wanted = int(line.bits_per_second / 8 * _STUDY_SECONDS)
    size = max(LEAST_STUDY, min(MOST_STUDY, wanted))
    return {name: size for name in given.inputs.split(",") if name}


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the report on all lines that were asked for."""
    report: dict[str, Any] = {"benchmark": "lines", "runs": given.runs, "before": machine()}
    report["lines"] = {}
    for line in LINES:
        if line.name not in given.lines.split(","):
            continue
        for congestion in given.congestion.split(",") if line.loss else [_default_congestion()]:
            root = folder / f"{line.name}-{congestion}"
            root.mkdir()
            name = f"{line.name}, {congestion}" if line.loss else line.name
            report["lines"][name] = on_line(line, congestion, given, root)
    report["after"] = machine()
    return report


def _default_congestion() -> str:
    return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text(encoding="ascii").strip()


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--lines", default=",".join(line.name for line in LINES))
    parser.add_argument("--congestion", default="cubic,bbr", help="on lossy lines")
    parser.add_argument("--inputs", default="ct,mr")
    parser.add_argument("--tools", help="names, with commas between (default: all)")
    parser.add_argument("--iperf-seconds", type=int, default=IPERF_SECONDS)
    parser.add_argument("--fill-seconds", type=int, default=FILL_SECONDS)
    parser.add_argument("--most-fill", type=size_in_bytes, default=1024 * MIB)
    parser.add_argument("--folder", type=Path, help="where to work (default: temporary)")
    parser.add_argument("--output", type=Path, help="the report (default: standard output)")
    parser.add_argument("--markdown", type=Path, help="the same as tables")
    return parser.parse_args(words)


def main() -> int:
    """Read the command line, measure, write the report."""
    given = arguments(sys.argv[1:])
    reason = unavailable()
    if reason:
        say(f"skipped: {reason}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and the namespaces go
    with tempfile.TemporaryDirectory(prefix="lines-", dir=given.folder) as temporary:
        report = measure(given, Path(temporary))
    text = json.dumps(report, indent=1)
    if given.output:
        given.output.write_text(text + os.linesep, encoding="utf-8")
    else:
        print(text)
    if given.markdown:
        given.markdown.write_text(tables.lines(report), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
