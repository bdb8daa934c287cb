"""What became of the keys of a station, and how often its KEKs were used: without any secret.

    key-history   one JSON object a line, appended and never changed: what happened to which
                  key, when.  Keys are named by label (`routine/3`, `identity/1`).
    key-uses      how many keys each KEK has wrapped, at most: counted before it happens

The history is the record that remains of keys that are destroyed, and what a rotation that
was interrupted is recognised by.  A line that a crash has torn is as if it were not there.
"""

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from medshare import canonical
from medshare.disk.atomic import READ_FLAGS, read_file, storage_errors, write_all, write_file
from medshare.errors import FormatError, StorageError
from medshare.keys.kek import MAX_KEKS, MAX_LABEL
from medshare.keys.lock import exclusive

HISTORY_FILE: Final = "key-history"
USES_FILE: Final = "key-uses"
LOCK_FILE: Final = "key-history.lock"
MAX_HISTORY: Final = 1 << 26
MAX_USES_FILE: Final = 1 << 18
IDENTITY: Final = "identity"
"""How the history calls identity keys: `identity/0` and so on; no tier has this name."""
_MAX_LINE: Final = 4096
_MAX_NOTE: Final = 500
_APPEND: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Happened(StrEnum):
    """What can happen to a key."""

    MADE = "made"
    ROTATION_BEGUN = "rotation-begun"
    """The key is to take the place of those before it."""
    ROTATION_DONE = "rotation-done"
    """Whatever could be re-wrapped does not need those before it any more."""
    REVOKED = "revoked"
    """The key is not to be trusted since `since`; the note says why."""
    DESTROYED = "destroyed"
    RESEALED = "resealed"
    """Content that the key protected was sealed anew, and the old ciphertext destroyed."""
    INCIDENT_BEGUN = "incident-begun"
    """All keys that are revoked together have been noted."""
    INCIDENT_DONE = "incident-done"
    """Nothing here opens with the revoked keys any more."""
    BACKED_UP = "backed-up"
    """All keys that there are were sealed to custodians; the key is the name of the backup."""
    BACKUP_GONE = "backup-gone"
    """Somebody said that the backup is destroyed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the history; times in seconds since 1970 UTC."""

    at: int
    what: str
    key: str
    note: str = ""
    since: int = 0
    """When what it tells of began, if that was earlier."""

    def line(self) -> str:
        """Return the entry as it is written."""
        return json.dumps(asdict(self), sort_keys=True) + "\n"


class KeyBook:
    """History and counts of the keys of the station in *home*.  All methods raise StorageError."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._inode, self._offset = 0, 0
        self._entries: list[Entry] = []

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold other processes off while keys are made or counted; not to be nested."""
        return exclusive(self._home / LOCK_FILE, wait=True, what="the keys are in use")

    def entries(self) -> tuple[Entry, ...]:
        """Return the history, oldest first, without the lines that cannot be read.

        What was read before is not read again while the file only grows.
        """
        path = self._home / HISTORY_FILE
        with storage_errors("read the history of the keys"):
            try:
                file = os.open(path, READ_FLAGS | os.O_NOFOLLOW)
            except FileNotFoundError:
                return ()
            try:
                self._catch_up(file, path)
            finally:
                os.close(file)
        return tuple(self._entries)

    def _catch_up(self, file: int, path: Path) -> None:
        status = os.fstat(file)
        if status.st_size > MAX_HISTORY:
            raise StorageError(
                f"the history of the keys is larger than {MAX_HISTORY} bytes",
                hint=f"move {path} to an archive",
            )
        if status.st_ino != self._inode or status.st_size < self._offset:
            self._inode, self._offset, self._entries = status.st_ino, 0, []
        octets = os.pread(file, status.st_size - self._offset, self._offset)
        whole = octets[: octets.rfind(b"\n") + 1]
        self._offset += len(whole)
        parsed = (parse_entry(line) for line in whole.split(b"\n"))
        self._entries += [entry for entry in parsed if entry is not None]

    def add(self, *entries: Entry) -> None:
        """Append *entries* durably."""
        lines = "".join(entry.line() for entry in entries).encode()
        with storage_errors("write the history of the keys"):
            file = os.open(self._home / HISTORY_FILE, _APPEND, 0o600)
            try:
                size = os.fstat(file).st_size
                torn = size and os.pread(file, 1, size - 1) != b"\n"
                write_all(file, b"\n" + lines if torn else lines)
                os.fsync(file)
            finally:
                os.close(file)

    def uses(self) -> dict[str, int]:
        """Return how many keys each KEK has wrapped, at most."""
        path = self._home / USES_FILE
        if not path.exists():
            return {}
        try:
            return parse_uses(read_file(path, limit=MAX_USES_FILE, what="the counts of the keys"))
        except FormatError as error:
            raise StorageError(
                f"the counts of how often keys were used are damaged: {path}",
                hint="remove the file, then replace the keys: medshare rotate-key --all",
            ) from error

    def set_uses(self, uses: Mapping[str, int]) -> None:
        """Let the counts be *uses*, durably."""
        octets = canonical.encode(dict(uses))
        write_file(self._home / USES_FILE, octets, what="the counts of the keys")


def parse_entry(line: bytes) -> Entry | None:
    """Return the entry in *line*, or None when it is none, or torn."""
    try:
        value = json.loads(line) if len(line) <= _MAX_LINE else None
    except (ValueError, RecursionError):
        return None
    match value:
        case {
            "at": int() as at,
            "what": str() as what,
            "key": str() as key,
            "note": str() as note,
            "since": int() as since,
            **rest,
        } if not rest and _is_time(at) and _is_time(since):
            return Entry(at, what, key, note, since)
    return None


def _is_time(value: object) -> bool:
    return type(value) is int and 0 <= value <= canonical.MAX_TIME


def parse_uses(data: bytes) -> dict[str, int]:
    """Return the counts in *data*; raise FormatError unless all of it is well formed."""
    what = "the counts of the keys"
    value = canonical.decode(data, limit=MAX_USES_FILE, what=what, items=4 * MAX_KEKS)
    if not isinstance(value, dict):
        raise FormatError(f"{what} are not a map")
    for label, count in value.items():
        if len(label) > MAX_LABEL or type(count) is not int:
            raise FormatError(f"{what} are malformed")
    return value


def shortened(note: str) -> str:
    """Return *note*, a text that somebody typed, as it fits into one entry."""
    return " ".join(note.split())[:_MAX_NOTE]
