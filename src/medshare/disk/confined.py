"""Opening and cleaning the folders that received files go to, without following a link.

Whoever may write to the output folder can put links, folders and files of their own
there, and exchange them at any moment.  So each step is relative to an open folder and
takes one single name.
"""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from medshare.disk.atomic import CREATE_FLAGS, FOLDER_FLAGS, make_folder, sync_folder
from medshare.errors import StorageError

FOLDER_MODE: Final = 0o750
DELETE_IT: Final = "delete the hidden folder that ends in .part, then run the same command again"
_NO_LOCKS: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP})


def open_output(path: Path) -> int:
    """Open the output folder, made if need be; a link there must be the user's own."""
    make_folder(path, FOLDER_MODE)
    try:
        return os.open(path, FOLDER_FLAGS | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
            raise
        if path.lstat().st_uid not in {0, os.geteuid()}:
            raise StorageError("the output folder is a link that somebody else made") from error
        return os.open(path, FOLDER_FLAGS)


def open_part(output: int, name: str) -> int:
    """Open and lock the part folder *name*, made if need be; raise OSError or StorageError."""
    while True:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=output)
            sync_folder(output)
        folder = os.open(name, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=output)
        try:
            _lock(folder)
            _require_own(folder)
            there = status_of(output, name)
            if there is not None and os.path.samestat(there, os.fstat(folder)):
                return folder
        except BaseException:
            os.close(folder)
            raise
        # Whoever held the lock has removed the folder: begin anew.
        os.close(folder)


def _lock(folder: int) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StorageError(
            "this parcel is being received into this folder by another medshare",
            hint="wait until it has finished, or stop it, then run the same command again",
        ) from error
    except OSError as error:
        # A network share without locks for folders; the journal's lock still holds.
        if error.errno not in _NO_LOCKS:
            raise


def _require_own(folder: int) -> None:
    """Raise StorageError when somebody else made *folder* and could change what is in it."""
    owner = os.fstat(folder).st_uid
    if owner == os.geteuid():
        return
    # A mount may show every file as somebody else's; then a new file is theirs as well.
    probe = ".owner"
    file = os.open(probe, CREATE_FLAGS, 0o600, dir_fd=folder)
    try:
        same = os.fstat(file).st_uid == owner
    finally:
        os.close(file)
        os.unlink(probe, dir_fd=folder)
    if not same:
        raise StorageError("the part folder belongs to somebody else", hint=DELETE_IT)


def status_of(folder: int, name: str) -> os.stat_result | None:
    """Return what *name* is, itself and not what it points to, or None."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def is_plain(status: os.stat_result, size: int) -> bool:
    """Tell whether *status* is of a plain file of this size that has no second name."""
    return stat.S_ISREG(status.st_mode) and status.st_size == size and status.st_nlink <= 1


def remove_file(folder: int, name: str) -> None:
    """Delete a file (a link is deleted itself, never what it points to)."""
    with suppress(FileNotFoundError, IsADirectoryError):
        os.unlink(name, dir_fd=folder)


def remove_folder(folder: int, name: str) -> None:
    """Delete a folder unless something is left in it."""
    try:
        os.rmdir(name, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
