"""The clock for `medshare.pace`: turns under a rate limit, and the effort for the line at hand."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from medshare.codecs import Effort
from medshare.pace import Balance, Stage, Throttle, Timetable
from medshare.sharing.workers import Crew, Meter

LOOK_SECONDS: Final = 5.0
"""How often somebody who waits looks whether another rate holds by now."""


class Pacing:
    """Shared by the workers of one transfer."""

    def __init__(self, limit: Timetable | int | None, effort: Effort | None, meter: Meter) -> None:
        """*effort* is what was asked for; None leaves it to the line."""
        self._timetable = Timetable.of(limit)
        self._asked = effort
        self._meter = meter
        self._throttle = Throttle()
        self._balance = Balance()
        self._lock = threading.Lock()

    def effort(self) -> Effort:
        """Return how hard to compress the next chunk."""
        if self._asked is not None:
            return self._asked
        limit, meter = self._limit(), self._meter
        most = None
        if limit is not None and meter.wire_bytes:
            most = limit * meter.moved_plain_bytes / meter.wire_bytes
        with self._lock:
            return self._balance.choose(most)

    def packing(self, octets: int) -> AbstractContextManager[None]:
        """Time the packing of so many octets of plaintext."""
        return self._timed(self._balance.packing, octets)

    def putting(self, octets: int) -> AbstractContextManager[None]:
        """Time how long the line is at a chunk of so many octets of plaintext."""
        return self._timed(self._balance.line, octets)

    @contextmanager
    def _timed(self, stage: Stage, octets: int) -> Iterator[None]:
        done = 0
        with self._lock:
            stage.begin(now=time.monotonic())
        try:
            yield
            done = octets
        finally:
            with self._lock:
                stage.end(done, now=time.monotonic())

    def keep(self, crew: Crew, octets: int) -> None:
        """Wait until *octets* may go out; raise CancelledError when the crew is told to stop."""
        with self._lock:
            ticket = self._throttle.ask(octets, now=time.monotonic(), rate=self._limit())
        while True:
            with self._lock:
                left = self._throttle.wait(ticket, now=time.monotonic(), rate=self._limit())
            if left <= 0:
                return
            crew.waiting_for = "its turn under the rate limit"
            crew.pause(min(left, LOOK_SECONDS))

    def _limit(self) -> int | None:
        now = time.localtime()
        return self._timetable.rate(now.tm_hour * 60 + now.tm_min)
