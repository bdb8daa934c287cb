"""What a station lets be done with a parcel that arrived: the facts gathered, the decision kept to.

`trust.access` decides; here are its facts, and what follows.  An opening is counted, and is in
the record, before anything is shown or written.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from medshare.audit import entries
from medshare.audit.entries import Act, Detail
from medshare.audit.merkle import leaf_hash
from medshare.authority.held import Credentials, Standing
from medshare.envelope import Envelope
from medshare.errors import FormatError
from medshare.grant import Permission
from medshare.ids import StationId
from medshare.station import Contact, Station
from medshare.station.emergencies import keep_emergency, new_emergency
from medshare.station.openings import count_opening, openings_of
from medshare.station.withdrawals import withdrawal_of
from medshare.trust.access import Context, Decision, Resource, Subject, decide, tier_finding
from medshare.trust.access_rules import label_of
from medshare.trust.lineage import department_of
from medshare.trust.policy import Reader, Require

ACTS: Final = {
    Permission.VIEW: Act.VIEW,
    Permission.EXPORT: Act.EXPORT,
    Permission.ANNOTATE: Act.OPINION,
    Permission.AMEND: Act.AMEND,
    Permission.SHARE: Act.SHARE,
}
"""What the record calls what a grant allows."""
BROKEN: Final = "the glass was broken: that is in the record, and others will review it"
"""What is said to whoever broke the glass."""


class Access:
    """What this station lets be done with one parcel, the envelope of which is verified.

    *reason* is why the glass is to be broken, if it is; *counted* says that the opening that is
    under way was counted by an earlier run; *known* is what to go by of credentials and lists,
    instead of reading them anew for each decision; *clock* gives seconds since 1970 UTC.
    """

    def __init__(
        self,
        envelope: Envelope,
        station: Station,
        *,
        reason: str | None = None,
        counted: bool = False,
        known: Credentials | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.envelope = envelope
        self._station = station
        self._reason = reason
        self._counted = counted
        self._known = known
        self._clock = clock
        self._broken: dict[Permission, bytes] = {}

    @property
    def emergency(self) -> bytes | None:
        """The leaf hash of the entry that says that the glass was broken; None if it was not."""
        return next(iter(self._broken.values()), None)

    @property
    def counted(self) -> bool:
        """Whether the sender has set a number of openings for this station."""
        grant = self.envelope.grant_for(self._station.id)
        return grant is not None and grant.openings > 0

    def decision(self, act: Permission) -> Decision:
        """Return whether *act* is allowed now, and what each rule says; nothing is recorded."""
        now = int(self._clock())
        known = self._known or Credentials(self._station)
        before = openings_of(self._station.home, self.envelope.parcel) - self._counted
        return decide(
            self._subject(known, now),
            act,
            resource_of(self.envelope, self._station, known, now=now),
            Context(now, max(before, 0), self._reason),
            self._station.policy,
        )

    def require(self, act: Permission) -> None:
        """Raise PolicyError unless *act* is allowed now, and record it when it is not.

        Where the glass is broken for it, that is recorded first, once for this object.
        """
        decision = self.decision(act)
        about = entries.parcel(self.envelope.parcel)
        with self._station.record.refusals(ACTS[act], about, tier=self.envelope.tier):
            decision.require()
        if decision.overridden and act not in self._broken:
            self._broken[act] = self._note_emergency(decision)

    def begin(self, act: Permission) -> None:
        """Count one opening for *act*, unless it is counted; raise PolicyError if it may not be."""
        self.require(act)
        if not self._counted:
            grant = self.envelope.grant_for(self._station.id)
            limit = 0 if grant is None else grant.openings
            about = entries.parcel(self.envelope.parcel)
            with self._station.record.refusals(ACTS[act], about, tier=self.envelope.tier):
                count_opening(self._station.home, self.envelope.parcel, limit=limit)
            self._counted = True

    def note(self, act: Permission) -> None:
        """Record that the content is opened for *act* now; raise PolicyError if it ended since."""
        self.decision(act).require()
        envelope = self.envelope
        about, parties = entries.parcel(envelope.parcel), (envelope.sender,)
        self._station.record.note(ACTS[act], about, tier=envelope.tier, parties=parties)

    def _subject(self, known: Credentials, now: int) -> Subject:
        """Return who asks; the certificates are looked at only where a rule asks for them."""
        station, policy = self._station, self._station.policy
        tier = policy.find(self.envelope.tier)
        asked = self._reason is not None or (tier is not None and tier.reader is Reader.LICENSED)
        if asked or (policy.access.departments and department_of(self.envelope)):
            return subject_of(station.id, known.standing(station.id, station.card, now=now))
        return Subject(station.id)

    def _note_emergency(self, decision: Decision) -> bytes:
        envelope, record = self.envelope, self._station.record
        emergency = new_emergency(
            envelope.parcel,
            decision.act,
            at=int(self._clock()),
            overridden=tuple(map(str, decision.overridden)),
            reason=self._reason or "",
        )
        keep_emergency(self._station.home, emergency)
        event = record.event(
            Act.EMERGENCY,
            entries.parcel(envelope.parcel),
            tier=envelope.tier,
            parties=(envelope.sender,),
            details={Detail.DIGEST: emergency.digest},
        )
        roles = self._subject(Credentials(self._station), int(self._clock())).roles
        with suppress(FormatError):  # a role that is no label is left out; the act is not
            event = replace(event, role=next(iter(roles), ""))
        return leaf_hash(record.log.record(event).encode())


def explained(
    envelope: Envelope,
    act: Permission,
    station: Station,
    *,
    who: Contact | None,
    reason: str | None,
    now: int,
) -> tuple[Decision, Standing]:
    """Return what the rules here say of *act* by *who*, a contact or the station itself.

    Also what is known of the credential of whoever that is.  How often a contact has opened
    it is known there alone.  *reason* is as if the glass were broken; nothing is recorded.
    """
    known = Credentials(station)
    card = station.card if who is None else who.card
    standing = known.standing(card.station, card, now=now)
    openings = openings_of(station.home, envelope.parcel) if who is None else 0
    decision = decide(
        subject_of(card.station, standing),
        act,
        resource_of(envelope, station, known, now=now, by=card.station),
        Context(now, openings, reason),
        station.policy,
    )
    tier = tier_finding(
        station.policy,
        envelope.tier,
        suite=envelope.suite,
        backend=station.backend if who is None else None,
    )
    return Decision(act, (tier, *decision.findings)), standing


def subject_of(station: StationId, standing: Standing) -> Subject:
    """Return who *station* is, as far as an authority that is trusted here vouches for it."""
    if standing.vetted is None:
        return Subject(station, fault="" if standing.fault is None else standing.fault.message)
    credential = standing.vetted.credential
    roles = tuple(label_of(role.name) for role in credential.roles)
    return Subject(station, vetted=True, roles=roles, department=credential.department)


def resource_of(
    envelope: Envelope,
    station: Station,
    known: Credentials,
    *,
    now: int,
    by: StationId | None = None,
) -> Resource:
    """Return what is asked for, with the standing of its sender where a rule asks for that.

    *by* is who asks; the station itself where nobody else is named.
    """
    who = by or station.id
    tier = station.policy.find(envelope.tier)
    fault = None
    if tier is not None and tier.sender is Require.LICENSED and envelope.sender != station.id:
        fault = _sender_fault(envelope.sender, station, known, now)
    return Resource(
        parcel=envelope.parcel,
        sender=envelope.sender,
        tier=envelope.tier,
        department=department_of(envelope),
        restricted=bool(envelope.grants),
        grant=envelope.grant_for(who),
        kind=envelope.kind,
        delete_after=envelope.delete_after,
        withdrawn=withdrawal_of(station.home, envelope, who) is not None,
        sender_fault=fault,
    )


def _sender_fault(sender: StationId, station: Station, known: Credentials, now: int) -> str | None:
    contact = station.contacts.of(sender)
    if contact is None:
        return "it is not among the contacts"
    standing = known.standing(sender, contact.card, now=now)
    return None if standing.fault is None else standing.fault.message
