"""The receipt: a recipient's signature over the seal and over every file received (format §9).

Delivery that nobody can deny: it names each file with its size and the BLAKE3 digest of
what was written to disk, as `b3sum` would print it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medshare import canonical, signed
from medshare.canonical import Fields
from medshare.digest import DIGEST_SIZE, Digest
from medshare.errors import FormatError
from medshare.ids import PARCEL_ID_SIZE, STATION_ID_SIZE, ParcelId, StationId
from medshare.manifest import MAX_FILES, MAX_MANIFEST_SIZE, check_path
from medshare.suites.base import PublicKey, Signer

LABEL: Final = "medshare/1 receipt"
MAX_RECEIPT_SIZE: Final = MAX_MANIFEST_SIZE
_WHAT: Final = "the receipt"


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


def encode_receipt(receipt: Receipt, signers: Sequence[Signer]) -> bytes:
    """Return *receipt*, signed."""
    files: list[canonical.Value] = [[f.path, f.size, f.digest.value] for f in receipt.files]
    body = canonical.encode(
        {
            "critical": {},
            "extra": {},
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
    the recipient's is for the caller to decide from the recipient's card.
    """
    outer = signed.parse(data, label=LABEL, limit=MAX_RECEIPT_SIZE, what=_WHAT)
    fields = Fields(canonical.decode(outer.body, limit=MAX_RECEIPT_SIZE, what=_WHAT), what=_WHAT)
    canonical.refuse_unknown_critical(fields.mapping("critical"), frozenset())
    fields.mapping("extra")
    keys = fields.items("recipient_keys", maximum=signed.MAX_SIGNATURES)
    receipt = Receipt(
        parcel=ParcelId(fields.octets("parcel", size=PARCEL_ID_SIZE)),
        suite=fields.text("suite", maximum=32),
        seal=Digest(fields.octets("seal", size=DIGEST_SIZE)),
        sender=StationId(fields.octets("sender", size=STATION_ID_SIZE)),
        recipient=StationId(fields.octets("recipient", size=STATION_ID_SIZE)),
        recipient_keys=signed.keys_from_value(keys, what=_WHAT),
        received=fields.uint("received"),
        files=tuple(_file(item) for item in fields.items("files", maximum=MAX_FILES)),
    )
    fields.finish()
    outer.verify(receipt.recipient_keys, what=_WHAT)
    return receipt


def _file(item: object) -> ReceivedFile:
    match item:
        case [str() as path, int() as size, bytes() as digest] if type(size) is int:
            check_path(path)
            return ReceivedFile(path, size, Digest(digest))
    raise FormatError("a file in the receipt is malformed")
