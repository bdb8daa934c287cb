"""Whether every administrative act in the record of a relay had its quorum (docs/audit.md §3.7).

    judge(entries, evidence) -> Judgement

The entries say which act was done when, and name a proposal by its digest; the signed proposal
and votes are found under their digests.  Everything is checked as the relay checked it, with
nothing but these octets and the first charter:

1. the proposal is for this relay, under the charter in force, not over when it was voted on;
2. it asks for just the act that was done, to just that station or parcel;
3. those who voted were administrators, their signatures hold, no card goes back to older keys;
4. the votes that were recorded before the act make up the quorum;
5. no proposal was carried out twice.

What a sender does to his own parcel (remove it, withdraw a grant) needs no proposal.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from medshare.audit.entries import Act, Detail, Entry, Kind, Outcome, Ref
from medshare.audit.entries import parcel as parcel_ref
from medshare.audit.entries import station as station_ref
from medshare.errors import MedshareError
from medshare.ids import StationId
from medshare.trust.card import Card
from medshare.trust.charter import Charter, parse_charter
from medshare.trust.orders import ALONE, Action, Order
from medshare.trust.proposal import SignedProposal, SignedVote, parse_proposal, parse_vote
from medshare.trust.quorum import Ballot, Standing, count

ACTS: Final = {
    Action.ENROLL: Act.ENROL,
    Action.REMOVE: Act.REMOVE,
    Action.SET_PROFILE: Act.PROFILE,
    Action.WITHDRAW_GRANT: Act.WITHDRAW,
    Action.DELETE: Act.DELETE,
    Action.HOLD: Act.HOLD,
    Action.RELEASE_HOLD: Act.RELEASE,
    Action.SET_POLICY: Act.POLICY,
    Action.SET_ADMINISTRATORS: Act.ADMINISTER,
}
"""The act in the record by which each action is carried out."""
GOVERNED: Final = frozenset(ACTS.values())
CONCERNED: Final = GOVERNED | {Act.PROPOSE, Act.APPROVE, Act.REJECT, Act.ANNOUNCE}
"""The acts whose entries `judge` needs to see; it may be given others too."""
CLOCK_SKEW: Final = 300

Evidence = Callable[[bytes], bytes | None]
"""Returns what is kept under a digest, or None."""


def object_of(order: Order) -> Ref:
    """Return what the entry of the act says that it is about."""
    if order.parcel:
        return parcel_ref(order.parcel)
    if order.subject:
        return station_ref(order.subject)
    return Ref(Kind.NOTHING)


@dataclass(frozen=True, slots=True)
class Objection:
    """An administrative act that lacks what it needs."""

    entry: int
    act: Act
    sentence: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be said about the administrative acts of a record."""

    governed_from: int | None
    """The entry since which acts need a quorum; None when nobody was ever named."""
    approved: int
    """Acts that had their quorum."""
    objections: tuple[Objection, ...]


class _Lacking(Exception):  # noqa: N818  # it never leaves this module
    """The act lacks something."""


@dataclass(slots=True)
class _Motion:
    """A proposal, and the votes on it that are recorded so far."""

    signed: SignedProposal
    votes: dict[bytes, SignedVote] = field(default_factory=dict)


def judge(entries: Iterable[Entry], evidence: Evidence) -> Judgement:
    """Return what is to be said about the administrative acts among *entries*, in order."""
    return _Judge(evidence).run(entries)


