"""What a station remembers of a transfer so that a later run goes on where this one stopped.

Pure: records in, state out; `disk.journal_file` keeps them.  A journal is a list of
records, each a CBOR map with a `kind`.  Replaying them gives the state.  No record holds
a secret in the clear: the seed of the chunk-signing key is wrapped to the station itself
and the parcel key is only in the envelope's stanza for the sender.

A journal may lose its tail without harm.  What it does not claim is asked of the far
side again, or moved again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from medshare import canonical
from medshare.canonical import Fields
from medshare.chunking import MAX_CHUNKS, MAX_PIECES
from medshare.digest import DIGEST_SIZE, Digest
from medshare.errors import FormatError
from medshare.manifest import MAX_FILES

MAX_RECORD: Final = 64 * 1024 * 1024
VERSION: Final = 1
_WHAT: Final = "a journal record"


@dataclass(frozen=True, slots=True)
class Begun:
    """The first record of a send: which request, which sources, and the wrapped chunk seed."""

    request: Digest
    sources: Sequence[canonical.Value]
    chunk_seed: bytes

    def encode(self) -> bytes:
        """Return the record's octets."""
        return canonical.encode(
            {
                "chunk_seed": self.chunk_seed,
                "kind": "begun",
                "request": self.request.value,
                "sources": list(self.sources),
                "version": VERSION,
            }
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """The first record of a receive: where to, which envelope, and the boot it was made in.

    Another one, later in the journal, begins anew in another place.
    """

    output: str
    envelope: Digest
    boot: str

    def encode(self) -> bytes:
        """Return the record's octets."""
        return canonical.encode(
            {
                "boot": self.boot,
                "envelope": self.envelope.value,
                "kind": "accepted",
                "output": self.output,
                "version": VERSION,
            }
        )


@dataclass(frozen=True, slots=True)
class ChunkDone:
    """Chunk *index* is stored at the far side (send), or written to the part folder (receive)."""

    index: int
    digest: Digest
    pieces: bytes
    """Digests of its pieces, concatenated."""

    def encode(self) -> bytes:
        """Return the record's octets."""
        return canonical.encode(
            {
                "digest": self.digest.value,
                "index": self.index,
                "kind": "chunk",
                "pieces": self.pieces,
            }
        )


@dataclass(frozen=True, slots=True)
class FileHashed:
    """File *index* was read back from disk whole; *digest* is what it has there."""

    index: int
    digest: Digest

    def encode(self) -> bytes:
        """Return the record's octets."""
        return canonical.encode({"digest": self.digest.value, "index": self.index, "kind": "file"})


@dataclass(frozen=True, slots=True)
class ChunkLost:
    """Chunk *index* turned out not to be the sealed one; it counts as missing again."""

    index: int

    def encode(self) -> bytes:
        """Return the record's octets."""
        return canonical.encode({"index": self.index, "kind": "lost"})


@dataclass(frozen=True, slots=True)
class Synced:
    """The first *records* chunk records of this journal are durable, also without power."""

    boot: str
    records: int

    def encode(self) -> bytes:
        """Return the record's octets."""
        return canonical.encode({"boot": self.boot, "kind": "synced", "records": self.records})


@dataclass(frozen=True, slots=True)
class Reached:
    """A milestone: `sealed`, `placing`, `placed`, `receipted`, `abandoned`."""

    milestone: str

    def encode(self) -> bytes:
        """Return the record's octets."""
        return canonical.encode({"kind": "reached", "milestone": self.milestone})


Record = Begun | Accepted | ChunkDone | FileHashed | ChunkLost | Synced | Reached


def parse_record(data: bytes) -> Record:
    """Return the record in *data*; raise FormatError for anything else."""
    fields = Fields(canonical.decode(data, limit=MAX_RECORD, what=_WHAT), what=_WHAT)
    kind = fields.text("kind", maximum=16)
    reader = _READERS.get(kind)
    if reader is None:
        raise FormatError("the journal was written by a newer medshare", code="format.version")
    record = reader(fields)
    fields.finish()
    return record


def _begun(fields: Fields) -> Begun:
    fields.uint("version", minimum=VERSION, maximum=VERSION)
    return Begun(
        request=Digest(fields.octets("request", size=DIGEST_SIZE)),
        sources=fields.items("sources", maximum=1 << 22),
        chunk_seed=fields.octets("chunk_seed", maximum=8192),
    )


def _accepted(fields: Fields) -> Accepted:
    fields.uint("version", minimum=VERSION, maximum=VERSION)
    return Accepted(
        output=fields.text("output", maximum=1 << 15),
        envelope=Digest(fields.octets("envelope", size=DIGEST_SIZE)),
        boot=fields.text("boot", maximum=64),
    )


def _chunk(fields: Fields) -> ChunkDone:
    pieces = fields.octets("pieces", maximum=MAX_PIECES * DIGEST_SIZE)
    if len(pieces) % DIGEST_SIZE:
        raise FormatError("piece digests in the journal are cut off")
    return ChunkDone(
        index=fields.uint("index", maximum=MAX_CHUNKS),
        digest=Digest(fields.octets("digest", size=DIGEST_SIZE)),
        pieces=pieces,
    )


def _file(fields: Fields) -> FileHashed:
    return FileHashed(
        index=fields.uint("index", maximum=MAX_FILES),
        digest=Digest(fields.octets("digest", size=DIGEST_SIZE)),
    )


def _lost(fields: Fields) -> ChunkLost:
    return ChunkLost(fields.uint("index", maximum=MAX_CHUNKS))


def _synced(fields: Fields) -> Synced:
    return Synced(fields.text("boot", maximum=64), fields.uint("records"))


def _reached(fields: Fields) -> Reached:
    return Reached(fields.text("milestone", maximum=16))


_READERS: Final[dict[str, Callable[[Fields], Record]]] = {
    "accepted": _accepted,
    "begun": _begun,
    "chunk": _chunk,
    "file": _file,
    "lost": _lost,
    "reached": _reached,
    "synced": _synced,
}


@dataclass(slots=True)
class History:
    """What the records of one journal add up to."""

    first: Begun | Accepted | None = None
    chunks: dict[int, ChunkDone] = field(default_factory=dict)
    files: dict[int, Digest] = field(default_factory=dict)
    milestones: set[str] = field(default_factory=set)
    recorded: int = 0
    """How many chunk records the journal has, those of chunks lost again included."""


def replay(records: Iterable[bytes], *, boot: str | None = None) -> History:
    """Return the state that *records* add up to.

    With *boot*, the identifier of the running system's boot: chunks that were written
    under another boot and not followed by `Synced` are forgotten, because a loss of power
    may have taken their octets.  Raises FormatError when a record is malformed.
    """
    history = History()
    unsynced: list[tuple[int, int]] = []
    written_in = ""
    for data in records:
        record = parse_record(data)
        match record:
            case Begun() | Accepted():
                history = History(first=record, recorded=history.recorded)
                unsynced = []
                written_in = record.boot if isinstance(record, Accepted) else ""
            case ChunkDone():
                history.chunks[record.index] = record
                history.recorded += 1
                unsynced.append((history.recorded, record.index))
            case FileHashed():
                history.files[record.index] = record.digest
            case ChunkLost():
                history.chunks.pop(record.index, None)
                history.files.clear()
            case Synced():
                unsynced = [entry for entry in unsynced if entry[0] > record.records]
                written_in = record.boot
            case Reached():
                history.milestones.add(record.milestone)
    if boot is not None and (boot != written_in or not boot):
        for _, index in unsynced:
            history.chunks.pop(index, None)
            history.files.clear()
    return history
