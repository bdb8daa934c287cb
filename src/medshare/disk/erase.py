"""Destroying files: overwritten as well as the disk lets us, then unlinked.

What that means depends on the disk.  On a magnetic disk with a plain file system the octets
are gone.  On an SSD, a copy-on-write file system (btrfs, ZFS, APFS), with snapshots, backups
or a network server in between, the old octets stay somewhere until that somewhere is reused:
there the only thing that destroys ciphertext is the loss of its key.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from medshare.disk.atomic import opened_folder, storage_errors, sync_folder
from medshare.disk.syscalls import sync_data

_BLOCK: Final = 1 << 20
_FLAGS: Final = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def erase_folder(path: Path) -> None:
    """Let the folder *path* and all in it, or the file, be gone; gone already is no fault.

    Regular files are overwritten first, unless they have another name elsewhere.  No link is
    followed.  Raises StorageError; what is left then goes the next time.
    """
    gone = suppress(FileNotFoundError)
    what = storage_errors("destroy a sealed parcel")
    with what, gone, opened_folder(path.parent, follow=True) as parent:
        _erase(parent, path.name)
        sync_folder(parent)


def _erase(parent: int, name: str) -> None:
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        with opened_folder(name, inside=parent) as folder:
            for inside in os.listdir(folder):
                _erase(folder, inside)
        os.rmdir(name, dir_fd=parent)
        return
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        with suppress(PermissionError):
            _overwrite(parent, name, status.st_size)
    os.unlink(name, dir_fd=parent)


def _overwrite(parent: int, name: str, size: int) -> None:
    block = memoryview(os.urandom(min(size, _BLOCK)))
    file = os.open(name, _FLAGS, dir_fd=parent)
    try:
        at = 0
        while at < size:
            at += os.pwrite(file, block[: size - at], at)
        sync_data(file)
    finally:
        os.close(file)
