"""Which backups of the keys there are, and what each of them still holds: without any secret.

The history of the keys notes when a backup was made and when somebody said that it is
destroyed.  What it holds follows from what the history says of the keys before it; what it
should not hold any more, and what it lacks, from what it says after it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from medshare.errors import UsageError
from medshare.station.key_book import IDENTITY, Entry, Happened, KeyBook, shortened

_PREFIX: Final = "backup:"
_SHOWN: Final = 16
"""Digits of the id of a backup by which the history calls it."""


@dataclass(frozen=True, slots=True)
class KnownBackup:
    """A backup that was made; *created* in seconds since 1970 UTC."""

    id: str
    created: int
    note: str
    """For whom it was sealed."""
    stale: tuple[str, ...]
    """Keys in it that were destroyed or revoked since: whoever opens it has them still."""
    lacks: tuple[str, ...]
    """Keys that were made since: it does not bring them back."""


def note_backup(book: KeyBook, identity: bytes, *, now: int, note: str) -> None:
    """Note that a backup called *identity* is made at *now*, before it is written."""
    book.add(Entry(now, Happened.BACKED_UP, _label(identity.hex()), shortened(note)))


def forget_backup(book: KeyBook, beginning: str, *, now: int) -> KnownBackup:
    """Note that the backup whose id has this *beginning* is destroyed; return what it was.

    Raises UsageError unless it is one.
    """
    found = [one for one in known_backups(book.entries()) if one.id.startswith(beginning)]
    if len(found) != 1 or not beginning:
        raise UsageError(
            f"{'several backups begin' if found else 'no backup that is known begins'} so",
            hint="medshare keys backups lists them",
        )
    book.add(Entry(now, Happened.BACKUP_GONE, _label(found[0].id)))
    return found[0]


def known_backups(entries: Iterable[Entry]) -> tuple[KnownBackup, ...]:
    """Return the backups that are not said to be destroyed, oldest first."""
    live, gone = {f"{IDENTITY}/0"}, set[str]()
    made: dict[str, tuple[Entry, frozenset[str]]] = {}
    for entry in entries:
        match entry.what:
            case Happened.MADE:
                live.add(entry.key)
            case Happened.DESTROYED | Happened.REVOKED:
                live.discard(entry.key)
                gone.add(entry.key)
            case Happened.BACKED_UP:
                made[entry.key] = entry, frozenset(live)
            case Happened.BACKUP_GONE:
                made.pop(entry.key, None)
    return tuple(
        KnownBackup(
            id=key.removeprefix(_PREFIX),
            created=entry.at,
            note=entry.note,
            stale=tuple(sorted(held & gone)),
            lacks=tuple(sorted(live - held)),
        )
        for key, (entry, held) in made.items()
    )


def stale_backups(book: KeyBook) -> tuple[KnownBackup, ...]:
    """Return the backups that hold keys which were destroyed or revoked since."""
    return tuple(one for one in known_backups(book.entries()) if one.stale)


def _label(identity: str) -> str:
    return _PREFIX + identity[:_SHOWN]
