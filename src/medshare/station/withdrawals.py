"""Withdrawals of grants: `withdrawals/<parcel>.<sender>` of those that this station had.

Each is the signed object itself (`medshare.withdrawal`), kept once its keys were those of a
contact here; whether that is the sender of the parcel is looked at when it is used.  Each
contact has a place of its own: what one signs never takes the place of what the sender did.  A
parcel whose sender has withdrawn the grant is not opened here any more.

What this station took back itself is in `withdrawals/<parcel>.<sender>.<recipient>`.
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


def keep_withdrawal(home: Path, octets: bytes) -> None:
    """Keep the withdrawal *octets*, whose signer was checked, at the station in *home*."""
    found = parse_withdrawal(octets)
    private_folder(home / FOLDER)
    write_file(_path(home, found.parcel, found.sender), octets, what=_WHAT)


def keep_own(home: Path, octets: bytes) -> None:
    """Keep *octets*, with which the station in *home* has taken back a grant itself."""
    found = parse_withdrawal(octets)
    private_folder(home / FOLDER)
    write_file(_own(home, found.parcel, found.sender, found.recipient), octets, what=_WHAT)


def _own(home: Path, parcel: ParcelId, sender: StationId, recipient: StationId) -> Path:
    return home / FOLDER / f"{parcel.hex()}.{sender.hex()}.{recipient.hex()}"


def own_withdrawal(home: Path, envelope: Envelope, recipient: StationId) -> Withdrawal | None:
    """Return how the sender of *envelope*, at home in *home*, took back what *recipient* had.

    None when it did not.  Raises FormatError, SignatureError, IntegrityError or StorageError
    when what is kept is not good.
    """
    path = _own(home, envelope.parcel, envelope.sender, recipient)
    if not path.exists():
        return None
    found = parse_withdrawal(read_file(path, limit=MAX_WITHDRAWAL, what=_WHAT, follow=False))
    found.require_of(envelope)
    if found.recipient != recipient:
        raise IntegrityError("a withdrawal is kept under the name of another recipient")
    return found


def _path(home: Path, parcel: ParcelId, sender: StationId) -> Path:
    return home / FOLDER / f"{parcel.hex()}.{sender.hex()}"


def withdrawal_of(home: Path, envelope: Envelope, station: StationId) -> Withdrawal | None:
    """Return what takes back the grant of *station*, whose home is *home*; None if nothing does.

    One that is not by the sender of *envelope*, or from somebody else, takes back nothing.
    Raises FormatError, SignatureError or StorageError when what is kept is not good: then the
    parcel must not be opened either.
    """
    path = _path(home, envelope.parcel, envelope.sender)
    if not path.exists():
        return None
    found = parse_withdrawal(read_file(path, limit=MAX_WITHDRAWAL, what=_WHAT, follow=False))
    try:
        found.require_of(envelope)
    except IntegrityError:
        return None
    return found if found.recipient == station else None
