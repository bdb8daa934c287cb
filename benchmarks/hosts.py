"""Where programs run: this machine, or a namespace of it that has a network of its own."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_INSIDE: Final = "MEDSHARE_BENCH_ISOLATED"
_LOOPBACK_UP: Final = 'ip link set lo up && exec "$@"'


@dataclass(frozen=True, slots=True)
class Host:
    """A place to start programs: its address, and the words that start a program there."""

    name: str
    address: str
    prefix: tuple[str, ...] = ()

    def command(self, words: Sequence[str | Path]) -> list[str]:
        """Return *words* as a command that runs on this host."""
        return [*self.prefix, *map(str, words)]

    def octets(self, interface: str = "lo") -> int:
        """Octets that have entered this host through *interface*, headers included."""
        line = [*self.prefix, "cat", "/proc/net/dev"]
        text = subprocess.run(line, check=True, capture_output=True, text=True).stdout
        return received(text, interface)


HERE: Final = Host("here", "127.0.0.1")


def received(text: str, interface: str) -> int:
    """Return the octets received through *interface*, as /proc/net/dev has them."""
    for line in text.splitlines():
        name, colon, figures = line.strip().partition(":")
        if colon and name == interface:
            return int(figures.split()[0])
    raise KeyError(interface)


def is_isolated() -> bool:
    """Tell whether the loopback interface of this process is its own."""
    return _INSIDE in os.environ


def isolated(module: str, arguments: Sequence[str]) -> int | None:
    """Run `python -m module` again where the loopback interface is its own; return its exit code.

    Returns None when that has happened already, or is not permitted: then octets on the
    wire cannot be told from those of other programs.
    """
    if is_isolated() or shutil.which("unshare") is None:
        return None
    unshare = ["unshare", "--net", "--", "sh", "-c", _LOOPBACK_UP, "sh"]
    probe = subprocess.run([*unshare, "true"], check=False, capture_output=True)
    if probe.returncode != 0:
        print("namespaces are not permitted: octets on the wire are not counted", file=sys.stderr)
        return None
    command = [*unshare, sys.executable, "-m", module, *arguments]
    return subprocess.run(command, check=False, env={**os.environ, _INSIDE: "1"}).returncode


def free_port() -> int:
    """Return a port of the loopback interface that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def listens(pid: int, port: int) -> bool:
    """Tell whether somebody listens on *port* in the network of process *pid* (Linux)."""
    wanted, listening = f":{port:04X}", "0A"
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        rows = (line.split() for line in lines)
        if any(row[1].endswith(wanted) and row[3] == listening for row in rows):
            return True
    return False
