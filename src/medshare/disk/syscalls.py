"""Three calls of Linux that Python does not offer, each with what to do where it is missing."""

import ctypes
import errno
import os
import stat
import sys
from contextlib import suppress
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_RENAME_NOREPLACE: Final = 1
_UNSUPPORTED: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
# What a file system without hard links answers.
_NO_LINKS: Final = _UNSUPPORTED | {errno.EPERM, errno.EMLINK}


def _call(name: str, *arguments: object) -> bool:
    """Call *name* of the C library; return False where system or file system lack it."""
    function = getattr(_LIBC, name, None)
    if function is None:
        return False
    while function(*arguments) != 0:
        code = ctypes.get_errno()
        if code in _UNSUPPORTED:
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True


def rename_new(from_folder: int, name: str, to_folder: int, new_name: str) -> None:
    """Move a file or folder between open folders, never onto something that exists.

    Raises FileExistsError, or another OSError.  Atomic with renameat2(2); elsewhere files
    are linked and unlinked (a crash may leave both names), and folders looked at first.
    """
    source, target = os.fsencode(name), os.fsencode(new_name)
    if not _call("renameat2", from_folder, source, to_folder, target, _RENAME_NOREPLACE):
        _rename_in_steps(from_folder, name, to_folder, new_name)


def _rename_in_steps(from_folder: int, name: str, to_folder: int, new_name: str) -> None:
    status = os.stat(name, dir_fd=from_folder, follow_symlinks=False)
    if stat.S_ISREG(status.st_mode):
        try:
            os.link(
                name,
                new_name,
                src_dir_fd=from_folder,
                dst_dir_fd=to_folder,
                follow_symlinks=False,
            )
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            os.unlink(name, dir_fd=from_folder)
            return
    with suppress(FileNotFoundError):
        os.stat(new_name, dir_fd=to_folder, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(name, new_name, src_dir_fd=from_folder, dst_dir_fd=to_folder)


def sync_filesystem(descriptor: int) -> bool:
    """Make everything durable on the file system of *descriptor*; return False if it cannot.

    Errors that occurred since *descriptor* was opened are raised (Linux 5.8 and later).
    """
    return _call("syncfs", descriptor)


def allocate(file: int, size: int) -> None:
    """Give an open, empty file *size* octets, reserved on disk where the file system can.

    posix_fallocate would write every block of a file system that cannot reserve.
    """
    wide = sys.maxsize > 1 << 32
    if not (wide and _call("fallocate", file, 0, ctypes.c_int64(0), ctypes.c_int64(size))):
        os.ftruncate(file, size)


def sync_data(file: int) -> None:
    """Make the octets of an open file durable; raise OSError."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(file)
    else:
        os.fsync(file)
