"""The data folder of a relay: private, and used by one relay process at a time."""

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from medshare.disk.atomic import (
    TEMPORARY_PREFIX,
    TEMPORARY_SUFFIX,
    fsync_folder,
    make_folder,
    storage_errors,
)
from medshare.disk.separation import require_no_station_around, require_no_station_inside
from medshare.errors import StorageError
from medshare.ids import ParcelId, StationId
from medshare.wire.routes import chunk_name

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
LOCK: Final = "relay.lock"
DATABASE: Final = "relay.sqlite3"
ADMIN: Final = "admin"


class ParcelPaths:
    """Where the parts of one parcel lie: the layout of `disk.parcels`, written by the relay."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.envelope = path / "envelope"
        self.manifest = path / "manifest"
        self.seal = path / "seal"
        self.chunks = path / "chunks"
        self.receipts = path / "receipts"
        self.openings = path / "openings"

    def chunk(self, index: int) -> Path:
        """Return the place of chunk *index*."""
        return self.chunks / chunk_name(index)

    def receipt(self, station: StationId) -> Path:
        """Return the place of the receipt of *station*."""
        return self.receipts / station.hex()

    def make(self) -> None:
        """Let the folder and its two sub-folders exist durably."""
        make_folder(self.chunks)
        make_folder(self.receipts)

    def remove(self) -> None:
        """Delete the folder with all that is in it; raise StorageError when that fails."""
        with storage_errors("remove a parcel"):
            if self.path.exists():
                shutil.rmtree(self.path)
        fsync_folder(self.path.parent)


class DataFolder:
    """A relay's folder with its parts; it exists and is private once this returns.

    Raises StorageError when others can read it: it holds who sends to whom; and when a
    station, which holds keys, lies in it or around it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cards = path / "cards"
        self.parcels = path / "parcels"
        self.database = path / DATABASE
        require_no_station_around(path, what="the data folder of the relay")
        require_no_station_inside(path, what="the data folder of the relay")
        make_folder(path)
        with storage_errors("look at the data folder"):
            status = path.stat()
        if status.st_mode & _OTHERS or status.st_uid != os.geteuid():
            raise StorageError(
                "the data folder of the relay is open to others on this machine",
                hint="it must belong to this user alone: chown it, and chmod 700",
            )
        make_folder(self.cards)
        make_folder(self.parcels)

    def parcel(self, parcel: ParcelId) -> ParcelPaths:
        """Return the folder of *parcel*, which need not exist."""
        return ParcelPaths(self.parcels / parcel.hex())

    @contextmanager
    def served(self) -> Iterator[None]:
        """Hold the folder for this process; raise StorageError when another relay has it."""
        with storage_errors("lock the data folder"):
            file = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StorageError(
                    "another relay is running on this data folder",
                    hint="stop it first, or choose another --data",
                ) from None
            yield
        finally:
            os.close(file)


def is_temporary(name: str) -> bool:
    """Tell whether *name* is one that only unfinished files have."""
    return name.startswith(TEMPORARY_PREFIX) and name.endswith(TEMPORARY_SUFFIX)
