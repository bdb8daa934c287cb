"""One connection: bodies arrive as they were sent, bounds hold, every failure has its name."""

import errno
import socket
import ssl
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h11
import httpx
import pytest
import trustme

from medshare.transport.connection import (
    Body,
    Connection,
    Origin,
    Phase,
    Piece,
    mapped_errors,
)
from medshare.transport.tls import client_tls
from tests.scripted_server import PATIENCE, Peer, ScriptedServer, server_tls

SYSTEM_ERRORS: list[Callable[[], Exception]] = [
    TimeoutError,
    lambda: ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    lambda: ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    lambda: BrokenPipeError(errno.EPIPE, "Broken pipe"),
    lambda: OSError(errno.ENETUNREACH, "Network is unreachable"),
    lambda: socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    lambda: ssl.SSLError(1, "[SSL] internal error"),
    lambda: ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
    lambda: ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed"),
    lambda: ssl.SSLSyscallError(5, "Some I/O error occurred"),
    lambda: h11.RemoteProtocolError("illegal header line"),
    lambda: h11.LocalProtocolError("Illegal header value"),
    lambda: UnicodeError("label too long"),
]
PHASES: tuple[Phase, ...] = ("connect", "write", "read")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The authority that the servers of this module are certified by."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """The file that makes a client trust it."""
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return file


def connect(url: str, tls: ssl.SSLContext | None = None, proxy: str | None = None) -> Connection:
    """Open a connection to a scripted server."""
    origin = Origin.of(httpx.URL(url))
    return Connection.open(origin, tls or client_tls(), 5.0, httpx.URL(proxy) if proxy else None)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("error", SYSTEM_ERRORS)
def test_every_failure_below_becomes_one_of_httpx(
    phase: Phase, error: Callable[[], Exception]
) -> None:
    """No exception of sockets, TLS or h11 passes, and its text has no capitals at its head."""
    with pytest.raises(httpx.TransportError) as caught, mapped_errors(phase):
        raise error()
    assert str(caught.value)[:1].islower()


def test_a_time_limit_is_told_apart_from_other_failures() -> None:
    """Each phase has its own timeout and its own network error."""
    expected = {
        "connect": (httpx.ConnectTimeout, httpx.ConnectError),
        "write": (httpx.WriteTimeout, httpx.WriteError),
        "read": (httpx.ReadTimeout, httpx.ReadError),
    }
    for phase in PHASES:
        with pytest.raises(expected[phase][0]), mapped_errors(phase):
            raise TimeoutError
        with pytest.raises(expected[phase][1]), mapped_errors(phase):
            raise ConnectionResetError


def test_errors_of_the_program_are_not_dressed_up() -> None:
    """A bug stays what it is."""
    with pytest.raises(KeyError), mapped_errors("read"):
        raise KeyError


@pytest.mark.parametrize(
    "url",
    [
        "http://relay.example/",
        "http://10.0.0.1/",
        "http://127.0.0.1.example/",
        "http://localhost.example/",
        "http://[2001:db8::1]/",
        "http://0.0.0.0/",
        "ftp://127.0.0.1/",
        "ws://127.0.0.1/",
        "file:///etc/passwd",
    ],
)
def test_plain_http_is_for_this_machine_alone(url: str) -> None:
    """Another scheme, or http to another machine, is refused before anything is looked up."""
    with pytest.raises(httpx.UnsupportedProtocol):
        Origin.of(httpx.URL(url))


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://relay.example/x", Origin("https", "relay.example", 443)),
        ("https://[2001:db8::1]:8443", Origin("https", "2001:db8::1", 8443)),
        ("http://127.9.9.9:80/", Origin("http", "127.9.9.9", 80)),
        ("http://[::1]:7/", Origin("http", "::1", 7)),
        ("http://localhost/", Origin("http", "localhost", 80)),
    ],
)
def test_an_origin_has_its_default_port(url: str, origin: Origin) -> None:
    """Hosts are read as httpx reads them, and ports filled in by scheme."""
    assert Origin.of(httpx.URL(url)) == origin


@pytest.mark.service
def test_plain_http_is_refused_when_a_local_name_leads_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What counts is the address at the other end, not the name that was typed."""
    with ScriptedServer(Peer.head) as server:
        monkeypatch.setattr(socket.socket, "getpeername", lambda sock: ("10.0.0.1", 80))
        with pytest.raises(httpx.ConnectError, match="not this machine"):
            connect(server.url)


