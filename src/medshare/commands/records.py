"""Results as programs read them; docs/json-events.md lists every key."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medshare.envelope import Envelope
    from medshare.grant import Grant
    from medshare.ids import StationId
    from medshare.receipt import Receipt, ReceivedFile
    from medshare.sharing.receive import ParcelListing, ReceiveResult
    from medshare.sharing.send import SendResult
    from medshare.sharing.verify import Fault, FolderReport, ParcelReport

Record = dict[str, Any]


def terms(envelope: "Envelope | None", *, names: "Mapping[StationId, str]") -> Record:
    """Return the keys that say what *envelope* grants, to whom, and what it continues."""
    if envelope is None:
        return {"department": None, "grants": None, "lineage": None}
    lineage = envelope.lineage
    return {
        "department": envelope.department or None,
        "grants": [grant(one, names=names) for one in envelope.grants],
        "lineage": None
        if lineage is None
        else {
            "kind": str(lineage.kind),
            "parent": lineage.parent.hex(),
            "root": lineage.root.hex(),
            "revision": lineage.revision,
        },
    }


def grant(given: "Grant", *, names: "Mapping[StationId, str]") -> Record:
    """Return one grant; times in seconds since 1970 UTC, 0 is no end and no limit."""
    return {
        "to": names.get(given.station),
        "station": given.station.hex(),
        "role": given.role,
        "permissions": sorted(given.permissions),
        "purpose": str(given.purpose),
        "expires": given.expires,
        "openings": given.openings,
    }


def sent(result: "SendResult", *, names: "Mapping[StationId, str]", route: str) -> Record:
    """Return the `sent` record of a send."""
    return {
        "event": "sent",
        "parcel": result.parcel.hex(),
        "outcome": "sealed" if result.missing_receipts or result.only_viewed else "delivered",
        "route": route,
        "files": result.files,
        "total_bytes": result.total_bytes,
        "wire_bytes": result.wire_bytes,
        "chunks": result.chunks,
        "moved_chunks": result.moved_chunks,
        "resumed_chunks": result.resumed_chunks,
        "receipts": [names.get(station, station.hex()) for station in result.receipts],
        "missing_receipts": [
            names.get(station, station.hex()) for station in result.missing_receipts
        ],
        **terms(result.envelope, names=names),
    }


def received(result: "ReceiveResult", credential: Record | None = None) -> Record:
    """Return the `received` record of one parcel; *credential* is that of its sender."""
    return {
        "event": "received",
        "parcel": result.parcel.hex(),
        "sender": result.sender.name,
        "sender_station": result.sender.station.hex(),
        "credential": credential,
        "files": [_file(file) for file in result.files],
        "total_bytes": result.total_bytes,
        "wire_bytes": result.wire_bytes,
        "moved_chunks": result.moved_chunks,
        "resumed_chunks": result.resumed_chunks,
        "output": str(result.output),
        "receipt_file": str(result.receipt_file),
        **terms(result.envelope, names={}),
    }


def waiting(
    listings: "Sequence[ParcelListing]",
    credentials: "Mapping[StationId, Record | None] | None" = None,
) -> Record:
    """Return the `waiting_parcels` record of `receive --list`, with *credentials* of senders."""
    known = credentials or {}
    return {"event": "waiting_parcels", "parcels": [_listing(one, known) for one in listings]}


def _listing(listing: "ParcelListing", known: "Mapping[StationId, Record | None]") -> Record:
    manifest = listing.manifest
    credential = None if listing.sender is None else known.get(listing.sender.station)
    return {
        "parcel": listing.parcel.hex(),
        "sender": listing.sender.name if listing.sender is not None else None,
        "credential": credential,
        "created": listing.created,
        "delete_after": listing.delete_after,
        "stored_chunks": listing.stored_chunks,
        "total_chunks": listing.total_chunks,
        "sealed": listing.sealed,
        "note": manifest.note if manifest is not None else None,
        "files": [{"path": entry.path, "size": entry.size} for entry in manifest.files]
        if manifest is not None
        else None,
        "fault": {"code": listing.fault.code, "message": listing.fault.message}
        if listing.fault is not None
        else None,
        **terms(listing.envelope, names={}),
    }


def checked_parcel(report: "ParcelReport", *, place: str, sender: str | None) -> Record:
    """Return the `verified` record of a sealed parcel."""
    return {
        "event": "verified",
        "kind": "parcel",
        "place": place,
        "parcel": report.parcel.hex(),
        "sender": sender,
        "sender_station": report.sender.hex(),
        "suite": report.suite,
        "sealed": report.sealed,
        "checked": report.chunks,
        "total_bytes": report.total_bytes,
        "faults": [_fault(fault) for fault in report.faults],
        "extra": [],
    }


def checked_folder(report: "FolderReport", *, place: str, signer: str) -> Record:
    """Return the `verified` record of a received folder."""
    return {
        "event": "verified",
        "kind": "folder",
        "place": place,
        "parcel": report.receipt.parcel.hex(),
        "signer": signer,
        "received": report.receipt.received,
        "checked": report.files,
        "earlier": report.earlier,
        "total_bytes": report.total_bytes,
        "faults": [_fault(fault) for fault in report.faults],
        "extra": list(report.extra),
    }


def proof(receipt: "Receipt", *, signer: str, place: str) -> Record:
    """Return the `receipt` record of a receipt whose signatures were verified."""
    return {
        "event": "receipt",
        "parcel": receipt.parcel.hex(),
        "seal": receipt.seal.hex,
        "suite": receipt.suite,
        "sender_station": receipt.sender.hex(),
        "recipient_station": receipt.recipient.hex(),
        "signer": signer,
        "received": receipt.received,
        "emergency": None if receipt.emergency is None else receipt.emergency.hex(),
        "files": [_file(file) for file in receipt.files],
        "place": place,
    }


def _file(file: "ReceivedFile") -> Record:
    return {"path": file.path, "size": file.size, "digest": file.digest.hex}


def _fault(fault: "Fault") -> Record:
    return {"where": fault.where, "problem": fault.problem, "code": fault.code}
