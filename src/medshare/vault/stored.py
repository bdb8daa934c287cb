"""One parcel of the vault, opened: what its chunks hold, verified once more as they are read.

Before anything is handed out: the envelope is signed by its sender, whom a card here names;
the seal is the sender's; the key is the one that the envelope commits to; the manifest has
the digest that the envelope names.  Each chunk is then held against the seal.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare.chunk import max_sealed_size
from medshare.chunking import Layout
from medshare.disk.parcels import ParcelFolder
from medshare.envelope import ChunkVerifier, Envelope, parse_envelope
from medshare.errors import (
    AuthenticityError,
    FormatError,
    IncompleteError,
    IntegrityError,
    NotFoundError,
)
from medshare.ids import ParcelId
from medshare.manifest import Manifest
from medshare.packing import ChunkOpener, ChunkUnpacker
from medshare.seal import Seal, parse_seal
from medshare.sealing import ParcelKey, open_manifest
from medshare.sharing.incoming import known_sender, sender_of
from medshare.sharing.verify import in_parallel
from medshare.sharing.wrapped import parcel_key
from medshare.station import Contact, Identity, Station
from medshare.vault.store import Vault

_NAMED: Final = 5

OnChunk = Callable[[int, memoryview], None]
"""Called with the index of a chunk and its plaintext, valid until it returns; from any thread."""


@dataclass(frozen=True, slots=True)
class StoredParcel:
    """A sealed parcel of the vault that passed the checks above."""

    folder: Path
    sealed: ParcelFolder
    envelope: Envelope
    manifest: Manifest
    seal: Seal
    key: ParcelKey
    sender: Contact

    @property
    def layout(self) -> Layout:
        """Where its files lie in its chunks."""
        return Layout(self.manifest.sizes, self.envelope.chunk_size)

    def read_all(self, on_chunk: OnChunk) -> None:
        """Give *on_chunk* the plaintext of each chunk once, in no particular order.

        Raises IncompleteError or IntegrityError when one is missing or not as it was sealed,
        and what *on_chunk* raises.
        """
        reading = _Reading(self, on_chunk)
        for _ in in_parallel(reading, range(self.envelope.chunk_count)):
            pass


class _Reading:
    """Reads one chunk after the other; each thread has buffers of its own."""

    def __init__(self, parcel: StoredParcel, on_chunk: OnChunk) -> None:
        self._parcel = parcel
        self._on_chunk = on_chunk
        self._verifier = ChunkVerifier(parcel.envelope)
        self._opener = ChunkOpener(parcel.envelope, parcel.key)
        self._layout = parcel.layout
        self._local = threading.local()

    def __call__(self, index: int) -> None:
        buffer, unpacker = self._desk()
        try:
            size = self._parcel.sealed.read_chunk(index, buffer)
        except NotFoundError:
            raise IncompleteError(f"chunk {index} is missing in the vault") from None
        try:
            record = self._verifier.check(index, buffer[:size])
            self._parcel.seal.require_chunk(index, record.digest)
            plain, _ = unpacker.unpack(index, buffer[:size])
        except (AuthenticityError, FormatError, IntegrityError) as error:
            raise IntegrityError(
                f"chunk {index} in the vault is damaged; it holds {self._names(index)}",
                hint="ask its sender for it again; nothing of this parcel was given out",
            ) from error
        self._on_chunk(index, plain)

    def _names(self, index: int) -> str:
        """Return the names of the first files in a chunk, for the user's eyes."""
        files = self._parcel.manifest.files
        numbers = list(dict.fromkeys(piece.file for piece in self._layout.pieces(index)))
        shown = ", ".join(files[number].path for number in numbers[:_NAMED])
        more = len(numbers) - _NAMED
        return shown if more <= 0 else f"{shown} and {more} more"

    def _desk(self) -> tuple[memoryview, ChunkUnpacker]:
        desk: tuple[memoryview, ChunkUnpacker] | None = getattr(self._local, "desk", None)
        if desk is None:
            size = max_sealed_size(self._parcel.envelope.chunk_size)
            unpacker = ChunkUnpacker(self._opener, self._layout)
            desk = self._local.desk = memoryview(bytearray(size)), unpacker
        return desk


def kept_sender(envelope: Envelope, station: Station) -> Contact:
    """Return who sealed a parcel that lies in a vault of *station*.

    What this station sealed itself, under keys that it has revoked since, it still believes:
    nobody else can put anything into its vault.  Raises UntrustedSignerError otherwise.
    """
    if envelope.sender == station.id:
        return known_sender(envelope, station)
    return sender_of(envelope, station, kept=True)


def open_stored(vault: Vault, parcel: ParcelId, identity: Identity) -> StoredParcel:
    """Return *parcel* of *vault* after all the checks listed above.

    Raises NotFoundError when it is not there, IncompleteError when it was not finished,
    UntrustedSignerError, KeyUnavailableError, IntegrityError or FormatError.
    """
    folder, sealed = vault.require(parcel), vault.sealed(parcel)
    try:
        envelope = parse_envelope(sealed.read_envelope())
        if envelope.parcel != parcel:
            raise IntegrityError("the vault holds the envelope of another parcel in this place")
        sender = kept_sender(envelope, vault.station)
        seal = parse_seal(sealed.read_seal(), envelope)
        key = parcel_key(envelope, folder, identity)
        manifest = open_manifest(sealed.read_manifest(), key, envelope)
    except NotFoundError:
        raise IncompleteError(
            f"parcel {parcel.hex()} was not put into the vault completely",
            hint="receive it again with --keep, or add it again",
        ) from None
    return StoredParcel(folder, sealed, envelope, manifest, seal, key, sender)
