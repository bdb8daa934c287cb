"""Whoever reaches the relay's port abuses it: it stays within its bounds, and serves the others."""

import os
import re
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from medshare.relay.guard import ServerLimits
from medshare.wire import routes
from medshare.wire.routes import MAX_CARD_BODY, Target
from tests.relay_case import Request, signed
from tests.relay_process import RelayProcess, relay_process
from tests.running_relay import PATIENCE, Relay, enroll, running_relay
from tests.suites.transport_suite import ALICE, BOB, announce, study, upload

pytestmark = pytest.mark.service

CONNECTIONS = 128
HEADER_SECONDS = 1.0  # the least that counts: the server knows whole seconds alone
IDLE = 1500
MAX_GROWTH = 96 << 20


@pytest.fixture(scope="module")
def many_files() -> Iterator[None]:
    """Let this process hold as many sockets as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, many_files: None) -> Iterator[Relay]:
    """A relay with few places and little patience."""
    data = tmp_path_factory.mktemp("relay") / "data"
    enroll(data, ALICE, BOB)
    limits = ServerLimits(
        connections=CONNECTIONS, header_seconds=HEADER_SECONDS, stall_seconds=1, grace_seconds=0.2
    )
    with running_relay(data, server=limits) as found:
        yield found


def address(url: str) -> tuple[str, int]:
    """Return where a relay listens."""
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


def knock(relay: Relay) -> socket.socket:
    """Begin a connection, and do not wait until it is accepted."""
    sock = socket.socket()
    sock.setblocking(False)
    with suppress(BlockingIOError):
        sock.connect(address(relay.url))
    return sock


def served(relay: Relay) -> float:
    """Return after how many seconds an honest station is served."""
    begun = time.monotonic()
    end = begun + 3 * PATIENCE
    while time.monotonic() < end:
        with suppress(Exception):
            relay.transport(BOB).inbox()
            return time.monotonic() - begun
        time.sleep(0.1)
    raise AssertionError("an honest station was kept out")


def test_thousands_of_idle_connections(relay: Relay) -> None:
    """T42: ten times as many silent connections as there are places: they go, others are served."""
    with ExitStack() as stack:
        for _ in range(IDLE):
            stack.callback(knock(relay).close)
        served(relay)
    assert served(relay) < PATIENCE


def test_heads_in_drops(relay: Relay) -> None:
    """Slowloris: heads that come octet by octet, on every place at once, are cut off."""
    stop = threading.Event()
    with ExitStack() as stack:
        socks = [knock(relay) for _ in range(2 * CONNECTIONS)]
        for sock in socks:
            stack.callback(sock.close)

        def drip() -> None:
            for octet in b"GET /v1/inbox HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 1000:
                for sock in socks:
                    with suppress(OSError):
                        sock.send(bytes([octet]))
                if stop.wait(0.05):
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            served(relay)
        finally:
            stop.set()
            thread.join()


def raw(request: Request) -> bytes:
    """Return a signed request as it goes over the wire."""
    lines = [b"%b: %b" % pair for pair in request.headers]
    target = request.path + (f"?{request.query}" if request.query else "")
    head = [f"{request.method} {target} HTTP/1.1".encode(), *lines, b"", b""]
    return b"\r\n".join(head) + (request.body or b"")


def say(url: str, octets: bytes) -> int:
    """Make a request by hand; return the status of the answer, 0 for none."""
    with socket.create_connection(address(url), PATIENCE) as sock:
        with suppress(ConnectionError):
            sock.sendall(octets)
        with suppress(OSError):
            found = re.match(rb"HTTP/1\.1 (\d{3}) ", sock.recv(4096))
            return int(found[1]) if found else 0
    return 0


def test_replayed_signatures(relay: Relay) -> None:
    """A recorded request is accepted once of 300 times, and one nonce is all that is kept of it."""
    parcel = study("replayed")
    announce(relay.transport(ALICE), parcel)
    host = "{}:{}".format(*address(relay.url))
    target = Target(routes.PUT_CHUNK, parcel.id, 0)
    request = signed(ALICE, target, parcel.chunks[0], host=host, created=int(time.time()))
    octets = raw(request)
    statuses = [say(relay.url, octets) for _ in range(300)]
    assert statuses.count(204) == 1
    assert set(statuses) == {204, 401}


def memory_of(relay: RelayProcess) -> int:
    """Return the octets of memory that a relay's process holds."""
    text = Path(f"/proc/{relay.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    assert found
    return int(found[1]) << 10


def flood_of_cards(relay: RelayProcess, times: int) -> list[int]:
    """Send bodies of a mebibyte in the name of Alice, many at once; return the statuses."""
    host = "{}:{}".format(*address(relay.url))
    found: list[int] = []

    def send() -> None:
        for _ in range(times):
            body = os.urandom(MAX_CARD_BODY)
            target = Target(routes.PUT_CARD)
            forged = signed(
                ALICE, target, body, host=host, created=int(time.time()), signer=BOB.signers[0]
            )
            found.append(say(relay.url, raw(forged)))

    threads = [threading.Thread(target=send) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_a_flood_of_anonymous_bodies(tmp_path: Path) -> None:
    """The one body that is read unsigned, sent 160 times at once: refused, in little memory."""
    enroll(tmp_path / "relay", ALICE, BOB)
    with relay_process(tmp_path / "relay") as relay:
        upload(relay.transport(ALICE), study("before the flood"))
        before = memory_of(relay)
        statuses = flood_of_cards(relay, 10)
        assert set(statuses) <= {0, 401, 429}
        assert memory_of(relay) - before < MAX_GROWTH
        upload(relay.transport(ALICE), study("after the flood"))


def test_a_flood_of_unsigned_bodies(tmp_path: Path) -> None:
    """A gibibyte of unsigned uploads, announced and sent: not an octet reaches disk or memory."""
    enroll(tmp_path / "relay", ALICE, BOB)
    path = Target(routes.PUT_CHUNK, study("unsigned").id, 0).path.encode()
    head = b"PUT %b HTTP/1.1\r\nHost: x\r\nContent-Length: 16908428\r\n\r\n" % path
    with relay_process(tmp_path / "relay") as relay:
        before = memory_of(relay)
        kept = sorted((tmp_path / "relay").rglob("*"))
        statuses = [say(relay.url, head + bytes(16908428)) for _ in range(64)]
        assert set(statuses) <= {0, 401}
        assert memory_of(relay) - before < MAX_GROWTH
        assert sorted((tmp_path / "relay").rglob("*")) == kept
        assert relay.transport(BOB).inbox() == ()
