"""Backups: what m of n custodians open together, and nobody else."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medshare import canonical, signed
from medshare.errors import (
    AuthenticityError,
    FormatError,
    IncompleteError,
    IntegrityError,
    KeyUnavailableError,
    MedshareError,
    NoIdentityMatchError,
    SignatureError,
    UsageError,
)
from medshare.keys import shares
from medshare.keys.backup import LABEL, Backup, make_backup, parse_backup
from medshare.keys.file import FileBackend, FileKeyStore
from medshare.keys.kek import AES_KW, SecretKek
from medshare.keys.material import Material
from medshare.sharing.rotate import rotate_identity
from medshare.station import Identity, Station
from medshare.station.identity import identity_of
from medshare.suites.base import SYSTEM_RANDOM
from tests.people import CHEAP, PASSPHRASE, Person, make_person
from tests.strategies import damaged

NOW = 1_760_000_000


@dataclass(frozen=True)
class Case:
    """A station with a KEK, and three custodians of whom two are needed."""

    us: Person
    custodians: tuple[Person, ...]
    material: Material
    data: bytes

    def share(self, number: int) -> str:
        """Return what custodian *number* releases."""
        person = self.custodians[number]
        return parse_backup(self.data).share_for(person.station.id, person.identity.openers)


def secrets_of(person: Person) -> Material:
    """Return what is in the keystore."""
    store = person.station.keystore_with(person.backend)
    assert isinstance(store, FileKeyStore)
    return store.secrets()


def backed_up(us: Person, custodians: tuple[Person, ...], material: Material) -> bytes:
    """Return a backup."""
    return make_backup(
        material,
        us.station.card,
        us.identity.signers,
        [one.station.card for one in custodians],
        threshold=2,
        created=NOW,
        random=SYSTEM_RANDOM,
    )


@pytest.fixture(scope="module", params=["intl", "gm", "gm+intl"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A station of each suite; its custodians are of all suites."""
    folder = tmp_path_factory.mktemp("backup")
    us = make_person(folder / "us", "us", request.param)
    custodians = tuple(
        make_person(folder / suite, suite, suite) for suite in ("intl", "gm", "gm+intl")
    )
    store = us.station.keystore_with(us.backend)
    store.make_kek("routine/0", created=NOW)
    material = secrets_of(us)
    return Case(us, custodians, material, backed_up(us, custodians, material))


def test_each_two_of_three_custodians_open_it(case: Case) -> None:
    """All that was in the keystore comes back: every generation, every KEK."""
    backup = parse_backup(case.data)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        assert backup.open([case.share(first), case.share(second)]) == case.material
    assert (backup.card, backup.created, backup.threshold) == (case.us.station.card, NOW, 2)


def test_one_custodian_alone_opens_nothing(case: Case) -> None:
    """One share, or one share twice, is not enough."""
    backup = parse_backup(case.data)
    for few in ([case.share(0)], [case.share(0), case.share(0)]):
        with pytest.raises(IncompleteError, match="2 different shares"):
            backup.open(few)


def test_the_file_holds_no_secret_in_the_clear(case: Case) -> None:
    """No seed, KEK or share can be found in the octets."""
    secrets = [key.seed for key in case.material.generation(0).keys]
    secrets += [kek.key for kek in case.material.keks]
    secrets += [shares.pack(case.share(number)) for number in range(3)]
    assert len(secrets) > 5
    assert not [secret for secret in secrets if secret in case.data]


def test_who_is_no_custodian_gets_no_share(case: Case, tmp_path: Path) -> None:
    """Neither a stranger nor the station itself finds a share in it."""
    backup = parse_backup(case.data)
    for person in (make_person(tmp_path, "stranger"), case.us):
        with pytest.raises(NoIdentityMatchError):
            backup.share_for(person.station.id, person.identity.openers)
    with pytest.raises(NoIdentityMatchError):
        backup.share_for(case.custodians[0].station.id, case.custodians[1].identity.openers)


def test_shares_of_another_backup_do_not_open_it(case: Case) -> None:
    """A second backup of the same keystore has shares of its own."""
    other = replace(case, data=backed_up(case.us, case.custodians, case.material))
    backup = parse_backup(case.data)
    with pytest.raises(IntegrityError, match="another backup"):
        backup.open([other.share(0), other.share(1)])
    with pytest.raises(IntegrityError):
        backup.open([case.share(0), other.share(1)])


def test_a_share_cannot_be_moved(case: Case) -> None:
    """A wrapped share opens in its own backup and for its own custodian only."""
    other = parse_backup(backed_up(case.us, case.custodians, case.material))
    moved = replace(parse_backup(case.data), custodians=other.custodians)
    person = case.custodians[0]
    with pytest.raises(IntegrityError):
        moved.share_for(person.station.id, person.identity.openers)


@settings(max_examples=30)
@given(st.data())
def test_a_damaged_backup_is_refused(case: Case, data: st.DataObject) -> None:
    """No change to the file passes its signatures."""
    with pytest.raises(MedshareError):
        parse_backup(data.draw(damaged(case.data)))


@given(st.binary(max_size=200))
def test_no_octets_crash_the_parser(data: bytes) -> None:
    """Arbitrary octets are a FormatError."""
    with pytest.raises(FormatError):
        parse_backup(data)


def resigned(case: Case, **changes: canonical.Value) -> bytes:
    """Return the backup with other fields, signed by the station all the same."""
    body = signed.parse(case.data, label=LABEL, limit=1 << 24, what="it").body
    fields = canonical.decode(body, limit=1 << 24, what="it", items=1000)
    assert isinstance(fields, dict)
    return signed.sign(LABEL, canonical.encode(fields | changes), case.us.identity.signers).encode()


