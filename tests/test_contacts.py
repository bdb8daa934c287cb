"""Contacts: whom a station trusts, and under which name."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import (
    AuthenticityError,
    FormatError,
    StorageError,
    UntrustedSignerError,
    UsageError,
)
from medshare.station import Contacts
from medshare.station.contacts import _parse
from tests.builder import CREATED, make_identity
from tests.cards import rotated

OWN = make_identity("own")
WANG = make_identity("Dr Wang")
MARY = make_identity("St. Mary, radiology")


@pytest.fixture
def contacts(tmp_path: Path) -> Contacts:
    """The contacts of a station that trusts nobody yet."""
    return Contacts(tmp_path / "contacts", OWN.station)


def test_a_contact_is_found_by_name_and_by_station(contacts: Contacts, tmp_path: Path) -> None:
    """What was added is there for another process too."""
    added = contacts.add(WANG.card, name="wang", now=CREATED)
    for found in (contacts, Contacts(tmp_path / "contacts", OWN.station)):
        assert found.named("wang") == found.of(WANG.station) == added
        assert found.all() == (added,)
    assert (added.name, added.card, added.trusted_at) == ("wang", WANG.card, CREATED)


def test_nobody_is_trusted_at_first(contacts: Contacts) -> None:
    """Without contacts every look-up says so, and names the way to make one."""
    assert contacts.all() == ()
    assert contacts.of(WANG.station) is None
    with pytest.raises(UntrustedSignerError) as caught:
        contacts.named("wang")
    assert "card import" in (caught.value.hint or "")


def test_a_name_is_proposed_by_the_card(contacts: Contacts) -> None:
    """Without a name, letters and digits of the card's name serve."""
    assert contacts.add(MARY.card, name=None, now=1).name == "st-mary-radiology"


@pytest.mark.parametrize("asked", ["wang", "WANG", "Ｗang"])
def test_case_and_width_do_not_count_in_a_look_up(contacts: Contacts, asked: str) -> None:
    """A contact is found however its name is typed."""
    contacts.add(WANG.card, name="Wang", now=1)
    assert contacts.named(asked).station == WANG.station


def test_a_near_miss_is_suggested_and_never_taken(contacts: Contacts) -> None:
    """A name with a slip of the finger raises, and shows what was meant."""
    contacts.add(WANG.card, name="dr-wang", now=1)
    contacts.add(MARY.card, name="st-mary", now=1)
    with pytest.raises(UntrustedSignerError) as caught:
        contacts.named("dr-wagn")
    assert caught.value.hint == "did you mean 'dr-wang'?"


@pytest.mark.parametrize(
    "name", ["wang", "WANG", "w\u00e0ng", "wa ng", "w\u0430ng", "ｗａｎｇ"], ids=ascii
)
def test_a_name_that_could_be_mistaken_is_refused(contacts: Contacts, name: str) -> None:
    """No second contact gets a name that looks like the first one's."""
    contacts.add(WANG.card, name="wang", now=1)
    with pytest.raises(UsageError, match="is taken, or could be mistaken") as caught:
        contacts.add(MARY.card, name=name, now=1)
    assert "--name" in (caught.value.hint or "")
    assert contacts.of(MARY.station) is None


@pytest.mark.parametrize("name", ["-x", "a\nb", "\u202ewang", "..."])
def test_a_name_that_cannot_serve_is_refused(contacts: Contacts, name: str) -> None:
    """A deceptive local name is refused, and nothing is written."""
    with pytest.raises(UsageError):
        contacts.add(WANG.card, name=name, now=1)
    assert contacts.all() == ()


def test_the_own_card_is_no_contact(contacts: Contacts) -> None:
    """A station does not become its own contact by a slip."""
    with pytest.raises(UsageError, match="itself"):
        contacts.add(OWN.card, name="me", now=1)


def test_importing_again_changes_nothing(contacts: Contacts) -> None:
    """The same card keeps its name and the time since when it is trusted."""
    first = contacts.add(WANG.card, name="wang", now=1)
    assert contacts.add(WANG.card, name=None, now=99) == first


def test_a_contact_can_be_renamed(contacts: Contacts) -> None:
    """Importing with another name renames, and frees the old name."""
    contacts.add(WANG.card, name="wang", now=1)
    contacts.add(WANG.card, name="doctor", now=2)
    contacts.add(MARY.card, name="wang", now=3)
    assert contacts.named("doctor").station == WANG.station
    assert contacts.named("wang").station == MARY.station


