"""Results for people: nothing that others wrote can deceive, and long lists stay short."""

import contextlib
import os
import pty
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import RenderableType

from medshare.commands import views
from medshare.commands.lines import plain_lines
from medshare.digest import Digest
from medshare.errors import IntegrityError
from medshare.ids import ParcelId, StationId
from medshare.manifest import FileEntry, Manifest
from medshare.receipt import Receipt, ReceivedFile
from medshare.sharing.receive import ParcelListing, ReceiveResult
from medshare.sharing.send import SendResult
from medshare.sharing.verify import Fault, FolderReport, ParcelReport
from medshare.station import Contact
from tests.builder import make_identity

ROOT = Path(__file__).resolve().parent.parent
EVIL = "x\x1b[2J\x1b]52;c;Y21k\x07\u202egnp\nmedshare: delivered\r\u200b\x9b"
PARCEL = ParcelId(bytes(16))
STATION = StationId(bytes(32))
DIGEST = Digest(bytes(32))
CONTACT = Contact(EVIL, STATION, make_identity("alice").card, 1_800_000_000)


def files(count: int, name: str = EVIL) -> tuple[ReceivedFile, ...]:
    """So many received files with such names."""
    return tuple(ReceivedFile(f"{name}{number}", 1000, DIGEST) for number in range(count))


def receipt(count: int) -> Receipt:
    """A receipt for so many files."""
    return Receipt(PARCEL, "intl", DIGEST, STATION, STATION, (), (1 << 64) - 1, files(count))


RECEIVED = ReceiveResult(
    PARCEL, CONTACT, files(500), 10, 5, 3, 2, Path(f"/{EVIL}"), Path(f"/{EVIL}.receipt")
)
SENT = SendResult(PARCEL, 3, 10, 5, 2, 2, 0, {}, (STATION,))
LISTING = ParcelListing(
    PARCEL,
    CONTACT,
    1_800_000_000,
    (1 << 64) - 1,
    Manifest(tuple(FileEntry(f"{EVIL}{n}", 9) for n in range(500)), note=EVIL),
    None,
    3,
    4,
    sealed=False,
)
FAULTS = tuple(Fault(f"{EVIL}{n}", EVIL, "integrity.digest") for n in range(500))
VIEWS: dict[str, RenderableType] = {
    "sealed": views.sent(SENT, names=[EVIL], missing=[EVIL], route=EVIL),
    "delivered": views.sent(
        replace(SENT, missing_receipts=()), names=[EVIL], missing=[], route=EVIL
    ),
    "received": views.received(RECEIVED),
    "waiting": views.waiting([LISTING] * 3),
    "fault": views.waiting([replace(LISTING, fault=IntegrityError(EVIL, hint=EVIL))]),
    "stranger": views.waiting([replace(LISTING, sender=None, fault=IntegrityError(EVIL))]),
    "parcel": views.checked_parcel(
        ParcelReport(PARCEL, STATION, "intl", 4, 10, sealed=True, faults=FAULTS), sender="a"
    ),
    "folder": views.checked_folder(
        FolderReport(receipt(3), 3, 10, FAULTS, tuple(EVIL for _ in range(500))),
        folder=Path(EVIL),
        signer="a",
    ),
    "proof": views.proof(receipt(500), signer="a", sender="b", place=Path(EVIL), everything=False),
    "proofs": views.proofs([(receipt(3), "a")] * 3),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_no_view_repeats_what_could_deceive(view: RenderableType) -> None:
    """Names, notes, paths and messages of others are escaped in every result."""
    lines = plain_lines(view)
    unsafe = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert all(unicodedata.category(c) not in unsafe for line in lines for c in line)
    assert not any(line.startswith("medshare: delivered") for line in lines)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_result_fits_a_screen_or_two(view: RenderableType) -> None:
    """However many files there are, a result is short; faults are the longest, at fifty."""
    assert len(plain_lines(view)) <= 60


def test_a_short_list_is_shown_whole() -> None:
    """Nothing is left out where leaving out saves no line; asked for all, all are shown."""
    few = plain_lines(views.files_table(files(7, "CT")))
    assert [line.split()[0] for line in few] == [f"CT{number}" for number in range(7)]
    assert "more" not in " ".join(few)
    many = plain_lines(views.files_table(files(8, "CT")))
    assert [line.split()[0] for line in many] == ["CT0", "CT1", "CT2", "CT3", "CT4", "…", "CT7"]
    assert len(plain_lines(views.files_table(files(500, "CT"), everything=True))) == 500


def on_a_terminal(*words: str, **more: str) -> str:
    """Run the real program on a terminal of 60 columns; return what it shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "medshare", *words],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "COLUMNS": "60",
            "TERM": "xterm-256color",
            **more,
        },
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    process.wait()
    return shown.decode().replace("\r\n", "\n")


def test_an_error_is_folded_between_words_for_people() -> None:
    """On a terminal the word `error` has a colour, and lines end between words."""
    shown = on_a_terminal("completion", "tcsh")
    assert "\x1b[31m\x1b[1mmedshare: error:\x1b[0m" in shown
    bare = on_a_terminal("completion", "tcsh", NO_COLOR="1")
    assert bare.splitlines() == [
        "medshare: error: invalid value for '{bash|zsh|fish}': 'tcsh'",
        "  is not one of 'bash', 'zsh', 'fish'",
        "medshare: hint: medshare completion --help shows how it is",
        "  used, with examples",
    ]


def test_what_the_locale_cannot_write_is_escaped() -> None:
    """A name in another script does not end a command where the locale has no letters for it."""
    done = subprocess.run(
        [sys.executable, "-m", "medshare", "verify", "北京"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == b"medshare: error: there is nothing at \\u5317\\u4eac"
