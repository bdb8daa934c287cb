"""Runs the HTTP server in a thread of the test's process, and what goes with it."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx
import trustme

from medshare.relay.guard import ServerLimits
from medshare.relay.serving import listen, serve_until
from medshare.transport.pool import PooledTransport
from tests.serving_app import Recorder

PATIENCE = 10.0  # seconds, so that a broken test ends


@dataclass
class Certificate:
    """A certificate for this machine, its key, and the authority behind it, as files."""

    cert: Path
    key: Path
    ca: Path

    @classmethod
    def issue(cls, folder: Path) -> Self:
        """Write a certificate, its key and its authority into *folder*."""
        files = cls(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1", "localhost")
        authority.cert_pem.write_to_path(files.ca)
        issued.private_key_pem.write_to_path(files.key)
        for number, pem in enumerate(issued.cert_chain_pems):
            pem.write_to_path(files.cert, append=number > 0)
        return files


@dataclass
class Running:
    """A server in a thread of this process."""

    url: str
    app: Recorder
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event
    thread: threading.Thread = field(init=False)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        url = httpx.URL(self.url)
        return url.host, url.port or 0

    def end(self) -> None:
        """Ask it to stop, without waiting."""
        self.loop.call_soon_threadsafe(self.stop.set)

    def release(self) -> None:
        """Let the held request go on."""
        self.loop.call_soon_threadsafe(self.app.release.set)

    def saw(self, path: str) -> None:
        """Wait until the application has a request for *path*."""
        while path not in self.app.paths:
            self.thread.join(0.01)

    def exchange(self, octets: bytes) -> bytes:
        """Send octets as they are and return all that comes until the server closes."""
        answer = b""
        with socket.create_connection(self.address, PATIENCE) as sock:
            try:
                sock.sendall(octets)
                while block := sock.recv(65536):
                    answer += block
            except ConnectionError:
                pass  # closed with octets of ours unread
        return answer


@contextmanager
def running(
    limits: ServerLimits | None = None, files: Certificate | None = None
) -> Iterator[Running]:
    """Run a server until the block ends."""
    limits = limits or ServerLimits(grace_seconds=PATIENCE)
    endpoint = listen(
        "127.0.0.1",
        0,
        tls_cert=files.cert if files else None,
        tls_key=files.key if files else None,
        limits=limits,
    )
    ready: list[Running] = []
    begun = threading.Event()

    async def main() -> None:
        app, stop = Recorder(), asyncio.Event()
        ready.append(Running(endpoint.url, app, asyncio.get_running_loop(), stop))
        begun.set()
        await serve_until(stop, app, endpoint, limits=limits)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert begun.wait(PATIENCE)
    ready[0].thread = thread
    try:
        yield ready[0]
    finally:
        if thread.is_alive():
            ready[0].end()
        thread.join(2 * PATIENCE)
        assert not thread.is_alive()


def client(ca: Path | None = None) -> httpx.Client:
    """Return a client as the project uses it."""
    return httpx.Client(transport=PooledTransport(ca_file=ca), timeout=PATIENCE)
