"""The octets of a keystore file: what is written, what is read, and what is refused."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical
from medshare.errors import (
    FormatError,
    IntegrityError,
    LimitError,
    PassphraseError,
    UnsupportedVersionError,
)
from medshare.keys.base import Purpose
from medshare.keys.kek import AES_KW, MAX_KEKS, SecretKek
from medshare.keys.material import (
    IDENTITY_KEYS,
    MAX_GENERATIONS,
    MAX_KEYS,
    Material,
    SecretGeneration,
    SecretKey,
    kinds_for,
    new_generation,
    parse_material,
    secret_size,
)
from medshare.keys.sealed import (
    LABEL,
    MAX_LANES,
    MAX_MEMORY_KIB,
    MAX_PASSES,
    Header,
    KdfCost,
    SealedStore,
    StoreKey,
    _checksum,
    new_store_key,
    parse_sealed,
    store_key_for,
)
from medshare.suites.base import SYSTEM_RANDOM

PASSPHRASE = b"correct horse battery staple"
CHEAP = KdfCost(memory_kib=64, passes=1, lanes=1)
HEADER = Header(CHEAP, salt=bytes(16), commitment=bytes(32))
STORE = SealedStore(HEADER, nonce=bytes(12), sealed=bytes(40))


def file_of(body: bytes, *, label: str = LABEL, version: int = 1) -> bytes:
    """Return a keystore file with a right checksum, whatever is in it."""
    return canonical.encode([label, version, body, _checksum(version, body).value])


def body_of(header: canonical.Value, nonce: canonical.Value, sealed: canonical.Value) -> bytes:
    """Return the body of a keystore file, whatever is in it."""
    octets = header if isinstance(header, bytes) else canonical.encode(header)
    return canonical.encode([octets, nonce, sealed])


def header_with(**changes: canonical.Value) -> bytes:
    """Return a file whose header differs from a good one in *changes*."""
    good = canonical.decode(HEADER.encode(), limit=1024, what="test")
    assert isinstance(good, dict)
    merged = {key: value for key, value in (good | changes).items() if value is not None}
    return file_of(body_of(merged, bytes(12), bytes(40)))


MALFORMED: dict[str, tuple[bytes, type[FormatError]]] = {
    "nothing": (b"", FormatError),
    "not CBOR": (b"\xff\xff", FormatError),
    "another object": (canonical.encode(["medshare/1 card", []]), FormatError),
    "another label": (file_of(STORE.encode(), label="medshare keyring"), FormatError),
    "checksum of another": (
        canonical.encode([LABEL, 1, b"body", bytes(32)]),
        FormatError,
    ),
    "checksum too short": (canonical.encode([LABEL, 1, b"body", bytes(31)]), FormatError),
    "version true": (canonical.encode([LABEL, True, b"", bytes(32)]), FormatError),
    "version 0": (file_of(b"", version=0), UnsupportedVersionError),
    "version 3": (file_of(b"", version=3), UnsupportedVersionError),
    "trailing octet": (STORE.encode() + b"\x00", FormatError),
    "body not CBOR": (file_of(b"\x00\x01"), FormatError),
    "body of two": (file_of(canonical.encode([b"", b""])), FormatError),
    "nonce too short": (file_of(body_of(HEADER.encode(), bytes(11), bytes(40))), FormatError),
    "only a tag": (file_of(body_of(HEADER.encode(), bytes(12), bytes(16))), FormatError),
    "header a list": (file_of(body_of([], bytes(12), bytes(40))), FormatError),
    "header too long": (file_of(body_of(bytes(2000), bytes(12), bytes(40))), LimitError),
    "unknown field": (header_with(extra=1), FormatError),
    "missing field": (header_with(salt=None), FormatError),
    "another kdf": (header_with(kdf="scrypt"), FormatError),
    "salt too short": (header_with(salt=bytes(15)), FormatError),
    "commitment too long": (header_with(commitment=bytes(33)), FormatError),
    "64 GiB of memory": (header_with(memory_kib=64 << 20), LimitError),
    "a kibibyte too much": (header_with(memory_kib=MAX_MEMORY_KIB + 1), LimitError),
    "too little memory": (header_with(memory_kib=31, lanes=4), LimitError),
    "no pass": (header_with(passes=0), LimitError),
    "endless passes": (header_with(passes=MAX_PASSES + 1), LimitError),
    "no lane": (header_with(lanes=0), LimitError),
    "a lane too many": (header_with(lanes=MAX_LANES + 1), LimitError),
    "passes true": (header_with(passes=True), FormatError),
    "huge": (bytes(4 << 20), LimitError),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_refused(name: str) -> None:
    """Each fault has its class of error, and none costs a key derivation."""
    octets, expected = MALFORMED[name]
    with pytest.raises(FormatError) as caught:
        parse_sealed(octets)
    assert type(caught.value) is expected


def test_the_bounds_themselves_are_allowed() -> None:
    """The most that a file may ask for is read; nothing is derived by reading."""
    header = parse_sealed(
        header_with(memory_kib=MAX_MEMORY_KIB, passes=MAX_PASSES, lanes=MAX_LANES)
    ).header
    assert header.cost == KdfCost(MAX_MEMORY_KIB, MAX_PASSES, MAX_LANES)


@given(st.binary(max_size=300))
def test_no_octets_crash_the_parser(octets: bytes) -> None:
    """Arbitrary octets are refused with FormatError, as a file and as a body."""
    for data in (octets, file_of(octets)):
        with pytest.raises(FormatError):
            parse_sealed(data)


@given(st.integers(0), st.integers(0, 255))
def test_what_parses_is_what_was_written(at: int, value: int) -> None:
    """A changed octet is refused, or changes nothing: one file has one spelling."""
    octets = bytearray(STORE.encode())
    octets[at % len(octets)] = value
    try:
        found = parse_sealed(bytes(octets))
    except FormatError:
        return
    assert found == STORE
    assert bytes(octets) == STORE.encode()


costs = st.integers(1, MAX_LANES).flatmap(
    lambda lanes: st.builds(
        KdfCost,
        st.integers(8 * lanes, MAX_MEMORY_KIB),
        st.integers(1, MAX_PASSES),
        st.just(lanes),
    )
)


@given(costs, st.binary(min_size=16, max_size=16), st.binary(min_size=17, max_size=99))
def test_a_file_survives_the_round_trip(cost: KdfCost, salt: bytes, sealed: bytes) -> None:
    """What is encoded parses to the same value."""
    store = SealedStore(Header(cost, salt, bytes(32)), bytes(12), sealed)
    assert parse_sealed(store.encode()) == store


def secrets(purpose: Purpose, algorithm: str) -> st.SearchStrategy[SecretKey]:
    """Keys of *algorithm*."""
    size = secret_size(purpose, algorithm)
    octets = st.binary(min_size=size or 0, max_size=size)
    return st.builds(SecretKey, st.just(purpose), st.just(algorithm), octets)


keys = st.sampled_from(sorted(IDENTITY_KEYS)).flatmap(
    lambda suite: st.tuples(*(secrets(purpose, name) for purpose, name in IDENTITY_KEYS[suite]))
)
generations = st.builds(
    SecretGeneration, created=st.integers(0, canonical.MAX_TIME), pending=st.just(False), keys=keys
)
labels = st.lists(st.from_regex("[a-z]{1,8}/[0-9]{1,3}", fullmatch=True), unique=True, max_size=4)
keks = labels.map(
    lambda names: tuple(
        SecretKek(name, AES_KW, 1, name.encode().ljust(32)) for name in sorted(names)
    )
)
materials = st.builds(
    lambda older, newest, pending, keks: Material((*older, replace(newest, pending=pending)), keks),
    st.lists(generations, max_size=3),
    generations,
    st.booleans(),
    keks,
)


@given(materials)
def test_material_survives_the_round_trip(material: Material) -> None:
    """What is encoded parses to the same value."""
    assert parse_material(material.encode()) == material


@given(st.binary(max_size=200))
def test_no_octets_crash_the_reader_of_material(octets: bytes) -> None:
    """Arbitrary octets are refused with FormatError."""
    with pytest.raises(FormatError):
        parse_material(octets)


GOOD_KEYS: list[canonical.Value] = [
    [str(purpose), name, bytes(secret_size(purpose, name) or 0)]
    for purpose, name in IDENTITY_KEYS["intl"]
]
BAD_MATERIAL: dict[str, canonical.Value] = {
    "no generation": [],
    "too many generations": [[1, False, GOOD_KEYS]] * (MAX_GENERATIONS + 1),
    "an older one pending": [[1, True, GOOD_KEYS], [2, False, GOOD_KEYS]],
    "pending a number": [[1, 0, GOOD_KEYS]],
    "created true": [[True, False, GOOD_KEYS]],
    "created in year 10000": [[canonical.MAX_TIME + 1, False, GOOD_KEYS]],
    "no keys": [[1, False, []]],
    "only signatures": [[1, False, GOOD_KEYS[:2]]],
    "too many keys": [[1, False, GOOD_KEYS * MAX_KEYS]],
    "unknown purpose": [[1, False, [*GOOD_KEYS, ["wrap", "ed25519", bytes(32)]]]],
    "unknown algorithm": [[1, False, [*GOOD_KEYS, ["sign", "rsa", bytes(32)]]]],
    "key for another purpose": [[1, False, [*GOOD_KEYS, ["open", "ed25519", bytes(32)]]]],
    "seed too short": [[1, False, [*GOOD_KEYS, ["sign", "ed25519", bytes(31)]]]],
    "key of two": [[1, False, [*GOOD_KEYS, ["sign", "ed25519"]]]],
    "generation a map": [{}],
}


@pytest.mark.parametrize("name", BAD_MATERIAL)
def test_malformed_material_is_refused(name: str) -> None:
    """Each fault raises FormatError, also behind a right passphrase."""
    with pytest.raises(FormatError):
        parse_material(canonical.encode({"generations": BAD_MATERIAL[name], "keks": []}))


BAD_KEKS: dict[str, canonical.Value] = {
    "not a list": {},
    "too many": [[f"{number:04}", AES_KW, 1, bytes(32)] for number in range(MAX_KEKS + 1)],
    "twice": [["a", AES_KW, 1, bytes(32)]] * 2,
    "out of order": [["b", AES_KW, 1, bytes(32)], ["a", AES_KW, 1, bytes(32)]],
    "of three": [["a", AES_KW, 1]],
    "short key": [["a", AES_KW, 1, bytes(16)]],
    "unknown algorithm": [["a", "rot13", 1, bytes(32)]],
    "label": [["A/../b", AES_KW, 1, bytes(32)]],
    "created true": [["a", AES_KW, True, bytes(32)]],
    "created in year 10000": [["a", AES_KW, canonical.MAX_TIME + 1, bytes(32)]],
}


@pytest.mark.parametrize("name", BAD_KEKS)
def test_malformed_keks_are_refused(name: str) -> None:
    """Each fault raises FormatError, and one generation with one KEK does not."""
    generations: canonical.Value = [[1, False, GOOD_KEYS]]
    good: canonical.Value = [["a", AES_KW, 1, bytes(32)]]
    parsed = parse_material(canonical.encode({"generations": generations, "keks": good}))
    assert len(parsed.keks) == 1
    with pytest.raises(FormatError):
        parse_material(canonical.encode({"generations": generations, "keks": BAD_KEKS[name]}))


def closed() -> tuple[StoreKey, SealedStore]:
    """Return a key with a keystore that it closed."""
    key = new_store_key(PASSPHRASE, CHEAP, random=SYSTEM_RANDOM)
    material = Material((new_generation(SYSTEM_RANDOM, created=1, kinds=kinds_for("intl")),))
    return key, key.close(material, random=SYSTEM_RANDOM)


def test_the_passphrase_opens_what_it_closed() -> None:
    """The key derived anew from the passphrase opens the same content."""
    key, store = closed()
    assert store_key_for(store, PASSPHRASE).open(store) == key.open(store)


@pytest.mark.parametrize("wrong", [b"", PASSPHRASE[:-1], PASSPHRASE + b"\x00", PASSPHRASE.upper()])
def test_another_passphrase_does_not(wrong: bytes) -> None:
    """A passphrase that differs in any octet is known to be wrong before decryption."""
    _, store = closed()
    with pytest.raises(PassphraseError):
        store_key_for(store, wrong)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda store: replace(store, nonce=bytes(12)),
        lambda store: replace(store, sealed=store.sealed[:-1] + bytes([store.sealed[-1] ^ 1])),
        lambda store: replace(store, sealed=store.sealed[1:]),
        lambda store: replace(
            store, header=replace(store.header, cost=KdfCost(memory_kib=72, passes=1, lanes=1))
        ),
    ],
    ids=["nonce", "tag", "content", "header"],
)
def test_whatever_is_tampered_with_does_not_open(
    tamper: Callable[[SealedStore], SealedStore],
) -> None:
    """The key opens nothing but the header, nonce and content that it closed."""
    key, store = closed()
    with pytest.raises(IntegrityError):
        key.open(tamper(store))


def test_closing_twice_never_uses_a_nonce_twice() -> None:
    """The same content under the same key looks different each time."""
    key = new_store_key(PASSPHRASE, CHEAP, random=SYSTEM_RANDOM)
    material = Material((new_generation(SYSTEM_RANDOM, created=1, kinds=kinds_for("intl")),))
    nonces = {key.close(material, random=SYSTEM_RANDOM).nonce for _ in range(50)}
    assert len(nonces) == 50


def test_secret_values_have_no_telling_representation() -> None:
    """Neither a key nor what holds it shows a seed."""
    material = Material(
        (new_generation(lambda size: b"S" * size, created=1, kinds=kinds_for("intl")),)
    )
    key = StoreKey(HEADER, b"K" * 32)
    kek = SecretKek("a", AES_KW, 1, b"K" * 32)
    for value in (material, *material.generations, *material.generation(0).keys, key, kek):
        assert "SSS" not in repr(value)
        assert "KKK" not in repr(value)
    assert repr(material.generation(0).of(Purpose.OPEN)[0]).startswith("SecretKey(open")
