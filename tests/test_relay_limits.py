"""How much the relay takes: bounds by route, quotas, a full disk, too much at once."""

import asyncio
import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import RelayRefusedError, RelayUnavailableError
from medshare.ids import ParcelId
from medshare.relay.app import Traffic
from medshare.relay.ledger import Ledger
from medshare.relay.settings import Limits
from medshare.wire import bodies, problems, routes
from medshare.wire.bodies import state_query
from medshare.wire.routes import Route, Target
from tests.builder import Identity, make_parcel
from tests.relay_case import Case, Reply, Request, open_case, signed
from tests.suites.transport_suite import ALICE, BOB, CAROL, study

PARCEL = study("limits")
ENVELOPE = signed(ALICE, Target(routes.PUT_ENVELOPE, PARCEL.id), PARCEL.envelope)


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    """An open relay at which Alice, Bob and Carol are enrolled."""
    with open_case(tmp_path / "relay") as found:
        yield found


def put(case: Case, route: Route, body: bytes, index: int = 0, by: Identity = ALICE) -> Reply:
    """Store something of the parcel."""
    return case.ask(signed(by, Target(route, PARCEL.id, index, by.station), body))


def announce(case: Case) -> None:
    """Announce the parcel with its manifest."""
    assert put(case, routes.PUT_ENVELOPE, PARCEL.envelope).status == 200
    assert put(case, routes.PUT_MANIFEST, PARCEL.manifest).status == 204


def target_of(route: Route) -> Target:
    """Return what a request of that kind is about, every part of it filled in."""
    return Target(route, PARCEL.id, 0, ALICE.station, proposal=bytes(32), factor=bytes(16))


taking = [route for route in routes.ROUTES if route.limit]
bodyless = [route for route in routes.ROUTES if not route.limit]


@pytest.mark.parametrize("route", taking, ids=lambda route: route.name)
def test_a_body_beyond_its_limit_is_refused_unread(case: Case, route: Route) -> None:
    """One octet more than a route takes is 413, before anything is read."""
    request = signed(ALICE, target_of(route), bytes(route.limit + 1))
    reply = case.ask(request)
    assert (reply.status, reply.code, reply.messages_read) == (413, problems.TOO_LARGE, 0)


@pytest.mark.parametrize("route", taking, ids=lambda route: route.name)
def test_a_request_that_needs_a_body_has_one(case: Case, route: Route) -> None:
    """A request without body, where one is needed, is malformed."""
    assert case.ask(signed(ALICE, target_of(route))).code == "format"


@pytest.mark.parametrize("route", bodyless, ids=lambda route: route.name)
def test_a_request_that_takes_no_body_has_none(case: Case, route: Route) -> None:
    """A body where none is taken is refused unread."""
    request = signed(ALICE, target_of(route), b"x")
    reply = case.ask(request)
    assert (reply.code, reply.messages_read) == (problems.TOO_LARGE, 0)


def test_a_body_without_length_is_refused_unread(case: Case) -> None:
    """A chunked body is 411."""
    request = ENVELOPE.without("content-length").with_field("transfer-encoding", "chunked")
    reply = case.ask(request)
    assert (reply.status, reply.code, reply.messages_read) == (411, problems.LENGTH, 0)


@pytest.mark.parametrize("route", [routes.GET_SEAL, routes.PUT_SEAL, routes.REMOVE])
def test_a_query_is_taken_only_where_one_is_listed(case: Case, route: Route) -> None:
    """A query on any other path is malformed, however well it is signed."""
    body = b"x" if route.limit else None
    request = signed(ALICE, Target(route, PARCEL.id), body, query="a=b")
    assert case.ask(request).code == "format"


def test_paths_and_methods_outside_the_protocol_are_refused(case: Case) -> None:
    """Signed requests learn that there is no such path, or that it takes another method."""
    assert case.ask(signed(ALICE, ("GET", "/v1/nothing"))).code == problems.PATH
    path = Target(routes.GET_SEAL, PARCEL.id).path
    reply = case.ask(signed(ALICE, ("DELETE", path)))
    assert (reply.status, reply.code) == (405, problems.METHOD)


PIECES = [
    (),
    (PARCEL.chunks[0][:-1],),
    (PARCEL.chunks[0], b"x"),
    (PARCEL.chunks[0][:500], PARCEL.chunks[0][500:-1], b"", b"xy"),
]


