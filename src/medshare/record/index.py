"""Searching a record: an index beside it, which follows from the entries and can always go.

The index learns what is new when it is asked.  Where the folder cannot be written (a copy on
a read-only medium) it is made in memory.  It is a shortcut and no proof: what it finds is
read from the entries themselves.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from medshare.audit.entries import Act, Entry, Outcome
from medshare.audit.merkle import leaf_hash
from medshare.errors import StorageError
from medshare.record.reader import RecordReader

FILE: Final = "index.sqlite3"
_VERSION: Final = 1
_AT_ONCE: Final = 5000
_LONGEST: Final = 33
"""Octets of more than any identifier."""
_TABLES: Final = """
CREATE TABLE entries (
    number INTEGER PRIMARY KEY, time INTEGER, act TEXT, outcome TEXT, code TEXT
);
CREATE INDEX by_time ON entries (time);
CREATE INDEX by_act ON entries (act, time);
CREATE TABLE named (id BLOB, number INTEGER, PRIMARY KEY (id, number)) WITHOUT ROWID;
CREATE TABLE state (following INTEGER, leaf BLOB);
"""


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; all that is given must hold.  Times in seconds since 1970 UTC."""

    since: int | None = None
    until: int | None = None
    """The last second that counts."""
    names: tuple[bytes, ...] = ()
    """Beginnings of identifiers: actor, object or party; each must be there."""
    acts: tuple[Act, ...] = ()
    outcome: Outcome | None = None
    code: str | None = None
    newest: int | None = None
    """At most so many, the newest of all."""


def search(reader: RecordReader, query: Query) -> Iterator[Entry]:
    """Yield the entries that fit, the oldest first.

    Raises AuditError when one cannot be read, StorageError when the index is damaged.
    """
    with _index(reader) as database:
        numbers = _numbers(database, query)
    return reader.chosen(numbers)


@contextmanager
def _index(reader: RecordReader) -> Iterator[sqlite3.Connection]:
    """Give the index, up to date."""
    try:
        with closing(_opened(reader.folder / FILE)) as database:
            _follow(database, reader)
            yield database
    except sqlite3.DatabaseError as error:
        raise StorageError(
            f"could not search the record: {error}",
            hint=f"delete {FILE} beside it: it is made anew",
        ) from error


def _opened(path: Path) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(path)
        database.execute("PRAGMA synchronous = OFF")
        database.execute("BEGIN IMMEDIATE")
        database.rollback()
    except sqlite3.OperationalError:
        return sqlite3.connect(":memory:")
    return database


def _follow(database: sqlite3.Connection, reader: RecordReader) -> None:
    """Learn the entries that are new; begin anew when the record is not the one known."""
    following, leaf = _state(database)
    if not following or reader.hashes.read(0, following - 1, 1) != leaf:
        _reset(database)
        following = reader.first
    entries = reader.entries(following)
    while part := list(islice(entries, _AT_ONCE)):
        _add(database, part)
        leaf = leaf_hash(part[-1].encode())
        database.execute("DELETE FROM state")
        database.execute("INSERT INTO state VALUES (?, ?)", (part[-1].number + 1, leaf))
        database.commit()


def _state(database: sqlite3.Connection) -> tuple[int, bytes]:
    """Return the entry that the index expects next, and the leaf hash of the one before it."""
    if database.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
        return 0, b""
    row = database.execute("SELECT following, leaf FROM state").fetchone()
    return row or (0, b"")


def _reset(database: sqlite3.Connection) -> None:
    for table in ("entries", "named", "state"):
        database.execute(f"DROP TABLE IF EXISTS {table}")
    database.executescript(_TABLES)
    database.execute(f"PRAGMA user_version = {_VERSION}")
    database.commit()


def _add(database: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    database.executemany(
        "INSERT INTO entries VALUES (?, ?, ?, ?, ?)",
        [
            (one.number, one.time, str(one.event.act), str(one.event.outcome), one.event.code)
            for one in entries
        ],
    )
    database.executemany(
        "INSERT OR IGNORE INTO named VALUES (?, ?)",
        [(name, one.number) for one in entries for name in _names(one)],
    )


def _names(entry: Entry) -> set[bytes]:
    event = entry.event
    return {name for name in (event.actor.id, event.object.id, *event.parties) if name}


def _numbers(database: sqlite3.Connection, query: Query) -> list[int]:
    """Return the numbers of the entries that fit, in order."""
    conditions: list[str] = ["1"]
    values: list[int | str | bytes] = []

    def require(condition: str, *given: int | str | bytes) -> None:
        conditions.append(condition)
        values.extend(given)

    if query.since is not None:
        require("time >= ?", query.since)
    if query.until is not None:
        require("time <= ?", query.until)
    if query.acts:
        marks = ", ".join("?" * len(query.acts))
        require(f"act IN ({marks})", *(str(act) for act in query.acts))
    if query.outcome is not None:
        require("outcome = ?", str(query.outcome))
    if query.code is not None:
        require("code = ?", query.code)
    for name in query.names:
        beyond = name + b"\xff" * (_LONGEST - len(name))
        require("number IN (SELECT number FROM named WHERE id BETWEEN ? AND ?)", name, beyond)
    limit = -1 if query.newest is None else query.newest
    rows = database.execute(
        f"SELECT number FROM entries WHERE {' AND '.join(conditions)} "  # noqa: S608  # our own words
        "ORDER BY number DESC LIMIT ?",
        (*values, limit),
    )
    return [row[0] for row in reversed(rows.fetchall())]
