"""National algorithms at rest: keystores and key-encryption keys of stations of suite `gm`."""

import hashlib
import hmac
import shutil
from dataclasses import replace
from pathlib import Path

import gmssl_pyx  # type: ignore[import-untyped]  # it has stubs, but not the marker for them
import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import IntegrityError, PassphraseError, StorageError, UsageError
from medshare.keys.base import newest_generation, pending_generation
from medshare.keys.file import FileBackend, FileKeyStore
from medshare.keys.kek import AES_KW, SM4_GCM, SecretKek
from medshare.keys.material import Material, kinds_for, new_generation
from medshare.keys.sealed import KdfCost, SealedStore, new_store_key, parse_sealed
from medshare.keys.second_factor import EnrolledKey, SecondFactor, write_second_factor
from medshare.sharing.rotate import rotate_identity
from medshare.sharing.rotate_tiers import rotate_tiers
from medshare.station import Station
from medshare.station.due import due_keys, keks_of_history, keks_of_store
from medshare.station.key_book import KeyBook
from medshare.station.tier_keys import TierKeys
from medshare.suites.base import SYSTEM_RANDOM
from tests.fault import Killed, count_changes, killed_at
from tests.parcels_at_hand import CHEAP, NOW, PASSPHRASE, THEN, Case
from tests.suites.keystore_suite import CREATED, LATER

KEY = bytes(range(32))


def make(folder: Path, suite: str) -> FileKeyStore:
    """Return a new keystore file with the keys of *suite*."""
    return FileKeyStore.create(
        folder / "keystore", PASSPHRASE, created=CREATED, suite=suite, cost=CHEAP
    )


def reopen(folder: Path, passphrase: bytes = PASSPHRASE) -> FileKeyStore:
    """Return the keystore in *folder* as another process finds it."""
    return FileKeyStore.open(folder / "keystore", passphrase, cost=CHEAP)


def on_disk(folder: Path) -> SealedStore:
    """Return the keystore file in *folder*, not opened."""
    return parse_sealed((folder / "keystore").read_bytes())


# --- the keystore file --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suite", "found"), [("gm", ("gm", 2)), ("gm+intl", ("intl", 1)), ("intl", ("intl", 1))]
)
def test_only_national_keys_lie_under_national_algorithms(
    tmp_path: Path, suite: str, found: tuple[str, int]
) -> None:
    """With keys of both families the ciphers with the longer keys protect them."""
    make(tmp_path, suite)
    header = on_disk(tmp_path).header
    assert (header.suite, header.version) == found


def test_the_key_follows_as_it_is_written_down(tmp_path: Path) -> None:
    """Another implementation of PBKDF2, HKDF, SM3 and SM4-GCM opens the file."""
    store = make(tmp_path, "gm")
    file = on_disk(tmp_path)
    cost, salt = file.header.cost, file.header.salt
    slow = Argon2id(
        salt=salt, length=32, iterations=cost.passes, lanes=cost.lanes, memory_cost=cost.memory_kib
    ).derive(PASSPHRASE)
    base = hashlib.pbkdf2_hmac("sm3", PASSPHRASE, salt + slow, 1024, 32)

    def derived(info: bytes) -> bytes:
        extracted = hmac.digest(bytes(32), base, "sm3")
        return hmac.digest(extracted, info + b"\x01", "sm3")

    assert derived(b"medshare keystore commitment\x00") == file.header.commitment
    key = derived(b"medshare keystore key\x00")[:16]
    associated = b"\x83\x71medshare keystore\x02" + _octets(file.header.encode())
    sealed, tag = file.sealed[:-16], file.sealed[-16:]
    plain = gmssl_pyx.sm4_gcm_decrypt(key, file.nonce, associated, sealed, tag)
    assert plain == store.secrets().encode()


def _octets(data: bytes) -> bytes:
    """Return *data*, of at most 255 octets, as CBOR."""
    return bytes([0x58, len(data)]) + data


