"""Second factors: how somebody adds one, signs in with it, and is slowed down and locked out.

An attempt is looked at in one transaction, which ends before the answer goes out: what it uses
up (a time step, a challenge, a recovery code) is used up even if the relay dies then, and two
attempts at once are one after the other.  Only who signs with the key of a station can make
attempts for it: nobody else can lock it out.
"""

import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from medshare.audit import entries
from medshare.audit.entries import Act, Detail
from medshare.errors import (
    AccessDeniedError,
    NotFoundError,
    RelayRefusedError,
    RelayUnavailableError,
)
from medshare.ids import StationId
from medshare.relay import codes, security_keys
from medshare.relay.enrolment import Enrolled
from medshare.relay.factor_key import FactorKey
from medshare.relay.factor_store import Attempts, FactorChange, FactorRow, FactorStore
from medshare.relay.profiles import UNATTENDED, Profile
from medshare.relay.recording import RelayRecord
from medshare.relay.security_keys import Demand
from medshare.relay.sessions import Sessions
from medshare.wire import problems
from medshare.wire.routes import FACTOR_ID_SIZE
from medshare.wire.sign_in import (
    CHALLENGE_SIZE,
    FACTOR_KINDS,
    FIDO2,
    MAX_FACTORS,
    RECOVERY,
    TOTP,
    BegunFactor,
    Challenge,
    Factor,
    Factors,
    NewFactor,
    Proof,
    Session,
)

LOCK_AFTER: Final = 10
"""Attempts that may fail in a row before only a recovery code, or the operator, helps."""
MAX_PAUSE: Final = 900
"""Seconds that are waited at most after a failure."""
BEGUN_SECONDS: Final = 600
"""For which a factor that was begun can be finished."""
CHALLENGE_SECONDS: Final = 120
INVITATION_SECONDS: Final = 7 * 24 * 3600

Result = TypeVar("Result")


