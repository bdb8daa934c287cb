"""The relay on a real socket, with clients that break off, dawdle, flood or cheat."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from medshare.relay.guard import ServerLimits
from medshare.relay.settings import server_limits
from medshare.wire import routes
from medshare.wire.routes import ROUTES, Target
from tests.builder import octets
from tests.relay_case import Request, signed
from tests.running_relay import PATIENCE, Relay, enroll, running_relay
from tests.suites.transport_suite import ALICE, BOB, announce, get_chunk, put_chunk, study

pytestmark = pytest.mark.service

STALL = 0.4


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A relay that soon loses its patience."""
    data: Path = tmp_path_factory.mktemp("relay") / "data"
    enroll(data, ALICE, BOB)
    limits = ServerLimits(
        stall_seconds=STALL, header_seconds=1.0, grace_seconds=0.2, connections=40
    )
    with running_relay(data, server=limits) as found:
        yield found


def address(relay: Relay) -> tuple[str, int]:
    """Return where the relay listens."""
    host, _, port = relay.url.removeprefix("http://").partition(":")
    return host, int(port)


def connect(relay: Relay) -> socket.socket:
    """Return a connection to the relay."""
    return socket.create_connection(address(relay), PATIENCE)


def put(relay: Relay, index: int, label: str) -> tuple[Request, bytes, bytes]:
    """Announce a parcel; return the request for one chunk of it, its head and its body."""
    parcel = study(label)
    announce(relay.transport(ALICE), parcel)
    host = "{}:{}".format(*address(relay))
    target = Target(routes.PUT_CHUNK, parcel.id, index)
    request = signed(ALICE, target, parcel.chunks[index], host=host, created=int(time.time()))
    lines = [b"%b: %b" % pair for pair in request.headers]
    head = b"\r\n".join([f"{request.method} {request.path} HTTP/1.1".encode(), *lines, b"", b""])
    return request, head, parcel.chunks[index]


def answer_of(sock: socket.socket) -> bytes:
    """Return all that comes until the relay closes, or is silent."""
    got = b""
    sock.settimeout(PATIENCE)
    try:
        while block := sock.recv(65536):
            got += block
            if b"\r\n\r\n" in got and b"content-length" not in got.lower():
                break
    except ConnectionError:
        pass
    return got


def status_of(answer: bytes) -> int:
    """Return the status of an answer, 0 for none."""
    return int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def chunks_of(relay: Relay, label: str) -> list[str]:
    """Return the names in the folder of chunks, unfinished ones too."""
    return sorted(p.name for p in (relay.folder(study(label).id) / "chunks").iterdir())


