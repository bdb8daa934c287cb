"""A body on its way into a part: opened, written and finished with few changes of thread."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from medshare.relay.exchange import DisconnectedError, Exchange
from medshare.relay.parcels import Entry
from medshare.relay.parts import Upload

Result = TypeVar("Result")


async def store(
    x: Exchange, begin: Callable[[Entry], Upload], finish: Callable[[Entry, Upload], Result]
) -> Result:
    """Take the body in, batch by batch, and return what *finish* says of it."""
    intake = _Intake(x, begin, finish)
    try:
        await x.service.run(intake.open)  # whoever may not store this is told before it is read
        async for batch in x.batches():
            await x.service.run(intake.take, batch)
        return intake.result()
    except asyncio.CancelledError:
        x.service.pool.submit(intake.close)  # in its turn behind a write that still runs
        raise
    except BaseException:
        await x.service.run(intake.close)
        raise


class _Intake(Generic[Result]):
    """An upload that is finished in the step that writes its last batch.

    Each change of thread costs a few wake-ups, and a chunk has but four batches.
    """

    def __init__(
        self,
        x: Exchange,
        begin: Callable[[Entry], Upload],
        finish: Callable[[Entry, Upload], Result],
    ) -> None:
        self._x = x
        self._begin = begin
        self._finish = finish
        self._left = x.incoming.length
        self._busy = threading.Lock()
        self._closed = False
        self._opened: tuple[Entry, Upload] | None = None
        self._result: list[Result] = []

    def open(self) -> None:
        """Make room for the part; raise why it is refused."""
        with self._busy:
            if not self._closed:
                entry = self._x.service.parcels.find(self._x.target.parcel, self._x.station)
                self._opened = entry, self._begin(entry)

    def take(self, pieces: Sequence[bytes]) -> None:
        """Write the next octets; store the part when they are the last."""
        with self._busy:
            if self._closed or self._opened is None:
                return
            entry, upload = self._opened
            upload.write(pieces)
            self._left -= sum(map(len, pieces))
            if not self._left and not self._result:
                self._result.append(self._finish(entry, upload))
                upload.close()

    def result(self) -> Result:
        """Return what `finish` said; raise DisconnectedError when it came to no end."""
        if not self._result:
            raise DisconnectedError("the body did not come to its end")
        return self._result[0]

    def close(self) -> None:
        """Give back what was not kept."""
        with self._busy:
            self._closed = True
            if self._opened is not None:
                self._opened[1].close()
