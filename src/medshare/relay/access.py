"""Whether a request that is signed as it should be may also pass: profiles, checked.

What each station must show beside its key is a matter of its profile (`profiles`), and is
checked here once for all routes, before the body of the request is read.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Final

from medshare import clientcert
from medshare.audit import entries
from medshare.audit.entries import Act
from medshare.errors import AccessDeniedError, NotFoundError
from medshare.ids import StationId
from medshare.relay import codes
from medshare.relay.enrolment import Enrolled
from medshare.relay.factor_key import factor_key
from medshare.relay.factor_store import Attempts, FactorStore
from medshare.relay.guard import Scope
from medshare.relay.profiles import (
    OPEN,
    PERSON,
    UNATTENDED,
    Address,
    Network,
    Profile,
    Profiles,
    address_of,
    is_within,
)
from medshare.relay.recording import RelayRecord
from medshare.relay.second_factor import INVITATION_SECONDS, SecondFactors
from medshare.relay.sessions import Lifetimes, Sessions
from medshare.wire import problems
from medshare.wire.routes import Route

FOLDER: Final = "profiles"
_FORWARDED: Final = b"x-forwarded-for"


@dataclass(frozen=True, slots=True)
class AccessRules:
    """What the operator of a relay sets."""

    require_profile: bool = False
    """Whether a station without a profile is refused."""
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    proxies: tuple[Network, ...] = ()
    """From where X-Forwarded-For is believed; from nowhere else."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request shows beside the signature of its station."""

    session: str
    second: clientcert.Second | None
    first: bytes
    """The signature of the station, which the second one covers."""
    address: Address | None


@dataclass(frozen=True, slots=True)
class Access:
    """Profiles, second factors and sessions of an open relay."""

    profiles: Profiles
    factors: SecondFactors
    sessions: Sessions
    rules: AccessRules
    clock: Callable[[], float]

    def profile(self, station: StationId) -> Profile:
        """Return what is demanded of *station*.

        Raises AccessDeniedError when nobody said, and it may not be open: the relay demands
        profiles, or the station has second factors, so that its profile was lost.
        """
        found = self.profiles.find(station)
        if found is None and (self.rules.require_profile or self.factors.is_person(station)):
            raise AccessDeniedError(
                "this station is enrolled without a profile, which is demanded of it",
                code=problems.PROFILE,
            )
        return found or Profile()

    def require(self, asker: Enrolled, shown: Shown, route: Route) -> None:
        """Raise AccessDeniedError unless *asker* shows what its profile demands on *route*."""
        profile = self.profile(asker.station)
        if profile.kind == PERSON and not is_free(route):
            self.sessions.require(asker, shown.session)
        if profile.kind == UNATTENDED:
            self._require_unattended(profile, shown)
        if profile.kind == OPEN and route.name in _OF_SESSIONS:
            self.sessions.require(asker, shown.session)

    def _require_unattended(self, profile: Profile, shown: Shown) -> None:
        if not is_within(shown.address, profile.ranges):
            raise AccessDeniedError(
                "this station does not come from where it is enrolled", code=problems.ADDRESS
            )
        if profile.certificate is None:
            raise AccessDeniedError("the certificate is missing", code=problems.CERTIFICATE)
        try:
            clientcert.require_second(
                shown.second, shown.first, profile.certificate, now=int(self.clock())
            )
        except AccessDeniedError as error:
            raise AccessDeniedError(error.message, code=problems.CERTIFICATE) from None

    def address(self, scope: Scope) -> Address | None:
        """Return where a request comes from: the peer of its connection.

        Where that is a proxy which the operator trusts, the last address that it adds to
        X-Forwarded-For; None when it adds none.
        """
        client = scope.get("client")
        peer = address_of(client[0]) if client else None
        if not is_within(peer, self.rules.proxies):
            return peer
        fields = [value for name, value in scope["headers"] if name == _FORWARDED]
        last = fields[-1].decode("latin-1").rpartition(",")[2].strip() if fields else ""
        return address_of(last)


_OF_SESSIONS: Final = frozenset({"list-factors", "remove-factor", "recovery-codes"})
"""Routes that need a session whatever the profile: they are about factors that there are."""


def is_free(route: Route) -> bool:
    """Tell whether a person needs no session for *route*.

    A new card is vouched for by the keys before it, and ends all sessions.
    """
    return route.signs_in or route.name == "put-card"


@contextmanager
def opened_access(
    folder: Path, rules: AccessRules, record: RelayRecord, clock: Callable[[], float]
) -> Iterator[Access]:
    """Open what is in the data folder *folder*, and close it in the end; raise StorageError."""
    store = FactorStore(folder)
    try:
        sessions = Sessions(store, rules.lifetimes, clock)
        key = cache(partial(factor_key, folder))
        factors = SecondFactors(store, sessions, record, key=key, clock=clock)
        yield Access(Profiles(folder / FOLDER), factors, sessions, rules, clock)
    finally:
        store.close()


class AccessOffice:
    """What the operator of a relay does about profiles and factors, also while it runs."""

    def __init__(self, folder: Path, record: RelayRecord, clock: Callable[[], float]) -> None:
        self.profiles = Profiles(folder / FOLDER)
        self._folder = folder
        self._record = record
        self._clock = clock

    def set_profile(self, station: StationId, profile: Profile) -> str:
        """Let *profile* hold; return an enrolment secret when it asks for a second factor.

        Sessions end.  Factors stay, and when there are some the secret is empty: whoever has
        them adds others in a session.
        """
        with self._store() as store, store.writing() as change:
            self._record.note(Act.PROFILE, None, entries.station(station))
            change.end_sessions(station)
            has_factors = any(row.active for row in change.factors(station))
            self.profiles.set(station, profile)
            if profile.kind != PERSON or has_factors:
                return ""
            secret = codes.new_invitation()
            expires = int(self._clock()) + INVITATION_SECONDS
            change.invite(station, codes.invitation_hash(secret), expires=expires)
            return secret

    def carry_out(self, station: StationId, profile: Profile) -> None:
        """Let *profile* hold, as administrators have decided and the record says already.

        Sessions end.  Whoever needs an enrolment secret by it gets one by `reset`.
        """
        with self._store() as store, store.writing() as change:
            change.end_sessions(station)
            self.profiles.set(station, profile)

    def reset(self, station: StationId) -> str:
        """Forget factors, recovery codes and sessions of *station*; return a new secret.

        Raises NotFoundError when no second factor is demanded of it.
        """
        profile = self.profiles.find(station)
        if profile is None or profile.kind != PERSON:
            raise NotFoundError("no second factor is demanded of this station")
        with self._store() as store, store.writing() as change:
            self._record.note(Act.RESET_FACTORS, None, entries.station(station))
            change.forget(station)
            secret = codes.new_invitation()
            expires = int(self._clock()) + INVITATION_SECONDS
            change.invite(station, codes.invitation_hash(secret), expires=expires)
            return secret

    def unlock(self, station: StationId) -> int:
        """Let *station* make attempts again; return how many had failed."""
        with self._store() as store, store.writing() as change:
            failures = change.attempts(station).failures
            self._record.note(Act.UNLOCK, None, entries.station(station))
            change.set_attempts(station, Attempts())
            return failures

    def forget(self, station: StationId) -> None:
        """Forget profile, factors and sessions of a station that is enrolled no longer."""
        with self._store() as store, store.writing() as change:
            change.forget(station)
        self.profiles.remove(station)

    @contextmanager
    def _store(self) -> Iterator[FactorStore]:
        store = FactorStore(self._folder)
        try:
            yield store
        finally:
            store.close()
