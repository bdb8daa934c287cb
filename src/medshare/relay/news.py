"""Who waits for what to change: long polls, woken by this process and never by the clock."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from medshare.ids import ParcelId, StationId


class Watch:
    """One waiter for news of one parcel or inbox; it misses nothing from the moment it exists."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._urgent = asyncio.Event()

    def tell(self, *, urgent: bool) -> None:
        """Wake the waiter."""
        self._event.set()
        if urgent:
            self._urgent.set()

    def clear(self) -> None:
        """Forget what was told; whoever looks after this misses nothing."""
        self._event.clear()
        self._urgent.clear()

    async def wait(self, seconds: float, *, gather: float) -> bool:
        """Wait for news, at most *seconds*, and return whether there is any.

        News that is not urgent is gathered for *gather* seconds, as chunks come in swarms.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        try:
            async with asyncio.timeout(gather):
                await self._urgent.wait()
        except TimeoutError:
            pass  # nothing more pressing came
        return True


class News:
    """All waiters.  Used from the event loop alone."""

    def __init__(self) -> None:
        self._watches: dict[ParcelId | StationId, set[Watch]] = {}

    @contextmanager
    def watch(self, subject: ParcelId | StationId) -> Iterator[Watch]:
        """Lend a watch over a parcel, or over the inbox of a station."""
        watch = Watch()
        self._watches.setdefault(subject, set()).add(watch)
        try:
            yield watch
        finally:
            self._watches[subject].discard(watch)
            if not self._watches[subject]:
                del self._watches[subject]

    def tell(self, subject: ParcelId | StationId, *, urgent: bool = True) -> None:
        """Wake everybody who waits for news of *subject*."""
        for watch in self._watches.get(subject, ()):
            watch.tell(urgent=urgent)
