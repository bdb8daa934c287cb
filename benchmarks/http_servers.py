"""HTTP servers that take and give one body, each as a program that prints its URL.

`python -m benchmarks.http_servers KIND BODY [CERT KEY]`.  PUT reads a body and answers its size,
GET answers with the file BODY.  Nothing is hashed or stored: what is measured is the way.
"""

import asyncio
import importlib
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medshare.relay.guard import Receive, Scope, Send
from medshare.relay.serving import serve

STEP = 128 * 1024
Tls = tuple[Path, Path] | None


class Application:
    """The ASGI application."""

    def __init__(self, body: Path, *, whole: bool = False) -> None:
        self._body = body
        self._size = body.stat().st_size
        self._step = self._size if whole else STEP

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["method"] == "PUT":
            answer = str(await _drained(receive)).encode()
            await send(_start(len(answer)))
            await send({"type": "http.response.body", "body": answer})
            return
        await send(_start(self._size))
        left = self._size
        with self._body.open("rb") as file:
            while left:
                block = file.read(self._step)
                left -= len(block)
                await send({"type": "http.response.body", "body": block, "more_body": left > 0})


async def _drained(receive: Receive) -> int:
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            return size


def _start(length: int) -> dict[str, Any]:
    headers = [(b"content-length", str(length).encode("ascii"))]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def _announce(port: int, tls: Tls) -> None:
    print(f"{'https' if tls else 'http'}://127.0.0.1:{port}", flush=True)


def medshare(body: Path, tls: Tls) -> None:
    """What `medshare relay serve` runs on."""
    cert, key = tls or (None, None)
    serve(
        Application(body),
        "127.0.0.1",
        0,
        tls_cert=cert,
        tls_key=key,
        on_ready=lambda url: print(url, flush=True),
    )


def granian_rsgi(body: Path, tls: Tls) -> None:
    """Granian with its own interface, files sent from Rust; HTTP/2 where a client asks for it."""
    embed, constants = (
        importlib.import_module(f"granian.{name}") for name in ("server.embed", "constants")
    )
    size = body.stat().st_size

    async def application(scope: Any, protocol: Any) -> None:
        if scope.method == "PUT":
            received = 0
            async for block in protocol:
                received += len(block)
            protocol.response_str(200, [], str(received))
        else:
            protocol.response_file(200, [("content-length", str(size))], str(body))

    port = _free_port()
    cert, key = tls or (None, None)
    server = embed.Server(
        application,
        port=port,
        interface=constants.Interfaces.RSGI,
        websockets=False,
        log_enabled=False,
        ssl_cert=cert,
        ssl_key=key,
    )

    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
        _announce(port, tls)
        await server.serve()

    asyncio.run(main())


def uvicorn(body: Path, tls: Tls) -> None:
    """Uvicorn with httptools; it gives large answers cheapest in one piece."""
    port = _free_port()
    _announce(port, tls)
    files = {"ssl_certfile": tls[0], "ssl_keyfile": tls[1]} if tls else {}
    importlib.import_module("uvicorn").run(
        Application(body, whole=True), port=port, log_level="critical", **files
    )


def threads(body: Path, tls: Tls) -> None:
    """The upper bound: a thread a connection, blocking sockets, no HTTP to speak of."""
    listener = socket.create_server(("127.0.0.1", 0))
    context: ssl.SSLContext | None = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    _announce(listener.getsockname()[1], tls)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_talk, args=(sock, body, context), daemon=True).start()


def _talk(plain: socket.socket, body: Path, context: ssl.SSLContext | None) -> None:
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    view = memoryview(bytearray(body.stat().st_size))
    try:
        sock = context.wrap_socket(plain, server_side=True) if context else plain
        while head := sock.recv(4096):
            if head.startswith(b"PUT"):
                got = len(head.partition(b"\r\n\r\n")[2])
                while got < len(view):
                    got += sock.recv_into(view[got:])
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            else:
                with body.open("rb", buffering=0) as file:
                    file.readinto(view)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(view))
                sock.sendall(view)
    except OSError:
        return  # the client is done


KINDS: dict[str, Callable[[Path, Tls], None]] = {
    "medshare": medshare,
    "granian-rsgi": granian_rsgi,
    "uvicorn": uvicorn,
    "threads": threads,
}


if __name__ == "__main__":
    files = [Path(name) for name in sys.argv[2:]]
    KINDS[sys.argv[1]](files[0], (files[1], files[2]) if files[1:] else None)
