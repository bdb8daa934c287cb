"""relay.second_factor: codes, recovery codes, throttle and lock, and what the record says."""

import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from medshare.audit.entries import Act, Outcome
from medshare.errors import (
    NotFoundError,
    UsageError,
)
from medshare.relay import codes
from medshare.relay.profiles import person
from medshare.relay.second_factor import (
    BEGUN_SECONDS,
    INVITATION_SECONDS,
    LOCK_AFTER,
    MAX_PAUSE,
)
from medshare.wire import problems, routes, sign_in
from medshare.wire.routes import Target
from medshare.wire.sign_in import Proof
from tests.sign_in_case import RECOVERY, TOTP, Person, acts, office, person_at
from tests.suites.transport_suite import ALICE, BOB

VECTORS = {
    59: "94287082",
    1111111109: "07081804",
    1111111111: "14050471",
    1234567890: "89005924",
    2000000000: "69279037",
    20000000000: "65353130",
}
"""RFC 6238, appendix B, SHA-1: the time, and eight digits of which six are used here."""


DIGITS = {
    "parcel": "0" * 32,
    "index": "0" * 8,
    "station": ALICE.station.hex(),
    "factor": "0" * 32,
    "proposal": "0" * 64,
}


@pytest.fixture
def alice(tmp_path: Path) -> Iterator[Person]:
    """Alice, a person, with a code enrolled."""
    with person_at(tmp_path / "relay") as found:
        found.enrol()
        yield found


