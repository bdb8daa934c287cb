"""A page on this machine's loopback that shows a parcel and lets nothing of it be stored.

What keeps others out:

- It listens on 127.0.0.1 alone, on a port that the system chooses, for a limited time.
- Whatever is about the parcel needs a token of 256 bits.  It stands in the fragment of the
  address, which browsers send to nobody; the page sends it as a header, so no other site can.
- The name in `Host` must be the one that was given out (DNS rebinding), and `Sec-Fetch-Site`,
  where a browser sends it, must be this page's own.
- The page may load and run nothing but itself (Content-Security-Policy), and nothing it gets
  may be stored (`Cache-Control: no-store`).

Nothing is logged.  What a browser does with memory is its own affair: docs/access.md.
"""

import hmac
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, Final

from medshare.errors import MedshareError
from medshare.viewing.contents import Readable, picture, shown
from medshare.viewing.dicom import Window
from medshare.viewing.kinds import Kind, kind_of

HOST: Final = "127.0.0.1"
_TIMEOUT: Final = 20.0
_MAX_PATH: Final = 100
_STATIC: Final = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
_FILE: Final = re.compile(
    r"/file/([0-9]{1,6})"
    r"(?:/(content|picture/([0-9]{1,6})(?:/(-?[0-9]{1,5})/([0-9]{1,5}))?))?"
)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src blob:; frame-src blob:; object-src blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Page:
    """A page that is served until `close`; *source* is asked for what is looked at."""

    def __init__(self, source: Readable, *, title: str) -> None:
        self.token = secrets.token_urlsafe(32)
        self._server = _Server((HOST, 0), _Handler)
        self._server.context = _Context(source, title, self.token, self.authority)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="medshare-page", daemon=True
        )
        self._thread.start()

    @property
    def authority(self) -> str:
        """Address and port."""
        return f"{HOST}:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The address, with the token: whoever has it can look, on this machine."""
        return f"http://{self.authority}/#{self.token}"

    def close(self) -> None:
        """End the page."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def served(source: Readable, *, title: str) -> Iterator[Page]:
    """Serve *source* inside the block."""
    page = Page(source, title=title)
    try:
        yield page
    finally:
        page.close()


class _Context:
    """What the handlers of all connections share."""

    def __init__(self, source: Readable, title: str, token: str, authority: str) -> None:
        self.source = source
        self.title = title
        self.authority = authority
        self._token = token.encode()

    def knows(self, header: str | None) -> bool:
        given = (header or "").encode("latin-1", "replace")
        return hmac.compare_digest(given, b"Bearer " + self._token)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False
    request_queue_size = 16
    context: _Context

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that goes away is no event, and content belongs in no log."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "medshare"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the signature of http.server
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer one request."""
        context, path = self.server.context, self.path
        site = self.headers.get("Sec-Fetch-Site", "same-origin")
        if self.headers.get_all("Host") != [context.authority] or len(path) > _MAX_PATH:
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
        elif path in _STATIC:
            name, kind = _STATIC[path]
            self._answer(files("medshare.viewing").joinpath(name).read_bytes(), kind)
        elif site not in {"same-origin", "none"} or not context.knows(
            self.headers.get("Authorization")
        ):
            self._refuse(HTTPStatus.FORBIDDEN)
        elif path == "/files":
            self._json({"title": context.title, "files": _listed(context.source)})
        elif (match := _FILE.fullmatch(path)) and int(match[1]) < len(context.source.files):
            self._guarded(lambda: self._file(match))
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def _guarded(self, act: Callable[[], None]) -> None:
        """Answer with the sentence of an error: it may have ended what may be looked at."""
        try:
            act()
        except MedshareError as error:
            self._json({"problem": error.message, "code": error.code}, HTTPStatus.CONFLICT)

    def _file(self, match: re.Match[str]) -> None:
        number, what, frame, centre, width = match.groups()
        data = self.server.context.source.read(int(number))
        if what is None:
            self._json(asdict(shown(data)))
        elif frame is not None:
            window = None if centre is None else Window(int(centre), int(width))
            self._answer(*picture(data, int(frame), window))
        elif kind_of(data) is Kind.PDF:
            self._answer(data, "application/pdf")
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def _json(self, value: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._answer(json.dumps(value).encode(), "application/json", status)

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True
        self._answer(b"", "text/plain", status)

    def _answer(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _listed(source: Readable) -> list[dict[str, Any]]:
    return [{"path": entry.path, "size": entry.size} for entry in source.files]
