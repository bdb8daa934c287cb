"""What each request does: one coroutine a route, between the wire and the rules."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from medshare.audit import entries
from medshare.audit.entries import Act, Detail
from medshare.errors import FormatError
from medshare.ids import ParcelId, StationId
from medshare.relay.admin_handlers import ADMIN_HANDLERS
from medshare.relay.exchange import Exchange
from medshare.relay.grant_handlers import GRANT_HANDLERS
from medshare.relay.parcels import Entry
from medshare.relay.parts import ENVELOPE, MANIFEST, SEAL, Upload
from medshare.relay.service import Service
from medshare.relay.sign_in_handlers import SIGN_IN_HANDLERS
from medshare.relay.storing import store
from medshare.trust.card import Card, parse_card
from medshare.wire import bodies, problems, routes
from medshare.wire.problems import Problem

Handler = Callable[[Exchange], Awaitable[None]]
Result = TypeVar("Result")


async def put_envelope(x: Exchange) -> None:
    """Announce a parcel."""
    data = await x.whole_body()
    told = await x.service.run(x.service.announce, x.asker, x.target.parcel, data)
    await x.answer.structure(bodies.encode_announced(told))


async def put_manifest(x: Exchange) -> None:
    """Store the manifest."""
    parts = x.service.parts

    def begin(entry: Entry) -> Upload:
        return parts.begin_manifest(entry, x.station, x.incoming)

    def finish(entry: Entry, upload: Upload) -> Entry:
        parts.finish_manifest(entry, upload, x.incoming.digest)
        return entry

    entry = await store(x, begin, finish)
    x.news.tell(entry.id)
    for station in entry.recipients:  # in whose inboxes it is from now on
        x.news.tell(station)
    await x.answer.done()


async def put_chunk(x: Exchange) -> None:
    """Store a chunk."""
    parts, index = x.service.parts, x.target.index

    def begin(entry: Entry) -> Upload:
        return parts.begin_chunk(entry, x.station, index, x.incoming)

    def finish(entry: Entry, upload: Upload) -> bool:
        return parts.finish_chunk(entry, index, upload, x.incoming.digest)

    if await store(x, begin, finish):
        x.news.tell(x.target.parcel, urgent=False)
    await x.answer.done()


async def put_seal(x: Exchange) -> None:
    """Store the seal, or say which chunks it lacks."""
    entry = await _entry(x)
    entry.require_sender(x.station)
    data = await x.whole_body()
    missing = await x.service.run(x.service.parts.put_seal, entry, data)
    if missing:
        what = f"{len(missing)} chunks of the parcel are missing"
        await x.answer.problem(Problem(409, problems.INCOMPLETE, what, missing))
        return
    x.news.tell(x.target.parcel)
    await x.answer.done()


async def put_receipt(x: Exchange) -> None:
    """Store the receipt of the one who asks."""
    parts, station = x.service.parts, x.target.station

    def begin(entry: Entry) -> Upload:
        return parts.begin_receipt(entry, station, x.station, x.incoming)

    def finish(entry: Entry, upload: Upload) -> None:
        parts.finish_receipt(entry, station, upload, x.incoming.digest)

    await store(x, begin, finish)
    x.news.tell(x.target.parcel)
    await x.answer.done()


async def get_envelope(x: Exchange) -> None:
    """Answer with the envelope."""
    await _send_part(x, ENVELOPE)


async def get_manifest(x: Exchange) -> None:
    """Answer with the sealed manifest."""
    await _send_part(x, MANIFEST)


async def get_seal(x: Exchange) -> None:
    """Answer with the seal."""
    await _send_part(x, SEAL)


async def _send_part(x: Exchange, name: str) -> None:
    entry = await _readable(x)
    if name == MANIFEST:
        await x.service.run(_note_fetch, x, entry)
    path, size = await x.service.run(x.service.parts.part, entry, name)
    if name == SEAL and x.station != entry.sender:  # what is not there was not opened
        await x.service.run(x.service.parcels.count_opening, entry, x.station)
    await x.answer.file(path, size, x.service)


def _note_fetch(x: Exchange, entry: Entry) -> None:
    """Put into the record that a recipient fetches a parcel, however many requests it takes."""
    if x.station in entry.recipients:
        x.service.record.fetched(entry.id, x.station, tier=entry.envelope.tier)


async def get_chunk(x: Exchange) -> None:
    """Answer with a chunk."""

    def find() -> tuple[Path, int]:
        entry = _find_readable(x)
        _note_fetch(x, entry)
        return x.service.parts.chunk(entry, x.target.index)

    path, size = await x.service.run(find)
    await x.answer.file(path, size, x.service)


async def get_receipt(x: Exchange) -> None:
    """Answer with a receipt."""
    entry = await _entry(x)
    path, size = await x.service.run(x.service.parts.receipt, entry, x.target.station, x.station)
    await x.answer.file(path, size, x.service)


async def get_state(x: Exchange) -> None:
    """Answer with the state, once it differs from the one that is known."""
    known, wait = bodies.parse_state_query(x.query)
    entry = await _readable(x)

    def look() -> tuple[str, bytes]:
        x.service.parcels.require_readable(entry, x.station)
        state = x.service.parcels.state(entry, x.station, known=known)
        return state.tag, bodies.encode_state(state)

    def is_news(found: tuple[str, bytes]) -> bool:
        return found[0] != known

    gather = x.service.limits.gather_seconds
    _, data = await _once(is_news, look, x, x.target.parcel, seconds=wait, gather=gather)
    await x.answer.structure(data)


async def _once(
    good: Callable[[Result], bool],
    look: Callable[[], Result],
    x: Exchange,
    subject: ParcelId | StationId,
    *,
    seconds: float,
    gather: float,
) -> Result:
    """Return what *look* finds once that is *good*, or after *seconds*; look at each news."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    with x.news.watch(subject) as watch:
        found = await x.service.run(look)
        while not good(found) and (left := deadline - loop.time()) > 0:
            if await watch.wait(left, gather=gather):
                watch.clear()
                found = await x.service.run(look)
    return found


