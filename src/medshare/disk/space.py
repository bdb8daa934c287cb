"""Whether something fits on a disk, asked before it is written."""

import os
from pathlib import Path

from medshare.disk.atomic import opened_folder, storage_errors
from medshare.errors import StorageError


def require_space(output: Path, size: int) -> None:
    """Raise StorageError unless *size* more octets fit on the disk of *output*."""
    existing = output
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    what = "look at the free space of the output folder"
    with storage_errors(what), opened_folder(existing, follow=True) as folder:
        require_space_at(folder, size)


def require_space_at(folder: int, size: int) -> None:
    """Do what `require_space` does for the disk of an open folder; raise OSError too."""
    found = os.fstatvfs(folder)
    free = found.f_bavail * found.f_frsize
    # Some network and FUSE file systems state no size at all.
    if found.f_blocks and free < size:
        raise StorageError(
            f"the disk of the output folder is too full: {_amount(size)} are needed, "
            f"{_amount(size - free)} are missing",
            hint="free some space or choose another folder with --output, then run it again",
        )


def _amount(size: int) -> str:
    """Return octets for people: `1.5 GiB`."""
    value = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"
