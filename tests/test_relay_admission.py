"""Who gets in: only signed, fresh, unrepeated requests of enrolled stations, for this relay."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from medshare.errors import RelayRefusedError
from medshare.ids import ParcelId, StationId
from medshare.relay.admission import Names
from medshare.wire import problems, routes
from medshare.wire.bodies import inbox_query, state_query
from medshare.wire.routes import Route, Target
from tests.builder import make_identity
from tests.relay_case import HOST, NOW, Case, Request, open_case, signed
from tests.suites.transport_suite import ALICE, BOB, CAROL, study

PARCEL = study("admission")
STRANGER = make_identity("stranger")
INBOX = Target(routes.INBOX)
MAX_SKEW = 300


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    """An open relay at which Alice, Bob and Carol are enrolled."""
    with open_case(tmp_path / "relay") as found:
        yield found


def target_of(route: Route) -> Target:
    """Return a target of *route*."""
    return Target(
        route,
        PARCEL.id if "{parcel}" in route.template else ParcelId(b""),
        0 if "{index}" in route.template else -1,
        BOB.station if "{station}" in route.template else StationId(b""),
        factor=bytes(16) if "{factor}" in route.template else b"",
    )


def request_of(route: Route, **changes: object) -> Request:
    """Return a well-formed request of *route*, signed by Alice."""
    queries = {routes.GET_STATE: state_query(), routes.INBOX: inbox_query(0)}
    return signed(
        ALICE,
        target_of(route),
        b"body" if route.limit else None,
        query=queries.get(route, ""),
        **changes,  # type: ignore[arg-type]  # what the test says
    )


def inbox(**changes: object) -> Request:
    """Return Alice's request for her inbox."""
    return request_of(routes.INBOX, **changes)


every_route = pytest.mark.parametrize("route", routes.ROUTES, ids=lambda route: route.name)


@every_route
def test_an_unsigned_request_is_refused_unread(case: Case, route: Route) -> None:
    """Without a signature every path answers 401, before a single octet of the body is read."""
    request = request_of(route).without("signature", "signature-input")
    reply = case.ask(request)
    assert (reply.status, reply.code) == (401, problems.UNSIGNED)
    assert reply.headers["www-authenticate"] == "Signature"
    assert reply.messages_read == 0


def test_an_unsigned_request_learns_nothing_about_paths(case: Case) -> None:
    """A path that does not exist answers the unsigned as one that does."""
    for path in ("/", "/v1/nothing", "/favicon.ico", "/v1/inbox"):
        assert case.ask(Request("GET", path)).code == problems.UNSIGNED


@every_route
def test_a_signature_with_another_key_is_refused_unread(case: Case, route: Route) -> None:
    """A request that Carol signed in Alice's name is refused before its body is read."""
    reply = case.ask(request_of(route, signer=CAROL.signers[0]))
    assert (reply.status, reply.code) == (401, problems.SIGNATURE)
    assert reply.messages_read == (1 if route is routes.PUT_CARD else 0)


@every_route
def test_who_is_not_enrolled_is_refused_unread(case: Case, route: Route) -> None:
    """A station whose card is not in the folder is refused, however well it signs."""
    request = signed(STRANGER, target_of(route), b"body" if route.limit else None)
    reply = case.ask(request)
    assert (reply.status, reply.code, reply.messages_read) == (401, problems.SIGNATURE, 0)


def test_removing_a_station_takes_effect_at_once(case: Case) -> None:
    """The next request of a removed station is refused, and of one enrolled again admitted."""
    assert case.ask(inbox()).status == 200
    case.service.stations.remove(ALICE.station)
    assert case.ask(inbox()).code == problems.SIGNATURE
    case.service.stations.enroll(ALICE.card)
    assert case.ask(inbox()).status == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("signature", "medshare=:AAAA:"),
        ("signature", "x"),
        ("signature-input", "medshare=()"),
        ("signature-input", 'other=("@method");created=1'),
        ("signature-input", "x" * 600),
    ],
)
def test_a_malformed_signature_counts_as_none(case: Case, field: str, value: str) -> None:
    """Fields that are not exactly what a station writes are refused as unauthenticated."""
    reply = case.ask(inbox().with_field(field, value))
    assert (reply.status, reply.code) == (401, problems.SIGNATURE)


SIGNED = request_of(routes.PUT_CHUNK)


@pytest.mark.parametrize(
    "changed",
    [
        inbox().but(method="DELETE"),
        inbox().but(query=inbox_query(1)),
        inbox().but(query=""),
        SIGNED.but(path=Target(routes.PUT_CHUNK, PARCEL.id, 1).path),
        SIGNED.with_field("content-length", "5"),
        SIGNED.with_field("content-digest", "blake3=:" + "A" * 43 + "=:"),
        SIGNED.without("content-digest", "content-length"),
    ],
    ids=["method", "query", "no query", "path", "length", "digest", "body"],
)
def test_no_part_of_a_signed_request_can_be_changed(case: Case, changed: Request) -> None:
    """Method, path, query, length and digest are bound: a change is refused unread."""
    reply = case.ask(changed)
    assert reply.status in {400, 401}
    assert reply.messages_read == 0


