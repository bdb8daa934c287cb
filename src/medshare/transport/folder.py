"""Parcels through a plain folder: a USB stick, a network share, a vault.

`ROOT/<parcel id>/…` has the layout of a relay's store, and what is stored is checked as a
relay does: envelope and seal by the sender's signatures, chunks by the chunk key's.  There
is no server to refuse anybody: who may read and write there is up to the umask and the
file system.  Whoever can write can delete, and nothing read is believed by those above.
"""

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from medshare.chunk import max_sealed_size
from medshare.disk.atomic import make_folder, opened_folder, storage_errors, sync_folder
from medshare.disk.parcels import ParcelFolder
from medshare.envelope import (
    ChunkRecord,
    ChunkVerifier,
    Envelope,
    check_sealed_manifest,
    parse_envelope,
)
from medshare.errors import (
    AuthenticityError,
    FormatError,
    IntegrityError,
    MedshareError,
    NotFoundError,
    RelayRefusedError,
    TransferError,
)
from medshare.ids import ParcelId, StationId, parcel_id_from_text
from medshare.seal import Seal, parse_seal
from medshare.suites.base import Hashed
from medshare.transport.base import Stored
from medshare.wire import problems
from medshare.wire.routes import MAX_SEALED_RECEIPT

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_PARCEL: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(slots=True)
class _Known:
    """One announced parcel: its checked envelope and where it lies."""

    envelope: Envelope
    folder: ParcelFolder
    verifier: ChunkVerifier
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while a chunk is looked at and replaced."""
    looked: dict[int, ChunkRecord | None] = field(default_factory=dict)
    """What reading a chunk without a record showed, so that it is read only once."""


class FolderTransport:
    """The parcels in *root*, as *station* sees them; implements `transport.base.Transport`.

    What it makes is for all whom the umask lets in, or, with *shared* off, for this user alone.
    """

    def __init__(
        self,
        root: Path,
        station: StationId,
        *,
        shared: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._shared = shared
        self._station = station
        self._clock = clock
        self._parcels: dict[ParcelId, _Known] = {}

    @property
    def route(self) -> str:
        """The way taken: `folder …`."""
        return f"folder {self._root}"

    @property
    def traffic(self) -> None:
        """There is no line."""
        return None

    # --- sending ------------------------------------------------------------------------

    def announce(self, parcel: ParcelId, envelope: bytes, manifest: bytes) -> tuple[StationId, ...]:
        """Store *envelope* and sealed *manifest*; whoever sees the folder can fetch.  Idempotent.

        Raises RelayRefusedError when another envelope has this id already or when it is
        malformed, IntegrityError when the signatures or the manifest do not hold.
        """
        with _checked():
            facts = parse_envelope(envelope)
            if facts.parcel != parcel:
                raise IntegrityError("the envelope names another parcel")
            check_sealed_manifest(manifest, facts)
        make_folder(self._root, 0o777 if self._shared else 0o700)
        folder = self._folder(parcel)
        folder.make()
        if not folder.write_envelope(envelope) and folder.read_envelope() != envelope:
            if _is_sound(folder.read_envelope(), parcel):
                raise RelayRefusedError(
                    "another envelope with this parcel id is in the folder", code=problems.CONFLICT
                )
            folder.write_envelope(envelope, replace=True)  # what lies there was damaged
        folder.write_manifest(manifest)
        return ()

    def put_chunk(
        self,
        parcel: ParcelId,
        index: int,
        sealed: memoryview,
        *,
        whole: Hashed | None = None,  # noqa: ARG002  (what is stored is verified here anyway)
    ) -> None:
        """Store one sealed chunk durably once it is verified.  Idempotent.

        Raises IntegrityError when it is not chunk *index* as the sender made it,
        RelayRefusedError when another good one is in its place.
        """
        known = self._known(parcel)
        with _checked(IntegrityError):
            record = known.verifier.check(index, sealed)
        with known.lock:
            self._require_vacant(known, record)
            known.folder.write_chunk(record, sealed)
            known.looked.pop(index, None)

    def _require_vacant(self, known: _Known, record: ChunkRecord) -> None:
        """Raise RelayRefusedError when *record* may not take its place."""
        seal = self._sound_seal(known)
        if seal is not None and seal.chunks[record.index] != record.digest:
            raise RelayRefusedError(
                f"chunk {record.index} is not the one that was sealed", code=problems.CONFLICT
            )
        kept = known.folder.record(record.index) if seal is None else None
        if kept is not None and kept.digest != record.digest:
            found = self._look(known, record.index)
            if found is not None and found.digest != record.digest:
                raise RelayRefusedError(
                    f"another chunk {record.index} is in the folder", code=problems.CONFLICT
                )

    def put_seal(self, parcel: ParcelId, seal: bytes) -> None:
        """Store the seal.  Idempotent.

        Raises RelayRefusedError while chunks are missing, IntegrityError when it is not
        the sender's seal over the chunks that are there.
        """
        known = self._known(parcel)
        with _checked():
            parsed = parse_seal(seal, known.envelope)
        records = {record.index: record for record in self._records(known)}
        missing = known.envelope.chunk_count - len(records)
        if missing:
            raise RelayRefusedError(
                f"{missing} chunks are missing, so the seal is too early", code=problems.INCOMPLETE
            )
        for index, record in records.items():
            parsed.require_chunk(index, record.digest)
        if not known.folder.write_seal(seal) and known.folder.read_seal() != seal:
            if self._sound_seal(known) is not None:
                raise RelayRefusedError("another seal is in the folder", code=problems.CONFLICT)
            known.folder.write_seal(seal, replace=True)  # what lies there was damaged

    # --- both sides ---------------------------------------------------------------------

    def stored(self, parcel: ParcelId) -> Stored:
        """Return what is there; raise NotFoundError when the parcel is unknown."""
        known = self._known(parcel)
        return Stored(
            chunks=tuple(self._records(known)),
            sealed=known.folder.has_seal(),
            receipts=known.folder.receipts(),
            wanted=known.folder.wanted(),
            manifest=known.folder.has_manifest(),
        )

    def wait_for_news(self, parcel: ParcelId, known: Stored, *, seconds: float) -> Stored:
        """Look again and again until something differs from *known*, at most *seconds*."""
        end = time.monotonic() + seconds
        pause = _FIRST_PAUSE
        while (found := self.stored(parcel)) == known:
            left = end - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
        return found

    def get_envelope(self, parcel: ParcelId) -> bytes:
        """Return the envelope; raise NotFoundError when the parcel is unknown."""
        with _checked(TransferError):
            return self._folder(parcel).read_envelope()

    def get_manifest(self, parcel: ParcelId, *, size: int) -> bytes:
        """Return the sealed manifest, of at most *size* octets."""
        with _checked(TransferError):
            return self._folder(parcel).read_manifest(limit=size)

    def get_seal(self, parcel: ParcelId) -> bytes:
        """Return the seal; raise NotFoundError while there is none."""
        with _checked(TransferError):
            return self._folder(parcel).read_seal()

    def get_chunk(self, parcel: ParcelId, index: int, into: memoryview) -> int:
        """Read one sealed chunk into *into*, as it is in the folder; return its size.

        Raises NotFoundError when it is not there (yet), TransferError when it is larger
        than *into*.
        """
        return self._folder(parcel).read_chunk(index, into)

    # --- receiving ----------------------------------------------------------------------

    def inbox(self, *, seconds: float = 0.0) -> tuple[ParcelId, ...]:
        """Return the parcels that wait for this station, oldest first; wait for one."""
        end = time.monotonic() + seconds
        while not (found := self._waiting()) and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LONGEST_PAUSE))
        return found

    def _waiting(self) -> tuple[ParcelId, ...]:
        waiting = []
        for parcel in self._all():
            try:
                known = self._known(parcel)
                if self._waits(known):
                    waiting.append((known.envelope.created, parcel))
            except MedshareError:
                continue  # half written, or damaged: it must not hide the others
        return tuple(parcel for _, parcel in sorted(waiting))

    def _waits(self, known: _Known) -> bool:
        delete_after = known.envelope.delete_after
        return (
            self._station in _recipients(known.envelope)
            and not (delete_after and delete_after <= self._clock())
            and self._station not in known.folder.receipts()
            and (known.folder.has_manifest() or known.folder.has_seal())  # it may be lost
        )

    def want_chunks(self, parcel: ParcelId, indexes: tuple[int, ...]) -> None:
        """Look at the copies of these chunks; remove those that are bad, and ask for them."""
        known = self._known(parcel)
        seal = self._seal(known)
        for index in indexes:
            if not 0 <= index < known.envelope.chunk_count:
                raise RelayRefusedError("the parcel has no such chunk")
            with known.lock:
                if self._look(known, index, seal) is None:
                    known.folder.want(index)
                    known.folder.drop_chunk(index)
                    known.looked.pop(index, None)

    def put_receipt(self, parcel: ParcelId, recipient: StationId, receipt: bytes) -> None:
        """Store the sealed receipt of *recipient*.  Idempotent."""
        known = self._known(parcel)
        if recipient not in _recipients(known.envelope):
            raise RelayRefusedError("the parcel is not addressed to this station")
        if len(receipt) > MAX_SEALED_RECEIPT:
            raise RelayRefusedError("the receipt is too large", code=problems.TOO_LARGE)
        if not known.folder.has_seal():
            raise RelayRefusedError(
                "the parcel has no seal, so there is nothing to receipt", code=problems.INCOMPLETE
            )
        known.folder.write_receipt(recipient, receipt)

    def get_receipt(self, parcel: ParcelId, recipient: StationId) -> bytes:
        """Return the sealed receipt of *recipient*; raise NotFoundError while there is none."""
        with _checked(TransferError):
            return self._folder(parcel).read_receipt(recipient)

    def remove(self, parcel: ParcelId) -> None:
        """Delete a parcel that this station sent, for good.

        Raises NotFoundError when there is none, RelayRefusedError when another sent it.
        """
        known = self._known(parcel)
        if known.envelope.sender != self._station:
            raise RelayRefusedError("only the sender of a parcel removes it")
        with storage_errors("remove a parcel"), opened_folder(self._root) as root:
            shutil.rmtree(parcel.hex(), dir_fd=root)
            sync_folder(root)
        self._parcels.pop(parcel, None)

    def close(self) -> None:
        """Forget what was read; nothing is held open."""
        self._parcels.clear()

    # --- looking ------------------------------------------------------------------------

    def _folder(self, parcel: ParcelId) -> ParcelFolder:
        return ParcelFolder(self._root / parcel.hex(), follow=False, shared=self._shared)

    def _all(self) -> list[ParcelId]:
        with storage_errors("list the folder of parcels"):
            names = [path.name for path in self._root.iterdir()] if self._root.is_dir() else []
        return [parcel_id_from_text(name) for name in names if _PARCEL.fullmatch(name)]

    def _known(self, parcel: ParcelId) -> _Known:
        """Return the parcel with its envelope checked, once; raise NotFoundError otherwise."""
        known = self._parcels.get(parcel)
        if known is None:
            folder = self._folder(parcel)
            with _checked(IntegrityError):
                envelope = parse_envelope(folder.read_envelope())
            if envelope.parcel != parcel:
                raise IntegrityError("the envelope in the folder is that of another parcel")
            made = _Known(envelope, folder, ChunkVerifier(envelope))
            known = self._parcels.setdefault(parcel, made)
        return known

    def _seal(self, known: _Known) -> Seal | None:
        try:
            with _checked(IntegrityError):
                return parse_seal(known.folder.read_seal(), known.envelope)
        except NotFoundError:
            return None

    def _sound_seal(self, known: _Known) -> Seal | None:
        """Return the seal that is there; one that was damaged is none."""
        try:
            return self._seal(known)
        except IntegrityError:
            return None

    def _records(self, known: _Known) -> Iterator[ChunkRecord]:
        """Yield the record of each chunk that is there; read those that nobody kept one of."""
        kept = known.folder.records()
        for index in known.folder.chunk_indexes():
            record = kept.get(index)
            if record is None:
                if index not in known.looked:
                    known.looked[index] = self._look(known, index)
                record = known.looked[index]
            if record is not None:
                yield record

    def _look(self, known: _Known, index: int, seal: Seal | None = None) -> ChunkRecord | None:
        """Read chunk *index* and return its record, or None unless it is good and sealed."""
        buffer = memoryview(bytearray(max_sealed_size(known.envelope.chunk_size)))
        try:
            size = known.folder.read_chunk(index, buffer)
            record = known.verifier.check(index, buffer[:size])
            if seal is not None:
                seal.require_chunk(index, record.digest)
        except (NotFoundError, FormatError, IntegrityError, AuthenticityError):
            return None
        return record


def _recipients(envelope: Envelope) -> set[StationId]:
    """Return who is to receive: not the sender, who wraps the key to itself, unless alone."""
    stations = {stanza.station for stanza in envelope.recipients}
    return stations - {envelope.sender} or stations


def _is_sound(envelope: bytes, parcel: ParcelId) -> bool:
    """Tell whether *envelope* is one of *parcel*, signed, or what damage has left of one."""
    try:
        return parse_envelope(envelope).parcel == parcel
    except (FormatError, AuthenticityError):
        return False


@contextmanager
def _checked(malformed: type[MedshareError] = RelayRefusedError) -> Iterator[None]:
    """Turn what parsing and verifying raise into what a transport may raise."""
    try:
        yield
    except FormatError as error:
        raise malformed(error.message) from error
    except AuthenticityError as error:
        raise IntegrityError(error.message) from error
