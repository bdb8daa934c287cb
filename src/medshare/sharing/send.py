"""Send: files in, a sealed parcel at the far side, and a receipt back."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from medshare.audit import entries
from medshare.audit.entries import Act, Detail
from medshare.authority.held import require_licensed
from medshare.disk.scan import scan
from medshare.disk.sources import Sources
from medshare.envelope import Envelope
from medshare.errors import AccessDeniedError, SourceChangedError, TransferError, UsageError
from medshare.grant import Kind
from medshare.keys.lock import exclusive
from medshare.resume import Begun
from medshare.sharing.conditions import Conditions, offer_of
from medshare.sharing.events import Notice, OnEvent, ignore
from medshare.sharing.governed import governed
from medshare.sharing.outgoing import (
    Outgoing,
    Request,
    SendOptions,
    begin,
    request_of,
    take_up,
)
from medshare.sharing.sending import Sending, SendResult
from medshare.station import Contact, Identity, Station
from medshare.transport.base import Transport

_LOCK: Final = "outbox.lock"
_DELIVERED: Final = "an earlier run delivered this; --new sends it again as a new parcel"
MAX_RESTARTS: Final = 2

__all__ = ["SendOptions", "SendResult", "send"]


def send(
    paths: Sequence[Path],
    *,
    to: Sequence[Contact],
    identity: Identity,
    station: Station,
    transport: Transport,
    options: SendOptions | None = None,
    on_event: OnEvent = ignore,
    role: str | None = None,
) -> SendResult:
    """Seal *paths* to the contacts *to* and move them; go on where an earlier run stopped.

    Returns when the parcel is sealed at the far side and, with `options.wait`, when every
    recipient's receipt has been verified or that time is over.  *role* is what each recipient is
    granted who is not offered something else in `options.conditions`.  What an earlier run
    delivered is not sent again, unless `options.anew` asks for it or the files changed.

    Raises:
        SourceChangedError: a file kept changing while it was read.
        RelayUnavailableError: nothing moved for `options.give_up_after` seconds; run again.
        RevokedError: one of *to* is not trusted any more.
        CredentialError: one of *to* has no valid credential, and the tier or *options* demand it.
        PolicyError: the tier does not allow it, or no suite that is allowed serves all.
        StorageError, TransferError, UsageError: see `medshare.errors`.
    """
    options = governed(options or SendOptions(), station.policy, identity)
    _require_recipients(to)
    options = replace(options, conditions=_conditions(options, role, to, station))
    if options.licensed:
        require_licensed(station, to, now=int(time.time()))
    stations = [one.station for one in to]
    request = request_of(paths, stations, transport.route, options=options, station=station)
    with station.record.signed(identity.signers):
        result = _send(request, paths, to, identity, station, transport, options, on_event)
    if not result.missing_receipts and not result.only_viewed:
        request.close(receipted=bool(result.receipts))
    return result


def _send(
    request: Request,
    paths: Sequence[Path],
    to: Sequence[Contact],
    identity: Identity,
    station: Station,
    transport: Transport,
    options: SendOptions,
    on_event: OnEvent,
) -> SendResult:
    """Send, anew where files change meanwhile."""
    restarts = 0
    while True:
        sources = _sources(paths, options, on_event)
        # Two commands at once: the first begins the parcel, the second finds it in use.
        with exclusive(station.home / _LOCK, wait=True, what="the outbox is in use"):
            outgoing = _outgoing(
                request, sources, to, identity, station, transport, options, on_event
            )
        try:
            sending = Sending(outgoing, sources, station, identity, transport, options, on_event)
            if (done := sending.delivered_before()) is not None:
                on_event(Notice("send.delivered", _DELIVERED))
                return done
            _record(outgoing, station)
            return sending.run(peer=", ".join(one.name for one in to))
        except SourceChangedError as error:
            _abandon(outgoing, transport)
            restarts += 1
            if restarts > MAX_RESTARTS:
                raise
            on_event(Notice("send.changed", f"{error.message}: starting anew"))
        finally:
            outgoing.journal.close()


def _conditions(
    options: SendOptions, role: str | None, to: Sequence[Contact], station: Station
) -> Conditions:
    """Return on what conditions it is sent, with *role* and the policy's default filled in."""
    found, others = options.conditions, [one.station for one in to if one.station != station.id]
    if role is not None:
        found = replace(found, everybody=offer_of(role, station.policy.roles))
    return found.governed(others, station.policy, options.tier)


