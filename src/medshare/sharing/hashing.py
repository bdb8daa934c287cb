"""Digests of whole files that span chunks, taken in order while the chunks arrive.

A file within one chunk has the digest of its only piece.  For the others the receiver
computes what `b3sum` would print, from the verified plaintext while it is in memory where
chunks come in order, and from the part folder where they did not.
"""

import threading
from dataclasses import dataclass, field
from typing import Final

from medshare.digest import Digest
from medshare.disk.incoming import PartFolder
from medshare.resume import FileHashed
from medshare.sharing.incoming import Incoming
from medshare.suites.base import Hasher

CATCH_UP: Final = 4
"""Chunks that one arrival may read back, so that no worker is held up for long."""


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

    def arrived(self, index: int, plain: memoryview) -> None:
        """Take note that chunk *index*, with this plaintext, is written and recorded."""
        for piece in self._in.layout.pieces(index):
            running = self._of(piece.file)
            if running is None or not running.busy.acquire(blocking=False):
                continue
            try:
                if running.next_chunk == index:
                    end = piece.chunk_offset + piece.size
                    self._feed(piece.file, running, plain[piece.chunk_offset : end])
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
            view = memoryview(bytearray(piece.size))
            self._part.read(file, piece.file_offset, view)
            self._feed(file, running, view)
            most -= 1

    def _feed(self, file: int, running: _Running, data: memoryview) -> None:
        running.hasher.update(data)
        running.next_chunk += 1
        if running.next_chunk == self._in.layout.chunks_of(file).stop:
            digest = Digest(running.hasher.digest())
            with self._lock:
                self._in.note(FileHashed(file, digest))
                self._in.history.files[file] = digest
                del self._running[file]
