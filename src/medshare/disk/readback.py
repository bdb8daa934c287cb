"""Reading what was received, to hold it against a receipt; links are never followed."""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from medshare.disk.atomic import FOLDER_FLAGS, READ_FLAGS, storage_errors
from medshare.errors import IncompleteError, IntegrityError
from medshare.manifest import check_path
from medshare.suites.base import Hasher

_BLOCK: Final = 1024 * 1024
_OWN_PREFIX: Final = ".medshare-"


class FolderReader:
    """A folder opened once; names below it are resolved one part at a time."""

    def __init__(self, root: Path) -> None:
        with storage_errors("open the folder"):
            self._root = os.open(root, FOLDER_FLAGS)
        self._local = threading.local()

    def hash_file(self, path: str, hasher: Hasher) -> int:
        """Feed the file at *path* to *hasher*; return its octets.

        Raises IncompleteError when it is missing, IntegrityError when something else is in
        its place, StorageError when it cannot be read.
        """
        with self.opened(path) as file:
            return self.feed(file, hasher)

    @contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """Open the file at *path*; raise as `hash_file` does."""
        check_path(path)
        try:
            file = self._open(path.split("/"))
        except FileNotFoundError:
            raise IncompleteError("is missing") from None
        except OSError as error:
            raise IntegrityError(f"cannot be opened: {error.strerror}") from error
        try:
            with storage_errors("read a received file"):
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise IntegrityError("is not a regular file")
                yield file
        finally:
            os.close(file)

    def _open(self, names: list[str]) -> int:
        folder = os.dup(self._root)
        try:
            for name in names[:-1]:
                below = os.open(name, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = below
            return os.open(names[-1], READ_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
        finally:
            os.close(folder)

    def feed(self, file: int, hasher: Hasher) -> int:
        """Feed an open file to *hasher*; return its octets; raise OSError."""
        block = getattr(self._local, "block", None)
        if block is None:
            block = self._local.block = memoryview(bytearray(_BLOCK))
        total = 0
        while count := os.readv(file, [block]):
            hasher.update(block[:count])
            total += count
        return total

    def files(self) -> Iterator[str]:
        """Yield the relative path of every file below, without medshare's own part folders."""
        pending: list[tuple[str, int]] = [("", os.dup(self._root))]
        while pending:
            prefix, folder = pending.pop()
            try:
                with storage_errors("list the folder"), os.scandir(folder) as entries:
                    for entry in sorted(entries, key=lambda entry: entry.name):
                        if entry.name.startswith(_OWN_PREFIX):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            below = os.open(entry.name, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
                            pending.append((f"{prefix}{entry.name}/", below))
                        else:
                            yield f"{prefix}{entry.name}"
            finally:
                os.close(folder)

    def close(self) -> None:
        """Close the folder."""
        os.close(self._root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