def _require_recipients(to: Sequence[Contact]) -> None:
    if not to:
        raise UsageError("name at least one recipient", hint="medshare send PATH --to NAME")
    for one in to:
        one.require_trusted()


def _sources(paths: Sequence[Path], options: SendOptions, on_event: OnEvent) -> Sources:
    """Return the files to send; say what was left out; raise UsageError when there are none."""
    sources = scan(paths, follow_symlinks=options.follow_symlinks, skip_hidden=options.skip_hidden)
    if sources.skipped:
        on_event(Notice("send.left-out", f"left out: {', '.join(sources.skipped)}"))
    if not len(sources):
        raise UsageError("there is no file to send", hint="name a file, or a folder that has some")
    return sources


def _outgoing(
    request: Request,
    sources: Sources,
    to: Sequence[Contact],
    identity: Identity,
    station: Station,
    transport: Transport,
    options: SendOptions,
    on_event: OnEvent,
) -> Outgoing:
    """Take up the parcel of an earlier run if the files are still the same, or begin one."""
    outgoing = take_up(request, station, identity)
    if outgoing is not None:
        first = outgoing.history.first
        if isinstance(first, Begun) and sources.matches(first.sources) and not options.anew:
            return outgoing
        if not outgoing.delivered:
            reason = "as asked" if options.anew else "the files changed since the last run"
            on_event(Notice("send.changed", f"{reason}: starting anew"))
            _abandon(outgoing, transport)
        outgoing.journal.close()
    return begin(
        request,
        sources,
        to=to,
        identity=identity,
        station=station,
        options=options,
        now=int(time.time()),
    )


def _record(outgoing: Outgoing, station: Station) -> None:
    """Put into the record what is about to be sent, before anything leaves this station."""
    details = {
        Detail.CHUNKS: outgoing.layout.chunk_count,
        Detail.FILES: len(outgoing.manifest.files),
        Detail.OCTETS: outgoing.layout.total_size,
    }
    if outgoing.history.chunks:
        details[Detail.RESUMED] = len(outgoing.history.chunks)
    station.record.note(
        Act.SEND,
        entries.parcel(outgoing.parcel),
        tier=outgoing.envelope.tier,
        parties=outgoing.recipients,
        details=details,
    )
    _record_grants(outgoing.envelope, station)


ACTS: Final = {Kind.REVISION: Act.AMEND, Kind.OPINION: Act.OPINION, Kind.SHARE: Act.SHARE}
"""What the record calls sending a parcel that continues another."""


def _record_grants(envelope: Envelope, station: Station) -> None:
    """Put into the record what is granted to whom, and what the parcel continues."""
    note, about = station.record.note, entries.parcel(envelope.parcel)
    for role in sorted({grant.role for grant in envelope.grants}):
        parties = [grant.station for grant in envelope.grants if grant.role == role]
        note(Act.GRANT, about, role=role, tier=envelope.tier, parties=parties)
    if envelope.lineage is not None:
        details = {Detail.DIGEST: envelope.lineage.digest.value}
        note(ACTS[envelope.kind], about, tier=envelope.tier, details=details)


def _abandon(outgoing: Outgoing, transport: Transport) -> None:
    """Give up a parcel that will never be sealed, and let the far side forget it if it can."""
    outgoing.forget("abandoned")
    if "sealed" not in outgoing.history.milestones:
        with suppress(TransferError, AccessDeniedError):
            transport.remove(outgoing.parcel)
