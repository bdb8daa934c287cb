"""relay.sessions: a session is of one key of one station, and not for long."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from medshare.relay import codes
from medshare.relay.factor_store import FactorStore
from medshare.relay.sessions import MAX_SESSIONS, Lifetimes, Sessions
from medshare.wire import problems, routes
from medshare.wire.routes import Target
from tests.relay_case import Case, Reply, rotated, signed
from tests.sign_in_case import Person, office, person_at
from tests.suites.transport_suite import ALICE, BOB

NEWER = rotated(ALICE, "newer")


@pytest.fixture
def alice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    """Alice, a person, with a code enrolled."""
    monkeypatch.setattr(codes, "SCRYPT_COST", 1 << 4)
    with person_at(tmp_path / "relay") as found:
        found.enrol()
        yield found


def card_sent(case: Case) -> Reply:
    """Let the relay know the newer card of Alice, signed with its own key."""
    target = Target(routes.PUT_CARD)
    return case.ask(signed(NEWER, target, NEWER.card.encoded, created=case.now))


def test_a_stolen_session_is_of_no_use_to_another_station(alice: Person) -> None:
    """Bob, who is a person too, gets nothing with the session of Alice."""
    session = alice.sign_in().session
    office(alice.case).set_profile(BOB.station, alice.case.service.access.profile(ALICE.station))
    assert Person(alice.case, BOB).inbox(session).code == problems.SECOND_FACTOR
    assert alice.inbox(session).status == 200


def test_a_session_ends_with_the_key(alice: Person) -> None:
    """After a rotation the session is of no use, neither with the new key nor with the old one."""
    session = alice.sign_in().session
    assert card_sent(alice.case).status == 204
    assert Person(alice.case, NEWER).inbox(session).code == problems.SECOND_FACTOR
    assert alice.inbox(session).code == problems.SIGNATURE


def test_a_session_is_bound_to_the_key_itself(alice: Person) -> None:
    """Even if the relay forgot to end sessions, a session is refused with a newer key."""
    session = alice.sign_in().session
    alice.case.service.stations.enroll(NEWER.card)
    assert Person(alice.case, NEWER).inbox(session).code == problems.SECOND_FACTOR


def test_the_factor_outlives_the_key(alice: Person) -> None:
    """After a rotation the same code signs in, with the new key."""
    card_sent(alice.case)
    newer = Person(alice.case, NEWER, secret=alice.secret)
    assert newer.inbox(newer.sign_in().session).status == 200


def test_a_session_ends_after_its_time(alice: Person) -> None:
    """However busy it is, it is over after eight hours."""
    session = alice.sign_in()
    for _ in range(2 * 8 - 1):
        alice.case.now += 1799
        assert alice.inbox(session.session).status == 200
    alice.case.now = session.expires - 900
    assert alice.inbox(session.session).status == 200
    alice.case.now = session.expires
    assert alice.inbox(session.session).code == problems.SECOND_FACTOR


def test_a_session_ends_when_it_is_idle(alice: Person) -> None:
    """Half an hour without a request ends it, give or take the thirtieth part."""
    session = alice.sign_in().session
    alice.case.now += 1799
    assert alice.inbox(session).status == 200
    alice.case.now += 1800
    assert alice.inbox(session).code == problems.SECOND_FACTOR


def test_signing_out_ends_one_session(alice: Person) -> None:
    """The session that is named ends, others of the station do not; again is success."""
    first = alice.sign_in().session
    alice.case.now += codes.STEP
    second = alice.sign_in().session
    for _ in range(2):
        assert alice.ask(Target(routes.SIGN_OUT), session=first).status == 204
    assert alice.inbox(first).code == problems.SECOND_FACTOR
    assert alice.inbox(second).status == 200


def test_nobody_signs_out_another(alice: Person) -> None:
    """A session that another station names stays open."""
    session = alice.sign_in().session
    Person(alice.case, BOB).ask(Target(routes.SIGN_OUT), session=session)
    assert alice.inbox(session).status == 200


def test_a_session_that_is_not_covered_is_refused(alice: Person) -> None:
    """A field that the signature does not cover, another value in it, or nonsense is refused."""
    session = alice.sign_in().session
    plain = signed(ALICE, Target(routes.INBOX), query="after=0", created=alice.case.now)
    assert alice.case.ask(plain.with_field("medshare-session", session)).status == 400
    covered = signed(
        ALICE, Target(routes.INBOX), query="after=0", created=alice.case.now, session=session
    )
    other = session[:-1] + ("A" if session[-1] != "A" else "E")
    assert alice.case.ask(covered.with_field("medshare-session", other)).status == 401
    assert alice.case.ask(covered.with_field("medshare-session", "../x")).status == 400
    assert alice.case.ask(covered.without("medshare-session")).status == 400


def test_a_station_has_few_sessions(alice: Person) -> None:
    """One more than it may have ends the one that was idle longest."""
    sessions = []
    for _ in range(MAX_SESSIONS + 1):
        sessions.append(alice.sign_in().session)
        alice.case.now += codes.STEP
    open_ones = [one for one in sessions if alice.inbox(one).status == 200]
    assert open_ones == sessions[1:]


def test_a_session_outlives_the_relay(alice: Person) -> None:
    """Sessions are durable when the sign-in is answered: another process sees them."""
    session, now = alice.sign_in().session, alice.case.now
    asker = alice.case.service.stations.find(ALICE.station.hex())
    assert asker is not None
    with closing(FactorStore(alice.case.data)) as store:
        assert Sessions(store, Lifetimes(), lambda: now).is_open(asker, session)


def test_a_profile_that_changes_ends_sessions(alice: Person) -> None:
    """What was opened under other rules is opened anew."""
    session = alice.sign_in().session
    office(alice.case).set_profile(ALICE.station, alice.case.service.access.profile(ALICE.station))
    assert alice.inbox(session).code == problems.SECOND_FACTOR


def test_a_station_that_is_removed_loses_it_all(alice: Person) -> None:
    """Enrolled again, it is one without factor, profile or session."""
    session = alice.sign_in().session
    alice.case.service.stations.remove(ALICE.station)
    office(alice.case).forget(ALICE.station)
    assert alice.inbox(session).code == problems.SIGNATURE
    alice.case.service.stations.enroll(ALICE.card)
    assert alice.inbox(session).status == 200, "an open station needs no session"
    assert alice.try_code().code == problems.FACTOR
