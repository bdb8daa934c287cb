"""A relay at which a person must sign in, asked message by message; its clock stands still."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medshare.audit import entries
from medshare.audit.entries import Act, Outcome
from medshare.record.reader import RecordReader
from medshare.relay import codes
from medshare.relay.access import AccessOffice
from medshare.relay.profiles import Profile, person
from medshare.wire import routes, sign_in
from medshare.wire.bodies import inbox_query
from medshare.wire.routes import Target
from medshare.wire.sign_in import BegunFactor, NewFactor, Proof, Session
from tests.builder import Identity
from tests.relay_case import Case, Reply, open_case, signed
from tests.suites.transport_suite import ALICE

TOTP, RECOVERY = sign_in.TOTP, sign_in.RECOVERY


@dataclass
class Person:
    """Somebody at a relay, with what was enrolled."""

    case: Case
    identity: Identity = ALICE
    invitation: str = ""
    secret: bytes = b""
    factor: bytes = b""
    recovery: tuple[str, ...] = ()

    def ask(
        self,
        target: Target | tuple[str, str],
        body: bytes | None = None,
        *,
        session: str = "",
        **how: Any,
    ) -> Reply:
        """Make a signed request."""
        request = signed(self.identity, target, body, session=session, created=self.case.now, **how)
        return self.case.ask(request)

    def inbox(self, session: str = "", **how: Any) -> Reply:
        """Ask for the inbox, which needs a session."""
        return self.ask(Target(routes.INBOX), query=inbox_query(0), session=session, **how)

    def begin(self, kind: str = TOTP, *, secret: str | None = None, session: str = "") -> Reply:
        """Begin to add a factor."""
        new = NewFactor(kind, self.invitation if secret is None else secret)
        body = sign_in.encode_new_factor(new)
        return self.ask(Target(routes.BEGIN_FACTOR), body, session=session)

    def finish(self, factor: bytes, proof: Proof) -> Reply:
        """Let a factor count."""
        target = Target(routes.FINISH_FACTOR, factor=factor)
        return self.ask(target, sign_in.encode_proof(proof))

    def enrol(self) -> None:
        """Add a code; half a minute passes, so that the next one can sign in."""
        begun = sign_in.decode_begun_factor(self.begin().body)
        self.secret, self.factor = begun.secret, begun.factor
        reply = self.finish(begun.factor, Proof(TOTP, code=self.code()))
        assert reply.status == 200, reply.code
        self.recovery = sign_in.decode_recovery(reply.body)
        self.case.now += codes.STEP

    def code(self, steps: int = 0) -> str:
        """Return the code of now, or of some steps later."""
        return codes.code_at(self.secret, self.case.now // codes.STEP + steps)

    def try_code(self, code: str | None = None, *, kind: str = TOTP) -> Reply:
        """Try to sign in with a code."""
        proof = Proof(kind, code=self.code() if code is None else code)
        return self.ask(Target(routes.SIGN_IN), sign_in.encode_proof(proof))

    def sign_in(self) -> Session:
        """Sign in with the code of now."""
        reply = self.try_code()
        assert reply.status == 200, reply.code
        return sign_in.decode_session(reply.body)

    def wrong(self) -> str:
        """Return a code that is none of those around now."""
        near = {self.code(steps) for steps in (-1, 0, 1)}
        return next(code for code in (f"{n:06d}" for n in range(4)) if code not in near)

    def begun(self, reply: Reply) -> BegunFactor:
        """Return what was begun."""
        assert reply.status == 200, reply.code
        return sign_in.decode_begun_factor(reply.body)


def office(case: Case) -> AccessOffice:
    """Return what the operator does."""
    return AccessOffice(case.data, case.service.record, lambda: case.now)


def acts(case: Case) -> list[tuple[Act, Outcome, str]]:
    """Return what the record of the relay says of Alice, or of what was done to her."""
    about = entries.station(ALICE.station)
    found = [entry.event for entry in RecordReader(case.data / "audit").entries()]
    return [(e.act, e.outcome, e.code) for e in found if about in (e.actor, e.object)]


@contextmanager
def person_at(data: Path, profile: Profile | None = None, **settings: Any) -> Iterator[Person]:
    """Open a relay at which Alice is a person who has not enrolled a factor yet."""
    with open_case(data, **settings) as case:
        secret = office(case).set_profile(ALICE.station, profile or person())
        yield Person(case, invitation=secret)


def again(someone: Person, case: Case) -> Person:
    """Return the same person at a relay that was opened again."""
    return replace(someone, case=case)
