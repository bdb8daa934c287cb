"""One HTTP/1.1 connection to a relay: TLS, bodies without copies, strict bounds.

The head of each message is written and read by h11; bodies do not pass through it.  A request
body goes from the caller's buffers to the socket, an answer from the socket into the caller's
buffer, and never more of it than its Content-Length promised.  Socket buffers are left to the
kernel, which sizes them to the line; setting them turns that off.

What sockets, TLS and h11 raise becomes an exception of httpx in `mapped_errors` and nowhere else.
"""

import base64
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Self

import h11
import httpx

from medshare.transport.tls import PlainStream, TlsStream, Traffic

Piece = bytes | bytearray | memoryview
Phase = Literal["connect", "write", "read"]

_HEAD_READ = 16 * 1024
_ITER_READ = 256 * 1024
_JOIN_BELOW = 16 * 1024  # a first piece that fits one TLS record goes out with the head
_LAST_WORDS = 2.0  # seconds to look for an answer after the peer stopped reading
_MAX_INFORMATIONAL = 8
_MIN_RATE = 4096
"""Octets a second that a body must reach in all, beyond one silence: as relays ask of stations."""

_TIMEOUTS: dict[Phase, type[httpx.TimeoutException]] = {
    "connect": httpx.ConnectTimeout,
    "write": httpx.WriteTimeout,
    "read": httpx.ReadTimeout,
}
_FAILURES: dict[Phase, type[httpx.NetworkError]] = {
    "connect": httpx.ConnectError,
    "write": httpx.WriteError,
    "read": httpx.ReadError,
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection leads."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx.URL) -> Self:
        """Return the origin of a URL; plain HTTP is for this machine alone.

        Raises httpx.UnsupportedProtocol for any other scheme, and for http to another machine.
        """
        if url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol("the url of a relay begins with https://")
        if url.scheme == "http" and not _may_be_loopback(url.host):
            raise httpx.UnsupportedProtocol(
                f"http:// is accepted on this machine alone, and {url.host} is another; use https://"
            )
        host = url.raw_host.decode("ascii")
        return cls(url.scheme, host, url.port or (443 if url.scheme == "https" else 80))


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds without any progress after which to give up; None waits for ever."""

    connect: float | None
    read: float | None
    write: float | None
    pool: float | None

    @classmethod
    def of(cls, request: httpx.Request) -> Self:
        """Return what httpx noted on the request."""
        values = request.extensions.get("timeout", {})
        return cls(*(values.get(name) for name in ("connect", "read", "write", "pool")))


@contextmanager
def mapped_errors(phase: Phase) -> Iterator[None]:
    """Raise what goes wrong inside as the httpx exception for it."""
    try:
        yield
    except TimeoutError as error:
        raise _TIMEOUTS[phase](f"the relay did not {_DEEDS[phase]} in time") from error
    except ssl.SSLCertVerificationError as error:
        raise _FAILURES[phase](
            f"the certificate of the relay is not accepted: {error.verify_message}"
        ) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _FAILURES[phase](f"the relay did not {_DEEDS[phase]}: {reason}".lower()) from error
    except UnicodeError as error:  # a host name that cannot be one
        raise _FAILURES[phase]("the host name of the relay is malformed") from error
    except h11.RemoteProtocolError as error:
        raise httpx.RemoteProtocolError(f"the answer is not http: {error}".lower()) from error
    except h11.LocalProtocolError as error:
        raise httpx.LocalProtocolError(f"the request is not http: {error}".lower()) from error


_DEEDS: dict[Phase, str] = {
    "connect": "accept a connection",
    "write": "take the request",
    "read": "answer",
}


class Connection:
    """An open connection that carries one request at a time.

    Only `abort` may be called while another thread uses it.
    """

    def __init__(self, stream: PlainStream) -> None:
        self._stream = stream
        self._head = memoryview(bytearray(_HEAD_READ))
        self.requests = 0
        """How many requests were begun on it."""
        self.heard = False
        """Whether anything has come back since the last request was begun."""
        self.idle_since = 0.0

    @classmethod
    def open(
        cls,
        origin: Origin,
        tls: ssl.SSLContext,
        timeout: float | None,
        proxy: httpx.URL | None,
        traffic: Traffic | None = None,
    ) -> Self:
        """Connect, by way of *proxy* if there is one, and finish the TLS handshake.

        What crosses the connection counts as *traffic*.
        """
        via_proxy = proxy is not None and origin.scheme == "https"
        target = _proxy_address(proxy) if proxy and via_proxy else (origin.host, origin.port)
        with mapped_errors("connect"):
            sock = socket.create_connection(target, timeout)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if proxy and via_proxy:
                    _tunnel(cls(PlainStream(sock)), origin, proxy, timeout)
                if origin.scheme == "https":
                    stream = TlsStream(sock, tls, origin.host, traffic)
                    stream.set_timeout(timeout, until=_end(timeout))
                    stream.handshake()
                    return cls(stream)
                if not ipaddress.ip_address(sock.getpeername()[0]).is_loopback:
                    raise httpx.ConnectError(f"{origin.host} is not this machine; use https://")
            except BaseException:
                sock.close()
                raise
        return cls(PlainStream(sock, traffic))

    def send(self, head: bytes, pieces: Iterable[Piece], timeout: float | None) -> int:
        """Send the head and then each piece from where it lies; return the size of the body."""
        self.requests += 1
        self.heard = False
        size = 0
        pending: bytes | None = head
        with mapped_errors("write"):
            self._stream.set_timeout(timeout, until=_end(timeout))
            for piece in pieces:
                view = memoryview(piece).cast("B")
                size += len(view)
                self._stream.set_timeout(timeout, until=_end(timeout, len(view)))
                if pending is not None and len(view) < _JOIN_BELOW:
                    view = memoryview(pending + view)
                elif pending is not None:
                    self._stream.send_all(memoryview(pending))
                pending = None
                self._stream.send_all(view)
            if pending is not None:
                self._stream.send_all(memoryview(pending))
        return size

    def receive_head(self, parser: h11.Connection, timeout: float | None) -> h11.Response:
        """Return the head of the answer; octets of the body stay in ``parser.trailing_data``."""
        skipped = 0
        with mapped_errors("read"):
            self._stream.set_timeout(timeout, until=_end(timeout))
            while skipped <= _MAX_INFORMATIONAL:
                event = parser.next_event()
                if isinstance(event, h11.Response):
                    return event
                if isinstance(event, h11.InformationalResponse):
                    skipped += 1
                    continue
                count = self._stream.receive_into(self._head)
                if not count:
                    raise httpx.RemoteProtocolError("the relay closed the connection unanswered")
                self.heard = True
                parser.receive_data(bytes(self._head[:count]))
        raise httpx.RemoteProtocolError("the relay sent too many interim answers")

    def last_words(self, parser: h11.Connection, timeout: float | None) -> h11.Response | None:
        """Return the answer of a peer that stopped reading before the request was complete."""
        patience = _LAST_WORDS if timeout is None else min(timeout, _LAST_WORDS)
        try:
            return self.receive_head(parser, patience)
        except httpx.TransportError:
            return None

    def receive_into(self, view: memoryview, timeout: float | None) -> None:
        """Fill *view*; raise httpx.RemoteProtocolError if the peer closes before it is full."""
        got = 0
        with mapped_errors("read"):
            self._stream.set_timeout(timeout, until=_end(timeout, len(view)))
            while got < len(view):
                count = self._stream.receive_into(view[got:])
                if not count:
                    raise httpx.RemoteProtocolError("the relay closed the connection mid-answer")
                got += count

    def is_stale(self) -> bool:
        """Say whether an idle connection was closed, or spoken on, by the peer."""
        try:
            return self._stream.has_input()
        except OSError:
            return True

    def abort(self) -> None:
        """Make whatever another thread does on the connection fail at once."""
        try:
            self._stream.abort()
        except OSError:
            return  # it was not connected any more, which is what was wanted

    def close(self) -> None:
        """Give the socket back."""
        self._stream.close()


class Body(httpx.SyncByteStream):
    """The body of an answer, on its way.

    `done` is called once, with whether the connection may carry another request.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        length: int,
        begun: bytes,
        timeout: float | None,
        done: Callable[[bool], None],
        reusable: bool,
    ) -> None:
        self._connection = connection
        self._begun = memoryview(begun)
        self._timeout = timeout
        self._done: Callable[[bool], None] | None = done
        self._reusable = reusable and len(begun) <= length  # more than promised: out of step
        self.remaining = length
        """Octets of the body that were not read yet."""
        if not length:
            self._finish(reusable=self._reusable)

    def readinto(self, into: memoryview) -> int:
        """Fill *into*, or as much of it as the body still has; return how many octets that were.

        Raises httpx exceptions when the answer breaks off.
        """
        view = into.cast("B")[: self.remaining]
        begun = self._begun[: len(view)]
        view[: len(begun)] = begun
        try:
            if self._done is None and self.remaining:
                raise httpx.StreamClosed
            self._connection.receive_into(view[len(begun) :], self._timeout)
        except BaseException:
            self._finish(reusable=False)
            raise
        self._begun = self._begun[len(begun) :]
        self.remaining -= len(view)
        if not self.remaining:
            self._finish(reusable=self._reusable)
        return len(view)

    def __iter__(self) -> Iterator[bytes]:
        while self.remaining:
            block = bytearray(min(self.remaining, _ITER_READ))
            self.readinto(memoryview(block))
            yield bytes(block)

    def close(self) -> None:
        """Let go of the connection; it is used again only if the body was read to its end."""
        self._finish(reusable=False)

    def _finish(self, *, reusable: bool) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(reusable)


