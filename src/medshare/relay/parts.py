"""The parts of a parcel: how each is checked before it is stored, and found again."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from medshare.audit import entries
from medshare.audit.entries import Act
from medshare.chunk import HEADER_SIZE, SIGNATURE_SIZE
from medshare.digest import Digest
from medshare.disk.atomic import write_file
from medshare.envelope import ChunkRecord
from medshare.errors import (
    FormatError,
    IntegrityError,
    NotFoundError,
    RelayRefusedError,
)
from medshare.httpsig import Body
from medshare.ids import StationId
from medshare.relay.database import ChunkRow
from medshare.relay.files import Incoming, Passing, read_back
from medshare.relay.parcels import Entry, Parcels, gone
from medshare.seal import Seal, parse_seal
from medshare.wire import problems
from medshare.wire.routes import chunk_name

ENVELOPE: Final = "envelope"
MANIFEST: Final = "manifest"
SEAL: Final = "seal"


def check_chunk(entry: Entry, index: int, passing: Passing) -> ChunkRecord:
    """Return the record of what has passed once it is proved to be chunk *index*.

    Raises IntegrityError or SignatureError.
    """
    try:
        return entry.verifier.check_parts(
            index,
            passing.head[:HEADER_SIZE],
            size=passing.size,
            digest=passing.digest,
            signature=passing.tail,
        )
    except FormatError as error:
        raise IntegrityError(error.message) from error


class Upload:
    """A part that is arriving; its room is reserved until `close`."""

    def __init__(
        self,
        parcels: Parcels,
        entry: Entry,
        folder: Path,
        size: int,
        *,
        tail: int = 0,
        whole: str = "blake3",
        beyond_quota: bool = False,
    ) -> None:
        self._parcels = parcels
        self._entry = entry
        self._reserved = size
        self._busy = threading.Lock()
        self._closed = False
        reserve = parcels.ledger.enter if beyond_quota else parcels.ledger.take
        reserve(entry.sender, entry.id, size)
        try:
            self._incoming = Incoming(
                folder, size, entry.envelope.cipher_suite, tail=tail, whole=whole
            )
        except BaseException as error:
            self._give_back()
            if isinstance(error, FileNotFoundError):
                raise gone() from None
            raise

    def write(self, pieces: Sequence[bytes]) -> None:
        """Take the next octets; nothing happens once it is closed."""
        with self._busy:
            if not self._closed:
                self._incoming.write(pieces)

    def checked(self, digest: bytes) -> Passing:
        """Return what has passed; raise DigestMismatchError unless it has this digest."""
        Digest(digest).require(Digest(self._incoming.passing.whole_digest), what="the body")
        return self._incoming.passing

    def keep(self, name: str, *, instead_of: int = 0) -> None:
        """Let it be durable under *name*, in place of *instead_of* octets that are counted."""
        try:
            self._incoming.keep(name)
        except FileNotFoundError:
            raise gone() from None
        self._reserved = instead_of

    def take_back(self, path: Path) -> None:
        """Remove what was kept at *path*: the claim to it could not be noted."""
        path.unlink(missing_ok=True)
        self._reserved = self._incoming.passing.size

    def close(self) -> None:
        """Give back what is not needed, once nothing is being written any more."""
        with self._busy:
            if not self._closed:
                self._closed = True
                self._incoming.discard()
                self._give_back()

    def _give_back(self) -> None:
        octets, self._reserved = self._reserved, 0
        self._parcels.ledger.give_back(self._entry.sender, self._entry.id, octets)


class Parts:
    """Stores and finds the parts of the parcels in *parcels*."""

    def __init__(self, parcels: Parcels) -> None:
        self._parcels = parcels
        self._database = parcels.database

    # --- manifest ------------------------------------------------------------------------

    def begin_manifest(self, entry: Entry, station: StationId, body: Body) -> Upload:
        """Return the upload of the manifest that is *body*."""
        entry.require_sender(station)
        if body.length != entry.envelope.manifest_size:
            raise IntegrityError("the manifest does not have the length that the envelope states")
        return Upload(self._parcels, entry, entry.folder.path, body.length, whole=body.hash)

    def finish_manifest(self, entry: Entry, upload: Upload, digest: bytes) -> None:
        """Store the manifest that has arrived, if it is the one that the envelope names."""
        passing = upload.checked(digest)
        entry.envelope.manifest_digest.require(passing.digest, what="the manifest")
        with self._parcels.lock(entry.id):
            with self._database.reading() as view:
                row = view.parcel(entry.id)
            there = passing.size if row is not None and row.manifest else 0
            upload.keep(MANIFEST, instead_of=there)
            with self._database.writing() as change:
                if change.advance(entry.number, size=passing.size - there) is None:
                    raise gone()
                change.set_manifest(entry.number, here=True)

    # --- chunks --------------------------------------------------------------------------

    def begin_chunk(self, entry: Entry, station: StationId, index: int, body: Body) -> Upload:
        """Return the upload of chunk *index*, which is *body*."""
        entry.require_sender(station)
        if index >= entry.envelope.chunk_count:
            raise IntegrityError(f"chunk {index} lies beyond the end of its parcel")
        if not HEADER_SIZE + SIGNATURE_SIZE < body.length <= entry.verifier.max_size:
            raise IntegrityError("a sealed chunk of this length cannot be of this parcel")
        return Upload(
            self._parcels,
            entry,
            entry.folder.chunks,
            body.length,
            tail=SIGNATURE_SIZE,
            whole=body.hash,
        )

    def finish_chunk(self, entry: Entry, index: int, upload: Upload, digest: bytes) -> bool:
        """Store the chunk that has arrived; return False when it was here already.

        Raises an error when it is not chunk *index* of the parcel, or RelayRefusedError when
        another one has this place.
        """
        passing = upload.checked(digest)
        record = check_chunk(entry, index, passing)
        with self._parcels.lock(entry.id, index):
            before = self._require_free(entry, record)
            there = before.size if before is not None and before.held else 0
            upload.keep(chunk_name(index), instead_of=there)
            if there and before is not None and before.signature == record.signature:
                return False
            try:
                self._enter(entry, record, size=passing.size, instead_of=there)
            except BaseException:
                if not there:  # never without a row that counts it
                    upload.take_back(entry.folder.chunk(index))
                raise
        return True

    def _require_free(self, entry: Entry, record: ChunkRecord) -> ChunkRow | None:
        """Return what is noted in the place of *record*; raise when it must stay."""
        with self._database.reading() as view:
            row = view.parcel(entry.id)
            before = view.chunk(entry.number, record.index)
        if row is None or row.gone is not None:
            raise gone()
        if before is None or before.digest == record.digest:
            return before
        if row.seal is not None or (before.held and self._is_good(entry, before)):
            raise RelayRefusedError(
                f"another chunk {record.index} of this parcel is stored already",
                code=problems.CONFLICT,
            )
        return before

    def _enter(self, entry: Entry, record: ChunkRecord, *, size: int, instead_of: int) -> None:
        with self._database.writing() as change:
            revision = change.advance(entry.number, size=size - instead_of)
            if revision is None:
                raise gone()
            change.set_chunk(entry.number, record, size=size, revision=revision)

    def _is_good(self, entry: Entry, row: ChunkRow) -> bool:
        """Read the stored chunk, and tell whether it is still what was verified."""
        passing = read_back(
            entry.folder.chunk(row.index), entry.envelope.cipher_suite, tail=SIGNATURE_SIZE
        )
        return passing is not None and (passing.size, passing.digest, passing.tail) == (
            row.size, row.digest, row.signature,
        )  # fmt: skip

    def chunk(self, entry: Entry, index: int) -> tuple[Path, int]:
        """Return where chunk *index* lies, and its size; raise NotFoundError if it does not."""
        return _sized(entry.folder.chunk(index), f"chunk {index}")

    def want(self, entry: Entry, indexes: Sequence[int]) -> tuple[int, ...]:
        """Look at the stored copies of *indexes*, drop the bad; return those not here now."""
        if indexes and indexes[-1] >= entry.envelope.chunk_count:
            raise FormatError("a chunk is wanted that the parcel does not have")
        return tuple(index for index in indexes if not self._look_at(entry, index))

    def _look_at(self, entry: Entry, index: int) -> bool:
        with self._parcels.lock(entry.id, index):
            with self._database.reading() as view:
                row = view.chunk(entry.number, index)
            if row is None or not row.held:
                return False
            if self._is_good(entry, row):
                return True
            self.drop(entry, row)
        return False

    def drop(self, entry: Entry, row: ChunkRow) -> None:
        """Let a chunk be here no longer, and wanted; the lock of the chunk is held."""
        with self._database.writing() as change:
            change.advance(entry.number, size=-row.size, epoch=1)
            change.drop_chunk(entry.number, row.index)
        self._parcels.ledger.give_back(entry.sender, entry.id, row.size)
        entry.folder.chunk(row.index).unlink(missing_ok=True)

    # --- seal ----------------------------------------------------------------------------

    def put_seal(self, entry: Entry, data: bytes) -> tuple[int, ...]:
        """Store the seal if all chunks that it names are here; return those that are not."""
        seal = parse_seal(data, entry.envelope)
        with self._parcels.lock(entry.id):
            with self._database.reading() as view:
                row = view.parcel(entry.id)
                chunks = view.chunks(entry.number)
            if row is None or row.gone is not None:
                raise gone()
            if row.seal is not None:
                if row.seal != seal.digest.value:
                    raise RelayRefusedError(
                        "the parcel has another seal already", code=problems.CONFLICT
                    )
                return ()
            held = {chunk.index for chunk in chunks if chunk.held}
            missing = tuple(i for i in range(entry.envelope.chunk_count) if i not in held)
            if missing:
                return missing
            if not row.manifest:
                raise RelayRefusedError(
                    "the manifest of the parcel is missing", code=problems.INCOMPLETE
                )
            for chunk in chunks:
                seal.require_chunk(chunk.index, chunk.digest)
            self._keep_seal(entry, seal, data)
        return ()

    def _keep_seal(self, entry: Entry, seal: Seal, data: bytes) -> None:
        self._parcels.ledger.take(entry.sender, entry.id, len(data))
        try:
            about = entries.parcel(entry.id)
            self._parcels.record.note(Act.SEAL, entry.sender, about, tier=entry.envelope.tier)
            write_file(entry.folder.seal, data, what="a seal")
            with self._database.writing() as change:
                if change.advance(entry.number, size=len(data)) is None:
                    raise gone()
                change.set_seal(entry.number, seal.digest)
        except BaseException:
            self._parcels.ledger.give_back(entry.sender, entry.id, len(data))
            raise

    # --- receipts ------------------------------------------------------------------------

    def begin_receipt(
        self, entry: Entry, station: StationId, asker: StationId, body: Body
    ) -> Upload:
        """Return the upload of the receipt of *station*; it is counted, but never refused."""
        entry.require_recipient(asker)
        if station != asker:
            raise NotFoundError("a recipient stores its own receipt and no other")
        with self._database.reading() as view:
            row = view.parcel(entry.id)
        if row is None or row.seal is None:
            raise RelayRefusedError("the parcel has no seal yet", code=problems.INCOMPLETE)
        return Upload(
            self._parcels,
            entry,
            entry.folder.receipts,
            body.length,
            whole=body.hash,
            beyond_quota=True,
        )

    def finish_receipt(
        self, entry: Entry, station: StationId, upload: Upload, digest: bytes
    ) -> None:
        """Store the receipt that has arrived, in place of an earlier one."""
        passing = upload.checked(digest)
        with self._parcels.lock(entry.id):
            with self._database.reading() as view:
                before = view.receipts(entry.number).get(station) or 0
            if not before:
                about = entries.parcel(entry.id)
                self._parcels.record.note(Act.RECEIPT, station, about, tier=entry.envelope.tier)
            upload.keep(station.hex(), instead_of=before)
            with self._database.writing() as change:
                if change.advance(entry.number, size=passing.size - before) is None:
                    raise gone()
                change.set_receipt(entry.number, station, size=passing.size)

    def receipt(self, entry: Entry, station: StationId, asker: StationId) -> tuple[Path, int]:
        """Return where a receipt lies, for the sender or the one who gave it."""
        if asker not in {entry.sender, station}:
            raise NotFoundError("there is no such receipt here for this station")
        return _sized(entry.folder.receipt(station), "the receipt")

    # --- reading -------------------------------------------------------------------------

    def part(self, entry: Entry, name: str) -> tuple[Path, int]:
        """Return where envelope, manifest or seal lies, once it is known to be undamaged.

        These are few and small, and cannot be asked for again chunk by chunk: one that is
        damaged or gone is noted as missing, so that the sender sends it again.
        """
        path = entry.folder.path / name
        with self._database.reading() as view:
            row = view.parcel(entry.id)
        if row is None or row.gone is not None:
            raise gone()
        expected = {
            ENVELOPE: entry.envelope.digest.value,
            MANIFEST: entry.envelope.manifest_digest.value if row.manifest else None,
            SEAL: row.seal,
        }[name]
        if expected is None:
            raise NotFoundError(f"the {name} of this parcel is not here yet")
        found = read_back(path, entry.envelope.cipher_suite)
        if found is None or found.digest.value != expected:
            self._lose(entry, name)
            raise NotFoundError(f"the {name} of this parcel was damaged here, and is missing")
        return path, found.size

    def _lose(self, entry: Entry, name: str) -> None:
        with self._database.writing() as change:
            change.advance(entry.number, epoch=1)
            if name == MANIFEST:
                change.set_manifest(entry.number, here=False)
            elif name == SEAL:
                change.set_seal(entry.number, None)


def _sized(path: Path, what: str) -> tuple[Path, int]:
    try:
        return path, path.stat().st_size
    except FileNotFoundError:
        raise NotFoundError(f"{what} of this parcel is not here yet") from None
