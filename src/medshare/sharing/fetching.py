"""Fetching the chunks of one parcel: verified as they arrive, written where they belong.

The receiver works while the sender still sends.  A chunk that arrives damaged is fetched
again, then asked for anew at its origin; one that stays damaged does not keep the others
from arriving.
"""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from medshare.chunk import max_sealed_size
from medshare.disk.boot import boot_id
from medshare.disk.incoming import PartFolder
from medshare.envelope import ChunkVerifier
from medshare.errors import (
    AuthenticityError,
    FormatError,
    IncompleteError,
    IntegrityError,
    MedshareError,
    NotFoundError,
)
from medshare.packing import ChunkOpener, ChunkUnpacker
from medshare.resume import ChunkDone, ChunkLost, Synced
from medshare.sharing.events import Waiting
from medshare.sharing.hashing import FileHashing
from medshare.sharing.incoming import MENDS, Incoming
from medshare.sharing.workers import Benches, Crew, Meter
from medshare.transfer import DamageReport, Patience, WorkList
from medshare.transport.base import Stored, Transport

MOST_WORKERS: Final = 8
NEWS_SECONDS: Final = 15.0
SYNC_SECONDS: Final = 2.0
NAMES_SHOWN: Final = 8
_DAMAGED: Final = (IntegrityError, FormatError, AuthenticityError)


@dataclass(frozen=True, slots=True)
class _Desk:
    """What the workers share."""

    benches: Benches[ChunkUnpacker]
    part: PartFolder
    hashing: FileHashing