@pytest.mark.parametrize("pieces", PIECES, ids=["nothing", "short", "long", "longer"])
def test_a_body_is_exactly_as_long_as_announced(case: Case, pieces: tuple[bytes, ...]) -> None:
    """Too short is given up, too long refused; nothing stays behind, nothing is counted."""
    announce(case)
    before, used = case.files(), case.service.parcels.ledger.used()
    request = signed(ALICE, Target(routes.PUT_CHUNK, PARCEL.id, 0), PARCEL.chunks[0])
    reply = case.ask(request.but(pieces=pieces))
    assert reply.status in {0, 400}
    assert (case.files(), case.service.parcels.ledger.used()) == (before, used)


def test_a_body_may_come_in_any_pieces(case: Case) -> None:
    """Empty and tiny pieces make the same chunk."""
    announce(case)
    chunk = PARCEL.chunks[0]
    pieces = (b"", *(chunk[at : at + 7] for at in range(0, len(chunk), 7)), b"")
    request = signed(ALICE, Target(routes.PUT_CHUNK, PARCEL.id, 0), chunk)
    assert case.ask(request.but(pieces=pieces)).status == 204


def test_a_body_that_is_not_what_was_signed_is_refused(case: Case) -> None:
    """Other octets of the same length fail the Content-Digest, whatever they are."""
    announce(case)
    before = case.files()
    for index, other in ((0, bytes(len(PARCEL.chunks[0]))), (1, PARCEL.chunks[1][:-1] + b"\x00")):
        target = Target(routes.PUT_CHUNK, PARCEL.id, index)
        reply = case.ask(signed(ALICE, target, PARCEL.chunks[index]).but(body=other))
        assert (reply.status, reply.code) == (422, "integrity.digest")
    assert case.files() == before


def test_the_rooms_of_a_relay(tmp_path: Path) -> None:
    """Each quota refuses what goes beyond it, with 507, and what fits is still taken."""
    room = len(PARCEL.envelope) + len(PARCEL.manifest) + len(PARCEL.chunks[0])
    for number, limits in enumerate(
        (Limits(total_bytes=room), Limits(station_bytes=room), Limits(parcel_bytes=room))
    ):
        with open_case(tmp_path / str(number), limits=limits) as case:
            announce(case)
            assert put(case, routes.PUT_CHUNK, PARCEL.chunks[0], 0).status == 204
            reply = put(case, routes.PUT_CHUNK, PARCEL.chunks[1], 1)
            assert (reply.status, reply.code) == (507, problems.QUOTA)
            assert reply.messages_read == 0
            assert put(case, routes.PUT_CHUNK, PARCEL.chunks[0], 0).code in {"", problems.QUOTA}
            assert case.service.parcels.ledger.used() == room
        with open_case(tmp_path / str(number), limits=limits) as case:
            assert case.service.parcels.ledger.used(ALICE.station) == room
            assert put(case, routes.PUT_CHUNK, PARCEL.chunks[1], 1).code == problems.QUOTA


def test_one_sender_does_not_use_up_the_room_of_another(tmp_path: Path) -> None:
    """A quota for each sender counts each sender by itself."""
    limits = Limits(station_bytes=len(PARCEL.envelope) + len(PARCEL.manifest))
    with open_case(tmp_path / "relay", limits=limits) as case:
        announce(case)
        parcel = make_parcel({"x": b""}, sender=CAROL, recipients=[BOB], label="of carol")
        target = Target(routes.PUT_ENVELOPE, parcel.id)
        assert case.ask(signed(CAROL, target, parcel.envelope)).status == 200


def test_removing_makes_room(tmp_path: Path) -> None:
    """What is removed no longer counts."""
    limits = Limits(total_bytes=len(PARCEL.envelope))
    with open_case(tmp_path / "relay", limits=limits) as case:
        assert put(case, routes.PUT_ENVELOPE, PARCEL.envelope).status == 200
        other = study("more")
        request = signed(ALICE, Target(routes.PUT_ENVELOPE, other.id), other.envelope)
        assert case.ask(request).code == problems.QUOTA
        assert case.ask(signed(ALICE, Target(routes.REMOVE, PARCEL.id))).status == 204
        request = signed(ALICE, Target(routes.PUT_ENVELOPE, other.id), other.envelope)
        assert case.ask(request).status == 200