def test_a_rotated_card_takes_the_place_of_the_old_one(contacts: Contacts) -> None:
    """A card signed by the old keys is accepted without another name or time."""
    first = contacts.add(WANG.card, name="wang", now=1)
    newer = rotated(WANG.card, "Dr Wang")
    assert contacts.add(newer, name=None, now=9) == replace(first, card=newer)
    assert contacts.named("wang").card.current.number == 1


def test_an_older_card_does_not_come_back(contacts: Contacts) -> None:
    """Once the new card is known, the old one is refused as what it is: older."""
    contacts.add(rotated(WANG.card, "Dr Wang"), name="wang", now=1)
    with pytest.raises(AuthenticityError, match="older"):
        contacts.add(WANG.card, name=None, now=2)
    assert contacts.named("wang").card.current.number == 1


def test_a_card_that_forks_is_refused(contacts: Contacts) -> None:
    """Two different second generations cannot both follow: one of them is forged."""
    contacts.add(rotated(WANG.card, "Dr Wang", "second"), name="wang", now=1)
    with pytest.raises(AuthenticityError, match="may be forged"):
        contacts.add(rotated(WANG.card, "Dr Wang", "other"), name=None, now=2)


def test_a_preview_changes_nothing(contacts: Contacts) -> None:
    """`preview` makes the same checks as `add` and writes nothing."""
    previewed = contacts.preview(WANG.card, name=None, now=7)
    assert contacts.all() == ()
    assert contacts.add(WANG.card, name=None, now=7) == previewed


def flip(path: Path, at: int) -> None:
    """Change one bit of a file."""
    changed = bytearray(path.read_bytes())
    changed[at] ^= 1
    path.write_bytes(changed)


def test_no_flipped_bit_in_a_card_passes(contacts: Contacts, tmp_path: Path) -> None:
    """A contact's card is verified again when it is read: damage and forgery are noticed."""
    contacts.add(WANG.card, name="wang", now=1)
    path = tmp_path / "contacts" / WANG.station.hex()
    good = path.read_bytes()
    start = good.index(WANG.card.encoded)
    for at in range(start, start + len(WANG.card.encoded), 97):
        flip(path, at)
        with pytest.raises(StorageError, match="a contact is damaged") as caught:
            contacts.of(WANG.station)
        assert str(path) in caught.value.message
        path.write_bytes(good)
    assert contacts.named("wang").card == WANG.card


def test_a_card_under_the_id_of_another_station_is_refused(
    contacts: Contacts, tmp_path: Path
) -> None:
    """A contact's file must hold the card of the station that names it."""
    contacts.add(WANG.card, name="wang", now=1)
    (tmp_path / "contacts" / WANG.station.hex()).rename(tmp_path / "contacts" / MARY.station.hex())
    with pytest.raises(StorageError, match="damaged"):
        contacts.of(MARY.station)
    with pytest.raises(StorageError, match="damaged"):
        contacts.named("wang")


def test_one_damaged_contact_does_not_hide_the_others(contacts: Contacts, tmp_path: Path) -> None:
    """Whoever is intact can be found; who is asked for and damaged is named."""
    contacts.add(WANG.card, name="wang", now=1)
    contacts.add(MARY.card, name="mary", now=1)
    (tmp_path / "contacts" / WANG.station.hex()).write_bytes(b"")
    assert contacts.named("mary").card == MARY.card
    for name in ("wang", "nobody"):
        with pytest.raises(StorageError, match="damaged"):
            contacts.named(name)


def test_a_stray_file_among_the_contacts_is_named(contacts: Contacts, tmp_path: Path) -> None:
    """Something that is no contact is not silently left out."""
    contacts.add(WANG.card, name="wang", now=1)
    (tmp_path / "contacts" / "notes.txt").write_text("")
    with pytest.raises(StorageError, match=r"notes\.txt"):
        contacts.all()


@given(st.binary(max_size=200))
def test_no_octets_crash_the_reader_of_contacts(data: bytes) -> None:
    """Arbitrary octets are refused with FormatError."""
    with pytest.raises(FormatError):
        _parse(data, WANG.station)
