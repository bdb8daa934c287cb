"""A slow, long or lossy line between two hosts, made of network namespaces on one machine.

Each end is a namespace with a TUN device.  `tbf` limits the rate where octets enter the
line, a forwarder here carries packets across after their delay (the kernel's own emulator,
netem, is often missing), and iptables drops some at the far end, in both directions alike.
Nothing leaves the machine, and nothing stays when the line is closed.

On lossless lines packets cross in the bundles of up to 64 KiB that the kernel makes where a
network card would cut them (segmentation offload): a gigabit a second would otherwise be
more packets than Python can carry.
"""

import ctypes
import fcntl
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.carrying import Wire
from benchmarks.floor import ROOT
from benchmarks.hosts import Host

DEVICE: Final = "line0"
_NETWORK: Final = "10.77.0"
_NETNS: Final = Path("/run/netns")
_CLONE_NEWNET: Final = 0x40000000
_TUNSETIFF: Final = 0x400454CA
_TUNSETOFFLOAD: Final = 0x400454D0
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000
_CHECKSUM_AND_TSO: Final = 0x01 | 0x02 | 0x04
_LARGEST: Final = 65536 + 64
_QUEUE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Line:
    """What a line is like; the delay is there and back, loss is the share in each direction."""

    name: str
    bits_per_second: int
    round_trip: float
    loss: float = 0.0

    @property
    def title(self) -> str:
        """The line in words."""
        rate = self.bits_per_second / 1e6
        words = f"{rate:g} Mbit/s, {self.round_trip * 1000:g} ms there and back"
        return f"{words}, {self.loss:.1%} lost" if self.loss else words


LINES: Final = (
    Line("slow", 20_000_000, 0.040),
    Line("lossy", 100_000_000, 0.080, 0.005),
    Line("fast", 1_000_000_000, 0.010),
)


def unavailable() -> str | None:
    """Return why there can be no lines here, or None."""
    missing = [name for name in ("ip", "tc", "iptables", "iperf3") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    name = f"msbench{os.getpid()}p"
    probe = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True)
    if probe.returncode != 0:
        return "network namespaces are not permitted"
    _run("ip", "netns", "del", name)
    return None if Path("/dev/net/tun").exists() else "there is no /dev/net/tun"


@contextmanager
def laid(line: Line, *, congestion: str) -> Iterator[tuple[Host, Host, Wire]]:
    """Give the near and the far host, and the wire between them, while the block runs."""
    names = [f"msbench{os.getpid()}{end}" for end in "ab"]
    ends = [_host(name, number) for number, name in enumerate(names, start=1)]
    made: list[str] = []
    forwarder: subprocess.Popen[str] | None = None
    try:
        for name in names:
            _run("ip", "netns", "add", name)
            made.append(name)
        forwarder = _forwarder(line, names)
        for end, other in zip(ends, reversed(ends), strict=True):
            _set_up(line, end, other, congestion)
        yield ends[0], ends[1], Wire(ends[0], DEVICE, ends[1])
    finally:
        if forwarder is not None:
            forwarder.terminate()
            forwarder.wait()
        for name in made:
            _run("ip", "netns", "del", name)


def _host(name: str, number: int) -> Host:
    return Host(name, f"{_NETWORK}.{number}", ("ip", "netns", "exec", name))


def _run(*words: str) -> None:
    subprocess.run(words, check=True)


def _set_up(line: Line, end: Host, other: Host, congestion: str) -> None:
    """Give one end its address, its rate and its losses."""
    inside = end.prefix
    address = [f"{end.address}/32", "peer", other.address, "dev", DEVICE]
    _run(*inside, "ip", "link", "set", "lo", "up")
    _run(*inside, "ip", "address", "add", *address)
    _run(*inside, "ip", "link", "set", DEVICE, "up", "txqueuelen", "10000")
    route = [other.address, "dev", DEVICE, "src", end.address, "congctl", congestion]
    _run(*inside, "ip", "route", "replace", *route)
    bucket = max(16 * 1024, line.bits_per_second // 8 // 500)
    rate = ["rate", f"{line.bits_per_second}bit", "burst", f"{bucket}b"]
    limit = bucket + int(line.bits_per_second / 8 * _QUEUE_SECONDS)
    queue = ["tc", "qdisc", "add", "dev", DEVICE, "root", "tbf", *rate, "limit", f"{limit}b"]
    _run(*inside, *queue)
    if line.loss:
        some = ["-m", "statistic", "--mode", "random", "--probability", str(line.loss)]
        _run(*inside, "iptables", "-A", "INPUT", "-i", DEVICE, *some, "-j", "DROP")


def _forwarder(line: Line, names: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.line", *names, str(line.round_trip / 2)]
    command.append("whole" if line.loss == 0 else "cut")
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if process.stdout is None or process.stdout.readline() != "ready\n":
        raise RuntimeError("the forwarder of the line did not start")
    return process


# --- the forwarder, in a process of its own -----------------------------------------------


def open_tun(namespace: str, *, bundles: bool) -> int:
    """Return a TUN device in *namespace*, which this process then is in."""
    with (_NETNS / namespace).open("rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter namespace {namespace}")
    device = os.open("/dev/net/tun", os.O_RDWR)
    flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), flags))
    if bundles:
        fcntl.ioctl(device, _TUNSETOFFLOAD, _CHECKSUM_AND_TSO)
    return device


def carry(source: int, target: int, delay: float) -> None:
    """Write to *target* what comes from *source*, each packet *delay* seconds later, for ever."""
    under_way: deque[tuple[float, bytes]] = deque()
    os.set_blocking(source, False)
    while True:
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            with suppress(OSError):  # the other end may not be up yet
                os.write(target, under_way.popleft()[1])
        patience = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        if not select.select([source], [], [], patience)[0]:
            continue
        due = time.monotonic() + delay
        try:
            for _ in range(64):
                under_way.append((due, os.read(source, _LARGEST)))
        except BlockingIOError:
            continue


def forward(near: str, far: str, delay: float, *, bundles: bool) -> None:
    """Carry packets both ways between two namespaces until told to end."""
    first = open_tun(near, bundles=bundles)
    second = open_tun(far, bundles=bundles)
    print("ready", flush=True)
    child = os.fork()
    try:
        carry(*((first, second) if child else (second, first)), delay)
    finally:
        if child:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    forward(sys.argv[1], sys.argv[2], float(sys.argv[3]), bundles=sys.argv[4] == "whole")