class Fetching:
    """Moves the missing chunks of one incoming parcel into its part folder."""

    def __init__(
        self,
        incoming: Incoming,
        transport: Transport,
        meter: Meter,
        *,
        patience: Patience,
        wait: float,
        damage_delay: float,
        damage_wait: float,
    ) -> None:
        self._in = incoming
        self._transport = transport
        self._meter = meter
        self._patience = patience
        self._wait = wait
        self._damage_delay = damage_delay
        self._damage_wait = damage_wait
        self._verifier = ChunkVerifier(incoming.opened.envelope)
        self._work = WorkList(incoming.layout.chunk_count, done=incoming.history.chunks)
        self._changed = threading.Condition()
        self._scouting = False
        self._stored: Stored | None = None
        self._damage = DamageReport()
        self._hopeless: dict[int, MedshareError] = {}
        self._spoilt: set[int] = set()
        self._asked: set[int] = set()
        self._recorded = incoming.history.recorded
        self._last_sync = time.monotonic()

    def run(self, part: PartFolder, hashing: FileHashing, *, workers: int | None) -> None:
        """Fetch every missing chunk into *part*.

        Raises IntegrityError, naming the files, when chunks stay damaged; IncompleteError
        when the sender does not finish in time.
        """
        if self._work.finished:
            return
        crew = Crew(self._meter, self._patience, lambda: self._transport.traffic)
        ask = partial(self._transport.stored, self._in.parcel)
        self._news(crew.retrying("asking", ask))
        opener = ChunkOpener(self._in.opened.envelope, self._in.opened.key)
        benches = Benches(partial(ChunkUnpacker, opener, self._in.layout))
        job = partial(self._worker, crew, _Desk(benches, part, hashing))
        crew.run(job, workers=workers, most=min(MOST_WORKERS, len(self._work.missing())))
        self.sync(part)
        if self._hopeless:
            error = next(iter(self._hopeless.values()))
            raise IntegrityError(
                f"{len(self._hopeless)} of {self._work.total} chunks arrive damaged; they hold "
                f"{self.names(self._hopeless)}",
                hint="the sender has been asked to send them again: run the same command later",
            ) from error

    def _worker(self, crew: Crew, desk: _Desk) -> None:
        buffer = memoryview(bytearray(max_sealed_size(self._in.opened.envelope.chunk_size)))
        while not crew.stopping.is_set():
            index = self._take(crew)
            if index is None:
                return
            self._fetch(index, buffer, desk, crew)

    def _take(self, crew: Crew) -> int | None:
        """Return a chunk to fetch; wait for one; None when none will come any more."""
        while not crew.stopping.is_set():
            with self._changed:
                index = self._work.take()
                if index is not None or self._all_settled():
                    return index
                if self._scouting or self._is_all_under_way():
                    self._changed.wait(1.0)
                    continue
                self._scouting = True
            try:
                self._scout(crew)
            finally:
                with self._changed:
                    self._scouting = False
                    self._changed.notify_all()
        return None

    def _all_settled(self) -> bool:
        return self._work.done_count + len(self._hopeless) == self._work.total

    def _is_all_under_way(self) -> bool:
        """Tell whether there is nothing to wait for but the chunks that others are fetching."""
        moving = self._work.moving_count
        settled = self._work.done_count + len(self._hopeless)
        return moving > 0 and (self._is_sealed() or settled + moving == self._work.total)

    def _scout(self, crew: Crew) -> None:
        """Wait for chunks that the sender has yet to deliver, while others fetch what is there."""
        wait = min(self._wait, self._damage_wait) if self._is_sealed() else self._wait
        left = wait - (time.monotonic() - self._meter.last_moved)
        if left <= 0:
            if self._work.moving_count:
                crew.pause(0.2)
                return
            raise self._unfinished()
        known = self._stored
        if known is None:
            return
        crew.waiting_for = "the sender"
        news = partial(
            self._transport.wait_for_news,
            self._in.parcel,
            known,
            seconds=min(left, NEWS_SECONDS),
        )
        self._news(crew.retrying("waiting for the sender", news))

    def _unfinished(self) -> IntegrityError:
        """Return why the parcel is not whole: no more came, or no intact copy of some."""
        if not self._is_sealed():
            return IncompleteError(
                "the sender has not finished sending this parcel",
                hint="run the same command again later; what is here is kept",
            )
        missing = self._work.missing()
        kind = IntegrityError if self._spoilt else IncompleteError
        return kind(
            f"no intact copy of {len(missing)} of {self._work.total} chunks is to be had; "
            f"they hold {self.names(missing)}",
            hint=MENDS,
        )

    def _is_sealed(self) -> bool:
        return self._stored is not None and self._stored.sealed

    def _news(self, stored: Stored) -> None:
        """Offer what is said to be there; at first, all of a sealed parcel, and what was bad.

        A far side may have mended a chunk without having noticed, or may deny one it has.
        """
        listed = {record.index for record in stored.chunks} | self._spoilt
        with self._changed:
            if self._stored is None and stored.sealed:
                listed.update(range(self._work.total))
            self._stored = stored
            self._work.offer(
                index
                for index in sorted(listed)
                if 0 <= index < self._work.total and index not in self._hopeless
            )
            self._changed.notify_all()

    def _fetch(self, index: int, buffer: memoryview, desk: _Desk, crew: Crew) -> None:
        get = partial(self._transport.get_chunk, self._in.parcel, index, buffer)
        try:
            size = crew.retrying(f"chunk {index}", get)
            record = self._verifier.check(index, buffer[:size])
            with desk.benches.lend() as unpacker:
                plain, digests = unpacker.unpack(index, buffer[:size])
                self._write(index, plain, desk.part)
                self._arrived(ChunkDone(index, record.digest, b"".join(digests)))
                desk.hashing.arrived(index, plain)
        except NotFoundError:
            self._not_there(index, crew)
        except _DAMAGED as error:
            self._damaged(index, error, crew)
        else:
            self._meter.moved(plain=self._in.layout.size(index), wire=size)

    def _write(self, index: int, plain: memoryview, part: PartFolder) -> None:
        for piece in self._in.layout.pieces(index):
            end = piece.chunk_offset + piece.size
            part.write(piece.file, piece.file_offset, plain[piece.chunk_offset : end])
        self._sync_if_due(part)

    def _arrived(self, done: ChunkDone) -> None:
        with self._changed:
            self._in.note(done)
            self._recorded += 1
            self._in.history.chunks[done.index] = done
            self._work.done(done.index)
            self._damage.intact(done.index)
            self._spoilt.discard(done.index)
            self._changed.notify_all()

    def _not_there(self, index: int, crew: Crew) -> None:
        """Leave a chunk until there is news of it; of a sealed parcel, ask the sender for it."""
        if self._is_sealed() and index not in self._asked:
            self._asked.add(index)
            want = partial(self._transport.want_chunks, self._in.parcel, (index,))
            crew.retrying("asking for a chunk again", want)
        crew.pause(0.5)
        with self._changed:
            self._work.withdraw(index)
            self._changed.notify_all()

    def _damaged(self, index: int, error: MedshareError, crew: Crew) -> None:
        """Fetch a damaged chunk again, ask for a replacement, or give it up."""
        count = self._damage.damaged(index)
        self._spoilt.add(index)
        self._meter.tell(Waiting(self._in.parcel, f"an intact copy of chunk {index}", 0.0))
        if self._damage.is_hopeless(count):
            with self._changed:
                self._work.withdraw(index)
                self._hopeless[index] = error
                self._changed.notify_all()
            return
        if self._damage.must_be_replaced(count):
            want = partial(self._transport.want_chunks, self._in.parcel, (index,))
            crew.retrying("asking for a chunk again", want)
            crew.pause(self._damage_delay * 2 ** (count - 2))
        with self._changed:
            self._work.failed(index)
            self._changed.notify_all()

    def names(self, indexes: Iterable[int]) -> str:
        """Return the names of the files that lie in these chunks, for the user's eyes."""
        files = self._in.opened.manifest.files
        numbers = sorted({p.file for i in indexes for p in self._in.layout.pieces(i)})
        shown = ", ".join(files[number].path for number in numbers[:NAMES_SHOWN])
        return (
            shown
            if len(numbers) <= NAMES_SHOWN
            else f"{shown} and {len(numbers) - NAMES_SHOWN} more"
        )

    def discard(self, indexes: Iterable[int]) -> None:
        """Count chunks that the seal does not name as missing again."""
        for index in indexes:
            self._in.history.files.clear()
            self._in.note(ChunkLost(index))
            del self._in.history.chunks[index]
            self._work.lost(index)
            self._meter.unmoved(plain=self._in.layout.size(index))

    def _sync_if_due(self, part: PartFolder) -> None:
        with self._changed:
            if time.monotonic() - self._last_sync < SYNC_SECONDS:
                return
            self._last_sync = time.monotonic()
        self.sync(part)

    def sync(self, part: PartFolder) -> None:
        """Make what is written durable, and then claim it in the journal."""
        with self._changed:
            recorded = self._recorded
        part.flush()
        self._in.note(Synced(boot_id(), recorded), sync=True)
