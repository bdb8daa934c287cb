"""One request and its answer, in the terms of ASGI."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from medshare.digest import Digest
from medshare.errors import FormatError
from medshare.httpsig import Body
from medshare.ids import StationId
from medshare.relay.enrolment import Enrolled
from medshare.relay.guard import Receive, Scope, Send
from medshare.relay.news import News
from medshare.relay.service import Service
from medshare.relay.settings import BATCH
from medshare.suites import hasher_named
from medshare.wire import problems
from medshare.wire.problems import Problem
from medshare.wire.routes import CBOR, OCTETS, Target

_PATHSEND: Final = "http.response.pathsend"
_BLOCK: Final = 256 * 1024


class DisconnectedError(ConnectionError):
    """The client went away, or was given up, before its request was complete."""


class Answer:
    """Sends exactly one answer, and counts what it sends."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._pathsend = _PATHSEND in scope.get("extensions", {})
        self.status = 0
        self.octets = 0

    async def _start(self, status: int, kind: str, size: int, *fields: tuple[str, str]) -> None:
        self.status, self.octets = status, size
        headers = [("content-length", str(size)), ("cache-control", "no-store"), *fields]
        if size:
            headers.append(("content-type", kind))
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.encode(), value.encode()) for name, value in headers],
            }
        )

    async def octets_of(self, data: bytes, *, kind: str = OCTETS, status: int = 200) -> None:
        """Answer with *data*."""
        await self._start(status, kind, len(data))
        await self._send({"type": "http.response.body", "body": data})

    async def structure(self, data: bytes) -> None:
        """Answer with a structure that is encoded already."""
        await self.octets_of(data, kind=CBOR)

    async def done(self) -> None:
        """Answer that it is done, with nothing to tell."""
        self.status = 204
        headers = [(b"cache-control", b"no-store")]
        await self._send({"type": "http.response.start", "status": 204, "headers": headers})
        await self._send({"type": "http.response.body", "body": b""})

    async def file(self, path: Path, size: int, service: Service) -> None:
        """Answer with a file as it lies on the disk; by the server itself where it can."""
        if self._pathsend:
            await self._start(200, OCTETS, size)
            await self._send({"type": _PATHSEND, "path": str(path)})
            return
        with await service.run(path.open, "rb") as file:
            await self._start(200, OCTETS, size)
            left = size
            while left:
                block = await service.run(file.read, min(left, _BLOCK))
                if not block:
                    raise DisconnectedError("a stored file is shorter than it was")
                left -= len(block)
                await self._send({"type": "http.response.body", "body": block, "more_body": True})
            await self._send({"type": "http.response.body", "body": b""})

    async def problem(self, problem: Problem) -> None:
        """Answer with a refusal."""
        data = problems.encode_problem(problem)
        fields = {
            401: [("www-authenticate", "Signature")],
            429: [("retry-after", "1")],
            503: [("retry-after", "5")],
        }
        await self._start(
            problem.status, problems.PROBLEM, len(data), *fields.get(problem.status, [])
        )
        await self._send({"type": "http.response.body", "body": data})


@dataclass(slots=True)
class Exchange:
    """An admitted request: who asks, for what, and how to answer."""

    target: Target
    query: str
    asker: Enrolled
    body: Body | None
    receive: Receive
    answer: Answer
    service: Service
    news: News
    looking: asyncio.Semaphore
    """Held for what is slow, as reading stored chunks again: whoever asks for much of that waits
    in line, and takes no thread from others."""
    origin: str = ""
    """What security keys know the relay by: `https://` and the authority that was asked."""
    session: str = field(default="", repr=False)
    """The session that the request names; whether it is one, `access` says."""

    @property
    def station(self) -> StationId:
        """Who asks."""
        return self.asker.station

    @property
    def incoming(self) -> Body:
        """What the request says of its body; raise FormatError when it has none."""
        if self.body is None:
            raise FormatError("this request needs a body, with its content-digest")
        return self.body

    def batches(self) -> AsyncIterator[list[bytes]]:
        """Yield the body in batches of about `BATCH` octets, exactly as long as announced."""
        return batches(self.receive, self.incoming)

    async def whole_body(self) -> bytes:
        """Return the body, which the route's limit keeps small."""
        return await whole_body(self.receive, self.incoming, self.service)


async def batches(receive: Receive, body: Body) -> AsyncIterator[list[bytes]]:
    """Yield *body* in batches; raise DisconnectedError when it does not come to its end."""
    left = body.length
    pieces: list[bytes] = []
    gathered = 0
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise DisconnectedError("the body did not come to its end")
        piece = message.get("body", b"")
        more = message.get("more_body", False)
        left -= len(piece)
        if left < 0:
            raise FormatError("the body is longer than its content-length")
        pieces.append(piece)
        gathered += len(piece)
        if gathered >= BATCH or not more:
            yield pieces
            pieces, gathered = [], 0
    if left:
        raise DisconnectedError("the body did not come to its end")


async def whole_body(receive: Receive, body: Body, service: Service) -> bytes:
    """Return *body*; raise DigestMismatchError when it is not what its Content-Digest says."""
    data = b"".join([b"".join(batch) async for batch in batches(receive, body)])
    found = await service.run(_digest, data, body.hash)
    Digest(body.digest).require(found, what="the body")
    return data


def _digest(data: bytes, hash_name: str) -> Digest:
    hasher = hasher_named(hash_name)
    hasher.update(data)
    return Digest(hasher.digest())
