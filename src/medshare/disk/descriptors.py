"""A bounded pool of open descriptors that several threads share.

One hundred thousand files cannot stay open, and opening one anew for every chunk is
slow; so the most recent few stay open.  A descriptor in use is never closed: its number
could otherwise come back for another file, and octets would land there.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class _Entry:
    descriptor: int
    users: int


class DescriptorPool(Generic[Key]):
    """Keeps at most *limit* idle descriptors, opened by *opener* when first asked for.

    *opener* may lease from the same pool (a folder needs its parent).
    """

    def __init__(self, opener: Callable[[Key], int], limit: int) -> None:
        self._opener = opener
        self._limit = limit
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._lock = threading.RLock()

    @contextmanager
    def lease(self, key: Key) -> Iterator[int]:
        """Lend the descriptor of *key*; it stays open at least until the block ends."""
        entry = self._take(key)
        try:
            yield entry.descriptor
        finally:
            with self._lock:
                entry.users -= 1

    def _take(self, key: Key) -> _Entry:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                entry = _Entry(self._opener(key), 0)
                self._entries[key] = entry
            entry.users += 1
            self._entries.move_to_end(key)
            if len(self._entries) > self._limit:
                self._shrink()
            return entry

    def _shrink(self) -> None:
        while len(self._entries) > self._limit:
            idle = next((key for key, entry in self._entries.items() if not entry.users), None)
            if idle is None:
                return
            os.close(self._entries.pop(idle).descriptor)

    def close(self) -> None:
        """Close every descriptor that nobody uses."""
        with self._lock:
            for key in [key for key, entry in self._entries.items() if not entry.users]:
                os.close(self._entries.pop(key).descriptor)