def test_a_sender_finishes_before_it_begins_much_more(tmp_path: Path) -> None:
    """Parcels without seal are bounded; a seal makes way for the next, a repetition needs none."""
    first, second = make_parcel({"x": b""}, sender=ALICE, recipients=[BOB]), study("second")
    with open_case(tmp_path / "relay", limits=Limits(open_parcels=1)) as case:

        def begin(parcel: Any) -> Reply:
            target = Target(routes.PUT_ENVELOPE, parcel.id)
            return case.ask(signed(ALICE, target, parcel.envelope))

        assert begin(first).status == 200
        assert begin(second).code == problems.QUOTA
        assert begin(first).status == 200
        case.ask(signed(ALICE, Target(routes.PUT_MANIFEST, first.id), first.manifest))
        assert case.ask(signed(ALICE, Target(routes.PUT_SEAL, first.id), first.seal)).status == 204
        assert begin(second).status == 200


def test_a_parcel_has_no_more_chunks_than_the_operator_takes(tmp_path: Path) -> None:
    """A parcel with more chunks is refused when it is announced."""
    with open_case(tmp_path / "relay", limits=Limits(parcel_chunks=4)) as case:
        reply = put(case, routes.PUT_ENVELOPE, PARCEL.envelope)
        assert (reply.status, reply.code) == (413, problems.TOO_LARGE)


def test_a_receipt_is_never_refused_for_want_of_room(tmp_path: Path) -> None:
    """What a recipient owes the sender does not depend on the sender's quota."""
    with open_case(tmp_path / "relay") as case:
        announce(case)
        for index, chunk in enumerate(PARCEL.chunks):
            put(case, routes.PUT_CHUNK, chunk, index)
        put(case, routes.PUT_SEAL, PARCEL.seal)
        used = case.service.parcels.ledger.used()
    with open_case(tmp_path / "relay", limits=Limits(total_bytes=used)) as case:
        assert put(case, routes.PUT_RECEIPT, b"receipt", by=BOB).status == 204
        assert put(case, routes.PUT_RECEIPT, b"a longer receipt", by=BOB).status == 204
        assert case.service.parcels.ledger.used() == used + len(b"a longer receipt")


def failing(number: int) -> Callable[..., Any]:
    """Return a system call that fails."""

    def fail(*args: object, **kwargs: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
@pytest.mark.parametrize("call", ["writev", "fsync", "replace"])
def test_a_full_disk_leaves_nothing_half_stored(case: Case, call: str, number: int) -> None:
    """A chunk that cannot be written is 507 (or 500 for a broken disk), and comes later."""
    announce(case)
    before, used = case.files(), case.service.parcels.ledger.used()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, failing(number))
        reply = put(case, routes.PUT_CHUNK, PARCEL.chunks[0])
    expected = (500, problems.FAULT) if number == errno.EIO else (507, problems.FULL)
    assert (reply.status, reply.code) == expected
    assert str(case.data) not in reply.problem.detail
    assert (case.files(), case.service.parcels.ledger.used()) == (before, used)
    assert put(case, routes.PUT_CHUNK, PARCEL.chunks[0]).status == 204


@pytest.mark.parametrize("route", [routes.PUT_ENVELOPE, routes.PUT_MANIFEST, routes.PUT_SEAL])
def test_a_full_disk_refuses_every_part(case: Case, route: Route) -> None:
    """Envelope, manifest and seal that cannot be written are 507, and come later."""
    parcel = make_parcel({"x": b""}, sender=ALICE, recipients=[BOB], label="no chunks")
    parts = {
        routes.PUT_ENVELOPE: parcel.envelope,
        routes.PUT_MANIFEST: parcel.manifest,
        routes.PUT_SEAL: parcel.seal,
    }
    for each, body in parts.items():
        if each is route:
            used = case.service.parcels.ledger.used()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "fsync", failing(errno.ENOSPC))
                reply = case.ask(signed(ALICE, Target(each, parcel.id), body))
            assert reply.code == problems.FULL
            assert case.service.parcels.ledger.used() == used
        assert case.ask(signed(ALICE, Target(each, parcel.id), body)).status in {200, 204}