def test_the_rounds_follow_the_cost() -> None:
    """At the cost of every day there are some 200,000, and never fewer than GM/T 0091 asks for."""
    assert KdfCost().rounds == 196_608
    assert KdfCost(memory_kib=8, passes=1, lanes=1).rounds == 1024


def test_a_wrong_passphrase_is_told_from_damage(tmp_path: Path) -> None:
    """The commitment tells the one, checksum and tag the other."""
    make(tmp_path, "gm")
    with pytest.raises(PassphraseError):
        reopen(tmp_path, b"another passphrase")
    octets = bytearray((tmp_path / "keystore").read_bytes())
    octets[len(octets) // 2] ^= 1
    (tmp_path / "keystore").write_bytes(octets)
    with pytest.raises(StorageError, match="damaged"):
        reopen(tmp_path)


def test_a_header_of_another_suite_does_not_open(tmp_path: Path) -> None:
    """Whoever writes the other suite into the header has a file that no passphrase opens."""
    make(tmp_path, "gm")
    file = on_disk(tmp_path)
    changed = replace(file, header=replace(file.header, suite="intl"))
    (tmp_path / "keystore").write_bytes(changed.encode())
    with pytest.raises(PassphraseError):
        reopen(tmp_path)


def test_a_file_from_before_is_taken_and_written_anew(tmp_path: Path) -> None:
    """National keys that lay under AES open as ever, and lie under SM4 from then on."""
    generation = new_generation(SYSTEM_RANDOM, created=CREATED, kinds=kinds_for("gm"))
    keks = (SecretKek("routine/0", AES_KW, CREATED, KEY),)
    old = Material((generation,), keks)
    key = new_store_key(PASSPHRASE, CHEAP, random=SYSTEM_RANDOM, suite="intl")
    (tmp_path / "keystore").write_bytes(key.close(old, random=SYSTEM_RANDOM).encode())
    assert on_disk(tmp_path).header.version == 1
    assert reopen(tmp_path).secrets() == old
    assert on_disk(tmp_path).header.suite == "gm"
    assert reopen(tmp_path).secrets() == old


def test_a_file_follows_its_newest_keys_in_either_direction(tmp_path: Path) -> None:
    """From one family to the other, and back: the next opening writes it anew."""
    make(tmp_path, "intl")
    make_next(tmp_path, "gm")
    assert reopen(tmp_path).secrets().suite_at_rest == "gm"
    assert on_disk(tmp_path).header.suite == "gm"
    make_next(tmp_path, "gm+intl")
    reopen(tmp_path)
    assert on_disk(tmp_path).header.suite == "intl"


def make_next(folder: Path, suite: str) -> int:
    """Make the next generation, with the keys of *suite*, and settle it."""
    store = reopen(folder)
    number = store.prepare(created=LATER, suite=suite)
    store.settle(number)
    return number


def test_a_file_that_is_written_anew_opens_beside_a_second_factor(tmp_path: Path) -> None:
    """What an interrupted change of the second factor left to the passphrase stays openable."""
    store = make(tmp_path, "intl")
    factor = SecondFactor((EnrolledKey(b"credential", bytes(32), bytes(40)),), plain=(store.salt,))
    write_second_factor(tmp_path, factor)
    backend = FileBackend(PASSPHRASE, cost=CHEAP)
    backend.open(tmp_path).prepare(created=LATER, suite="gm")
    backend.open(tmp_path)
    assert on_disk(tmp_path).header.suite == "gm"
    dearer = replace(CHEAP, memory_kib=128)
    FileBackend(PASSPHRASE, cost=dearer).open(tmp_path)
    assert on_disk(tmp_path).header.cost == dearer
    assert backend.open(tmp_path).secrets().pending == 1


def test_pending_keys_of_another_kind_come_first(tmp_path: Path) -> None:
    """Who asks for another suite while a rotation is under way is told to complete that."""
    store = make(tmp_path, "intl")
    assert store.prepare(created=LATER, suite="gm") == 1
    assert store.prepare(created=LATER) == 1
    with pytest.raises(UsageError, match="interrupted") as caught:
        store.prepare(created=LATER, suite="gm+intl")
    assert "rotate-key --identity" in (caught.value.hint or "")


# --- key-encryption keys ------------------------------------------------------------------


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32))
def test_a_wrapped_key_comes_back(secret: bytes, key: bytes) -> None:
    """SM4-GCM gives back what it wrapped, each time in other octets, which GmSSL opens too."""
    kek = SecretKek("routine/0", SM4_GCM, 1, secret)
    wrapped = kek.wrap(key)
    assert kek.unwrap(wrapped) == key
    assert wrapped != kek.wrap(key)
    associated = b"medshare/1 kek\x00routine/0"
    nonce, sealed, tag = wrapped[:12], wrapped[12:44], wrapped[44:]
    assert gmssl_pyx.sm4_gcm_decrypt(secret, nonce, associated, sealed, tag) == key


