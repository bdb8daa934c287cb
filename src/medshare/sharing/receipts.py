"""Receipts: made by the recipient, checked and kept by the sender, shown offline by both."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare.audit import entries
from medshare.audit.entries import Act, Detail
from medshare.chunking import Layout
from medshare.digest import DIGEST_SIZE, Digest
from medshare.disk.atomic import read_file, write_file
from medshare.envelope import Envelope
from medshare.errors import (
    AuthenticityError,
    DigestMismatchError,
    IntegrityError,
    NotFoundError,
    RevokedError,
    UntrustedSignerError,
)
from medshare.ids import ParcelId, StationId
from medshare.manifest import Manifest
from medshare.receipt import MAX_RECEIPT_SIZE, Receipt, parse_receipt
from medshare.seal import Seal
from medshare.sealing import ParcelKey, open_receipt
from medshare.station import Station

_SUFFIX: Final = ".receipt"
OUTPUT_FILE: Final = "output"
"""In the inbox of a parcel: the folder into which it was received."""


def receipt_path(station: Station, parcel: ParcelId, recipient: StationId) -> Path:
    """Return where the receipt of *recipient* for *parcel* is kept."""
    return station.receipts() / f"{parcel.hex()}-{recipient.hex()[:16]}{_SUFFIX}"


def keep_receipt(station: Station, receipt: Receipt, octets: bytes) -> Path:
    """Write a signed receipt where `find_receipts` looks; return the file."""
    path = receipt_path(station, receipt.parcel, receipt.recipient)
    write_file(path, octets)
    return path


def load_receipt(path: Path) -> Receipt:
    """Return the receipt in *path* with its form and signatures checked."""
    return parse_receipt(read_file(path, limit=MAX_RECEIPT_SIZE, what="the receipt"))


def find_receipts(station: Station, parcel: ParcelId) -> tuple[Receipt, ...]:
    """Return the receipts kept here for *parcel*; raise NotFoundError when there is none."""
    found = tuple(
        load_receipt(path) for path in sorted(station.receipts().glob(f"{parcel.hex()}-*{_SUFFIX}"))
    )
    if not found:
        raise NotFoundError("no receipt for this parcel is kept here")
    return found


def all_receipts(station: Station) -> Iterator[Receipt]:
    """Yield every receipt kept here, in no particular order."""
    for path in sorted(station.receipts().glob(f"*{_SUFFIX}")):
        yield load_receipt(path)


def receipts_for_folder(station: Station, folder: Path) -> tuple[Receipt, ...]:
    """Return this station's receipts for what was received into *folder*.

    Raises NotFoundError when nothing was received there.
    """
    wanted = str(folder.resolve())
    found = []
    for note in sorted((station.home / "inbox").glob(f"*/{OUTPUT_FILE}")):
        output = read_file(note, limit=1 << 15, what="the inbox").decode("utf-8", "replace")
        path = receipt_path(station, ParcelId(bytes.fromhex(note.parent.name)), station.id)
        if output == wanted and path.exists():
            found.append(load_receipt(path))
    if not found:
        raise NotFoundError(
            "no parcel was received into this folder by this station",
            hint="name the receipt: medshare verify FOLDER --receipt FILE",
        )
    return tuple(found)


def require_known_signer(receipt: Receipt, station: Station, *, kept: bool = True) -> str:
    """Return the local name of the receipt's signer; *kept* says that it was here before.

    Raises UntrustedSignerError unless the signature keys are those of this station or of
    a trusted contact, and RevokedError when they were revoked.
    """
    if receipt.recipient == station.id:
        card, name = station.card, "this station"
    else:
        contact = station.contacts.of(receipt.recipient)
        if contact is None:
            raise UntrustedSignerError(
                "the receipt is signed by a station that is not trusted here"
            )
        card, name = contact.card, contact.name
    if not card.knows_signing_keys(receipt.recipient_keys):
        raise UntrustedSignerError(
            f"the receipt is signed with keys that the card of {name} does not have",
            hint="import their current card, after comparing its fingerprint",
        )
    revocation = card.revocation_of(receipt.recipient_keys)
    if revocation is not None and not revocation.excuses(made=receipt.received, known_before=kept):
        raise RevokedError(f"the receipt is signed with keys that {name} has revoked")
    return name


@dataclass(frozen=True, slots=True)
class Sent:
    """What the sender knows of a parcel, to hold a receipt against."""

    envelope: Envelope
    manifest: Manifest
    key: ParcelKey
    seal: Seal
    layout: Layout
    pieces: Mapping[int, bytes]
    """Concatenated piece digests of the chunks that this station packed itself."""


def accept_receipt(sealed: bytes, recipient: StationId, sent: Sent, *, station: Station) -> Receipt:
    """Return the receipt in *sealed* once it proves that everything arrived; keep it.

    1. It opens with the parcel's key and its signatures verify.
    2. Its signer is *recipient*, with keys that a trusted card has.
    3. It is for this seal, and so for exactly these chunks.
    4. It names every file of the manifest with its size, and with the digest that this
       station computed, where the file lay within one chunk.

    Raises IntegrityError, AuthenticityError or FormatError.
    """
    octets = open_receipt(sealed, sent.key, sent.envelope)
    receipt = parse_receipt(octets)
    if receipt.recipient != recipient or receipt.sender != sent.envelope.sender:
        raise AuthenticityError("the receipt was made by, or for, somebody else")
    require_known_signer(receipt, station, kept=False)
    if receipt.parcel != sent.envelope.parcel or receipt.seal != sent.seal.digest:
        raise IntegrityError("the receipt is for another parcel")
    _require_same_files(receipt, sent.manifest)
    _require_same_digests(receipt, sent.layout, sent.pieces)
    if not receipt_path(station, receipt.parcel, receipt.recipient).exists():
        about, tier = entries.parcel(receipt.parcel), sent.envelope.tier
        details = {} if receipt.emergency is None else {Detail.DIGEST: receipt.emergency}
        parties = (receipt.recipient,)
        station.record.note(Act.DELIVER, about, tier=tier, parties=parties, details=details)
    keep_receipt(station, receipt, octets)
    return receipt


def _require_same_files(receipt: Receipt, manifest: Manifest) -> None:
    named = [(file.path, file.size) for file in receipt.files]
    if named != [(entry.path, entry.size) for entry in manifest.files]:
        raise IntegrityError("the receipt does not name exactly the files that were sent")


def _require_same_digests(receipt: Receipt, layout: Layout, pieces: Mapping[int, bytes]) -> None:
    for index, listing in pieces.items():
        for number, piece in enumerate(layout.pieces(index)):
            file = receipt.files[piece.file]
            if piece.size != file.size:
                continue
            at = number * DIGEST_SIZE
            sent = Digest(listing[at : at + DIGEST_SIZE])
            if sent != file.digest:
                raise DigestMismatchError(
                    "a file arrived with other content than was sent, says its receipt"
                )
