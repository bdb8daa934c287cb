"""The file `wrap`: a parcel's key under the KEK of its tier, beside the sealed parcel."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical
from medshare.errors import FormatError, KeyUnavailableError, NoIdentityMatchError
from medshare.ids import ParcelId
from medshare.sharing.wrapped import (
    LABEL,
    WRAP_FILE,
    encode_wrap,
    keep_key,
    parcel_key,
    parse_wrap,
    read_wrap,
)
from medshare.station import Identity
from medshare.station.tier_keys import WrappedKey
from tests import builder
from tests.parcels_at_hand import MARY, WANG, Case

LABELS = st.from_regex(r"[a-z]{1,20}/[0-9]{1,9}", fullmatch=True)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A station with parcels at hand."""
    return Case(tmp_path / "home")


def without_identity_keys(identity: Identity) -> Identity:
    """Return *identity* as one that no stanza is addressed to any more."""
    return replace(identity, openers=())


def damaged_wraps(case: Case) -> dict[str, bytes]:
    """Return contents of `wrap` that do not open the first parcel, by what is wrong."""
    (_, envelope, key), (_, other, _) = sorted(case.parcels, key=lambda one: one[0])[:2]
    tiers = case.identity().tiers
    assert tiers is not None
    wrapped = tiers.wrap("routine", key.value)
    good = encode_wrap(envelope.parcel, wrapped)
    return {
        "empty": b"",
        "cut off": good[:-1],
        "longer": good + b"\x00",
        "flipped": good[:-1] + bytes([good[-1] ^ 1]),
        "of another parcel": encode_wrap(other.parcel, wrapped),
        "under another key": encode_wrap(envelope.parcel, tiers.wrap("sensitive", bytes(32))),
        "under no key": encode_wrap(envelope.parcel, WrappedKey("routine/9", wrapped.wrapped)),
        "a key that is not committed to": encode_wrap(
            envelope.parcel, tiers.wrap("routine", bytes(32))
        ),
        "huge": bytes(1 << 17),
    }


def test_a_wrapped_key_opens_without_the_identity(case: Case) -> None:
    """Once its key is wrapped under the KEK of its tier, a parcel needs no identity key."""
    identity = case.identity()
    for folder, envelope, key in case.parcels:
        keep_key(folder, envelope, key, identity)
        assert parcel_key(envelope, folder, without_identity_keys(identity)) == key
        found = read_wrap(folder)
        assert found is not None
        assert (found[0], found[1].label) == (envelope.parcel, "routine/0")
    assert identity.tiers is not None
    assert identity.tiers.book.uses() == {"routine/0": len(case.parcels)}


def test_a_damaged_wrap_costs_nothing(case: Case) -> None:
    """Whatever is in `wrap`, the parcel opens while its envelope's stanza does."""
    folder, envelope, key = min(case.parcels, key=lambda one: one[0])
    identity = case.identity()
    for name, octets in damaged_wraps(case).items():
        (folder / WRAP_FILE).write_bytes(octets)
        assert parcel_key(envelope, folder, identity) == key, name


def test_a_damaged_wrap_opens_nothing_by_itself(case: Case) -> None:
    """Where only `wrap` could open the parcel, a damaged one raises, and never a wrong key."""
    case.rotate()
    folder, envelope, _ = min(case.parcels, key=lambda one: one[0])
    wraps = damaged_wraps(case)
    identity = without_identity_keys(case.identity())
    for name, octets in wraps.items():
        (folder / WRAP_FILE).write_bytes(octets)
        kind = KeyUnavailableError if name == "under no key" else NoIdentityMatchError
        with pytest.raises(kind):
            parcel_key(envelope, folder, identity)


def test_a_damaged_wrap_is_made_anew(case: Case) -> None:
    """A rotation that is run again replaces what does not open."""
    case.rotate()
    folder, envelope, key = min(case.parcels, key=lambda one: one[0])
    (folder / WRAP_FILE).write_bytes(b"damaged")
    assert case.rotate().rewrapped == 1
    assert parcel_key(envelope, folder, without_identity_keys(case.identity())) == key


def test_a_link_in_its_place_is_not_followed(case: Case, tmp_path: Path) -> None:
    """A symbolic link called `wrap` counts as damaged."""
    folder, envelope, key = min(case.parcels, key=lambda one: one[0])
    identity = case.identity()
    keep_key(folder, envelope, key, identity)
    (folder / WRAP_FILE).rename(tmp_path / "elsewhere")
    (folder / WRAP_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NoIdentityMatchError):
        parcel_key(envelope, folder, without_identity_keys(identity))


def test_a_parcel_for_others_does_not_open(case: Case) -> None:
    """A parcel that is not addressed to this station says so."""
    envelope = builder.make_parcel({"d": b"4"}, sender=WANG, recipients=[MARY], label="d").facts
    with pytest.raises(NoIdentityMatchError):
        parcel_key(envelope, case.foreign, case.identity())


@given(st.binary(max_size=200))
def test_no_octets_crash_the_reader_of_wraps(octets: bytes) -> None:
    """Arbitrary octets are refused with FormatError."""
    with pytest.raises(FormatError):
        parse_wrap(octets)


@pytest.mark.parametrize(
    "value",
    [
        ["medshare/1 rewrap", bytes(16), "routine/0", bytes(40)],
        [LABEL, bytes(15), "routine/0", bytes(40)],
        [LABEL, bytes(16), "", bytes(40)],
        [LABEL, bytes(16), "a" * 65, bytes(40)],
        [LABEL, bytes(16), "routine/0", bytes(257)],
        [LABEL, bytes(16), "routine/0"],
        [LABEL, bytes(16), "routine/0", bytes(40), 0],
        {"parcel": bytes(16)},
    ],
)
def test_a_malformed_wrap_is_refused(value: canonical.Value) -> None:
    """A part that is missing, extra, or of another type or length is refused."""
    with pytest.raises(FormatError):
        parse_wrap(canonical.encode(value))


@given(st.binary(min_size=16, max_size=16), LABELS, st.binary(max_size=256))
def test_a_wrap_survives_the_round_trip(parcel: bytes, label: str, wrapped: bytes) -> None:
    """What is encoded is read back as it was."""
    data = encode_wrap(ParcelId(parcel), WrappedKey(label, wrapped))
    found, key = parse_wrap(data)
    assert (found, key.label, key.wrapped) == (parcel, label, wrapped)
