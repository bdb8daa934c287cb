"""What to move next: a state machine without I/O, for both directions.

Events in (`offer`, `take`, `done`, `failed`), decisions out.  The caller holds whatever
lock its threads need, and the clock: times are arguments, in seconds.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

BASE_DELAY: Final = 0.25
MAX_DELAY: Final = 20.0


class WorkList:
    """Which chunks are to be moved, are being moved, and are done; each moves once.

    Invariants: a chunk is in at most one of the three; what is done stays done until
    `lost`; `finished` holds when all *total* chunks are done.
    """

    def __init__(self, total: int, *, done: Iterable[int] = ()) -> None:
        self.total = total
        self._done = set(done)
        self._waiting: deque[int] = deque()
        self._queued: set[int] = set()
        self._moving: set[int] = set()

    @property
    def done_count(self) -> int:
        """How many chunks are done."""
        return len(self._done)

    @property
    def moving_count(self) -> int:
        """How many chunks are being moved."""
        return len(self._moving)

    @property
    def finished(self) -> bool:
        """Whether every chunk is done."""
        return len(self._done) == self.total

    def missing(self) -> list[int]:
        """Return the chunks that are not done, in order: resume is a set difference."""
        return [index for index in range(self.total) if index not in self._done]

    def offer(self, indexes: Iterable[int]) -> None:
        """Make chunks available for moving; those done, moving or queued are left alone."""
        for index in indexes:
            if not (index in self._done or index in self._moving or index in self._queued):
                self._waiting.append(index)
                self._queued.add(index)

    def take(self) -> int | None:
        """Return the next chunk to move, or None when there is none just now."""
        if not self._waiting:
            return None
        index = self._waiting.popleft()
        self._queued.discard(index)
        self._moving.add(index)
        return index

    def done(self, index: int) -> None:
        """Chunk *index* has been moved and is confirmed."""
        self._moving.discard(index)
        self._done.add(index)

    def failed(self, index: int) -> None:
        """Chunk *index* did not move; it is next in line again."""
        self._moving.discard(index)
        self._waiting.appendleft(index)
        self._queued.add(index)

    def withdraw(self, index: int) -> None:
        """Chunk *index* is not to be had at present; it is neither queued nor moving."""
        self._moving.discard(index)

    def lost(self, index: int) -> None:
        """Chunk *index*, thought done, is missing after all."""
        self._done.discard(index)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on trying while nothing succeeds, in seconds."""

    give_up_after: float = 300.0
    first_contact: float = 30.0
    """The same, while the far side has not answered even once: it may not be there at all."""

    def delay(self, attempt: int, *, jitter: float) -> float:
        """Return the pause before try *attempt* + 1; *jitter* is uniform in [0, 1).

        Exponential with full jitter, so that many stations do not return at once when a
        relay comes back.
        """
        ceiling = min(MAX_DELAY, BASE_DELAY * (1 << min(attempt, 16)))
        return BASE_DELAY / 2 + ceiling * jitter

    def exhausted(self, *, since_success: float, answered: bool = True) -> bool:
        """Tell whether it is time to give up; *answered*: whether anything ever succeeded."""
        limit = self.give_up_after if answered else min(self.first_contact, self.give_up_after)
        return since_success >= limit


class Growth:
    """How many chunks to move at once: more, as long as more helps and cores are idle.

    A long or lossy line is filled by several connections; on a fast one the cores are the
    limit, and more connections would only take memory.  The number doubles while that
    moves more, and when the line has become much slower than it was.
    """

    SETTLE = 0.75
    """Seconds until new connections are at work."""
    MEASURE = 1.5
    """Seconds over which the rate is taken."""
    GAIN = 1.1
    DROP = 0.6
    BUSY = 0.7
    REST = 15.0
    """Seconds after a step that did not help until the next look."""

    def __init__(self, start: int, most: int) -> None:
        self.workers = start
        self._most = max(start, most)
        self._since: tuple[float, int] | None = None
        self._ready_at: float | None = None
        self._before: float | None = None

    def next(self, *, octets: int, cpu_share: float, now: float) -> int:
        """Return how many to run, given the share of the cores in use.

        *octets* counts what has crossed the line since the start; *now* is in seconds.
        """
        if self._ready_at is None:
            self._ready_at = now + self.SETTLE
        if self.workers >= self._most or now < self._ready_at:
            return self.workers
        if self._since is None:
            self._since = (now, octets)
        then, octets_then = self._since
        if now - then >= self.MEASURE:
            self._judge((octets - octets_then) / (now - then), cpu_share, now)
        return self.workers

    def _judge(self, rate: float, cpu_share: float, now: float) -> None:
        """Add workers, or rest, now that so many move *rate* octets a second."""
        self._since = None
        if cpu_share >= self.BUSY:
            return
        before = self._before
        if before is None or not self.DROP * before <= rate < self.GAIN * before:
            self._before, self._ready_at = rate, now + self.SETTLE
            self.workers = min(self._most, 2 * self.workers)
        else:
            self._ready_at = now + self.REST


class DamageReport:
    """How often each chunk arrived damaged, and what follows from it.

    A chunk that arrives damaged is fetched again; damaged twice in a row, the far side
    is asked to replace its copy; damaged `MAX_DAMAGED` times, the transfer fails.
    """

    MAX_DAMAGED = 4

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def damaged(self, index: int) -> int:
        """Note one more damaged arrival of chunk *index*; return how many there were."""
        self._counts[index] = self._counts.get(index, 0) + 1
        return self._counts[index]

    def intact(self, index: int) -> None:
        """Chunk *index* arrived intact."""
        self._counts.pop(index, None)

    @staticmethod
    def must_be_replaced(count: int) -> bool:
        """Tell whether the far side's copy itself must be suspected."""
        return count >= 2

    @classmethod
    def is_hopeless(cls, count: int) -> bool:
        """Tell whether to stop trying."""
        return count >= cls.MAX_DAMAGED
