"""The administration of a relay: proposals taken in, voted on, and carried out exactly once.

The order of writes, for what a quorum has approved:

    evidence → record entry of the vote → vote → `decided` → record entry of the act → the act
             → closed

A crash before `decided` leaves a proposal that is still open; the vote is cast again.  After
`decided` the relay goes on where it was as soon as it starts: the act is recorded unless it was,
done (which may be repeated without harm), and the proposal closed.  Closing is one rename.
"""

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Final, Protocol

from medshare.audit import entries
from medshare.audit.administration import ACTS, object_of
from medshare.audit.entries import NOTHING, Act, Detail, Event
from medshare.errors import (
    AccessDeniedError,
    FormatError,
    MedshareError,
    NotFoundError,
    RelayRefusedError,
    StorageError,
)
from medshare.httpsig import MAX_SKEW
from medshare.ids import StationId
from medshare.record.reader import RecordReader
from medshare.relay.admin_store import AdminStore, Closing, Decision, File
from medshare.relay.enrolment import Enrolled
from medshare.relay.recording import RelayRecord
from medshare.trust.card import Card
from medshare.trust.charter import Charter
from medshare.trust.orders import ALONE, Order
from medshare.trust.proposal import (
    SignedProposal,
    SignedVote,
    parse_proposal,
    parse_vote,
)
from medshare.trust.quorum import Ballot, Count, Standing, count
from medshare.wire import problems
from medshare.wire.admin_bodies import MAX_LISTED, Dossier, Overview, Result, State

MAX_OPEN: Final = 32
"""Proposals of one administrator that are open, or fewer, so that all have room (`room_for`)."""
MAX_A_DAY: Final = 128
"""Proposals that one administrator may make within a day: each is kept for good."""
_DAY: Final = 86400


