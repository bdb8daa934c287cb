"""keys.second_factor: a keystore that opens with passphrase and security key together."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fido2.hid import CtapHidDevice
from hypothesis import given
from hypothesis import strategies as st

from medshare import cli
from medshare.errors import FormatError, KeyUnavailableError, PassphraseError, StorageError
from medshare.keys.file import FileBackend, FileKeyStore
from medshare.keys.sealed import KdfCost
from medshare.keys.second_factor import (
    FILE,
    EnrolledKey,
    SecondFactor,
    combined,
    enrolled_key,
    find_second_factor,
    parse_second_factor,
)
from medshare.station import Station
from tests.fault import Killed, killed_at
from tests.soft_authenticator import SoftAuthenticator

PASSPHRASE = "a very long passphrase"
COST = KdfCost(64, 1, 1)


@dataclass
class Desk:
    """A station, and what is plugged in."""

    root: Path
    plugged: list[SoftAuthenticator]

    @property
    def keys(self) -> Path:
        """The folder of the keystore."""
        return self.root / "home" / "keys"

    def run(self, *words: str) -> Result:
        """Run medshare as this station."""
        env = {
            "MEDSHARE_HOME": str(self.root / "home"),
            "MEDSHARE_PASSPHRASE_FILE": str(self.root / "passphrase"),
        }
        return CliRunner().invoke(cli.cli, words, prog_name="medshare", env=env)

    def json(self, *words: str, exit_code: int = 0) -> dict[str, Any]:
        """Run medshare with --json; return the last object that it wrote."""
        done = self.run(*words, "--json")
        assert done.exit_code == exit_code, done.output
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def opens(self) -> bool:
        """Tell whether the keystore opens with what there is."""
        return self.run("keys", "check").exit_code == 0

    def open_plainly(self, passphrase: bytes = PASSPHRASE.encode()) -> FileKeyStore:
        """Open the file with a passphrase, past all that asks for a key."""
        return FileKeyStore.open(self.keys / "keystore", passphrase, cost=COST, clock=lambda: 0.0)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A station with an ordinary keystore, and a security key plugged in."""
    found = Desk(tmp_path, [SoftAuthenticator()])
    monkeypatch.setattr(CtapHidDevice, "list_devices", lambda: iter(found.plugged))
    cheap = (*FileBackend.__init__.__defaults__[:1], COST, None)  # type: ignore[index]  # it has three
    monkeypatch.setattr(FileBackend.__init__, "__defaults__", cheap)
    (tmp_path / "passphrase").touch(mode=0o600)
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    Station.create(
        tmp_path / "home", name="dr-wang", passphrase=PASSPHRASE.encode(), now=1, cost=COST
    )
    return found


def test_passphrase_and_key_open_it_together(desk: Desk) -> None:
    """Once it is on, the keystore opens with both, and the passphrase alone is wrong."""
    assert desk.json("keys", "second-factor", "on")["keys"] == 1
    assert desk.opens()
    with pytest.raises(PassphraseError):
        desk.open_plainly()
    desk.plugged.clear()
    assert desk.json("keys", "check", exit_code=4)["code"] == "key"


def test_a_program_without_a_key_is_told_so(desk: Desk) -> None:
    """The library says what is missing, and does not call the passphrase wrong."""
    desk.run("keys", "second-factor", "on")
    station = Station.open(desk.root / "home")
    with pytest.raises(KeyUnavailableError, match="security key"):
        station.unlock(PASSPHRASE.encode())


def test_another_key_does_not_open_it(desk: Desk) -> None:
    """A key that was not enrolled has no credential for it."""
    desk.run("keys", "second-factor", "on")
    desk.plugged[:] = [SoftAuthenticator()]
    assert not desk.opens()


def test_the_same_credential_with_another_secret_does_not_open_it(desk: Desk) -> None:
    """The keystore depends on what the key computes, not on what it answers to."""
    desk.run("keys", "second-factor", "on")
    for credential in desk.plugged[0].credentials.values():
        credential.secret = bytes(32)
    assert desk.json("keys", "check", exit_code=4)["code"] == "key"


def test_the_passphrase_is_needed_as_well(desk: Desk) -> None:
    """With the key alone nothing opens."""
    desk.run("keys", "second-factor", "on")
    (desk.root / "passphrase").write_text("another long passphrase")
    assert desk.json("keys", "check", exit_code=4)["code"] == "key.passphrase"


