"""Small files written whole or not at all, bounded reads, and one translation of OSError.

The order of `write_file` is the promise: temporary file in the same folder, write, fsync,
rename, fsync of the folder.  Whoever reads the final name sees the old octets or the new
ones, also after a power cut.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from medshare.disk.syscalls import rename_new
from medshare.errors import LimitError, StorageError

TEMPORARY_PREFIX: Final = ".medshare-"
TEMPORARY_SUFFIX: Final = ".tmp"

# A FIFO that somebody put in the place of a file must not make `open` wait for ever.
READ_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
CREATE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
WRITE_STEP: Final = 256 * 1024
"""Octets written at once.

The kernel takes larger pages for larger writes, and in a virtual machine large free pages are
often lent back to the host: measured on ext4, 4 MiB at once cost between 0.15 and 2 CPU seconds
a GiB, 256 KiB at once 0.2.
"""
# What file systems without fsync for folders answer (FUSE, SMB, some network shares).
_NO_FOLDER_SYNC: Final = frozenset(
    {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES}
)

_FULL: Final = ("the disk is full", "free some space, then run the same command again")
_ACCESS: Final = ("permission denied", "check who owns it, and its permissions")
_REASONS: Final[dict[int, tuple[str, str | None]]] = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: ("the disk quota is used up", _FULL[1]),
    errno.EFBIG: (
        "the file would be larger than the file system or a limit of this session allows",
        "choose another disk",
    ),
    errno.EROFS: ("the file system is read-only", "choose another folder, or mount it writable"),
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.ENOENT: ("it does not exist", None),
    errno.ENOTDIR: ("part of the path is not a folder, or is a link", None),
    errno.EISDIR: ("it is a folder", None),
    errno.EEXIST: ("something with this name is there already", None),
    errno.ENOTEMPTY: ("the folder is not empty", None),
    errno.ELOOP: ("it is a symbolic link", None),
    errno.ENXIO: ("it is not a regular file", None),
    errno.EIO: (
        "the disk reports an input/output error",
        "it may be failing, or have been unplugged: check it before trying again",
    ),
    errno.ENODEV: ("the disk is gone", "plug it in again, then run the same command"),
    errno.ESTALE: ("the network share has lost it", "mount it again, then run the same command"),
    errno.ENAMETOOLONG: ("a name is too long for this file system", "choose a shorter folder"),
    errno.EILSEQ: ("a name is not valid on this file system", "choose another disk"),
    errno.EINVAL: ("this file system does not support it", "choose another disk"),
    errno.EMFILE: ("too many files are open", "raise the limit with `ulimit -n 4096`"),
    errno.ENFILE: ("too many files are open on this machine", None),
    errno.EXDEV: ("the folder spans two file systems", "choose another folder"),
    errno.ETXTBSY: ("it is in use", None),
    errno.EBUSY: ("it is in use", None),
}


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn an OSError inside into StorageError: `could not {what}: {reason}`.

    *what* is a verb and its object (`write the journal`), without names from a manifest.
    """
    try:
        yield
    except OSError as error:
        raise storage_error(error, what) from error


def storage_error(error: OSError, what: str) -> StorageError:
    """Return the StorageError that says in one sentence why *what* failed."""
    reason, hint = _REASONS.get(error.errno or 0, (None, None))
    if reason is None:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return StorageError(f"could not {what}: {reason[0].lower()}{reason[1:]}", hint=hint)


def write_file(path: Path, data: bytes, *, mode: int = 0o600, what: str = "a file") -> None:
    """Put *data* durably at *path*, whole or not at all, in place of what was there.

    A symbolic link at *path* is replaced, not followed.  Raises StorageError.
    """
    with storage_errors(f"write {what}"), opened_folder(path.parent, follow=True) as folder:
        write_at(folder, path.name, data, mode=mode)


