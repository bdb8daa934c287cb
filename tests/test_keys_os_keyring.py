"""The keystore that the keyring of the operating system opens."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medshare.errors import KeyUnavailableError, StorageError, UsageError
from medshare.keys.base import KeyStore
from medshare.keys.file import FileKeyStore
from medshare.keys.kinds import backend_of
from medshare.keys.os_keyring import KEYRING_FILE, KeyringBackend
from tests.rings import Ring, ring_in_place
from tests.suites.keystore_suite import CREATED, LATER, KeyStoreSuite

BACKEND = KeyringBackend()


@pytest.fixture(autouse=True)
def ring() -> Iterator[Ring]:
    """A keyring of our own in place of that of the system."""
    with ring_in_place() as ring:
        yield ring


class TestKeyringKeyStore(KeyStoreSuite):
    """A keystore of the OS keyring keeps the contract of all backends."""

    def make(self, folder: Path) -> KeyStore:
        """Return a new keystore."""
        return BACKEND.create(folder, created=CREATED)

    def reopen(self, folder: Path) -> KeyStore:
        """Return the same keystore, opened anew."""
        return BACKEND.open(folder)


def test_neither_half_holds_the_other(tmp_path: Path, ring: Ring) -> None:
    """The keyring keeps one key, which is nowhere in the folder, and no seed is in the keyring."""
    store = BACKEND.create(tmp_path, created=CREATED)
    (key,) = ring.kept.values()
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert key.encode() not in files
    assert bytes.fromhex(key) not in files
    for secret in store._material.generation(0).keys:
        assert secret.seed.hex() not in key
    assert (store.backend, backend_of(tmp_path)) == ("keyring", "keyring")


def test_two_stations_of_one_user_have_two_keys(tmp_path: Path, ring: Ring) -> None:
    """Each keystore finds its own key, also after its folder was moved."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = BACKEND.create(tmp_path / "a", created=CREATED)
    BACKEND.create(tmp_path / "b", created=CREATED)
    assert len(set(ring.kept.values())) == 2
    (tmp_path / "a").rename(tmp_path / "moved")
    assert BACKEND.open(tmp_path / "moved").records() == first.records()


def test_a_rotation_leaves_the_keyring_alone(tmp_path: Path, ring: Ring) -> None:
    """What changes is written by us alone: the keyring's entry stays as it was."""
    store = BACKEND.create(tmp_path, created=CREATED)
    before = dict(ring.kept)
    store.settle(store.prepare(created=LATER))
    assert ring.kept == before
    assert BACKEND.open(tmp_path).records() == store.records()


def test_a_keyring_without_the_key_says_so(tmp_path: Path, ring: Ring) -> None:
    """Another user's keyring, or an emptied one, is told from a wrong key."""
    BACKEND.create(tmp_path, created=CREATED)
    ring.kept.clear()
    with pytest.raises(KeyUnavailableError, match="does not hold") as caught:
        BACKEND.open(tmp_path)
    assert "restore" in (caught.value.hint or "")


def test_a_keyring_with_another_key_says_so(tmp_path: Path, ring: Ring) -> None:
    """A key that is not the file's is named as such; nobody is asked for a passphrase."""
    BACKEND.create(tmp_path, created=CREATED)
    for place in ring.kept:
        ring.kept[place] = bytes(32).hex()
    with pytest.raises(KeyUnavailableError, match="not the one of this keystore"):
        BACKEND.open(tmp_path)


def test_a_locked_keyring_says_so(tmp_path: Path, ring: Ring) -> None:
    """What the library raises becomes one of our errors."""
    BACKEND.create(tmp_path, created=CREATED)
    ring.locked = True
    with pytest.raises(KeyUnavailableError, match="KeyringLocked"):
        BACKEND.open(tmp_path)


def test_a_keyring_that_keeps_nothing_makes_no_keystore(tmp_path: Path, ring: Ring) -> None:
    """Keys whose key would be lost at once are not made."""
    ring.keeps = False
    with pytest.raises(KeyUnavailableError, match="does not keep"):
        BACKEND.create(tmp_path, created=CREATED)
    assert list(tmp_path.iterdir()) == []


def test_a_keyring_in_the_clear_is_refused(
    tmp_path: Path, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that its library advises against keeps no key of ours."""
    monkeypatch.setattr(Ring, "priority", 0.5)
    with pytest.raises(KeyUnavailableError, match="no keyring of the system"):
        BACKEND.create(tmp_path, created=CREATED)
    assert ring.kept == {}


@pytest.mark.parametrize("content", [b"", b"x" * 32, b"0" * 31, b"0" * 33, b"\xff" * 32])
def test_a_damaged_name_is_refused(tmp_path: Path, content: bytes) -> None:
    """What cannot be the name of an entry is not asked for."""
    BACKEND.create(tmp_path, created=CREATED)
    (tmp_path / KEYRING_FILE).write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        BACKEND.open(tmp_path)


def test_a_keyring_that_is_not_installed_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the library is missing, the hint says how to install it."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(UsageError) as caught:
        BACKEND.create(tmp_path, created=CREATED)
    assert "medshare[keyring]" in (caught.value.hint or "")


def test_a_keystore_with_a_passphrase_is_called_file(tmp_path: Path) -> None:
    """Without the name of an entry beside it, a keystore is a file with a passphrase."""
    from medshare.keys.sealed import KdfCost

    cheap = KdfCost(memory_kib=64, passes=1, lanes=1)
    store = FileKeyStore.create(tmp_path / "keystore", b"p", created=CREATED, cost=cheap)
    assert (store.backend, backend_of(tmp_path)) == ("file", "file")
