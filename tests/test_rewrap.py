"""The file `rewrap`: a parcel's key for newer keys of a station, beside the sealed parcel."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical
from medshare.errors import FormatError, NoIdentityMatchError
from medshare.ids import ParcelId
from medshare.sealing import ParcelKey
from medshare.sharing.rotate import (
    LABEL,
    REWRAP_FILE,
    encode_rewrap,
    parcel_key,
    parse_rewrap,
)
from tests import builder
from tests.parcels_at_hand import MARY, WANG, Case


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A station with parcels at hand."""
    return Case(tmp_path / "home")


def damaged_rewraps(case: Case) -> dict[str, bytes]:
    """Return contents of `rewrap` that do not open the first parcel, by what is wrong."""
    (_, envelope, key), (_, other, _) = sorted(case.parcels, key=lambda one: one[0])[:2]
    target = case.identity().card.current.kem_keys
    good = encode_rewrap(envelope, key, case.station.id, target)
    wrong_key = encode_rewrap(envelope, ParcelKey(bytes(32)), case.station.id, target)
    return {
        "empty": b"",
        "cut off": good[:-1],
        "longer": good + b"\x00",
        "flipped": good[:-1] + bytes([good[-1] ^ 1]),
        "of another parcel": encode_rewrap(other, key, case.station.id, target),
        "of another station": encode_rewrap(envelope, key, WANG.station, target),
        "to another key": encode_rewrap(envelope, key, case.station.id, WANG.card.current.kem_keys),
        "a key that is not committed to": wrong_key,
        "huge": bytes(1 << 17),
    }


def test_a_damaged_rewrap_costs_nothing(case: Case) -> None:
    """Whatever is in `rewrap`, the parcel opens while its envelope's stanza does."""
    folder, envelope, key = min(case.parcels, key=lambda one: one[0])
    identity = case.identity()
    for name, octets in damaged_rewraps(case).items():
        (folder / REWRAP_FILE).write_bytes(octets)
        assert parcel_key(envelope, folder, identity) == key, name


def test_a_damaged_rewrap_opens_nothing_by_itself(case: Case) -> None:
    """Where only `rewrap` could open the parcel, a damaged one raises, and never a wrong key."""
    case.rotate()
    folder, envelope, _ = min(case.parcels, key=lambda one: one[0])
    identity = case.identity()
    newest = replace(identity, openers=identity.openers[:1])
    for octets in damaged_rewraps(case).values():
        (folder / REWRAP_FILE).write_bytes(octets)
        with pytest.raises(NoIdentityMatchError):
            parcel_key(envelope, folder, newest)


def test_a_damaged_rewrap_is_made_anew(case: Case) -> None:
    """A rotation that is run again replaces what does not open."""
    case.rotate()
    folder, envelope, key = min(case.parcels, key=lambda one: one[0])
    (folder / REWRAP_FILE).write_bytes(b"damaged")
    case.rotate()
    case.require_all_open(slice(0, 1))
    assert parcel_key(envelope, folder, case.identity()) == key


def test_a_parcel_for_others_does_not_open(case: Case) -> None:
    """A parcel that is not addressed to this station says so."""
    envelope = builder.make_parcel({"d": b"4"}, sender=WANG, recipients=[MARY], label="d").facts
    with pytest.raises(NoIdentityMatchError):
        parcel_key(envelope, case.foreign, case.identity())


ENVELOPE = builder.make_parcel({"a": b""}, sender=WANG, recipients=[], label="z").facts


@given(st.binary(max_size=200))
def test_no_octets_crash_the_reader_of_rewraps(octets: bytes) -> None:
    """Arbitrary octets are refused with FormatError."""
    with pytest.raises(FormatError):
        parse_rewrap(octets, ENVELOPE)


@given(st.lists(st.tuples(st.binary(max_size=64), st.text(max_size=8)), max_size=4))
def test_malformed_stanzas_are_refused(items: list[tuple[bytes, str]]) -> None:
    """A right label and parcel do not make a stanza of the wrong shape acceptable."""
    stanzas: list[canonical.Value] = [[one, name, one, one] for one, name in items]
    data = canonical.encode([LABEL, ENVELOPE.parcel, [*stanzas, [b"", "", b""]]])
    with pytest.raises(FormatError):
        parse_rewrap(data, ENVELOPE)


def test_a_rewrap_survives_the_round_trip() -> None:
    """What is encoded is read back as stanzas for the same station, one for each key."""
    keys = WANG.card.current.kem_keys
    data = encode_rewrap(ENVELOPE, ParcelKey(bytes(32)), WANG.station, keys)
    stanzas = parse_rewrap(data, ENVELOPE)
    assert [(one.station, one.algorithm) for one in stanzas] == [
        (WANG.station, key.algorithm) for key in keys
    ]
    with pytest.raises(FormatError, match="another parcel"):
        parse_rewrap(data, replace(ENVELOPE, parcel=ParcelId(bytes(16))))
