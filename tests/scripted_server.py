"""A server on loopback that says what a test tells it to, octet by octet."""

import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import trustme

PATIENCE = 10.0  # seconds, so that a broken test ends


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        """How many connections came before this one."""

    def head(self) -> bytes:
        """Return the head of a request, or nothing when the client has closed."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            octet = self.sock.recv(1)
            if not octet:
                return b""
            head += octet
        return head

    def body(self, size: int) -> bytes:
        """Return *size* octets."""
        data = bytearray()
        while len(data) < size:
            block = self.sock.recv(size - len(data))
            if not block:
                break
            data += block
        return bytes(data)

    def say(self, data: bytes) -> None:
        """Send octets as they are."""
        self.sock.sendall(data)

    def answer(self, body: bytes = b"", *, status: str = "200 OK", extra: str = "") -> bool:
        """Send a well-formed answer; return True, so that it may stand in an expression."""
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        self.say(head.encode("ascii") + body)
        return True

    def start_tls(self, tls: ssl.SSLContext) -> None:
        """Speak TLS from here on."""
        self.sock = tls.wrap_socket(self.sock, server_side=True)


class ScriptedServer:
    """Runs *script* for each connection, in a thread of its own, until the connection ends."""

    def __init__(
        self,
        script: Callable[[Peer], object],
        *,
        authority: trustme.CA | None = None,
        names: tuple[str, ...] = (),
    ) -> None:
        self._script = script
        self._tls = server_tls(authority, *names) if authority else None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if authority else 'http'}://127.0.0.1:{self.port}"
        self.connections = 0
        self.at_once = 0
        self._open = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                number, self.connections = self.connections, self.connections + 1
                self._open += 1
                self.at_once = max(self.at_once, self._open)
            thread = threading.Thread(target=self._run, args=(Peer(sock, number),))
            self._threads.append(thread)
            thread.start()

    def _run(self, peer: Peer) -> None:
        peer.sock.settimeout(PATIENCE)
        try:
            if self._tls:
                peer.start_tls(self._tls)
            self._script(peer)
        except OSError:
            pass  # the client went away, which is for the test to judge
        finally:
            peer.sock.close()
            with self._lock:
                self._open -= 1


def server_tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Return the settings of a server whose certificate is for *names*, or for this machine."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(tls)
    return tls
