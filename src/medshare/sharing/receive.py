"""Receive: what waits, and getting it, verified, under its final names, with a receipt sent."""

from dataclasses import dataclass
from pathlib import Path

from medshare.audit import entries
from medshare.audit.entries import Act, Detail, Event
from medshare.authority.held import Credentials
from medshare.disk.separation import require_apart
from medshare.envelope import Envelope, parse_envelope
from medshare.errors import MedshareError, RelayUnavailableError
from medshare.grant import Permission
from medshare.ids import ParcelId, StationId
from medshare.manifest import Manifest
from medshare.sharing.access import BROKEN, Access
from medshare.sharing.events import Notice, OnEvent, ignore
from medshare.sharing.incoming import (
    OpenedEnvelope,
    accept,
    is_accepted,
    open_parcel,
    sender_of,
)
from medshare.sharing.receiving import ReceiveOptions, ReceiveResult, Receiving
from medshare.sharing.withdrawing import learning
from medshare.station import Contact, Identity, Station
from medshare.transport.base import Stored, Transport

__all__ = ["ParcelListing", "ReceiveOptions", "ReceiveResult", "list_waiting", "receive"]


@dataclass(frozen=True, slots=True)
class ParcelListing:
    """One waiting parcel, as far as it could be checked; times in seconds since 1970 UTC."""

    parcel: ParcelId
    sender: Contact | None
    created: int
    delete_after: int
    manifest: Manifest | None
    fault: MedshareError | None
    stored_chunks: int
    total_chunks: int
    sealed: bool
    envelope: Envelope | None = None
    """What its sender signed: what was granted, and what it continues; None where unreadable."""
    recipient: StationId | None = None
    """This station."""


def list_waiting(
    *, identity: Identity, station: Station, transport: Transport
) -> tuple[ParcelListing, ...]:
    """Return what waits for this station; nothing is written but the record of having looked."""
    known = Credentials(station)
    waiting = transport.inbox()
    found = tuple(_listing(parcel, identity, station, transport, known) for parcel in waiting)
    if found:
        with station.record.signed(identity.signers):
            station.record.log.record_all([_looked_at(one, station) for one in found])
    return found


def _looked_at(listing: ParcelListing, station: Station) -> Event:
    """Return the entry for one parcel of which the names of files, or a fault, are to be shown."""
    event = station.record.event(Act.LIST, entries.parcel(listing.parcel))
    return event if listing.fault is None else event.refused(listing.fault)


def _listing(
    parcel: ParcelId,
    identity: Identity,
    station: Station,
    transport: Transport,
    known: Credentials,
) -> ParcelListing:
    """Return what can be said of one parcel; one that cannot be read does not hide the others."""
    sender: Contact | None = None
    manifest: Manifest | None = None
    envelope: Envelope | None = None
    fault: MedshareError | None = None
    stored = Stored((), sealed=False, receipts=(), wanted=())
    try:
        stored = transport.stored(parcel)
        envelope = parse_envelope(transport.get_envelope(parcel))
        sender = sender_of(envelope, station)
        opened = open_parcel(parcel, identity=identity, station=station, transport=transport)
        # Names of files are content: whom a rule keeps from that is not shown them either.
        # What is being received was counted as an opening; to list it is none.
        counted = is_accepted(parcel, station)
        access = Access(envelope, station, counted=counted, known=known)
        access.decision(Permission.VIEW).require()
        manifest = opened.manifest
    except RelayUnavailableError:
        raise
    except MedshareError as error:
        fault = error
    stated = (envelope.created, envelope.delete_after, envelope.chunk_count) if envelope else None
    created, ends, chunks = stated or (0, 0, 0)
    return ParcelListing(
        parcel, sender, created, ends, manifest, fault, len(stored.chunks), chunks, stored.sealed,
        envelope, station.id,
    )  # fmt: skip


def receive(
    parcel: ParcelId,
    *,
    identity: Identity,
    station: Station,
    transport: Transport,
    output: Path,
    options: ReceiveOptions | None = None,
    on_event: OnEvent = ignore,
) -> ReceiveResult:
    """Receive *parcel* into the folder *output*; go on where an earlier run stopped.

    Files appear under their final names only after the seal has been verified.  Returns
    when all are there and the receipt has been handed in.

    Raises:
        UntrustedSignerError: the sender is not a trusted contact.
        PolicyError: its tier or suite is not allowed here, or a rule of `trust.access`, which
            is named, refuses to have it written to a disk.
        AccessDeniedError: it was opened as often as the sender allows.
        NoIdentityMatchError: the parcel is addressed to somebody else.
        IntegrityError: something is not what the sender sealed, and could not be had anew.
        IncompleteError: the sender has not finished; run again later.
        StorageError, TransferError: see `medshare.errors`.
    """
    options = options or ReceiveOptions()
    require_apart(output, station.home, what="the output folder")
    with station.record.signed(identity.signers), learning(parcel, station, transport):
        opened = _opened(parcel, identity, station, transport, options)
        # Going on with a parcel that was accepted is no further opening.
        counted = is_accepted(parcel, station)
        access = Access(opened.envelope, station, reason=options.break_glass, counted=counted)
        access.begin(Permission.EXPORT)
        if access.emergency is not None:
            on_event(Notice("access.break-glass", BROKEN))
        incoming = accept(opened, identity=identity, station=station, output=output)
        about, tier = entries.parcel(parcel), opened.envelope.tier
        try:
            with station.record.refusals(Act.EXPORT, about, tier=tier):
                receiving = Receiving(
                    incoming, station, identity, transport, options, on_event, access
                )
                return receiving.run()
        finally:
            incoming.journal.close()


def _opened(
    parcel: ParcelId,
    identity: Identity,
    station: Station,
    transport: Transport,
    options: ReceiveOptions,
) -> OpenedEnvelope:
    """Open *parcel*, and put into the record that it was, or why it was refused."""
    about = entries.parcel(parcel)
    with station.record.refusals(Act.OPEN, about):
        opened = open_parcel(
            parcel,
            identity=identity,
            station=station,
            transport=transport,
            suites=options.suites,
            mixed=options.mixed,
        )
    envelope, files = opened.envelope, opened.manifest.files
    details = {Detail.FILES: len(files), Detail.OCTETS: sum(opened.manifest.sizes)}
    parties = (envelope.sender,)
    station.record.note(Act.OPEN, about, tier=envelope.tier, parties=parties, details=details)
    return opened
