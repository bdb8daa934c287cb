"""How often each parcel was opened here: one small file a parcel, in the folder `openings`.

    openings/<parcel> = CBOR [ "medshare/1 openings", parcel, count ]

Counted before anything is shown or written, so that a crash costs an opening and never gives
one away.  Whoever owns the machine can restore an older file: this keeps honest people to what
was agreed, and nobody else (docs/grants.md).
"""

from pathlib import Path
from typing import Final

from medshare import canonical
from medshare.disk.atomic import read_file, write_file
from medshare.errors import AccessDeniedError, FormatError
from medshare.ids import ParcelId
from medshare.keys.lock import exclusive
from medshare.station.permissions import private_folder

FOLDER: Final = "openings"
LABEL: Final = "medshare/1 openings"
MAX_COUNT: Final = (1 << 53) - 1
_MAX_OCTETS: Final = 128
_LOCK: Final = ".lock"
_WHAT: Final = "the count of openings"


def parse_openings(data: bytes) -> tuple[ParcelId, int]:
    """Return a parcel and how often it was opened; raise FormatError when *data* is malformed."""
    match canonical.decode(data, limit=_MAX_OCTETS, what=_WHAT, items=4):
        case [str() as label, bytes() as parcel, int() as count] if (
            label == LABEL and len(parcel) == 16 and type(count) is int and count <= MAX_COUNT
        ):
            return ParcelId(parcel), count
    raise FormatError(f"{_WHAT} is malformed")


def openings_of(home: Path, parcel: ParcelId) -> int:
    """Return how often *parcel* was opened at the station in *home*.

    Raises FormatError or StorageError where that cannot be read: then nothing may be opened.
    """
    path = home / FOLDER / parcel.hex()
    if not path.exists():
        return 0
    found, count = parse_openings(read_file(path, limit=_MAX_OCTETS, what=_WHAT, follow=False))
    if found != parcel:
        raise FormatError(f"{_WHAT} is that of another parcel")
    return count


def count_opening(home: Path, parcel: ParcelId, *, limit: int = 0) -> int:
    """Count one more opening of *parcel*, durably; return how many there are now.

    Raises AccessDeniedError (`grant.openings`), and counts nothing, when there were *limit*
    before; 0 is without limit.
    """
    folder = private_folder(home / FOLDER)
    with exclusive(folder / _LOCK, wait=True, what="the counts of openings are in use"):
        before = openings_of(home, parcel)
        if limit and before >= limit:
            raise AccessDeniedError(
                f"this parcel may be opened {limit} times, and was",
                hint="ask the sender for a new grant",
                code="grant.openings",
            )
        count = min(before + 1, MAX_COUNT)
        octets = canonical.encode([LABEL, parcel, count])
        write_file(folder / parcel.hex(), octets, what=_WHAT)
    return count