BAD: dict[str, dict[str, canonical.Value]] = {
    "another field": {"more": 1},
    "critical": {"critical": {"later": 1}},
    "short id": {"id": bytes(15)},
    "threshold of one": {"threshold": 1},
    "threshold beyond the custodians": {"threshold": 4},
    "no custodians": {"custodians": []},
    "too many custodians": {"custodians": [[bytes(32), "a", bytes(16), b""]] * 17},
    "custodian of three": {"custodians": [[bytes(32), "a", bytes(16)]] * 2},
    "custodian without a station": {"custodians": [[bytes(31), "a", bytes(16), b""]] * 2},
    "huge share": {"custodians": [[bytes(32), "a", bytes(16), bytes(5000)]] * 2},
    "no card": {"card": b""},
    "nothing sealed": {"sealed": bytes(28)},
    "created in year 10000": {"created": canonical.MAX_TIME + 1},
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_backup_is_refused(case: Case, name: str) -> None:
    """Each fault is a FormatError although the signatures are right."""
    parse_backup(resigned(case))
    with pytest.raises(FormatError):
        parse_backup(resigned(case, **BAD[name]))


def test_a_backup_in_the_name_of_another_station_is_refused(case: Case) -> None:
    """A card of one station with the signatures of another does not pass."""
    with pytest.raises(SignatureError):
        parse_backup(resigned(case, card=case.custodians[0].station.card.encoded))


@pytest.mark.parametrize("field", ["sealed", "commitment"])
def test_content_that_is_not_what_was_sealed_does_not_open(case: Case, field: str) -> None:
    """Even the station itself cannot exchange the content behind the custodians' backs."""
    backup = parse_backup(case.data)
    value: bytes = getattr(backup, field)
    changed = parse_backup(resigned(case, **{field: value[:-1] + bytes([value[-1] ^ 1])}))
    with pytest.raises(IntegrityError):
        changed.open([case.share(0), case.share(1)])


def test_who_cannot_be_a_custodian(case: Case) -> None:
    """Not the station itself, nobody twice, and never one alone."""
    first = case.custodians[0]
    for people in ((first, case.us), (first, first), (first,), ()):
        with pytest.raises(UsageError):
            backed_up(case.us, people, case.material)


# --- bringing a station back ----------------------------------------------------------------


def restored(backup: Backup, material: Material, home: Path) -> Station:
    """Return the station of *backup*, brought back in *home*."""
    backend = FileBackend(b"another passphrase", cost=CHEAP)
    return Station.restore(
        home,
        backup.card,
        lambda folder: backend.create(folder, created=NOW, material=material),
        generations=len(material.generations),
    )


def identity_in(station: Station) -> Identity:
    """Return the identity of a station that was brought back; its keys are those of its card."""
    backend = FileBackend(b"another passphrase", cost=CHEAP)
    return identity_of(station.card, station.keystore_with(backend))


def rotate(person: Person) -> None:
    """Give *person* new keys."""
    store = person.station.keystore_with(person.backend)
    rotate_identity(person.station, store, now=int(time.time()))


def test_a_lost_station_comes_back(case: Case, tmp_path: Path) -> None:
    """In an empty folder, with another passphrase, it is the same station with the same keys."""
    station = restored(parse_backup(case.data), case.material, tmp_path / "new")
    assert station.card == case.us.station.card
    assert Station.open(tmp_path / "new").id == case.us.station.id
    assert identity_in(station).card == case.us.identity.card
    assert {path.name for path in (tmp_path / "new").iterdir()} >= {"card", "keys", "contacts"}


def test_a_keystore_that_is_there_is_never_overwritten(case: Case) -> None:
    """Nothing is written where keys are; the way out is named."""
    home = case.us.station.home
    before = (home / "keys" / "keystore").read_bytes()
    with pytest.raises(UsageError, match="not overwritten") as caught:
        restored(parse_backup(case.data), case.material, home)
    assert "move" in (caught.value.hint or "")
    assert (home / "keys" / "keystore").read_bytes() == before


def test_a_newer_card_that_is_still_there_stays(tmp_path: Path) -> None:
    """After a lost keystore, the card in the folder decides; an older backup is told from it."""
    us = make_person(tmp_path / "us", "us")
    custodians = tuple(make_person(tmp_path / name, name) for name in ("a", "b"))
    old = parse_backup(backed_up(us, custodians, old_material := secrets_of(us)))
    rotate(us)
    us = Person(us.station, us.backend)
    new = parse_backup(backed_up(us, custodians, new_material := secrets_of(us)))
    (us.station.home / "keys" / "keystore").unlink()
    with pytest.raises(KeyUnavailableError, match="older than the last rotation"):
        restored(old, old_material, us.station.home)
    station = restored(new, new_material, us.station.home)
    assert station.card.current.number == 1
    assert identity_in(station).card == us.station.card


def test_the_card_of_another_station_is_not_replaced(case: Case, tmp_path: Path) -> None:
    """A folder that belongs to another station stays its own."""
    other = make_person(tmp_path / "other", "other")
    (other.station.home / "keys" / "keystore").unlink()
    with pytest.raises(AuthenticityError, match="another station"):
        restored(parse_backup(case.data), case.material, other.station.home)


def test_a_restored_keystore_opens_what_was_wrapped_before(case: Case, tmp_path: Path) -> None:
    """KEKs come back as well."""
    kek = case.material.kek("routine/0")
    assert kek == SecretKek("routine/0", AES_KW, NOW, kek.key)
    wrapped = kek.wrap(bytes(range(32)))
    station = restored(parse_backup(case.data), case.material, tmp_path / "new")
    store = station.keystore_with(FileBackend(b"another passphrase", cost=CHEAP))
    assert store.unwrap_key("routine/0", wrapped) == bytes(range(32))
    assert PASSPHRASE not in case.data
