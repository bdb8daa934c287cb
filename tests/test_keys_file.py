"""The keystore as an encrypted file."""

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from medshare.errors import (
    KeyUnavailableError,
    LimitError,
    MedshareError,
    PassphraseError,
    StorageError,
    UnsupportedVersionError,
)
from medshare.keys.base import KeyStore, Purpose, pending_generation
from medshare.keys.file import FileKeyStore, attempts_file, previous_copy
from medshare.keys.kek import AES_KW, MAX_KEKS, SecretKek
from medshare.keys.material import MAX_GENERATIONS
from medshare.keys.sealed import DEFAULT_COST, MAX_FILE, KdfCost, parse_sealed
from tests.fault import Killed, count_changes, killed_at
from tests.suites.keystore_suite import CREATED, LATER, KeyStoreSuite

PASSPHRASE = b"correct horse battery staple"
CHEAP = KdfCost(memory_kib=64, passes=1, lanes=1)


def make(folder: Path, cost: KdfCost = CHEAP) -> FileKeyStore:
    """Return a new keystore in *folder*."""
    return FileKeyStore.create(folder / "keystore", PASSPHRASE, created=CREATED, cost=cost)


def reopen(folder: Path, passphrase: bytes = PASSPHRASE, cost: KdfCost = CHEAP) -> FileKeyStore:
    """Return the keystore in *folder* as another process finds it."""
    return FileKeyStore.open(folder / "keystore", passphrase, cost=cost)


class TestFileKeyStore(KeyStoreSuite):
    """The encrypted file keeps the contract of all backends."""

    def make(self, folder: Path) -> KeyStore:
        """Return a new keystore file."""
        return make(folder)

    def reopen(self, folder: Path) -> KeyStore:
        """Return the same file, opened anew."""
        return reopen(folder)


class TestFileKeyStoreOfBothSuites(TestFileKeyStore):
    """So it does with the keys of both families in one generation."""

    def make(self, folder: Path) -> KeyStore:
        """Return a new keystore file."""
        return FileKeyStore.create(
            folder / "keystore", PASSPHRASE, created=CREATED, suite="gm+intl", cost=CHEAP
        )


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_can_read_it(tmp_path: Path, umask: int) -> None:
    """The file has mode 0600 whatever the umask, also after a change."""
    old = os.umask(umask)
    try:
        make(tmp_path).prepare(created=LATER)
    finally:
        os.umask(old)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o600}


def test_an_existing_keystore_is_never_overwritten(tmp_path: Path) -> None:
    """Making a keystore where one is fails, and leaves the old one as it was."""
    make(tmp_path)
    before = (tmp_path / "keystore").read_bytes()
    with pytest.raises(StorageError, match="not overwritten"):
        make(tmp_path)
    assert (tmp_path / "keystore").read_bytes() == before


def test_the_default_cost_is_that_of_the_standard(tmp_path: Path) -> None:
    """A keystore made without a word costs 64 MiB, 3 passes, 4 lanes (RFC 9106 §4)."""
    FileKeyStore.create(tmp_path / "keystore", PASSPHRASE, created=CREATED)
    header = parse_sealed((tmp_path / "keystore").read_bytes()).header
    assert header.cost == DEFAULT_COST == KdfCost(memory_kib=65536, passes=3, lanes=4)


def test_a_cheap_keystore_is_strengthened_when_it_is_opened(tmp_path: Path) -> None:
    """Opening raises the derivation cost, and keeps keys and passphrase."""
    before = make(tmp_path).records()
    old = parse_sealed((tmp_path / "keystore").read_bytes()).header
    stronger = KdfCost(memory_kib=128, passes=2, lanes=2)
    assert reopen(tmp_path, cost=stronger).records() == before
    new = parse_sealed((tmp_path / "keystore").read_bytes()).header
    assert (old.cost, new.cost) == (CHEAP, stronger)
    assert old.commitment != new.commitment
    assert reopen(tmp_path, cost=stronger).records() == before


