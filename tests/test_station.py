"""A station: made whole or not at all, private, and unlocked only by its passphrase."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from medshare.errors import (
    AuthenticityError,
    KeyUnavailableError,
    MedshareError,
    PassphraseError,
    StorageError,
    UsageError,
)
from medshare.ids import ParcelId
from medshare.keys.sealed import KdfCost
from medshare.station import Identity, Station
from medshare.station.identity import identity_of
from medshare.suites.kem import wrap
from medshare.suites.signatures import Verifier
from medshare.trust.suite_choice import suites_of
from tests.fault import Killed, count_changes, killed_at

PASSPHRASE = b"correct horse battery staple"
CHEAP = KdfCost(memory_kib=64, passes=1, lanes=1)
NOW = 1_750_000_000
PARCEL = ParcelId(bytes(range(16)))


def make(home: Path, name: str = "St. Mary, radiology", suite: str = "intl") -> Station:
    """Return a new station in *home* whose passphrase is cheap to check."""
    return Station.create(home, name=name, passphrase=PASSPHRASE, now=NOW, suite=suite, cost=CHEAP)


def unlock(station: Station) -> Identity:
    """Return the identity of *station*, without making its keystore stronger."""
    return identity_of(station.card, station.keystore(PASSPHRASE, cost=CHEAP))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that does not exist yet, below folders that do not exist either."""
    return tmp_path / "deep" / "below" / "home"


def test_a_new_station_can_be_opened_and_unlocked(home: Path) -> None:
    """What was made is found again: same card, and keys that belong to it."""
    made = make(home)
    opened = Station.open(home)
    assert opened.card == made.card
    assert opened.id == made.id == opened.card.station
    assert (opened.card.name, opened.card.current.created) == ("St. Mary, radiology", NOW)
    identity = opened.unlock(PASSPHRASE)
    assert identity.station == opened.id
    assert [s.public for s in identity.signers] == list(opened.card.current.sign_keys)
    assert [o.public for o in identity.openers] == list(opened.card.current.kem_keys)


@pytest.mark.parametrize(
    ("suite", "requests"), [("intl", "ed25519"), ("gm", "sm2"), ("gm+intl", "ed25519")]
)
def test_an_identity_signs_opens_and_makes_requests(suite: str, requests: str, home: Path) -> None:
    """Each part of an unlocked identity works with the card's public keys."""
    station = make(home, suite=suite)
    assert suites_of(station.card) == tuple(name for name in ("intl", "gm") if name in suite)
    identity = unlock(station)
    for signer, public in zip(identity.signers, identity.card.current.sign_keys, strict=True):
        Verifier(public).verify(signer.sign(b"message"), b"message", what="test")
    for opener, public in zip(identity.openers, identity.card.current.kem_keys, strict=True):
        assert opener.unwrap(wrap(public, b"secret", info=b""), info=b"") == b"secret"
    assert identity.request_signer.public.algorithm == requests


def test_a_station_has_no_other_suites(home: Path) -> None:
    """Keys of a suite that is unknown, or of none, are not made; no station is left behind."""
    for suite in ("", "later", "intl+gm"):
        with pytest.raises(UsageError, match="suite"):
            make(home, suite=suite)
    make(home)


def test_two_stations_have_nothing_in_common(tmp_path: Path) -> None:
    """Same name and same passphrase make another station with other keys."""
    one, other = make(tmp_path / "a"), make(tmp_path / "b")
    assert one.id != other.id
    assert one.card.fingerprint != other.card.fingerprint


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o177])
def test_everything_is_private_whatever_the_umask(home: Path, umask: int) -> None:
    """Folders have mode 0700 and files 0600, also those made later."""
    old = os.umask(umask)
    try:
        station = make(home)
        station.outbox(PARCEL)
        station.inbox(PARCEL)
        station.receipts()
    finally:
        os.umask(old)
    for path in [home, *home.rglob("*")]:
        expected = 0o700 if path.is_dir() else 0o600
        assert (path, stat.S_IMODE(path.stat().st_mode)) == (path, expected)
    assert Station.open(home).id == station.id


