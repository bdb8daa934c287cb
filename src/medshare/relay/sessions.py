"""Sessions: what a second factor opens, for a while, for one key of one station.

The id is 256 random bits and travels in a field that the signature of the request covers; the
relay keeps its hash.  A session is of use only with the key that signed the request which began
it: who has the id and not the key, or the key and not the id, has nothing.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from medshare.errors import AccessDeniedError
from medshare.ids import StationId
from medshare.relay.enrolment import Enrolled
from medshare.relay.factor_store import FactorChange, FactorStore, SessionRow
from medshare.suites.base import SYSTEM_RANDOM
from medshare.suites.signatures import request_key
from medshare.wire import problems

SESSION_SIZE: Final = 32
MAX_SESSIONS: Final = 8
"""Sessions of one station at once; the one that was idle longest makes room."""
_TOUCH: Final = 30
"""The thirtieth part of the idle time after which use is noted again: not with each request."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long a session lasts, in seconds."""

    absolute: int = 8 * 3600
    idle: int = 30 * 60


class Sessions:
    """The sessions of a relay."""

    def __init__(
        self, store: FactorStore, lifetimes: Lifetimes, clock: Callable[[], float]
    ) -> None:
        self.lifetimes = lifetimes
        self._store = store
        self._clock = clock

    def begin(self, change: FactorChange, asker: Enrolled, *, now: int) -> str:
        """Enter a session for the key of *asker* into *change*; return its id."""
        secret = SYSTEM_RANDOM(SESSION_SIZE)
        row = SessionRow(_digest(secret), asker.station, key_digest(asker), now, now)
        change.add_session(row, keep=MAX_SESSIONS, expired=now - self.lifetimes.absolute)
        return base64.urlsafe_b64encode(secret).rstrip(b"=").decode("ascii")

    def require(self, asker: Enrolled, session: str) -> None:
        """Raise AccessDeniedError unless *session* is one of *asker*, with its key, and lasts."""
        now = int(self._clock())
        row = self._find(asker, session, now=now)
        if row is None:
            raise AccessDeniedError(
                "this station must sign in with its second factor", code=problems.SECOND_FACTOR
            )
        if now - row.used > self.lifetimes.idle // _TOUCH:
            with self._store.writing() as change:
                change.use_session(row.hash, now=now)

    def is_open(self, asker: Enrolled, session: str) -> bool:
        """Tell whether *session* is one of *asker*, with its key, and lasts."""
        return self._find(asker, session, now=int(self._clock())) is not None

    def end(self, asker: Enrolled, session: str) -> bool:
        """End *session*; return False when it was over, or is not of *asker*."""
        row = self._find(asker, session, now=int(self._clock()))
        if row is None:
            return False
        with self._store.writing() as change:
            change.end_session(row.hash)
        return True

    def end_all(self, station: StationId) -> None:
        """End all sessions of *station*."""
        with self._store.writing() as change:
            change.end_sessions(station)

    def _find(self, asker: Enrolled, session: str, *, now: int) -> SessionRow | None:
        if not session:
            return None
        with self._store.reading() as view:
            row = view.session(_digest(base64.urlsafe_b64decode(session + "=")))
        if row is None or (row.station, row.key) != (asker.station, key_digest(asker)):
            return None
        lasts = now - row.created < self.lifetimes.absolute and now - row.used < self.lifetimes.idle
        return row if lasts else None


def key_digest(asker: Enrolled) -> bytes:
    """Return the SHA-256 that names the key with which *asker* signs its requests."""
    key = request_key(asker.card.current.sign_keys)
    if key is None:
        raise AccessDeniedError("this station has no key that signs requests")
    return hashlib.sha256(key.algorithm.encode() + b"\x00" + key.value).digest()


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(b"medshare/1 relay session\x00" + secret).digest()
