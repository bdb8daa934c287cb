"""Looking at a parcel without writing anything of it to a disk.

Chunks are fetched when a file is looked at, verified and held against the seal like those that
are received, and live in memory only.  Before each look the rules are asked again, so that a
grant that ends, or a licence that is revoked, ends what is under way.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from medshare.audit import entries
from medshare.audit.entries import Act
from medshare.chunk import max_sealed_size
from medshare.chunking import Layout
from medshare.envelope import ChunkVerifier
from medshare.errors import IncompleteError, LimitError, NotFoundError, UsageError
from medshare.grant import Permission
from medshare.ids import ParcelId
from medshare.manifest import FileEntry
from medshare.packing import ChunkOpener, ChunkUnpacker
from medshare.seal import Seal, parse_seal
from medshare.sharing.access import Access
from medshare.sharing.incoming import OpenedEnvelope, open_parcel
from medshare.sharing.withdrawing import learning
from medshare.station import Contact, Identity, Station
from medshare.transport.base import Transport

MAX_FILE: Final = 256 * 1024 * 1024
"""Octets of one file that are held in memory to be looked at."""
MAX_CACHE: Final = 64 * 1024 * 1024
"""Octets of plaintext that are kept for the next look."""


class Viewing:
    """A parcel that may be looked at; safe to use from several threads."""

    def __init__(
        self, opened: OpenedEnvelope, seal: Seal, transport: Transport, access: Access
    ) -> None:
        self._opened = opened
        self._seal = seal
        self._transport = transport
        self._access = access
        self._layout = Layout(opened.manifest.sizes, opened.envelope.chunk_size)
        self._verifier = ChunkVerifier(opened.envelope)
        opener = ChunkOpener(opened.envelope, opened.key)
        self._unpacker = ChunkUnpacker(opener, self._layout)
        self._buffer = memoryview(bytearray(max_sealed_size(opened.envelope.chunk_size)))
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._last: tuple[int, bytes] | None = None
        self._one_at_a_time = threading.Lock()

    @property
    def parcel(self) -> ParcelId:
        """The parcel's id."""
        return self._opened.envelope.parcel

    @property
    def sender(self) -> Contact:
        """Who sealed it."""
        return self._opened.sender

    @property
    def broken(self) -> bool:
        """Whether the glass was broken to look at it."""
        return self._access.emergency is not None

    @property
    def counted(self) -> bool:
        """Whether the sender has set a number of openings."""
        return self._access.counted

    @property
    def note(self) -> str:
        """The note of the sender."""
        return self._opened.manifest.note

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """What is in it, in the sender's order."""
        return self._opened.manifest.files

    def number_of(self, path: str) -> int:
        """Return the number of the file called *path*, or the only one whose path ends so.

        Raises UsageError when there is none, or several.
        """
        paths = [entry.path for entry in self.files]
        if path in paths:
            return paths.index(path)
        found = [number for number, one in enumerate(paths) if one.endswith(f"/{path}")]
        if len(found) != 1:
            problem = "no file" if not found else f"{len(found)} files"
            raise UsageError(f"the parcel has {problem} of that name", hint="name the whole path")
        return found[0]

    def read(self, number: int) -> bytes:
        """Return the content of file *number*, verified; it is nowhere but in memory.

        Raises PolicyError when it may not be looked at any more, LimitError when it is too
        large for that, NotFoundError, IntegrityError, and what the transport raises.
        """
        self._access.decision(Permission.VIEW).require()
        entry = self.files[number]
        if entry.size > MAX_FILE:
            raise LimitError("this file is too large to be looked at in memory")
        with self._one_at_a_time:
            # A file of many frames is asked for once for each of them.
            if self._last is None or self._last[0] != number:
                self._last = None
                self._last = number, self._content(number, entry.size)
            return self._last[1]

    def _content(self, number: int, size: int) -> bytes:
        content = bytearray(size)
        for index in self._layout.chunks_of(number):
            plain = self._chunk(index)
            for piece in self._layout.pieces(index):
                if piece.file == number:
                    part = plain[piece.chunk_offset : piece.chunk_offset + piece.size]
                    content[piece.file_offset : piece.file_offset + piece.size] = part
        return bytes(content)

    def _chunk(self, index: int) -> bytes:
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        size = self._transport.get_chunk(self.parcel, index, self._buffer)
        sealed = self._buffer[:size]
        self._seal.require_chunk(index, self._verifier.check(index, sealed).digest)
        plain = bytes(self._unpacker.unpack(index, sealed)[0])
        self._cache[index] = plain
        while sum(map(len, self._cache.values())) > MAX_CACHE and len(self._cache) > 1:
            self._cache.popitem(last=False)
        return plain

    def forget(self) -> None:
        """Let go of everything that was kept for the next look."""
        with self._one_at_a_time:
            self._cache.clear()
            self._last = None


@contextmanager
def viewing(
    parcel: ParcelId,
    *,
    identity: Identity,
    station: Station,
    transport: Transport,
    reason: str | None = None,
    suites: frozenset[str] | None = None,
    mixed: bool = False,
) -> Iterator[Viewing]:
    """Give *parcel* to be looked at inside the block: one opening, counted and recorded first.

    *reason* is why the glass is to be broken.  Raises PolicyError, naming the rule, or
    AccessDeniedError when it may not be opened; IncompleteError while it is not sealed; and
    what `open_parcel` raises.
    """
    about = entries.parcel(parcel)
    with station.record.signed(identity.signers):
        with learning(parcel, station, transport), station.record.refusals(Act.VIEW, about):
            opened = open_parcel(
                parcel,
                identity=identity,
                station=station,
                transport=transport,
                suites=suites,
                mixed=mixed,
            )
        access = Access(opened.envelope, station, reason=reason)
        seal = _seal(opened, transport)
        access.begin(Permission.VIEW)
        access.note(Permission.VIEW)
        station.record.anchor(identity.signers)
        found = Viewing(opened, seal, transport, access)
        try:
            yield found
        finally:
            found.forget()


def _seal(opened: OpenedEnvelope, transport: Transport) -> Seal:
    try:
        return parse_seal(transport.get_seal(opened.envelope.parcel), opened.envelope)
    except NotFoundError as error:
        raise IncompleteError(
            "this parcel is not sealed yet: nothing of it is shown before all of it is there",
            hint="run the same command again later",
        ) from error
