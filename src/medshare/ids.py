"""Identifiers of parcels, stations and keys, and their only textual form."""

import re
from typing import Final, NewType

from medshare.errors import FormatError

ParcelId = NewType("ParcelId", bytes)
"""16 random octets that name a parcel; written as 32 lower-case hexadecimal digits."""

StationId = NewType("StationId", bytes)
"""32 octets that name a station for life: the digest of its first signature keys."""

PARCEL_ID_SIZE: Final = 16
STATION_ID_SIZE: Final = 32
_PARCEL: Final = re.compile(r"[0-9a-f]{32}")
_STATION: Final = re.compile(r"[0-9a-f]{64}")


def parcel_id_from_text(text: str) -> ParcelId:
    """Return the parcel id written as *text*; raise FormatError for anything else."""
    if not _PARCEL.fullmatch(text):
        raise FormatError("a parcel id is 32 lower-case hexadecimal digits")
    return ParcelId(bytes.fromhex(text))


def station_id_from_text(text: str) -> StationId:
    """Return the station id written as *text*; raise FormatError for anything else."""
    if not _STATION.fullmatch(text):
        raise FormatError("a station id is 64 lower-case hexadecimal digits")
    return StationId(bytes.fromhex(text))
