"""What every request must keep to, before the application sees it.

The HTTP server bounds heads: their size, the time they take, how many there are at once.  This
wrapper bounds bodies, in both directions, around any ASGI application:

- a body has a Content-Length and is not longer than the limit: otherwise it is refused unread;
- a body must come, and an answer be taken, without long pauses, and a body not too slowly in all;
- a body that the application did not want is read before its answer is sent, because closing a
  connection with unread octets would take the answer with it;
- an exception of the application is logged and answered, without a word of its text.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from medshare.errors import MedshareError, RelayRefusedError, RelayUnavailableError
from medshare.wire import problems

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger("medshare.relay")


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What the server allows anybody, known or not."""

    connections: int = 256
    """Connections at once; each may hold 0.4 MiB of half a head."""
    max_body: int = 64 * 1024 * 1024
    """Octets of one request body; the application has a closer limit for each kind."""
    header_seconds: float = 30.0
    """For the head of a request to arrive, and for an idle connection to be kept."""
    stall_seconds: float = 30.0
    """Without any octet of a body, after which a connection is given up."""
    min_rate: int = 4096
    """Octets a second that a body must reach in all, beyond `stall_seconds`."""
    grace_seconds: float = 10.0
    """For requests under way to end when the server is asked to stop."""


class ClientStalledError(OSError):
    """The client does not take its answer; raised from `send`, as ASGI asks for."""


class Guard:
    """Wraps an ASGI application; see the module's text."""

    def __init__(self, application: Application, limits: ServerLimits) -> None:
        self._application = application
        self._limits = limits
        self._running: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; anything that is not HTTP ends without an answer."""
        task = asyncio.current_task()
        if scope["type"] != "http" or task is None:
            return
        self._running.add(task)
        try:
            await self._handle(_Exchange(scope, receive, send, self._limits))
        finally:
            self._running.discard(task)

    def cancel(self) -> None:
        """Break off all requests under way."""
        for task in self._running:
            task.cancel()

    async def _handle(self, exchange: "_Exchange") -> None:
        refusal = exchange.refusal()
        try:
            if refusal is None:
                await self._application(exchange.scope, exchange.receive, exchange.send)
            else:
                await exchange.refuse(refusal)
        except ClientStalledError:
            return
        except Exception:
            _log.exception("a request failed")
            if exchange.started:
                raise  # the answer is broken off, or it would pass for a whole one
            await exchange.refuse(RelayUnavailableError("fault", code=problems.FAULT))
        if exchange.stalled and not exchange.started:
            await exchange.refuse(
                RelayUnavailableError("the body came too slowly", code=problems.SLOW)
            )


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: ServerLimits) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._limits = limits
        headers = dict(scope["headers"])
        self._chunked = b"transfer-encoding" in headers
        self._left = int(headers.get(b"content-length", b"0"))  # whose form the server has checked
        seconds = limits.stall_seconds + self._left / limits.min_rate
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._ended = False
        self.stalled = False
        self.started = False
        """Whether the head of an answer was sent."""

    def refusal(self) -> MedshareError | None:
        """Return why the request must not reach the application, if so."""
        if self._chunked:
            return RelayRefusedError("a body needs a content-length", code=problems.LENGTH)
        if self._left > self._limits.max_body:
            limit = self._limits.max_body
            return RelayRefusedError(f"a body has at most {limit} bytes", code=problems.TOO_LARGE)
        return None

    async def receive(self) -> Message:
        """Return the next event; a body that does not come is a disconnect."""
        if self._ended:
            return await self._receive()  # which waits until the client is gone
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(self._limits.stall_seconds, self._deadline - now)):
                message = await self._receive()
        except TimeoutError:
            self.stalled = self._ended = True
            return {"type": "http.disconnect"}
        self._left -= len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer; raise ClientStalledError if it is not taken."""
        if message["type"] == "http.response.start":
            await self._drain()
            self.started = True
            if not self._ended:
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        try:
            async with asyncio.timeout(self._limits.stall_seconds):
                await self._send(message)
        except TimeoutError as error:
            raise ClientStalledError("an answer was not taken in time") from error

    async def refuse(self, error: MedshareError) -> None:
        """Answer with an error, in the form of all errors of the relay."""
        problem = problems.problem_of(error)
        body = problems.encode_problem(problem)
        headers = [
            (b"content-type", problems.PROBLEM.encode("ascii")),
            (b"content-length", str(len(body)).encode("ascii")),
        ]
        start = {"type": "http.response.start", "status": problem.status, "headers": headers}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body})

    async def _drain(self) -> None:
        if not self._left and not self._chunked:
            self._ended = True
        if self._chunked or self._left > self._limits.max_body:
            return
        while not self._ended:
            await self.receive()
