"""Kills the running code at its n-th change of the file system, in this process.

From that moment on every further change fails too, as if the process were gone: nothing
can tidy up after itself.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHANGES = (
    "write", "writev", "fsync", "rename", "replace", "link", "unlink", "mkdir", "rmdir", "chmod",
)  # fmt: skip


class Killed(BaseException):
    """The process would be gone now."""


class Countdown:
    """Counts the changes of the file system; the one numbered *last*, and all after, fail."""

    def __init__(self, last: int | None) -> None:
        self.seen = 0
        self._last = last

    def tick(self) -> None:
        """Count one change; raise Killed when the time has come."""
        self.seen += 1
        if self._last is not None and self.seen >= self._last:
            raise Killed


@contextmanager
def killed_at(last: int | None, *, more: tuple[str, ...] = ()) -> Iterator[Countdown]:
    """Kill what runs inside before its change number *last*; never, for None.

    *more* are further calls that count as changes.
    """
    countdown = Countdown(last)

    def guarded(name: str) -> Any:
        original = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            countdown.tick()
            return original(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in (*CHANGES, *more):
            patch.setattr(os, name, guarded(name))
        yield countdown


def count_changes(action: Any) -> int:
    """Return how many changes of the file system *action* makes."""
    with killed_at(None) as countdown:
        action()
    return countdown.seen
