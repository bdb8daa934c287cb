"""What seals and receipts that are kept here say about a record: evidence from outside it.

A receipt that this station made was handed to the sender of the parcel, and its seals to
whoever took the parcels: whoever cuts or rewrites the record would have to change those as
well.  The receipts of others, kept here, speak about *their* records.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from medshare.anchor import Anchor
from medshare.audit.evidence import Evidence, Source
from medshare.disk.atomic import read_file
from medshare.envelope import MAX_ENVELOPE_SIZE, Envelope, parse_envelope
from medshare.errors import MedshareError
from medshare.ids import ParcelId
from medshare.receipt import Receipt
from medshare.seal import MAX_SEAL_SIZE, Seal, parse_seal
from medshare.sharing.receipts import load_receipt
from medshare.station import Station
from medshare.suites.base import PublicKey
from medshare.trust.card import Card


def evidence_about(card: Card, kept_by: Station) -> list[Evidence]:
    """Return what the receipts and seals that *kept_by* keeps say of the record of *card*.

    What is damaged, or not signed with good keys of the card, says nothing.
    """
    found = [anchor_in(receipt, card) for receipt in _receipts(kept_by.receipts())]
    if card.station == kept_by.id:
        found += [_sealed(*pair, card) for pair in _seals(kept_by.home / "outbox")]
    return [one for one in found if one is not None]


def anchor_in(receipt: Receipt, card: Card) -> Evidence | None:
    """Return what *receipt* says of the record of *card*, or None when it says nothing."""
    if receipt.recipient != card.station or not _is_good(card, receipt.recipient_keys):
        return None
    return _evidence(receipt.anchor, Source.RECEIPT, receipt.parcel)


def _sealed(envelope: Envelope, seal: Seal, card: Card) -> Evidence | None:
    if envelope.sender != card.station or not _is_good(card, envelope.sender_keys):
        return None
    return _evidence(seal.anchor, Source.SEAL, seal.parcel)


def _is_good(card: Card, keys: Sequence[PublicKey]) -> bool:
    return card.knows_signing_keys(keys) and card.revocation_of(keys) is None


def _evidence(anchor: Anchor | None, source: Source, parcel: ParcelId) -> Evidence | None:
    if anchor is None:
        return None
    return Evidence(anchor.size, anchor.root, source, f"of parcel {parcel.hex()}")


def _receipts(folder: Path) -> Iterator[Receipt]:
    for path in sorted(folder.glob("*.receipt")):
        try:
            yield load_receipt(path)
        except MedshareError:
            continue  # `medshare receipt` names it


def _seals(outbox: Path) -> Iterator[tuple[Envelope, Seal]]:
    for path in sorted(outbox.glob("*/seal")) if outbox.is_dir() else ():
        try:
            envelope = parse_envelope(
                read_file(path.with_name("envelope"), limit=MAX_ENVELOPE_SIZE, what="the outbox")
            )
            octets = read_file(path, limit=MAX_SEAL_SIZE, what="the outbox")
            yield envelope, parse_seal(octets, envelope)
        except MedshareError:
            continue  # who sends from it will find that out
