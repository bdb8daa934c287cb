"""The HTTP server over real sockets: bounds, refusals, an end that is clean or sudden."""

import asyncio
import errno
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from medshare.errors import UsageError
from medshare.relay.guard import ClientStalledError, ServerLimits
from medshare.relay.serving import _why_not, listen
from medshare.wire import problems
from tests.running_server import PATIENCE, Certificate, client, running
from tests.serving_app import BLOCK

pytestmark = pytest.mark.service
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate that a client with `ca` accepts."""
    return Certificate.issue(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("secure", [True, False])
def test_bodies_go_both_ways_on_one_connection(secure: bool, certificate: Certificate) -> None:
    """With TLS and without, large bodies are whole and the connection is kept."""
    files = certificate if secure else None
    with running(files=files) as server, client(certificate.ca) as http:
        assert server.url.startswith("https://" if secure else "http://")
        assert http.put(server.url + "/count", content=BLOCK * 64).text == str(64 * len(BLOCK))
        assert http.get(server.url + "/send/64").content == BLOCK * 64
        assert http.put(server.url + "/count").text == "0"
        assert len(set(server.app.clients)) == 1


def test_old_tls_is_not_spoken(certificate: Certificate) -> None:
    """A client that knows nothing newer than TLS 1.1 gets no connection."""
    old = ssl.create_default_context(cafile=certificate.ca)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        running(files=certificate) as server,
        socket.create_connection(server.address, PATIENCE) as sock,
        pytest.raises((ssl.SSLError, OSError)),
    ):
        old.wrap_socket(sock, server_hostname="127.0.0.1")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_plain_http_is_served_to_this_machine_alone(host: str) -> None:
    """An address that others reach needs a certificate; the refusal leaves no open port."""
    with pytest.raises(UsageError, match="plain http") as caught:
        listen(host, 0, tls_cert=None, tls_key=None, limits=ServerLimits())
    assert "--tls-cert" in (caught.value.hint or "")


def test_a_port_is_never_shared() -> None:
    """A second server on the port is told so; a stopped one frees it at once."""
    limits = ServerLimits()
    with running() as server:
        host, port = server.address
        with pytest.raises(UsageError, match="another program listens"):
            listen(host, port, tls_cert=None, tls_key=None, limits=limits)
        with client() as http:
            http.get(server.url + "/send/1")
            server.end()
            server.thread.join(PATIENCE)
        again = listen(host, port, tls_cert=None, tls_key=None, limits=limits)
        assert again.url == server.url
        again.listener.close()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 65536), ("127.0.0.1", -1)])
def test_an_address_that_cannot_be_is_refused(host: str, port: int) -> None:
    """A port out of range is an error of use."""
    with pytest.raises(UsageError, match="cannot listen"):
        listen(host, port, tls_cert=None, tls_key=None, limits=ServerLimits())


def test_a_port_in_use_is_said_in_a_sentence() -> None:
    """The sentence says what is there and what to do, and holds no text of the system."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError) as caught:
            listen("127.0.0.1", port, tls_cert=None, tls_key=None, limits=ServerLimits())
    told = f"cannot listen on 127.0.0.1 port {port}: another program listens there"
    assert caught.value.message == told
    assert "--listen" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("error", "why", "helps"),
    [
        (OSError(errno.EADDRNOTAVAIL, "raw"), "no such address", "one of its own"),
        (OSError(errno.EACCES, "raw"), "for the system", "CAP_NET_BIND_SERVICE"),
        (socket.gaierror(socket.EAI_NONAME, "raw"), "no machine", ""),
        (UnicodeError("raw"), "no machine", ""),
        (OSError(errno.EMFILE, "raw"), "too many open files", ""),
    ],
    ids=str,
)
def test_what_keeps_from_listening_is_said_in_words(error: OSError, why: str, helps: str) -> None:
    """Each reason has words of ours, and a hint where there is something to do."""
    reason, hint = _why_not(error)
    assert why in reason
    assert helps in (hint or "")
    assert "raw" not in reason


def test_certificates_that_cannot_be_used_are_refused(
    certificate: Certificate, tmp_path: Path
) -> None:
    """Missing, mismatched, encrypted or no PEM: an error before anything listens."""
    other, encrypted, garbage = (tmp_path / name for name in ("other", "encrypted", "garbage"))
    trustme.CA().issue_cert("127.0.0.1").private_key_pem.write_to_path(other)
    garbage.write_text("not pem")
    key = serialization.load_pem_private_key(certificate.key.read_bytes(), None)
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    cases: list[tuple[Path | None, Path | None]] = [
        (certificate.cert, None),
        (None, certificate.key),
        (certificate.cert, tmp_path / "absent"),
        (certificate.cert, other),
        (certificate.cert, encrypted),
        (garbage, certificate.key),
    ]
    for cert, key_file in cases:
        with pytest.raises(UsageError, match=r"certificate"):
            listen("127.0.0.1", 0, tls_cert=cert, tls_key=key_file, limits=ServerLimits())


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ("Content-Length: 10737418240", problems.TOO_LARGE),
        ("Content-Length: 999999999999999999", problems.TOO_LARGE),
        ("Transfer-Encoding: chunked", problems.LENGTH),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked", problems.LENGTH),
    ],
)
def test_a_body_without_bounds_is_refused_unread(fields: str, code: str) -> None:
    """Ten gigabytes, or a length nobody knows: refused on the head alone, unseen by the app."""
    with running() as server:
        answer = server.exchange(f"PUT /count HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        assert int(head.split()[1]) == problems.STATUS[code]
        assert b"connection: close" in head.lower()
        assert problems.decode_problem(body).code == code
        assert server.app.paths == []


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (
            b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            b"400",
        ),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 4_000_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"400"),
    ],
)
def test_a_head_that_is_no_head_ends_the_connection(octets: bytes, status: bytes) -> None:
    """Contradictory, oversized and foreign heads are answered by the server alone."""
    with running() as server:
        answer = server.exchange(octets)  # lost if we were still talking when it was given
        assert answer.startswith(b"HTTP/1.1 " + status) or (not answer and len(octets) > 1_000_000)
        assert server.app.paths == []


