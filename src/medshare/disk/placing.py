"""Moving verified files from the part folder to their final names, across any crash.

The part folder is the truth: what is missing there has been moved.  So the same steps,
run again after a crash at any point, complete the work.  Existing files are never
overwritten: an identical one counts as placed, a different one stops everything before
the first move.  Every step is relative to an open folder and follows no link.
"""

import os
import stat
from typing import Final

from medshare.disk.atomic import READ_FLAGS, opened_folder, sync_folder
from medshare.disk.confined import DELETE_IT, status_of
from medshare.disk.syscalls import rename_new
from medshare.disk.tree import FOLDER, Tree, below
from medshare.errors import StorageError

_BLOCK: Final = 1 << 20
# utimensat takes 64-bit seconds; the kernel narrows that to what the file system can hold.
_LATEST_NS: Final = 1 << 62


def require_complete(tree: Tree, part: int) -> None:
    """Raise StorageError unless *part* holds exactly the files and folders of *tree*.

    Hidden names at the top are medshare's own notes.
    """
    _require_complete(tree, part, "")


def _require_complete(tree: Tree, folder: int, path: str) -> None:
    expected = tree.children[path]
    with os.scandir(folder) as found:
        count = sum(1 for entry in found if path or not entry.name.startswith("."))
    if count != len(expected):
        raise StorageError(
            "the part folder was changed by somebody else",
            hint=DELETE_IT,
        )
    for name, index in expected.items():
        if index == FOLDER:
            with opened_folder(name, inside=folder) as child:
                _require_complete(tree, child, below(path, name))
        else:
            _require_file(tree, folder, name, index)


def _require_file(tree: Tree, folder: int, name: str, index: int) -> None:
    status = status_of(folder, name)
    entry = tree.files[index]
    if status is None or not stat.S_ISREG(status.st_mode) or status.st_size != entry.size:
        raise StorageError(f"{entry.path} was changed or removed while it was being received")


def set_times(tree: Tree, part: int) -> None:
    """Give each file the time of its last change that the sender stated."""
    _set_times(tree, part, "")


def _set_times(tree: Tree, folder: int, path: str) -> None:
    for name, index in tree.children[path].items():
        if index == FOLDER:
            with opened_folder(name, inside=folder) as child:
                _set_times(tree, child, below(path, name))
        else:
            time = max(-_LATEST_NS, min(tree.files[index].modified_ns, _LATEST_NS))
            os.utime(name, ns=(time, time), dir_fd=folder, follow_symlinks=False)


def require_room(tree: Tree, part: int, output: int) -> None:
    """Raise StorageError when a file still in *part* would meet a different one in *output*."""
    _require_room(tree, part, output, "")


def _require_room(tree: Tree, part: int, output: int, path: str) -> None:
    for name, index in tree.children[path].items():
        there = status_of(output, name)
        if there is None or status_of(part, name) is None:
            continue
        if index != FOLDER:
            _require_identical(tree, part, output, name, index)
        elif not stat.S_ISDIR(there.st_mode):
            raise _in_the_way(below(path, name))
        else:
            with (
                opened_folder(name, inside=part) as source,
                opened_folder(name, inside=output) as target,
            ):
                _require_room(tree, source, target, below(path, name))


def move(tree: Tree, part: int, output: int) -> None:
    """Move what is still in *part* to *output*, and make the names durable there."""
    _move(tree, part, output, "")


def _move(tree: Tree, part: int, output: int, path: str) -> None:
    for name, index in tree.children[path].items():
        try:
            rename_new(part, name, output, name)
        except FileNotFoundError:
            continue
        except FileExistsError:
            if index == FOLDER:
                with (
                    opened_folder(name, inside=part) as source,
                    opened_folder(name, inside=output) as target,
                ):
                    _move(tree, source, target, below(path, name))
                os.rmdir(name, dir_fd=part)
            else:
                _require_identical(tree, part, output, name, index)
                os.unlink(name, dir_fd=part)
    sync_folder(output)


def require_placed(tree: Tree, output: int) -> None:
    """Raise StorageError unless every file and folder of *tree* is in *output*."""
    _require_placed(tree, output, "")


def _require_placed(tree: Tree, folder: int, path: str) -> None:
    for name, index in tree.children[path].items():
        if index == FOLDER:
            with opened_folder(name, inside=folder) as child:
                _require_placed(tree, child, below(path, name))
        else:
            _require_file(tree, folder, name, index)


def _in_the_way(path: str) -> StorageError:
    return StorageError(
        f"{path} exists already in the output folder, and is different",
        hint="move it away or choose another folder with --output, then run it again",
    )


def _require_identical(tree: Tree, part: int, output: int, name: str, index: int) -> None:
    status = status_of(output, name)
    entry = tree.files[index]
    same = status is not None and stat.S_ISREG(status.st_mode) and status.st_size == entry.size
    if not same or not _identical(part, output, name):
        raise _in_the_way(entry.path)


def _identical(part: int, output: int, name: str) -> bool:
    flags = READ_FLAGS | os.O_NOFOLLOW
    ours = os.open(name, flags, dir_fd=part)
    try:
        theirs = os.open(name, flags, dir_fd=output)
        try:
            while block := os.read(ours, _BLOCK):
                if os.read(theirs, len(block)) != block:
                    return False
            return not os.read(theirs, 1)
        finally:
            os.close(theirs)
    finally:
        os.close(ours)
