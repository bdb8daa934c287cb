"""A relay that lies on request, over real sockets: it stands before an honest one.

Every request reaches a real relay, and its answer the client, unless the lie of the moment
has it otherwise.  A lie sees the request and may let it through, change it, make it twice or
not at all; it may change the answer, exchange it for an older one, write any octets in its
place, or none, for as long as it likes.
"""

import http.client
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import BufferedReader
from pathlib import Path
from typing import Final

from medshare.errors import RelayRefusedError
from medshare.relay.admission import Names
from medshare.wire.routes import Target, match
from tests.running_relay import Relay, running_relay

PATIENCE: Final = 10.0  # seconds, so that a broken test ends
BLOCK: Final = bytes(1 << 16)
_KEY_ID: Final = re.compile(r'keyid="([0-9a-f]{64})"')

Field = tuple[str, str]


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    fields: tuple[Field, ...]
    body: bytes

    @property
    def target(self) -> Target | None:
        """What it is about; None for what no relay knows."""
        try:
            return match(self.method, self.path.partition("?")[0])
        except RelayRefusedError:
            return None

    @property
    def route(self) -> str:
        """The name of its route, as in docs/relay-protocol.md; empty for none."""
        return self.target.route.name if self.target else ""

    @property
    def index(self) -> int:
        """The chunk that it is about, or -1."""
        return self.target.index if self.target else -1

    @property
    def station(self) -> str:
        """Who asks, in hexadecimal digits, or nothing."""
        found = _KEY_ID.search(dict(self.fields).get("signature-input", ""))
        return found[1] if found else ""


@dataclass
class Said:
    """An answer: written with a Content-Length unless `fields` say something else."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/octet-stream"
    fields: tuple[Field, ...] | None = None

    def encoded(self) -> bytes:
        """Return the answer as it goes over the wire."""
        fields = self.fields
        if fields is None:
            fields = (("Content-Type", self.kind),) if self.body else ()
            if self.status != 204:
                fields += (("Content-Length", str(len(self.body))),)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        return f"HTTP/1.1 {self.status} Said\r\n{lines}\r\n".encode("latin-1") + self.body


class Exchange:
    """A request, the client who waits for an answer, and the honest relay behind."""

    def __init__(self, asked: Asked, sock: socket.socket, relay: "LyingRelay", number: int) -> None:
        self.asked = asked
        self.relay = relay
        self.number = number
        """How many requests for this route came before."""
        self._sock = sock

    def honest(self, **changes: object) -> Said:
        """Return what the honest relay says to the request, or to one with *changes*."""
        asked = replace(self.asked, **changes)  # type: ignore[arg-type]  # fields of Asked
        behind = http.client.HTTPConnection(*self.relay.behind, timeout=4 * PATIENCE)
        try:
            behind.putrequest(asked.method, asked.path, skip_host=True, skip_accept_encoding=True)
            for name, value in asked.fields:
                behind.putheader(name, value)
            behind.endheaders(asked.body or None)
            answer = behind.getresponse()
            kind = answer.getheader("content-type", "")
            return Said(answer.status, answer.read(), kind)
        finally:
            behind.close()

    def say(self, octets: bytes) -> None:
        """Write octets as they are."""
        self._sock.sendall(octets)

    def pour(self, limit: int) -> None:
        """Write *limit* octets, made as they go, for as long as somebody takes them."""
        while limit > 0:
            sent = self._sock.send(BLOCK[: min(limit, len(BLOCK))])
            limit -= sent
            with self.relay.lock:
                self.relay.poured += sent

    def drip(self, octets: bytes, *, pause: float) -> None:
        """Write octet by octet, with pauses, until the client has had enough."""
        for octet in octets:
            self._sock.sendall(bytes([octet]))
            if self.relay.stopping.wait(pause):
                return

    def hang(self) -> None:
        """Say nothing, for ever: until the client closes or the test is over."""
        self._sock.settimeout(0.05)
        while not self.relay.stopping.is_set():
            try:
                if not self._sock.recv(1):
                    return
            except TimeoutError:
                continue

    def reset(self) -> None:
        """Break the connection off, so that the client gets a reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Lie = Callable[[Exchange], Said | None]
"""What to say; None ends the connection after whatever the lie wrote itself."""


def honest(exchange: Exchange) -> Said:
    """Lie about nothing."""
    return exchange.honest()


@dataclass
class LyingRelay:
    """The front of one honest relay; `lie` may be exchanged at any moment."""

    behind: tuple[str, int]
    listener: socket.socket
    lie: Lie = honest
    poured: int = 0
    """Octets that clients took of what was poured out."""
    connections: int = 0
    seen: list[Asked] = field(default_factory=list)
    """Every request, bodies left out."""
    wire: bytearray | None = None
    """Everything that passes, both ways, when somebody wants to search it."""
    stopping: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    _counts: Counter[str] = field(default_factory=Counter)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where clients find it."""
        host, port = self.listener.getsockname()[:2]
        return f"http://{host}:{port}"

    def asked_for(self, route: str) -> int:
        """Return how many requests for *route* there were."""
        return sum(1 for asked in self.seen if asked.route == route)

    def be(self, lie: Lie) -> None:
        """Tell *lie* from now on, to whoever asks; counts begin anew."""
        with self.lock:
            self.lie = lie
            self._counts.clear()
            self.seen.clear()
            self.poured = self.connections = 0

    def accept(self) -> None:
        """Serve every connection in a thread of its own until the listener is closed."""
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End everything."""
        self.stopping.set()
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        reader = sock.makefile("rb")
        try:
            while (asked := self._read(reader)) is not None:
                said = self.lie(self._exchange(asked, sock))
                if said is None:
                    return
                encoded = said.encoded()
                self._tap(encoded)
                sock.sendall(encoded)
        except (OSError, http.client.HTTPException):
            pass  # the client went away, which is for the test to judge
        finally:
            reader.close()
            sock.close()

    def _exchange(self, asked: Asked, sock: socket.socket) -> Exchange:
        with self.lock:
            number = self._counts[asked.route]
            self._counts[asked.route] += 1
            self.seen.append(replace(asked, body=b""))
        return Exchange(asked, sock, self, number)

    def _read(self, reader: BufferedReader) -> Asked | None:
        """Return the next request; None when there is no more."""
        line = reader.readline()
        if not line:
            return None
        method, path, _ = line.decode("latin-1").split(" ", 2)
        fields, head = [], line
        while (line := reader.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            fields.append((name.lower(), value.strip()))
            head += line
        size = int(dict(fields).get("content-length", "0"))
        body = reader.read(size) if size else b""
        if len(body) < size:
            return None
        self._tap(head + body)
        return Asked(method, path, tuple(fields), body)

    def _tap(self, octets: bytes) -> None:
        if self.wire is not None:
            with self.lock:
                self.wire += octets


@contextmanager
def lying_relay(data: Path) -> Iterator[tuple[LyingRelay, Relay]]:
    """Run an honest relay on *data*, and a liar before it, until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    host, port = listener.getsockname()[:2]
    names = Names((f"{host}:{port}",), ("127.0.0.1",))
    with running_relay(data, names=names) as relay:
        behind, _, number = relay.url.removeprefix("http://").partition(":")
        liar = LyingRelay((behind, int(number)), listener)
        thread = threading.Thread(target=liar.accept)
        thread.start()
        try:
            yield liar, relay
        finally:
            liar.stop()
            thread.join(PATIENCE)
