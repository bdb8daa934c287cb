"""Parcels that continue another: a revision of it, an opinion on it, or the same passed on.

Each is an ordinary parcel with a lineage in its envelope.  What may be granted in it is what
the parcel before allows (`trust.lineage`), and that is looked at before anything is sealed.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from medshare.audit import entries
from medshare.disk.atomic import read_file
from medshare.envelope import MAX_ENVELOPE_SIZE, parse_envelope
from medshare.errors import (
    AccessDeniedError,
    FormatError,
    IntegrityError,
    NotFoundError,
    UsageError,
)
from medshare.grant import MAX_ANCESTORS, MAX_PROOF, NEEDS, Kind, Purpose
from medshare.ids import ParcelId, StationId, parcel_id_from_text
from medshare.sharing.access import Access
from medshare.sharing.conditions import Conditions, Continuation, Offer
from medshare.sharing.incoming import require_lineage, sender_of
from medshare.sharing.receipts import OUTPUT_FILE, load_receipt, receipt_path
from medshare.sharing.send import ACTS
from medshare.sharing.verify import verify_folder
from medshare.station import Station
from medshare.transport.base import Transport
from medshare.trust.lineage import powers_in

_NOT_HERE: Final = "receive it first, or name the relay that has it"


def parcels_at(station: Station) -> tuple[ParcelId, ...]:
    """Return the parcels that *station* has sent or received, as far as it remembers them."""
    found = []
    for box in ("inbox", "outbox"):
        for path in sorted((station.home / box).glob("*/envelope")):
            with suppress(FormatError):
                found.append(parcel_id_from_text(path.parent.name))
    return tuple(found)


def envelope_of(parcel: ParcelId, station: Station, transport: Transport | None) -> bytes:
    """Return the encoded envelope of a parcel that this station has sent or received.

    Raises NotFoundError when neither it nor the far side has it.
    """
    for box in ("inbox", "outbox"):
        path = station.home / box / parcel.hex() / "envelope"
        if path.exists():
            return read_file(path, limit=MAX_ENVELOPE_SIZE, what="an envelope")
    if transport is None:
        raise NotFoundError("the parcel is not at this station", hint=_NOT_HERE)
    return transport.get_envelope(parcel)


def continuation(
    parcel: ParcelId, kind: Kind, *, station: Station, transport: Transport | None = None
) -> Continuation:
    """Return *parcel* as what a parcel of *kind* is about to continue.

    Raises AccessDeniedError (`grant.permission`, `grant.expired`) when this station was not
    granted that or no longer is, PolicyError when the rules here do not allow it, GrantError or
    UntrustedSignerError when its own lineage does not hold, NotFoundError when it is not here.
    A refusal is in the record.
    """
    with station.record.refusals(ACTS[kind], entries.parcel(parcel)):
        return _continuation(parcel, kind, station, transport)


def _continuation(
    parcel: ParcelId, kind: Kind, station: Station, transport: Transport | None
) -> Continuation:
    octets = envelope_of(parcel, station, transport)
    envelope = parse_envelope(octets)
    if envelope.parcel != parcel:
        raise IntegrityError("the far side answered with the envelope of another parcel")
    sender_of(envelope, station, kept=True)
    chain = require_lineage(envelope, station, kept=True)
    found = Continuation(kind, envelope, octets, powers_in(chain))
    _require_granted(found, station.id)
    if len(chain) > MAX_ANCESTORS or len(octets) > MAX_PROOF:
        raise UsageError(
            "too many parcels continue one another here",
            hint="let the sender of the original send it anew",
        )
    Access(envelope, station, counted=True).decision(NEEDS[kind]).require()
    return found


def _require_granted(found: Continuation, station: StationId) -> None:
    needs, own = NEEDS[found.kind], found.powers.get(station)
    if own is None or needs not in own.permissions:
        raise AccessDeniedError(
            f"this station was not granted '{needs}' for this parcel",
            hint="medshare grant show PARCEL tells what it was granted; ask the sender for more",
            code="grant.permission",
        )
    if own.ended(int(time.time())):
        raise AccessDeniedError(
            "the grant of this station has ended",
            hint="ask the sender for a new one",
            code="grant.expired",
        )


def _had(found: Continuation, recipient: StationId, station: StationId) -> Offer | None:
    """Return what to offer *recipient* when nobody says; None where somebody must say it.

    What is passed on is offered as *station* has it itself, anything else as the recipient has
    what it continues, and a sender as much as it may do itself.
    """
    holder = station if found.kind is Kind.SHARE else recipient
    grant = found.parent.grant_for(holder)
    if grant is not None:
        return Offer(grant.role, grant.permissions, grant.purpose, openings=grant.openings)
    power = found.powers.get(holder)
    if found.kind is Kind.SHARE or power is None:
        return None
    purpose = power.purpose or Purpose.TREAT
    return Offer("attending", power.permissions, purpose, openings=power.openings)


def conditions_after(
    found: Continuation,
    station: StationId,
    to: Sequence[StationId],
    *,
    asked: Conditions,
) -> Conditions:
    """Return *asked*, continuing *found*: who is offered nothing is offered what fits (`_had`)."""
    offers = dict(asked.offers)
    for one in to:
        had = _had(found, one, station)
        if asked.offer(one) is None and had is not None:
            offers[one] = had
    department = asked.department or found.parent.department
    return replace(asked, offers=offers, department=department, continues=found)


def received_files(parcel: ParcelId, station: Station) -> tuple[Path, ...]:
    """Return what to send so that exactly the files of a received *parcel* are sent.

    They are held against this station's receipt once more.  Raises NotFoundError when it was not
    received into a folder, IntegrityError when the files are not what was received, UsageError
    when others lie among them.
    """
    note = station.home / "inbox" / parcel.hex() / OUTPUT_FILE
    proof = receipt_path(station, parcel, station.id)
    if not note.exists() or not proof.exists():
        raise NotFoundError(
            "the files of this parcel were not received into a folder here",
            hint="medshare receive PARCEL --output DIR, which needs 'export'",
        )
    folder = Path(read_file(note, limit=1 << 15, what="the inbox").decode("utf-8", "replace"))
    receipt = load_receipt(proof)
    report = verify_folder(folder, receipt)
    if report.faults:
        raise IntegrityError(
            f"{report.faults[0].where} is not as it was received",
            hint="medshare amend sends a changed version, where that was granted",
        )
    tops = tuple(dict.fromkeys(file.path.partition("/")[0] for file in receipt.files))
    among = [path for path in report.extra if path.partition("/")[0] in tops]
    if among:
        raise UsageError(
            f"{among[0]} lies among the files that were received, and was not",
            hint="move it elsewhere, then run the same command again",
        )
    return tuple(folder / top for top in tops)
