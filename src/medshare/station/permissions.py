"""What a station keeps is for its owner alone: folders 0700, files 0600, or it does not open."""

import os
import shlex
import stat
from pathlib import Path
from typing import Final

from medshare.disk.atomic import make_folder, storage_errors
from medshare.errors import StorageError

CODE: Final = "storage.permissions"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def require_private(path: Path, *, what: str) -> None:
    """Raise StorageError, with the command that mends it, unless *path* is its owner's alone."""
    with storage_errors(f"look at {what}"):
        status = path.stat()
    if status.st_uid != os.geteuid():
        raise StorageError(
            f"{what} ({path}) belongs to another user of this machine",
            hint=f"run medshare as that user, or: sudo chown {os.geteuid()} {shown(path)}",
            code=CODE,
        )
    if status.st_mode & _OTHERS:
        mode = "700" if stat.S_ISDIR(status.st_mode) else "600"
        raise StorageError(
            f"{what} ({path}) is open to other users of this machine",
            hint=f"run: chmod {mode} {shown(path)}",
            code=CODE,
        )


def require_trustworthy(path: Path, *, what: str) -> None:
    """Raise StorageError unless only this user, or root, can have written the file *path*."""
    with storage_errors(f"look at {what}"):
        status = path.stat()
    if status.st_uid not in {os.geteuid(), 0} or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StorageError(
            f"other users of this machine could have written {what} ({path})",
            hint=f"check what it says, then run: chmod go-w {shown(path)}",
            code=CODE,
        )


def private_folder(path: Path) -> Path:
    """Return the folder *path*; if it is new, only its owner can enter it, whatever the umask.

    So can only the owner enter the folders above it that are made for it.
    """
    if not path.is_dir():
        if not path.parent.exists():
            private_folder(path.parent)
        make_folder(path)
        with storage_errors("make a folder private"):
            path.chmod(stat.S_IRWXU)
    return path


def shown(path: Path) -> str:
    """Return *path* as a shell takes it."""
    return shlex.quote(str(path))
