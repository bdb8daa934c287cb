"""How fast: limits by the time of day, and how hard to compress for the line at hand.

Decisions without I/O: the caller holds whatever lock its threads need, and the clock.
"""

from dataclasses import dataclass
from typing import Final

from medshare.codecs import Effort
from medshare.errors import UsageError

DAY: Final = 24 * 60
"""Minutes of a day."""

# Measured on CT and MR, one thread: what packing does in a second at an effort, as a share of
# what it does at BALANCED; and how many times faster than the line packing must be before it
# is worth trying harder.
_SPEED: Final = {Effort.FASTEST: 1.8, Effort.BALANCED: 1.0, Effort.SMALLEST: 0.8}
_IDLE: Final = 6.0
_STAY: Final = 0.75


@dataclass(frozen=True, slots=True)
class Timetable:
    """Octets a second that may go out, by the minute of the day; each entry holds till the next.

    The last entry of a day holds until the first of the next.  None is no limit.
    """

    entries: tuple[tuple[int, int | None], ...]
    """Minutes since midnight, ascending, and the rate from then on."""

    def __post_init__(self) -> None:
        minutes = [minute for minute, _ in self.entries]
        if not minutes or minutes != sorted(set(minutes)):
            raise UsageError("the times of a rate limit ascend, and there is at least one")
        if not all(0 <= minute < DAY for minute in minutes):
            raise UsageError("a time of day lies between 00:00 and 23:59")
        if any(rate is not None and rate < 1 for _, rate in self.entries):
            raise UsageError("a rate limit is at least one octet a second")

    @classmethod
    def of(cls, limit: "Timetable | int | None") -> "Timetable":
        """Return *limit*, which may be one rate for all day, as a timetable."""
        return limit if isinstance(limit, Timetable) else cls(((0, limit),))

    def rate(self, minute: int) -> int | None:
        """Return the octets a second that may go out at this minute of the day."""
        before = [rate for start, rate in self.entries if start <= minute]
        return before[-1] if before else self.entries[-1][1]


class Throttle:
    """Whose turn it is, so that no more than a rate of octets goes out, whoever sends.

    Short of the rate nothing is saved up: after a pause there is no burst.  The rate may
    change while somebody waits.
    """

    def __init__(self) -> None:
        self._promised = 0
        self._passed = 0.0
        self._last = 0.0

    def ask(self, octets: int, *, now: float, rate: int | None) -> int:
        """Return a ticket for *octets*, to be shown to `wait`."""
        self._pass(now, rate)
        ticket = self._promised
        self._promised += octets
        return ticket

    def wait(self, ticket: int, *, now: float, rate: int | None) -> float:
        """Return the seconds until it is this ticket's turn, if the rate stays: 0 is now."""
        self._pass(now, rate)
        left = ticket - self._passed
        return max(0.0, left / rate) if rate is not None else 0.0

    def _pass(self, now: float, rate: int | None) -> None:
        """Let pass what may have passed since the last call."""
        room = self._promised - self._passed
        elapsed = max(0.0, now - self._last)
        self._passed += room if rate is None else min(room, rate * elapsed)
        self._last = now


class Stage:
    """How fast a step of the work is while anybody is at it; the distant past counts less."""

    MEMORY = 4.0
    """Seconds of work after which what was before counts half as much, or less."""

    def __init__(self) -> None:
        self._active = 0
        self._since = 0.0
        self._busy = 0.0
        self._done = 0.0

    def begin(self, *, now: float) -> None:
        """Somebody begins."""
        self._advance(now)
        self._active += 1

    def end(self, amount: int, *, now: float) -> None:
        """Somebody has done *amount* more, or has given up with 0."""
        self._advance(now)
        self._active -= 1
        self._done += amount
        if self._busy > self.MEMORY:
            self._busy, self._done = self._busy / 2, self._done / 2

    def _advance(self, now: float) -> None:
        if self._active:
            self._busy += now - self._since
        self._since = now

    @property
    def rate(self) -> float | None:
        """What is done in a second, or None before anything is."""
        return self._done / self._busy if self._busy and self._done else None


class Balance:
    """The effort that fits: as much as the line leaves time for, and no more.

    Where packing is slower than the line, less effort moves more; where the line is so
    slow that packing stands idle most of the time, more effort costs nobody anything.
    """

    def __init__(self) -> None:
        self.packing = Stage()
        """In octets of plaintext."""
        self.line = Stage()
        """In octets of plaintext, once they are packed."""
        self.effort = Effort.BALANCED

    def choose(self, most: float | None = None) -> Effort:
        """Return the effort for the next chunk; *most* is what may cross the line in a second."""
        packs, carries = self.packing.rate, self.line.rate
        if packs is not None and carries is not None:
            carries = carries if most is None else min(carries, most)
            self._weigh(packs / _SPEED[self.effort], carries)
        return self.effort

    def _weigh(self, packs: float, carries: float) -> None:
        """Decide by what packing at BALANCED would do; keep the effort when it is close."""
        fastest = _STAY if self.effort is Effort.FASTEST else 1.0
        smallest = _STAY if self.effort is Effort.SMALLEST else 1.0
        if carries > packs * fastest:
            self.effort = Effort.FASTEST
        elif carries * _IDLE * smallest < packs:
            self.effort = Effort.SMALLEST
        else:
            self.effort = Effort.BALANCED
