"""Output line by line: JSON objects for programs, plain lines for logs and pipes."""

import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from medshare.commands import text
from medshare.commands.figures import Clock, Figures, describe
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

if TYPE_CHECKING:
    from rich.console import RenderableType

Record = Mapping[str, Any]
View = Callable[[], "RenderableType"]

_STEPS: Final = 10
"""Plain progress lines of a whole transfer, but none within a second of the last one."""
_BRIEF: Final = 1.0
_PAUSE: Final = 10.0
"""Seconds after which a plain line shows that there is still life."""
_LULL: Final = 1.5
"""While nothing moves, each such line comes so many times later than the one before."""
_JSON_PAUSE: Final = 0.5
_WIDE: Final = 100_000


class Output:
    """Says nothing: the base of the others, and what `--quiet` uses."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Bring the display to an end; remarks and results may follow."""

    def event(self, event: Event) -> None:
        """Show *event*; called from worker threads, one call at a time."""

    def say(self, remark: str) -> None:
        """Show a remark of our own to people."""

    def result(self, record: Record, view: View) -> None:
        """Give the result: *record* to programs, what *view* returns to people."""


class JsonOutput(Output):
    """One JSON object a line on stdout; progress at most twice a second, and at its end."""

    def __init__(self, stream: TextIO, clock: Clock = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._last = -_JSON_PAUSE

    def event(self, event: Event) -> None:
        """Write *event*, unless it is one progress figure of many."""
        if isinstance(event, Progress) and event.chunks < event.total_chunks:
            now = self._clock()
            if now - self._last < _JSON_PAUSE:
                return
            self._last = now
        self._write(event_record(event))

    def result(self, record: Record, view: View) -> None:  # noqa: ARG002  # for people
        """Write *record*."""
        self._write(record)

    def _write(self, record: Record) -> None:
        # Escaping all that is not ASCII keeps directions and controls out of terminals.
        line = json.dumps(record, ensure_ascii=True, allow_nan=False).replace("\x7f", "\\u007f")
        self._stream.write(line + "\n")
        self._stream.flush()


class PlainOutput(Output):
    """Lines on stderr at sensible intervals: the first, each tenth or 10 s, the last."""

    def __init__(
        self, errors: TextIO, results: TextIO, *, verbose: int = 0, clock: Clock = time.monotonic
    ) -> None:
        self._errors = errors
        self._results = results
        self._verbose = verbose
        self._clock = clock
        self._figures = Figures(clock)
        self._next = 0.0
        self._last = 0.0
        self._pause = _PAUSE

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say how far it went when it was interrupted."""
        if error is not None and self._figures.stopped():
            self.say(self._figures.stopped())

    def event(self, event: Event) -> None:
        """Write a line when *event* says something new."""
        figures = self._figures
        figures.take(event)
        match event:
            case Planned():
                self.say(", ".join([figures.heading(), *figures.savings()]))
                self._next, self._last = _next_step(figures.done), self._clock()
            case Progress():
                self._progress(event)
            case Retrying() if event.delay < _BRIEF and not self._verbose:
                pass
            case Waiting() if event.seconds:
                self._waiting(event)
            case Waiting() | Retrying():
                self._last, self._pause = self._clock(), _PAUSE
                self.say(describe(event))
            case Phase() if self._verbose:
                self.say(figures.status)
            case Notice(message=message):
                self.say(f"note: {text.visible(message, limit=1000)}")
            case Phase() | Finished():
                pass

    def _waiting(self, event: Waiting) -> None:
        now = self._clock()
        if now - self._last >= self._pause:
            self._last, self._pause = now, self._pause * _LULL
            self.say(describe(event))

    def _progress(self, event: Progress) -> None:
        figures = self._figures
        now = self._clock()
        due = _BRIEF if figures.done >= self._next else _PAUSE
        if event.chunks < event.total_chunks and now - self._last < due:
            return
        self._next, self._last, self._pause = _next_step(figures.done), now, _PAUSE
        parts = [figures.amounts(), figures.chunks(), *figures.pace(), *figures.savings()]
        self.say(f"{text.share(figures.done, 1):>4}  {', '.join(filter(None, parts))}")

    def say(self, remark: str) -> None:
        """Write a remark, with our name before it."""
        self._errors.write(f"medshare: {remark}\n")
        self._errors.flush()

    def result(self, record: Record, view: View) -> None:  # noqa: ARG002  # for programs
        """Write what *view* returns, without colours and without folding lines."""
        for line in plain_lines(view()):
            self._results.write(line + "\n")
        self._results.flush()


def _next_step(done: float) -> float:
    return (int(done * _STEPS) + 1) / _STEPS


def plain_lines(view: "RenderableType") -> list[str]:
    """Return *view* as text lines of any width, without colours or trailing blanks."""
    from rich.console import Console

    console = Console(
        file=io.StringIO(), width=_WIDE, color_system=None, highlight=False, emoji=False
    )
    with console.capture() as captured:
        console.print(view, markup=False)
    return [line.rstrip() for line in captured.get().splitlines()]


def event_record(event: Event) -> dict[str, Any]:
    """Return *event* as the object that `--json` writes; see docs/json-events.md."""
    record: dict[str, Any] = {"event": type(event).__name__.lower()}
    for part in fields(event):
        value = getattr(event, part.name)
        record[part.name] = value.hex() if isinstance(value, bytes) else value
    return record
