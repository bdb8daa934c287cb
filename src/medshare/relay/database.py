"""What the relay knows, in SQLite: so that no folder must be searched to answer.

Files are the truth about octets, this is the truth about claims: a row is written after its
file is durable, and durable itself (WAL, synchronous=FULL) before the answer goes out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from medshare.digest import Digest
from medshare.envelope import ChunkRecord, Envelope
from medshare.ids import ParcelId, StationId
from medshare.relay.sqlite_file import Layout, SqliteFile, Transaction

_SCHEMA: Final = """
CREATE TABLE parcels (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    parcel BLOB NOT NULL UNIQUE,
    sender BLOB NOT NULL,
    envelope BLOB NOT NULL,              -- digest of the envelope
    chunks INTEGER NOT NULL,             -- how many it has
    delete_after INTEGER NOT NULL,       -- seconds since 1970, 0 for never
    announced INTEGER NOT NULL,
    manifest INTEGER NOT NULL DEFAULT 0, -- whether it is here
    seal BLOB,                           -- digest of the seal
    gone INTEGER,                        -- when it was removed
    size INTEGER NOT NULL,               -- octets of all its files
    epoch INTEGER NOT NULL,              -- grows when a part is lost, never shared
    revision INTEGER NOT NULL DEFAULT 0  -- grows with everything
) STRICT;
CREATE INDEX parcels_of_sender ON parcels (sender) WHERE gone IS NULL AND seal IS NULL;
CREATE INDEX parcels_to_expire ON parcels (delete_after) WHERE gone IS NULL AND delete_after > 0;
CREATE TABLE recipients (
    station BLOB NOT NULL,
    number INTEGER NOT NULL REFERENCES parcels,
    receipt INTEGER,                     -- octets of the sealed receipt
    PRIMARY KEY (station, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX recipients_of_parcel ON recipients (number);
CREATE TABLE chunks (
    number INTEGER NOT NULL REFERENCES parcels,
    place INTEGER NOT NULL,
    size INTEGER NOT NULL,
    digest BLOB NOT NULL,
    signature BLOB NOT NULL,
    held INTEGER NOT NULL,               -- 0: was here, is wanted again
    revision INTEGER NOT NULL,
    PRIMARY KEY (number, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX chunks_by_revision ON chunks (number, revision);
CREATE TABLE nonces (
    station BLOB NOT NULL,
    nonce TEXT NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (station, nonce)
) STRICT, WITHOUT ROWID;
"""
_EPOCH_SHIFT: Final = 20
_LAYOUT: Final = Layout(
    _SCHEMA, version=1, otherwise="the data folder was used by another version of the relay"
)
_PARCEL: Final = (
    "SELECT number, parcel, sender, envelope, chunks, delete_after, manifest, seal, gone, size,"
    " epoch, revision FROM parcels"
)
_CHUNK: Final = "SELECT place, size, digest, signature, held FROM chunks"
_RECORD: Final = "SELECT place, digest, signature FROM chunks"


@dataclass(frozen=True, slots=True)
class ParcelRow:
    """One parcel; see the schema for what the columns mean."""

    number: int
    parcel: ParcelId
    sender: StationId
    envelope: bytes
    chunks: int
    delete_after: int
    manifest: bool
    seal: bytes | None
    gone: int | None
    size: int
    epoch: int
    revision: int

    @property
    def tag(self) -> str:
        """Names the state that this row is part of."""
        return f"{self.epoch}.{self.revision}"


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """One chunk that is here, or was and is wanted again."""

    index: int
    size: int
    digest: Digest
    signature: bytes
    held: bool


class Database(SqliteFile["View", "Change"]):
    """All of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _LAYOUT, view=View, change=Change)


class View(Transaction):
    """What can be asked within one transaction."""

    def parcel(self, parcel: ParcelId) -> ParcelRow | None:
        """Return the row of *parcel*, also when it is gone."""
        rows = self._all(f"{_PARCEL} WHERE parcel = ?", parcel)
        return _parcel_row(rows[0]) if rows else None

    def parcels(self) -> list[ParcelRow]:
        """Return all parcels, those that are gone among them."""
        return [_parcel_row(row) for row in self._all(f"{_PARCEL} ORDER BY number")]

    def expired(self, now: int) -> list[ParcelRow]:
        """Return the parcels whose time is over."""
        found = self._all(
            f"{_PARCEL} WHERE gone IS NULL AND delete_after > 0 AND delete_after <= ?", now
        )
        return [_parcel_row(row) for row in found]

    def receipts(self, number: int) -> dict[StationId, int | None]:
        """Return the recipients of a parcel, and the octets of the receipt of each."""
        found = self._all("SELECT station, receipt FROM recipients WHERE number = ?", number)
        return {StationId(station): receipt for station, receipt in found}

    def open_parcels(self, sender: StationId) -> int:
        """Return how many parcels of *sender* have no seal yet."""
        ((count,),) = self._all(
            "SELECT count(*) FROM parcels WHERE sender = ? AND gone IS NULL AND seal IS NULL",
            sender,
        )
        return int(count)

    def chunk(self, number: int, index: int) -> ChunkRow | None:
        """Return the row of a chunk."""
        rows = self._chunks("WHERE number = ? AND place = ?", number, index)
        return rows[0] if rows else None

    def chunks(self, number: int) -> list[ChunkRow]:
        """Return all chunks of a parcel, in order."""
        return self._chunks("WHERE number = ? ORDER BY place", number)

    def _chunks(self, where: str, *values: Any) -> list[ChunkRow]:
        found = self._all(f"{_CHUNK} {where}", *values)
        return [
            ChunkRow(place, size, Digest(digest), signature, bool(held))
            for place, size, digest, signature, held in found
        ]

    def records(self, number: int, *, after: int) -> tuple[ChunkRecord, ...]:
        """Return the chunks that came after revision *after* and are here, in order."""
        found = self._all(
            f"{_RECORD} WHERE number = ? AND revision > ? AND held = 1 ORDER BY place",
            number,
            after,
        )
        return tuple(ChunkRecord(place, Digest(d), signature) for place, d, signature in found)

    def wanted(self, number: int) -> tuple[int, ...]:
        """Return the chunks that are wanted again, in order."""
        found = self._all(
            "SELECT place FROM chunks WHERE number = ? AND held = 0 ORDER BY place", number
        )
        return tuple(place for (place,) in found)

    def inbox(
        self, station: StationId, *, after: int, now: int, limit: int
    ) -> list[tuple[int, ParcelId]]:
        """Return number and id of what waits for *station*, oldest first."""
        found = self._all(
            "SELECT number, parcel FROM recipients JOIN parcels USING (number)"
            " WHERE station = ? AND number > ? AND receipt IS NULL"
            # Without its manifest a parcel was just announced, unless it has got further before.
            " AND (manifest = 1 OR seal IS NOT NULL"
            " OR EXISTS (SELECT 1 FROM chunks WHERE chunks.number = parcels.number))"
            " AND gone IS NULL AND (delete_after = 0 OR delete_after > ?)"
            " ORDER BY number LIMIT ?",
            station,
            after,
            now,
            limit,
        )
        return [(number, ParcelId(parcel)) for number, parcel in found]


class Change(View):
    """What can be changed within one transaction."""

    def add_parcel(
        self, envelope: Envelope, recipients: Sequence[StationId], *, size: int, now: int
    ) -> int:
        """Enter a parcel; return its number."""
        cursor = self._sqlite.execute(
            "INSERT INTO parcels"
            " (parcel, sender, envelope, chunks, delete_after, announced, size, epoch)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                envelope.parcel,
                envelope.sender,
                envelope.digest.value,
                envelope.chunk_count,
                envelope.delete_after,
                now,
                size,
                now << _EPOCH_SHIFT,
            ),
        )
        number = int(cursor.lastrowid or 0)
        self._sqlite.executemany(
            "INSERT INTO recipients (station, number) VALUES (?, ?)",
            [(station, number) for station in recipients],
        )
        return number

    def advance(self, number: int, *, size: int = 0, epoch: int = 0) -> int | None:
        """Count *size* octets more; return the parcel's new revision, None if it is gone."""
        found = self._all(
            "UPDATE parcels SET revision = revision + 1, size = size + ?, epoch = epoch + ?"
            " WHERE number = ? AND gone IS NULL RETURNING revision",
            size,
            epoch,
            number,
        )
        return int(found[0][0]) if found else None

    def set_manifest(self, number: int, *, here: bool) -> None:
        """Note whether the manifest is here."""
        self._sqlite.execute(
            "UPDATE parcels SET manifest = ? WHERE number = ?", (int(here), number)
        )

    def set_seal(self, number: int, seal: Digest | None) -> None:
        """Note that the seal is here, or is not."""
        self._sqlite.execute(
            "UPDATE parcels SET seal = ? WHERE number = ?", (seal and seal.value, number)
        )

    def set_chunk(self, number: int, record: ChunkRecord, *, size: int, revision: int) -> None:
        """Note that a chunk is here, in place of what was noted before."""
        self._sqlite.execute(
            "INSERT OR REPLACE INTO chunks (number, place, size, digest, signature, held, revision)"
            " VALUES (?, ?, ?, ?, ?, 1, ?)",
            (number, record.index, size, record.digest.value, record.signature, revision),
        )

    def drop_chunk(self, number: int, index: int) -> None:
        """Note that a chunk is no longer here, and wanted again."""
        self._sqlite.execute(
            "UPDATE chunks SET held = 0 WHERE number = ? AND place = ?", (number, index)
        )

    def want_chunk(self, number: int, index: int, digest: Digest) -> None:
        """Note that the chunk with *digest* belongs in a place, and is not here."""
        self._sqlite.execute(
            "INSERT OR REPLACE INTO chunks (number, place, size, digest, signature, held, revision)"
            " VALUES (?, ?, 0, ?, x'', 0, 0)",
            (number, index, digest.value),
        )

    def set_receipt(self, number: int, station: StationId, *, size: int | None) -> None:
        """Note that a receipt of *size* octets is here, or that none is."""
        self._sqlite.execute(
            "UPDATE recipients SET receipt = ? WHERE number = ? AND station = ?",
            (size, number, station),
        )

    def set_size(self, number: int, size: int) -> None:
        """Note how many octets all files of a parcel have."""
        self._sqlite.execute("UPDATE parcels SET size = ? WHERE number = ?", (size, number))

    def forget(self, number: int) -> None:
        """Let a parcel never have been here."""
        for table in ("chunks", "recipients", "parcels"):
            self._sqlite.execute(f"DELETE FROM {table} WHERE number = ?", (number,))  # noqa: S608  # no input

    def set_gone(self, number: int, *, now: int) -> None:
        """Note that the parcel is no longer here; its id stays taken."""
        self._sqlite.execute(
            "UPDATE parcels SET gone = ?, size = 0 WHERE number = ?", (now, number)
        )
        self._sqlite.execute("DELETE FROM chunks WHERE number = ?", (number,))

    def use_nonce(self, station: StationId, nonce: str, *, expires: int, now: int) -> bool:
        """Remember *nonce* until *expires*; return False when it was used before."""
        self._sqlite.execute("DELETE FROM nonces WHERE expires < ?", (now,))
        cursor = self._sqlite.execute(
            "INSERT OR IGNORE INTO nonces (station, nonce, expires) VALUES (?, ?, ?)",
            (station, nonce, expires),
        )
        return cursor.rowcount == 1


def _parcel_row(row: tuple[Any, ...]) -> ParcelRow:
    number, parcel, sender, envelope, chunks, delete_after, manifest, *rest = row
    return ParcelRow(
        number, ParcelId(parcel), StationId(sender), envelope, chunks, delete_after, bool(manifest),
        *rest,
    )  # fmt: skip
