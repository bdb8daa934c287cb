"""Withdrawals of grants that this station had, as far as it was told: `withdrawals/<parcel>`.

Each is the signed object itself (`medshare.withdrawal`), kept once its keys were those of a
contact here; whether that is the sender of the parcel is looked at when it is used.  A parcel
whose sender has withdrawn the grant is not opened here any more.
"""

from pathlib import Path
from typing import Final

from medshare.disk.atomic import read_file, write_file
from medshare.envelope import Envelope
from medshare.errors import IntegrityError
from medshare.ids import ParcelId, StationId
from medshare.station.permissions import private_folder
from medshare.withdrawal import MAX_WITHDRAWAL, Withdrawal, parse_withdrawal

FOLDER: Final = "withdrawals"
_WHAT: Final = "a withdrawal"


def keep_withdrawal(home: Path, parcel: ParcelId, octets: bytes) -> None:
    """Keep the withdrawal *octets*, whose signer was checked, at the station in *home*."""
    write_file(private_folder(home / FOLDER) / parcel.hex(), octets, what=_WHAT)


def withdrawal_of(home: Path, envelope: Envelope, station: StationId) -> Withdrawal | None:
    """Return what takes back the grant of *station*, whose home is *home*; None if nothing does.

    One that is not by the sender of *envelope*, or from somebody else, takes back nothing.
    Raises FormatError, SignatureError or StorageError when what is kept is not good: then the
    parcel must not be opened either.
    """
    path = home / FOLDER / envelope.parcel.hex()
    if not path.exists():
        return None
    found = parse_withdrawal(read_file(path, limit=MAX_WITHDRAWAL, what=_WHAT, follow=False))
    try:
        found.require_of(envelope)
    except IntegrityError:
        return None
    return found if found.recipient == station else None
