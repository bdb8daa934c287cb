"""What requests about second factors and sessions do (docs/relay-protocol.md §9)."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from medshare.audit import entries
from medshare.audit.entries import Act
from medshare.relay.exchange import Exchange
from medshare.wire import routes, sign_in

Handler = Callable[[Exchange], Awaitable[None]]


async def begin_factor(x: Exchange) -> None:
    """Begin to add a second factor."""
    new = sign_in.decode_new_factor(await x.whole_body())
    access = x.service.access

    def begin() -> sign_in.BegunFactor:
        profile, inside = access.profile(x.station), access.sessions.is_open(x.asker, x.session)
        return access.factors.begin(x.station, profile, new, x.origin, session=inside)

    await x.answer.structure(sign_in.encode_begun_factor(await x.service.run(begin)))


async def finish_factor(x: Exchange) -> None:
    """Let a second factor count."""
    proof = sign_in.decode_proof(await x.whole_body())
    access = x.service.access

    def finish() -> tuple[str, ...]:
        profile = access.profile(x.station)
        return access.factors.finish(x.station, profile, x.target.factor, proof)

    await x.answer.structure(sign_in.encode_recovery(await x.service.run(finish)))


async def list_factors(x: Exchange) -> None:
    """Answer with the second factors of the one who asks."""
    found = await x.service.run(x.service.access.factors.factors, x.station)
    await x.answer.structure(sign_in.encode_factors(found))


async def remove_factor(x: Exchange) -> None:
    """Forget a second factor of the one who asks."""
    await x.service.run(x.service.access.factors.remove, x.station, x.target.factor)
    await x.answer.done()


async def recovery_codes(x: Exchange) -> None:
    """Answer with new recovery codes."""
    async with x.looking:  # ten slow hashes: whoever asks again and again waits in line
        new = await x.service.run(x.service.access.factors.renew_recovery, x.station)
    await x.answer.structure(sign_in.encode_recovery(new))


async def challenge(x: Exchange) -> None:
    """Answer with what a security key is to sign."""
    access = x.service.access

    def give() -> sign_in.Challenge:
        return access.factors.challenge(x.station, access.profile(x.station), x.origin)

    await x.answer.structure(sign_in.encode_challenge(await x.service.run(give)))


async def begin_session(x: Exchange) -> None:
    """Sign the one who asks in."""
    proof = sign_in.decode_proof(await x.whole_body())
    access = x.service.access

    def begin() -> sign_in.Session:
        return access.factors.sign_in(x.asker, access.profile(x.station), proof)

    await x.answer.structure(sign_in.encode_session(await x.service.run(begin)))


async def end_session(x: Exchange) -> None:
    """Sign the one who asks out; one who is not signed in is out already."""
    if await x.service.run(x.service.access.sessions.end, x.asker, x.session):
        about = entries.station(x.station)
        await x.service.run(partial(x.service.record.note, Act.SIGN_OUT, x.station, about))
    await x.answer.done()


SIGN_IN_HANDLERS: Final[dict[routes.Route, Handler]] = {
    routes.BEGIN_FACTOR: begin_factor,
    routes.FINISH_FACTOR: finish_factor,
    routes.LIST_FACTORS: list_factors,
    routes.REMOVE_FACTOR: remove_factor,
    routes.RECOVERY_CODES: recovery_codes,
    routes.CHALLENGE: challenge,
    routes.SIGN_IN: begin_session,
    routes.SIGN_OUT: end_session,
}
"""Part of `handlers.HANDLERS`."""
