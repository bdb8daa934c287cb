"""A relay that three administrators govern: two of them must approve."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from medshare.relay.admin_store import AdminStore
from medshare.relay.folder import DataFolder
from medshare.relay.founding import found
from medshare.trust.charter import Charter
from medshare.trust.orders import Action, Administrator, Order
from medshare.trust.proposal import SignedProposal, SignedVote, propose, vote
from medshare.wire import admin_bodies, routes
from medshare.wire.admin_bodies import Result
from medshare.wire.routes import Target
from tests.builder import Identity, make_identity, octets
from tests.relay_case import NOW, Case, Reply, signed
from tests.running_relay import enroll
from tests.suites.transport_suite import ALICE, BOB

ANNA, BEN, CLEO = (make_identity(name) for name in ("anna", "ben", "cleo"))
STRANGER = make_identity("a newcomer")
ENROLL = Order(Action.ENROLL, card=STRANGER.card)
_nonces = itertools.count()


def charter_at(data: Path) -> Charter:
    """Return the charter in force in the data folder *data*."""
    found_there = AdminStore(data, data / "audit").charter()
    assert found_there is not None
    return found_there


def name_administrators(
    data: Path, *people: Identity, need: int = 2, persons: tuple[bytes, ...] = ()
) -> Charter:
    """Name *people* to administer the relay in *data*."""
    known = persons or (b"",) * len(people)
    named = tuple(Administrator(one.card, who) for one, who in zip(people, known, strict=True))
    return found(DataFolder(data), named, need=need, now=NOW)


@contextmanager
def governed_case(data: Path, **settings: Any) -> Iterator[Case]:
    """Open a relay in *data* with Anna, Ben and Cleo as administrators, Alice and Bob as users."""
    if not (data / "admin" / "charter").exists():
        enroll(data, ALICE, BOB)
        name_administrators(data, ANNA, BEN, CLEO)
    with Case(data, **settings).open() as case:
        yield case


def proposal_of(
    case: Case, who: Identity, order: Order, *, valid: int = 7 * 86400, **changes: Any
) -> SignedProposal:
    """Return a proposal of *who* for the relay of *case*; *changes* are made to its charter."""
    charter = replace(charter_at(case.data), **changes)
    nonce = octets(f"nonce {next(_nonces)}", 16)
    return propose(
        charter, order, who.card, who.signers, now=case.now, valid=valid, random=lambda _: nonce
    )


def vote_of(
    case: Case, who: Identity, proposal: SignedProposal, *, approves: bool = True
) -> SignedVote:
    """Return the vote of *who* on *proposal*."""
    return vote(proposal, who.card, who.signers, approves=approves, now=case.now)


def put_proposal(case: Case, who: Identity, proposal: SignedProposal) -> Reply:
    """Let *who* hand in *proposal*."""
    target = Target(routes.PUT_PROPOSAL, proposal=proposal.digest)
    return case.ask(signed(who, target, proposal.encoded, created=case.now))


def put_vote(case: Case, who: Identity, cast: SignedVote) -> Reply:
    """Let *who* hand in the vote *cast*."""
    target = Target(routes.PUT_VOTE, station=who.station, proposal=cast.content.proposal)
    return case.ask(signed(who, target, cast.encoded, created=case.now))


def result_of(reply: Reply) -> Result:
    """Return what the relay says of a proposal."""
    assert reply.status == 200, reply.problem
    return admin_bodies.decode_result(reply.body)


def proposed(case: Case, who: Identity, order: Order) -> SignedProposal:
    """Let *who* propose *order*; return the proposal, which is pending."""
    proposal = proposal_of(case, who, order)
    assert result_of(put_proposal(case, who, proposal)).state is admin_bodies.State.PENDING
    return proposal


def approve(case: Case, who: Identity, proposal: SignedProposal) -> Reply:
    """Let *who* approve *proposal*."""
    return put_vote(case, who, vote_of(case, who, proposal))


def carried(case: Case, order: Order, *, by: tuple[Identity, Identity] = (ANNA, BEN)) -> Result:
    """Let two administrators carry *order*."""
    proposal = proposed(case, by[0], order)
    return result_of(approve(case, by[1], proposal))
