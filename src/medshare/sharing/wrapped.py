"""The file `wrap` beside a sealed parcel: its key under the KEK of its tier.

    wrap = CBOR [ "medshare/1 wrap", parcel, label of the KEK, wrapped key ]

The envelope belongs to its sender and is never touched; whatever changes with the keys of
this station is here.  The envelope's commitment binds what `wrap` holds, so it needs no
signature, and a damaged one costs nothing while the envelope's own stanza opens.
"""

from pathlib import Path
from typing import Final

from medshare import canonical
from medshare.disk.atomic import read_file, write_file
from medshare.envelope import MAX_ENVELOPE_SIZE, Envelope, parse_envelope
from medshare.errors import (
    FormatError,
    KeyUnavailableError,
    MedshareError,
    NoIdentityMatchError,
    StorageError,
)
from medshare.ids import PARCEL_ID_SIZE, ParcelId
from medshare.keys.kek import MAX_LABEL
from medshare.sealing import ParcelKey, require_commitment, unwrap_parcel_key
from medshare.station import Identity
from medshare.station.tier_keys import WrappedKey

ENVELOPE_FILE: Final = "envelope"
WRAP_FILE: Final = "wrap"
LABEL: Final = "medshare/1 wrap"
MAX_WRAP: Final = 512
MAX_WRAPPED: Final = 256
WHAT: Final = "a wrapped key"


def encode_wrap(parcel: ParcelId, wrapped: WrappedKey) -> bytes:
    """Return the content of `wrap` for *parcel*."""
    return canonical.encode([LABEL, parcel, wrapped.label, wrapped.wrapped])


def parse_wrap(data: bytes) -> tuple[ParcelId, WrappedKey]:
    """Return the parcel and its wrapped key; raise FormatError when *data* is malformed."""
    match canonical.decode(data, limit=MAX_WRAP, what=WHAT, items=8):
        case [str() as kind, bytes() as parcel, str() as label, bytes() as wrapped] if (
            kind == LABEL
            and len(parcel) == PARCEL_ID_SIZE
            and 0 < len(label.encode()) <= MAX_LABEL
            and len(wrapped) <= MAX_WRAPPED
        ):
            return ParcelId(parcel), WrappedKey(label, wrapped)
    raise FormatError(f"{WHAT} is malformed")


def read_wrap(folder: Path) -> tuple[ParcelId, WrappedKey] | None:
    """Return what `wrap` in *folder* holds, or None where there is none.

    Raises FormatError when it is malformed, StorageError when it cannot be read.
    """
    path = folder / WRAP_FILE
    try:
        return parse_wrap(read_file(path, limit=MAX_WRAP, what=WHAT, follow=False))
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def keep_key(folder: Path, envelope: Envelope, key: ParcelKey, identity: Identity) -> None:
    """Let `wrap` in *folder* hold *key* under the KEK of its tier; without KEKs, do nothing."""
    if identity.tiers is not None:
        wrapped = identity.tiers.wrap(envelope.tier, key.value)
        write_file(folder / WRAP_FILE, encode_wrap(envelope.parcel, wrapped), what=WHAT)


def parcel_key(envelope: Envelope, folder: Path, identity: Identity) -> ParcelKey:
    """Return the key of the parcel in *folder*: from the file `wrap`, else from *envelope*.

    Raises NoIdentityMatchError when neither is for *identity*, KeyUnavailableError when it
    is wrapped under a KEK that is not here, IntegrityError when the key is not the one that
    the envelope commits to.
    """
    missing: KeyUnavailableError | None = None
    try:
        key = wrapped_key(envelope, folder, identity)
        if key is not None:
            return key
    except KeyUnavailableError as error:
        missing = error
    except MedshareError:
        pass  # damaged: what it should hold may be in the envelope as well
    try:
        return unwrap_parcel_key(envelope, identity.station, identity.openers)
    except NoIdentityMatchError:
        raise missing or _not_addressed() from missing


def wrapped_key(envelope: Envelope, folder: Path, identity: Identity) -> ParcelKey | None:
    """Return the key in `wrap`, or None where there is none, or none for this parcel.

    Raises KeyUnavailableError, IntegrityError, FormatError or StorageError when it is there
    and does not open.
    """
    found = read_wrap(folder) if identity.tiers is not None else None
    if found is None or identity.tiers is None or found[0] != envelope.parcel:
        return None
    key = ParcelKey(identity.tiers.unwrap(found[1]))
    require_commitment(key, envelope)
    return key


def _not_addressed() -> NoIdentityMatchError:
    return NoIdentityMatchError(
        "this parcel is not addressed to this station",
        hint="ask the sender to send it again, to your current card",
    )


def read_envelope(folder: Path) -> Envelope:
    """Return the envelope in *folder*; raise StorageError, FormatError or SignatureError."""
    path = folder / ENVELOPE_FILE
    return parse_envelope(read_file(path, limit=MAX_ENVELOPE_SIZE, what="an envelope"))