@pytest.mark.parametrize("age", [-MAX_SKEW, MAX_SKEW])
def test_clocks_may_differ_a_little(case: Case, age: int) -> None:
    """A request that was signed up to 300 seconds from the relay's time is admitted."""
    assert case.ask(inbox(created=NOW + age)).status == 200


@pytest.mark.parametrize("age", [-MAX_SKEW - 1, MAX_SKEW + 1, -86400])
def test_old_and_future_requests_are_refused(case: Case, age: int) -> None:
    """A request that was signed further away in time is refused, and says so."""
    reply = case.ask(inbox(created=NOW + age))
    assert (reply.status, reply.code) == (401, problems.SIGNATURE)
    assert "clock" in reply.problem.detail


@every_route
def test_a_request_is_accepted_once(case: Case, route: Route) -> None:
    """The same signed request again is refused unread, on every path."""
    request = request_of(route)
    assert case.ask(request).code != problems.SIGNATURE
    reply = case.ask(request)
    assert (reply.status, reply.code) == (401, problems.SIGNATURE)
    assert "once" in reply.problem.detail
    assert reply.messages_read == (1 if route is routes.PUT_CARD else 0)


@pytest.mark.parametrize("route", [r for r in routes.ROUTES if r.once], ids=lambda r: r.name)
def test_what_must_not_be_repeated_is_remembered_over_a_restart(
    tmp_path: Path, route: Route
) -> None:
    """Removals, receipts, wishes and cards are refused the second time by a new process too."""
    request = request_of(route)
    with open_case(tmp_path / "relay") as case:
        assert case.ask(request).code != problems.SIGNATURE
    with open_case(tmp_path / "relay") as case:
        reply = case.ask(request)
        assert (reply.status, reply.code) == (401, problems.SIGNATURE)


def test_the_memory_of_used_requests_is_forgotten_when_they_are_too_old(case: Case) -> None:
    """A nonce is kept while its request could be repeated, and no longer."""
    case.ask(request_of(routes.REMOVE))
    with case.service.parcels.database.reading() as view:
        assert view._all("SELECT count(*) FROM nonces") == [(1,)]
    case.now += 2 * MAX_SKEW + 1
    case.ask(request_of(routes.REMOVE, created=case.now))
    with case.service.parcels.database.reading() as view:
        assert view._all("SELECT count(*) FROM nonces") == [(1,)]


@pytest.mark.parametrize(
    "host", ["evil.example.org", f"{HOST}:444", f"{HOST}.evil.org", "", f"a@{HOST}", "127.0.0.1"]
)
def test_a_request_for_another_server_is_useless_here(case: Case, host: str) -> None:
    """A host that is not a name of this relay is refused, however well it is signed."""
    request = inbox().with_field("host", host)
    assert case.ask(request).code == problems.MISDIRECTED


def test_a_request_names_exactly_one_host(case: Case) -> None:
    """No host and two hosts are malformed."""
    request = inbox()
    twice = request.but(headers=(*request.headers, (b"host", HOST.encode())))
    for bad in (request.without("host"), twice):
        assert case.ask(bad).code == "format"


def test_names_count_with_the_port_of_the_relay() -> None:
    """A host of the certificate needs the port that is listened on; the scheme's own is mute."""
    hosts = ("a.example.org", "[::1]", "*.clinic.example")
    names = Names(("Front.example.org", "front.example.org:8443"), hosts)
    for host, scheme, port, authority in (
        ("A.Example.org", "https", 443, "a.example.org"),
        ("a.example.org:443", "https", 443, "a.example.org"),
        ("a.example.org:8000", "https", 8000, "a.example.org:8000"),
        ("[::1]:8000", "http", 8000, "[::1]:8000"),
        ("relay.clinic.example", "https", 443, "relay.clinic.example"),
        ("front.example.org", "http", 8000, "front.example.org"),
        ("front.example.org:8443", "http", 8000, "front.example.org:8443"),
    ):
        assert names.authority(host, scheme=scheme, port=port) == authority
    for host, scheme, port in (
        ("a.example.org", "https", 8000),
        ("a.example.org:80", "https", 443),
        ("a.example.org:443", "http", 8000),
        ("front.example.org:8444", "https", 8444),
        ("clinic.example", "https", 443),
        ("a.relay.clinic.example", "https", 443),
    ):
        with pytest.raises(RelayRefusedError):
            names.authority(host, scheme=scheme, port=port)
