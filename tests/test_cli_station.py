"""`medshare init`, `card` and `rotate-key`, as a person and as a script use them."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from medshare import cli, suites
from medshare.station import Station
from medshare.trust.card import armor
from tests.builder import make_identity
from tests.cards import rotated
from tests.parcels_at_hand import Case

SRC = Path(__file__).resolve().parent.parent / "src"
PASSPHRASE = "correct horse battery"
FINGERPRINT = re.compile(r"(\d{5} ){5}\d{5}")
HOSTILE = "Dr \u0645 Wang \U0001f3e5 ; rm -rf"


class Desk:
    """A machine with a home, and a file that holds the passphrase."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.passphrase = folder / "passphrase"
        self.passphrase.write_text(PASSPHRASE + "\n")
        self.passphrase.chmod(0o600)
        self.environ = {
            "MEDSHARE_HOME": str(self.home),
            "MEDSHARE_PASSPHRASE_FILE": str(self.passphrase),
        }

    def run(self, *words: str, stdin: bytes | None = None) -> Result:
        """Run `medshare` with these words, nobody being at a terminal."""
        return CliRunner().invoke(cli.cli, words, input=stdin, env=self.environ)

    def json(self, *words: str, stdin: bytes | None = None) -> dict[str, Any]:
        """Run with `--json`; return the one object that it prints."""
        done = self.run(*words, "--json", stdin=stdin)
        assert done.exit_code == 0, done.output
        (line,) = done.stdout.splitlines()
        record: dict[str, Any] = json.loads(line)
        return record


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A machine that is no station yet."""
    return Desk(tmp_path)


@pytest.fixture
def station(desk: Desk) -> Desk:
    """A machine that is a station."""
    assert desk.run("init", "--name", "St. Mary").exit_code == 0
    return desk


def card_file(folder: Path, name: str = "Dr Wang") -> Path:
    """Return a file with the armored card of another station."""
    path = folder / "other.card"
    path.write_text(armor(make_identity(name).card))
    return path


def test_init_makes_a_station_and_says_what_comes_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fingerprint and the next command are shown; the command works."""
    done = desk.run("init", "--name", "St. Mary, radiology")
    assert done.exit_code == 0
    assert FINGERPRINT.search(done.stdout)
    match = re.search(r"medshare (card export --output \S+\.card)", done.stdout)
    assert match
    monkeypatch.chdir(desk.folder)
    assert desk.run(*match[1].split()).exit_code == 0
    assert Station.open(desk.home).card.name == "St. Mary, radiology"


def test_init_tells_programs(desk: Desk) -> None:
    """With --json there is one object, with name, id, fingerprint and folder."""
    record = desk.json("init", "--name", "gateway")
    station = Station.open(desk.home)
    assert record["event"] == "initialised"
    assert record["name"] == "gateway"
    assert record["station"] == station.id.hex()
    assert record["fingerprint"] == station.card.fingerprint
    assert record["home"] == str(desk.home)


def test_init_takes_the_name_of_the_machine(desk: Desk) -> None:
    """Without --name the card says the host name."""
    assert desk.json("init")["name"]


def test_init_without_the_library_of_a_suite_makes_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra to install is named, as a matter of usage, and no folder is left half made."""
    monkeypatch.setitem(sys.modules, "medshare.suites.sm2", None)
    monkeypatch.delattr(suites, "sm2", raising=False)
    done = desk.run("init", "--suite", "gm")
    assert (done.exit_code, desk.home.exists()) == (2, False)
    assert "medshare[gm]" in done.stderr


def test_a_second_init_is_refused_before_it_asks(station: Desk) -> None:
    """A station that exists is said to exist, whatever the passphrase file holds."""
    station.passphrase.unlink()
    done = station.run("init")
    assert done.exit_code == 2
    assert "already" in done.stderr


@pytest.mark.parametrize(
    ("mode", "content", "code"), [(0o644, PASSPHRASE, 6), (0o600, "short", 2), (0o600, "", 2)]
)
def test_init_refuses_a_bad_passphrase_file(desk: Desk, mode: int, content: str, code: int) -> None:
    """A file open to others, or with too little in it, makes no station."""
    desk.passphrase.write_text(content)
    desk.passphrase.chmod(mode)
    assert desk.run("init").exit_code == code
    assert not desk.home.exists()


def test_without_terminal_or_file_init_says_what_is_missing(desk: Desk) -> None:
    """Nobody is asked where nobody is."""
    del desk.environ["MEDSHARE_PASSPHRASE_FILE"]
    done = desk.run("init")
    assert done.exit_code == 4
    assert "--passphrase-file" in done.stderr


def test_a_card_travels_from_one_station_to_another(tmp_path: Path) -> None:
    """What one exports, as text, as a file or through a pipe, the other imports."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a, b = Desk(tmp_path / "a"), Desk(tmp_path / "b")
    a.run("init", "--name", "A")
    b.run("init", "--name", "B")
    text = a.run("card", "export").stdout
    assert text.startswith("-----BEGIN MEDSHARE CARD-----\n")
    assert b.json("card", "import", "-", "--yes", stdin=text.encode())["change"] == "new"
    a.run("card", "export", "--output", str(tmp_path / "a.card"))
    assert (tmp_path / "a.card").read_text() == text
    assert b.json("card", "import", str(tmp_path / "a.card"))["change"] == "none"
    binary = Station.open(a.home).card.encoded
    assert b.json("card", "import", "-", stdin=binary)["change"] == "none"
    assert [one["name"] for one in b.json("card", "list")["contacts"]] == ["a"]