@pytest.fixture(autouse=True)
def cheap_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let recovery codes be hashed quickly."""
    monkeypatch.setattr(codes, "SCRYPT_COST", 1 << 4)


@pytest.mark.parametrize(("time", "code"), VECTORS.items())
def test_codes_are_those_of_rfc_6238(time: int, code: str) -> None:
    """The vectors of RFC 6238 come out, in their last six digits, at their time step."""
    secret = b"12345678901234567890"
    assert codes.code_at(secret, time // codes.STEP) == code[-6:]
    assert codes.matching_step(secret, code[-6:], now=time) == time // codes.STEP


def test_a_person_without_session_gets_nothing_but_the_hint(tmp_path: Path) -> None:
    """Every route but those that sign in is refused with 403 and a code of its own."""
    with person_at(tmp_path / "relay") as alice:
        for route in routes.ROUTES:
            query = {"get-state": "wait=0", "inbox": "after=0"}.get(route.name, "")
            path = re.sub(r"{(\w+)}", lambda part: DIGITS[part[1]], route.template)
            reply = alice.ask((route.method, path), b"x" if route.limit else None, query=query)
            free = route.signs_in or route is routes.PUT_CARD
            assert (reply.code == problems.SECOND_FACTOR) != free, route.name


def test_a_code_opens_a_session(alice: Person) -> None:
    """A code of the current step gives a session, and with it the inbox answers."""
    session = alice.sign_in()
    assert alice.inbox(session.session).status == 200
    assert alice.inbox().code == problems.SECOND_FACTOR
    assert (session.expires - alice.case.now, session.idle) == (8 * 3600, 1800)


def test_a_code_is_accepted_once(alice: Person) -> None:
    """The same code in the same window is refused, and so is the one of the step before."""
    before = alice.code(-1)
    alice.sign_in()
    alice.case.now += 2
    assert alice.try_code().code == problems.FACTOR
    alice.case.now += 4
    assert alice.try_code(before).code == problems.FACTOR


def test_the_code_that_enrolled_does_not_sign_in(tmp_path: Path) -> None:
    """The step with which a factor was shown to work is used up."""
    with person_at(tmp_path / "relay") as alice:
        alice.enrol()
        alice.case.now -= codes.STEP
        assert alice.try_code().code == problems.FACTOR


@pytest.mark.parametrize("steps", [-2, -1, 0, 1, 2])
def test_clocks_may_differ_by_one_step(alice: Person, steps: int) -> None:
    """Codes of one step before and after are accepted, those of two are not."""
    alice.case.now += 10 * codes.STEP
    assert (alice.try_code(alice.code(steps)).status == 200) == (abs(steps) <= 1)


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "٠١٢٣٤٥", "0" * 64])
def test_what_is_no_code_is_refused(alice: Person, code: str) -> None:
    """Anything but six digits is a failure like any other."""
    assert alice.try_code(code).code == problems.FACTOR


def test_failures_are_answered_more_and_more_slowly(alice: Person) -> None:
    """After the n-th failure nothing is looked at for 2^(n-1) seconds, right code or not."""
    for failures in range(1, LOCK_AFTER):
        assert alice.try_code(alice.wrong()).code == problems.FACTOR
        pause = min(2 ** (failures - 1), MAX_PAUSE)
        alice.case.now += pause - 1
        reply = alice.try_code()
        assert (reply.status, reply.code) == (429, problems.THROTTLED)
        alice.case.now += 1
    session = alice.sign_in()
    assert session.failures == LOCK_AFTER - 1


def locked(alice: Person) -> None:
    """Fail until the station is locked, and wait as long as one must."""
    for _ in range(LOCK_AFTER):
        assert alice.try_code(alice.wrong()).code == problems.FACTOR
        alice.case.now += MAX_PAUSE


def test_a_station_is_locked_after_too_many_failures(alice: Person) -> None:
    """After ten failures the right code is refused as well, for good."""
    locked(alice)
    alice.case.now += 10 * 24 * 3600
    assert alice.try_code().code == problems.LOCKED
    assert acts(alice.case).count((Act.LOCK_OUT, Outcome.DONE, "")) == 1


def test_a_recovery_code_ends_a_lock(alice: Person) -> None:
    """Whoever has a recovery code signs in although locked, and codes count again."""
    locked(alice)
    assert alice.try_code(alice.recovery[3], kind=RECOVERY).status == 200
    alice.sign_in()


def test_the_operator_ends_a_lock(alice: Person) -> None:
    """`unlock` lets codes count again, and says how many had failed."""
    locked(alice)
    assert office(alice.case).unlock(ALICE.station) == LOCK_AFTER
    alice.sign_in()


def test_nobody_else_can_lock_a_station(alice: Person) -> None:
    """Attempts of another station, or with another key, are not counted."""
    for identity in (BOB,):
        other = Person(alice.case, identity)
        other.try_code("000000")
    forged = alice.ask(
        Target(routes.SIGN_IN),
        sign_in.encode_proof(Proof(TOTP, code="000000")),
        signer=BOB.signers[0],
    )
    assert forged.code == problems.SIGNATURE
    assert alice.sign_in().failures == 0


def test_each_recovery_code_works_once(alice: Person) -> None:
    """Ten codes are given; each signs in, however it is typed, and never again."""
    assert len(set(alice.recovery)) == sign_in.RECOVERY_CODES
    typed = alice.recovery[0].lower().replace("-", " ")
    assert alice.try_code(typed, kind=RECOVERY).status == 200
    assert alice.try_code(alice.recovery[0], kind=RECOVERY).code == problems.FACTOR
    assert alice.case.service.access.factors.factors(ALICE.station).recovery == 9


def test_a_recovery_code_in_another_place_is_refused(alice: Person) -> None:
    """The digit in front is part of the code."""
    moved = f"1{alice.recovery[0][1:]}"
    assert alice.try_code(moved, kind=RECOVERY).code == problems.FACTOR


def test_new_recovery_codes_take_the_place_of_the_old(alice: Person) -> None:
    """They need a session, and afterwards none of the old ones works."""
    target = Target(routes.RECOVERY_CODES)
    assert alice.ask(target).code == problems.SECOND_FACTOR
    session = alice.sign_in().session
    new = sign_in.decode_recovery(alice.ask(target, session=session).body)
    assert alice.try_code(alice.recovery[0], kind=RECOVERY).code == problems.FACTOR
    alice.case.now += 1
    assert alice.try_code(new[0], kind=RECOVERY).status == 200


def test_nobody_waits_while_recovery_codes_are_hashed(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow hashes are made before the store is locked: others sign in and out meanwhile."""
    hashed, sessions = codes.hashed, alice.case.service.access.sessions
    waited: list[bool] = []

    def with_somebody_else(code: str) -> tuple[bytes, bytes]:
        other = threading.Thread(target=sessions.end_all, args=(BOB.station,), daemon=True)
        other.start()
        other.join(3)
        waited.append(other.is_alive())
        return hashed(code)

    session = alice.sign_in().session
    monkeypatch.setattr(codes, "hashed", with_somebody_else)
    assert alice.ask(Target(routes.RECOVERY_CODES), session=session).status == 200
    assert waited == [False] * 10


def test_a_factor_is_not_added_without_the_operators_secret(tmp_path: Path) -> None:
    """A wrong, missing, used or expired enrolment secret gives nothing, and counts as failure."""
    with person_at(tmp_path / "relay") as alice:
        assert alice.begin(secret="").code == problems.INVITATION
        alice.case.now += 1
        assert alice.begin(secret="AAAA-" * 5 + "AAAA").code == problems.INVITATION
        alice.case.now += 2 + INVITATION_SECONDS
        assert alice.begin().code == problems.INVITATION
    with person_at(tmp_path / "other") as alice:
        alice.enrol()
        assert alice.begin().code == problems.INVITATION


