"""An httpx transport that moves large bodies at the speed of the sockets below it.

`httpx.Client(transport=PooledTransport(...))` behaves as httpx does everywhere else, with these
differences: connections are HTTP/1.1 and bounded in number; bodies have a Content-Length, both
ways, and answers may not exceed a limit; a redirect is an answer like any other; environment
variables do not choose a proxy; there is no switch that turns certificate checks off.

Request bodies go out uncopied: pass ``content=pieces(view, …)`` and a Content-Length header.
Answers come in uncopied: ``read_into(response, view)`` inside ``client.stream(...)``.
"""

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import cast

import h11
import httpx

from medshare.transport.connection import Body, Connection, Origin, Piece, Timeouts
from medshare.transport.tls import Traffic, client_tls

MAX_CONNECTIONS = 8
MAX_ANSWER = 32 * 1024 * 1024
IDLE_SECONDS = 20.0  # the server lets go of an idle connection after 30

_BODY = "medshare.body"
_CLOSED = "the connection to the relay was given up"
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})  # RFC 9110 §9.2.2
_BODILESS = frozenset({204, 304})


def pieces(*parts: Piece) -> Iterable[bytes]:
    """Return buffers as the content of a request; they are sent from where they lie."""
    return cast("Iterable[bytes]", parts)  # httpx hands them to the transport as they are


def read_into(response: httpx.Response, into: memoryview) -> int:
    """Read a streamed answer's whole body into *into*; return its size.

    Works with the answer of any httpx transport, without a copy with those of `PooledTransport`.
    Raises httpx.RemoteProtocolError when the body is larger than *into*, of which nothing then is
    to be used.
    """
    body = response.extensions.get(_BODY)
    if isinstance(body, Body):
        if body.remaining > len(into):
            raise httpx.RemoteProtocolError("the answer is larger than what was asked for")
        return body.readinto(into)
    size = 0
    for block in [response.content] if response.is_stream_consumed else response.iter_raw():
        if size + len(block) > len(into):
            raise httpx.RemoteProtocolError("the answer is larger than what was asked for")
        into[size : size + len(block)] = block
        size += len(block)
    return size


class PooledTransport(httpx.BaseTransport):
    """Keeps up to *connections* connections to each relay; may be used by any number of threads.

    A request on a kept connection that the relay turns out to have closed is made once more on a
    new one, if its method is idempotent, not an octet of an answer came and its body can be read
    again.  *authorize* returns further header fields and is asked anew for each attempt, so that
    a signature is fresh and its nonce is never used twice.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
        connections: int = MAX_CONNECTIONS,
        max_answer: int = MAX_ANSWER,
        authorize: Callable[[httpx.Request], Mapping[str, str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tls = tls or client_tls(ca_file)
        if self._tls.verify_mode != ssl.CERT_REQUIRED or not self._tls.check_hostname:
            raise ValueError("certificates and host names of relays are always checked")
        self._proxy = httpx.URL(proxy) if proxy else None
        if self._proxy and self._proxy.scheme != "http":
            raise ValueError("the url of a proxy begins with http://")
        self._connections = connections
        self._max_answer = max_answer
        self._authorize = authorize
        self._clock = clock
        self._lock = threading.Lock()
        self._closed = False
        self._lanes: dict[Origin, _Lane] = {}
        self._traffic = Traffic()

    @property
    def traffic(self) -> int:
        """Octets that have crossed its connections until now, both ways, TLS included."""
        return self._traffic.octets

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request* and return the answer with its body still to be read."""
        origin = Origin.of(request.url)
        timeouts = Timeouts.of(request)
        lane = self._lane(origin)
        connection = lane.take(timeouts)
        try:
            return self._exchange(lane, connection, request, timeouts)
        except (httpx.NetworkError, httpx.RemoteProtocolError) as failure:
            kept = connection.requests > 1 and not connection.heard
            if not kept or request.method not in _IDEMPOTENT:
                raise
            connection = lane.take(timeouts, fresh=True)
            try:
                return self._exchange(lane, connection, request, timeouts)
            except httpx.StreamConsumed:
                raise failure from None

    def close(self) -> None:
        """Close all connections; requests under way in other threads fail at once."""
        with self._lock:
            self._closed = True
        for lane in self._lanes.values():
            lane.close()

    def _lane(self, origin: Origin) -> "_Lane":
        with self._lock:
            if self._closed:
                raise httpx.ConnectError(_CLOSED)
            if origin not in self._lanes:
                connect = partial(
                    Connection.open, origin, self._tls, proxy=self._proxy, traffic=self._traffic
                )
                self._lanes[origin] = _Lane(connect, self._connections, self._clock)
            return self._lanes[origin]

    def _exchange(
        self, lane: "_Lane", connection: Connection, request: httpx.Request, timeouts: Timeouts
    ) -> httpx.Response:
        try:
            parser = h11.Connection(h11.CLIENT)
            answer, complete = self._ask(parser, connection, request, timeouts)
            length = _body_length(request.method, answer, limit=self._max_answer)
        except BaseException:
            lane.give_back(connection, reusable=False)
            raise
        body = Body(
            connection,
            length=length,
            begun=parser.trailing_data[0],
            timeout=timeouts.read,
            done=lambda reusable: lane.give_back(connection, reusable=reusable),
            reusable=complete and _keeps_alive(answer),
        )
        return httpx.Response(
            answer.status_code,
            headers=answer.headers.raw_items(),
            stream=body,
            extensions={
                "http_version": b"HTTP/" + answer.http_version,
                "reason_phrase": answer.reason,
                _BODY: body,
            },
        )

    def _ask(
        self,
        parser: h11.Connection,
        connection: Connection,
        request: httpx.Request,
        timeouts: Timeouts,
    ) -> tuple[h11.Response, bool]:
        """Return the head of the answer, and whether the request was sent to its end."""
        head, promised = self._head(parser, request)
        body = request.stream
        if not isinstance(body, httpx.SyncByteStream):
            raise httpx.LocalProtocolError("the body of a request is not asynchronous")
        try:
            size = connection.send(head, body, timeouts.write)
        except httpx.WriteError:
            answer = connection.last_words(parser, timeouts.read)
            if answer is None:
                raise
            return answer, False
        if size != promised:
            raise httpx.LocalProtocolError(f"a body of {promised} bytes was promised, not {size}")
        return connection.receive_head(parser, timeouts.read), True

    def _head(self, parser: h11.Connection, request: httpx.Request) -> tuple[bytes, int]:
        """Return the octets of the request's head, and the length of body it promises."""
        if "transfer-encoding" in request.headers:
            raise httpx.LocalProtocolError("a request body needs a content-length")
        headers = list(request.headers.raw)
        if self._authorize is not None:
            headers += [
                (name.encode("ascii"), value.encode("ascii"))
                for name, value in self._authorize(request).items()
            ]
        try:
            head = parser.send(
                h11.Request(method=request.method, target=request.url.raw_path, headers=headers)
            )
            return head or b"", int(request.headers.get("content-length", "0"))
        except (h11.LocalProtocolError, ValueError) as error:
            raise httpx.LocalProtocolError(f"the request is malformed: {error}".lower()) from error