def eventually_empty(relay: Relay, label: str) -> bool:
    """Tell whether the folder of chunks becomes empty before patience ends."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if not chunks_of(relay, label):
            return True  # looked at once: a second look could meet a request that only now begins
        time.sleep(0.02)
    return False


def test_a_request_by_hand_is_as_good_as_one_of_ours(relay: Relay) -> None:
    """The page of the protocol suffices: a request put together octet by octet is accepted."""
    _, head, body = put(relay, 0, "by hand")
    with connect(relay) as sock:
        sock.sendall(head + body)
        assert status_of(answer_of(sock)) == 204
    assert chunks_of(relay, "by hand") == ["00000000"]


@pytest.mark.parametrize("sent", [0, 1, 700])
def test_a_client_that_goes_away_leaves_nothing(relay: Relay, sent: int) -> None:
    """A connection that ends in mid-body leaves no file, no row and no reserved room."""
    label = f"gone after {sent}"
    used = relay.service.parcels.ledger.used()
    _, head, body = put(relay, 1, label)
    announced = relay.service.parcels.ledger.used()
    with connect(relay) as sock:
        sock.sendall(head + body[:sent])
    assert eventually_empty(relay, label)
    end = time.monotonic() + PATIENCE
    while relay.service.parcels.ledger.used() != announced and time.monotonic() < end:
        time.sleep(0.02)
    assert relay.service.parcels.ledger.used() == announced > used
    parcel = study(label)
    put_chunk(relay.transport(ALICE), parcel, 1)
    assert get_chunk(relay.transport(BOB), parcel, 1) == parcel.chunks[1]


def test_a_client_that_dawdles_is_given_up(relay: Relay) -> None:
    """A body that stops coming is 408 after the stall time, and leaves nothing."""
    _, head, body = put(relay, 2, "dawdles")
    with connect(relay) as sock:
        sock.sendall(head + body[:300])
        answer = answer_of(sock)
    assert status_of(answer) == 408
    assert b"transfer.unavailable.slow" in answer
    assert eventually_empty(relay, "dawdles")


def test_octets_behind_a_body_are_no_part_of_it(relay: Relay) -> None:
    """More than Content-Length is no longer chunk: the chunk is stored, the rest is refused."""
    _, head, body = put(relay, 3, "overlong")
    with connect(relay) as sock:
        sock.sendall(head + body + b"\x00\x01garbage\r\n\r\n")
        answer = answer_of(sock)
    assert status_of(answer) == 204
    parcel = study("overlong")
    assert get_chunk(relay.transport(BOB), parcel, 3) == parcel.chunks[3]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda head: head.replace(b"content-length: ", b"x-length: "),
        lambda head: head.replace(b"content-length: ", b"content-length: 1\r\ncontent-length: "),
        lambda head: head.replace(b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n"),
        lambda head: head.replace(b"HTTP/1.1", b"HTTP/1.1 x"),
        lambda head: head.replace(b"host: ", b"host : "),
        lambda head: head.replace(b"PUT ", b"PUT\x00 "),
        lambda head: head.replace(b"signature: ", b"signature: medshare=:AAAA:\r\nsignature: "),
    ],
    ids=["no length", "two lengths", "chunked", "version", "space", "nul", "two signatures"],
)
def test_a_spoilt_head_is_refused(relay: Relay, spoil: object) -> None:
    """Heads that could be read in two ways are refused, and store nothing."""
    assert callable(spoil)
    _, head, body = put(relay, 4, "spoilt")
    spoilt = spoil(head)
    assert spoilt != head
    with connect(relay) as sock:
        sock.sendall(spoilt)
        with suppress(ConnectionError):  # refused by its head alone
            sock.sendall(body)
        assert status_of(answer_of(sock)) in {0, 400, 401, 411}
    assert eventually_empty(relay, "spoilt")


FLOODS = {
    "a field of a mebibyte": b"X-Big: " + b"a" * (1 << 20) + b"\r\n",
    "ten thousand fields": b"".join(b"X-%d: y\r\n" % n for n in range(10_000)),
    "a path of a mebibyte": b"",
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_headers_is_cut_off(relay: Relay, flood: str) -> None:
    """Heads beyond reason are refused without being gathered; the relay goes on."""
    path = b"/" + b"a" * (1 << 20) if flood.startswith("a path") else b"/v1/inbox"
    with connect(relay) as sock:
        with suppress(ConnectionError):
            sock.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n" + FLOODS[flood] + b"\r\n")
        assert status_of(answer_of(sock)) in {0, 400, 401, 414, 431}
    assert relay.transport(BOB).inbox() is not None


def test_unsigned_requests_cost_nothing(relay: Relay) -> None:
    """Hundreds of unsigned uploads are refused, and no octet of them reaches the disk."""
    before = sorted(relay.data.rglob("*"))
    for number in range(300):
        with connect(relay) as sock:
            path = Target(routes.PUT_CHUNK, study("unsigned").id, number % 5).path.encode()
            sock.sendall(b"PUT %b HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" % path)
            sock.sendall(octets("flood", 5000))
            assert status_of(sock.recv(65536)) == 401
    assert sorted(relay.data.rglob("*")) == before


def test_idle_connections_do_not_keep_others_out(relay: Relay) -> None:
    """With every place taken by silence, the silent are closed and the next is served."""
    idle = [connect(relay) for _ in range(60)]
    try:
        for sock in idle[::2]:
            sock.sendall(b"GET /v1/inbox HTTP/1.1\r\nHos")
        assert relay.transport(BOB).inbox() is not None
    finally:
        for sock in idle:
            sock.close()


def test_the_server_takes_no_body_that_no_route_takes() -> None:
    """The bound that holds for everybody is the largest of all routes."""
    assert server_limits().max_body == max(route.limit for route in ROUTES)
