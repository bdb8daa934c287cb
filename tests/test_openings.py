"""How often a parcel was opened at a station: counted first, bounded, and never given back."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical
from medshare.errors import AccessDeniedError, FormatError
from medshare.ids import ParcelId
from medshare.station.openings import (
    FOLDER,
    LABEL,
    MAX_COUNT,
    count_opening,
    openings_of,
    parse_openings,
)

PARCEL, OTHER = ParcelId(bytes(16)), ParcelId(b"\1" * 16)


def test_openings_are_counted(tmp_path: Path) -> None:
    """Each is one more, of that parcel alone, up to the limit and not beyond."""
    assert openings_of(tmp_path, PARCEL) == 0
    for number in (1, 2, 3):
        assert count_opening(tmp_path, PARCEL, limit=3) == number
    with pytest.raises(AccessDeniedError) as refused:
        count_opening(tmp_path, PARCEL, limit=3)
    assert refused.value.code == "grant.openings"
    assert openings_of(tmp_path, PARCEL) == 3
    assert openings_of(tmp_path, OTHER) == 0
    assert count_opening(tmp_path, PARCEL) == 4


def test_two_at_once_are_two(tmp_path: Path) -> None:
    """However many processes open it at the same time, the limit holds."""

    def opens(_: int) -> bool:
        try:
            count_opening(tmp_path, PARCEL, limit=5)
        except AccessDeniedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(opens, range(20))) == 5


def test_a_damaged_count_opens_nothing(tmp_path: Path) -> None:
    """What cannot be read, or is of another parcel, is no count of zero."""
    count_opening(tmp_path, PARCEL)
    file = tmp_path / FOLDER / PARCEL.hex()
    for octets in (b"", b"x", canonical.encode([LABEL, OTHER, 0])):
        file.write_bytes(octets)
        with pytest.raises(FormatError):
            count_opening(tmp_path, PARCEL, limit=9)


@given(st.binary(max_size=140))
def test_no_octets_crash_the_reader(octets: bytes) -> None:
    """Arbitrary octets are refused."""
    with pytest.raises(FormatError):
        parse_openings(octets)


@given(st.binary(min_size=16, max_size=16), st.integers(0, MAX_COUNT))
def test_a_count_comes_back(parcel: bytes, count: int) -> None:
    """What is written is read."""
    octets = canonical.encode([LABEL, parcel, count])
    assert parse_openings(octets) == (parcel, count)
