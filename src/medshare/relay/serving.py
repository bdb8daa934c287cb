"""Runs an ASGI application as an HTTPS server: one process, no children.

Granian does HTTP and TLS in threads of its own, the application runs in the caller's thread.
There are no worker processes, so nothing outlives a killed server or holds its port, and what the
application keeps in memory is kept once.  The socket is ours: granian's own would let a second
server share the port in silence.  docs/decisions/0003-http-path.md has the measurements.
"""

import asyncio
import errno
import ipaddress
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medshare.errors import RelayUnavailableError, UsageError
from medshare.relay.guard import Application, Guard, ServerLimits

try:
    from granian.constants import HTTPModes, Interfaces, SSLProtocols
    from granian.http import HTTP1Settings
    from granian.net import SocketHolder  # type: ignore[attr-defined]  # it is, but not typed so
    from granian.server.embed import Server
except ModuleNotFoundError as missing:
    raise UsageError(
        "the relay needs packages that are not installed",
        hint="install them with: pip install 'medshare[relay]'",
    ) from missing

_BACKLOG = 256
_IS_UNIX = False  # granian could serve a unix socket as well


@dataclass(frozen=True, slots=True)
class ClientAuthority:
    """Who must have issued the certificates that clients show in TLS."""

    file: Path
    """Certificates, PEM."""
    required: bool = False
    """Whether a client must show one."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A socket that listens already, and the certificate to serve it with."""

    listener: socket.socket
    tls: tuple[Path, Path] | None
    """Certificate chain and key, PEM files; None for plain HTTP."""
    clients: "ClientAuthority | None" = None

    @property
    def url(self) -> str:
        """Where it is reached, with the port that was bound."""
        host, port = self.listener.getsockname()[:2]
        scheme = "https" if self.tls else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def serve(
    application: Application,
    host: str,
    port: int,
    *,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    clients: ClientAuthority | None = None,
    on_ready: Callable[[str], None],
    limits: ServerLimits | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then end the requests under way and return.

    Must be called in the main thread.  Port 0 is any free port.  `on_ready` gets the URL, with the
    port that was bound, once connections are taken.  A second signal breaks off what is under way.

    Raises:
        UsageError: the address cannot be bound, certificate or key cannot be used, or plain HTTP
            was asked for on an address that others can reach.
    """
    limits = limits or ServerLimits()
    endpoint = listen(
        host, port, tls_cert=tls_cert, tls_key=tls_key, clients=clients, limits=limits
    )

    async def main() -> None:
        stop, hurry = asyncio.Event(), asyncio.Event()

        def on_signal() -> None:
            (hurry if stop.is_set() else stop).set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        on_ready(endpoint.url)
        await serve_until(stop, application, endpoint, limits=limits, hurry=hurry)

    asyncio.run(main())


async def serve_until(
    stop: asyncio.Event,
    application: Application,
    endpoint: Endpoint,
    *,
    limits: ServerLimits,
    hurry: asyncio.Event | None = None,
) -> None:
    """Serve until *stop* is set; as `serve`, but without signals and in any thread.

    The endpoint is closed afterwards.  Requests under way have until `limits.grace_seconds`, or
    until *hurry* is set.
    """
    guard = Guard(application, limits)
    threads = _foreign_threads()
    server = _server(guard, endpoint, limits)
    serving = asyncio.create_task(server.serve())
    await _first_of(serving, stop)
    if not stop.is_set():
        serving.result()
        raise RelayUnavailableError("the http server ended without being asked to")
    server.signal_handler_interrupt()  # type: ignore[no-untyped-call]  # granian leaves it so
    await _first_of(serving, hurry or asyncio.Event(), seconds=limits.grace_seconds)
    if not serving.done():
        guard.cancel()
        await asyncio.wait({serving}, timeout=1.0)
        serving.cancel()
    await _threads_gone(threads)


def listen(
    host: str,
    port: int,
    *,
    tls_cert: Path | None,
    tls_key: Path | None,
    limits: ServerLimits,
    clients: ClientAuthority | None = None,
) -> Endpoint:
    """Bind the address, so that connections wait to be served from now on.

    Raises UsageError for the reasons that `serve` names.
    """
    tls = _checked_tls(tls_cert, tls_key)
    _check_clients(clients, tls)
    listener = _bound(host, port)
    try:
        address = listener.getsockname()[0]
        if tls is None and not ipaddress.ip_address(address).is_loopback:
            raise UsageError(
                f"plain http is served to this machine alone, not on {address}",
                hint="give a certificate and its key with --tls-cert and --tls-key",
            )
        # What is set here, accepted connections inherit.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # ends connections whose peer takes nothing
            milliseconds = int(limits.stall_seconds * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    except BaseException:
        listener.close()
        raise
    return Endpoint(listener, tls, clients)


class _Server(Server):
    """Granian's server in this process, on a socket that is already listening."""

    def __init__(self, listener: socket.socket, guard: Guard, **settings: Any) -> None:
        super().__init__(guard, **settings)
        self._listener = listener

    def _init_shared_socket(self) -> None:
        backlog = (_BACKLOG,) if sys.platform in ("linux", "freebsd") else ()
        holder: Any = SocketHolder
        self._shd = holder(self._listener.detach(), _IS_UNIX, *backlog)


def _server(guard: Guard, endpoint: Endpoint, limits: ServerLimits) -> _Server:
    cert, key = endpoint.tls or (None, None)
    clients = endpoint.clients
    return _Server(
        endpoint.listener,
        guard,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=int(limits.header_seconds * 1000)),
        websockets=False,
        backlog=_BACKLOG,
        backpressure=limits.connections,
        log_enabled=False,
        ssl_cert=cert,
        ssl_key=key,
        ssl_protocol_min=SSLProtocols.tls12,
        ssl_ca=None if clients is None else clients.file,
        ssl_client_verify=clients is not None and clients.required,
    )


