"""Naming the first administrators of a relay, at its machine; and what is over from then on."""

import os
from functools import partial
from pathlib import Path

from medshare.audit import entries
from medshare.audit.entries import Act, Detail, Details
from medshare.errors import AccessDeniedError, UsageError
from medshare.relay.admin_store import AdminStore
from medshare.relay.enrolment import Stations
from medshare.relay.folder import DataFolder
from medshare.relay.recording import FOLDER, RelayRecord
from medshare.trust.card import Card
from medshare.trust.charter import Charter
from medshare.trust.orders import Administrator
from medshare.trust.quorum import Member, require_workable


def found(
    data: DataFolder, administrators: tuple[Administrator, ...], *, need: int, now: int
) -> Charter:
    """Name who administers the relay in *data* from now on; it may be running.

    They are enrolled, as whoever may propose must be heard.  Raises UsageError when somebody
    was named before, or those named could make no quorum, and RelayRefusedError when a card
    does not continue the one that is enrolled.
    """
    record = RelayRecord(data.path, lambda: now)
    store, stations = AdminStore(data.path, record.log.folder), Stations(data.cards)
    require_workable([Member(one.card.station, one.person) for one in administrators], need)
    charter = Charter(record.key.origin, 0, need, administrators)
    with store.locked():
        if store.charter() is not None:
            raise UsageError(
                "this relay has administrators already; only they can name others",
                hint="medshare admin propose set-administrators",
            )
        for one in administrators:
            _enroll(stations, record, one.card)
        store.keep(charter.digest, charter.encode())
        details: Details = {Detail.DIGEST: charter.digest, Detail.UID: os.getuid()}
        record.note(Act.ADMINISTER, None, details=details)
        store.put_charter(charter)
    record.sign()
    return charter


def _enroll(stations: Stations, record: RelayRecord, card: Card) -> None:
    before = stations.find(card.station.hex())
    if before is None or not before.card.continues(card):
        details = {Detail.GENERATION: card.current.number, Detail.UID: os.getuid()}
        note = partial(record.note, Act.ENROL, None, entries.station(card.station), details=details)
        stations.enroll(card, before_change=note)


def require_unadministered(data: Path, how: str) -> None:
    """Raise AccessDeniedError when the relay in *data* has administrators, who alone may act.

    *how* is what they would do instead.
    """
    if AdminStore(data, data / FOLDER).charter() is not None:
        raise AccessDeniedError(
            "this relay has administrators: nobody does this alone, at its machine either",
            hint=f"medshare admin propose {how} --relay URL",
        )
