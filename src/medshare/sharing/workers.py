"""A bounded crew of threads that each move whole chunks until nothing is left to move.

The costly calls (AES-GCM, hashing, Zstandard, TLS, file I/O) release the interpreter
lock, so one worker doing one whole chunk, read to sent, is the natural unit.
"""

import threading
import time
from collections.abc import Callable
from random import SystemRandom
from typing import Final, TypeVar

from medshare.errors import CancelledError, MedshareError
from medshare.ids import ParcelId
from medshare.sharing.events import OnEvent, Progress, Retrying, Waiting
from medshare.transfer import Patience

TICK: Final = 0.25
SILENCE: Final = 10.0
"""Seconds without any chunk after which the user is told what is waited for."""

_JITTER: Final = SystemRandom()
T = TypeVar("T")


class Meter:
    """Counts what moved and tells the listener, one event at a time."""

    def __init__(self, parcel: ParcelId, on_event: OnEvent) -> None:
        self.parcel = parcel
        self._listener = on_event
        self._lock = threading.Lock()
        self.total_chunks = self.chunks = 0
        self.total_bytes = self.plain_bytes = 0
        self.wire_bytes = self.moved_plain_bytes = self.moved_chunks = 0
        self.last_success = self.last_moved = time.monotonic()
        self.answered = False

    def tell(self, event: object) -> None:
        """Pass *event* to the listener."""
        with self._lock:
            self._listener(event)  # type: ignore[arg-type]  # only events are told

    def begin(self, *, total_chunks: int, total_bytes: int, chunks: int, plain_bytes: int) -> None:
        """Set the scale, and what earlier runs did."""
        self.total_chunks, self.total_bytes = total_chunks, total_bytes
        self.chunks, self.plain_bytes = chunks, plain_bytes
        self.last_success = self.last_moved = time.monotonic()

    def alive(self) -> None:
        """Note that the far side answered, though no chunk moved."""
        self.answered = True
        self.last_success = time.monotonic()

    def moved(self, *, plain: int, wire: int) -> None:
        """Count one chunk that moved now."""
        with self._lock:
            self.chunks += 1
            self.moved_chunks += 1
            self.plain_bytes += plain
            self.moved_plain_bytes += plain
            self.wire_bytes += wire
            self.last_success = self.last_moved = time.monotonic()
            self._listener(self._progress())

    def unmoved(self, *, plain: int) -> None:
        """Take back one chunk that turned out not to be the sealed one."""
        with self._lock:
            self.chunks -= 1
            self.plain_bytes -= plain

    def _progress(self) -> Progress:
        return Progress(
            self.parcel,
            self.chunks,
            self.total_chunks,
            self.plain_bytes,
            self.total_bytes,
            self.wire_bytes,
            self.moved_plain_bytes,
        )


class Crew:
    """Runs a job on several threads; the first failure stops all and is raised."""

    def __init__(self, meter: Meter, patience: Patience) -> None:
        self._meter = meter
        self._patience = patience
        self._failure: BaseException | None = None
        self.stopping = threading.Event()
        self.waiting_for = "the far side"

    def run(self, size: int, job: Callable[[], None]) -> None:
        """Run *job* on *size* threads until each returns; raise the first failure."""
        threads = [
            threading.Thread(target=self._work, args=(job,), name=f"medshare-{number}")
            for number in range(size)
        ]
        try:
            for thread in threads:
                thread.start()
            self._watch(threads)
        finally:
            self.stopping.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001  (carried to the caller's thread)
            if self._failure is None and not isinstance(error, CancelledError):
                self._failure = error
            self.stopping.set()

    def _watch(self, threads: list[threading.Thread]) -> None:
        told = 0.0
        for thread in threads:
            while thread.is_alive():
                thread.join(TICK)
                silence = time.monotonic() - self._meter.last_moved
                if silence >= SILENCE and silence - told >= SILENCE:
                    told = silence
                    self._meter.tell(Waiting(self._meter.parcel, self.waiting_for, silence))
                elif silence < SILENCE:
                    told = 0.0

    def pause(self, seconds: float) -> None:
        """Wait, unless the crew is told to stop; raise CancelledError then."""
        if self.stopping.wait(seconds):
            raise CancelledError("the transfer was stopped")

    def check(self) -> None:
        """Raise CancelledError when the crew is told to stop."""
        if self.stopping.is_set():
            raise CancelledError("the transfer was stopped")

    def retrying(self, what: str, action: Callable[[], T]) -> T:
        """Return what *action* returns, trying again while it fails in a retryable way.

        Raises the last failure once nothing has succeeded for as long as patience lasts.
        """
        attempt, started = 0, time.monotonic()
        while True:
            self.check()
            try:
                result = action()
            except MedshareError as error:
                since = time.monotonic() - max(self._meter.last_success, started)
                tired = self._patience.exhausted(since_success=since, answered=self._meter.answered)
                if tired or not error.retryable:
                    raise
                attempt += 1
                delay = self._patience.delay(attempt, jitter=_JITTER.random())
                event = Retrying(self._meter.parcel, what, error.code, attempt, delay)
                self._meter.tell(event)
                self.pause(delay)
            else:
                self._meter.alive()
                return result
