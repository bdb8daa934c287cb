"""SQLite files of a relay: how they are opened, and how threads take turns with them."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from medshare.errors import StorageError

_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cache_size = -8192",
)


@dataclass(frozen=True, slots=True)
class Layout:
    """The tables of a file."""

    schema: str
    version: int
    otherwise: str
    """What is said of a file that has another version."""


class Connection:
    """One SQLite connection that several threads take turns with."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._sqlite = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in _PRAGMAS:
            self._sqlite.execute(pragma)

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Make what happens inside true altogether, or not at all."""
        with self._lock:
            self._sqlite.execute(f"BEGIN {kind}")
            try:
                yield self._sqlite
                self._sqlite.execute("COMMIT")
            except BaseException:
                if self._sqlite.in_transaction:  # SQLite has ended some by itself
                    self._sqlite.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close it; what is under way ends first."""
        with self._lock:
            self._sqlite.close()


class Transaction:
    """What happens within one transaction."""

    def __init__(self, sqlite: sqlite3.Connection) -> None:
        self._sqlite = sqlite

    def _all(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._sqlite.execute(statement, values).fetchall()


View = TypeVar("View", bound=Transaction)
Change = TypeVar("Change", bound=Transaction)


class SqliteFile(Generic[View, Change]):
    """A file with one connection for writing and one that reads meanwhile; made if need be."""

    def __init__(
        self,
        path: Path,
        layout: Layout,
        *,
        view: Callable[[sqlite3.Connection], View],
        change: Callable[[sqlite3.Connection], Change],
    ) -> None:
        """Raise OSError and sqlite3.Error as they come, StorageError for another version."""
        self._view, self._change = view, change
        path.touch(0o600)
        self._writer = Connection(path)
        try:
            with self._writer.transaction() as sqlite:
                _prepare(sqlite, layout)
            self._reader = Connection(path)
        except BaseException:
            self._writer.close()
            raise

    def close(self) -> None:
        """Close both connections."""
        self._reader.close()
        self._writer.close()

    @contextmanager
    def writing(self) -> Iterator[Change]:
        """Open a change that is durable when the block ends, and undone when it fails."""
        with self._writer.transaction() as sqlite:
            yield self._change(sqlite)

    @contextmanager
    def reading(self) -> Iterator[View]:
        """Open a view of one moment."""
        with self._reader.transaction("DEFERRED") as sqlite:
            yield self._view(sqlite)


def _prepare(sqlite: sqlite3.Connection, layout: Layout) -> None:
    (version,) = sqlite.execute("PRAGMA user_version").fetchone()
    if version == 0:
        for statement in layout.schema.split(";"):
            sqlite.execute(statement)
        sqlite.execute(f"PRAGMA user_version = {layout.version}")
    elif version != layout.version:
        raise StorageError(layout.otherwise, hint="update medshare, then start the relay again")