class SecondFactors:
    """The second factors of the stations of a relay."""

    def __init__(
        self,
        store: FactorStore,
        sessions: Sessions,
        record: RelayRecord,
        *,
        key: Callable[[], FactorKey],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._record = record
        self._key = key
        self._clock = clock
        with store.reading() as view:
            self._persons = view.persons()

    def is_person(self, station: StationId) -> bool:
        """Tell whether *station* had factors when the relay was started, and still has."""
        if station not in self._persons:
            return False
        with self._store.reading() as view:
            return station in view.persons()

    # --- adding a factor -----------------------------------------------------------------

    def begin(
        self, station: StationId, profile: Profile, new: NewFactor, origin: str, *, session: bool
    ) -> BegunFactor:
        """Begin to add a factor: with a session, or with the secret that the operator gave.

        Raises AccessDeniedError when the secret is wrong, or the kind not accepted.
        """
        _require_kind(profile, new.kind)
        return self._attempt(station, partial(self._begin, station, profile, new, origin, session))

    def _begin(
        self,
        station: StationId,
        profile: Profile,
        new: NewFactor,
        origin: str,
        session: bool,  # noqa: FBT001  # partial hands it over
        change: FactorChange,
        now: int,
    ) -> BegunFactor:
        if not session:
            _require_invitation(change, station, new.secret, now=now)
        before = [row for row in change.factors(station) if row.active]
        if len(before) >= MAX_FACTORS:
            raise RelayRefusedError("this station has too many second factors", code=problems.QUOTA)
        factor = secrets.token_bytes(FACTOR_ID_SIZE)
        row = FactorRow(factor, station, new.kind, now, origin=origin)
        if new.kind == TOTP:
            secret = secrets.token_bytes(codes.SECRET_SIZE)
            sealed = self._key().seal(secret, station=station, factor=factor)
            change.add_factor(replace(row, secret=sealed))
            return BegunFactor(factor, TOTP, secret)
        challenge = secrets.token_bytes(CHALLENGE_SIZE)
        change.add_factor(replace(row, challenge=challenge))
        known = tuple(security_keys.credential_id(one.secret) for one in _of_kind(before, FIDO2))
        return BegunFactor(factor, FIDO2, b"", challenge, profile.verify, known)

    def finish(
        self, station: StationId, profile: Profile, factor: bytes, proof: Proof
    ) -> tuple[str, ...]:
        """Let a factor that was begun count, once *proof* shows that it works.

        Returns recovery codes when it is the first one.  Raises AccessDeniedError when the
        proof is wrong, or its kind not accepted any more, NotFoundError when there is no such
        factor, or it was begun long ago.
        """
        _require_kind(profile, proof.kind)
        return self._attempt(station, partial(self._finish, station, profile, factor, proof))

    def _finish(
        self,
        station: StationId,
        profile: Profile,
        factor: bytes,
        proof: Proof,
        change: FactorChange,
        now: int,
    ) -> tuple[str, ...]:
        rows = change.factors(station)
        row = next((one for one in rows if one.factor == factor and not one.active), None)
        if row is None or now - row.created > BEGUN_SECONDS:
            raise NotFoundError("no such factor was begun, or too long ago; begin again")
        if proof.kind != row.kind:
            raise _refused()
        if row.kind == TOTP:
            secret, counter = row.secret, self._step(row, proof.code, now=now)
        else:
            demand = Demand(row.challenge, row.origin, profile.verify)
            secret, counter = security_keys.new_credential(proof, demand)
        self._note(Act.ADD_FACTOR, station)
        change.finish_factor(factor, secret=secret, counter=counter, now=now)
        change.end_invitation(station)
        return () if any(one.active for one in rows) else _first_recovery(change, station)

    # --- signing in ----------------------------------------------------------------------

    def challenge(self, station: StationId, profile: Profile, origin: str) -> Challenge:
        """Give *station* something for its security key to sign, once and soon.

        Raises NotFoundError when it has no key for this name of the relay.
        """
        now = int(self._clock())
        with self._store.writing() as change:
            rows = _of_kind(_active(change, station), FIDO2)
            credentials = [
                security_keys.credential_id(row.secret) for row in rows if row.origin == origin
            ]
            if not credentials:
                raise NotFoundError("this station has no security key here")
            challenge = secrets.token_bytes(CHALLENGE_SIZE)
            change.set_challenge(station, challenge, origin, expires=now + CHALLENGE_SECONDS)
        return Challenge(challenge, tuple(credentials), profile.verify)

    def sign_in(self, asker: Enrolled, profile: Profile, proof: Proof) -> Session:
        """Begin a session for *asker*, whose second factor *proof* shows.

        Raises AccessDeniedError when it does not, nobody attends it, or it is locked, and
        RelayUnavailableError when it is too early for another attempt.
        """
        if profile.kind == UNATTENDED:
            raise AccessDeniedError(
                "an unattended station does not sign in: its certificate is enough",
                code=problems.PROFILE,
            )
        if proof.kind != RECOVERY:
            _require_kind(profile, proof.kind)
        check = partial(self._sign_in, asker, profile, proof)
        return self._attempt(asker.station, check, even_if_locked=proof.kind == RECOVERY)

    def _sign_in(
        self, asker: Enrolled, profile: Profile, proof: Proof, change: FactorChange, now: int
    ) -> Session:
        station = asker.station
        match proof.kind:
            case "totp":
                self._use_totp(change, station, proof.code, now=now)
            case "fido2":
                self._use_security_key(change, station, profile, proof, now=now)
            case _:
                self._use_recovery(change, station, proof.code)
        failures = change.attempts(station).failures
        self._note(Act.SIGN_IN, station, {Detail.COUNT: failures})
        change.set_attempts(station, Attempts())
        session = self._sessions.begin(change, asker, now=now)
        lifetimes = self._sessions.lifetimes
        return Session(session, now + lifetimes.absolute, lifetimes.idle, failures)

    def _use_totp(self, change: FactorChange, station: StationId, code: str, *, now: int) -> None:
        for row in _of_kind(_active(change, station), TOTP):
            try:
                step = self._step(row, code, now=now)
            except AccessDeniedError:
                continue
            change.use_factor(row.factor, counter=step, now=now)
            return
        raise _refused()

    def _step(self, row: FactorRow, code: str, *, now: int) -> int:
        """Return the time step of *code*, which is later than the last that was accepted."""
        secret = self._key().open(row.secret, station=row.station, factor=row.factor)
        step = codes.matching_step(secret, code, now=now)
        if step is None or step <= row.counter:
            raise _refused()
        return step

    def _use_security_key(
        self, change: FactorChange, station: StationId, profile: Profile, proof: Proof, *, now: int
    ) -> None:
        given = change.challenge(station)
        change.end_challenge(station)  # right or wrong, it is answered once
        if given is None or given[2] < now:
            raise _refused()
        demand = Demand(given[0], given[1], profile.verify)
        for row in _of_kind(_active(change, station), FIDO2):
            if security_keys.credential_id(row.secret) == proof.credential:
                counter = security_keys.next_counter(proof, demand, row.secret, counter=row.counter)
                change.use_factor(row.factor, counter=counter, now=now)
                return
        raise _refused()

    def _use_recovery(self, change: FactorChange, station: StationId, code: str) -> None:
        place = codes.place_of(code)
        kept = None if place is None else change.recovery(station, place)
        if place is None or kept is None or not codes.is_recovery(code, *kept):
            raise _refused()
        change.use_recovery(station, place)
        self._note(Act.USE_RECOVERY, station, {Detail.COUNT: change.recovery_left(station)})

    # --- keeping them --------------------------------------------------------------------

    def factors(self, station: StationId) -> Factors:
        """Return the factors of *station*, and how many recovery codes are left."""
        with self._store.reading() as view:
            rows = [row for row in view.factors(station) if row.active]
            listing = tuple(Factor(one.factor, one.kind, one.created, one.used) for one in rows)
            return Factors(listing, view.recovery_left(station))

    def remove(self, station: StationId, factor: bytes) -> None:
        """Forget a factor, and end all sessions.

        Raises NotFoundError when there is none, RelayRefusedError when it is the last one.
        """
        with self._store.writing() as change:
            rows = _active(change, station)
            if factor not in {row.factor for row in rows}:
                raise NotFoundError("this station has no such second factor")
            if len(rows) == 1:
                raise RelayRefusedError(
                    "this is the last second factor; add another one first", code=problems.CONFLICT
                )
            self._note(Act.REMOVE_FACTOR, station)
            change.remove_factor(factor)
            change.end_sessions(station)

    def renew_recovery(self, station: StationId) -> tuple[str, ...]:
        """Return new recovery codes; those of before hold no longer."""
        new = codes.new_recovery_codes()
        hashes = [codes.hashed(code) for code in new]  # slow: nobody else waits for it
        with self._store.writing() as change:
            self._note(Act.RENEW_RECOVERY, station)
            change.set_recovery(station, hashes)
        return new

    # --- attempts ------------------------------------------------------------------------

    def _attempt(
        self,
        station: StationId,
        check: Callable[[FactorChange, int], Result],
        *,
        even_if_locked: bool = False,
    ) -> Result:
        """Return what *check* returns; an AccessDeniedError of it is counted, then raised."""
        now = int(self._clock())
        with self._store.writing() as change:
            before = change.attempts(station)
            _require_turn(before, now=now, even_if_locked=even_if_locked)
            try:
                return check(change, now)
            except AccessDeniedError as error:
                refused = error
            after = _after_failure(before, now=now)
            if after.locked and not before.locked:
                self._note(Act.LOCK_OUT, station, {Detail.COUNT: after.failures})
            change.set_attempts(station, after)
        raise refused

    def _note(self, act: Act, station: StationId, details: entries.Details | None = None) -> None:
        self._record.note(act, station, entries.station(station), details=details)


def _require_turn(attempts: Attempts, *, now: int, even_if_locked: bool) -> None:
    """Raise unless another attempt may be looked at now."""
    if now < attempts.retry_at:
        raise RelayUnavailableError(
            f"the last attempt failed; the next one is looked at in {attempts.retry_at - now} s",
            code=problems.THROTTLED,
        )
    if attempts.locked and not even_if_locked:
        raise AccessDeniedError(
            f"the second factor of this station is locked after {attempts.failures} failures",
            code=problems.LOCKED,
        )


def _after_failure(before: Attempts, *, now: int) -> Attempts:
    """Return how a station fares after one failure more: 1, 2, 4 … seconds until the next."""
    failures = before.failures + 1
    pause = min(1 << min(failures - 1, 16), MAX_PAUSE)
    return Attempts(failures, now + pause, locked=before.locked or failures >= LOCK_AFTER)


def _require_kind(profile: Profile, kind: str) -> None:
    if kind not in (profile.factors or FACTOR_KINDS):
        accepted = " or ".join(profile.factors)
        raise AccessDeniedError(
            f"the relay accepts {accepted} of this station, not {kind}", code=problems.PROFILE
        )


def _require_invitation(change: FactorChange, station: StationId, secret: str, *, now: int) -> None:
    invitation = change.invitation(station)
    if invitation is None or now >= invitation[1] or not codes.is_invitation(secret, invitation[0]):
        raise AccessDeniedError(
            "a second factor is added in a session, or with the enrolment secret of the operator",
            code=problems.INVITATION,
        )


def _first_recovery(change: FactorChange, station: StationId) -> tuple[str, ...]:
    new = codes.new_recovery_codes()
    change.set_recovery(station, [codes.hashed(code) for code in new])
    return new


def _active(change: FactorChange, station: StationId) -> list[FactorRow]:
    return [row for row in change.factors(station) if row.active]


def _of_kind(rows: list[FactorRow], kind: str) -> list[FactorRow]:
    return [row for row in rows if row.kind == kind]


def _refused() -> AccessDeniedError:
    return AccessDeniedError("the second factor does not verify", code=problems.FACTOR)
