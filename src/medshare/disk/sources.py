"""What is sent: the files that `scan` listed, and their octets.

`SourceReader` is used by several threads and proves with every read that the file is
still the one that was listed.  A file counts as unchanged when its size and both its
times (mtime and ctime, in nanoseconds) are the same; whoever sets mtime back sets ctime.
The inode number is left out: FAT, exFAT, SMB and FUSE make up a new one whenever a file
is looked at afresh.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Self

from medshare.disk.atomic import FOLDER_FLAGS, READ_FLAGS, storage_error
from medshare.disk.descriptors import DescriptorPool
from medshare.errors import SourceChangedError
from medshare.manifest import FileEntry

_OPEN_FILES: Final = 64
_OPEN_FOLDERS: Final = 40
_LARGE: Final = 8 * 1024 * 1024
# What opening answers when a file or one of its folders is not what it was a moment ago.
_REPLACED: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.ESTALE}
)


@dataclass(frozen=True, slots=True)
class Sources:
    """The listed files in the order in which they are sent.

    Kept in columns, so that 100,000 files take about 15 MB.
    """

    roots: Mapping[str, str]
    """First part of a path in the parcel -> absolute path on this machine."""
    follow: bool
    """Whether symbolic links are followed."""
    parents: Sequence[str]
    parent_of: Sequence[int]
    names: Sequence[str]
    sizes: Sequence[int]
    """Octets of each file."""
    modified_ns: Sequence[int]
    changed_ns: Sequence[int]
    folders: tuple[str, ...] = ()
    """Folders without any content, which would otherwise not arrive."""
    skipped: tuple[str, ...] = field(default=(), repr=False)
    """Where something was left out because operating systems strew it: `.DS_Store` etc."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def total_size(self) -> int:
        """Octets of all files."""
        return sum(self.sizes)

    def path(self, index: int) -> str:
        """Return the path of file *index* in the parcel."""
        parent = self.parents[self.parent_of[index]]
        return f"{parent}/{self.names[index]}" if parent else self.names[index]

    def location(self, path: str) -> str:
        """Return where on this machine *path* of the parcel comes from."""
        top, slash, rest = path.partition("/")
        return f"{self.roots[top]}{slash}{rest}"

    def entries(self) -> Iterator[FileEntry]:
        """Yield each file as the manifest lists it."""
        for index, (size, modified) in enumerate(zip(self.sizes, self.modified_ns, strict=True)):
            yield FileEntry(self.path(index), size, modified)

    def describe(self) -> list[str | int]:
        """Return what tells these sources from any others, as plain values for a journal."""
        described: list[str | int] = [len(self)]
        columns = zip(self.sizes, self.modified_ns, self.changed_ns, strict=True)
        for index, figures in enumerate(columns):
            described.append(self.path(index))
            # Times before 1970 are negative, which the journal's encoding does not know.
            described.extend(figure % (1 << 63) for figure in figures)
        described.extend(self.folders)
        return described

    def matches(self, described: Sequence[object]) -> bool:
        """Tell whether *described*, from `describe`, speaks of these very files, unchanged."""
        return self.describe() == list(described)

    def require_unchanged(self, index: int, status: os.stat_result) -> None:
        """Raise SourceChangedError unless *status* is that of file *index* as it was listed."""
        same = (
            status.st_size == self.sizes[index]
            and status.st_mtime_ns == self.modified_ns[index]
            and status.st_ctime_ns == self.changed_ns[index]
            and stat.S_ISREG(status.st_mode)
        )
        if not same:
            raise self.changed(index)

    def changed(self, index: int) -> SourceChangedError:
        """Return the error that says that file *index* is no longer what was listed."""
        return SourceChangedError(
            f"{self.path(index)} changed while it was being sent",
            hint="wait until it is complete, then run the same command again",
        )


class SourceReader:
    """Reads listed files; safe to share between threads."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._link_flag = 0 if sources.follow else os.O_NOFOLLOW
        self._folders = DescriptorPool(self._open_folder, _OPEN_FOLDERS)
        self._files = DescriptorPool(self._open_file, _OPEN_FILES)

    def read_into(self, index: int, offset: int, view: memoryview) -> None:
        """Fill *view* with the octets of file *index* from *offset* on.

        Raises SourceChangedError when the file is no longer the one that was listed,
        StorageError when it cannot be read.
        """
        with self._translated(index), self._files.lease(index) as file:
            filled = 0
            while filled < len(view):
                count = os.preadv(file, [view[filled:]], offset + filled)
                if not count:
                    raise self._sources.changed(index)
                filled += count
            self._sources.require_unchanged(index, os.fstat(file))

    def require_unchanged(self, index: int) -> None:
        """Raise SourceChangedError unless what lies at the path of file *index* is unchanged.

        For files without octets, which are never read, and for a last look at the end.
        """
        with self._translated(index), self._place(index) as (folder, name):
            status = os.stat(name, dir_fd=folder, follow_symlinks=self._sources.follow)
            self._sources.require_unchanged(index, status)

    def close(self) -> None:
        """Close all files."""
        self._files.close()
        self._folders.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _translated(self, index: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _REPLACED:
                raise self._sources.changed(index) from error
            raise storage_error(error, f"read {self._sources.path(index)}") from error

    @contextmanager
    def _place(self, index: int) -> Iterator[tuple[int | None, str]]:
        """Yield the open folder of file *index* and its name there, or None and where it is."""
        parent, _, name = self._sources.path(index).rpartition("/")
        if not parent:
            yield None, self._sources.roots[name]
            return
        with self._folders.lease(parent) as folder:
            yield folder, name

    def _open_folder(self, path: str) -> int:
        """Open a folder of the sources, one name at a time, so that no link is followed."""
        parent, _, name = path.rpartition("/")
        flags = FOLDER_FLAGS | self._link_flag
        if not parent:
            return os.open(self._sources.roots[name], flags)
        with self._folders.lease(parent) as folder:
            return os.open(name, flags, dir_fd=folder)

    def _open_file(self, index: int) -> int:
        with self._place(index) as (folder, name):
            file = os.open(name, READ_FLAGS | self._link_flag, dir_fd=folder)
        try:
            self._sources.require_unchanged(index, os.fstat(file))
            if self._sources.sizes[index] >= _LARGE and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        except BaseException:
            os.close(file)
            raise
        return file
