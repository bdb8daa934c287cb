"""Second factors and sessions in SQLite: a file of its own, which nothing can rebuild.

`relay.sqlite3` may be moved away, for it is made again from the folder of parcels; what is here
may not.  A relay of before there were second factors has no such file, and gets an empty one.
Each change is durable (WAL, synchronous=FULL) before the answer that speaks of it goes out.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from medshare.errors import StorageError
from medshare.ids import StationId
from medshare.relay.sqlite_file import Layout, SqliteFile, Transaction

FILE: Final = "access.sqlite3"
_SCHEMA: Final = """
CREATE TABLE stations (
    station BLOB PRIMARY KEY,
    failures INTEGER NOT NULL,           -- attempts that failed since the last that did not
    retry_at INTEGER NOT NULL,           -- seconds since 1970 before which none is looked at
    locked INTEGER NOT NULL              -- 1: only a recovery code, or the operator, helps
) STRICT, WITHOUT ROWID;
CREATE TABLE invitations (
    station BLOB PRIMARY KEY,
    hash BLOB NOT NULL,                  -- SHA-256 of the enrolment secret, of 120 random bits
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE factors (
    factor BLOB PRIMARY KEY,
    station BLOB NOT NULL,
    kind TEXT NOT NULL,
    created INTEGER NOT NULL,
    used INTEGER NOT NULL,
    active INTEGER NOT NULL,             -- 0: begun, and not yet shown to work
    secret BLOB NOT NULL,                -- sealed TOTP secret, or public credential of FIDO2
    counter INTEGER NOT NULL,            -- last time step, or last signature counter
    challenge BLOB NOT NULL,             -- of a FIDO2 factor that was begun
    origin TEXT NOT NULL                 -- of a FIDO2 factor: where it was made, and is used
) STRICT, WITHOUT ROWID;
CREATE INDEX factors_of_station ON factors (station);
CREATE TABLE recovery (
    station BLOB NOT NULL,
    place INTEGER NOT NULL,
    salt BLOB NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (station, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE challenges (
    station BLOB PRIMARY KEY,
    challenge BLOB NOT NULL,
    origin TEXT NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE sessions (
    hash BLOB PRIMARY KEY,               -- SHA-256 of the id, of 256 random bits
    station BLOB NOT NULL,
    key BLOB NOT NULL,                   -- SHA-256 of the key that must sign its requests
    created INTEGER NOT NULL,
    used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_of_station ON sessions (station);
"""
_LAYOUT: Final = Layout(
    _SCHEMA, version=1, otherwise="the second factors were stored by another version of the relay"
)
_FACTOR: Final = (
    "SELECT factor, station, kind, created, used, active, secret, counter, challenge, origin"
    " FROM factors"
)


@dataclass(frozen=True, slots=True)
class FactorRow:
    """One factor; see the schema for what the columns mean."""

    factor: bytes
    station: StationId
    kind: str
    created: int
    used: int = 0
    active: bool = False
    secret: bytes = b""
    counter: int = 0
    challenge: bytes = b""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Attempts:
    """How a station has fared at its second factor."""

    failures: int = 0
    retry_at: int = 0
    locked: bool = False


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session."""

    hash: bytes
    station: StationId
    key: bytes
    created: int
    used: int


class FactorStore(SqliteFile["FactorView", "FactorChange"]):
    """All of it; other processes (`medshare relay enroll`) may write meanwhile."""

    def __init__(self, folder: Path) -> None:
        try:
            super().__init__(folder / FILE, _LAYOUT, view=FactorView, change=FactorChange)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(error) from error


def _unusable(error: Exception) -> StorageError:
    return StorageError(
        f"the database of second factors cannot be used: {error}",
        hint=f"restore {FILE} from a backup; without it, reset the second factor of each person",
    )


class FactorView(Transaction):
    """What can be asked within one transaction."""

    def factors(self, station: StationId) -> list[FactorRow]:
        """Return the factors of *station*, those that were only begun among them."""
        return [_row(one) for one in self._all(f"{_FACTOR} WHERE station = ?", station)]

    def persons(self) -> frozenset[StationId]:
        """Return the stations that have factors, or were invited to add one."""
        found = self._all("SELECT station FROM factors UNION SELECT station FROM invitations")
        return frozenset(StationId(station) for (station,) in found)

    def attempts(self, station: StationId) -> Attempts:
        """Return how *station* has fared."""
        found = self._all(
            "SELECT failures, retry_at, locked FROM stations WHERE station = ?", station
        )
        return Attempts(found[0][0], found[0][1], bool(found[0][2])) if found else Attempts()

    def invitation(self, station: StationId) -> tuple[bytes, int] | None:
        """Return the hash of the enrolment secret of *station*, and when it expires."""
        found = self._all("SELECT hash, expires FROM invitations WHERE station = ?", station)
        return (found[0][0], found[0][1]) if found else None

    def recovery(self, station: StationId, place: int) -> tuple[bytes, bytes] | None:
        """Return salt and hash of the recovery code in *place*, unless it was used."""
        found = self._all(
            "SELECT salt, hash FROM recovery WHERE station = ? AND place = ?", station, place
        )
        return (found[0][0], found[0][1]) if found else None

    def recovery_left(self, station: StationId) -> int:
        """Return how many recovery codes were not used."""
        ((count,),) = self._all("SELECT count(*) FROM recovery WHERE station = ?", station)
        return int(count)

    def challenge(self, station: StationId) -> tuple[bytes, str, int] | None:
        """Return the challenge that *station* was given, for which origin, and until when."""
        found = self._all(
            "SELECT challenge, origin, expires FROM challenges WHERE station = ?", station
        )
        return (found[0][0], found[0][1], found[0][2]) if found else None

    def session(self, digest: bytes) -> SessionRow | None:
        """Return the session whose id has this hash."""
        found = self._all(
            "SELECT hash, station, key, created, used FROM sessions WHERE hash = ?", digest
        )
        return SessionRow(*found[0]) if found else None


class FactorChange(FactorView):
    """What can be changed within one transaction."""

    def _do(self, statement: str, *values: Any) -> None:
        self._sqlite.execute(statement, values)

    def set_attempts(self, station: StationId, attempts: Attempts) -> None:
        """Note how *station* has fared."""
        self._do(
            "INSERT OR REPLACE INTO stations (station, failures, retry_at, locked)"
            " VALUES (?, ?, ?, ?)",
            station,
            attempts.failures,
            attempts.retry_at,
            int(attempts.locked),
        )

    def invite(self, station: StationId, digest: bytes, *, expires: int) -> None:
        """Let an enrolment secret with this hash hold, and no other, nor what another began."""
        self._do("DELETE FROM factors WHERE station = ? AND active = 0", station)
        self._do("INSERT OR REPLACE INTO invitations VALUES (?, ?, ?)", station, digest, expires)

    def end_invitation(self, station: StationId) -> None:
        """Let no enrolment secret hold any longer."""
        self._do("DELETE FROM invitations WHERE station = ?", station)

    def add_factor(self, row: FactorRow) -> None:
        """Enter a factor that was begun, in place of others that were only begun."""
        self._do("DELETE FROM factors WHERE station = ? AND active = 0", row.station)
        self._do(
            "INSERT INTO factors VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row.factor, row.station, row.kind, row.created, row.used, int(row.active),
            row.secret, row.counter, row.challenge, row.origin,
        )  # fmt: skip

    def finish_factor(self, factor: bytes, *, secret: bytes, counter: int, now: int) -> None:
        """Let a factor that was begun count from now on."""
        self._do(
            "UPDATE factors SET active = 1, challenge = x'', secret = ?, counter = ?, used = ?"
            " WHERE factor = ?",
            secret,
            counter,
            now,
            factor,
        )

    def use_factor(self, factor: bytes, *, counter: int, now: int) -> None:
        """Note that a factor was used, and with which step or counter."""
        self._do("UPDATE factors SET counter = ?, used = ? WHERE factor = ?", counter, now, factor)

    def remove_factor(self, factor: bytes) -> None:
        """Forget a factor."""
        self._do("DELETE FROM factors WHERE factor = ?", factor)

    def set_recovery(self, station: StationId, codes: list[tuple[bytes, bytes]]) -> None:
        """Let these recovery codes, each as salt and hash, take the place of all others."""
        self._do("DELETE FROM recovery WHERE station = ?", station)
        rows = [(station, place, salt, digest) for place, (salt, digest) in enumerate(codes)]
        self._sqlite.executemany("INSERT INTO recovery VALUES (?, ?, ?, ?)", rows)

    def use_recovery(self, station: StationId, place: int) -> None:
        """Let a recovery code be used up."""
        self._do("DELETE FROM recovery WHERE station = ? AND place = ?", station, place)

    def set_challenge(
        self, station: StationId, challenge: bytes, origin: str, *, expires: int
    ) -> None:
        """Let *challenge* be the one that *station* may answer."""
        self._do(
            "INSERT OR REPLACE INTO challenges VALUES (?, ?, ?, ?)",
            station,
            challenge,
            origin,
            expires,
        )

    def end_challenge(self, station: StationId) -> None:
        """Let no challenge be answered any longer."""
        self._do("DELETE FROM challenges WHERE station = ?", station)

    def add_session(self, row: SessionRow, *, keep: int, expired: int) -> None:
        """Enter a session; let *keep* of the station be left, and none begun before *expired*."""
        self._do("DELETE FROM sessions WHERE created <= ?", expired)
        self._do(
            "DELETE FROM sessions WHERE hash IN (SELECT hash FROM sessions WHERE station = ?"
            " ORDER BY used DESC LIMIT -1 OFFSET ?)",
            row.station,
            keep - 1,
        )
        self._do(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, ?)",
            row.hash, row.station, row.key, row.created, row.used,
        )  # fmt: skip

    def use_session(self, digest: bytes, *, now: int) -> None:
        """Note that a session is in use."""
        self._do("UPDATE sessions SET used = ? WHERE hash = ?", now, digest)

    def end_session(self, digest: bytes) -> None:
        """Forget a session."""
        self._do("DELETE FROM sessions WHERE hash = ?", digest)

    def end_sessions(self, station: StationId) -> None:
        """Forget all sessions of *station*."""
        self._do("DELETE FROM sessions WHERE station = ?", station)

    def forget(self, station: StationId) -> None:
        """Forget all that is known of *station*."""
        for table in (
            "stations", "invitations", "factors", "recovery", "challenges", "sessions",
        ):  # fmt: skip
            self._do(f"DELETE FROM {table} WHERE station = ?", station)  # noqa: S608  # no input


def _row(row: tuple[Any, ...]) -> FactorRow:
    factor, station, kind, created, used, active, *rest = row
    return FactorRow(factor, StationId(station), kind, created, used, bool(active), *rest)
