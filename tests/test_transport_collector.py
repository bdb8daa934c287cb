"""transport.collector: syslog over real TLS, to a collector on loopback."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
import trustme

from medshare.audit.entries import Entry, parse_entry
from medshare.errors import AuthenticityError, RelayUnavailableError, UsageError
from medshare.transport.collector import Collector, send_all
from medshare.transport.tls import TlsStream, client_tls
from tests.audit_case import Log

pytestmark = pytest.mark.service
ORIGIN = "medshare/log/test"
ENTRIES: list[Entry] = [parse_entry(data) for data in Log.of(25).entries]
PATIENCE = 10.0


class Listening:
    """A collector that keeps what it gets, or hangs up after so many octets."""

    def __init__(self, context: ssl.SSLContext, hang_up_after: int | None) -> None:
        self.data = b""
        self._context = context
        self._limit = hang_up_after
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self) -> None:
        with suppress(OSError), self._socket:
            self._socket.settimeout(PATIENCE)
            plain, _ = self._socket.accept()
            plain.settimeout(PATIENCE)
            with self._context.wrap_socket(plain, server_side=True) as line:
                while part := line.recv(65536):
                    self.data += part
                    if self._limit is not None and len(self.data) > self._limit:
                        linger = (1).to_bytes(4, "little") + bytes(4)
                        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        return

    def messages(self) -> list[bytes]:
        """What was framed, one after the other."""
        found, rest = [], self.data
        while rest:
            length, _, rest = rest.partition(b" ")
            found.append(rest[: int(length)])
            rest = rest[int(length) :]
        return found


@contextmanager
def listening(
    folder: Path, *, ask_for: trustme.CA | None = None, hang_up_after: int | None = None
) -> Iterator[tuple[Listening, Path]]:
    """Run a collector; give it, and the certificate that vouches for it."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    if ask_for is not None:
        ask_for.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    path = folder / "ca.pem"
    ca.cert_pem.write_to_path(path)
    collector = Listening(context, hang_up_after)
    try:
        yield collector, path
    finally:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", collector.port), timeout=1).close()
        collector.thread.join(PATIENCE)


def test_every_entry_arrives_whole(tmp_path: Path) -> None:
    """Each entry is one framed syslog message with a DICOM audit message in it."""
    with listening(tmp_path) as (collector, ca):
        sent = send_all(ENTRIES, Collector("127.0.0.1", collector.port, ca), origin=ORIGIN)
        collector.thread.join(PATIENCE)
        messages = collector.messages()
    assert sent == len(messages) == 25
    numbers = []
    for message in messages:
        assert message.startswith(b"<85>1 ")
        tree = fromstring(message.partition(b"\xef\xbb\xbf")[2])
        assert tree.tag == "AuditMessage"
        numbers.append(tree.findall("ParticipantObjectIdentification")[-1][2].get("value"))
    assert len(set(numbers)) == 25


def test_a_collector_nobody_vouches_for_gets_nothing(tmp_path: Path) -> None:
    """Without the right certificate not an octet of the record leaves."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with listening(tmp_path) as (collector, _):
        with pytest.raises(AuthenticityError, match="not who it should be"):
            send_all(ENTRIES, Collector("127.0.0.1", collector.port, other), origin=ORIGIN)
        collector.thread.join(PATIENCE)
        assert collector.data == b""


def test_a_collector_that_hangs_up_is_said(tmp_path: Path) -> None:
    """A connection that breaks off is an error, and the command can be run again."""
    many = ENTRIES * 400
    with listening(tmp_path, hang_up_after=2000) as (collector, ca):
        with pytest.raises(RelayUnavailableError) as caught:
            send_all(many, Collector("127.0.0.1", collector.port, ca), origin=ORIGIN)
        assert caught.value.retryable


def test_a_collector_that_asks_who_calls_is_told(tmp_path: Path) -> None:
    """A client certificate is shown, and is needed where it is asked for."""
    clients = trustme.CA()
    pem = tmp_path / "client.pem"
    clients.issue_cert("station.example.org").private_key_and_cert_chain_pem.write_to_path(pem)
    with listening(tmp_path, ask_for=clients) as (collector, ca):
        address = Collector("127.0.0.1", collector.port, ca, pem)
        assert send_all(ENTRIES, address, origin=ORIGIN) == 25
        collector.thread.join(PATIENCE)
        assert len(collector.messages()) == 25
    with (
        listening(tmp_path, ask_for=clients) as (collector, ca),
        pytest.raises(RelayUnavailableError),
    ):
        send_all(ENTRIES, Collector("127.0.0.1", collector.port, ca), origin=ORIGIN)


def test_nobody_there_is_said(tmp_path: Path) -> None:
    """A port on which nobody listens is an error that names it, and may pass."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RelayUnavailableError, match=f"port {port}"):
        send_all(ENTRIES, Collector("127.0.0.1", port), origin=ORIGIN)


@pytest.mark.parametrize("content", [None, b"not pem"])
def test_certificates_that_cannot_be_used_are_said(tmp_path: Path, content: bytes | None) -> None:
    """A file of certificates that is missing or is none is a mistake of who gave it."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="certificates"):
        send_all(ENTRIES, Collector("127.0.0.1", 1, path), origin=ORIGIN)


def test_an_alert_after_everything_was_sent_is_heard() -> None:
    """RFC 8446 §4.4.2: a server may refuse a certificate only after the client has sent all."""
    ca, clients = trustme.CA(), trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("collector.example.org").configure_cert(serving)
    clients.configure_trust(serving)
    serving.verify_mode = ssl.CERT_REQUIRED
    context = client_tls(protocol=None)
    ca.configure_trust(context)
    near, far = socket.socketpair()
    with near, far:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = serving.wrap_bio(incoming, outgoing, server_side=True)
        line = TlsStream(near, context, "collector.example.org")
        line.set_timeout(PATIENCE)
        shaking = threading.Thread(target=line.handshake)
        shaking.start()
        incoming.write(far.recv(65536))
        with pytest.raises(ssl.SSLWantReadError):
            server.do_handshake()
        far.sendall(outgoing.read())
        shaking.join(PATIENCE)
        line.send_all(memoryview(b"all of the record"))
        incoming.write(far.recv(65536))
        with pytest.raises(ssl.SSLError):
            server.do_handshake()
        far.sendall(outgoing.read())
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(ssl.SSLError):
            line.farewell()
