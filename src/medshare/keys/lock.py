"""Locks between processes: a file on which the operating system keeps the order (flock)."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medshare.disk.atomic import storage_errors
from medshare.errors import StorageError


@contextmanager
def exclusive(path: Path, *, wait: bool, what: str) -> Iterator[None]:
    """Hold the lock file *path* inside the block; it is released whatever ends the process.

    Without *wait*, raises StorageError `{what}, by another process` when it is held.
    """
    with storage_errors("open a lock file"):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise StorageError(
                f"{what}, by another process", hint="wait until it has finished, then try again"
            ) from None
        except OSError as error:
            raise StorageError("this file system does not offer locks") from error
        yield
    finally:
        os.close(file)
