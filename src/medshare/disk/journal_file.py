"""An append-only file of records that survives a crash at any octet.

    file  = magic "MSJ1" ‖ 0 0 0 0 ‖ 16 random octets ‖ frames
    frame = length u32 ‖ check (16) ‖ payload
    check = the first 16 octets of BLAKE3(previous check, or the random octets ‖ length ‖ payload)

All integers are big-endian.  Each frame is bound to all before it, so neither a block of
zeros, nor a frame that survived from an earlier life of the file, passes for a record.
What a crash or a full disk tore off is cut away when the journal is read the next time.
The check finds accidents; it is no protection against whoever may write to the file.
"""

import errno
import fcntl
import os
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from blake3 import blake3

from medshare.disk.atomic import fsync_folder, storage_error, storage_errors, write_all
from medshare.errors import StorageError

MAX_RECORD: Final = 96 * 1024 * 1024
_MAGIC: Final = b"MSJ1\x00\x00\x00\x00"
_CHECK_SIZE: Final = 16
_START: Final = len(_MAGIC) + _CHECK_SIZE
_HEAD: Final = struct.Struct(f">I{_CHECK_SIZE}s")
_READ_AHEAD: Final = 256 * 1024
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class JournalFile:
    """One open, locked journal.  `append` and `sync` may be called from several threads.

    Read `records` to their end before the first `append`: that finds where to go on.
    """

    def __init__(self, path: Path, file: int) -> None:
        self._path = path
        self._file = file
        self._end = self._synced = 0
        self._check = b""
        self._failed = False
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the journal at *path*, mode 0600, and lock it.

        Raises StorageError when another process holds it, or when it cannot be opened.
        """
        with storage_errors("open the journal"):
            journal = cls(path, _open_locked(path))
            try:
                journal._begin()
            except BaseException:
                os.close(journal._file)
                raise
        return journal

    def _begin(self) -> None:
        head = os.pread(self._file, _START, 0)
        if len(head) == _START and not head.startswith(_MAGIC):
            raise StorageError(
                "could not open the journal: the file is not a journal of medshare",
                hint="move it away and run the same command again",
            )
        if len(head) < _START:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            write_all(self._file, _MAGIC + os.urandom(_CHECK_SIZE))
            os.fsync(self._file)
            fsync_folder(self._path.parent)

    def records(self) -> Iterator[bytes]:
        """Yield each payload from the first on; cut away whatever is torn at the end."""
        with storage_errors("read the journal"):
            reader = _Reader(self._file, _START)
            check = os.pread(self._file, _CHECK_SIZE, len(_MAGIC))
        while True:
            with storage_errors("read the journal"):
                end = reader.offset
                found = _next_frame(reader, check)
            if found is None:
                break
            check, payload = found
            yield payload
        with storage_errors("repair the journal"):
            if os.fstat(self._file).st_size != end:
                os.ftruncate(self._file, end)
                os.fsync(self._file)
        self._end = self._synced = end
        self._check = check

    def append(self, payload: bytes, *, sync: bool = False) -> None:
        """Add one record; after `sync` it is durable.

        Raises StorageError when it could not be written whole; the journal then still
        ends with the record before.
        """
        if not 0 < len(payload) <= MAX_RECORD:
            raise ValueError(f"a record of {len(payload)} bytes does not fit into a journal")
        with self._lock, storage_errors("write the journal"):
            self._require_usable()
            head = len(payload).to_bytes(4)
            check = _check_of(self._check, head, payload)
            self._write(head + check + payload)
            self._check = check
        if sync:
            self.sync()

    def _write(self, frame: bytes) -> None:
        """Write *frame* in one call at the end, or leave the journal as it was."""
        try:
            written = os.pwrite(self._file, frame, self._end)
            if written != len(frame):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(self._file, self._end)
            raise
        self._end += len(frame)

    def sync(self) -> None:
        """Make every record appended so far durable; raise StorageError otherwise.

        After a failed sync nobody knows what the disk holds, so the journal takes no more.
        """
        with self._sync_lock:
            with self._lock:
                self._require_usable()
                end = self._end
            if end == self._synced:
                return
            try:
                os.fdatasync(self._file)
            except OSError as error:
                self._failed = True
                raise storage_error(error, "make the journal durable") from error
            self._synced = end

    def _require_usable(self) -> None:
        if not self._check:
            raise RuntimeError("the records of a journal are read before the first append")
        if self._failed:
            raise StorageError("could not write the journal: it failed before")

    def remove(self) -> None:
        """Delete the journal and close it."""
        with storage_errors("remove the journal"):
            self._path.unlink(missing_ok=True)
            fsync_folder(self._path.parent)
        self.close()

    def close(self) -> None:
        """Release the lock.  What was not synced may be lost in a power cut."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_locked(path: Path) -> int:
    while True:
        file = os.open(path, _FLAGS, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise StorageError("could not open the journal: it is not a regular file")
            _lock(file)
            if _is_still_at(path, file):
                return file
        except BaseException:
            os.close(file)
            raise
        # Whoever held the lock removed the file meanwhile: a lock on it protects nothing.
        os.close(file)


def _lock(file: int) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StorageError(
            "this parcel is being worked on by another medshare on this machine",
            hint="wait until it has finished, or stop it, then run the same command again",
        ) from error


def _is_still_at(path: Path, file: int) -> bool:
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(file))


def _check_of(previous: bytes, head: bytes, payload: bytes) -> bytes:
    return blake3(previous + head).update(payload).digest(length=_CHECK_SIZE)


class _Reader:
    """Reads a file forward with few calls; `offset` is where the next octet comes from."""

    def __init__(self, file: int, offset: int) -> None:
        self._file = file
        self._buffer = b""
        self._at = 0
        self.offset = offset

    def take(self, size: int) -> bytes:
        """Return the next *size* octets, or fewer at the end of the file."""
        if len(self._buffer) - self._at < size:
            self._fill(size)
        part = self._buffer[self._at : self._at + size]
        self._at += len(part)
        self.offset += len(part)
        return part

    def _fill(self, size: int) -> None:
        parts = [self._buffer[self._at :]]
        have = len(parts[0])
        while have < size:
            more = os.pread(self._file, max(_READ_AHEAD, size - have), self.offset + have)
            if not more:
                break
            parts.append(more)
            have += len(more)
        self._buffer, self._at = b"".join(parts), 0


def _next_frame(reader: _Reader, previous: bytes) -> tuple[bytes, bytes] | None:
    """Return check and payload of the next frame, or None where no sound frame follows."""
    raw = reader.take(_HEAD.size)
    if len(raw) < _HEAD.size:
        return None
    size, check = _HEAD.unpack(raw)
    if not 0 < size <= MAX_RECORD:
        return None
    payload = reader.take(size)
    if len(payload) < size or _check_of(previous, raw[:4], payload) != check:
        return None
    return check, payload