def test_a_full_database_leaves_no_chunk_without_row(case: Case) -> None:
    """When the claim cannot be written, the chunk is taken back, and comes later."""
    announce(case)
    before, used = case.files(), case.service.parcels.ledger.used()
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = 13
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*args: object, **kwargs: object) -> None:
            raise full

        patch.setattr("medshare.relay.database.Change.set_chunk", refuse)
        reply = put(case, routes.PUT_CHUNK, PARCEL.chunks[0])
    assert (reply.status, reply.code) == (507, problems.FULL)
    assert (case.files(), case.service.parcels.ledger.used()) == (before, used)
    assert put(case, routes.PUT_CHUNK, PARCEL.chunks[0]).status == 204


def held(case: Case, request: Request) -> "asyncio.Task[Reply]":
    """Return a request that is under way."""
    return asyncio.create_task(case.answer(request))


def test_one_station_does_not_use_up_the_relay(tmp_path: Path) -> None:
    """Beyond its share a station gets 429, while another one is served; later it may again."""

    async def scenario(case: Case) -> None:
        tag = bodies.decode_state((await case.answer(state(ALICE))).body).tag
        query = state_query(known=tag, wait=1)
        under_way = [
            held(case, signed(ALICE, Target(routes.GET_STATE, PARCEL.id), query=query))
            for _ in range(3)
        ]
        await asyncio.sleep(0.2)
        reply = await case.answer(state(ALICE))
        assert (reply.status, reply.code) == (429, problems.BUSY)
        assert reply.headers["retry-after"] == "1"
        assert (await case.answer(state(BOB))).status == 200
        assert [reply.status for reply in await asyncio.gather(*under_way)] == [200] * 3
        assert (await case.answer(state(ALICE))).status == 200

    with open_case(tmp_path / "relay", limits=Limits(station_requests=3)) as case:
        announce(case)
        asyncio.run(scenario(case))


def state(by: Identity) -> Request:
    """Return a request for the state of the parcel."""
    return signed(by, Target(routes.GET_STATE, PARCEL.id), query=state_query())


def test_traffic_is_bounded_for_each_and_for_all() -> None:
    """Shares of a station and of all hold for requests and for uploads, and are given back."""
    limits = Limits(requests=3, station_requests=2, uploads=2, station_uploads=1)
    traffic = Traffic(limits)
    a, b, c = ALICE.station, BOB.station, CAROL.station
    with traffic.request(a, upload=True):
        with pytest.raises(RelayUnavailableError) as caught, traffic.request(a, upload=True):
            pass
        assert caught.value.code == problems.BUSY
        with traffic.request(a, upload=False), traffic.request(b, upload=True):
            with pytest.raises(RelayUnavailableError) as caught, traffic.request(c, upload=False):
                pass
            assert problems.status_of(caught.value.code) == 503
        with (
            traffic.request(b, upload=True),
            pytest.raises(RelayUnavailableError),
            traffic.request(c, upload=True),
        ):
            pass
    assert traffic._requests.total() == traffic._uploads.total() == 0


steps = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 60)), max_size=40)


@given(steps)
def test_the_ledger_adds_up(moves: list[tuple[int, int, int]]) -> None:
    """Whatever is taken, given back or forgotten, sums stay sums and quotas hold."""
    ledger = Ledger(Limits(total_bytes=200, station_bytes=120, parcel_bytes=80))
    stations = (ALICE.station, BOB.station)
    parcels = [ParcelId(bytes([n] * 16)) for n in range(4)]
    counted: dict[int, int] = dict.fromkeys(range(4), 0)
    for number, action, octets in moves:
        sender, parcel = stations[number % 2], parcels[number]
        of_sender = sum(counted[n] for n in range(4) if n % 2 == number % 2)
        fits = (
            counted[number] + octets <= 80
            and of_sender + octets <= 120
            and sum(counted.values()) + octets <= 200
        )
        if action:
            ledger.give_back(sender, parcel, octets)
            counted[number] = max(0, counted[number] - octets)
        elif fits:
            ledger.take(sender, parcel, octets)
            counted[number] += octets
        else:
            with pytest.raises(RelayRefusedError):
                ledger.take(sender, parcel, octets)
        assert ledger.used() == sum(counted.values())
        assert ledger.used(stations[0]) == counted[0] + counted[2]
    for number, parcel in enumerate(parcels):
        ledger.forget(stations[number % 2], parcel)
    assert ledger.used() == 0
