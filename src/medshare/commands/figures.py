"""What the events of a transfer add up to: the figures behind every kind of display."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from medshare.commands import text
from medshare.sharing.events import (
    Event,
    Finished,
    Notice,
    Phase,
    Planned,
    Progress,
    Retrying,
    Waiting,
)

Clock = Callable[[], float]

_WINDOW: Final = 10.0
"""Seconds over which speed is averaged."""

_VERBS: Final = {"send": "sending", "receive": "receiving", "verify": "verifying"}
_TOWARDS: Final = {"send": " to ", "receive": " from "}
_PHASES: Final = {
    "sealing": "signing the seal",
    "checking": "checking that all is there",
    "placing": "putting files in place",
    "receipt": "signing the receipt",
}
_REASONS: Final = {
    "transfer.unavailable": "the other side cannot be reached, or fails",
    "transfer.not-found": "it is not there yet",
    "integrity.digest": "it arrived damaged",
    "integrity.codec": "it arrived damaged",
}


class Figures:
    """The state of one transfer after the events so far; says everything in words."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()
        self.planned: Planned | None = None
        self.progress: Progress | None = None
        self.status = ""

    def take(self, event: Event) -> None:
        """Add *event* to the figures."""
        match event:
            case Planned():
                self.planned, self.progress, self.status = event, None, ""
                self._samples.clear()
                self._samples.append((self._clock(), event.resumed_bytes))
            case Progress():
                self.progress, self.status = event, ""
                self._sample(event.plain_bytes)
            case Phase(name=name):
                self.status = _PHASES.get(name, text.visible(name))
            case Waiting() | Retrying():
                self.status = describe(event)
            case Finished() | Notice():
                pass

    def _sample(self, octets: int) -> None:
        now = self._clock()
        self._samples.append((now, octets))
        while len(self._samples) > 2 and now - self._samples[1][0] > _WINDOW:
            self._samples.popleft()

    @property
    def done(self) -> float:
        """The share that is done, between 0 and 1; counted in chunks where sizes are unknown."""
        if self.planned is None:
            return 0.0
        done, whole = self.plain_bytes, self.planned.total_bytes
        if not whole:
            done, whole = self._chunks_done, self.planned.total_chunks
        return min(1.0, done / whole) if whole else 1.0

    @property
    def _chunks_done(self) -> int:
        if self.progress is not None:
            return self.progress.chunks
        return self.planned.resumed_chunks if self.planned is not None else 0

    @property
    def plain_bytes(self) -> int:
        """Octets of files that are done, those of earlier runs among them."""
        if self.progress is not None:
            return self.progress.plain_bytes
        return self.planned.resumed_bytes if self.planned is not None else 0

    @property
    def speed(self) -> float | None:
        """Octets of files per second over the last seconds; None while nothing is known."""
        if len(self._samples) < 2:
            return None
        first, last = self._samples[0], self._samples[-1]
        elapsed = max(self._clock(), last[0]) - first[0]
        return (last[1] - first[1]) / elapsed if elapsed > 0 else None

    @property
    def time_left(self) -> float | None:
        """Seconds until all octets are there at this speed; None while that is unknown."""
        speed = self.speed
        if self.planned is None or not speed or speed < 1:
            return None
        return (self.planned.total_bytes - self.plain_bytes) / speed

    def heading(self) -> str:
        """Return what is on its way: `sending 140 files, 70.1 MiB to dr-wang (relay …)`."""
        plan = self.planned
        if plan is None:
            return ""
        parts = [_VERBS.get(plan.direction, text.visible(plan.direction))]
        if plan.files:
            parts.append(f"{text.count(plan.files, 'file')}, {text.size(plan.total_bytes)}")
        else:
            parts.append(text.count(plan.total_chunks, "chunk"))
        peer = f"{_TOWARDS.get(plan.direction, ' ')}{text.visible(plan.peer)}" if plan.peer else ""
        return f"{' '.join(parts)}{peer} ({text.visible(plan.route)})"

    def amounts(self) -> str:
        """Return `32.1 of 70.1 MiB`; nothing where sizes are unknown."""
        if self.planned is None or not self.planned.total_bytes:
            return ""
        total, done = text.size(self.planned.total_bytes), text.size(self.plain_bytes)
        if done.split()[1] == total.split()[1]:
            done = done.split()[0]
        return f"{done} of {total}"

    @property
    def moving(self) -> bool:
        """Whether octets come or go: nothing is waited for, and some moved lately."""
        last = self._samples[-1][0] if self._samples else self._clock()
        return not self.status and self._clock() - last <= _WINDOW

    def pace(self) -> list[str]:
        """Return speed and time left, as far as they are known; nothing while nothing moves."""
        if self.planned is None or not self.planned.total_bytes or not self.moving:
            return []
        speed, left = self.speed, self.time_left
        known = [] if speed is None else [f"{text.size(speed)}/s"]
        if left is not None and self.done < 1:
            known.append(f"{text.span(left)} left")
        return known

    def chunks(self) -> str:
        """Return how many chunks are confirmed by the far side, or verified here."""
        plan = self.planned
        if plan is None:
            return ""
        noun = "file" if plan.direction == "verify" and plan.files else "chunk"
        word = "confirmed" if plan.direction == "send" else "verified"
        return f"{self._chunks_done:,}/{text.count(plan.total_chunks, noun)} {word}"

    def savings(self) -> list[str]:
        """Return what need not move: `compression saved 73.2 MiB, resume 120.0 MiB`."""
        saved: list[str] = []
        if self.progress is not None:
            spared = self.progress.moved_plain_bytes - self.progress.wire_bytes
            if spared > 0 and self.progress.wire_bytes:
                saved.append(f"compression saved {text.size(spared)}")
        if self.planned is not None and self.planned.resumed_bytes:
            verb = "" if saved else "saved "
            saved.append(f"resume {verb}{text.size(self.planned.resumed_bytes)}")
        return [", ".join(saved)] if saved else []

    def stopped(self) -> str:
        """Return where the transfer stands now that it has ended early; empty before it began."""
        if self.planned is None:
            return ""
        return f"stopped at {text.share(self.done, 1)}: {self.chunks()}"


def describe(event: Waiting | Retrying) -> str:
    """Return why nothing moves at the moment, and for how long already."""
    what = text.visible(event.what)
    if isinstance(event, Waiting):
        since = f", for {text.span(event.seconds)} already" if event.seconds >= 1 else ""
        return f"waiting for {what}{since}"
    reason = _REASONS.get(event.reason, f"it failed ({text.visible(event.reason)})")
    soon = f"in {text.span(event.delay)}" if event.delay >= 1 else "at once"
    return f"{what}: {reason}; trying again {soon} (attempt {event.attempt})"
