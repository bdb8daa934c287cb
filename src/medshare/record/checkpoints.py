"""The signed checkpoints of a record, each a small text file that anybody can read.

    checkpoints/<size div 100000, 7 digits>/<size, 12 digits>

What witnesses add is added to the file.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from medshare.audit.checkpoint import Checkpoint, parse_checkpoint
from medshare.audit.notes import MAX_NOTE, Note
from medshare.disk.atomic import read_file, storage_errors, write_file
from medshare.errors import AuditError, FormatError
from medshare.record.segments import private_folder

FOLDER: Final = "checkpoints"
_PER_FOLDER: Final = 100_000
_SHARD, _FILE = re.compile(r"[0-9]{7}"), re.compile(r"[0-9]{12}")
_WHAT: Final = "a checkpoint of the record"


class Checkpoints:
    """The checkpoints in the folder of a record."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER

    def path(self, size: int) -> Path:
        """Return where the checkpoint after *size* entries lies."""
        return self._folder / f"{size // _PER_FOLDER:07d}" / f"{size:012d}"

    def keep(self, size: int, note: Note) -> None:
        """Write *note*, in place of the one of the same size."""
        path = self.path(size)
        private_folder(self._folder)
        private_folder(path.parent)
        write_file(path, note.encode(), what=_WHAT)

    def sizes(self) -> Iterator[int]:
        """Yield the size of each checkpoint, the smallest first."""
        for shard in _names(self._folder, _SHARD):
            for name in _names(self._folder / shard, _FILE):
                yield int(name)

    def newest(self) -> int:
        """Return the size of the newest checkpoint; 0 where there is none."""
        for shard in reversed(_names(self._folder, _SHARD)):
            names = _names(self._folder / shard, _FILE)
            if names:
                return int(names[-1])
        return 0

    def load(self, size: int) -> tuple[Checkpoint, Note]:
        """Return the checkpoint after *size* entries; its signatures are not verified.

        Raises AuditError when it is none, or that of another size.
        """
        data = read_file(self.path(size), limit=MAX_NOTE, what=_WHAT, follow=False)
        try:
            checkpoint, note = parse_checkpoint(data)
        except FormatError as error:
            raise AuditError(
                f"the checkpoint after {size} entries is damaged: {error.message}",
                code="audit.forged",
            ) from error
        if checkpoint.size != size:
            raise AuditError(
                f"the checkpoint after {size} entries is that of another size", code="audit.forged"
            )
        return checkpoint, note


def _names(folder: Path, form: re.Pattern[str]) -> list[str]:
    with storage_errors("list the checkpoints of the record"):
        names = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208  # names
    return sorted(name for name in names if form.fullmatch(name))