def test_an_import_needs_a_person_or_a_yes(station: Desk) -> None:
    """Without a terminal nothing is trusted; the fingerprint to compare is in the hint."""
    path = card_file(station.folder)
    done = station.run("card", "import", str(path))
    assert done.exit_code == 2
    assert make_identity("Dr Wang").card.fingerprint in done.stderr
    assert station.json("card", "list")["contacts"] == []
    assert station.json("card", "import", str(path), "--yes", "--name", "wang")["name"] == "wang"


def test_an_import_under_another_name_says_what_it_was_called(station: Desk) -> None:
    """Who is renamed by an import is named by both names; who is not, by one."""
    path = card_file(station.folder)
    station.run("card", "import", str(path), "--yes", "--name", "wang")
    assert "instead of" not in station.run("card", "import", str(path)).stdout
    done = station.run("card", "import", str(path), "--name", "li")
    assert [line.split() for line in done.stdout.splitlines() if "instead of" in line] == [
        ["instead", "of", "wang"]
    ]


def test_a_rotated_card_needs_no_ceremony(station: Desk) -> None:
    """A card that the old keys signed is imported without a question, and said to be one."""
    station.run("card", "import", str(card_file(station.folder)), "--yes")
    card = rotated(make_identity("Dr Wang").card, "Dr Wang")
    done = station.run("card", "import", "-", stdin=armor(card).encode())
    assert done.exit_code == 0
    assert "key rotation, signed by the old key" in done.stdout
    assert station.json("card", "show", "dr-wang")["generation"] == 1


def test_a_forged_card_is_refused(station: Desk) -> None:
    """One flipped bit anywhere makes exit code 3, and nobody is trusted."""
    good = make_identity("Dr Wang").card.encoded
    for at in range(0, len(good), 251):
        bad = bytearray(good)
        bad[at] ^= 1
        done = station.run("card", "import", "-", "--yes", stdin=bytes(bad))
        assert (at, done.exit_code) == (at, 3)
    assert station.json("card", "list")["contacts"] == []


@pytest.mark.parametrize("data", [b"", b"hello", b"-----BEGIN MEDSHARE CARD-----\n", b"\x00" * 99])
def test_what_is_no_card_is_refused(station: Desk, data: bytes) -> None:
    """Anything else is exit code 3 and one sentence."""
    done = station.run("card", "import", "-", "--yes", stdin=data)
    assert done.exit_code == 3
    assert done.stderr.startswith("medshare: error: ")


def test_a_hostile_name_cannot_move_the_cursor(station: Desk) -> None:
    """What a card calls itself is shown escaped, and never as the name to type."""
    path = card_file(station.folder, HOSTILE)
    done = station.run("card", "import", str(path), "--yes")
    assert done.exit_code == 0
    assert "medshare send PATH --to " in done.stdout
    assert ";" not in done.stdout.split("--to ")[1]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout)


def test_an_unknown_contact_is_met_with_a_suggestion(station: Desk) -> None:
    """Exit code 4, and the name that was meant."""
    station.run("card", "import", str(card_file(station.folder)), "--yes")
    done = station.run("card", "show", "dr-wong")
    assert done.exit_code == 4
    assert "did you mean 'dr-wang'?" in done.stderr


def test_an_export_overwrites_nothing_but_a_card(station: Desk) -> None:
    """A slip in --output does not cost a file; an older card is replaced."""
    study = station.folder / "ct.dcm"
    study.write_bytes(b"pixels")
    assert station.run("card", "export", "--output", str(study)).exit_code == 2
    assert study.read_bytes() == b"pixels"
    old = card_file(station.folder)
    assert station.run("card", "export", "--output", str(old)).exit_code == 0
    assert old.read_text() == armor(Station.open(station.home).card)


