"""A disk that loses, when the power goes, what was not made durable.

`recorded` watches real code change a folder and keeps every change in order.  `Disk` replays
the beginning of such a history and then lets the power go: what a later fsync covered is
there; of the rest, as much as the case says survives, or a random part of it.

What counts as durable (POSIX, and what journaling file systems add):

- octets and length of a file: after fsync or fdatasync of it, or syncfs;
- a name in a folder, or its removal: after fsync of the folder, or syncfs;
- a rename: after fsync of the folder that it leads to; it happens altogether or not at all.
"""

import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from medshare.disk import syscalls

TORN: Final = 512
"""Octets of a write that a disk makes altogether or not at all."""
ROOT: Final = 0


@dataclass(frozen=True)
class Op:
    """One change; which fields it uses follows from its kind."""

    kind: str
    node: int = -1
    folder: int = -1
    name: str = ""
    source: int = -1
    old_name: str = ""
    offset: int = 0
    octets: bytes = b""
    size: int = 0
    mode: int = 0
    what: object = None


@dataclass
class History:
    """All changes below one folder, in order."""

    root: Path
    ops: list[Op] = field(default_factory=list)
    _nodes: dict[tuple[int, int], int] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(ROOT + 1))
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._nodes[_key(self.root.stat())] = ROOT
        self._adopt(self.root, ROOT)
        self.ops.append(Op("syncfs"))
        self.begun = len(self.ops)

    def _adopt(self, folder: Path, number: int) -> None:
        """Take what is there at the beginning as made and durable."""
        for path in sorted(folder.iterdir()):
            status = path.lstat()
            node = self._new(status)
            kind = "mkdir" if path.is_dir() else "create"
            self.ops.append(Op(kind, node, number, path.name, mode=status.st_mode & 0o7777))
            if path.is_dir():
                self._adopt(path, node)
            else:
                self.ops.append(Op("write", node, octets=path.read_bytes()))

    def claim(self, what: object) -> None:
        """Note that something was said to the world at this moment."""
        with self._lock:
            self.ops.append(Op("claim", what=what))

    # --- finding what a call is about -------------------------------------------------------

    def _new(self, status: os.stat_result) -> int:
        number = next(self._numbers)
        self._nodes[_key(status)] = number  # the system may give the number of a dead file again
        return number

    def _open(self, file: int) -> int | None:
        return self._nodes.get(_key(os.fstat(file)))

    def _place(self, path: Any, dir_fd: int | None) -> tuple[int, str] | None:
        """Return the folder and the name that *path* means, if it lies below the root."""
        text = os.fspath(path)
        text = os.fsdecode(text)
        parent, name = os.path.split(text)
        with suppress(OSError):
            status = os.stat(parent or ".", dir_fd=dir_fd) if parent or dir_fd is None else None
            status = status or os.fstat(dir_fd or 0)
            folder = self._nodes.get(_key(status))
            if folder is not None:
                return folder, name
        return None

    # --- the calls --------------------------------------------------------------------------

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        """Watch the calls of the operating system that change a folder."""
        hooks: dict[str, Callable[..., Any]] = {
            "open": self._on_open,
            "mkdir": self._on_mkdir,
            "write": self._on_write,
            "writev": self._on_write,
            "pwrite": self._on_pwrite,
            "ftruncate": self._on_truncate,
            "rename": self._on_rename,
            "replace": self._on_rename,
            "unlink": self._on_remove,
            "rmdir": self._on_remove,
            "fsync": self._on_sync,
            "fdatasync": self._on_sync,
        }
        for name, hook in hooks.items():
            patch.setattr(os, name, self._around(getattr(os, name), hook))
        original = syscalls._call

        def call(name: str, *arguments: Any) -> bool:
            with self._lock:
                return self._on_c(name, original, *arguments)

        patch.setattr(syscalls, "_call", call)

    def _around(self, original: Any, hook: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                return hook(original, *args, **kwargs)

        return call

    def _on_open(
        self, original: Any, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        there = True
        if flags & os.O_CREAT:
            try:
                os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
            except OSError:
                there = False
        file = int(original(path, flags, mode, dir_fd=dir_fd))
        if not there and (place := self._place(path, dir_fd)):
            status = os.fstat(file)
            node = self._new(status)
            self.ops.append(Op("create", node, *place, mode=status.st_mode & 0o7777))
        return file

    def _on_mkdir(
        self, original: Any, path: Any, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> None:
        original(path, mode, dir_fd=dir_fd)
        if place := self._place(path, dir_fd):
            status = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
            node = self._new(status)
            self.ops.append(Op("mkdir", node, *place, mode=status.st_mode & 0o7777))

    def _on_write(self, original: Any, file: int, data: Any) -> int:
        node = self._open(file)
        if node is None:
            return int(original(file, data))
        offset = os.lseek(file, 0, os.SEEK_CUR)
        written = int(original(file, data))
        whole = b"".join(map(bytes, data)) if isinstance(data, list | tuple) else bytes(data)
        self.ops.append(Op("write", node, offset=offset, octets=whole[:written]))
        return written

    def _on_pwrite(self, original: Any, file: int, data: Any, offset: int) -> int:
        written = int(original(file, data, offset))
        if (node := self._open(file)) is not None:
            self.ops.append(Op("write", node, offset=offset, octets=bytes(data)[:written]))
        return written

    def _on_truncate(self, original: Any, file: int, size: int) -> None:
        original(file, size)
        if (node := self._open(file)) is not None:
            self.ops.append(Op("size", node, size=size))

    def _on_rename(
        self,
        original: Any,
        source: Any,
        target: Any,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
    ) -> None:
        before, after = self._place(source, src_dir_fd), self._place(target, dst_dir_fd)
        original(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if before and after:
            self.ops.append(
                Op("rename", folder=after[0], name=after[1], source=before[0], old_name=before[1])
            )

    def _on_remove(self, original: Any, path: Any, *, dir_fd: int | None = None) -> None:
        place = self._place(path, dir_fd)
        original(path, dir_fd=dir_fd)
        if place:
            self.ops.append(Op("remove", folder=place[0], name=place[1]))

    def _on_sync(self, original: Any, file: int) -> None:
        original(file)
        if (node := self._open(file)) is not None:
            self.ops.append(Op("sync", node))

    def _on_c(self, name: str, original: Any, *arguments: Any) -> bool:
        before = after = None
        if name == "renameat2":
            before = self._place(arguments[1], arguments[0])
            after = self._place(arguments[3], arguments[2])
        done = bool(original(name, *arguments))
        if done and before and after:
            self.ops.append(
                Op("rename", folder=after[0], name=after[1], source=before[0], old_name=before[1])
            )
        elif done and name == "syncfs" and self._open(arguments[0]) is not None:
            self.ops.append(Op("syncfs"))
        elif done and name == "fallocate" and (node := self._open(arguments[0])) is not None:
            self.ops.append(Op("size", node, size=int(arguments[3].value)))
        return done


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


@contextmanager
def recorded(root: Path) -> Iterator[History]:
    """Watch every change below *root* until the block ends."""
    history = History(root)
    with pytest.MonkeyPatch.context() as patch:
        history.patch(patch)
        yield history


# --- losing the power -------------------------------------------------------------------------

Survives = Callable[[Op], bool]
"""Whether a change that nobody made durable is there all the same."""


def nothing(_: Op) -> bool:
    """Lose all that was not made durable."""
    return False


def everything(_: Op) -> bool:
    """Lose nothing, as when the process alone was killed."""
    return True


def names_alone(op: Op) -> bool:
    """Keep names and lengths, and lose the octets: delayed allocation."""
    return op.kind != "write"


def but_octets_of(nodes: set[int], op: Op) -> bool:
    """Keep names, lengths and the octets of *nodes*; lose all other octets."""
    return op.kind != "write" or op.node in nodes


def octets_alone(op: Op) -> bool:
    """Keep octets, and lose names."""
    return op.kind in {"write", "size"}


def some(dice: random.Random) -> Survives:
    """Keep each change by chance."""
    return lambda _: dice.random() < 0.5


def durable(ops: list[Op]) -> list[bool]:
    """Return for each of *ops* whether a later one made it durable."""
    covered = [False] * len(ops)
    synced: set[int] = set()
    all_synced = False
    for at in range(len(ops) - 1, -1, -1):
        op = ops[at]
        if op.kind == "sync":
            synced.add(op.node)
        elif op.kind == "syncfs":
            all_synced = True
        place = op.node if op.kind in {"write", "size"} else op.folder
        covered[at] = all_synced or place in synced
    return covered


@dataclass
class Node:
    """A file or a folder of the replayed disk."""

    mode: int
    octets: bytearray = field(default_factory=bytearray)
    names: dict[str, int] | None = None


class Disk:
    """What is on the disk after the power went at the end of *ops*."""

    def __init__(self, ops: list[Op], survives: Survives, dice: random.Random) -> None:
        self._nodes = {ROOT: Node(0o700, names={})}
        self._dice = dice
        for op, safe in zip(ops, durable(ops), strict=True):
            if safe:
                self._do(op)
            elif survives(op):
                self._do(self._torn(op))

    def _torn(self, op: Op) -> Op:
        """Return *op*, of a write perhaps a part of its sectors only."""
        if op.kind != "write" or self._dice.random() < 0.7:
            return op
        end = self._dice.randrange(0, len(op.octets) + 1, TORN)
        return Op("write", op.node, offset=op.offset, octets=op.octets[:end])

    def _do(self, op: Op) -> None:
        match op.kind:
            case "create" | "mkdir":
                names: dict[str, int] | None = {} if op.kind == "mkdir" else None
                self._nodes.setdefault(op.node, Node(op.mode, names=names))
                self._names(op.folder)[op.name] = op.node
            case "write":
                octets = self._file(op.node)
                octets.extend(bytes(max(0, op.offset - len(octets))))
                octets[op.offset : op.offset + len(op.octets)] = op.octets
            case "size":
                octets = self._file(op.node)
                del octets[op.size :]
                octets.extend(bytes(op.size - len(octets)))
            case "rename":
                node = self._names(op.source).pop(op.old_name, None)
                if node is not None:
                    self._names(op.folder)[op.name] = node
            case "remove":
                self._names(op.folder).pop(op.name, None)

    def _names(self, folder: int) -> dict[str, int]:
        node = self._nodes.setdefault(folder, Node(0o700, names={}))
        if node.names is None:
            node.names = {}
        return node.names

    def _file(self, number: int) -> bytearray:
        return self._nodes.setdefault(number, Node(0o600)).octets

    def write(self, root: Path) -> None:
        """Let the real folder *root* hold what this disk holds, and nothing else."""
        shutil.rmtree(root, ignore_errors=True)
        self._write(ROOT, root)

    def _write(self, number: int, path: Path) -> None:
        node = self._nodes[number]
        if node.names is None:
            path.write_bytes(node.octets)
        else:
            path.mkdir()
            for name, child in node.names.items():
                self._write(child, path / name)
        path.chmod(node.mode)
