"""Digests of whole files that span chunks, taken in order while the chunks arrive.

A file within one chunk has the digest of its only piece.  For the others the receiver
computes what `b3sum` would print, from the verified plaintext while it is in memory where
chunks come in order, and from the part folder where they did not.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from medshare.digest import Digest
from medshare.disk.incoming import PartFolder
from medshare.resume import FileHashed
from medshare.sharing.incoming import Incoming
from medshare.suites.base import Hasher

CATCH_UP: Final = 4
"""Chunks that one arrival may read back, so that no worker is held up for long."""
BLOCK: Final = 1 << 20
"""Octets read back at once."""


@dataclass(slots=True)
class _Running:
    """One file being hashed: how far, and who is at it."""

    hasher: Hasher
    next_chunk: int
    busy: threading.Lock = field(default_factory=threading.Lock)


class FileHashing:
    """Hashes each file that spans chunks, once, as far as its octets are there."""

    def __init__(self, incoming: Incoming, part: PartFolder) -> None:
        self._in = incoming
        self._part = part
        self._suite = incoming.opened.envelope.cipher_suite
        self._running: dict[int, _Running] = {}
        self._lock = threading.Lock()
        self._blocks: list[memoryview] = []

    def arrived(self, index: int, plain: memoryview) -> None:
        """Take note that chunk *index*, with this plaintext, is written and recorded."""
        for piece in self._in.layout.pieces(index):
            running = self._of(piece.file)
            if running is None or not running.busy.acquire(blocking=False):
                continue
            try:
                if running.next_chunk == index:
                    end = piece.chunk_offset + piece.size
                    running.hasher.update(plain[piece.chunk_offset : end])
                    self._step(piece.file, running)
                self._catch_up(piece.file, running, CATCH_UP)
            finally:
                running.busy.release()

    def finish(self) -> None:
        """Hash what is left; every chunk must have arrived."""
        for number in range(len(self._in.opened.manifest.files)):
            running = self._of(number)
            if running is not None:
                with running.busy:
                    self._catch_up(number, running, self._in.layout.chunk_count)

    def _of(self, file: int) -> _Running | None:
        """Return the state of *file*, or None when it needs no hashing (any more)."""
        chunks = self._in.layout.chunks_of(file)
        if len(chunks) <= 1:
            return None
        with self._lock:
            if file in self._in.history.files:
                return None
            if file not in self._running:
                self._running[file] = _Running(self._suite.hasher(), chunks.start)
            return self._running[file]

    def _catch_up(self, file: int, running: _Running, most: int) -> None:
        """Read back at most *most* chunks that arrived out of order."""
        chunks, recorded = self._in.layout.chunks_of(file), self._in.history.chunks
        while most and running.next_chunk < chunks.stop and running.next_chunk in recorded:
            pieces = self._in.layout.pieces(running.next_chunk)
            piece = next(piece for piece in pieces if piece.file == file)
            with self._block() as block:
                for at in range(0, piece.size, len(block)):
                    view = block[: piece.size - at]
                    self._part.read(file, piece.file_offset + at, view)
                    running.hasher.update(view)
            self._step(file, running)
            most -= 1

    @contextmanager
    def _block(self) -> Iterator[memoryview]:
        """Lend a block of memory: new ones for each chunk would cost more than the hash."""
        with self._lock:
            block = self._blocks.pop() if self._blocks else memoryview(bytearray(BLOCK))
        try:
            yield block
        finally:
            with self._lock:
                self._blocks.append(block)

    def _step(self, file: int, running: _Running) -> None:
        """Take note that the next chunk of *file* is hashed; the last one gives the digest."""
        running.next_chunk += 1
        if running.next_chunk == self._in.layout.chunks_of(file).stop:
            digest = Digest(running.hasher.digest())
            with self._lock:
                self._in.note(FileHashed(file, digest))
                self._in.history.files[file] = digest
                del self._running[file]
