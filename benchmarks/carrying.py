"""One input carried once by one tool: its servers, its programs, and what all of it cost."""

import os
import shutil
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks.hosts import Host, listens
from benchmarks.measure import Program, Usage, wait_for_all

READY_SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 2.0
COUNTED: Final = ("wall", "cpu", "user", "system", "wire_bytes", "peak_rss")


@dataclass(frozen=True, slots=True)
class Costs:
    """What one carrying cost; servers count from the start of the clock, not their own start."""

    wall: float
    """Seconds from the start of the first program to the end of the last."""
    cpu: float
    """CPU seconds of all processes at both ends and between."""
    user: float
    system: float
    wire_bytes: int | None
    """Octets on the network, headers and both directions included; None when not countable."""
    peak_rss: int
    """Octets of memory of the largest process at its worst moment."""
    processes: tuple[Usage, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the figures, each process apart."""
        figures = {name: getattr(self, name) for name in COUNTED}
        return {**figures, "processes": [one.as_json() for one in self.processes]}


@dataclass(frozen=True, slots=True)
class Wire:
    """An interface whose octets count as those on the wire."""

    host: Host
    interface: str = "lo"
    both_ways: Host | None = None
    """The host at the other end, where an interface counts one direction alone."""

    def octets(self) -> int:
        """Octets so far."""
        other = self.both_ways.octets(self.interface) if self.both_ways else 0
        return self.host.octets(self.interface) + other


class Carrying:
    """Starts servers before the clock and programs after it; stops and counts them all.

    `serve` as often as needed, `begin`, then `run` or `start` and `join`; leaving the block
    stops what still runs.
    """

    def __init__(self, logs: Path, wire: Wire | None) -> None:
        self._logs = logs
        self._wire = wire
        self._servers: list[Program] = []
        self._programs: list[Program] = []
        self._before: dict[str, float] = {}
        self._octets = 0
        self._begun = self._ended = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for program in (*self._programs, *self._servers):
            program.stop()

    def serve(
        self,
        name: str,
        command: Sequence[str | Path],
        host: Host,
        *,
        port: int,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Program:
        """Start a server, and return once it listens on *port*."""
        log = self._logs / f"{name}.log"
        program = Program(name, host.command(command), env=env, cwd=cwd, log=log)
        self._servers.append(program)
        deadline = time.monotonic() + READY_SECONDS
        while not listens(program.pid, port):
            if time.monotonic() > deadline or _has_ended(program):
                raise TimeoutError(f"{name} did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.01)
        return program

    def begin(self) -> None:
        """Start the clock."""
        time.sleep(0.1)  # a server that listens may still be busy with its start
        self._before = {program.name: program.spent() for program in self._servers}
        self._octets = self._wire.octets() if self._wire else 0
        self._begun = time.perf_counter()

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        host: Host,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log: bool = True,
    ) -> Program:
        """Start a program of the tool; *log* keeps what it says out of the way."""
        path = self._logs / f"{name}.log" if log else None
        program = Program(name, host.command(command), env=env, cwd=cwd, log=path)
        self._programs.append(program)
        return program

    def adopt(self, programs: Iterable[Program]) -> None:
        """Count programs that were started otherwise."""
        self._programs += programs

    def run(self, name: str, command: Sequence[str | Path], host: Host, **more: Any) -> Usage:
        """Start a program and wait for it; raise RuntimeError with what it said if it fails."""
        self.start(name, command, host, **more)
        return self.join()[-1]

    def join(self) -> list[Usage]:
        """Wait for all programs started so far; raise RuntimeError if one failed."""
        try:
            usages = wait_for_all(self._programs)
        except RuntimeError as error:
            texts = {p.name: self._logs / f"{p.name}.log" for p in self._programs}
            said = [f"{n}: {t.read_text(errors='replace')}" for n, t in texts.items() if t.exists()]
            raise RuntimeError("\n".join([str(error), *said])) from error
        self._ended = time.perf_counter()
        return usages

    def finish(self) -> Costs:
        """Stop the servers; return what all has cost."""
        octets = self._wire.octets() - self._octets if self._wire else None
        for server in self._servers:
            _settle(server)
        served = [server.stop() for server in self._servers]
        usages = [program.wait() for program in self._programs]
        early = sum(self._before.values())
        every = (*usages, *served)
        return Costs(
            wall=self._ended - self._begun,
            cpu=sum(one.cpu for one in every) - early,
            user=sum(one.user for one in every) - early,  # starting is user time for the most part
            system=sum(one.system for one in every),
            wire_bytes=octets,
            peak_rss=max(one.peak_rss for one in every),
            processes=every,
        )


def _has_ended(program: Program) -> bool:
    try:
        return (
            Path(f"/proc/{program.pid}/stat").read_text(errors="replace").split(") ")[1][0] == "Z"
        )
    except (OSError, IndexError):
        return True


def _settle(server: Program) -> None:
    """Let a server wait for the children that served finished connections, so that they count."""
    deadline = time.monotonic() + SETTLE_SECONDS
    with suppress(OSError):
        while server.children() and time.monotonic() < deadline:
            time.sleep(0.01)


def medians(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure over *runs*, and its least and greatest value."""
    found: dict[str, Any] = {}
    for name in COUNTED:
        values = [run[name] for run in runs if run[name] is not None]
        if values:
            found[name] = statistics.median(values)
            found[f"{name}_spread"] = [min(values), max(values)]
    return found


def empty(folder: Path) -> Path:
    """Return *folder*, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def warm(octets: int) -> None:
    """Take and give back *octets* of memory, and let earlier writes reach the disk.

    In a virtual machine the first touch of a page is a request to the host, which costs up to
    two CPU seconds a GiB; whoever runs after somebody else has freed memory is spared it.
    """
    os.sync()
    block = bytes(1 << 20)
    path = Path("/dev/shm") / f"warm-{os.getpid()}"
    if not path.parent.is_dir():
        return
    try:
        with path.open("wb") as file:
            for _ in range(octets >> 20):
                file.write(block)
    finally:
        path.unlink(missing_ok=True)
