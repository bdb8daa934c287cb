"""The files and folders that one parcel makes: the shape of what is received."""

from collections.abc import Sequence
from typing import Final

from medshare.manifest import FileEntry, check_path

FOLDER: Final = -1
"""Stands in `Tree.children` where a file would have its index."""


class Tree:
    """Files and folders below one top folder, whose own path is the empty string.

    Raises FormatError when a path is not allowed: the last of several looks at the names,
    and the one that no way to the disk can go around.
    """

    def __init__(self, files: Sequence[FileEntry], folders: Sequence[str] = ()) -> None:
        self.files = files
        self.children: dict[str, dict[str, int]] = {"": {}}
        """Path of a folder -> name -> index of the file, or FOLDER; parents come first."""
        for path in folders:
            check_path(path)
            self._add_folder(path)
        for index, entry in enumerate(files):
            check_path(entry.path)
            parent, _, name = entry.path.rpartition("/")
            if parent not in self.children:
                self._add_folder(parent)
            self.children[parent][name] = index

    def _add_folder(self, path: str) -> None:
        at = ""
        for name in path.split("/"):
            parent, at = at, f"{at}/{name}" if at else name
            if at not in self.children:
                self.children[parent][name] = FOLDER
                self.children[at] = {}

    def folders(self) -> list[str]:
        """Return the path of each folder but the top one, parents first."""
        return [path for path in self.children if path]


def below(path: str, name: str) -> str:
    """Return the path of *name* in the folder *path*."""
    return f"{path}/{name}" if path else name
