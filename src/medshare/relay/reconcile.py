"""What a relay does before it answers anybody: make database and folder agree.

A crash may leave temporary files, a file whose row was not written, or a row whose file went
with the power.  Files are verified as if they had just arrived, rows without files dropped;
what a seal names and is not here becomes wanted.  Even without its database the relay comes
back with everything but the memory of what was removed.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from medshare.chunk import HEADER_SIZE, SIGNATURE_SIZE
from medshare.chunking import MAX_CHUNKS
from medshare.digest import Digest
from medshare.disk.atomic import read_file, storage_errors
from medshare.envelope import MAX_ENVELOPE_SIZE, Envelope, parse_envelope
from medshare.errors import FormatError, MedshareError, StorageError
from medshare.ids import ParcelId, parcel_id_from_text
from medshare.relay.database import Change, ChunkRow, Database, ParcelRow
from medshare.relay.files import read_back
from medshare.relay.folder import DataFolder, ParcelPaths, is_temporary
from medshare.relay.parcels import Entry, Parcels, recipients_of
from medshare.relay.parts import check_chunk
from medshare.seal import MAX_SEAL_SIZE, parse_seal
from medshare.trust.lineage import require_lawful
from medshare.wire.routes import chunk_name

_log = logging.getLogger("medshare.relay")


def reconcile(folder: DataFolder, database: Database, parcels: Parcels) -> None:
    """Make database and folder agree; afterwards the quotas are counted.

    Raises StorageError when the disk does not let it.
    """
    with storage_errors("look through the stored parcels"):
        present = set(_parcels_in(folder.parcels))
        with database.reading() as view:
            rows = {row.parcel: row for row in view.parcels()}
        for parcel in sorted(present | rows.keys()):
            row = rows.get(parcel)
            if row is None or row.gone is None:
                _settle(folder.parcel(parcel), parcel, row, database, parcels)
            elif parcel in present:
                folder.parcel(parcel).remove()
        parcels.grants.count_kept()


def _parcels_in(path: Path) -> Iterator[ParcelId]:
    for name in sorted(os.listdir(path)):  # noqa: PTH208  # names, not paths
        try:
            yield parcel_id_from_text(name)
        except FormatError:
            _log.warning("the folder of parcels holds something that is no parcel")


def _settle(
    folder: ParcelPaths,
    parcel: ParcelId,
    row: ParcelRow | None,
    database: Database,
    parcels: Parcels,
) -> None:
    envelope = _envelope(folder, parcel)
    with database.writing() as change:
        if envelope is None or (row is not None and row.envelope != envelope.digest.value):
            _log.warning("parcel %s has lost its envelope and is dropped", parcel.hex())
            if row is not None:
                change.forget(row.number)
            folder.remove()
            return
        if row is None:
            recipients = sorted(recipients_of(envelope))
            change.add_parcel(envelope, recipients, size=0, now=parcels.now())
            row = change.parcel(parcel)
        if row is None:
            raise StorageError("a parcel could not be entered into the database")
        folder.make()
        for place in (folder.path, folder.chunks, folder.receipts, folder.openings):
            _remove_temporary(place)
        size = _Settlement(change, row, parcels.remember(row, envelope)).settle()
        change.set_size(row.number, size)
    parcels.ledger.enter(envelope.sender, parcel, size)


def _envelope(folder: ParcelPaths, parcel: ParcelId) -> Envelope | None:
    try:
        data = read_file(folder.envelope, limit=MAX_ENVELOPE_SIZE, what="an envelope")
        envelope = parse_envelope(data)
        require_lawful(envelope)
    except MedshareError as error:
        if isinstance(error.__cause__, OSError) and folder.envelope.exists():
            raise  # the disk fails: nothing may be concluded
        return None
    return envelope if envelope.parcel == parcel else None


def _remove_temporary(place: Path) -> None:
    if not place.exists():
        return
    for name in os.listdir(place):  # noqa: PTH208  # names, not paths
        if is_temporary(name):
            (place / name).unlink()


class _Settlement:
    """One parcel that is here."""

    def __init__(self, change: Change, row: ParcelRow, entry: Entry) -> None:
        self._change = change
        self._row = row
        self._entry = entry
        self._lost = False

    def settle(self) -> int:
        """Make rows and files agree; return the octets of all files."""
        size = self._entry.folder.envelope.stat().st_size
        size += self._manifest() + self._chunks() + self._seal() + self._receipts()
        if self._lost:
            self._change.advance(self._row.number, epoch=1)
        return size

    def _manifest(self) -> int:
        path, envelope = self._entry.folder.manifest, self._entry.envelope
        size = _size(path)
        if size is not None and not (self._row.manifest and size == envelope.manifest_size):
            found = read_back(path, envelope.cipher_suite)
            if found is None or found.digest != envelope.manifest_digest:
                path.unlink()
                size = None
        if self._row.manifest != (size is not None):
            self._change.set_manifest(self._row.number, here=size is not None)
            self._lost = True
        return size or 0

    def _chunks(self) -> int:
        rows = {row.index: row for row in self._change.chunks(self._row.number)}
        files = dict(_numbered(self._entry.folder.chunks))
        total = 0
        for index in sorted(rows.keys() | files.keys()):
            row, size = rows.get(index), files.get(index)
            if self._is_settled(row, size) or (size is not None and self._adopt(index, row)):
                total += size or 0
            else:
                self._drop(index, row)
        return total

    @staticmethod
    def _is_settled(row: ChunkRow | None, size: int | None) -> bool:
        return row is not None and row.held and row.size == size

    def _adopt(self, index: int, row: ChunkRow | None) -> bool:
        """Enter the chunk that lies there if it is one; tell whether it was."""
        envelope = self._entry.envelope
        found = read_back(
            self._entry.folder.chunk(index), envelope.cipher_suite, tail=SIGNATURE_SIZE
        )
        if found is None or found.size <= HEADER_SIZE + SIGNATURE_SIZE:
            return False
        try:
            record = check_chunk(self._entry, index, found)
        except MedshareError:
            return False
        if row is not None and self._row.seal is not None and row.digest != record.digest:
            return False
        revision = self._change.advance(self._row.number) or 0
        self._change.set_chunk(self._row.number, record, size=found.size, revision=revision)
        return True

    def _drop(self, index: int, row: ChunkRow | None) -> None:
        self._entry.folder.chunk(index).unlink(missing_ok=True)
        if row is not None and row.held:
            self._change.drop_chunk(self._row.number, index)
            self._lost = True

    def _seal(self) -> int:
        path = self._entry.folder.seal
        size = _size(path)
        digest = None if size is None else self._seal_digest(path)
        if size is not None and digest is None:
            path.unlink()
            size = None
        if (digest and digest.value) != self._row.seal:
            self._change.set_seal(self._row.number, digest)
            self._lost = True
        return size or 0

    def _seal_digest(self, path: Path) -> Digest | None:
        """Return the digest of the seal that lies there, or None when it is not good.

        A seal is stored only when all its chunks are here: one without a row is that of a
        lost database, and chunks that it names and that are not here are wanted.
        """
        try:
            data = read_file(path, limit=MAX_SEAL_SIZE, what="a seal")
            seal = parse_seal(data, self._entry.envelope)
            if self._row.seal is None:
                held = {row.index: row for row in self._change.chunks(self._row.number) if row.held}
                for index, row in held.items():
                    seal.require_chunk(index, row.digest)
                for index in set(range(len(seal.chunks))) - held.keys():
                    self._change.want_chunk(self._row.number, index, seal.chunks[index])
        except MedshareError:
            return None
        return seal.digest if self._row.seal in {None, seal.digest.value} else None

    def _receipts(self) -> int:
        total = 0
        for station, noted in self._change.receipts(self._row.number).items():
            size = _size(self._entry.folder.receipt(station))
            if size != noted:
                self._change.set_receipt(self._row.number, station, size=size)
                self._lost = True
            total += size or 0
        return total


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _numbered(folder: Path) -> Iterator[tuple[int, int]]:
    """Yield index and size of every file that is named as a chunk."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.isdecimal() and entry.name.isascii() and len(entry.name) == 8:
                index = int(entry.name)
                if index < MAX_CHUNKS and entry.name == chunk_name(index):
                    yield index, entry.stat(follow_symlinks=False).st_size
