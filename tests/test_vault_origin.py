"""The file `origin`: a note of what content was before it was sealed anew."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical
from medshare.errors import FormatError
from medshare.ids import ParcelId, StationId
from medshare.vault.origin import LABEL, Origin, parse_origin, read_origin, write_origin
from tests.builder import make_identity, make_parcel

IDS = st.binary(min_size=16, max_size=16).map(ParcelId)
STATIONS = st.binary(min_size=32, max_size=32).map(StationId)
FIRST, SECOND = (
    make_parcel({"a": b"1"}, sender=make_identity(name), recipients=[], label=name).facts
    for name in ("first", "second")
)


@given(st.builds(Origin, IDS, STATIONS, st.integers(0, canonical.MAX_TIME), IDS))
def test_an_origin_survives_the_round_trip(origin: Origin) -> None:
    """What is written is read back as it was."""
    assert parse_origin(origin.encode()) == origin


@given(st.binary(max_size=200))
def test_no_octets_crash_the_reader(octets: bytes) -> None:
    """Arbitrary octets are refused with FormatError."""
    with pytest.raises(FormatError):
        parse_origin(octets)


@pytest.mark.parametrize(
    "value",
    [
        [LABEL, bytes(16), bytes(32), 1],
        [LABEL, bytes(16), bytes(31), 1, bytes(16)],
        [LABEL, bytes(16), bytes(32), True, bytes(16)],
        [LABEL, bytes(16), bytes(32), canonical.MAX_TIME + 1, bytes(16)],
        ["medshare/1 wrap", bytes(16), bytes(32), 1, bytes(16)],
    ],
)
def test_a_malformed_origin_is_refused(value: canonical.Value) -> None:
    """A part that is missing, or of another type or length, is refused."""
    with pytest.raises(FormatError):
        parse_origin(canonical.encode(value))


def test_content_that_is_sealed_anew_twice_keeps_its_first_origin(tmp_path: Path) -> None:
    """The first sender and parcel stay, whichever parcel was replaced last."""
    assert read_origin(tmp_path) is None
    write_origin(tmp_path, FIRST, None)
    once = read_origin(tmp_path)
    assert once == Origin(FIRST.parcel, FIRST.sender, FIRST.created, FIRST.parcel)
    write_origin(tmp_path, SECOND, once)
    assert read_origin(tmp_path) == Origin(FIRST.parcel, FIRST.sender, FIRST.created, SECOND.parcel)
