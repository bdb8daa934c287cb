"""The record of keys in a token: what is written, what is read, and what is refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical
from medshare.errors import FormatError, KeyUnavailableError, LimitError, UnsupportedVersionError
from medshare.keys.base import Purpose
from medshare.keys.kek import AES_KW, MAX_KEKS
from medshare.keys.material import MAX_GENERATIONS
from medshare.keys.pkcs11_record import (
    LABEL,
    TokenGeneration,
    TokenKek,
    TokenRecord,
    _checksum,
    parse_record,
)
from medshare.keys.pkcs11_uri import Pkcs11Uri, parse_uri
from medshare.suites.base import PublicKey
from tests.strategies import damaged

STORE = bytes(range(8))
KEYS = (
    (Purpose.SIGN, PublicKey("ecdsa-p256", b"\x04" + bytes(64))),
    (Purpose.OPEN, PublicKey("p256", b"\x04" + bytes(64))),
)
FIRST = TokenGeneration(1, pending=False, keys=KEYS)
RECORD = TokenRecord(STORE, Pkcs11Uri(token="medshare", serial="0123"), (FIRST,))

publics = st.builds(PublicKey, st.sampled_from(["ecdsa-p256", "p256", "x"]), st.binary(max_size=80))
generations = st.builds(
    TokenGeneration,
    created=st.integers(0, canonical.MAX_TIME),
    pending=st.just(False),
    keys=st.tuples(*(st.tuples(st.just(purpose), publics) for purpose in Purpose)),
)
labels = st.lists(st.from_regex("[a-z]{1,8}/[0-9]{1,3}", fullmatch=True), unique=True, max_size=4)
records = st.builds(
    lambda store, token, older, newest, pending, names: TokenRecord(
        store,
        Pkcs11Uri(token=token, manufacturer="m"),
        (*older, replace(newest, pending=pending)),
        tuple(TokenKek(name, AES_KW, 1) for name in sorted(names)),
    ),
    st.binary(min_size=8, max_size=8),
    st.sampled_from(["medshare", "a b", "Spital Zürich"]),
    st.lists(generations, max_size=3),
    generations,
    st.booleans(),
    labels,
)


@given(records)
def test_a_record_survives_the_round_trip(record: TokenRecord) -> None:
    """What is encoded parses to the same value."""
    assert parse_record(record.encode()) == record


@given(st.binary(max_size=200) | damaged(RECORD.encode()))
def test_no_octets_crash_the_parser(data: bytes) -> None:
    """Arbitrary octets, and every damage to a record, are refused with FormatError."""
    with pytest.raises(FormatError):
        parse_record(data)


def file_of(**changes: canonical.Value) -> bytes:
    """Return a record with a right checksum, whatever is in it."""
    fields: dict[str, canonical.Value] = {
        "generations": [
            [1, False, [[str(use), key.algorithm, key.value] for use, key in KEYS]],
        ],
        "keks": [],
        "store": STORE,
        "uri": "pkcs11:token=medshare;serial=0123",
    }
    body = canonical.encode(fields | changes)
    return canonical.encode([LABEL, 1, body, _checksum(1, body).value])


def test_the_form_is_the_one_described() -> None:
    """The octets are those that the module's text describes."""
    assert file_of() == RECORD.encode()


GOOD: canonical.Value = [["sign", "ecdsa-p256", b"k"], ["open", "p256", b"k"]]
BAD: dict[str, dict[str, canonical.Value]] = {
    "another field": {"more": 1},
    "short store": {"store": bytes(7)},
    "no URI": {"uri": ""},
    "URI of a key": {"uri": "pkcs11:token=a;id=%01"},
    "URI of nothing": {"uri": "pkcs11:model=a"},
    "URI with a module": {"uri": "pkcs11:token=a?module-path=/tmp/evil.so"},
    "URI with a PIN": {"uri": "pkcs11:token=a?pin-value=1234"},
    "no generation": {"generations": []},
    "too many generations": {"generations": [[1, False, GOOD]] * (MAX_GENERATIONS + 1)},
    "an older one pending": {"generations": [[1, True, GOOD], [2, False, GOOD]]},
    "pending a number": {"generations": [[1, 0, GOOD]]},
    "created true": {"generations": [[True, False, GOOD]]},
    "created in year 10000": {"generations": [[canonical.MAX_TIME + 1, False, GOOD]]},
    "one key only": {"generations": [[1, False, [["sign", "a", b"k"]]]]},
    "keys reversed": {"generations": [[1, False, [["open", "a", b"k"], ["sign", "b", b"k"]]]]},
    "unknown purpose": {"generations": [[1, False, [["sign", "a", b"k"], ["wrap", "b", b"k"]]]]},
    "key of two": {"generations": [[1, False, [["sign", "a"], ["open", "b", b"k"]]]]},
    "huge key": {"generations": [[1, False, [["sign", "a", bytes(5000)], ["open", "b", b""]]]]},
    "too many KEKs": {"keks": [[f"{n:04}", AES_KW, 1] for n in range(MAX_KEKS + 1)]},
    "KEK twice": {"keks": [["a", AES_KW, 1]] * 2},
    "KEKs out of order": {"keks": [["b", AES_KW, 1], ["a", AES_KW, 1]]},
    "KEK of two": {"keks": [["a", AES_KW]]},
    "KEK of unknown algorithm": {"keks": [["a", "rot13", 1]]},
    "KEK with a bad label": {"keks": [["A B", AES_KW, 1]]},
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_record_is_refused(name: str) -> None:
    """Each fault raises FormatError although the checksum is right."""
    with pytest.raises(FormatError):
        parse_record(file_of(**BAD[name]))


def test_a_newer_record_asks_for_an_update() -> None:
    """A later version is not taken for damage."""
    body = canonical.encode({"whatever": "comes"})
    with pytest.raises(UnsupportedVersionError, match="version 2"):
        parse_record(canonical.encode([LABEL, 2, body, _checksum(2, body).value]))


def test_generations_and_keks_have_an_end() -> None:
    """A record takes as many as a card, or a keystore file, and no more."""
    full = replace(RECORD, generations=(FIRST,) * MAX_GENERATIONS)
    RECORD.require_room()
    with pytest.raises(LimitError):
        full.require_room()
    keks = tuple(TokenKek(f"{n:04}", AES_KW, 1) for n in range(MAX_KEKS))
    with pytest.raises(LimitError):
        replace(RECORD, keks=keks).with_kek("one-more", created=1)
    with pytest.raises(KeyUnavailableError):
        RECORD.kek("routine/0")


def test_every_key_of_every_station_has_a_name_of_its_own() -> None:
    """Ids differ by station, purpose, generation and label, and have 16 octets."""
    names = [
        name
        for record in (RECORD, replace(RECORD, store=bytes(8)))
        for name in (
            *(record.identity_key(use, number) for use in Purpose for number in range(3)),
            record.kek_key("routine/0"),
            record.kek_key("0"),
        )
    ]
    assert len({name.id for name in names}) == len({name.label for name in names}) == len(names)
    assert {len(name.id) for name in names} == {16}
    uri = parse_uri(RECORD.uri_of(names[0], "private"))
    assert (uri.object, uri.id, uri.token) == (names[0].label, names[0].id, "medshare")