@pytest.mark.parametrize("mode", [0o001, 0o004, 0o010, 0o040, 0o020, 0o002])
@pytest.mark.parametrize("part", ["", "keys", "keys/keystore"])
def test_a_station_that_is_open_to_others_is_refused(home: Path, part: str, mode: int) -> None:
    """Any bit for group or others on home, keys or keystore stops it; the chmod is named."""
    make(home)
    path = home / part
    private = 0o700 if path.is_dir() else 0o600
    path.chmod(private | mode)
    with pytest.raises(StorageError, match="open to other users") as caught:
        Station.open(home)
    assert caught.value.hint == f"run: chmod {private:o} {path}"
    assert caught.value.code == "storage.permissions"
    path.chmod(private)
    Station.open(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("part", ["", "keys", "keys/keystore"])
def test_a_station_of_somebody_else_is_refused(home: Path, part: str) -> None:
    """Home, keys and keystore must belong to whoever runs medshare, root included."""
    make(home)
    os.chown(home / part, 12345, -1)
    with pytest.raises(StorageError, match="belongs to another user") as caught:
        Station.open(home)
    assert "chown" in (caught.value.hint or "")


def test_where_no_station_is_the_hint_says_how_to_make_one(home: Path) -> None:
    """Opening nothing names `medshare init`, whether the folder exists or not."""
    for _ in range(2):
        with pytest.raises(UsageError, match="there is no station") as caught:
            Station.open(home)
        assert "medshare init" in (caught.value.hint or "")
        home.mkdir(parents=True, exist_ok=True)


def test_a_station_is_never_made_over_another(home: Path) -> None:
    """A second `create` is refused, and every octet stays as it was."""
    make(home)
    before = {p: p.read_bytes() for p in home.rglob("*") if p.is_file()}
    with pytest.raises(UsageError, match="already"):
        make(home, "another")
    assert {p: p.read_bytes() for p in home.rglob("*") if p.is_file()} == before


def test_an_empty_home_is_made_private(home: Path) -> None:
    """A folder that the user made with the usual mode, with a config in it, will do."""
    home.mkdir(parents=True)
    (home / "config.toml").write_text("")
    home.chmod(0o755)
    make(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_home_in_use_for_something_else_is_not_touched(home: Path) -> None:
    """A folder with other things in it keeps its mode; the user is told what to run."""
    home.mkdir(parents=True)
    (home / "thesis.tex").write_text("")
    home.chmod(0o755)
    with pytest.raises(StorageError, match="open to other users"):
        make(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o755


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "\x1b[31mred", "\u202eevil", "x" * 129])
def test_a_name_that_could_deceive_is_refused(home: Path, name: str) -> None:
    """Empty, invisible, controlling and endless names make no station, and no folder."""
    with pytest.raises(UsageError):
        make(home, name)
    assert not home.exists()


def test_killed_at_any_step_there_is_no_station_or_a_whole_one(tmp_path: Path) -> None:
    """Whenever `create` is killed, the next one makes a station, unless there is one already."""
    steps = count_changes(lambda: make(tmp_path / "home"))
    assert steps > 20
    whole = 0
    for step in range(1, steps + 1):
        home = tmp_path / str(step)
        with pytest.raises(Killed), killed_at(step):
            make(home)
        try:
            station = Station.open(home)
            whole += 1
        except UsageError:
            station = make(home)
        assert unlock(station).station == station.id
        assert Station.open(home).id == station.id
    assert 0 < whole < steps


def test_a_full_disk_leaves_no_station_and_no_obstacle(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nothing can be written, the error says so; later the same call works."""

    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageError, match="disk is full"):
            make(home)
    assert unlock(make(home)).openers


def test_a_wrong_passphrase_does_not_unlock(home: Path) -> None:
    """It raises PassphraseError, and the right one still works afterwards."""
    station = make(home)
    with pytest.raises(PassphraseError):
        station.keystore(b"another passphrase", cost=CHEAP)
    assert unlock(station).signers


def test_unlocking_makes_a_cheap_keystore_strong(home: Path) -> None:
    """After `unlock` with the defaults the file costs what the standard asks for."""
    station = make(home)
    before = (home / "keys" / "keystore").read_bytes()
    station.unlock(PASSPHRASE)
    assert (home / "keys" / "keystore").read_bytes() != before
    assert station.unlock(PASSPHRASE).card == station.card


def damage_card(home: Path) -> None:
    """Change one bit of the card."""
    octets = bytearray((home / "card").read_bytes())
    octets[len(octets) // 2] ^= 1
    (home / "card").write_bytes(octets)


@pytest.mark.parametrize(
    ("accident", "message"),
    [
        (damage_card, "card of this station is damaged"),
        (lambda home: (home / "card").write_bytes(b""), "card of this station is damaged"),
        (lambda home: (home / "card").unlink(), "could not read the card"),
        (lambda home: (home / "keys" / "keystore").unlink(), "the keystore is missing"),
    ],
    ids=["flipped", "empty", "no card", "no keystore"],
)
def test_a_damaged_station_says_what_to_restore(
    home: Path, accident: Callable[[Path], object], message: str
) -> None:
    """Loss and damage are storage errors that name the part, and it is not made anew."""
    make(home)
    accident(home)
    with pytest.raises(StorageError, match=message):
        Station.open(home)
    with pytest.raises(UsageError, match="already"):
        make(home)


def test_a_lost_keystore_is_not_silently_replaced(home: Path) -> None:
    """Where a card is and no keystore, init refuses: the card's keys may be in a backup."""
    make(home)
    shutil.rmtree(home / "keys")
    with pytest.raises(StorageError, match="no keystore"):
        make(home)


def test_a_missing_keystore_with_a_copy_names_the_copy(home: Path) -> None:
    """The previous state of the keystore is offered when the keystore itself is gone."""
    make(home)
    (home / "keys" / "keystore").rename(home / "keys" / "keystore.previous")
    with pytest.raises(StorageError) as caught:
        Station.open(home)
    assert "keystore.previous" in (caught.value.hint or "")


def test_a_keystore_of_another_station_is_refused(tmp_path: Path) -> None:
    """Keys that do not belong to the card are not used with it."""
    one, other = make(tmp_path / "a"), make(tmp_path / "b")
    shutil.copy(other.home / "keys" / "keystore", one.home / "keys" / "keystore")
    with pytest.raises(KeyUnavailableError, match="does not hold the keys"):
        unlock(one)


def test_only_one_process_changes_an_identity(home: Path) -> None:
    """While a change goes on, another is refused, and possible afterwards."""
    station = make(home)
    other = Station.open(home).changing()
    with station.changing(), pytest.raises(StorageError, match="by another process"), other:
        pytest.fail("two processes at once")
    with station.changing():
        pass


def test_a_card_is_only_replaced_by_one_that_continues_it(tmp_path: Path) -> None:
    """A station does not take the card of another one as its own."""
    one, other = make(tmp_path / "a"), make(tmp_path / "b")
    with pytest.raises(AuthenticityError):
        one.replace_card(other.card)
    assert Station.open(one.home).id == one.id


def test_nothing_secret_is_shown(home: Path) -> None:
    """Station and identity show the first digits of a public id, and that is all."""
    station = make(home)
    identity = unlock(station)
    assert repr(station) == f"Station({station.id.hex()[:10]})"
    assert repr(identity) == f"Identity({station.id.hex()[:10]}, generation 0)"


def test_every_failure_of_opening_is_one_of_ours(home: Path) -> None:
    """A file in the place of the home, of keys or of the keystore raises MedshareError."""
    home.parent.mkdir(parents=True)
    home.write_text("not a folder")
    with pytest.raises(MedshareError):
        make(home)
    with pytest.raises(MedshareError):
        Station.open(home)
    home.unlink()
    make(home)
    shutil.rmtree(home / "keys")
    (home / "keys").write_text("not a folder")
    (home / "keys").chmod(0o600)
    with pytest.raises(MedshareError):
        Station.open(home)
