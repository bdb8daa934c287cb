"""The file `origin` beside content that was sealed anew: which parcel it was, and from whom.

    origin = CBOR [ "medshare/1 origin", parcel, sender, created, replaced ]

*parcel*, *sender* and *created* are of the parcel as it came; *replaced* is the parcel that
this one took the place of, which is another one when content was sealed anew twice.  It is a
note of this station and proves nothing: what its sender signed is in the receipt.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare import canonical
from medshare.disk.atomic import read_file, write_file
from medshare.envelope import Envelope
from medshare.errors import FormatError
from medshare.ids import PARCEL_ID_SIZE, STATION_ID_SIZE, ParcelId, StationId

ORIGIN_FILE: Final = "origin"
LABEL: Final = "medshare/1 origin"
MAX_ORIGIN: Final = 512
_WHAT: Final = "the origin of a parcel"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where content came from; *created* in seconds since 1970 UTC."""

    parcel: ParcelId
    sender: StationId
    created: int
    replaced: ParcelId

    def encode(self) -> bytes:
        """Return the content of the file."""
        return canonical.encode([LABEL, self.parcel, self.sender, self.created, self.replaced])


def parse_origin(data: bytes) -> Origin:
    """Return the origin in *data*; raise FormatError when it is malformed."""
    match canonical.decode(data, limit=MAX_ORIGIN, what=_WHAT, items=8):
        case [
            str() as label,
            bytes() as parcel,
            bytes() as sender,
            int() as created,
            bytes() as replaced,
        ] if (
            label == LABEL
            and len(parcel) == len(replaced) == PARCEL_ID_SIZE
            and len(sender) == STATION_ID_SIZE
            and type(created) is int
            and created <= canonical.MAX_TIME
        ):
            return Origin(ParcelId(parcel), StationId(sender), created, ParcelId(replaced))
    raise FormatError(f"{_WHAT} is malformed")


def read_origin(folder: Path) -> Origin | None:
    """Return where the content of the parcel in *folder* came from, or None if it came so."""
    path = folder / ORIGIN_FILE
    if not path.exists():
        return None
    return parse_origin(read_file(path, limit=MAX_ORIGIN, what=_WHAT, follow=False))


def write_origin(folder: Path, before: Envelope, earlier: Origin | None) -> None:
    """Note in *folder* that it takes the place of the parcel *before*, itself from *earlier*."""
    if earlier is None:
        origin = Origin(before.parcel, before.sender, before.created, before.parcel)
    else:
        origin = Origin(earlier.parcel, earlier.sender, earlier.created, before.parcel)
    write_file(folder / ORIGIN_FILE, origin.encode(), what=_WHAT)