class _Lane:
    """The connections to one origin: kept ones first, the last used before the others."""

    def __init__(
        self,
        connect: Callable[[float | None], Connection],
        limit: int,
        clock: Callable[[], float],
    ) -> None:
        self._connect = connect
        self._limit = limit
        self._clock = clock
        self._changed = threading.Condition()
        self._kept: list[Connection] = []
        self._busy: set[Connection] = set()
        self._opening = 0
        self._closed = False

    def take(self, timeouts: Timeouts, *, fresh: bool = False) -> Connection:
        """Return a connection that is the caller's until `give_back`; wait for one if need be."""
        with self._changed:
            if not self._changed.wait_for(self._has_room, timeouts.pool):
                raise httpx.PoolTimeout("all connections to the relay were busy for too long")
            if self._closed:
                raise httpx.ConnectError(_CLOSED)
            if fresh:
                self._drop_kept()
            while self._kept:
                connection = self._kept.pop()
                if self._is_usable(connection):
                    self._busy.add(connection)
                    return connection
                connection.close()
            self._opening += 1
        return self._open(timeouts.connect)

    def _open(self, timeout: float | None) -> Connection:
        connection: Connection | None = None
        try:
            connection = self._connect(timeout)
        finally:
            with self._changed:
                self._opening -= 1
                if connection is None:
                    self._changed.notify()
                elif self._closed:
                    connection.close()
                else:
                    self._busy.add(connection)
        if self._closed:
            raise httpx.ConnectError(_CLOSED)
        return connection

    def give_back(self, connection: Connection, *, reusable: bool) -> None:
        """End the caller's use of a connection."""
        with self._changed:
            self._busy.discard(connection)
            if reusable and not self._closed:
                connection.idle_since = self._clock()
                self._kept.append(connection)
            else:
                connection.close()
            self._changed.notify()

    def close(self) -> None:
        """Close what is kept and break off what is busy."""
        with self._changed:
            self._closed = True
            self._drop_kept()
            for connection in self._busy:
                connection.abort()
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return self._closed or bool(self._kept) or len(self._busy) + self._opening < self._limit

    def _is_usable(self, connection: Connection) -> bool:
        idle = self._clock() - connection.idle_since
        return idle <= IDLE_SECONDS and not connection.is_stale()

    def _drop_kept(self) -> None:
        for connection in self._kept:
            connection.close()
        self._kept.clear()


def _body_length(method: str, answer: h11.Response, *, limit: int) -> int:
    """Return the length of the answer's body, or refuse it.

    An answer that reports an error without saying how long it is has its body left unread.
    """
    headers = dict(answer.headers)
    if method == "HEAD" or answer.status_code in _BODILESS:
        return 0
    if b"transfer-encoding" in headers or b"content-length" not in headers:
        if answer.status_code >= 400:
            return 0
        raise httpx.RemoteProtocolError("the relay does not say how long its answer is")
    length = int(headers[b"content-length"])
    if length > limit:
        raise httpx.RemoteProtocolError(f"the answer is longer than {limit} bytes")
    return length


def _keeps_alive(answer: h11.Response) -> bool:
    """Say whether the server keeps the connection, which needs to know where the body ends."""
    names = {name for name, _ in answer.headers}
    closing = any(n == b"connection" and b"close" in value.lower() for n, value in answer.headers)
    framed = b"content-length" in names or answer.status_code in _BODILESS
    return answer.http_version >= b"1.1" and framed and not closing
