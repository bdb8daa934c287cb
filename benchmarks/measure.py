"""Run programs and say what they cost; describe the machine they ran on.

CPU seconds are those that the kernel counted for a program and for the children it waited
for (`wait4`), so that what a server forks for a connection is counted as well.  Peak memory
comes from `ru_maxrss`, which Linux starts at what the parent held when it started the
program: a measuring program must itself stay small.
"""

import importlib.metadata
import os
import platform
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

MIB = 1024 * 1024
PATIENCE = 15.0
"""Seconds that a program has to end once it is told to."""
LIBRARIES = (
    "medshare",
    "blake3",
    "cbor2",
    "cryptography",
    "granian",
    "httpx",
    "numpy",
    "zstandard",
)


@dataclass(frozen=True, slots=True)
class Usage:
    """What one program and the processes it waited for have cost."""

    name: str
    returncode: int
    wall: float
    """Seconds from start to end."""
    user: float
    """CPU seconds in the program."""
    system: float
    """CPU seconds in the kernel on its behalf."""
    peak_rss: int
    """Octets of memory at the worst moment, of the largest process."""
    output: str
    """What it wrote to its standard output."""

    @property
    def cpu(self) -> float:
        """CPU seconds together."""
        return self.user + self.system

    def as_json(self) -> dict[str, Any]:
        """Return the figures, without the output."""
        figures = asdict(self)
        del figures["output"]
        return {**figures, "cpu": self.cpu}


class Program:
    """A program that runs now; its costs are known once it has ended.

    As a context manager it ends the program (SIGTERM) on the way out.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        log: Path | None = None,
    ) -> None:
        """Start it; with *log*, all that it says goes there, and `output` stays empty."""
        self.name = name
        self._usage: Usage | None = None
        self._lock = threading.Lock()
        self._started = time.perf_counter()
        with ExitStack() as files:
            said = files.enter_context(log.open("ab")) if log else None
            self._popen = subprocess.Popen(
                [str(part) for part in command],
                env=env,
                cwd=cwd,
                pass_fds=pass_fds,
                stdin=subprocess.DEVNULL,
                stdout=said or subprocess.PIPE,
                stderr=said,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def spent(self) -> float:
        """CPU seconds so far, of the program and the children it has waited for (Linux)."""
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace")
        fields = stat.rpartition(")")[2].split()
        ticks = sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
        return ticks / os.sysconf("SC_CLK_TCK")

    def children(self) -> list[int]:
        """The processes that it has started and not yet waited for (Linux)."""
        found: list[int] = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text(encoding="ascii").split())
        return found

    def wait(self) -> Usage:
        """Return the costs once the program has ended of its own accord."""
        with self._lock:
            if self._usage is None:
                self._usage = self._reap()
            return self._usage

    def stop(self) -> Usage:
        """Ask the program to end, wait until it has, and return its costs; insist after a while."""
        if self._usage is not None:
            return self._usage
        # Not by way of Popen, which would wait for one that has ended, and lose what it cost.
        os.kill(self.pid, signal.SIGTERM)
        insist = threading.Timer(PATIENCE, os.kill, (self.pid, signal.SIGKILL))
        insist.start()
        try:
            return self.wait()
        finally:
            insist.cancel()

    def _reap(self) -> Usage:
        pipe = self._popen.stdout
        output = pipe.read() if pipe else b""
        _, status, used = os.wait4(self._popen.pid, 0)
        wall = time.perf_counter() - self._started
        if pipe:
            pipe.close()
        self._popen.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait as well
        return Usage(
            name=self.name,
            returncode=self._popen.returncode,
            wall=wall,
            user=used.ru_utime,
            system=used.ru_stime,
            peak_rss=used.ru_maxrss * (1 if platform.system() == "Darwin" else 1024),
            output=output.decode(errors="replace"),
        )


def wait_for_all(programs: Sequence[Program]) -> list[Usage]:
    """Return the costs of programs that run side by side, in their order.

    Raises:
        RuntimeError: one of them failed.
    """
    with ThreadPoolExecutor(len(programs)) as pool:
        usages = list(pool.map(Program.wait, programs))
    failed = [f"{one.name} ended with {one.returncode}" for one in usages if one.returncode]
    if failed:
        raise RuntimeError("; ".join(failed))
    return usages


def machine() -> dict[str, Any]:
    """Return what a reader needs to judge the figures: processor, memory, versions."""
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "load": os.getloadavg()[0],
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    """The first `model name` of /proc/cpuinfo, or what the platform module knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
