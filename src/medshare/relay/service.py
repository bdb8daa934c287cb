"""A relay that is open: its folder held, reconciled and swept, its threads running."""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from medshare.envelope import parse_envelope
from medshare.errors import MedshareError, StorageError
from medshare.ids import ParcelId
from medshare.relay.access import Access, AccessOffice, AccessRules, opened_access
from medshare.relay.admin_effects import RelayEffects
from medshare.relay.admin_store import AdminStore
from medshare.relay.administration import Administration
from medshare.relay.database import Database
from medshare.relay.enrolment import Enrolled, Stations
from medshare.relay.folder import DataFolder
from medshare.relay.parcels import Clock, Parcels, recipients_of
from medshare.relay.parts import Parts
from medshare.relay.reconcile import reconcile
from medshare.relay.recording import RelayRecord
from medshare.relay.settings import Limits
from medshare.wire.bodies import Announced

Result = TypeVar("Result")

_log = logging.getLogger("medshare.relay")


@dataclass(frozen=True, slots=True)
class Service:
    """What answers to requests are made of."""

    stations: Stations
    parcels: Parcels
    parts: Parts
    limits: Limits
    pool: ThreadPoolExecutor
    clock: Clock
    access: Access
    record: RelayRecord
    administration: Administration

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Return what *function* returns; it touches the disk, so a thread of ours runs it."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, function, *arguments)

    def announce(self, asker: Enrolled, parcel: ParcelId, data: bytes) -> Announced:
        """Let the parcel with envelope *data* be here; raises what `Parcels.announce` does.

        Its sender learns which of the recipients that it has named and signed for are not
        enrolled, and of no other station.
        """
        manifest = self.parcels.announce(asker, parcel, data)
        named = sorted(recipients_of(parse_envelope(data)))
        absent = tuple(one for one in named if self.stations.find(one.hex()) is None)
        return Announced(manifest, absent)


@contextmanager
def opened(
    path: Path,
    limits: Limits,
    *,
    rules: AccessRules | None = None,
    clock: Clock = time.time,
) -> Iterator[Service]:
    """Open the relay in the data folder *path*, and close it in the end.

    Raises StorageError when another relay has it, others can read it, or it cannot be used.
    """
    folder = DataFolder(path)
    with folder.served(), _database(folder.database) as database:
        record = RelayRecord(path, clock)
        parcels = Parcels(folder, database, limits, record, clock)
        reconcile(folder, database, parcels)
        stations, parts = Stations(folder.cards), Parts(parcels)
        administration = _administration(path, parcels, stations, limits, clock)
        with (
            opened_access(path, rules or AccessRules(), record, clock) as access,
            _recorded(record),
            ThreadPoolExecutor(limits.workers, "relay") as pool,
            _swept(parcels, administration, limits),
        ):
            administration.resume()
            parcels.sweep()
            yield Service(
                stations, parcels, parts, limits, pool, clock, access, record, administration
            )


def _administration(
    path: Path, parcels: Parcels, stations: Stations, limits: Limits, clock: Clock
) -> Administration:
    """Return the administration of the relay in *path*, whose policy holds from now on."""
    store = AdminStore(path, parcels.record.log.folder)
    office = AccessOffice(path, parcels.record, clock)
    effects = RelayEffects(store, stations, office, parcels, limits)
    effects.take_settings()
    return Administration(store, parcels.record, effects, clock)


@contextmanager
def _recorded(record: RelayRecord) -> Iterator[None]:
    """Record when the relay begins and ends to serve."""
    record.begin()
    try:
        yield
    finally:
        record.end()


@contextmanager
def _database(path: Path) -> Iterator[Database]:
    try:
        database = Database(path)
    except sqlite3.Error as error:
        raise StorageError(
            f"the database of the relay cannot be used: {error}",
            hint=f"move {path.name} away: everything but the memory of removed parcels is rebuilt",
        ) from error
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _swept(parcels: Parcels, administration: Administration, limits: Limits) -> Iterator[None]:
    """Look for what has expired again and again, in a thread of its own."""
    stopped = threading.Event()

    def sweep() -> None:
        while not stopped.wait(limits.sweep_seconds):
            try:
                parcels.sweep()
                parcels.record.tend()
                administration.resume()
            except (MedshareError, sqlite3.Error):
                _log.exception("expired parcels, or the record, could not be tended; trying again")

    thread = threading.Thread(target=sweep, name="relay-sweep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