def test_a_second_factor_is_added_in_a_session(alice: Person) -> None:
    """In a session no secret is needed, and no recovery codes are shown again."""
    session = alice.sign_in().session
    begun = alice.begun(alice.begin(secret="", session=session))
    code = codes.code_at(begun.secret, alice.case.now // codes.STEP)
    reply = alice.finish(begun.factor, Proof(TOTP, code=code))
    assert sign_in.decode_recovery(reply.body) == ()
    listing = alice.ask(Target(routes.LIST_FACTORS), session=session)
    assert len(sign_in.decode_factors(listing.body).factors) == 2


def test_a_factor_that_was_begun_counts_once_it_works(tmp_path: Path) -> None:
    """Until the right code comes it signs nobody in; a wrong one, or a late one, is refused."""
    with person_at(tmp_path / "relay") as alice:
        begun = alice.begun(alice.begin())
        alice.secret = begun.secret
        assert alice.try_code().code == problems.FACTOR
        alice.case.now += 1
        assert alice.finish(begun.factor, Proof(TOTP, code=alice.wrong())).code == problems.FACTOR
        alice.case.now += BEGUN_SECONDS
        late = alice.finish(begun.factor, Proof(TOTP, code=alice.code()))
        assert late.code == problems.NOT_FOUND


def test_what_was_begun_ends_with_the_secret_that_began_it(tmp_path: Path) -> None:
    """Whoever used a secret that the operator has replaced since cannot finish with it."""
    with person_at(tmp_path / "relay") as alice:
        begun = alice.begun(alice.begin())
        alice.secret = begun.secret
        office(alice.case).set_profile(ALICE.station, person())
        assert alice.finish(begun.factor, Proof(TOTP, code=alice.code())).status == 404


def test_a_kind_that_is_not_accepted_any_more_is_not_finished(tmp_path: Path) -> None:
    """A code that was begun brings neither sign-in nor recovery codes where keys are demanded."""
    with person_at(tmp_path / "relay") as alice:
        begun = alice.begun(alice.begin())
        alice.secret = begun.secret
        office(alice.case).carry_out(ALICE.station, person(["fido2"]))
        reply = alice.finish(begun.factor, Proof(TOTP, code=alice.code()))
        assert (reply.status, reply.code) == (403, problems.PROFILE)


def test_the_last_factor_cannot_be_removed(alice: Person) -> None:
    """One of two can, which ends all sessions; the last one stays."""
    session = alice.sign_in().session
    assert (
        alice.ask(Target(routes.REMOVE_FACTOR, factor=alice.factor), session=session).status == 409
    )
    begun = alice.begun(alice.begin(secret="", session=session))
    code = codes.code_at(begun.secret, alice.case.now // codes.STEP)
    alice.finish(begun.factor, Proof(TOTP, code=code))
    assert (
        alice.ask(Target(routes.REMOVE_FACTOR, factor=alice.factor), session=session).status == 204
    )
    assert alice.inbox(session).code == problems.SECOND_FACTOR


def test_a_reset_forgets_everything(alice: Person) -> None:
    """After a reset neither session nor code nor recovery code holds, and the secret enrols."""
    session = alice.sign_in().session
    alice.invitation = office(alice.case).reset(ALICE.station)
    assert alice.inbox(session).code == problems.SECOND_FACTOR
    assert alice.try_code(alice.code(1)).code == problems.FACTOR
    alice.case.now += 1
    assert alice.try_code(alice.recovery[1], kind=RECOVERY).code == problems.FACTOR
    alice.case.now += 2
    alice.enrol()
    alice.sign_in()
    with pytest.raises(NotFoundError):
        office(alice.case).reset(BOB.station)


def test_a_kind_that_the_profile_does_not_name_is_refused(alice: Person) -> None:
    """Once only security keys are accepted, a code signs in no longer; recovery codes do."""
    office(alice.case).set_profile(ALICE.station, person(["fido2"]))
    assert alice.try_code().code == problems.PROFILE
    assert alice.begin(TOTP).code == problems.PROFILE
    assert alice.try_code(alice.recovery[0], kind=RECOVERY).status == 200


def test_the_record_tells_it_all(alice: Person) -> None:
    """Factors, sign-ins, refusals, recovery codes and what the operator did are recorded."""
    alice.try_code(alice.wrong())
    alice.case.now += 1
    session = alice.sign_in().session
    alice.ask(Target(routes.SIGN_OUT), session=session)
    alice.try_code(alice.recovery[0], kind=RECOVERY)
    office(alice.case).unlock(ALICE.station)
    office(alice.case).reset(ALICE.station)
    done = Outcome.DONE
    assert acts(alice.case) == [
        (Act.PROFILE, done, ""),
        (Act.ADD_FACTOR, done, ""),
        (Act.SIGN_IN, Outcome.REFUSED, problems.FACTOR),
        (Act.SIGN_IN, done, ""),
        (Act.SIGN_OUT, done, ""),
        (Act.USE_RECOVERY, done, ""),
        (Act.SIGN_IN, done, ""),
        (Act.UNLOCK, done, ""),
        (Act.RESET_FACTORS, done, ""),
    ]


def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, whoever needs it is told how to install it."""
    monkeypatch.setitem(sys.modules, "pyotp", None)
    for needing in (codes.require_libraries, lambda: codes.code_at(bytes(20), 1)):
        with pytest.raises(UsageError) as refused:
            needing()
        assert "medshare[signin]" in str(refused.value.hint)