@pytest.mark.service
def test_nobody_listening_is_a_connect_error() -> None:
    """A port that nobody serves is told in words."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(httpx.ConnectError, match="connection refused"):
        connect(f"http://127.0.0.1:{port}")


@pytest.mark.service
def test_a_certificate_of_somebody_else_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    """An unknown authority and a wrong host name both end the connection, with the reason."""
    for tls in (server_tls(trustme.CA()), server_tls(authority, "other.example")):
        with (
            ScriptedServer(partial(Peer.start_tls, tls=tls)) as server,
            pytest.raises(httpx.ConnectError, match=r"certificate .* not accepted"),
        ):
            connect(f"https://127.0.0.1:{server.port}", client_tls(ca_file))


@pytest.mark.service
def test_old_tls_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    """A client that trusts the server still does not speak less than TLS 1.2 with it."""
    old = server_tls(authority)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with (
        ScriptedServer(lambda peer: peer.start_tls(old)) as server,
        pytest.raises(httpx.ConnectError),
    ):
        connect(f"https://127.0.0.1:{server.port}", client_tls(ca_file))


@pytest.mark.service
@pytest.mark.parametrize("first", [0, 1, 100, 20_000])
def test_a_body_in_pieces_arrives_in_one(first: int, authority: trustme.CA, ca_file: Path) -> None:
    """Pieces of any kind and size are sent in order, right after the head."""
    content = bytes(range(256)) * 4096
    pieces: list[Piece] = [
        content[:first],
        bytearray(content[first:30_000]),
        memoryview(content)[30_000:],
    ]
    got: list[bytes] = []

    def script(peer: Peer) -> None:
        got.append(peer.head() + peer.body(len(content)))
        peer.say(b"x")

    with ScriptedServer(script, authority=authority) as server:
        connection = connect(server.url, client_tls(ca_file))
        assert connection.send(b"PUT / HTTP/1.1\r\n\r\n", pieces, 5.0) == len(content)
        connection.receive_into(memoryview(bytearray(1)), 5.0)
        connection.close()
    assert got == [b"PUT / HTTP/1.1\r\n\r\n" + content]


def answered(connection: Connection) -> tuple[h11.Response, h11.Connection]:
    """Ask for anything and return the head of the answer."""
    parser = h11.Connection(h11.CLIENT)
    head = parser.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.send(head or b"", (), 5.0)
    return connection.receive_head(parser, 5.0), parser


@pytest.mark.service
@pytest.mark.parametrize("size", [0, 1, 16_384, 1_000_003])
@pytest.mark.parametrize("step", [1_000, 16_384, 2_000_000])
def test_an_answer_is_read_into_the_buffer_of_the_caller(size: int, step: int) -> None:
    """In steps of any size, each filled, and not an octet further than was promised."""
    content = (bytes(range(251)) * 4_000)[:size]
    ends: list[bool] = []
    with ScriptedServer(lambda peer: peer.head() and peer.answer(content)) as server:
        connection = connect(server.url)
        _, parser = answered(connection)
        body = Body(
            connection,
            length=size,
            begun=parser.trailing_data[0],
            timeout=5.0,
            done=ends.append,
            reusable=True,
        )
        got = bytearray()
        while body.remaining:
            block = bytearray(step)
            count = body.readinto(memoryview(block))
            assert count == min(step, size - len(got))
            got += block[:count]
        assert bytes(got) == content
        assert body.readinto(memoryview(bytearray(8))) == 0
        assert ends == [True]
        connection.close()


@pytest.mark.service
def test_more_than_was_promised_is_left_alone_and_ends_the_connection() -> None:
    """Octets after the body may be an answer to nobody: the connection is not used again."""
    ends: list[bool] = []
    with ScriptedServer(lambda peer: peer.head() and peer.answer(b"abcdef")) as server:
        connection = connect(server.url)
        _, parser = answered(connection)
        begun = parser.trailing_data[0]
        body = Body(connection, length=2, begun=begun, timeout=5.0, done=ends.append, reusable=True)
        assert list(body) == [b"ab"]
        assert ends == [not begun]
        connection.close()


@pytest.mark.service
@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"HTTP/1.1 200 O",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
        b"\x15\x03\x01\x00\x02\x02\x16",
    ],
)
def test_an_answer_that_is_not_http_is_refused(says: bytes) -> None:
    """Garbage, contradictions and endless heads are protocol errors."""

    def script(peer: Peer) -> None:
        if peer.head():
            peer.say(says)

    with ScriptedServer(script) as server:
        connection = connect(server.url)
        with pytest.raises(httpx.RemoteProtocolError):
            answered(connection)
        connection.close()


@pytest.mark.service
def test_interim_answers_are_skipped() -> None:
    """RFC 9110 §15.2: any number of 1xx, within reason, may come before the answer."""

    def script(peer: Peer) -> None:
        if peer.head():
            peer.say(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            peer.answer(status="204 No Content")

    with ScriptedServer(script) as server:
        connection = connect(server.url)
        assert answered(connection)[0].status_code == 204
        connection.close()


@pytest.mark.service
def test_silence_ends_in_a_timeout_of_its_phase() -> None:
    """A server that neither reads nor answers is given up, in each direction."""
    release = threading.Event()
    with ScriptedServer(lambda peer: release.wait(PATIENCE)) as server:
        connection = connect(server.url)
        with pytest.raises(httpx.ReadTimeout):
            connection.receive_into(memoryview(bytearray(1)), 0.05)
        with pytest.raises(httpx.WriteTimeout):
            connection.send(b"x", [bytes(64 * 1024 * 1024)], 0.05)
        connection.close()
        release.set()


@pytest.mark.service
def test_a_tunnel_is_asked_of_a_proxy(authority: trustme.CA, ca_file: Path) -> None:
    """The proxy sees the host and its own credentials; TLS runs between the two ends."""
    heads: list[bytes] = []

    def script(peer: Peer) -> None:
        heads.append(peer.head())
        peer.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
        peer.start_tls(server_tls(authority, "relay.example"))
        heads.append(peer.head())
        peer.answer()

    with ScriptedServer(script) as server:
        proxy = f"http://user:pass@127.0.0.1:{server.port}"
        connection = connect("https://relay.example", client_tls(ca_file), proxy)
        assert answered(connection)[0].status_code == 200
        connection.close()
    assert heads[0].startswith(b"CONNECT relay.example:443 HTTP/1.1\r\n")
    assert b"Basic dXNlcjpwYXNz\r\n" in heads[0]
    assert heads[1].startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.service
def test_a_proxy_that_refuses_is_told_apart_from_the_relay() -> None:
    """A missing password at the proxy is a proxy error with its status."""
    with (
        ScriptedServer(lambda peer: peer.head() and peer.answer(status="407 No")) as server,
        pytest.raises(httpx.ProxyError, match="407"),
    ):
        connect("https://relay.example", None, f"http://127.0.0.1:{server.port}")
