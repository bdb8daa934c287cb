"""The receipt: a recipient's signature over the seal and over every file received (format §9).

Delivery that nobody can deny: it names each file with its size and the BLAKE3 digest of
what was written to disk, as `b3sum` would print it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from medshare import anchor, canonical, signed
from medshare.anchor import Anchor
from medshare.canonical import Fields
from medshare.digest import DIGEST_SIZE, Digest
from medshare.errors import FormatError, LimitError
from medshare.ids import PARCEL_ID_SIZE, STATION_ID_SIZE, ParcelId, StationId
from medshare.manifest import MAX_FILE_SIZE, MAX_FILES, MAX_MANIFEST_SIZE, check_path
from medshare.suites import suite_named
from medshare.suites.base import PublicKey, Signer
from medshare.suites.signatures import require_identity_set

LABEL: Final = "medshare/1 receipt"
MAX_RECEIPT_SIZE: Final = MAX_MANIFEST_SIZE + 64 * MAX_FILES
"""Whatever manifest may be written, its receipt may be as well."""
MAX_SEALED_RECEIPT: Final = 16 * 1024 * 1024
_MAX_ITEMS: Final = 4 * MAX_FILES + 4096
_WHAT: Final = "the receipt"
EMERGENCY: Final = "emergency"
"""The key in `extra` under which an emergency stands."""
HASH_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """One file as it stands on the recipient's disk."""

    path: str
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Receipt:
    """What arrived, whole, at one recipient; *received* in seconds since 1970 UTC."""

    parcel: ParcelId
    suite: str
    seal: Digest
    sender: StationId
    recipient: StationId
    recipient_keys: tuple[PublicKey, ...]
    received: int
    files: tuple[ReceivedFile, ...]
    anchor: Anchor | None = None
    """What the recipient's record was when it signed."""
    emergency: bytes | None = None
    """The leaf hash of the entry in that record that says that the glass was broken for it."""


def encode_receipt(receipt: Receipt, signers: Sequence[Signer]) -> bytes:
    """Return *receipt*, signed."""
    files: list[canonical.Value] = [[f.path, f.size, f.digest.value] for f in receipt.files]
    body = canonical.encode(
        {
            "critical": {},
            "extra": {**anchor.to_extra(receipt.anchor), **_emergency_to_extra(receipt)},
            "files": files,
            "parcel": receipt.parcel,
            "received": receipt.received,
            "recipient": receipt.recipient,
            "recipient_keys": signed.keys_to_value(receipt.recipient_keys),
            "seal": receipt.seal.value,
            "sender": receipt.sender,
            "suite": receipt.suite,
        }
    )
    return signed.sign(LABEL, body, signers).encode()


def parse_receipt(data: bytes) -> Receipt:
    """Return the receipt in *data* after checking its form and all its signatures.

    The signatures are checked against the keys that it names itself; whether those are
    the recipient's is for the caller to decide from the recipient's card.  Raises
    FormatError (of which LimitError and UnsupportedVersionError are kinds) or SignatureError.
    """
    outer = signed.parse(data, label=LABEL, limit=MAX_RECEIPT_SIZE, what=_WHAT)
    value = canonical.decode(outer.body, limit=MAX_RECEIPT_SIZE, what=_WHAT, items=_MAX_ITEMS)
    fields = Fields(value, what=_WHAT)
    canonical.refuse_unknown_critical(fields.mapping("critical"), frozenset())
    extra = fields.mapping("extra")
    keys = fields.items("recipient_keys", maximum=signed.MAX_SIGNATURES)
    receipt = Receipt(
        parcel=ParcelId(fields.octets("parcel", size=PARCEL_ID_SIZE)),
        suite=suite_named(fields.text("suite", maximum=32)).name,
        seal=Digest(fields.octets("seal", size=DIGEST_SIZE)),
        sender=StationId(fields.octets("sender", size=STATION_ID_SIZE)),
        recipient=StationId(fields.octets("recipient", size=STATION_ID_SIZE)),
        recipient_keys=signed.keys_from_value(keys, what=_WHAT),
        received=fields.time("received"),
        files=tuple(_file(item) for item in fields.items("files", maximum=MAX_FILES)),
        anchor=anchor.from_extra(extra, what=_WHAT),
        emergency=_emergency(extra),
    )
    fields.finish()
    require_identity_set(receipt.recipient_keys, what=_WHAT)
    outer.verify(receipt.recipient_keys, what=_WHAT)
    return receipt


def _emergency_to_extra(receipt: Receipt) -> dict[str, canonical.Value]:
    return {} if receipt.emergency is None else {EMERGENCY: receipt.emergency}


def _emergency(extra: Mapping[str, Any]) -> bytes | None:
    value = extra.get(EMERGENCY)
    if value is None or (isinstance(value, bytes) and len(value) == HASH_SIZE):
        return value
    raise FormatError("what the receipt says of an emergency is malformed")


def _file(item: object) -> ReceivedFile:
    match item:
        case [str() as path, int() as size, bytes() as digest] if type(size) is int:
            check_path(path)
            if size > MAX_FILE_SIZE:
                raise LimitError("a file in the receipt is larger than the format allows")
            return ReceivedFile(path, size, Digest(digest))
    raise FormatError("a file in the receipt is malformed")
