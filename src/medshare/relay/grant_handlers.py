"""Withdrawals at the relay: taken from whoever gave a grant, shown to both sides of it."""

from collections.abc import Awaitable, Callable
from typing import Final

from medshare.disk.atomic import read_file
from medshare.relay.exchange import Exchange
from medshare.wire import routes
from medshare.withdrawal import MAX_WITHDRAWAL


async def put_withdrawal(x: Exchange) -> None:
    """Take back what the sender has granted one recipient, from now on."""
    parcels = x.service.parcels
    entry = await x.service.run(parcels.find, x.target.parcel, x.station)
    entry.require_sender(x.station)
    data = await x.whole_body()

    def withdraw() -> None:
        with parcels.lock(entry.id):
            parcels.grants.withdraw(x.asker, entry.envelope, x.target.station, data)

    await x.service.run(withdraw)
    x.news.tell(x.target.parcel)
    await x.answer.done()


async def get_withdrawal(x: Exchange) -> None:
    """Answer with what takes back a grant, to whoever gave it or had it."""

    def read() -> bytes:
        if x.station != x.target.station:
            x.service.parcels.find(x.target.parcel, x.station).require_sender(x.station)
        path = x.service.parcels.grants.withdrawal(x.target.parcel, x.target.station)
        return read_file(path, limit=MAX_WITHDRAWAL, what="a withdrawal")

    await x.answer.octets_of(await x.service.run(read))


GRANT_HANDLERS: Final[dict[routes.Route, Callable[[Exchange], Awaitable[None]]]] = {
    routes.PUT_WITHDRAWAL: put_withdrawal,
    routes.GET_WITHDRAWAL: get_withdrawal,
}