async def want(x: Exchange) -> None:
    """Look at the copies of chunks that arrived damaged; drop the bad ones."""
    entry = await _readable(x)
    indexes = bodies.decode_indexes(await x.whole_body())
    async with x.looking:
        missing = await x.service.run(x.service.parts.want, entry, indexes)
    if missing:
        x.news.tell(x.target.parcel)
    await x.answer.octets_of(bodies.encode_indexes(missing))


async def remove(x: Exchange) -> None:
    """Remove a parcel."""
    entry = await _entry(x)
    entry.require_sender(x.station)
    await x.service.run(x.service.parcels.remove, entry.id, entry.sender, entry.number)
    x.news.tell(x.target.parcel)
    await x.answer.done()


async def inbox(x: Exchange) -> None:
    """Answer with a page of what waits for the one who asks, once there is anything."""
    after, wait = bodies.parse_inbox_query(x.query)
    look = partial(x.service.parcels.inbox, x.station, after=after)
    page, following = await _once(any, look, x, x.station, seconds=wait, gather=0)
    await x.answer.structure(bodies.encode_inbox(page, following=following))


def renew(service: Service, card: Card) -> None:
    """Let *card* take the place of the one of its station that is enrolled; sessions end."""
    details = {Detail.GENERATION: card.current.number}
    about = entries.station(card.station)
    note = partial(service.record.note, Act.RENEW, card.station, about, details=details)
    if service.stations.enroll(card, before_change=note):
        service.access.sessions.end_all(card.station)


async def put_card(x: Exchange) -> None:
    """Let a newer card of the one who asks take effect."""
    card = parse_card(await x.whole_body())
    if card.station != x.station:
        raise FormatError("the card is that of another station")
    await x.service.run(renew, x.service, card)
    await x.answer.done()


def _find_readable(x: Exchange) -> Entry:
    """Return the parcel, for somebody whose grant lets him fetch it now."""
    entry = x.service.parcels.find(x.target.parcel, x.station)
    x.service.parcels.require_readable(entry, x.station)
    return entry


async def _readable(x: Exchange) -> Entry:
    return await x.service.run(_find_readable, x)


async def _entry(x: Exchange) -> Entry:
    return await x.service.run(x.service.parcels.find, x.target.parcel, x.station)


HANDLERS: Final[dict[routes.Route, Handler]] = {
    routes.PUT_ENVELOPE: put_envelope,
    routes.GET_ENVELOPE: get_envelope,
    routes.PUT_MANIFEST: put_manifest,
    routes.GET_MANIFEST: get_manifest,
    routes.PUT_CHUNK: put_chunk,
    routes.GET_CHUNK: get_chunk,
    routes.PUT_SEAL: put_seal,
    routes.GET_SEAL: get_seal,
    routes.GET_STATE: get_state,
    routes.WANT: want,
    routes.PUT_RECEIPT: put_receipt,
    routes.GET_RECEIPT: get_receipt,
    routes.REMOVE: remove,
    routes.INBOX: inbox,
    routes.PUT_CARD: put_card,
    **GRANT_HANDLERS,
    **SIGN_IN_HANDLERS,
    **ADMIN_HANDLERS,
}
"""Complete: a test compares it with `routes.ROUTES`."""
