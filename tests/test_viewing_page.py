"""viewing.server: a page that shows a parcel to its reader, and to nobody else."""

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medshare.errors import PolicyError
from medshare.viewing import dicom
from medshare.viewing.server import Page, served
from tests.test_viewing import pixels_of, slices


@dataclass(frozen=True)
class Entry:
    """A file."""

    path: str
    size: int


class Files:
    """Three files in memory, and one that may not be looked at any more."""

    def __init__(self) -> None:
        self.contents = [b"finding", slices(2), b"%PDF-1.4 x", b""]
        names = ("report.txt", "ct.dcm", "letter.pdf", "ended")
        self.files = tuple(Entry(one, 1) for one in names)

    def read(self, number: int) -> bytes:
        """The content, or the refusal."""
        if number == 3:
            raise PolicyError("the grant of the sender has ended", code="policy.expired")
        return self.contents[number]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page on the loopback."""
    with served(Files(), title="from <b>alice</b>") as page:
        yield page


def ask(page: Page, path: str, method: str = "GET", /, **fields: str | None) -> Any:
    """Ask the page; fields that are None are not sent."""
    host, _, port = page.authority.partition(":")
    line = http.client.HTTPConnection(host, int(port), timeout=20)
    given = {"Authorization": f"Bearer {page.token}", "Host": page.authority} | {
        name.replace("_", "-"): value for name, value in fields.items()
    }
    line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in given.items():
        if value is not None:
            line.putheader(name, value)
    line.endheaders()
    answer = line.getresponse()
    body = answer.read()
    line.close()
    return answer, body


def test_the_page_shows_what_there_is(page: Page) -> None:
    """Names, a text, a header with pictures, and a document."""
    assert page.url == f"http://{page.authority}/#{page.token}"
    listed = json.loads(ask(page, "/files")[1])
    assert [one["path"] for one in listed["files"]][:2] == ["report.txt", "ct.dcm"]
    assert json.loads(ask(page, "/file/0")[1])["text"] == "finding"
    assert json.loads(ask(page, "/file/1")[1])["pictures"] == 2
    answer, body = ask(page, "/file/1/picture/1")
    assert answer.headers["Content-Type"] == "image/png"
    assert pixels_of(body).shape == (8, 6)
    answer, body = ask(page, "/file/1/picture/1/10000/10")
    assert not pixels_of(body).any()
    answer, body = ask(page, "/file/2/content")
    assert (answer.headers["Content-Type"], body) == ("application/pdf", b"%PDF-1.4 x")


def test_the_page_itself_knows_nothing(page: Page) -> None:
    """Page, script and style are the same for everybody, and hold nothing of the parcel."""
    for path in ("/", "/page.js", "/page.css"):
        answer, body = ask(page, path, Authorization=None)
        assert answer.status == 200
        for secret in (page.token.encode(), b"alice", b"report.txt"):
            assert secret not in body
    assert b"innerHTML" not in ask(page, "/page.js")[1]
    assert b"localStorage" not in ask(page, "/page.js")[1]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Authorization": None}, 403),
        ({"Authorization": "Bearer x"}, 403),
        ({"Authorization": "Basic Og=="}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Host": "localhost"}, 421),
        ({"Host": None}, 421),
    ],
)
@pytest.mark.parametrize("path", ["/files", "/file/0", "/file/1/picture/0", "/file/2/content"])
def test_nobody_else_looks(
    page: Page, path: str, fields: dict[str, str | None], status: int
) -> None:
    """Without the token, from another site or under another name: nothing is said."""
    answer, body = ask(page, path, **fields)
    assert (answer.status, body) == (status, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/file/9",
        "/file/-1",
        "/file/0/content",
        "/file/0/../1",
        "/files?x",
        "/x" * 60,
        "/file/",
    ],
)
def test_what_is_not_there_is_not_there(page: Page, path: str) -> None:
    """Unknown and malformed addresses are refused; the raw octets of a file cannot be had."""
    answer, body = ask(page, path)
    assert answer.status in {404, 421}
    assert body == b""


def test_other_methods_are_refused(page: Page) -> None:
    """Nothing can be changed here, and so there is nothing but GET."""
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
        answer, _ = ask(page, "/files", method)
        assert answer.status == 501


def test_a_look_that_has_ended_is_said(page: Page) -> None:
    """A file that may not be looked at any more is refused with the sentence and the code."""
    answer, body = ask(page, "/file/3")
    assert answer.status == 409
    assert json.loads(body)["code"] == "policy.expired"


def test_nothing_may_be_stored_or_loaded_from_elsewhere(page: Page) -> None:
    """Every answer forbids caches, other origins and foreign scripts."""
    for path in ("/", "/files", "/file/1/picture/0", "/nowhere"):
        headers = ask(page, path)[0].headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "Access-Control-Allow-Origin" not in headers
        assert "unsafe" not in headers["Content-Security-Policy"]


def test_the_page_listens_on_the_loopback_and_ends(capfd: pytest.CaptureFixture[str]) -> None:
    """It is bound to 127.0.0.1, prints nothing, and after the block nobody answers."""
    with served(Files(), title="x") as page:
        host, _, port = page.authority.partition(":")
        assert host == "127.0.0.1"
        ask(page, "/files", Authorization=None)
        with socket.create_connection((host, int(port)), timeout=5) as line:
            line.sendall(b"\x00\xff garbage\r\n\r\n")
            line.recv(1000)
    with pytest.raises(OSError, match=r"refused|reset"):
        socket.create_connection((host, int(port)), timeout=1)
    assert capfd.readouterr() == ("", "")


def test_tokens_are_new_each_time() -> None:
    """Two pages share neither token nor port."""
    with served(Files(), title="x") as one, served(Files(), title="x") as two:
        assert one.token != two.token
        assert ask(two, "/files", Authorization=f"Bearer {one.token}")[0].status == 403


def test_the_assets_are_part_of_the_package() -> None:
    """Page, script and style lie beside the module, and the script sets text alone."""
    folder = Path(dicom.__file__).parent
    for name in ("page.html", "page.js", "page.css"):
        assert (folder / name).is_file()
    assert "eval(" not in (folder / "page.js").read_text()