def test_rotating_keys_tells_what_was_done(station: Desk) -> None:
    """A dry run changes nothing; a rotation makes generation 1, another one 2."""
    before = station.json("card", "show")
    assert station.json("rotate-key", "--dry-run")["generation"] == 1
    assert station.json("card", "show") == before
    record = station.json("rotate-key")
    assert (record["event"], record["generation"], record["failed"]) == ("rotated", 1, [])
    assert record["fingerprint"] == station.json("card", "show")["fingerprint"]
    assert "generation 2" in station.run("rotate-key").stdout


def test_a_parcel_that_cannot_be_rewrapped_is_named(tmp_path: Path, desk: Desk) -> None:
    """The rest is done, the exit code is 3, and the folder is in the output."""
    case = Case(desk.home)
    desk.passphrase.write_bytes(b"correct horse battery staple")
    damaged = min(folder for folder, _, _ in case.parcels)
    (damaged / "envelope").write_bytes(b"damaged")
    done = desk.run("rotate-key")
    assert done.exit_code == 3
    assert damaged.name in done.stdout
    assert "re-wrapped    2 parcels" in done.stdout
    assert desk.json("card", "show")["generation"] == 1


def test_a_wrong_passphrase_is_exit_code_4(station: Desk) -> None:
    """The sentence says so, then how long to wait, and nothing that was typed is repeated."""
    station.passphrase.write_text("wrong horse battery")
    for said in ("try again; a lost", "wait 1 s", "nothing is tried for another 1 s"):
        done = station.run("rotate-key")
        assert done.exit_code == 4
        assert said in done.stderr
        assert "horse" not in done.output


@pytest.mark.parametrize("words", [("card", "show"), ("card", "export"), ("rotate-key",)])
def test_a_station_open_to_others_is_refused(station: Desk, words: tuple[str, ...]) -> None:
    """Every command that opens it stops with exit code 6 and the chmod to run."""
    station.home.chmod(0o755)
    done = station.run(*words)
    assert done.exit_code == 6
    assert f"chmod 700 {station.home}" in done.stderr


class Terminal:
    """`medshare` at a real terminal, and somebody who types."""

    def __init__(self, desk: Desk, *words: str, **environ: str) -> None:
        ours, theirs = pty.openpty()
        self._side = ours
        self.shown = ""
        keep = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SRC), "TERM": "dumb"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "medshare", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=keep | {"MEDSHARE_HOME": str(desk.home), "HOME": str(desk.folder)} | environ,
            start_new_session=True,
        )
        os.close(theirs)

    def wait_for(self, text: str) -> None:
        """Read until *text* is shown after what was waited for before."""
        start = len(self.shown)
        end = time.monotonic() + 60
        while text not in self.shown[start:]:
            ready, _, _ = select.select([self._side], [], [], max(0.0, end - time.monotonic()))
            assert ready, self.shown
            self.shown += os.read(self._side, 4096).decode()

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._side, f"{text}\n".encode())

    def end(self) -> int:
        """Read what is left; return the exit code."""
        try:
            while part := os.read(self._side, 4096):
                self.shown += part.decode()
        except OSError:  # how a terminal says that the other side is gone
            self.shown += ""
        os.close(self._side)
        return self.process.wait(timeout=60)


@pytest.mark.service
def test_a_person_makes_a_station_at_a_terminal(desk: Desk) -> None:
    """The passphrase is typed twice, never shown, and opens what was made."""
    terminal = Terminal(desk, "init", "--name", "St. Mary")
    terminal.wait_for("New passphrase")
    terminal.type(PASSPHRASE)
    terminal.wait_for("once more")
    terminal.type(PASSPHRASE)
    assert terminal.end() == 0, terminal.shown
    assert PASSPHRASE not in terminal.shown
    assert Station.open(desk.home).unlock(PASSPHRASE.encode()).signers


@pytest.mark.service
def test_a_person_may_mistype_the_passphrase(station: Desk) -> None:
    """A wrong one is said to be wrong, and after a pause the right one is asked for again."""
    terminal = Terminal(station, "rotate-key", "--dry-run")
    terminal.wait_for("Passphrase of this station")
    terminal.type("a slip of the hand")
    terminal.wait_for("the passphrase is wrong")
    terminal.wait_for("Passphrase of this station")
    terminal.type(PASSPHRASE)
    assert terminal.end() == 0, terminal.shown
    assert "slip" not in terminal.shown


@pytest.mark.service
@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 130), ("", 130)])
def test_a_person_confirms_the_fingerprint(station: Desk, answer: str, code: int) -> None:
    """Only a yes makes a contact; the fingerprint is shown before the question."""
    card = make_identity("Dr Wang").card
    terminal = Terminal(station, "card", "import", str(card_file(station.folder)))
    terminal.wait_for("Is it the same?")
    assert card.fingerprint in terminal.shown
    terminal.type(answer)
    assert terminal.end() == code, terminal.shown
    trusted = Station.open(station.home).contacts.of(card.station)
    assert (trusted is not None) is (code == 0)