def test_a_costly_keystore_is_not_weakened(tmp_path: Path) -> None:
    """Opening with a lower cost in mind leaves the file as it is."""
    make(tmp_path, KdfCost(memory_kib=256, passes=2, lanes=1))
    before = (tmp_path / "keystore").read_bytes()
    reopen(tmp_path, cost=KdfCost(memory_kib=128, passes=2, lanes=4))
    assert (tmp_path / "keystore").read_bytes() == before


def test_a_keystore_that_cannot_be_strengthened_opens_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes no octet more is no reason to keep a station from its keys."""
    records = make(tmp_path).records()

    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert reopen(tmp_path, cost=KdfCost(memory_kib=128, passes=2)).records() == records


def test_a_wrong_passphrase_is_not_repeated_to_anybody(tmp_path: Path) -> None:
    """Neither message nor hint nor cause of the error holds what was typed."""
    make(tmp_path)
    with pytest.raises(PassphraseError) as caught:
        reopen(tmp_path, b"hunter2 hunter2")
    assert "hunter2" not in f"{caught.value!r} {caught.value.hint} {caught.value.__cause__!r}"


def test_no_representation_shows_a_secret(tmp_path: Path) -> None:
    """No seed, key or passphrase is in the repr of the store or of anything inside it."""
    store = make(tmp_path)
    shown = "".join(
        map(repr, (store, store._key, store._material, *store.signers(0), *store.openers(0)))
    )
    secrets = [key.seed for key in store._material.generation(0).keys] + [store._key.value]
    for secret in [*secrets, PASSPHRASE]:
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
        assert secret[:6].hex() not in shown


def test_the_file_holds_no_secret_in_the_clear(tmp_path: Path) -> None:
    """Neither seeds nor the derived key can be found in the octets of the file."""
    store = make(tmp_path)
    octets = (tmp_path / "keystore").read_bytes()
    for key in store._material.generation(0).keys:
        assert key.seed not in octets
    assert store._key.value not in octets


def test_a_change_by_another_process_is_not_overwritten(tmp_path: Path) -> None:
    """Of two processes that would add a generation, the second is told to run again."""
    store = make(tmp_path)
    reopen(tmp_path).prepare(created=LATER)
    there = reopen(tmp_path).records()
    with pytest.raises(StorageError, match="another process"):
        store.prepare(created=LATER + 1)
    assert reopen(tmp_path).records() == there
    assert pending_generation(store) is None


def test_the_last_generation_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """A keystore holds as many generations as a card may list, and no more."""
    store = make(tmp_path)
    generation = store._material.generation(0)
    store._write(type(store._material)((generation,) * MAX_GENERATIONS))
    before = (tmp_path / "keystore").read_bytes()
    with pytest.raises(LimitError, match="at most 256 generations"):
        store.prepare(created=LATER)
    assert (tmp_path / "keystore").read_bytes() == before


def test_the_last_kek_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """A keystore holds a bounded number of KEKs."""
    store = make(tmp_path)
    keks = tuple(SecretKek(f"k{number:04}", AES_KW, 1, bytes(32)) for number in range(MAX_KEKS))
    store._write(replace(store._material, keks=keks))
    before = (tmp_path / "keystore").read_bytes()
    with pytest.raises(LimitError, match="at most 1024"):
        store.make_kek("one-more", created=LATER)
    assert (tmp_path / "keystore").read_bytes() == before
    assert len(reopen(tmp_path).keks()) == MAX_KEKS


def test_a_kek_is_rfc_3394(tmp_path: Path) -> None:
    """Wrapping is AES key wrap: the test vector of RFC 3394 §4.6."""
    kek = SecretKek("a", AES_KW, 1, bytes(range(32)))
    key = bytes.fromhex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f")
    wrapped = "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"
    assert kek.wrap(key).hex() == wrapped
    assert kek.unwrap(bytes.fromhex(wrapped)) == key


def test_killed_at_any_step_of_a_change_nothing_is_lost(tmp_path: Path) -> None:
    """At every step the file is the old keystore or the new one, and opens."""
    template = tmp_path / "template"
    template.mkdir()
    old = make(template).records()
    octets = (template / "keystore").read_bytes()
    steps = count_changes(lambda: reopen(template).prepare(created=LATER))
    assert steps > 10
    outcomes = set()
    for step in range(1, steps + 1):
        folder = tmp_path / str(step)
        folder.mkdir()
        (folder / "keystore").write_bytes(octets)
        with pytest.raises(Killed), killed_at(step):
            reopen(folder).prepare(created=LATER)
        again = reopen(folder)
        assert again.records()[: len(old)] == old
        outcomes.add(pending_generation(again))
        assert not previous_copy(folder / "keystore").exists()
        assert again.prepare(created=LATER) == 1
    assert outcomes == {None, 1}


def test_the_previous_state_stays_until_the_new_one_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that swallows the new state leaves a copy of the old one, and the error names it."""
    store = make(tmp_path)
    before = (tmp_path / "keystore").read_bytes()
    rename = os.rename

    def lying(source: str, target: str, **keywords: int) -> None:
        rename(source, target, **keywords)
        if target == "keystore":
            (tmp_path / "keystore").write_bytes(b"\x00" * 100)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lying)
        with pytest.raises(StorageError) as caught:
            store.prepare(created=LATER)
    copy = previous_copy(tmp_path / "keystore")
    assert str(copy) in (caught.value.hint or "")
    assert copy.read_bytes() == before
    copy.replace(tmp_path / "keystore")
    assert reopen(tmp_path).signers(0)


