"""Octets on their way into a file: hashed once as they pass, never half under their name.

The order is the promise: temporary file in the same folder, all octets, checks by the
caller, `keep`: fsync, rename, fsync of the folder.  Whatever fails before the rename leaves
nothing behind but a temporary file, which `discard` or the next start removes.
"""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from medshare.digest import Digest
from medshare.disk.atomic import (
    CREATE_FLAGS,
    FOLDER_FLAGS,
    READ_FLAGS,
    TEMPORARY_PREFIX,
    TEMPORARY_SUFFIX,
    WRITE_STEP,
    sync_folder,
)
from medshare.disk.syscalls import allocate
from medshare.relay.settings import BATCH
from medshare.suites import hasher_named
from medshare.suites.base import Buffer, Hasher, Suite

_HEAD: Final = 64
_RESERVED_FROM: Final = 1 << 20


class Passing:
    """*size* octets that pass by in pieces.

    The suite's hash covers all octets but the last *tail*; the hash called *whole* covers all
    of them.  Where that is the suite's own, both come from one pass.
    """

    def __init__(self, size: int, suite: Suite, *, tail: int = 0, whole: str = "blake3") -> None:
        self.size = size
        self.head = b""
        """The first octets, at least a chunk's header."""
        self.tail = b""
        self._left = max(0, size - tail)
        self._whole: Hasher = hasher_named(whole)
        self._part: Hasher = suite.hasher()
        self._one_pass = type(self._part) is type(self._whole)

    def take(self, piece: Buffer) -> None:
        """Take the next octets."""
        view = memoryview(piece)
        if len(self.head) < _HEAD:
            self.head += view[: _HEAD - len(self.head)]
        before, behind = view[: self._left], view[self._left :]
        self._left -= len(before)
        if before:
            self._whole.update(before)
            if not self._one_pass:
                self._part.update(before)
        if behind:
            self._close_part()
            self.tail += behind
            self._whole.update(behind)

    def _close_part(self) -> None:
        if self._one_pass:
            self._part, self._one_pass = self._whole.copy(), False

    @property
    def whole_digest(self) -> bytes:
        """The digest of all octets."""
        return self._whole.digest()

    @property
    def digest(self) -> Digest:
        """The suite's digest of all octets but the last *tail*."""
        self._close_part()
        return Digest(self._part.digest())


class Incoming:
    """A file of *size* octets that is being written in *folder*; see the module's text."""

    def __init__(
        self, folder: Path, size: int, suite: Suite, *, tail: int = 0, whole: str = "blake3"
    ) -> None:
        self.passing = Passing(size, suite, tail=tail, whole=whole)
        self._folder = os.open(folder, FOLDER_FLAGS)
        self._name = f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
        try:
            self._file = os.open(self._name, CREATE_FLAGS, 0o600, dir_fd=self._folder)
        except BaseException:
            os.close(self._folder)
            raise
        if size >= _RESERVED_FROM:
            self._reserve(size)

    def _reserve(self, size: int) -> None:
        """Take the room on the disk at once: writing costs less, and a full disk is noticed."""
        try:
            allocate(self._file, size)
        except BaseException:
            self.discard()
            raise

    def write(self, pieces: Sequence[bytes]) -> None:
        """Take the next octets; raise OSError when the disk does not."""
        for piece in pieces:
            self.passing.take(piece)
        _write_pieces(self._file, pieces)

    def keep(self, name: str) -> None:
        """Let the octets be durable under *name*, in place of what was there; raise OSError."""
        os.fsync(self._file)
        os.replace(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._name = ""
        sync_folder(self._folder)

    def discard(self) -> None:
        """Give everything back; what was not kept is gone.  Harmless when called again."""
        if self._folder < 0:
            return
        folder, self._folder = self._folder, -1
        try:
            os.close(self._file)
            if self._name:
                os.unlink(self._name, dir_fd=folder)
        except FileNotFoundError:
            pass  # the parcel was removed meanwhile
        finally:
            os.close(folder)


def _at_once(pieces: Sequence[memoryview]) -> list[memoryview]:
    """Return the first of *pieces*, together no more than `WRITE_STEP`."""
    room, first = WRITE_STEP, []
    for piece in pieces:
        if room <= 0:
            break
        first.append(piece[:room])
        room -= len(piece)
    return first


def read_back(path: Path, suite: Suite, *, tail: int = 0) -> Passing | None:
    """Return what a stored file holds, None when it is not there; raise OSError otherwise."""
    try:
        file = os.open(path, READ_FLAGS | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        passing = Passing(os.fstat(file).st_size, suite, tail=tail)
        while piece := os.read(file, BATCH):
            passing.take(piece)
    finally:
        os.close(file)
    return passing


def _write_pieces(file: int, pieces: Sequence[bytes]) -> None:
    left = [memoryview(piece) for piece in pieces]
    while left:
        written = os.writev(file, _at_once(left))
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]