@pytest.mark.parametrize("at", [0, 11, 12, 43, 44, 59])
def test_a_changed_wrap_does_not_open(at: int) -> None:
    """One bit in nonce, key or tag is enough, and so is another label or length."""
    kek = SecretKek("routine/0", SM4_GCM, 1, bytes(16))
    octets = bytearray(kek.wrap(KEY))
    other = replace(kek, label="routine/1")
    with pytest.raises(IntegrityError, match="does not unwrap"):
        other.unwrap(bytes(octets))
    octets[at] ^= 1
    for wrong in (bytes(octets), bytes(octets[:-1]), b"", bytes(40)):
        with pytest.raises(IntegrityError, match="does not unwrap"):
            kek.unwrap(wrong)


def test_a_first_national_key_raises_the_version_for_all_processes(tmp_path: Path) -> None:
    """A process that opened the file before finds the key that another one has made since."""
    make(tmp_path, "intl")
    first, second = reopen(tmp_path), reopen(tmp_path)
    first.make_kek("restricted/0", created=LATER, suite="gm")
    assert on_disk(tmp_path).header.version == 2
    wrapped = second.wrap_key("restricted/0", KEY)
    second.make_kek("routine/0", created=LATER)
    assert reopen(tmp_path).unwrap_key("restricted/0", wrapped) == KEY
    assert [one.algorithm for one in reopen(tmp_path).keks()] == [SM4_GCM, AES_KW]


POLICY = """version = 1
[tiers.routine]
rotate_after = "never"
[tiers.restricted]
rotate_after = "never"
suites = ["gm"]
"""


@pytest.mark.parametrize(
    ("suite", "policy", "found"),
    [
        ("gm", "", {"routine": SM4_GCM, "restricted": SM4_GCM}),
        ("intl", "", {"routine": AES_KW, "restricted": AES_KW}),
        ("gm+intl", POLICY, {"routine": AES_KW, "restricted": SM4_GCM}),
        ("gm", POLICY.replace("gm", "intl"), {"routine": SM4_GCM, "restricted": AES_KW}),
    ],
)
def test_station_and_tier_say_how_a_tier_key_wraps(
    tmp_path: Path, suite: str, policy: str, found: dict[str, str]
) -> None:
    """A tier of one suite wraps by its algorithm; others by that of the station's keys."""
    tiers = tiers_of(station_with(tmp_path / "home", suite, policy))
    for tier in found:
        tiers.wrap(tier, KEY)
    assert {one.label.split("/")[0]: one.algorithm for one in tiers.all()} == found


def station_with(home: Path, suite: str, policy: str) -> Station:
    """Return a new station in *home*."""
    station = Station.create(
        home, name="us", passphrase=PASSPHRASE, now=THEN, suite=suite, cost=CHEAP
    )
    if policy:
        (home / "policy.toml").write_text(policy)
        (home / "policy.toml").chmod(0o600)
    return station


