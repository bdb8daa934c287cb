"""What each request of an administrator does: between the wire and `relay.administration`."""

from collections.abc import Awaitable, Callable
from typing import Final

from medshare.errors import AccessDeniedError
from medshare.relay.exchange import Exchange
from medshare.wire import admin_bodies, routes

Handler = Callable[[Exchange], Awaitable[None]]


async def overview(x: Exchange) -> None:
    """Tell who administers the relay, and what they have set."""
    found = await x.service.run(x.service.administration.overview, x.asker)
    await x.answer.structure(admin_bodies.encode_overview(found))


async def proposals(x: Exchange) -> None:
    """Tell which proposals there are."""
    found = await x.service.run(x.service.administration.listing, x.asker)
    await x.answer.structure(admin_bodies.encode_listing(found))


async def get_proposal(x: Exchange) -> None:
    """Tell everything about one proposal."""
    found = await x.service.run(x.service.administration.dossier, x.asker, x.target.proposal)
    await x.answer.structure(admin_bodies.encode_dossier(found))


async def put_proposal(x: Exchange) -> None:
    """Take in a proposal, and tell how it stands."""
    await x.service.run(x.service.administration.require_administrator, x.asker)
    data = await x.whole_body()
    result = await x.service.run(x.service.administration.propose, x.asker, x.target.proposal, data)
    await x.answer.structure(admin_bodies.encode_result(result))


async def put_vote(x: Exchange) -> None:
    """Take in the vote of the one who asks, and tell how the proposal stands."""
    if x.target.station != x.station:
        raise AccessDeniedError("a vote is cast by the administrator whose it is")
    await x.service.run(x.service.administration.require_administrator, x.asker)
    data = await x.whole_body()
    result = await x.service.run(x.service.administration.vote, x.asker, x.target.proposal, data)
    await x.answer.structure(admin_bodies.encode_result(result))


ADMIN_HANDLERS: Final[dict[routes.Route, Handler]] = {
    routes.ADMIN: overview,
    routes.PROPOSALS: proposals,
    routes.GET_PROPOSAL: get_proposal,
    routes.PUT_PROPOSAL: put_proposal,
    routes.PUT_VOTE: put_vote,
}
