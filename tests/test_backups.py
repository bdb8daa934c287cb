"""What a station knows of the backups of its keys, and says about them."""

from pathlib import Path

import pytest

from medshare.commands.checks import Level, Machine, backups
from medshare.errors import UsageError
from medshare.station.backups import (
    KnownBackup,
    forget_backup,
    known_backups,
    note_backup,
    stale_backups,
)
from medshare.station.key_book import Entry, Happened, KeyBook
from tests.people import make_person

ID = bytes.fromhex("5f3a9c0e7b21d4a8") * 2
OTHER = bytes.fromhex("5f00000000000000") * 2


@pytest.fixture
def book(tmp_path: Path) -> KeyBook:
    """A history with a key, and a backup of it."""
    book = KeyBook(tmp_path)
    book.add(Entry(1, Happened.MADE, "routine/0"))
    note_backup(book, ID, now=2, note="2 of anna, ben")
    return book


def test_a_fresh_backup_holds_all_and_nothing_else(book: KeyBook) -> None:
    """As long as no key changes there is nothing to say about it."""
    found = KnownBackup(ID.hex()[:16], 2, "2 of anna, ben", (), ())
    assert known_backups(book.entries()) == (found,)
    assert stale_backups(book) == ()


@pytest.mark.parametrize("what", [Happened.DESTROYED, Happened.REVOKED])
def test_what_was_destroyed_or_revoked_is_still_in_it(book: KeyBook, what: Happened) -> None:
    """It is named, as is what was made since; a later backup has neither fault."""
    book.add(Entry(3, Happened.MADE, "routine/1"), Entry(4, what, "routine/0"))
    note_backup(book, OTHER, now=5, note="")
    old, new = known_backups(book.entries())
    assert (old.stale, old.lacks) == (("routine/0",), ("routine/1",))
    assert (new.stale, new.lacks) == ((), ())
    assert stale_backups(book) == (old,)


def test_the_first_identity_counts_too(book: KeyBook) -> None:
    """Keys of which the history does not say when they were made are in a backup as well."""
    book.add(Entry(3, Happened.REVOKED, "identity/0"), Entry(3, Happened.MADE, "identity/1"))
    (found,) = known_backups(book.entries())
    assert (found.stale, found.lacks) == (("identity/0",), ("identity/1",))


def test_what_is_destroyed_is_not_named_any_more(book: KeyBook) -> None:
    """The beginning of its id is enough, unless it is that of two, or of none."""
    note_backup(book, OTHER, now=3, note="")
    for wrong, said in (("5f", "several"), ("", "several"), ("77", "no backup")):
        with pytest.raises(UsageError, match=said):
            forget_backup(book, wrong, now=4)
    assert forget_backup(book, "5f3", now=4).id == ID.hex()[:16]
    assert [one.id for one in known_backups(book.entries())] == [OTHER.hex()[:16]]


def test_the_doctor_names_stale_backups(tmp_path: Path) -> None:
    """A warning says which backup, which keys, and how to make it go away."""
    station = make_person(tmp_path / "home", "us").station
    book = KeyBook(station.home)
    note_backup(book, ID, now=2, note="")
    machine = Machine(station=station, now=10)
    assert list(backups(machine)) == []
    book.add(Entry(3, Happened.REVOKED, "identity/0"))
    (found,) = backups(machine)
    assert found.level is Level.WARN
    assert "identity/0" in found.message
    assert "--destroyed 5f3a9c0e" in found.hint