def test_a_spare_key_opens_it(desk: Desk) -> None:
    """Either of two keys is enough, once the second was added with the first."""
    first, spare = desk.plugged[0], SoftAuthenticator()
    desk.run("keys", "second-factor", "on")
    lists = iter([[first], [first], [spare]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CtapHidDevice, "list_devices", lambda: iter(next(lists)))
        assert desk.json("keys", "second-factor", "add")["keys"] == 2
    for one in (first, spare):
        desk.plugged[:] = [one]
        assert desk.opens()


def test_it_can_be_turned_off(desk: Desk) -> None:
    """Afterwards the passphrase alone opens the keystore, and nothing is left of it."""
    desk.run("keys", "second-factor", "on")
    assert desk.json("keys", "second-factor", "off")["state"] == "off"
    desk.plugged.clear()
    assert desk.opens()
    assert not (desk.keys / FILE).exists()
    assert desk.json("keys", "second-factor", "list")["state"] == "off"


def test_it_is_turned_on_once(desk: Desk) -> None:
    """A second time is refused, and nothing changes."""
    desk.run("keys", "second-factor", "on")
    before = (desk.keys / FILE).read_bytes()
    assert desk.json("keys", "second-factor", "on", exit_code=2)
    assert (desk.keys / FILE).read_bytes() == before


@pytest.mark.parametrize("words", [("on",), ("off",)])
def test_an_interruption_never_locks_anybody_out(desk: Desk, words: tuple[str, ...]) -> None:
    """Killed at any call that changes the disk, the keystore opens with key and passphrase."""
    if words == ("off",):
        desk.run("keys", "second-factor", "on")
    before = {path.name: path.read_bytes() for path in desk.keys.iterdir() if path.is_file()}
    for number in range(200):
        for path in desk.keys.iterdir():
            path.unlink()
        for name, octets in before.items():
            (desk.keys / name).touch(mode=0o600)
            (desk.keys / name).write_bytes(octets)
        done = False
        with suppress(Killed), killed_at(number):
            done = desk.run("keys", "second-factor", *words).exit_code == 0
        assert desk.opens(), number
        if done:
            return
    pytest.fail("it did not come to its end")


def test_a_keystore_that_is_made_anew_has_none(desk: Desk) -> None:
    """What is left of the second factor of a lost keystore does not shut the restored one."""
    desk.run("keys", "second-factor", "on")
    (desk.keys / "keystore").unlink()
    FileBackend(PASSPHRASE.encode()).create(desk.keys, created=2)
    assert not (desk.keys / FILE).exists()
    assert len(FileBackend(PASSPHRASE.encode()).open(desk.keys).records()) > 0


octets32 = st.binary(min_size=32, max_size=32)
factors = st.builds(
    SecondFactor,
    st.lists(
        st.builds(
            EnrolledKey,
            st.binary(min_size=1, max_size=1023),
            octets32,
            st.binary(min_size=40, max_size=40),
        ),
        min_size=1,
        max_size=8,
    ).map(tuple),
    st.lists(st.binary(min_size=16, max_size=16), max_size=4).map(tuple),
)


@given(factors)
def test_a_second_factor_survives_its_file(factor: SecondFactor) -> None:
    """What is written is read back."""
    assert parse_second_factor(factor.encode()) == factor


@given(st.binary(max_size=300))
def test_nonsense_is_no_second_factor(octets: bytes) -> None:
    """Anything else is a FormatError."""
    with pytest.raises(FormatError):
        parse_second_factor(octets)


def test_a_damaged_file_is_said_to_be_damaged(desk: Desk) -> None:
    """It is not taken for the absence of a second factor."""
    desk.run("keys", "second-factor", "on")
    (desk.keys / FILE).write_bytes(b"damaged")
    with pytest.raises(StorageError):
        find_second_factor(desk.keys)
    assert desk.run("keys", "check").exit_code == 6


@given(octets32, octets32, octets32)
def test_a_wrapped_secret_opens_with_its_own_key(secret: bytes, salt: bytes, key: bytes) -> None:
    """K comes back with the secret of the security key, and with no other."""
    factor = SecondFactor((enrolled_key(b"c", salt, secret, key),))
    assert factor.unwrap(b"c", secret) == key
    for credential, other in ((b"d", secret), (b"c", bytes(a ^ 1 for a in secret))):
        with pytest.raises(KeyUnavailableError):
            factor.unwrap(credential, other)


def test_what_takes_the_place_of_the_passphrase_needs_both() -> None:
    """Another K or another passphrase gives something else."""
    first = combined(bytes(32), b"one")
    assert len({first, combined(bytes(32), b"two"), combined(b"\x01" * 32, b"one")}) == 3
