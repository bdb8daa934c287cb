"""How the relay transport asks: addresses, signatures, and introducing itself after a rotation."""

import threading
from pathlib import Path

import pytest

from medshare.errors import AccessDeniedError, MedshareError, RelayUnavailableError, UsageError
from medshare.transport.relay import RelayTransport
from medshare.wire import bodies, problems, routes
from medshare.wire.problems import Problem, encode_problem
from tests.builder import make_identity
from tests.relay_case import rotated
from tests.running_relay import requester
from tests.scripted_server import Peer, ScriptedServer
from tests.suites.transport_suite import ALICE, BOB, study

PARCEL = study("requests")
NEWER = rotated(ALICE)
CBOR = f"Content-Type: {routes.CBOR}\r\n"


def read_request(peer: Peer) -> bytes:
    """Return the head of the next request, once its body has come too; nothing at the end."""
    head = peer.head()
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            peer.body(int(line.partition(b":")[2]))
    return head


def refuse(peer: Peer) -> None:
    """Answer that the signature is not one of an enrolled station."""
    body = encode_problem(Problem(401, problems.SIGNATURE, "because"))
    peer.answer(body, status="401 No", extra=f"Content-Type: {problems.PROBLEM}\r\n")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "relay.example.org",
        "ftp://relay.example.org",
        "http://relay.example.org",
        "http://192.0.2.1:8000",
        "https://",
        "https://relay.example.org/path",
        "https://relay.example.org?query",
        "https://relay.example.org#part",
        "https://user:secret@relay.example.org",
        "https://relay.example.org:99999",
        "https://relay.example.org:port",
        "https://exa mple.org",
    ],
)
def test_an_address_is_https_and_nothing_more(url: str) -> None:
    """Anything but https://host[:port], or http:// on this machine, is UsageError."""
    with pytest.raises(UsageError) as caught:
        RelayTransport(url, requester(ALICE))
    assert "secret" not in caught.value.message


def test_routes_are_named_for_people() -> None:
    """The route is the address, without a slash at its end."""
    for url, route in (
        ("https://Relay.example.org/", "relay https://relay.example.org"),
        ("https://relay.example.org:443", "relay https://relay.example.org"),
        ("http://127.0.0.1:8000", "relay http://127.0.0.1:8000"),
        ("https://[2001:db8::1]:8443", "relay https://[2001:db8::1]:8443"),
    ):
        transport = RelayTransport(url, requester(ALICE))
        assert transport.route == route
        transport.close()


def test_authorities_that_cannot_be_read_are_said_so(tmp_path: Path) -> None:
    """A missing file, or one that holds no certificate, is UsageError."""
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(UsageError):
            RelayTransport("https://relay.example.org", requester(ALICE), ca_file=tmp_path / name)


def test_a_rotated_station_introduces_itself_once() -> None:
    """Refused for its key, a station with a newer card shows it, and repeats the request."""
    seen: list[str] = []

    def script(peer: Peer) -> None:
        while head := read_request(peer):
            seen.append(head.split(b" ")[1].decode())
            if "/v1/card" in seen:
                peer.say(b"HTTP/1.1 204 Done\r\n\r\n")
            else:
                refuse(peer)

    with ScriptedServer(script) as server:
        transport = RelayTransport(server.url, requester(NEWER))
        transport.put_seal(PARCEL.id, PARCEL.seal)
        transport.close()
    path = routes.Target(routes.PUT_SEAL, PARCEL.id).path
    assert seen == [path, "/v1/card", path]


def test_an_introduction_that_does_not_help_is_the_first_refusal() -> None:
    """Refused again, the station's first refusal is the error; a first card is not shown."""
    for identity, requests in ((NEWER, 2), (ALICE, 1)):
        answered: list[int] = []

        def say(peer: Peer, answered: list[int] = answered) -> None:
            while read_request(peer):
                answered.append(1)
                refuse(peer)

        with ScriptedServer(say) as server:
            transport = RelayTransport(server.url, requester(identity))
            with pytest.raises(AccessDeniedError):
                transport.inbox()
            transport.close()
        assert len(answered) == requests


def test_close_ends_what_is_under_way() -> None:
    """A request that waits in another thread fails when the transport is closed."""
    arrived = threading.Event()

    def wait(peer: Peer) -> None:
        peer.head()
        arrived.set()
        peer.head()

    failed: list[Exception] = []
    with ScriptedServer(wait) as server:
        transport = RelayTransport(server.url, requester(BOB))

        def ask() -> None:
            try:
                transport.inbox()
            except MedshareError as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        assert arrived.wait(10)
        transport.close()
        thread.join(10)
    assert [type(error) for error in failed] == [RelayUnavailableError]


def test_a_relay_that_never_lets_one_wait_is_not_flooded() -> None:
    """An empty inbox that is answered at once is asked for once a second."""
    asked: list[bytes] = []

    def script(peer: Peer) -> None:
        while head := read_request(peer):
            asked.append(head.split(b" ")[1])
            peer.answer(bodies.encode_inbox([], following=0), extra=CBOR)

    with ScriptedServer(script) as server:
        transport = RelayTransport(server.url, requester(BOB))
        assert transport.inbox(seconds=2.5) == ()
        transport.close()
    assert asked[0] == b"/v1/inbox?after=0&wait=2"
    assert 2 <= len(asked) <= 5


def test_every_attempt_is_signed_anew() -> None:
    """Two requests never carry the same nonce, and name the station that asks."""
    heads: list[bytes] = []

    def script(peer: Peer) -> None:
        while head := read_request(peer):
            heads.append(head)
            peer.answer(bodies.encode_inbox([], following=0), extra=CBOR)

    stranger = make_identity("signing")
    with ScriptedServer(script) as server:
        transport = RelayTransport(server.url, requester(stranger))
        for _ in range(3):
            transport.inbox()
        transport.close()
    inputs = [
        next(x for x in h.split(b"\r\n") if x.lower().startswith(b"signature-input")) for h in heads
    ]
    assert len(set(inputs)) == 3
    assert all(stranger.station.hex().encode() in line for line in inputs)
