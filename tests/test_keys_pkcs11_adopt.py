"""A station whose folder was lost, while its keys are still in the token."""

from pathlib import Path

import pytest

from medshare.errors import IntegrityError, KeyUnavailableError, UsageError
from medshare.keys.base import Purpose
from medshare.keys.pkcs11 import TOKEN_FILE, TokenBackend, TokenKeyStore
from medshare.keys.pkcs11_adopt import adopt
from medshare.keys.pkcs11_record import TokenRecord
from medshare.sharing.rotate import rotate_identity
from medshare.station import Station
from medshare.station.identity import identity_of
from tests import softhsm
from tests.people import Person, make_person, make_person_with
from tests.suites.keystore_suite import KEY

pytestmark = pytest.mark.service


def record_in(station: Station) -> TokenRecord:
    """Return the record of the station's keys."""
    store = station.keystore_with(softhsm.backend())
    assert isinstance(store, TokenKeyStore)
    return store._record


def rotated(person: Person) -> Person:
    """Return *person* with a further generation of keys."""
    store = person.station.keystore_with(person.backend)
    rotate_identity(person.station, store, now=person.station.card.current.created)
    return Person(person.station, person.backend)


def test_card_and_token_give_the_record_back(tmp_path: Path) -> None:
    """All generations and KEKs are found among those of other stations, and work."""
    make_person_with(softhsm.backend(), tmp_path / "before", "before")
    us = rotated(make_person_with(softhsm.backend(), tmp_path / "us", "us"))
    make_person_with(softhsm.backend(), tmp_path / "after", "after")
    store = us.station.keystore_with(us.backend)
    store.make_kek("routine/0", created=5)
    wrapped = store.wrap_key("routine/0", KEY)
    before = record_in(us.station)
    card = us.station.card
    softhsm.restart()
    again = Station.restore(
        tmp_path / "again",
        card,
        lambda folder: adopt(softhsm.backend(), card, folder),
        generations=len(card.generations),
    )
    after = record_in(again)
    assert (after.store, after.generations) == (before.store, before.generations)
    assert [kek.label for kek in after.keks] == ["routine/0"]
    found = again.keystore_with(softhsm.backend())
    assert found.unwrap_key("routine/0", wrapped) == KEY
    assert identity_of(again.card, found).card == card


def test_an_older_card_is_followed_by_the_next_rotation(tmp_path: Path) -> None:
    """Keys that the card does not show yet are made anew, as after an interrupted rotation."""
    us = make_person_with(softhsm.backend(), tmp_path / "us", "us")
    card = us.station.card
    rotated(us)
    again = Station.restore(
        tmp_path / "again", card, lambda folder: adopt(softhsm.backend(), card, folder),
        generations=1,
    )  # fmt: skip
    assert rotated(Person(again, softhsm.backend())).station.card.current.number == 1


def test_a_token_without_the_keys_is_said_to_be_the_wrong_one(tmp_path: Path) -> None:
    """Keys of other stations are not taken for those of the card; nothing is written."""
    us = make_person_with(softhsm.backend(), tmp_path / "us", "us")
    other = softhsm.new_token("empty")
    backend = TokenBackend(softhsm.module(), softhsm.PIN, other)
    with pytest.raises(KeyUnavailableError, match="does not hold the keys of this card"):
        adopt(backend, us.station.card, tmp_path)
    assert not (tmp_path / TOKEN_FILE).exists()


def test_a_generation_that_was_removed_is_missed(tmp_path: Path) -> None:
    """Every generation of the card must be there: the old ones open old parcels."""
    from pkcs11 import ObjectClass

    us = rotated(make_person_with(softhsm.backend(), tmp_path / "us", "us"))
    store = us.station.keystore_with(us.backend)
    assert isinstance(store, TokenKeyStore)
    name = store._record.identity_key(Purpose.SIGN, 0)
    store._token.run(lambda token: token.destroy((ObjectClass.PRIVATE_KEY,), name), what="remove")
    with pytest.raises(KeyUnavailableError):
        adopt(softhsm.backend(), us.station.card, tmp_path)


def test_a_card_of_keys_in_software_is_refused(tmp_path: Path) -> None:
    """A token cannot hold the keys of such a card."""
    soft = make_person(tmp_path / "soft", "soft")
    with pytest.raises(UsageError, match="not of the kind"):
        adopt(softhsm.backend(), soft.station.card, tmp_path)


def test_a_kek_that_is_not_the_one_does_not_unwrap(tmp_path: Path) -> None:
    """KEKs of other stations in the token are left alone."""
    us = make_person_with(softhsm.backend(), tmp_path / "us", "us")
    them = make_person_with(softhsm.backend(), tmp_path / "them", "them")
    for one in (us, them):
        one.station.keystore_with(one.backend).make_kek("routine/0", created=5)
    wrapped = them.station.keystore_with(them.backend).wrap_key("routine/0", KEY)
    (tmp_path / "keys").mkdir()
    adopted = adopt(softhsm.backend(), us.station.card, tmp_path / "keys")
    with pytest.raises(IntegrityError):
        adopted.unwrap_key("routine/0", wrapped)