def test_an_unwanted_body_does_not_cost_the_answer() -> None:
    """A refusal is heard although the body was not read, and the connection is kept."""
    with running() as server, client() as http:
        for _ in range(3):
            response = http.put(server.url + "/ignore", content=BLOCK * 64)
            assert (response.status_code, response.text) == (403, "not wanted")
        assert len(set(server.app.clients)) == 1


def test_a_body_that_stops_coming_is_given_up() -> None:
    """Nothing for the stall time, or too little in all: answered with 408 and closed."""
    head = b"PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with running(ServerLimits(stall_seconds=0.2)) as server:
        assert b"\r\n\r\n-1" in server.exchange(head + b"abc")
        assert server.exchange(head.replace(b"count", b"other")).startswith(b"HTTP/1.1 500")
    with (
        running(ServerLimits(stall_seconds=0.3, min_rate=1_000_000)) as server,
        socket.create_connection(server.address, PATIENCE) as sock,
    ):
        sock.sendall(head)
        sent = 0
        try:
            while sent < 1000 and not _readable(sock, 0.05):
                sock.sendall(b"x")
                sent += 1
        except OSError:
            sent += 0  # closed under our hands, as it should be
        assert sent < 1000


def _readable(sock: socket.socket, seconds: float) -> bool:
    sock.settimeout(seconds)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("octets", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX"])
@pytest.mark.parametrize("before", [b"", b"PUT /count HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_head_that_stops_coming_is_given_up(before: bytes, octets: bytes) -> None:
    """Half a head, none, and an idle connection: each closed after the header time."""
    with running(ServerLimits(header_seconds=0.2)) as server:
        answer = server.exchange(before + octets)
        assert answer.count(b"HTTP/1.1") == bool(before)


def test_an_answer_that_nobody_takes_is_given_up() -> None:
    """A client that does not read costs the application no more than the stall time."""
    with running(ServerLimits(stall_seconds=0.3)) as server:
        with socket.create_connection(server.address, PATIENCE) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(b"GET /send/1000 HTTP/1.1\r\nHost: x\r\n\r\n")
            server.saw("/send/1000")
            server.end()  # which waits for the request under way
            server.thread.join(PATIENCE)
        assert not server.thread.is_alive()
        assert [type(failure) for failure in server.app.failures] == [ClientStalledError]


def test_a_fault_of_the_application_says_nothing_of_its_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client gets a problem without details, the log has them."""
    with running() as server, client() as http:
        response = http.put(server.url + "/broken", content=BLOCK)
        assert response.status_code == 500
        assert problems.decode_problem(response.content).code == problems.FAULT
        assert "secret" not in response.text
        assert "secret" in caplog.text
        with pytest.raises(httpx.TransportError):
            http.get(server.url + "/broken/late")


def test_a_stop_waits_for_requests_under_way() -> None:
    """What was begun is finished; idle connections and newcomers are not waited for."""
    answers: list[str] = []
    with (
        running() as server,
        client() as http,
        socket.create_connection(server.address, PATIENCE) as idle,
    ):
        url = server.url + "/held"
        asking = threading.Thread(target=lambda: answers.append(http.get(url).text))
        asking.start()
        server.saw("/held")
        server.end()
        assert idle.recv(1) == b""
        with client() as newcomer, pytest.raises(httpx.ConnectError):
            newcomer.get(server.url)
        server.release()
        asking.join(PATIENCE)
    assert answers == ["released"]


def test_a_stop_does_not_wait_for_ever() -> None:
    """A request that goes on beyond the grace time is broken off."""
    with running(ServerLimits(grace_seconds=0.1)) as server:
        with socket.create_connection(server.address, PATIENCE) as sock:
            sock.sendall(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
            server.saw("/held")
            server.end()
            server.thread.join(PATIENCE)
        assert not server.thread.is_alive()
        assert [type(failure) for failure in server.app.failures] == [asyncio.CancelledError]


@contextmanager
def program(*arguments: object) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Run the server as a program of its own; yield it with its URL."""
    command = [sys.executable, "-m", "tests.serving_app", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().decode().strip()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_quietly(number: int, certificate: Certificate) -> None:
    """With connections open, it exits with 0 and has nothing to say, however often one tries."""
    for _ in range(3):
        with program(0, certificate.cert, certificate.key) as (process, url):
            with client(certificate.ca) as http:
                assert http.put(url + "/count", content=BLOCK).text == str(len(BLOCK))
                process.send_signal(number)
                output, errors = process.communicate(timeout=PATIENCE)
            assert (process.returncode, output, errors) == (0, b"", b"")


def test_a_killed_server_leaves_nothing_behind() -> None:
    """There are no children that hold the port: the next server has it at once."""
    with program(0) as (process, url):
        port = httpx.URL(url).port
        with client() as http:
            assert http.get(url + "/send/1").content == BLOCK
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            if children.exists():
                assert children.read_text() == ""
            process.kill()
            process.wait(PATIENCE)
        with program(port) as (_, again), client() as http:
            assert again == url
            assert http.get(url + "/send/1").content == BLOCK