def tiers_of(station: Station) -> TierKeys:
    """Return the tier keys of *station*."""
    store = station.keystore(PASSPHRASE, cost=CHEAP)
    return TierKeys(store, station.policy, station.home, clock=lambda: THEN)


# --- from one suite to another ------------------------------------------------------------


@pytest.mark.parametrize("suite", ["gm", "gm+intl"])
def test_a_station_changes_its_suite(tmp_path: Path, suite: str) -> None:
    """It keeps id and parcels, its new card continues the old one, and a KEK follows."""
    case = Case(tmp_path / "home")
    before = case.station.card
    rotation = rotate_identity(Station.open(case.home), case.store(), now=NOW, suite=suite)
    assert (rotation.generation, rotation.failed) == (1, ())
    station = Station.open(case.home)
    assert station.card.continues(before)
    assert station.card.station == before.station
    assert station.card.current.suite == "gm"
    kinds = [(one.purpose, one.public.algorithm) for one in case.store().records()]
    assert tuple(kinds[3:]) == kinds_for(suite)
    case.require_all_open()
    wanted = {"gm": SM4_GCM, "gm+intl": AES_KW}[suite]
    assert {kek.algorithm for kek in case.store().keks()} == {wanted}
    assert due(station) == []


def test_killed_at_any_step_the_change_is_completed(tmp_path: Path) -> None:
    """Each parcel opens at every step, and `rotate-key` alone goes on to the same keys."""
    template = Case(tmp_path / "template")
    before = template.identity().card

    def change(home: Path) -> None:
        store = Station.open(home).keystore(PASSPHRASE, cost=CHEAP)
        rotate_identity(Station.open(home), store, now=NOW, suite="gm")

    shutil.copytree(template.home, tmp_path / "counted", symlinks=True)
    steps = count_changes(lambda: change(tmp_path / "counted"))
    assert steps > 30
    for step in range(1, steps + 1, 3):
        home = tmp_path / str(step)
        shutil.copytree(template.home, home, symlinks=True)
        with pytest.raises(Killed), killed_at(step):
            change(home)
        case = Case.at(home, template)
        case.require_all_open()
        if newest_generation(case.store()) == 0:
            change(home)
        elif pending_generation(case.store()) is not None:
            rotate_identity(Station.open(home), case.store(), now=NOW)
        case.require_all_open()
        card = Station.open(home).card
        assert card.continues(before)
        assert (card.current.number, card.current.suite) == (1, "gm")


def test_a_tier_key_of_the_other_suite_is_due(tmp_path: Path) -> None:
    """After a change of suite, the tier keys from before are replaced by the next `--due`."""
    case = Case(tmp_path / "home")
    tiers_of(Station.open(case.home)).wrap("routine", KEY)
    rotate_identity(Station.open(case.home), case.store(), now=NOW, suite="gm")
    assert due(Station.open(case.home)) == [("routine", "routine/0")]
    rotations = rotate_tiers(Station.open(case.home), case.store(), ["routine"], now=NOW)
    assert rotations.tiers[0].destroyed == ("routine/0",)
    assert [kek.algorithm for kek in case.store().keks()] == [SM4_GCM]
    case.require_all_open()
    assert due(Station.open(case.home)) == []


def due(station: Station) -> list[tuple[str, str]]:
    """Return what is due now, by the history; by the keystore it is the same."""
    store = station.keystore(PASSPHRASE, cost=CHEAP)
    keks = keks_of_history(KeyBook(station.home))
    assert keks == keks_of_store(store)
    return [(one.key, one.label) for one in due_keys(station, keks, now=NOW)]


def test_an_unknown_suite_changes_nothing(tmp_path: Path) -> None:
    """A suite that no station can have is refused before anything is noted."""
    case = Case(tmp_path / "home")
    before = KeyBook(case.home).entries()
    with pytest.raises(UsageError, match="cannot have suite"):
        rotate_identity(Station.open(case.home), case.store(), now=NOW, suite="nothing")
    assert KeyBook(case.home).entries() == before
    assert newest_generation(case.store()) == 0