def flip(octets: bytes, at: int) -> bytes:
    """Return *octets* with one bit changed."""
    changed = bytearray(octets)
    changed[at] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("copied", [True, False], ids=["with a copy", "without"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda octets: b"",
        lambda octets: octets[:-1],
        lambda octets: octets + b"\x00",
        lambda octets: b"\x00" * len(octets),
        lambda octets: flip(octets, len(octets) - 1),
        lambda octets: flip(octets, len(octets) // 2),
        lambda octets: bytes(MAX_FILE + 1),
    ],
    ids=["empty", "cut", "longer", "zeros", "checksum", "middle", "huge"],
)
def test_a_damaged_keystore_names_the_way_out(
    tmp_path: Path, damage: Callable[[bytes], bytes], copied: bool
) -> None:
    """Damage is told from a wrong passphrase, and the copy that may help is named."""
    make(tmp_path)
    path = tmp_path / "keystore"
    octets = path.read_bytes()
    path.write_bytes(damage(octets))
    if copied:
        previous_copy(path).write_bytes(octets)
    with pytest.raises(StorageError, match="is damaged") as caught:
        reopen(tmp_path)
    hint = caught.value.hint or ""
    assert (str(previous_copy(path)) in hint) is copied
    assert "backup" in hint
    assert not attempts_file(path).exists()


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """No single-bit change anywhere in the file passes."""
    make(tmp_path)
    path = tmp_path / "keystore"
    octets = path.read_bytes()
    for at in range(len(octets)):
        path.write_bytes(flip(octets, at))
        with pytest.raises(MedshareError):
            reopen(tmp_path)


def test_a_missing_keystore_is_said_to_be_missing(tmp_path: Path) -> None:
    """Opening nothing is a storage error, not a wrong passphrase."""
    with pytest.raises(StorageError, match="does not exist"):
        reopen(tmp_path)


def test_a_restored_older_keystore_says_which_generation_it_lacks(tmp_path: Path) -> None:
    """Asking for keys that only a newer backup has names them, and the backup."""
    with pytest.raises(KeyUnavailableError, match="generation 3") as caught:
        make(tmp_path).signers(3)
    assert "backup" in (caught.value.hint or "")


def test_a_newer_keystore_asks_for_an_update(tmp_path: Path) -> None:
    """A later version is neither damaged nor a wrong passphrase."""
    from medshare import canonical
    from medshare.keys.sealed import LABEL, _checksum

    body = canonical.encode({"whatever": "comes"})
    newer = canonical.encode([LABEL, 3, body, _checksum(3, body).value])
    (tmp_path / "keystore").write_bytes(newer)
    with pytest.raises(UnsupportedVersionError, match="version 3"):
        reopen(tmp_path)


def test_purposes_are_written_as_stable_words() -> None:
    """The words in the file are part of its format."""
    assert [str(purpose) for purpose in Purpose] == ["sign", "open"]
