"""The files that hold the entries of a record.

    entries-<number of the first entry, 12 digits>            the one that is written to
    archive/entries-<number of the first entry, 12 digits>    those that are full, read-only

    file  = "MSA1" ‖ 0 0 0 0 ‖ number of the first entry u64 ‖ frames
    frame = length u16 ‖ the first four octets of the leaf hash ‖ entry

Integers are big-endian.  The four octets tell a frame that a crash tore off from one that
was changed; they protect from nobody.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare.audit.entries import MAX_ENTRY
from medshare.audit.merkle import leaf_hash
from medshare.disk.atomic import fsync_folder, make_folder, read_file, storage_errors, write_file
from medshare.errors import AuditError

ARCHIVE: Final = "archive"
MAX_SEGMENT: Final = 1024 * 1024
"""Octets after which a segment is closed: an entry is found by reading one of them."""
MAX_SPAN: Final = 90 * 86400
"""Seconds after which a segment is closed."""
MAX_BATCH: Final = 1 << 20
"""Octets that are appended at once, so that a segment may be longer by so much."""
HEAD_SIZE: Final = 16
CHECK_SIZE: Final = 4
_FRAME_HEAD: Final = 2 + CHECK_SIZE
_MAGIC: Final = b"MSA1\x00\x00\x00\x00"
_PREFIX, _DIGITS = "entries-", 12
_LIMIT: Final = MAX_SEGMENT + MAX_BATCH
_WHAT: Final = "the record"


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of entries, and the number of the first."""

    folder: Path
    first: int

    @property
    def path(self) -> Path:
        """Where it lies while it is written to."""
        return self.folder / f"{_PREFIX}{self.first:0{_DIGITS}d}"

    @property
    def archived(self) -> Path:
        """Where it lies once it is full."""
        return self.folder / ARCHIVE / self.path.name

    def begin(self) -> None:
        """Let the file exist, without entries."""
        private_folder(self.folder)
        write_file(self.path, _MAGIC + self.first.to_bytes(8), what=_WHAT)

    def read(self) -> "Content":
        """Return what it holds; raise AuditError when it is no segment, or another one."""
        return Content.of(self.first, self._octets())

    def _octets(self) -> bytes:
        path = self.path if self.path.exists() else self.archived
        data = read_file(path, limit=_LIMIT, what=_WHAT, follow=False)
        if data[:HEAD_SIZE] != _MAGIC + self.first.to_bytes(8):
            raise AuditError(
                f"the file of the record that begins with entry {self.first} is damaged",
                code="audit.altered",
            )
        return data

    def entry(self, number: int) -> bytes | None:
        """Return entry *number*, or None when it is not here; raise as `read` does."""
        data = self._octets()
        at, left, last = HEAD_SIZE, number - self.first, len(data) - _FRAME_HEAD
        while left and at <= last:
            at += _FRAME_HEAD + (data[at] << 8 | data[at + 1])
            left -= 1
        if at > last:
            return None
        stop = at + _FRAME_HEAD + (data[at] << 8 | data[at + 1])
        return data[at + _FRAME_HEAD : stop] if stop <= len(data) else None

    def archive(self) -> None:
        """Move it, read-only, to those that are full."""
        private_folder(self.folder / ARCHIVE)
        with storage_errors("archive a part of the record"):
            self.path.chmod(stat.S_IRUSR)
            self.path.rename(self.archived)
        fsync_folder(self.folder / ARCHIVE)
        fsync_folder(self.folder)

    def remove(self) -> None:
        """Delete it from those that are full."""
        with storage_errors("remove an old part of the record"):
            self.archived.unlink()
        fsync_folder(self.folder / ARCHIVE)


@dataclass(frozen=True, slots=True)
class Content:
    """The frames of a segment that are there in full, and the octets of the whole file."""

    first: int
    entries: list[bytes]
    ends: list[int]
    data: bytes

    @classmethod
    def of(cls, first: int, data: bytes) -> "Content":
        """Return the frames in *data*."""
        entries: list[bytes] = []
        ends: list[int] = []
        at, size = HEAD_SIZE, len(data)
        while at + _FRAME_HEAD <= size:
            length = data[at] << 8 | data[at + 1]
            stop = at + _FRAME_HEAD + length
            if stop > size or not 0 < length <= MAX_ENTRY:
                break
            entries.append(data[at + _FRAME_HEAD : stop])
            ends.append(stop)
            at = stop
        return cls(first, entries, ends, data)

    @property
    def number(self) -> int:
        """The number of the entry that comes next."""
        return self.first + len(self.entries)

    @property
    def end(self) -> int:
        """Where the last whole frame ends; what follows is torn."""
        return self.ends[-1] if self.ends else HEAD_SIZE

    def until(self, number: int) -> "Content":
        """Return the same without entry *number* and those after it."""
        count = number - self.first
        return Content(self.first, self.entries[:count], self.ends[:count], self.data)

    def first_torn(self, start: int) -> int | None:
        """Return the first entry from *start* on that is not what was written, or None."""
        for number in range(max(start, self.first), self.number):
            at = number - self.first
            entry, end = self.entries[at], self.ends[at] - len(self.entries[at])
            if self.data[end - CHECK_SIZE : end] != leaf_hash(entry)[:CHECK_SIZE]:
                return number
        return None


def private_folder(path: Path) -> None:
    """Let the folder *path* exist, for its owner alone whatever the umask."""
    if not path.is_dir():
        make_folder(path)
        with storage_errors("make a folder private"):
            path.chmod(stat.S_IRWXU)


def frame(entry: bytes, leaf: bytes) -> bytes:
    """Return *entry*, whose leaf hash is *leaf*, as it lies in a segment."""
    return len(entry).to_bytes(2) + leaf[:CHECK_SIZE] + entry


def segments_in(folder: Path) -> list[Segment]:
    """Return the segments of the record in *folder*, in their order."""
    numbers = {*_numbers(folder), *_numbers(folder / ARCHIVE)}
    return [Segment(folder, first) for first in sorted(numbers)]


def unarchived_in(folder: Path) -> list[Segment]:
    """Return those that are not among the full ones: one, but after a crash perhaps two."""
    return [Segment(folder, first) for first in sorted(_numbers(folder))]


def _numbers(place: Path) -> list[int]:
    with storage_errors(f"list {_WHAT}"):
        names = os.listdir(place) if place.is_dir() else []  # noqa: PTH208  # names
    digits = [
        name.removeprefix(_PREFIX)
        for name in names
        if name.startswith(_PREFIX) and len(name) == len(_PREFIX) + _DIGITS
    ]
    return [int(one) for one in digits if one.isascii() and one.isdecimal()]
