"""What a long verification has found good so far, so that an interrupted one goes on.

A line says: the file with this inode, size and times had this digest.  It names nobody's file,
and counts only while all of that is still so; the kernel, not whoever writes a file, sets its
time of change.  A file that changed a moment before it was read is not noted: its time would
not tell a change that came in the same tick of the clock.

Whoever could write the list could have anything skipped, so it must be this user's alone.
"""

import os
import re
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from medshare.digest import Digest
from medshare.disk.atomic import storage_errors
from medshare.errors import StorageError

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_LINE: Final = re.compile(rb"[0-9a-f]{64}( [0-9]{1,20}){5}")
_LONGEST: Final = 256
_SETTLED: Final = 2_000_000_000
"""Nanoseconds since the last change of a file from which on its times tell the next one."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes whenever the octets of a file do; times in nanoseconds."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, file: int) -> Self:
        """Return the stamp of an open file; raise OSError."""
        status = os.fstat(file)
        return cls(
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )

    @property
    def settled(self) -> bool:
        """Whether a change from now on would show."""
        return time.time_ns() - max(self.modified, self.changed) > _SETTLED


class Checked:
    """The list in the file *path*, which is made if need be; used from any thread.

    Raises StorageError when it cannot be read or written, or others could have written it.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        with storage_errors("open the list of verified files"):
            self._file = os.open(path, _FLAGS, 0o600)
        try:
            with storage_errors("read the list of verified files"):
                self._require_own()
                self._known = self._read()
        except BaseException:
            os.close(self._file)
            raise

    def _require_own(self) -> None:
        status = os.fstat(self._file)
        theirs = status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISREG(status.st_mode) or theirs:
            raise StorageError(
                "the list of verified files could have been written by somebody else",
                hint="name another file with --progress",
            )

    def _read(self) -> set[bytes]:
        """Return the lines that are whole; end a last one that broke off."""
        with os.fdopen(os.dup(self._file), "rb") as lines:
            lines.seek(0)
            known: set[bytes] = set()
            whole = True
            while line := lines.readline(_LONGEST):
                whole = line.endswith(b"\n")
                if whole and _LINE.fullmatch(line[:-1]):
                    known.add(line[:-1])
        if not whole:
            os.write(self._file, b"\n")
        return known

    def has(self, stamp: Stamp, digest: Digest) -> bool:
        """Tell whether the file with *stamp* was read, and had *digest*."""
        return _line(stamp, digest) in self._known

    def note(self, stamp: Stamp, digest: Digest) -> None:
        """Take down that the file with *stamp* was read, and has *digest*."""
        if stamp.settled:
            with self._lock, storage_errors("write the list of verified files"):
                os.write(self._file, _line(stamp, digest) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _line(stamp: Stamp, digest: Digest) -> bytes:
    numbers = (stamp.device, stamp.inode, stamp.size, stamp.modified, stamp.changed)
    return " ".join([digest.hex, *map(str, numbers)]).encode()
