"""A relay as one of its administrators sees it (docs/relay-protocol.md §4, `get-admin` and on).

Nothing that the relay tells is believed: who administers it, what was proposed and who voted is
shown by what they signed, and checked here before anybody is asked to decide.
"""

from dataclasses import dataclass

from medshare.errors import IntegrityError, RelayRefusedError
from medshare.ids import StationId
from medshare.transport.relay import RelayTransport
from medshare.trust.charter import Charter, parse_charter
from medshare.trust.proposal import SignedProposal, SignedVote, parse_proposal, parse_vote
from medshare.wire import admin_bodies, routes
from medshare.wire.admin_bodies import Dossier, Result, State
from medshare.wire.routes import CBOR, Target


@dataclass(frozen=True, slots=True)
class Matter:
    """A proposal and its votes, all signatures verified, and what the relay says became of it."""

    proposal: SignedProposal
    votes: tuple[SignedVote, ...]
    state: State
    at: int
    code: str

    def voters(self, *, approves: bool) -> tuple[StationId, ...]:
        """Return who approved, the proposer first, or who rejected."""
        found = [v.content.voter for v in self.votes if v.content.approves is approves]
        first = [self.proposal.content.proposer] if approves else []
        return tuple(dict.fromkeys([*first, *found]))


class AdminTransport(RelayTransport):
    """A relay, for whoever administers it; raises what `RelayTransport` does."""

    def overview(self) -> tuple[Charter, dict[str, int]]:
        """Return who administers the relay, and what they have set."""
        with self._ask(Target(routes.ADMIN)) as answer:
            found = answer.decoded(admin_bodies.decode_overview, limit=admin_bodies.MAX_OVERVIEW)
        return parse_charter(found.charter), found.settings

    def proposals(self) -> tuple[tuple[bytes, State], ...]:
        """Return the digests of the proposals, those that are open first."""
        with self._ask(Target(routes.PROPOSALS)) as answer:
            return answer.decoded(admin_bodies.decode_listing, limit=admin_bodies.MAX_LISTING)

    def matter(self, digest: bytes) -> Matter:
        """Return the proposal that *digest* names, and all votes on it.

        Raises NotFoundError when there is none, IntegrityError when the relay shows another,
        and SignatureError when anything is not signed as it must be.
        """
        with self._ask(Target(routes.GET_PROPOSAL, proposal=digest)) as answer:
            found = answer.decoded(admin_bodies.decode_dossier, limit=admin_bodies.MAX_DOSSIER)
        return _checked(found, digest)

    def propose(self, proposal: SignedProposal) -> Result:
        """Hand in a proposal; return how it stands."""
        target = Target(routes.PUT_PROPOSAL, proposal=proposal.digest)
        return self._put_signed(target, proposal.encoded)

    def vote(self, vote: SignedVote) -> Result:
        """Hand in a vote; return how the proposal stands."""
        content = vote.content
        target = Target(routes.PUT_VOTE, station=content.voter, proposal=content.proposal)
        return self._put_signed(target, vote.encoded)

    def _put_signed(self, target: Target, octets: bytes) -> Result:
        if len(octets) > target.route.limit:
            raise RelayRefusedError("this is too large for a relay")
        with self._ask(target, body=octets) as answer:
            return admin_bodies.decode_result(answer.read(CBOR, limit=admin_bodies.MAX_RESULT))


def _checked(found: Dossier, digest: bytes) -> Matter:
    proposal = parse_proposal(found.proposal)
    if proposal.digest != digest:
        raise IntegrityError("the relay shows another proposal than the one that was asked for")
    votes = tuple(parse_vote(one) for one in found.votes)
    if any(one.content.proposal != digest for one in votes):
        raise IntegrityError("the relay shows votes on another proposal")
    return Matter(proposal, votes, found.state, found.at, found.code)