def write_at(
    folder: int,
    name: str,
    data: bytes | memoryview,
    *,
    mode: int = 0o600,
    replace: bool = True,
) -> None:
    """Do what `write_file` does inside the open folder *folder*; raise OSError.

    Raises FileExistsError, and changes nothing, when *name* exists and *replace* is off.
    """
    temporary = f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    file = os.open(temporary, CREATE_FLAGS, mode, dir_fd=folder)
    try:
        try:
            write_all(file, data)
            os.fsync(file)
        finally:
            os.close(file)
        if replace:
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            rename_new(folder, temporary, folder, name)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    sync_folder(folder)


def is_temporary(name: str) -> bool:
    """Tell whether *name* is one that only unfinished files have."""
    return name.startswith(TEMPORARY_PREFIX) and name.endswith(TEMPORARY_SUFFIX)


def write_all(file: int, data: bytes | memoryview) -> None:
    """Write every octet of *data* at the file's position; raise OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest[:WRITE_STEP]) :]


def read_file(path: Path, *, limit: int, what: str, follow: bool = True) -> bytes:
    """Return the content of the regular file *path*.

    Raises StorageError when it cannot be read, is no regular file, or is a symbolic link
    while *follow* is off; LimitError when it holds more than *limit* octets.
    """
    with storage_errors(f"read {what}"):
        file = os.open(path, READ_FLAGS | (0 if follow else os.O_NOFOLLOW))
        try:
            return read_open(file, limit=limit, what=what)
        finally:
            os.close(file)


def read_at(folder: int, name: str, *, limit: int, what: str) -> bytes:
    """Do what `read_file` does inside the open folder *folder*, following no link.

    Raises OSError, StorageError or LimitError.
    """
    file = os.open(name, READ_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
    try:
        return read_open(file, limit=limit, what=what)
    finally:
        os.close(file)


def read_open(file: int, *, limit: int, what: str) -> bytes:
    """Return the content of an open file; raise OSError, StorageError or LimitError."""
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(f"could not read {what}: it is not a regular file")
    parts = []
    room = limit + 1
    if status.st_size < room:
        while room and (part := os.read(file, min(room, 1 << 20))):
            parts.append(part)
            room -= len(part)
    if not room or status.st_size > limit:
        raise LimitError(f"{what} is larger than {limit} bytes")
    return b"".join(parts)


def read_toml(path: Path, *, limit: int, what: str) -> dict[str, Any]:
    """Return the table in *path*, which has at most *limit* octets.

    Raises what `read_file` raises, and ValueError, which says why, when it is not TOML.
    """
    import tomllib

    text = read_file(path, limit=limit, what=what).decode()
    try:
        return tomllib.loads(text)
    except RecursionError as error:  # it is no ValueError
        raise ValueError(str(error)) from error


def make_folder(path: Path, mode: int = 0o700) -> None:
    """Let the folder *path* exist durably; those newly made, parents too, get *mode*."""
    with storage_errors("make a folder"):
        _make_folder(path, mode)


def _make_folder(path: Path, mode: int) -> None:
    try:
        path.mkdir(mode)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    except FileNotFoundError:
        if path.parent == path:
            raise
        _make_folder(path.parent, mode)
        _make_folder(path, mode)
        return
    fsync_folder(path.parent)


def fsync_folder(path: Path) -> None:
    """Make the names in the folder *path* durable; raise StorageError."""
    with storage_errors("make a folder durable"), opened_folder(path, follow=True) as folder:
        sync_folder(folder)


@contextmanager
def opened_folder(
    name: str | Path, *, inside: int | None = None, follow: bool = False
) -> Iterator[int]:
    """Yield the open folder *name*, below the open folder *inside* if given; raise OSError.

    The last part of *name* may be a link only where *follow* is on.
    """
    folder = os.open(name, FOLDER_FLAGS | (0 if follow else os.O_NOFOLLOW), dir_fd=inside)
    try:
        yield folder
    finally:
        os.close(folder)


def sync_folder(folder: int) -> None:
    """Make the names in an open folder durable, where the file system can; raise OSError."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