def room_for(charter: Charter) -> int:
    """Return how many open proposals each administrator may have, whatever the others do."""
    return min(MAX_OPEN, MAX_LISTED // len(charter.administrators))


class Effects(Protocol):
    """What carries orders out."""

    def check(self, order: Order, charter: Charter) -> None:
        """Raise what stands in the way of *order* now; change nothing."""

    def apply(self, order: Order, proposal: bytes, charter: Charter) -> None:
        """Let *order* be carried out, durably; doing it again changes nothing more."""


class Administration:
    """The administration of one relay; safe to share between threads."""

    def __init__(
        self,
        store: AdminStore,
        record: RelayRecord,
        effects: Effects,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._record = record
        self._effects = effects
        self._clock = clock
        self._lock = threading.Lock()
        self._made: defaultdict[StationId, list[int]] = defaultdict(list)
        """When each administrator made proposals, since the relay was started."""

    # --- telling -------------------------------------------------------------------------

    def overview(self, asker: Enrolled) -> Overview:
        """Return how the relay is administered, to an administrator."""
        with self._lock:
            charter = self.require_administrator(asker)
            return Overview(charter.encode(), self._store.settings())

    def listing(self, asker: Enrolled) -> list[tuple[bytes, State]]:
        """Return the proposals that are open, and the newest of the others."""
        with self._lock, self._store.locked():
            self._sort_out(self.require_administrator(asker))
            found = [(digest, State.PENDING) for digest in self._store.open_ids()]
            return found + self._store.closed(MAX_LISTED - len(found))

    def dossier(self, asker: Enrolled, digest: bytes) -> Dossier:
        """Return everything about one proposal; raise NotFoundError when there is none."""
        with self._lock, self._store.locked():
            self._sort_out(self.require_administrator(asker))
            file = self._file(digest)
        closing = file.closing or Closing(State.PENDING, 0)
        return Dossier(
            file.proposal.encoded,
            tuple(one.encoded for one in file.votes),
            closing.state,
            closing.at,
            closing.code,
        )

    # --- proposing and voting ------------------------------------------------------------

    def propose(self, asker: Enrolled, digest: bytes, data: bytes) -> Result:
        """Take in a proposal; return how it stands.

        Raises FormatError, AuthenticityError, AccessDeniedError or RelayRefusedError.
        """
        proposal = parse_proposal(data)
        if proposal.digest != digest:
            raise FormatError("the proposal is not the one that the path names")
        with self._lock, self._store.locked():
            charter = self.require_administrator(asker)
            self._sort_out(charter)
            known = self._store.find(digest)
            if known is None:
                self._require_fit(asker, charter, proposal)
                self._effects.check(proposal.content.order, charter)
                self._keep(proposal.digest, proposal.encoded, Act.PROPOSE, asker)
                self._store.add(proposal)
                self._made[asker.station].append(int(self._clock()))
            return self._settle(digest)

    def vote(self, asker: Enrolled, digest: bytes, data: bytes) -> Result:
        """Take in a vote; return how the proposal stands after it.

        Raises what `propose` does, NotFoundError when there is no such proposal.
        """
        vote = parse_vote(data)
        if vote.content.proposal != digest:
            raise FormatError("the vote is on another proposal than the path names")
        with self._lock, self._store.locked():
            charter = self.require_administrator(asker)
            self._sort_out(charter)
            file = self._file(digest)
            _require_own(asker, vote.content.card)
            known = {(one.content.voter, one.content.approves) for one in file.votes}
            if (vote.content.voter, vote.content.approves) not in known:
                self._require_votable(file, vote, charter)
                self._keep(
                    vote.digest,
                    vote.encoded,
                    Act.APPROVE if vote.content.approves else Act.REJECT,
                    asker,
                )
                self._store.add_vote(vote)
            return self._settle(digest)

    def _keep(self, digest: bytes, octets: bytes, act: Act, asker: Enrolled) -> None:
        self._store.keep(digest, octets)
        self._record.note(act, asker.station, NOTHING, details={Detail.DIGEST: digest})

    def _require_fit(self, asker: Enrolled, charter: Charter, proposal: SignedProposal) -> None:
        """Raise unless *proposal* is the asker's, for this relay and these administrators."""
        content, now = proposal.content, int(self._clock())
        _require_own(asker, content.card)
        if content.relay != charter.relay or content.charter != charter.digest:
            raise RelayRefusedError(
                "the proposal was made for another relay, or for other administrators of this one",
                code=problems.FOREIGN,
            )
        if content.created > now + MAX_SKEW:
            raise FormatError("the proposal was made in the future, by the clock of the relay")
        if content.expires <= now:
            raise _closed("the proposal has expired")
        self._require_room(asker.station, charter, now)

    def _require_room(self, proposer: StationId, charter: Charter, now: int) -> None:
        """Raise RelayRefusedError when *proposer* has made too many; others take no room of his."""
        room = room_for(charter)
        files = [self._file(digest) for digest in self._store.open_ids()]
        if sum(one.proposal.content.proposer == proposer for one in files) >= room:
            raise RelayRefusedError(
                f"{room} proposals of this administrator are to be decided already",
                code=problems.QUOTA,
            )
        made = self._made[proposer] = [at for at in self._made[proposer] if at > now - _DAY]
        if len(made) >= MAX_A_DAY:
            raise RelayRefusedError(
                f"this administrator has made {MAX_A_DAY} proposals within a day",
                code=problems.QUOTA,
            )

    def _require_votable(self, file: File, vote: SignedVote, charter: Charter) -> None:
        """Raise unless *vote* may be added, and what it would bring about can be done."""
        content = file.proposal.content
        if file.closing is not None:
            raise _closed(f"the proposal is {file.closing.state} already")
        if vote.content.relay != charter.relay:
            raise RelayRefusedError("the vote was cast for another relay", code=problems.FOREIGN)
        rejected = {one.content.voter for one in file.votes if not one.content.approves}
        if vote.content.voter in rejected:
            raise _closed("this station has rejected the proposal, which is final")
        after = _count(file, charter, [vote])
        if after.standing is Standing.CARRIED:
            self._effects.check(content.order, charter)

    # --- carrying out --------------------------------------------------------------------

    def _settle(self, digest: bytes) -> Result:
        """Do what the votes on a proposal come to; return how it stands."""
        file, charter = self._file(digest), self._charter()
        found = _count(file, charter, [])
        closing = file.closing
        if closing is None and found.standing is Standing.CARRIED:
            decision = Decision(int(self._clock()), self._record.log.size())
            self._store.decide(digest, decision)
            closing = self._carry_out(file, decision, charter)
        elif closing is None and found.standing is Standing.REJECTED:
            closing = self._close(digest, State.REJECTED)
        state = State.PENDING if closing is None else closing.state
        code = "" if closing is None else closing.code
        return Result(state, found.approvals, found.rejections, found.needed, code)

    def _carry_out(self, file: File, decision: Decision, charter: Charter) -> Closing:
        """Do what is decided, from wherever it was broken off, and close the proposal."""
        proposal = file.proposal
        event = _event(file)
        if not self._is_recorded(event, decision.size):
            self._record.log.record(event)
        try:
            self._effects.apply(proposal.content.order, proposal.digest, charter)
        except StorageError:
            raise  # nothing is over: it is tried again
        except MedshareError as error:
            self._record.log.record(event.refused(error))
            return self._close(proposal.digest, State.FAILED, error.code)
        return self._close(proposal.digest, State.DONE)

    def _is_recorded(self, event: Event, start: int) -> bool:
        if self._record.log.size() <= start:
            return False
        wanted = event.act, event.details[Detail.DIGEST]
        return any(
            (entry.event.act, entry.event.details.get(Detail.DIGEST)) == wanted
            for entry in RecordReader(self._record.log.folder).entries(start)
        )

    def _close(self, digest: bytes, state: State, code: str = "") -> Closing:
        closing = Closing(state, int(self._clock()), code)
        self._store.close(digest, closing)
        return closing

    def resume(self) -> None:
        """Go on with what was decided and not done, and put away what is over."""
        with self._lock, self._store.locked():
            charter = self._store.charter()
            if charter is not None:
                self._sort_out(charter)

    def _sort_out(self, charter: Charter) -> None:
        self._store.tidy()
        for digest in self._store.open_ids():
            file, now = self._file(digest), int(self._clock())
            content = file.proposal.content
            if file.closing is not None:
                self._store.close(digest, file.closing)
            elif file.decision is not None:
                self._carry_out(file, file.decision, charter)
            elif content.charter != charter.digest:
                self._close(digest, State.VOID)
            elif content.expires <= now:
                self._close(digest, State.EXPIRED)

    # --- who -----------------------------------------------------------------------------

    def _charter(self) -> Charter:
        charter = self._store.charter()
        if charter is None:
            raise NotFoundError("nobody was named to administer this relay")
        return charter

    def require_administrator(self, asker: Enrolled) -> Charter:
        """Return the charter in force; raise AccessDeniedError unless *asker* is in it.

        Raises NotFoundError when nobody was named.
        """
        charter = self._charter()
        named = charter.administrator(asker.station)
        if named is None or not asker.card.continues(named.card):
            raise AccessDeniedError("only an administrator of this relay may do this")
        return charter

    def _file(self, digest: bytes) -> File:
        found = self._store.find(digest)
        if found is None:
            raise NotFoundError("there is no such proposal at this relay")
        return found


def _count(file: File, charter: Charter, more: list[SignedVote]) -> Count:
    content = file.proposal.content
    ballots = [Ballot(one.content.voter, one.content.approves) for one in [*file.votes, *more]]
    return count(
        charter.members,
        ballots,
        proposer=content.proposer,
        need=charter.need,
        alone=content.order.action in ALONE,
    )


def _event(file: File) -> Event:
    """Return what the record says when a proposal is carried out: by whom, for whom."""
    content = file.proposal.content
    approving = {one.content.voter for one in file.votes if one.content.approves}
    approving -= {one.content.voter for one in file.votes if not one.content.approves}
    return Event(
        ACTS[content.order.action],
        entries.station(content.proposer),
        object_of(content.order),
        parties=tuple(sorted(approving | {content.proposer})),
        details={Detail.DIGEST: file.proposal.digest},
    )


def _require_own(asker: Enrolled, card: Card) -> None:
    """Raise AccessDeniedError unless *card* is the asker's, with the keys that he has now."""
    if card.generations != asker.card.generations:
        raise AccessDeniedError(
            "what an administrator signs is signed, and sent, by himself with his newest keys"
        )


def _closed(sentence: str) -> RelayRefusedError:
    return RelayRefusedError(sentence, code=problems.CLOSED)
