"""TLS in large steps: what goes in comes out, and an end is an end."""

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from medshare.transport.tls import STEP, TlsStream, client_tls
from tests.scripted_server import PATIENCE, Peer, ScriptedServer

pytestmark = pytest.mark.service
CONTENT = bytes(range(251)) * (3 * STEP // 251)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The authority that the servers are certified by."""
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA, tmp_path: Path) -> ssl.SSLContext:
    """Settings of a client that trusts it."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return client_tls(tmp_path / "ca.pem")


def connected(server: ScriptedServer, tls: ssl.SSLContext) -> TlsStream:
    """Return a stream to the server, keys agreed."""
    sock = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
    stream = TlsStream(sock, tls, "127.0.0.1")
    try:
        stream.handshake()
    except BaseException:
        stream.close()
        raise
    return stream


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("step", [100_001, STEP, len(CONTENT)])
def test_octets_arrive_as_they_were_sent(
    step: int, version: ssl.TLSVersion, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """In both directions, in any steps, in either version of TLS."""
    trusting.minimum_version = trusting.maximum_version = version
    with ScriptedServer(lambda peer: peer.say(peer.body(len(CONTENT))), authority=authority) as s:
        stream = connected(s, trusting)
        for begin in range(0, len(CONTENT), step):
            view = memoryview(CONTENT)[begin : begin + step]
            while view:
                view = view[stream.send(view) :]
        got = bytearray(len(CONTENT))
        left = memoryview(got)
        while left:
            count = stream.receive_into(left[:step])
            assert count
            left = left[count:]
        stream.close()
    assert bytes(got) == CONTENT


def _cut(peer: Peer) -> None:
    peer.say(b"x")
    socket.socket.shutdown(peer.sock, socket.SHUT_RDWR)


def _say_goodbye(peer: Peer) -> None:
    peer.say(b"x")
    peer.sock.settimeout(0.1)  # the client need not answer
    assert isinstance(peer.sock, ssl.SSLSocket)
    peer.sock.unwrap()


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("ending", [_cut, _say_goodbye])
def test_the_end_of_a_connection_is_told_once_all_is_read(
    ending: Callable[[Peer], None], together: bool, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """With the farewell of TLS or without it: the caller knows how much there had to be."""
    view = memoryview(bytearray(10))
    ended = threading.Event()

    def script(peer: Peer) -> None:
        try:
            ending(peer)
        finally:
            ended.set()

    with ScriptedServer(script, authority=authority) as server:
        stream = connected(server, trusting)
        if together:  # the octets and the end wait for the same read
            assert ended.wait(PATIENCE)
        assert stream.receive_into(view) == 1
        assert stream.receive_into(view) == 0
        stream.close()


def test_octets_that_nobody_asked_for_are_noticed(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """Whether they wait in the socket, between it and TLS, or behind TLS."""
    release = threading.Event()

    def script(peer: Peer) -> None:
        peer.say(b"ab" + b"c" * 20_000)
        release.wait(PATIENCE)

    with ScriptedServer(script, authority=authority) as server:
        stream = connected(server, trusting)
        assert stream.receive_into(memoryview(bytearray(1))) == 1
        assert stream.has_input()
        left = 20_001
        while left:
            left -= stream.receive_into(memoryview(bytearray(left)))
        assert not stream.has_input()
        release.set()
        stream.close()


def test_a_peer_without_tls_is_an_error(trusting: ssl.SSLContext) -> None:
    """Plain HTTP on the port of HTTPS is not mistaken for anything else."""
    with (
        ScriptedServer(lambda peer: peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server,
        pytest.raises(ssl.SSLError),
    ):
        connected(server, trusting)


def test_a_changed_record_is_an_error(authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    """One octet that does not belong to the connection ends it, and nothing of it is handed on."""

    def script(peer: Peer) -> None:
        socket.socket.send(peer.sock, b"\x17\x03\x03\x00\x20" + bytes(32))
        peer.body(1)

    with ScriptedServer(script, authority=authority) as server:
        stream = connected(server, trusting)
        with pytest.raises(ssl.SSLError):
            stream.receive_into(memoryview(bytearray(10)))
        stream.close()
