"""The pooled transport behind an httpx client: reuse, retries, bounds, threads."""

import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import trustme

from medshare.transport.pool import IDLE_SECONDS, PooledTransport, pieces, read_into
from tests.scripted_server import PATIENCE, Peer, ScriptedServer

pytestmark = pytest.mark.service
BODY = bytes(range(256)) * 1024


def client(transport: httpx.BaseTransport) -> httpx.Client:
    """Return a client that gives up soon enough for a test."""
    return httpx.Client(transport=transport, timeout=PATIENCE / 2)


def keep_answering(peer: Peer) -> None:
    """Answer every request with the octets of its own head."""
    while head := peer.head():
        peer.answer(head)


def answer_once(peer: Peer) -> None:
    """Answer one request as if more were welcome, then go away."""
    if peer.head():
        peer.answer(b"once")


def test_a_study_sized_body_goes_both_ways_over_tls(tmp_path: Path) -> None:
    """Pieces go out and an answer comes in, whole, through an ordinary httpx client."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    got: list[bytes] = []

    def script(peer: Peer) -> None:
        head = peer.head()
        assert b"content-length: 262144\r\n" in head.lower()
        got.append(peer.body(len(BODY)))
        peer.answer(BODY)

    into = memoryview(bytearray(2 * len(BODY)))
    with (
        ScriptedServer(script, authority=authority) as server,
        client(PooledTransport(ca_file=tmp_path / "ca.pem")) as http,
        http.stream(
            "PUT",
            server.url,
            content=pieces(BODY[:100], memoryview(BODY)[100:]),
            headers={"Content-Length": str(len(BODY))},
        ) as response,
    ):
        assert response.http_version == "HTTP/1.1"
        assert read_into(response, into) == len(BODY)
    assert got == [BODY]
    assert into[: len(BODY)] == BODY


def test_one_connection_carries_many_requests() -> None:
    """As long as each answer is read to its end, no second connection is opened."""
    with ScriptedServer(keep_answering) as server, client(PooledTransport()) as http:
        for path in ("/a", "/b?c=d", "/e"):
            assert http.get(server.url + path).content.startswith(f"GET {path} ".encode())
        assert server.connections == 1


@pytest.mark.parametrize("extra", ["Connection: close\r\n", "connection: Close\r\n"])
def test_a_server_that_closes_is_not_asked_again_there(extra: str) -> None:
    """After `connection: close` the next request opens a connection."""

    def script(peer: Peer) -> None:
        while peer.head():
            peer.answer(b"x", extra=extra)

    with ScriptedServer(script) as server, client(PooledTransport()) as http:
        http.get(server.url)
        http.get(server.url)
        assert server.connections == 2


def test_an_answer_that_was_not_read_ends_its_connection() -> None:
    """What is left of one answer can never be taken for the next one."""
    with ScriptedServer(keep_answering) as server, client(PooledTransport()) as http:
        with http.stream("GET", server.url + "/first"):
            pass
        assert http.get(server.url + "/second").content.startswith(b"GET /second ")
        assert server.connections == 2


def test_an_idle_connection_is_dropped_before_the_server_does() -> None:
    """A connection older than the idle time is not tried."""
    now = [0.0]
    with (
        ScriptedServer(keep_answering) as server,
        client(PooledTransport(clock=lambda: now[0])) as http,
    ):
        for moment, connections in ((0, 1), (IDLE_SECONDS, 1), (2 * IDLE_SECONDS + 1, 2)):
            now[0] = moment
            http.get(server.url)
            assert server.connections == connections


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_connection_that_the_server_has_closed_is_replaced(method: str) -> None:
    """The user does not notice that a kept connection was gone."""
    content = pieces(memoryview(BODY)) if method == "PUT" else None
    headers = {"Content-Length": str(len(BODY))} if content else {}
    with ScriptedServer(answer_once) as server, client(PooledTransport()) as http:
        for _ in range(3):
            response = http.request(method, server.url, content=content, headers=headers)
            assert response.content == b"once"
        assert server.connections == 3


def close_on_second(peer: Peer) -> None:
    """On the first connection, hear a second request and go away without a word."""
    if peer.head():
        peer.answer(b"x")
    if peer.head() and peer.number:
        peer.answer(b"y")


def test_a_request_that_met_a_closing_connection_is_made_again_with_a_new_signature() -> None:
    """An idempotent request is repeated once, and asks anew for its authorization."""
    asked: list[str] = []

    def authorize(request: httpx.Request) -> dict[str, str]:
        asked.append(f"{request.method} {request.url.path}")
        return {"X-Attempt": str(len(asked))}

    def script(peer: Peer) -> None:
        if peer.number == 0:
            close_on_second(peer)
        else:
            keep_answering(peer)

    with ScriptedServer(script) as server, client(PooledTransport(authorize=authorize)) as http:
        http.get(server.url + "/1")
        assert b"X-Attempt: 3\r\n" in http.get(server.url + "/2").content
        assert server.connections == 2
    assert asked == ["GET /1", "GET /2", "GET /2"]


def test_a_request_is_not_made_twice_when_that_could_matter() -> None:
    """Not a POST, not after the first octet of an answer, not on a new connection."""
    with ScriptedServer(close_on_second) as server, client(PooledTransport()) as http:
        http.get(server.url)
        with pytest.raises(httpx.RemoteProtocolError):
            http.post(server.url)
        assert server.connections == 1

    def break_off(peer: Peer) -> None:
        if peer.head():
            peer.answer(b"x")
        if peer.head():
            peer.say(b"HTTP/1.1 2")

    with ScriptedServer(break_off) as server, client(PooledTransport()) as http:
        http.get(server.url)
        with pytest.raises(httpx.RemoteProtocolError):
            http.get(server.url)
        assert server.connections == 1
    with ScriptedServer(Peer.head) as server, client(PooledTransport()) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            http.get(server.url)
        assert server.connections == 1


def test_a_body_that_cannot_be_read_again_is_not_sent_again() -> None:
    """A generator is spent after the first attempt; the first failure is what is reported."""

    def spent() -> Iterator[bytes]:
        yield b"abc"

    with ScriptedServer(close_on_second) as server, client(PooledTransport()) as http:
        http.get(server.url)
        with pytest.raises((httpx.RemoteProtocolError, httpx.NetworkError)) as caught:
            http.put(server.url, content=spent(), headers={"Content-Length": "3"})
        assert not isinstance(caught.value, httpx.StreamError)


def test_an_early_refusal_is_heard() -> None:
    """The answer of a server that stops reading counts more than the broken pipe."""

    def script(peer: Peer) -> None:
        if peer.head():
            peer.answer(b"too large", status="413 Content Too Large")

    with ScriptedServer(script) as server, client(PooledTransport()) as http:
        response = http.put(server.url, content=bytes(64 * 1024 * 1024))
        assert (response.status_code, response.content) == (413, b"too large")


def test_threads_share_a_bounded_number_of_connections() -> None:
    """Twelve threads get their own answers over no more than three connections."""
    with (
        ScriptedServer(keep_answering) as server,
        client(PooledTransport(connections=3)) as http,
        ThreadPoolExecutor(12) as pool,
    ):
        paths = [f"/{number}" for number in range(120)]
        bodies = pool.map(lambda path: http.get(server.url + path).content, paths)
        assert [body.split()[1].decode() for body in bodies] == paths
        assert server.at_once <= 3


def test_waiting_for_a_connection_has_its_own_timeout() -> None:
    """A full pool is told apart from a slow relay."""
    with (
        ScriptedServer(keep_answering) as server,
        client(PooledTransport(connections=1)) as http,
        http.stream("GET", server.url),
        pytest.raises(httpx.PoolTimeout),
    ):
        http.get(server.url, timeout=httpx.Timeout(1, pool=0.05))


def test_a_failed_connection_gives_its_place_back() -> None:
    """A relay that was down does not use up the pool."""
    with ScriptedServer(keep_answering) as server:
        pass
    http = client(PooledTransport(connections=1))
    for _ in range(3):
        with pytest.raises(httpx.ConnectError):
            http.get(server.url)
    http.close()


def test_closing_breaks_off_what_other_threads_wait_for() -> None:
    """An interrupted transfer does not wait for the answers of a silent relay."""
    asked, release = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        asked.set()
        release.wait(PATIENCE)

    transport = PooledTransport(connections=1)
    http = httpx.Client(transport=transport, timeout=None)
    with ScriptedServer(script) as server, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(http.get, server.url) for _ in range(2)]
        assert asked.wait(PATIENCE)
        transport.close()
        for future in waiting:
            assert isinstance(future.exception(PATIENCE), httpx.TransportError)
        release.set()
        with pytest.raises(httpx.ConnectError, match="given up"):
            http.get(server.url)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "how long"),
        (b"HTTP/1.1 200 OK\r\n\r\nx", "how long"),
        (b"HTTP/1.0 200 OK\r\n\r\nx", "how long"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx", "mid-answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000001\r\n\r\n", "longer than"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", "not http"),
    ],
)
def test_an_answer_without_bounds_is_refused(answer: bytes, reason: str) -> None:
    """Chunked, open-ended, cut off or oversized: an error, not a body."""

    def script(peer: Peer) -> None:
        if peer.head():
            peer.say(answer)

    with (
        ScriptedServer(script) as server,
        client(PooledTransport(max_answer=1_000_000)) as http,
        pytest.raises(httpx.RemoteProtocolError, match=reason),
    ):
        http.get(server.url)


def test_the_status_of_a_gateway_is_told_even_if_its_page_is_not() -> None:
    """A chunked error page of some proxy in between is left unread, with its connection."""

    def script(peer: Peer) -> None:
        while peer.head():
            peer.say(b"HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")

    with ScriptedServer(script) as server, client(PooledTransport()) as http:
        for _ in range(2):
            response = http.get(server.url)
            assert (response.status_code, response.content) == (502, b"")
        assert server.connections == 2


def test_answers_without_a_body_have_none() -> None:
    """HEAD, 204 and 304 end with their head, and the connection lives on."""

    def script(peer: Peer) -> None:
        while head := peer.head():
            status = "204 No" if b" /204 " in head else "304 No" if b" /304 " in head else "200 OK"
            length = "" if b" /204 " in head else "Content-Length: 99\r\n"
            peer.say(f"HTTP/1.1 {status}\r\n{length}\r\n".encode())

    with ScriptedServer(script) as server, client(PooledTransport()) as http:
        assert http.head(server.url).headers["content-length"] == "99"
        assert http.get(server.url + "/204").content == b""
        assert http.get(server.url + "/304").content == b""
        assert server.connections == 1


def test_a_redirect_is_an_answer() -> None:
    """Nobody is led to another host."""

    def script(peer: Peer) -> None:
        if peer.head():
            peer.answer(status="307 Over There", extra="Location: https://other.example/\r\n")

    with ScriptedServer(script) as server, client(PooledTransport()) as http:
        assert http.get(server.url).status_code == 307


def test_an_answer_larger_than_the_buffer_is_refused() -> None:
    """With the pooled transport and with any other."""

    def script(peer: Peer) -> None:
        if peer.head():
            peer.answer(b"12345")

    small, into = memoryview(bytearray(4)), memoryview(bytearray(8))
    mock = httpx.MockTransport(lambda request: httpx.Response(200, content=b"12345"))
    with ScriptedServer(script) as server:
        for transport in (PooledTransport(), mock):
            with (
                client(transport) as http,
                http.stream("GET", server.url) as response,
                pytest.raises(httpx.RemoteProtocolError, match="larger"),
            ):
                read_into(response, small)
    with client(mock) as http, http.stream("GET", "https://relay.example") as response:
        assert read_into(response, into) == 5
    assert into.tobytes() == b"12345\0\0\0"


@pytest.mark.parametrize("length", ["2", "4", "x"])
def test_a_body_of_another_length_than_promised_is_an_error(length: str) -> None:
    """The request fails here, before the server takes the rest of it for another request."""
    with (
        ScriptedServer(lambda peer: peer.body(1000)) as server,
        client(PooledTransport()) as http,
        pytest.raises(httpx.LocalProtocolError),
    ):
        http.put(server.url, content=[b"abc"], headers={"Content-Length": length})


def test_a_request_without_a_length_is_refused() -> None:
    """Nothing is sent chunked."""
    with (
        ScriptedServer(lambda peer: peer.body(1000)) as server,
        client(PooledTransport()) as http,
        pytest.raises(httpx.LocalProtocolError, match="content-length"),
    ):
        http.put(server.url, content=iter([b"abc"]))


def test_a_header_cannot_carry_a_second_request() -> None:
    """A line break in a header value is refused, and so is what `authorize` returns."""
    for transport, headers in (
        (PooledTransport(), {"X": "a\r\nb: c"}),
        (PooledTransport(authorize=lambda request: {"X": "a\r\nb: c"}), {}),
    ):
        with (
            ScriptedServer(lambda peer: peer.body(1000)) as server,
            client(transport) as http,
            pytest.raises(httpx.LocalProtocolError),
        ):
            http.get(server.url, headers=headers)


def test_there_is_no_insecure_switch() -> None:
    """Settings that do not check certificates and host names are not taken."""
    careless = ssl.create_default_context()
    careless.check_hostname = False
    with pytest.raises(ValueError, match="always checked"):
        PooledTransport(tls=careless)
    careless.verify_mode = ssl.CERT_NONE
    with pytest.raises(ValueError, match="always checked"):
        PooledTransport(tls=careless)
    with pytest.raises(ValueError, match="proxy"):
        PooledTransport(proxy="socks5://127.0.0.1:1080")


def test_the_environment_chooses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY and its kin are not followed."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with ScriptedServer(keep_answering) as server, client(PooledTransport()) as http:
        assert http.get(server.url).status_code == 200