def _end(timeout: float | None, octets: int = 0) -> float | None:
    """Return when *octets*, or a head, must have passed, however steadily they trickle."""
    return None if timeout is None else time.monotonic() + timeout + octets / _MIN_RATE


def _may_be_loopback(host: str) -> bool:
    """Say whether a host is named as this machine; where it leads is checked once connected."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _proxy_address(proxy: httpx.URL) -> tuple[str, int]:
    return proxy.raw_host.decode("ascii"), proxy.port or 80


def _tunnel(
    connection: Connection, origin: Origin, proxy: httpx.URL, timeout: float | None
) -> None:
    """Ask a proxy for a tunnel to *origin* (RFC 9110 §9.3.6)."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    target = f"{host}:{origin.port}"
    headers = [("Host", target)]
    if proxy.username or proxy.password:
        pair = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode("ascii")
        headers.append(("Proxy-Authorization", f"Basic {pair}"))
    parser = h11.Connection(h11.CLIENT)
    head = parser.send(h11.Request(method="CONNECT", target=target, headers=headers))
    connection.send(head or b"", (), timeout)
    status = connection.receive_head(parser, timeout).status_code
    if status != 200 or parser.trailing_data[0]:
        raise httpx.ProxyError(f"the proxy refused a tunnel to {target} (status {status})")
