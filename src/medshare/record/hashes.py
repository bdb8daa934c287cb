"""The noted hashes of a record: of each leaf, and of each complete subtree of 2^8, 2^16 and 2^24.

    hashes-0, hashes-8, hashes-16, hashes-24      32 octets each, in order

They follow from the entries and are never the claim that something is recorded: they are
written after the entries are durable, and made again where a crash took them.  That they
were noted when the entries were written makes them a witness when entries are changed.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from medshare.audit.merkle import BLOCK_LEVEL, HASH_SIZE, block_root
from medshare.disk.atomic import storage_errors, write_all
from medshare.disk.syscalls import sync_data

LEVELS: Final = (0, 8, 16, 24)
_BLOCK: Final = 1 << BLOCK_LEVEL
_MISSING: Final = bytes(HASH_SIZE)
"""What a crash may leave in the place of a hash: a hole."""
_WHAT: Final = "the hashes of the record"
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class HashFiles:
    """The noted hashes in *folder*; read by anybody, written by who holds the record's lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, level: int) -> Path:
        return self._folder / f"hashes-{level}"

    def count(self, level: int = 0) -> int:
        """Return how many hashes of *level* are noted."""
        try:
            return self._path(level).stat().st_size // HASH_SIZE
        except FileNotFoundError:
            return 0

    def read(self, level: int, index: int, count: int) -> bytes:
        """Return *count* hashes from *index* on, fewer where there are fewer."""
        with storage_errors(f"read {_WHAT}"):
            try:
                file = os.open(self._path(level), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return b""
            try:
                found = os.pread(file, count * HASH_SIZE, index * HASH_SIZE)
            finally:
                os.close(file)
        return found[: len(found) // HASH_SIZE * HASH_SIZE]

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree; it is a `merkle.Nodes`.

        Raises IndexError when the record is not so long.
        """
        kept = max(one for one in LEVELS if one <= level)
        below = level - kept
        while True:
            wanted = 1 << below
            found = _split(self.read(kept, index << below, wanted))
            if len(found) == wanted and _MISSING not in found:
                return block_root(found)
            if kept == 0:
                raise IndexError("the record has no such subtree")
            kept -= BLOCK_LEVEL
            below += BLOCK_LEVEL

    def write(self, index: int, leaves: Sequence[bytes]) -> None:
        """Note *leaves* from *index* on, and the subtrees that they complete."""
        self._write(0, index, leaves)
        for level in LEVELS[1:]:
            done, complete = index >> level, (index + len(leaves)) >> level
            if done == complete:
                return
            below = level - BLOCK_LEVEL
            made = [
                block_root(_split(self.read(below, one << BLOCK_LEVEL, _BLOCK)))
                for one in range(done, complete)
            ]
            self._write(level, done, made)

    def _write(self, level: int, index: int, hashes: Sequence[bytes]) -> None:
        with storage_errors(f"write {_WHAT}"):
            file = os.open(self._path(level), _FLAGS, 0o600)
            try:
                os.lseek(file, index * HASH_SIZE, os.SEEK_SET)
                write_all(file, b"".join(hashes))
            finally:
                os.close(file)

    def sync(self) -> None:
        """Make all of them durable."""
        with storage_errors(f"write {_WHAT}"):
            for level in LEVELS:
                if self._path(level).exists():
                    file = os.open(self._path(level), _FLAGS, 0o600)
                    try:
                        sync_data(file)
                    finally:
                        os.close(file)


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]
