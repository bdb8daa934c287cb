"""Why the glass was broken: the reasons, kept beside the record, which holds their digests.

The record has no place for free text, and must have none: it is kept for decades, shown to
auditors and exported.  So an entry `emergency` names the SHA-256 of a file in `emergencies/`,
which says which rules were overridden, and why in somebody's own words.  A reason that should
not have been written can be removed; that there was one, and which, stays provable.
"""

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare import canonical
from medshare.canonical import Fields
from medshare.disk.atomic import read_file, write_file
from medshare.errors import FormatError, IntegrityError, NotFoundError
from medshare.grant import Permission
from medshare.ids import PARCEL_ID_SIZE, ParcelId
from medshare.station.permissions import private_folder

FOLDER: Final = "emergencies"
SALT_SIZE: Final = 16
_MAX_REASON: Final = 8192
_MAX_FILE: Final = 16384
_VERSION: Final = 1
_WHAT: Final = "the reason of an emergency"


@dataclass(frozen=True, slots=True)
class Emergency:
    """Why the glass was broken; *at* in seconds since 1970 UTC."""

    parcel: ParcelId
    act: Permission
    at: int
    overridden: tuple[str, ...]
    reason: str
    salt: bytes
    """Lets nobody find a short reason by trying out its digest."""

    def encode(self) -> bytes:
        """Return the octets whose SHA-256 the record holds."""
        return canonical.encode(
            {
                "act": str(self.act),
                "at": self.at,
                "overridden": list(self.overridden),
                "parcel": self.parcel,
                "reason": self.reason,
                "salt": self.salt,
                "version": _VERSION,
            }
        )

    @property
    def digest(self) -> bytes:
        """What the entry in the record says of it."""
        return hashlib.sha256(self.encode()).digest()


def new_emergency(
    parcel: ParcelId, act: Permission, *, at: int, overridden: tuple[str, ...], reason: str
) -> Emergency:
    """Return what is to be kept of an emergency that begins *at* now."""
    words = " ".join(reason.split())
    return Emergency(parcel, act, at, overridden, words, secrets.token_bytes(SALT_SIZE))


def keep_emergency(home: Path, emergency: Emergency) -> None:
    """Keep *emergency*; it is durable when this returns, and before the record speaks of it."""
    folder = private_folder(home / FOLDER)
    write_file(folder / emergency.digest.hex(), emergency.encode(), what=_WHAT)


def load_emergency(home: Path, digest: bytes) -> Emergency:
    """Return the emergency whose digest the record holds.

    Raises NotFoundError when its reason is not kept (any more), IntegrityError when it was
    changed since.
    """
    path = home / FOLDER / digest.hex()
    if not path.exists():
        raise NotFoundError("the reason of this emergency is not kept here any more")
    octets = read_file(path, limit=_MAX_FILE, what=_WHAT)
    if hashlib.sha256(octets).digest() != digest:
        raise IntegrityError("the reason of this emergency was changed after it was recorded")
    return parse_emergency(octets)


def parse_emergency(octets: bytes) -> Emergency:
    """Return the emergency in *octets*; raise FormatError when it is none."""
    fields = Fields(canonical.decode(octets, limit=_MAX_FILE, what=_WHAT, items=64), what=_WHAT)
    fields.uint("version", minimum=_VERSION, maximum=_VERSION)
    overridden = fields.items("overridden", maximum=16)
    act = fields.text("act", maximum=16)
    if act not in set(Permission) or not all(isinstance(one, str) for one in overridden):
        raise FormatError(f"{_WHAT} is malformed")
    emergency = Emergency(
        parcel=ParcelId(fields.octets("parcel", size=PARCEL_ID_SIZE)),
        act=Permission(act),
        at=fields.time("at"),
        overridden=tuple(str(one) for one in overridden),
        reason=fields.text("reason", maximum=_MAX_REASON),
        salt=fields.octets("salt", size=SALT_SIZE),
    )
    fields.finish()
    return emergency
