"""A small ASGI application for tests of the server, and a program that serves it.

`python -m tests.serving_app PORT [CERT KEY]` prints its URL and serves until it is told to end.
"""

import asyncio
import sys
from pathlib import Path

from medshare.relay.guard import Message, Receive, Scope, Send
from medshare.relay.serving import serve

BLOCK = bytes(range(256)) * 512


class Recorder:
    """Answers by path, and keeps what happened to it for the test to look at."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.clients: list[tuple[str, int]] = []
        self.failures: list[BaseException] = []
        self.release = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do what the path says."""
        self.paths.append(scope["path"])
        self.clients.append(tuple(scope["client"]))
        try:
            await self._answer(scope["path"], receive, send)
        except BaseException as failure:
            self.failures.append(failure)
            raise

    async def _answer(self, path: str, receive: Receive, send: Send) -> None:
        match path.strip("/").split("/"):
            case ["count"]:
                await respond(send, str(await body_size(receive)).encode())
            case ["ignore"]:
                await respond(send, b"not wanted", status=403)
            case ["send", blocks]:
                await send(start(200, int(blocks) * len(BLOCK)))
                for _ in range(int(blocks)):
                    await send(part(BLOCK, more=True))
                await send(part(b""))
            case ["held"]:
                await self.release.wait()
                await respond(send, b"released")
            case ["broken"]:
                raise RuntimeError("the secret of the application")
            case ["broken", "late"]:
                await send(start(200, 1000))
                await send(part(b"x" * 500, more=True))
                raise RuntimeError("the secret of the application")


async def body_size(receive: Receive) -> int:
    """Read a body to its end; return how long it was, or -1 if the client went away."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return -1
        size += len(message["body"])
        if not message["more_body"]:
            return size


def start(status: int, length: int) -> Message:
    """Return the head of an answer."""
    headers = [(b"content-length", str(length).encode())]
    return {"type": "http.response.start", "status": status, "headers": headers}


def part(body: bytes, *, more: bool = False) -> Message:
    """Return a part of the body of an answer."""
    return {"type": "http.response.body", "body": body, "more_body": more}


async def respond(send: Send, body: bytes, *, status: int = 200) -> None:
    """Send a whole answer."""
    await send(start(status, len(body)))
    await send(part(body))


def main() -> None:
    """Serve on a loopback port."""
    cert, key = [Path(name) for name in sys.argv[2:]] or (None, None)
    serve(
        Recorder(),
        "127.0.0.1",
        int(sys.argv[1]),
        tls_cert=cert,
        tls_key=key,
        on_ready=lambda url: print(url, flush=True),  # noqa: T201  # the test reads it
    )


if __name__ == "__main__":
    main()
