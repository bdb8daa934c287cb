"""A bounded crew of threads that each move whole chunks until nothing is left to move.

The costly calls (AES-GCM, hashing, Zstandard, TLS, file I/O) release the interpreter
lock, so one worker doing one whole chunk, read to sent, is the natural unit.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import SystemRandom
from typing import Final, Generic, TypeVar

from medshare.errors import CancelledError, MedshareError
from medshare.ids import ParcelId
from medshare.sharing.events import OnEvent, Progress, Retrying, Waiting
from medshare.transfer import Growth, Patience

TICK: Final = 0.25
SILENCE: Final = 10.0
"""Seconds without anything that moves after which the user is told what is waited for."""

FLOWING: Final = 16 * 1024
"""Octets of traffic that are more than questions and answers."""

START_WORKERS: Final = 4
LEAVE_SECONDS: Final = 5.0
"""How long a stopped crew is waited for; a call that hangs on a dead line ends by itself."""

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
        self.last_success = self.last_moved = self.last_flow = time.monotonic()
        self.answered = False

    def tell(self, event: object) -> None:
        """Pass *event* to the listener."""
        with self._lock:
            self._listener(event)  # type: ignore[arg-type]  # only events are told

    def begin(self, *, total_chunks: int, total_bytes: int, chunks: int, plain_bytes: int) -> None:
        """Set the scale, and what earlier runs did."""
        self.total_chunks, self.total_bytes = total_chunks, total_bytes
        self.chunks, self.plain_bytes = chunks, plain_bytes
        self.last_success = self.last_moved = self.last_flow = time.monotonic()

    def alive(self) -> None:
        """Note that the far side answered, though no chunk moved."""
        self.answered = True
        self.last_success = time.monotonic()

    def flowing(self) -> None:
        """Note that octets of chunks cross the line, though no chunk is complete."""
        self.last_flow = time.monotonic()

    def moved(self, *, plain: int, wire: int) -> None:
        """Count one chunk that moved now."""
        with self._lock:
            self.chunks += 1
            self.moved_chunks += 1
            self.plain_bytes += plain
            self.moved_plain_bytes += plain
            self.wire_bytes += wire
            self.last_success = self.last_moved = self.last_flow = time.monotonic()
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


class _Load:
    """Which share of the machine's cores this process has used since it was last asked."""

    def __init__(self) -> None:
        self._cores = os.cpu_count() or 1
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def share(self) -> float:
        wall, cpu = time.monotonic(), time.process_time()
        passed, used = wall - self._wall, cpu - self._cpu
        if passed > 1.0:
            self._wall, self._cpu = wall, cpu
        return used / (max(passed, 1e-3) * self._cores)


class Crew:
    """Runs a job on several threads; the first failure stops all and is raised."""

    def __init__(
        self,
        meter: Meter,
        patience: Patience,
        traffic: Callable[[], int | None] = lambda: None,
    ) -> None:
        """*traffic* counts what crosses the line; where it counts nothing, workers do not grow."""
        self._meter = meter
        self._patience = patience
        self._traffic = traffic
        self._flowed = 0
        self._failure: BaseException | None = None
        self.stopping = threading.Event()
        self.waiting_for = "the far side"

    def run(self, job: Callable[[], None], *, workers: int | None, most: int) -> None:
        """Run *job* on several threads until each returns; raise the first failure.

        Without *workers*, their number grows up to *most* while that moves more.
        """
        grows = workers is None and self._traffic() is not None
        growth = Growth(min(workers or START_WORKERS, most), most if grows else 0)
        threads: list[threading.Thread] = []
        try:
            self._start(threads, growth.workers, job)
            self._watch(threads, growth, job)
        finally:
            self.stopping.set()
            for thread in threads:
                thread.join(LEAVE_SECONDS)
        if self._failure is not None:
            raise self._failure

    def _start(self, threads: list[threading.Thread], size: int, job: Callable[[], None]) -> None:
        while len(threads) < size:
            name = f"medshare-{len(threads)}"
            thread = threading.Thread(target=self._work, args=(job,), name=name, daemon=True)
            thread.start()
            threads.append(thread)

    def _work(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001  (carried to the caller's thread)
            if self._failure is None and not isinstance(error, CancelledError):
                self._failure = error
            self.stopping.set()

    def _watch(
        self, threads: list[threading.Thread], growth: Growth, job: Callable[[], None]
    ) -> None:
        told, load = 0.0, _Load()
        while any(thread.is_alive() for thread in threads):
            next(thread for thread in threads if thread.is_alive()).join(TICK)
            octets = self._note_flow()
            told = self._tell_silence(told)
            if all(thread.is_alive() for thread in threads):
                share = load.share()
                size = growth.next(octets=octets, cpu_share=share, now=time.monotonic())
                self._start(threads, size, job)

    def _note_flow(self) -> int:
        """Return what has crossed the line so far; take note when it is more than it was."""
        octets = self._traffic() or 0
        if octets - self._flowed >= FLOWING:
            self._flowed = octets
            self._meter.flowing()
        return octets

    def _tell_silence(self, told: float) -> float:
        """Say what is waited for when nothing moves; return the silence last told of."""
        silence = time.monotonic() - self._meter.last_flow
        if silence < SILENCE:
            return 0.0
        if silence - told >= SILENCE:
            self._meter.tell(Waiting(self._meter.parcel, self.waiting_for, silence))
            return silence
        return told

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


class Benches(Generic[T]):
    """A few workbenches shared by many workers: memory grows with cores, not connections."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._free: list[T] = []
        self._places = threading.Semaphore((os.cpu_count() or 1) + 1)
        self._lock = threading.Lock()

    @contextmanager
    def lend(self) -> Iterator[T]:
        """Yield a bench, waiting for one if all are in use."""
        with self._places:
            with self._lock:
                bench = self._free.pop() if self._free else None
            if bench is None:
                bench = self._make()
            try:
                yield bench
            finally:
                with self._lock:
                    self._free.append(bench)