def _bound(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:  # the resolver would take it modulo 65536
        raise UsageError(f"cannot listen on {host} port {port}: ports end at 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason, hint = _why_not(error)
        raise UsageError(f"cannot listen on {host} port {port}: {reason}", hint=hint) from error


def _why_not(error: OSError | UnicodeError) -> tuple[str, str | None]:
    """Return why an address cannot be bound, and what to do about it."""
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return "another program listens there", "stop it, or name another port with --listen"
    if number == errno.EACCES:
        return (
            "ports below 1024 are for the system",
            "name one above, or give the service CAP_NET_BIND_SERVICE",
        )
    if number == errno.EADDRNOTAVAIL:
        return "this machine has no such address", "name one of its own, or none: --listen :8443"
    if isinstance(error, socket.gaierror) or not isinstance(error, OSError):
        return "there is no machine of that name", None
    return os.strerror(error.errno or 0).lower(), None


def _checked_tls(cert: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    """Return certificate and key once they are known to be readable and to fit each other."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise UsageError("a certificate and its key are given together")

    def no_passphrase() -> str:
        raise UsageError("the key of the certificate is encrypted; the relay needs it in the clear")

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key, password=no_passphrase)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or "not pem"
        raise UsageError(f"cannot use certificate {cert} with key {key}: {reason}") from error
    return cert, key


def _check_clients(clients: ClientAuthority | None, tls: tuple[Path, Path] | None) -> None:
    """Raise UsageError unless certificates of clients can be checked as it says."""
    if clients is None:
        return
    if tls is None:
        raise UsageError("certificates of clients are part of tls; give --tls-cert and --tls-key")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(clients.file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"cannot use {clients.file} as authority of clients") from error


async def _first_of(
    task: asyncio.Task[None], event: asyncio.Event, *, seconds: float | None = None
) -> None:
    """Wait until the task ends or the event is set, at most *seconds*."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait({task, waiting}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _foreign_threads() -> int:
    """Return how many threads of this process Python knows nothing of, where one can tell."""
    try:
        return len(list(Path("/proc/self/task").iterdir())) - threading.active_count()
    except OSError:
        return 0


async def _threads_gone(before: int) -> None:
    """Wait for granian's threads to end, as far as one can tell, and not for ever.

    The last of them still needs the interpreter after `serve` has returned, and would complain on
    stderr if it found it gone.
    """
    for seconds in (0.05, *[0.01] * 50):
        await asyncio.sleep(seconds)
        if _foreign_threads() <= before:
            return
