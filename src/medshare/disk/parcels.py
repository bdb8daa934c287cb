"""A sealed parcel in a folder: outbox, vault, relay's store and USB stick look alike.

    <parcel>/envelope manifest seal      as docs/format.md has them
    <parcel>/chunks/00000000 …           sealed chunks
    <parcel>/receipts/<station>          sealed receipts
    <parcel>/wanted/00000003             empty: this chunk is asked for again
    <parcel>/records                     digest and signature of each chunk, to look them up

Layout with bounded reading and writing, and no judgement: what is read here is not yet
verified.  Everything is written whole or not at all, and no link inside is followed.
`records` only spares reading every chunk to tell which are there; it may be lost.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from blake3 import blake3

from medshare.chunk import SIGNATURE_SIZE
from medshare.chunking import MAX_CHUNKS
from medshare.digest import DIGEST_SIZE, Digest
from medshare.disk.atomic import (
    READ_FLAGS,
    is_temporary,
    opened_folder,
    read_at,
    storage_error,
    storage_errors,
    sync_folder,
    write_at,
)
from medshare.envelope import MAX_ENVELOPE_SIZE, MAX_SEALED_MANIFEST, ChunkRecord
from medshare.errors import NotFoundError, TransferError
from medshare.ids import StationId, station_id_from_text
from medshare.seal import MAX_SEAL_SIZE
from medshare.wire.routes import MAX_SEALED_RECEIPT, chunk_name

_ENVELOPE: Final = "envelope"
_MANIFEST: Final = "manifest"
_SEAL: Final = "seal"
_CHUNKS: Final = "chunks"
_RECEIPTS: Final = "receipts"
_WANTED: Final = "wanted"
_RECORDS: Final = "records"
_STALE_SECONDS: Final = 3600
_INDEX: Final = re.compile(r"[0-9]{8}")
_STATION: Final = re.compile(r"[0-9a-f]{64}")
_CHECK_SIZE: Final = 8
_SLOT_SIZE: Final = DIGEST_SIZE + SIGNATURE_SIZE + _CHECK_SIZE


class ParcelFolder:
    """One parcel at *path*, which may be a link only where *follow* is on.

    What is made is for this user alone, or with *shared* for all whom the umask lets in.
    Holds nothing open; safe to share.  All methods raise StorageError; those that read
    raise NotFoundError for what is not there, LimitError for what the format does not allow.
    """

    def __init__(self, path: Path, *, follow: bool = True, shared: bool = False) -> None:
        self.path = path
        self._follow = follow
        self._folder_mode = 0o777 if shared else 0o700
        self._file_mode = 0o666 if shared else 0o600

    def make(self) -> None:
        """Let the folder and those inside exist; remove what interrupted writing left there."""
        with storage_errors("make a parcel folder"):
            self.path.mkdir(self._folder_mode, exist_ok=True)
            with self._opened() as folder:
                for name in (_CHUNKS, _RECEIPTS, _WANTED):
                    with suppress(FileExistsError):
                        os.mkdir(name, self._folder_mode, dir_fd=folder)
                sync_folder(folder)
            for name in ("", _CHUNKS, _RECEIPTS):
                with self._opened(name) as folder:
                    _remove_stale(folder)

    # --- reading ------------------------------------------------------------------------

    def read_envelope(self) -> bytes:
        """Return the envelope's octets."""
        return self._read("", _ENVELOPE, MAX_ENVELOPE_SIZE, "the envelope")

    def read_manifest(self, *, limit: int = MAX_SEALED_MANIFEST) -> bytes:
        """Return the octets of the sealed manifest, at most *limit*."""
        return self._read("", _MANIFEST, limit, "the manifest")

    def read_seal(self) -> bytes:
        """Return the seal's octets."""
        return self._read("", _SEAL, MAX_SEAL_SIZE, "the seal")

    def read_receipt(self, station: StationId) -> bytes:
        """Return the octets of the sealed receipt of *station*."""
        return self._read(_RECEIPTS, station.hex(), MAX_SEALED_RECEIPT, "the receipt")

    def read_chunk(self, index: int, into: memoryview) -> int:
        """Read sealed chunk *index* into *into*; return its size.

        Raises TransferError when it is larger than *into*.
        """
        what = f"chunk {index}"
        with _reading(what), self._opened(_CHUNKS) as folder:
            file = os.open(chunk_name(index), READ_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
            try:
                size = _fill(file, into)
                if size == len(into) and os.read(file, 1):
                    raise TransferError(f"{what} is larger than its parcel allows")
                return size
            finally:
                os.close(file)

    def has_manifest(self) -> bool:
        """Tell whether the sealed manifest is there."""
        return _MANIFEST in self._names("")

    def has_seal(self) -> bool:
        """Tell whether the seal is there."""
        return _SEAL in self._names("")

    def chunk_indexes(self) -> list[int]:
        """Return the indexes of the chunks that are there, ascending."""
        return self._indexes(_CHUNKS)

    def wanted(self) -> tuple[int, ...]:
        """Return the indexes of the chunks that are asked for again, ascending."""
        return tuple(self._indexes(_WANTED))

    def receipts(self) -> tuple[StationId, ...]:
        """Return the stations whose receipt is there."""
        found = sorted(name for name in self._names(_RECEIPTS) if _STATION.fullmatch(name))
        return tuple(station_id_from_text(name) for name in found)

    def records(self) -> dict[int, ChunkRecord]:
        """Return the records that were kept of chunks, by index; they prove nothing."""
        try:
            data = self._read("", _RECORDS, MAX_CHUNKS * _SLOT_SIZE, "the records")
        except NotFoundError:
            return {}
        found = {}
        for index in range(len(data) // _SLOT_SIZE):
            record = _parse_slot(index, data[index * _SLOT_SIZE : (index + 1) * _SLOT_SIZE])
            if record is not None:
                found[index] = record
        return found

    def record(self, index: int) -> ChunkRecord | None:
        """Return the record that was kept of chunk *index*, if any; it proves nothing."""
        with storage_errors("read the records"), self._opened() as folder:
            try:
                file = os.open(_RECORDS, READ_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
            except FileNotFoundError:
                return None
            try:
                slot = os.pread(file, _SLOT_SIZE, index * _SLOT_SIZE)
            finally:
                os.close(file)
        return _parse_slot(index, slot)

    def _read(self, inside: str, name: str, limit: int, what: str) -> bytes:
        with _reading(what), self._opened(inside) as folder:
            return read_at(folder, name, limit=limit, what=what)

    def _indexes(self, inside: str) -> list[int]:
        names = (name for name in self._names(inside) if _INDEX.fullmatch(name))
        return sorted(index for index in map(int, names) if index < MAX_CHUNKS)

    def _names(self, inside: str) -> list[str]:
        try:
            with _reading("the parcel"), self._opened(inside) as folder:
                return os.listdir(folder)
        except NotFoundError:
            if inside:
                return []
            raise

    # --- writing ------------------------------------------------------------------------

    def write_envelope(self, data: bytes, *, replace: bool = False) -> bool:
        """Store the envelope for good; return False when there is one that may not be replaced."""
        return self._write("", _ENVELOPE, data, replace=replace)

    def write_manifest(self, data: bytes) -> None:
        """Store the sealed manifest."""
        self._write("", _MANIFEST, data)

    def write_seal(self, data: bytes, *, replace: bool = False) -> bool:
        """Store the seal for good; return False when there is one that may not be replaced."""
        return self._write("", _SEAL, data, replace=replace)

    def write_receipt(self, station: StationId, data: bytes) -> None:
        """Store the sealed receipt of *station*."""
        self._write(_RECEIPTS, station.hex(), data)

    def write_chunk(self, record: ChunkRecord, sealed: memoryview) -> None:
        """Store a verified chunk with its record; nobody asks for it any more."""
        self._write(_CHUNKS, chunk_name(record.index), sealed)
        self.keep_record(record)
        self._remove(_WANTED, chunk_name(record.index))

    def keep_record(self, record: ChunkRecord) -> None:
        """Remember the record of a chunk that is there."""
        self._write_slot(record.index, _slot(record))

    def want(self, index: int) -> None:
        """Note that chunk *index* is asked for again."""
        self._write(_WANTED, chunk_name(index), b"")

    def drop_chunk(self, index: int) -> None:
        """Remove a damaged chunk and its record."""
        self._write_slot(index, bytes(_SLOT_SIZE))
        self._remove(_CHUNKS, chunk_name(index))

    def _write(
        self, inside: str, name: str, data: bytes | memoryview, *, replace: bool = True
    ) -> bool:
        what = "write into the parcel folder"
        with storage_errors(what), self._opened(inside, make=True) as folder:
            try:
                write_at(folder, name, data, mode=self._file_mode, replace=replace)
            except FileExistsError:
                return False
            return True

    def _remove(self, inside: str, name: str) -> None:
        absent = suppress(FileNotFoundError)
        what = storage_errors("remove from the parcel folder")
        with what, absent, self._opened(inside) as folder:
            os.unlink(name, dir_fd=folder)
            sync_folder(folder)

    def _write_slot(self, index: int, slot: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with storage_errors("write into the parcel folder"), self._opened() as folder:
            file = os.open(_RECORDS, flags, self._file_mode, dir_fd=folder)
            try:
                os.pwrite(file, slot, index * _SLOT_SIZE)
            finally:
                os.close(file)

    @contextmanager
    def _opened(self, inside: str = "", *, make: bool = False) -> Iterator[int]:
        """Yield the open parcel folder, or the folder *inside* it, made if need be."""
        with opened_folder(self.path, follow=self._follow) as folder:
            if not inside:
                yield folder
                return
            if make:
                with suppress(FileExistsError):
                    os.mkdir(inside, self._folder_mode, dir_fd=folder)
            with opened_folder(inside, inside=folder) as child:
                yield child


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"{what} is not in the parcel folder") from error
    except OSError as error:
        raise storage_error(error, f"read {what}") from error


def _fill(file: int, into: memoryview) -> int:
    filled = 0
    while filled < len(into) and (count := os.readv(file, [into[filled:]])):
        filled += count
    return filled


def _slot(record: ChunkRecord) -> bytes:
    body = record.digest.value + record.signature
    return body + _slot_check(record.index, body)


def _parse_slot(index: int, slot: bytes) -> ChunkRecord | None:
    body = slot[:-_CHECK_SIZE]
    if len(slot) < _SLOT_SIZE or slot[-_CHECK_SIZE:] != _slot_check(index, body):
        return None
    return ChunkRecord(index, Digest(body[:DIGEST_SIZE]), body[DIGEST_SIZE:])


def _slot_check(index: int, body: bytes) -> bytes:
    """Return what tells a record from one that was torn, or stands in another's place."""
    return blake3(index.to_bytes(4) + body).digest(length=_CHECK_SIZE)


def remove_stale(path: Path) -> None:
    """Remove what interrupted writing left in the folder *path* itself; raise StorageError."""
    absent = suppress(FileNotFoundError)
    with storage_errors("tidy a parcel folder"), absent, opened_folder(path) as folder:
        _remove_stale(folder)


def _remove_stale(folder: int) -> None:
    """Delete temporary files so old that nobody can still be writing them."""
    for name in os.listdir(folder):
        if is_temporary(name):
            with suppress(FileNotFoundError, IsADirectoryError):
                age = time.time() - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
                if age > _STALE_SECONDS:
                    os.unlink(name, dir_fd=folder)
