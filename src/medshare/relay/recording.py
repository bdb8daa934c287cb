"""What a relay puts into its record: who left and fetched what, and whom it sent away.

An act is recorded before it is done, and is not done where that fails.  Requests that are
refused cost whoever makes them nothing, so of a flood only a few are recorded one by one; the
others are counted and recorded as a number.
"""

import logging
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from medshare.audit import entries
from medshare.audit.entries import (
    NOTHING,
    OPERATOR,
    UNKNOWN,
    Act,
    Detail,
    Details,
    Event,
    Kind,
    Outcome,
    Ref,
)
from medshare.errors import MedshareError
from medshare.ids import ParcelId, StationId
from medshare.record.log import AuditLog
from medshare.relay.log_key import LogKey, log_key

FOLDER: Final = "audit"
SIGN_SECONDS: Final = 300.0
"""Seconds after which what is recorded is signed, at the latest."""
_REMEMBERED: Final = 8192

_log = logging.getLogger("medshare.relay")


class Meter:
    """Lets *burst* through at once, then one in *seconds*; counts the others by their code."""

    def __init__(self, *, burst: int = 32, seconds: float = 20.0) -> None:
        self._burst = float(burst)
        self._seconds = seconds
        self._left = self._burst
        self._at: float | None = None
        self._counted: Counter[str] = Counter()
        self._lock = threading.Lock()

    def admit(self, code: str, now: float) -> bool:
        """Return whether this one is to be recorded by itself; it is counted otherwise."""
        with self._lock:
            if self._at is not None:
                gained = max(now - self._at, 0.0) / self._seconds
                self._left = min(self._burst, self._left + gained)
            self._at = now
            if self._left >= 1.0:
                self._left -= 1.0
                return True
            self._counted[code] += 1
            return False

    def counted(self) -> Counter[str]:
        """Return how many were counted since the last time, by code."""
        with self._lock:
            found, self._counted = self._counted, Counter()
        return found


class RelayRecord:
    """The record of the relay with the data folder *folder*."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self.log = AuditLog(folder / FOLDER, clock=clock)
        self.key: LogKey = log_key(folder, now=int(clock()))
        self._clock = clock
        self._meter = Meter()
        self._fetched: OrderedDict[tuple[ParcelId, StationId], None] = OrderedDict()
        self._lock = threading.Lock()
        self._signed_at = clock()

    def note(
        self,
        act: Act,
        actor: StationId | None,
        about: Ref = NOTHING,
        *,
        tier: str = "",
        parties: tuple[StationId, ...] = (),
        details: Details | None = None,
    ) -> None:
        """Record that *actor*, or whoever runs the relay, does *act* now.

        Raises StorageError or AuditError: the act must then not go on.
        """
        who = OPERATOR if actor is None else entries.station(actor)
        parties = parties[: entries.MAX_PARTIES]
        event = Event(act, who, about, tier=tier, parties=parties, details=details or {})
        self.log.record(event)

    def fetched(self, parcel: ParcelId, station: StationId, *, tier: str) -> None:
        """Record that *station* fetches *parcel*, once for all its requests."""
        key = parcel, station
        with self._lock:
            if key in self._fetched:
                self._fetched.move_to_end(key)
                return
        self.note(Act.FETCH, station, entries.parcel(parcel), tier=tier)
        with self._lock:
            self._fetched[key] = None
            if len(self._fetched) > _REMEMBERED:
                self._fetched.popitem(last=False)

    # --- refusals ------------------------------------------------------------------------

    def is_noted_alone(self, code: str) -> bool:
        """Return whether a refusal with *code* is to be handed to `refused`, or is counted."""
        return self._meter.admit(code, self._clock())

    def refused(
        self,
        error: MedshareError,
        claimed: StationId | None,
        *,
        proved: bool,
        about: Ref,
        act: Act = Act.REQUEST,
    ) -> None:
        """Record that a request was refused; *claimed* is who asked, *proved* whether it is."""
        kind = Kind.STATION if proved else Kind.UNKNOWN
        actor = UNKNOWN if claimed is None else Ref(kind, claimed)
        self._quietly(Event(act, actor, about).refused(error))

    def _note_counted(self) -> None:
        for code, count in sorted(self._meter.counted().items()):
            details = {Detail.COUNT: count}
            event = Event(Act.REQUEST, UNKNOWN, outcome=Outcome.REFUSED, code=code, details=details)
            self._quietly(event)

    def _quietly(self, event: Event) -> None:
        """Record what is refused in any case; that it cannot be recorded goes into the log."""
        try:
            self.log.record(event)
        except MedshareError:
            _log.exception("a refusal could not be recorded")

    # --- signing -------------------------------------------------------------------------

    def tend(self) -> None:
        """Do what is due now and then: record what was counted, and sign."""
        self._note_counted()
        if self._clock() - self._signed_at >= SIGN_SECONDS:
            self.sign()

    def sign(self) -> None:
        """Sign what is recorded; raise StorageError or AuditError when that is not possible."""
        self.log.checkpoint(self.key.origin, self.key.signers)
        self._signed_at = self._clock()

    def begin(self) -> None:
        """Record that the relay serves from now on."""
        self.note(Act.START, None, details={Detail.UID: os.getuid()})
        self.sign()

    def end(self) -> None:
        """Record that it serves no longer, and sign."""
        self._note_counted()
        self.note(Act.STOP, None)
        self.sign()
