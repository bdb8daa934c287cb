"""Finding what is sent below the paths that the user named, and refusing what cannot travel.

Everything is refused before the first octet moves, with the name that the user has on
disk and what to do about it: links (unless followed), devices, hidden files, names that
some operating system could not hold, and two files that would arrive as one.
"""

import os
import re
import stat
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from medshare.disk.atomic import FOLDER_FLAGS, storage_error
from medshare.disk.sources import Sources
from medshare.errors import FormatError, StorageError, UsageError
from medshare.manifest import MAX_DEPTH, MAX_FILE_SIZE, MAX_FILES, check_path, collision_key

_JUNK: Final = frozenset({".ds_store", "thumbs.db", "desktop.ini", ".directory"})
_DIGITS: Final = re.compile(r"([0-9]+)")
_SHORT_PATH: Final = 200
_ANCESTRY = tuple[tuple[int, int], ...]


def scan(paths: Sequence[Path], *, follow_symlinks: bool, skip_hidden: bool) -> Sources:
    """Return the files that *paths* mean: as `cp -r` would copy them, in natural order.

    A file contributes its name; a folder contributes its name, with everything below it.
    Raises UsageError for what no parcel may carry, StorageError for what cannot be read.
    """
    walk = _Walk(follow=follow_symlinks, skip_hidden=skip_hidden)
    for path in paths:
        walk.add(path)
    return walk.finish()


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a sort key by which `slice 2` comes before `slice 10`."""
    parts: list[str | int] = list(_DIGITS.split(name.casefold()))
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def shown(location: str) -> str:
    """Return *location* so that it disturbs neither the line nor the terminal it is shown on."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in location)


class _Walk:
    """One pass over the disk, filling the columns of a `Sources`."""

    def __init__(self, *, follow: bool, skip_hidden: bool) -> None:
        self._follow = follow
        self._skip_hidden = skip_hidden
        self._roots: dict[str, str] = {}
        self._top: dict[str, str] = {}
        self._parents = [""]
        self._parent_of = array("q")
        self._names: list[str] = []
        self._sizes = array("q")
        self._modified = array("q")
        self._changed = array("q")
        self._empty: list[str] = []
        self._skipped: list[str] = []

    def finish(self) -> Sources:
        """Return what was found; raise UsageError when that is nothing."""
        if not self._names and not self._empty:
            raise UsageError("there is nothing to send")
        return Sources(
            roots=self._roots,
            follow=self._follow,
            parents=self._parents,
            parent_of=self._parent_of,
            names=self._names,
            sizes=self._sizes,
            modified_ns=self._modified,
            changed_ns=self._changed,
            folders=tuple(self._empty),
            skipped=tuple(self._skipped),
        )

    def add(self, path: Path) -> None:
        """List one argument of the command."""
        there = path.resolve() if path.name in {"", ".."} else Path.cwd() / path
        location, name = str(there), there.name
        if not name:
            raise UsageError("the root folder cannot be sent whole")
        _check(name, location, name)
        _require_new(self._top, name, location)
        self._roots[name] = location
        try:
            status = there.stat(follow_symlinks=self._follow)
            is_folder = stat.S_ISDIR(status.st_mode)
            folder = os.open(location, self._folder_flags) if is_folder else -1
        except OSError as error:
            raise _unreadable(location, error) from error
        if is_folder:
            self._walk(folder, name, location, ())
        else:
            self._add_file(0, name, status, location)

    @property
    def _folder_flags(self) -> int:
        return FOLDER_FLAGS | (0 if self._follow else os.O_NOFOLLOW)

    def _walk(self, folder: int, path: str, location: str, above: _ANCESTRY) -> None:
        """List the open *folder*, then close it: first its files, then each folder below."""
        try:
            status = os.fstat(folder)
            here = (status.st_dev, status.st_ino)
            if here in above:
                raise UsageError(f"{shown(location)} leads back to a folder above it")
            files = len(self._names)
            below = self._list(folder, path, location)
            if not below and files == len(self._names):
                self._empty.append(path)
            for name in below:
                try:
                    child = os.open(name, self._folder_flags, dir_fd=folder)
                except OSError as error:
                    raise _unreadable(f"{location}/{name}", error) from error
                self._walk(child, f"{path}/{name}", f"{location}/{name}", (*above, here))
        finally:
            os.close(folder)

    def _list(self, folder: int, path: str, location: str) -> list[str]:
        """Add the files in *folder*; return the names of the folders in it."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: natural_key(entry.name))
        except OSError as error:
            raise _unreadable(location, error) from error
        self._parents.append(path)
        parent = len(self._parents) - 1
        seen: dict[str, str] = {}
        below = []
        for entry in entries:
            name = entry.name
            there = f"{location}/{name}"
            if self._leaves_out(name, there):
                continue
            _check(name, there, f"{path}/{name}")
            _require_new(seen, name, there)
            try:
                status = entry.stat(follow_symlinks=self._follow)
            except OSError as error:
                raise _unreadable(there, error) from error
            if stat.S_ISDIR(status.st_mode):
                below.append(name)
            else:
                self._add_file(parent, name, status, there, folder=folder)
        return below

    def _leaves_out(self, name: str, location: str) -> bool:
        if name.startswith("._") or name.casefold() in _JUNK:
            self._skipped.append(location)
            return True
        return self._skip_hidden and name.startswith(".")

    def _add_file(
        self,
        parent: int,
        name: str,
        status: os.stat_result,
        location: str,
        *,
        folder: int | None = None,
    ) -> None:
        _require_sendable(status, location)
        readable = os.access(location if folder is None else name, os.R_OK, dir_fd=folder)
        if not readable:
            raise StorageError(f"could not read {shown(location)}: permission denied")
        if len(self._names) >= MAX_FILES:
            raise UsageError(
                f"more than {MAX_FILES} files do not fit into one parcel",
                hint="send the folders one by one",
            )
        self._parent_of.append(parent)
        self._names.append(name)
        self._sizes.append(status.st_size)
        self._modified.append(status.st_mtime_ns)
        self._changed.append(status.st_ctime_ns)


def _require_sendable(status: os.stat_result, location: str) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise UsageError(
            f"{shown(location)} is a symbolic link",
            hint="send what it points to, or pass --follow-symlinks",
        )
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{shown(location)} is neither a file nor a folder")
    if status.st_size > MAX_FILE_SIZE:
        raise UsageError(f"{shown(location)} is larger than a parcel can carry")


def _check(name: str, location: str, path: str) -> None:
    """Raise UsageError unless *path*, whose last part is *name*, may travel."""
    # The parts above were checked before; the sum of them matters only where it is long.
    whole = len(path) > _SHORT_PATH or path.count("/") >= MAX_DEPTH - 1
    try:
        check_path(path if whole else name)
    except FormatError as error:
        hint = "rename it, then run the same command again"
        if name.startswith(".") and path != name:
            hint = "pass --skip-hidden to leave hidden files and folders out, or rename it"
        reason = error.message.removeprefix("a path is not allowed: ")
        raise UsageError(f"{shown(location)} cannot be sent: {reason}", hint=hint) from error


def _require_new(seen: dict[str, str], name: str, location: str) -> None:
    first = seen.setdefault(collision_key(name), location)
    if first is not location:
        raise UsageError(
            f"{shown(first)} and {shown(location)} would arrive under the same name",
            hint="rename one of them, or send them in two parcels",
        )


def _unreadable(location: str, error: OSError) -> StorageError:
    return storage_error(error, f"read {shown(location)}")
