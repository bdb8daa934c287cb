"""Kills this process, with SIGKILL, before its n-th call that changes the disk or the network.

Installed in a process of its own that runs real code; nothing in the product knows of it.
Calls are those of the operating system that Python makes: journal and file writes, fsync,
renames, links, folders, sends and receives; those that go through C (renameat2, syncfs,
fallocate); the statements of SQLite; and the events of ASGI, where HTTP is spoken in Rust.
"""

import os
import signal
import socket
import sqlite3
import threading
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final

from medshare.disk import syscalls
from medshare.relay.guard import Application, Message, Receive, Scope, Send

FILE_CALLS: Final = (
    "write", "pwrite", "writev", "fsync", "fdatasync", "ftruncate", "rename", "replace", "link",
    "unlink", "mkdir", "rmdir", "utime",
)  # fmt: skip
SOCKET_CALLS: Final = ("connect", "send", "sendall", "recv", "recv_into")
C_CALLS: Final = frozenset({"renameat2", "syncfs", "fallocate"})
EXIT: Final = "exit"
"""The last moment: everything is done, and whoever asked has not been told."""
Point = int | str | None
"""Before which call to die: its number, or the first of that name; None is never."""
_write = os.write


class Faults:
    """Counts the calls of this process, and ends it before *last*."""

    def __init__(self, last: Point) -> None:
        self.calls: Counter[str] = Counter()
        self._last = last
        self._seen = 0
        self._lock = threading.Lock()

    def tick(self, name: str) -> None:
        """Count one call; the process does not live to make the last one."""
        with self._lock:
            self._seen += 1
            self.calls[name] += 1
            if self._last in {self._seen, name}:
                os.kill(os.getpid(), signal.SIGKILL)

    def install(self, *, sockets: bool = True) -> None:
        """Count every call from now on; without *sockets* where those only wake an event loop."""
        for name in FILE_CALLS:
            self._wrap(os, name, f"os.{name}")
        for name in SOCKET_CALLS if sockets else ():
            self._wrap(socket.socket, name, f"socket.{name}")
        self._wrap_open()
        self._wrap_c()
        self._wrap_sqlite()

    def _wrap(self, owner: Any, name: str, label: str) -> None:
        original = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.tick(label)
            return original(*args, **kwargs)

        setattr(owner, name, counted)

    def _wrap_open(self) -> None:
        original = os.open

        def counted(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if flags & os.O_CREAT:
                self.tick("os.open")
            return original(path, flags, *args, **kwargs)

        os.open = counted

    def _wrap_c(self) -> None:
        original = syscalls._call

        def counted(name: str, *arguments: object) -> bool:
            if name in C_CALLS:
                self.tick(name)
            return original(name, *arguments)

        syscalls._call = counted

    def _wrap_sqlite(self) -> None:
        tick = self.tick

        class Counted(sqlite3.Connection):
            """A connection whose statements count, also between the last and its COMMIT."""

            def execute(self, statement: str, *args: Any) -> sqlite3.Cursor:
                if not statement.startswith("SELECT"):
                    tick("sqlite")
                return super().execute(statement, *args)

        original = sqlite3.connect

        def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            return original(*args, factory=Counted, **kwargs)

        sqlite3.connect = connect  # type: ignore[assignment]  # a narrower signature will do


def counting(application: Application, faults: Faults, requests: Path) -> Application:
    """Return *application* with its events counted, and its requests noted in a file."""
    log = os.open(requests, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        line = f"{scope['method']} {scope['path']}\n"
        _write(log, line.encode())

        async def counted_receive() -> Message:
            faults.tick("asgi.receive")
            return await receive()

        def counted_send(message: Message) -> Awaitable[None]:
            faults.tick("asgi.send")
            return send(message)

        await application(scope, counted_receive, counted_send)

    return call