class _Judge:
    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._charter: Charter | None = None
        self._from: int | None = None
        self._cards: dict[StationId, Card] = {}
        self._motions: dict[bytes, _Motion] = {}
        self._done: set[bytes] = set()
        self._senders: dict[bytes, bytes] = {}
        self._whole = True
        self._approved = 0
        self._objections: list[Objection] = []

    def run(self, entries: Iterable[Entry]) -> Judgement:
        """Walk through *entries* once."""
        first = True
        for entry in entries:
            if first:
                self._whole = entry.number == 0
                first = False
            if entry.event.outcome is Outcome.DONE:
                try:
                    self._take(entry)
                except (_Lacking, MedshareError) as error:
                    self._objections.append(Objection(entry.number, entry.event.act, str(error)))
        return Judgement(self._from, self._approved, tuple(self._objections))

    def _take(self, entry: Entry) -> None:
        event = entry.event
        if event.act is Act.ANNOUNCE:
            self._senders[event.object.id] = event.actor.id
        elif event.act is Act.ADMINISTER and self._charter is None:
            self._begin(entry)
        elif self._charter is None or event.act not in CONCERNED or self._is_repeated(entry):
            return
        elif event.act is Act.PROPOSE:
            self._propose(entry)
        elif event.act in {Act.APPROVE, Act.REJECT}:
            self._vote(entry)
        elif not self._is_own(entry):
            self._carry_out(entry)

    def _begin(self, entry: Entry) -> None:
        digest = _digest(entry)
        charter = parse_charter(self._kept(digest, "the charter"))
        if charter.digest != digest or charter.number:
            raise _Lacking("the first charter is not the one that the record names")
        self._charter, self._from = charter, entry.number
        self._cards = {one.card.station: one.card for one in charter.administrators}

    def _is_repeated(self, entry: Entry) -> bool:
        """Tell whether the first charter was named again, after a crash while naming it."""
        first = self._charter is not None and not self._charter.number
        return (
            first
            and entry.event.act is Act.ADMINISTER
            and self._charter is not None
            and entry.event.details.get(Detail.DIGEST) == self._charter.digest
        )

    def _propose(self, entry: Entry) -> None:
        digest = _digest(entry)
        signed = parse_proposal(self._kept(digest, "the proposal"))
        content = signed.content
        if signed.digest != digest:
            raise _Lacking("the proposal is not the one that the record names")
        self._require_administrator(content.card, entry)
        if not content.created - CLOCK_SKEW <= entry.time < content.expires:
            raise _Lacking("the proposal was recorded before it was made, or after it was over")
        self._motions.setdefault(digest, _Motion(signed))

    def _vote(self, entry: Entry) -> None:
        digest = _digest(entry)
        signed = parse_vote(self._kept(digest, "the vote"))
        content = signed.content
        if signed.digest != digest or content.approves != (entry.event.act is Act.APPROVE):
            raise _Lacking("the vote is not the one that the record names")
        self._require_administrator(content.card, entry)
        motion = self._motions.get(content.proposal)
        if motion is None or content.relay != motion.signed.content.relay:
            raise _Lacking("the vote is on a proposal that is not in the record")
        if entry.time >= motion.signed.content.expires:
            raise _Lacking("the vote was cast after the proposal was over")
        motion.votes[digest] = signed

    def _carry_out(self, entry: Entry) -> None:
        event, charter = entry.event, self._charter
        motion = self._motions.get(_digest(entry))
        if motion is None or charter is None:
            raise _Lacking("it was done without a proposal")
        content, order = motion.signed.content, motion.signed.content.order
        if content.relay != charter.relay or content.charter != charter.digest:
            raise _Lacking("its proposal was made for another relay, or other administrators")
        if ACTS[order.action] is not event.act or object_of(order) != event.object:
            raise _Lacking("its proposal asks for something else")
        if motion.signed.digest in self._done:
            raise _Lacking("its proposal was carried out before")
        ballots = [Ballot(v.content.voter, v.content.approves) for v in motion.votes.values()]
        found = count(
            charter.members,
            ballots,
            proposer=content.proposer,
            need=charter.need,
            alone=order.action in ALONE,
        )
        if found.standing is not Standing.CARRIED:
            raise _Lacking(f"it had {found.approvals} of {found.needed} approvals")
        self._done.add(motion.signed.digest)
        self._approved += 1
        if order.action is Action.SET_ADMINISTRATORS:
            self._charter = charter.following(
                order.administrators, order.need, proposal=motion.signed.digest
            )
            self._cards |= {one.card.station: self._newer(one.card) for one in order.administrators}

    def _newer(self, card: Card) -> Card:
        known = self._cards.get(card.station)
        return known if known is not None and known.continues(card) else card

    def _require_administrator(self, card: Card, entry: Entry) -> None:
        if self._charter is None or self._charter.administrator(card.station) is None:
            raise _Lacking("it is of somebody who was no administrator")
        if entry.event.actor != station_ref(card.station):
            raise _Lacking("it is of another station than the record says")
        if not card.continues(self._cards[card.station]):
            raise _Lacking("it is signed with keys that the administrator had replaced")
        self._cards[card.station] = card

    def _is_own(self, entry: Entry) -> bool:
        """Tell whether the act is one of a sender on his own parcel."""
        event = entry.event
        if event.act not in {Act.DELETE, Act.WITHDRAW} or Detail.DIGEST in event.details:
            return False
        sender = self._senders.get(event.object.id)
        return sender == event.actor.id or (sender is None and not self._whole)

    def _kept(self, digest: bytes, what: str) -> bytes:
        octets = self._evidence(digest)
        if octets is None:
            raise _Lacking(f"{what} that the record names is missing")
        return octets


def _digest(entry: Entry) -> bytes:
    digest = entry.event.details.get(Detail.DIGEST)
    if not isinstance(digest, bytes):
        raise _Lacking("it was done without a proposal")
    return digest
