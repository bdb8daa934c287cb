"""The verbs at the command line, between two stations that share a folder."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from medshare import cli
from medshare.commands import transfer
from medshare.envelope import parse_envelope
from tests.people import SUITES

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    "study/CT/0001.dcm": b"\x00" * 128 + b"DICM" + b"pixels" * 3000,
    "study/CT/0002.dcm": b"\x01" * 40_000,
    "study/report.txt": b"",
}


@dataclass
class Hospital:
    """A station and the folder in which its person sits."""

    home: Path
    desk: Path
    environment: dict[str, str | None] = field(default_factory=dict)

    def run(self, *words: str, at: Path | None = None) -> Result:
        """Run medshare as this station; *at* is the folder to change into."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(at or self.desk)
            return CliRunner().invoke(
                cli.cli,
                words,
                prog_name="medshare",
                env={"MEDSHARE_HOME": str(self.home), **self.environment},
            )

    def json(self, *words: str, exit_code: int = 0) -> list[dict[str, Any]]:
        """Run medshare with --json; return the objects that it wrote."""
        done = self.run(*words, "--json")
        assert done.exit_code == exit_code, done.output
        assert done.stderr == ""
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module", params=SUITES)
def homes(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Path, Path, Path]:
    """The homes of two stations that trust each other, and the passphrase file of both."""
    root = tmp_path_factory.mktemp("homes")
    passphrase = root / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text("a very long passphrase")
    a, b = root / "a", root / "b"
    words = ("init", "--suite", request.param)
    for home in (a, b):
        one = Hospital(home, root, {"MEDSHARE_PASSPHRASE_FILE": str(passphrase)})
        assert one.run(*words, "--name", f"hospital-{home.name}").exit_code == 0
        assert one.run("card", "export", "--output", f"{home.name}.card").exit_code == 0
    for home, other in ((a, "b"), (b, "a")):
        one = Hospital(home, root, {"MEDSHARE_PASSPHRASE_FILE": str(passphrase)})
        assert one.run("card", "import", f"{other}.card", "--yes").exit_code == 0
    return a, b, passphrase


@pytest.fixture
def a(homes: tuple[Path, Path, Path], tmp_path: Path) -> Hospital:
    """The sender, with a study on the desk."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return Hospital(homes[0], tmp_path, {"MEDSHARE_PASSPHRASE_FILE": str(homes[2])})


@pytest.fixture
def b(homes: tuple[Path, Path, Path], tmp_path: Path) -> Hospital:
    """The receiver."""
    return Hospital(homes[1], tmp_path, {"MEDSHARE_PASSPHRASE_FILE": str(homes[2])})


def sent(a: Hospital, *more: str) -> str:
    """Send the study through the folder `usb`; return the parcel's id."""
    records = a.json("send", "study", "--to", "hospital-b", "--folder", "usb", *more)
    return str(records[-1]["parcel"])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder that is not hidden, by its relative path."""
    files = (file for file in folder.rglob("*") if file.is_file())
    named = {str(file.relative_to(folder)): file for file in files}
    return {name: file.read_bytes() for name, file in named.items() if "/." not in f"/{name}"}


def test_a_study_travels(a: Hospital, b: Hospital, tmp_path: Path) -> None:
    """Sent, listed, received, verified, and proved by a receipt: each step in plain words."""
    send = ("send", "study", "--to", "hospital-b", "--folder", "usb")
    first = a.run(*send)
    assert first.exit_code == 0
    assert first.stdout.startswith("● sealed, not yet received by hospital-b: 3 files (56.8 KiB)")
    assert first.stderr.splitlines()[:2] == [
        "medshare: note: there is no folder usb yet: it will be made",
        f"medshare: sending 3 files, 56.8 KiB to hospital-b (folder {a.desk / 'usb'})",
    ]
    parcel = next(line.split()[1] for line in first.stdout.splitlines() if "parcel" in line)

    listed = b.run("receive", "--list", "--folder", "usb")
    assert listed.stdout.startswith(f"● {parcel} from hospital-a: 3 files, 56.8 KiB")
    assert not (tmp_path / "inbox").exists()

    received = b.run("receive", "--output", "inbox", "--folder", "usb")
    assert received.exit_code == 0, received.output
    assert "✓ received 3 files, 56.8 KiB from hospital-a, every byte verified" in received.stdout
    assert contents(tmp_path / "inbox") == FILES

    assert b.run("verify", "inbox").stdout.startswith("✓ 3 files, 56.8 KiB: all as received")
    again = a.run(*send, "--wait")
    assert again.stdout.startswith("✓ delivered: signed receipt of hospital-b names all 3 files")
    assert "nothing; 1 chunk there from before" in again.stdout
    proof = a.run("receipt", parcel[:8])
    assert proof.stdout.startswith("✓ hospital-b received 3 files, 56.8 KiB on ")
    assert "study/CT/0001.dcm" in proof.stdout
    assert parcel[:12] in a.run("receipt").stdout
    assert b.run("receive", "--output", "inbox", "--folder", "usb").stdout == (
        "nothing waits for this station\n"
    )


def test_one_can_stay_for_the_first_parcel(a: Hospital, b: Hospital, tmp_path: Path) -> None:
    """Without any, `--await` ends when its time is over; it takes whatever comes."""
    a.run("send", "study", "--to", "hospital-b", "--folder", "usb")
    received = b.run("receive", "--output", "inbox", "--folder", "usb", "--await", "1h")
    assert (received.exit_code, contents(tmp_path / "inbox")) == (0, FILES)
    none = b.run("receive", "--output", "inbox", "--folder", "usb", "--await", "1")
    assert (none.exit_code, none.stdout) == (0, "nothing waits for this station\n")
    assert none.stderr == "medshare: note: nothing waits yet; staying for it\n"
    for mistaken in (["receive", "3f2a9c1b", "--output", "inbox"], ["receive", "--list"]):
        refused = b.run(*mistaken, "--await", "1", "--folder", "usb")
        assert refused.exit_code == 2
        assert "--await takes what comes first" in refused.stderr


def test_a_program_can_follow(a: Hospital, b: Hospital) -> None:
    """With --json each step ends in one record with stable keys."""
    records = a.json("send", "study", "--to", "hospital-b", "--folder", "usb")
    assert [record["event"] for record in records][-2:] == ["finished", "sent"]
    parcel = records[-1]["parcel"]
    assert records[-1]["outcome"] == "sealed"
    assert records[-1]["missing_receipts"] == ["hospital-b"]

    (waiting,) = b.json("receive", "--list", "--folder", "usb")
    listing = next(one for one in waiting["parcels"] if one["parcel"] == parcel)
    assert {file["path"] for file in listing["files"]} == set(FILES)
    assert listing["fault"] is None

    received = b.json("receive", parcel, "--output", "inbox", "--folder", "usb")[-1]
    assert received["sender"] == "hospital-a"
    verified = b.json("verify", "inbox")[-1]
    assert (verified["kind"], verified["checked"], verified["faults"]) == ("folder", 3, [])
    delivered = a.json("send", "study", "--to", "hospital-b", "--folder", "usb", "--wait", "9")[-1]
    assert delivered["receipts"] == ["hospital-b"]
    (proof,) = a.json("receipt", parcel)
    assert proof["files"] == received["files"]
    (sealed,) = (r for r in a.json("verify", f"usb/{parcel}") if r["event"] == "verified")
    assert (sealed["kind"], sealed["sender"], sealed["faults"]) == ("parcel", "this station", [])


def test_every_record_is_documented(a: Hospital, b: Hospital) -> None:
    """docs/json-events.md names each record of these commands, and all its keys."""
    records = a.json("send", "study", "--to", "hospital-b", "--folder", "usb")
    records += b.json("receive", "--list", "--folder", "usb")
    records += b.json("receive", "--output", "inbox", "--folder", "usb")
    records += b.json("receive", "--output", "inbox", "--folder", "usb")
    records += b.json("verify", "inbox", *(str(one) for one in (b.desk / "usb").iterdir()))
    records += b.json("receipt")
    records += b.json("receive", "--output", "inbox", exit_code=2)
    page = (ROOT / "docs" / "json-events.md").read_text(encoding="utf-8")
    for record in records:
        section = page.partition(f"### `{record['event']}`")[2].partition("### ")[0]
        documented = {row.split("`")[1] for row in section.splitlines() if row.startswith("| `")}
        assert record.keys() - {"event"} <= documented, record["event"]


def test_waiting_in_vain_is_not_success(a: Hospital) -> None:
    """`send --wait` without a receipt ends in 5, and says that the parcel is safe."""
    done = a.run("send", "study", "--to", "hospital-b", "--folder", "usb", "--wait", "0.2")
    assert done.exit_code == 5
    assert "sealed, but not yet received by hospital-b" in done.stderr
    assert "run the same command again" in done.stderr


def test_a_folder_is_the_same_however_it_is_named(a: Hospital) -> None:
    """A relative path, an absolute one: the same command goes on with the same parcel."""
    first = a.json("send", "study", "--to", "hospital-b", "--folder", "usb")[-1]
    again = a.json("send", "study", "--to", "hospital-b", "--folder", str(a.desk / "usb"))[-1]
    assert (again["parcel"], again["moved_chunks"]) == (first["parcel"], 0)


def test_a_parcel_with_a_date_is_resumed(a: Hospital, tmp_path: Path) -> None:
    """--delete-after counts from the first run; the same command later is the same request."""
    before = int(time.time())
    parcel = sent(a, "--delete-after", "30d")
    envelope = parse_envelope((tmp_path / "usb" / parcel / "envelope").read_bytes())
    assert 0 <= envelope.delete_after - before - 30 * 86400 < 60
    time.sleep(1.1)
    assert sent(a, "--delete-after", "30d") == parcel
    assert sent(a, "--delete-after", "30d", "--new") != parcel


def test_damage_is_refused_and_mended(a: Hospital, b: Hospital, tmp_path: Path) -> None:
    """A flipped byte ends in 3 with the file named; sending again mends it."""
    parcel = sent(a)
    chunk = tmp_path / "usb" / parcel / "chunks" / "00000000"
    octets = bytearray(chunk.read_bytes())
    octets[len(octets) // 2] ^= 1
    chunk.write_bytes(octets)
    report = b.run("verify", f"usb/{parcel}")
    assert report.exit_code == 3
    assert "chunk 0" in report.stderr
    refused = b.run("receive", parcel, "--output", "inbox", "--folder", "usb", "--wait", "1")
    assert refused.exit_code == 3
    assert "study/CT/0001.dcm" in refused.stderr
    assert contents(tmp_path / "inbox") == {}
    assert sent(a) == parcel
    mended = b.run("receive", parcel, "--output", "inbox", "--folder", "usb")
    assert mended.exit_code == 0
    assert contents(tmp_path / "inbox") == FILES


def test_a_changed_file_is_named(a: Hospital, b: Hospital, tmp_path: Path) -> None:
    """`verify` of a folder names the file that differs, the one that is gone, and the extra."""
    parcel = sent(a)
    assert b.run("receive", parcel, "--output", "inbox", "--folder", "usb").exit_code == 0
    inbox = tmp_path / "inbox" / "study"
    (inbox / "CT" / "0002.dcm").write_bytes(b"\x02" * 40_000)
    (inbox / "report.txt").unlink()
    (inbox / "more.txt").write_text("more")
    done = b.run("verify", "inbox")
    assert done.exit_code == 3
    assert done.stdout.startswith("✗ 2 of 3 files not as received")
    assert "study/more.txt" in done.stdout
    assert "study/CT/0002.dcm" in done.stderr
    assert "study/report.txt" in done.stderr
    assert "0001" not in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["send", "study", "--to", "hospital-b"], "no relay is named"),
        (["send", "study", "--to", "x", "--relay", "r", "--folder", "f"], "not both"),
        (["receive", "--folder", "usb"], "where shall the files go"),
        (["receive", "xyz", "--output", "o", "--folder", "usb"], "is not a parcel id"),
        (["receive", "1234567", "--output", "o", "--folder", "usb"], "is not a parcel id"),
        (["verify", "nowhere"], "there is nothing at nowhere"),
        (["receipt", "no such"], "is not a parcel id"),
    ],
)
def test_what_makes_no_sense_is_said(a: Hospital, words: list[str], sentence: str) -> None:
    """A command that cannot be meant ends in 2, with the reason."""
    done = a.run(*words)
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr


def test_a_stranger_is_no_recipient(a: Hospital) -> None:
    """A name that is not a contact ends in 4, with what may have been meant."""
    done = a.run("send", "study", "--to", "hospital-c", "--folder", "usb")
    assert done.exit_code == 4
    assert "did you mean" in done.stderr


def test_a_wrong_passphrase_is_refused(a: Hospital, tmp_path: Path) -> None:
    """A wrong passphrase ends in 4, before anything is written."""
    wrong = tmp_path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("not the passphrase at all")
    done = a.run(
        "send", "study", "--to", "hospital-b", "--folder", "usb", "--passphrase-file", "wrong"
    )
    assert done.exit_code == 4
    assert not (tmp_path / "usb").exists()


def test_the_start_of_an_id_is_enough(a: Hospital, b: Hospital, tmp_path: Path) -> None:
    """Eight digits name a parcel; digits that fit none end in 5."""
    parcel = sent(a)
    unknown = f"{int(parcel[:8], 16) ^ 1:08x}"
    done = b.run("receive", unknown, "--output", "inbox", "--folder", "usb")
    assert done.exit_code == 5
    assert b.run("receive", parcel[:8], "--output", "inbox", "--folder", "usb").exit_code == 0
    assert contents(tmp_path / "inbox") == FILES


def test_one_bad_parcel_does_not_hold_up_the_next(a: Hospital, b: Hospital, tmp_path: Path) -> None:
    """Everything that waits is tried; the one that is damaged is named, and decides the exit."""
    bad = sent(a)
    (a.desk / "other.txt").write_text("other")
    good = a.json("send", "other.txt", "--to", "hospital-b", "--folder", "usb")[-1]["parcel"]
    (tmp_path / "usb" / bad / "manifest").write_bytes(b"no manifest")
    done = b.run("receive", "--output", "inbox", "--folder", "usb")
    assert done.exit_code == 3
    assert f"parcel {bad}" in done.stderr
    assert good in done.stdout
    assert contents(tmp_path / "inbox") == {"other.txt": b"other"}


def test_a_receipt_convinces_somebody_else(
    a: Hospital, b: Hospital, tmp_path: Path, homes: tuple[Path, Path, Path]
) -> None:
    """Without a station, a receipt holds against the card of its signer, and no other card."""
    parcel = sent(a)
    received = b.json("receive", parcel, "--output", "inbox", "--folder", "usb")[-1]
    auditor = Hospital(tmp_path / "no-station", tmp_path)
    words = ("verify", "inbox", "--receipt", received["receipt_file"])
    cards = homes[0].parent
    assert auditor.run(*words, "--card", str(cards / "b.card")).exit_code == 0
    assert auditor.run(*words, "--card", str(cards / "a.card")).exit_code == 4
    assert auditor.run(*words).exit_code == 4
    shown = auditor.run("receipt", received["receipt_file"], "--card", str(cards / "b.card"))
    assert shown.stdout.startswith("✓ hospital-b received 3 files")


def test_a_sealed_parcel_needs_no_station(a: Hospital, tmp_path: Path) -> None:
    """Whoever holds a sealed parcel can verify it; its sender is then nobody's word."""
    parcel = sent(a)
    done = Hospital(tmp_path / "no-station", tmp_path).run("verify", f"usb/{parcel}")
    assert done.exit_code == 0
    assert done.stdout.startswith("✓ complete and unaltered: 1 chunk")
    assert "for which nobody here vouches" in done.stdout


def test_a_parcel_of_a_stranger_is_shown_and_refused(
    a: Hospital, b: Hospital, tmp_path: Path, homes: tuple[Path, Path, Path]
) -> None:
    """Whoever is not a contact is named as unknown, and nothing of theirs is received."""
    stranger = Hospital(tmp_path / "c", tmp_path, a.environment)
    assert stranger.run("init", "--name", "hospital-a").exit_code == 0
    card = str(homes[0].parent / "b.card")
    assert stranger.run("card", "import", card, "--yes").exit_code == 0
    parcel = sent(stranger, "--suite", "intl")
    listed = b.run("receive", "--list", "--folder", "usb")
    assert listed.exit_code == 0
    assert listed.stdout.startswith(f"✗ {parcel} from unknown sender: cannot be opened here")
    refused = b.run("receive", "--output", "inbox", "--folder", "usb")
    assert refused.exit_code == 4
    assert "is not among your contacts" in refused.stderr
    assert not (tmp_path / "inbox").exists()


def test_quiet_is_quiet(a: Hospital, b: Hospital) -> None:
    """With -q a success prints nothing at all, and a failure its one sentence."""
    send = a.run("send", "study", "--to", "hospital-b", "--folder", "usb", "-q")
    assert (send.exit_code, send.output) == (0, "")
    failed = b.run("receive", "00000000", "--output", "inbox", "--folder", "usb", "-q")
    assert failed.output.startswith("medshare: error: there is no parcel")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["--wait", "study"], ["--wait", "forever", "study"]),
        (["study", "--wait"], ["study", "--wait", "forever"]),
        (["--wait", "--json"], ["--wait", "forever", "--json"]),
        (["--wait", "10m", "study"], ["--wait", "10m", "study"]),
        (["--wait", "forever"], ["--wait", "forever"]),
        (["--wait", "0.5"], ["--wait", "0.5"]),
        (["--wait", "--", "10"], ["--wait", "forever", "--", "10"]),
        (["--", "--wait"], ["--", "--wait"]),
    ],
)
def test_a_lone_wait_waits_for_ever(words: list[str], completed: list[str]) -> None:
    """`--wait` takes a time if one follows, and never a path."""
    assert transfer.with_time(words) == completed


def test_the_shell_knows_the_contacts(a: Hospital) -> None:
    """Completion of --to offers the names of contacts."""
    a.environment |= {
        "_MEDSHARE_COMPLETE": "bash_complete",
        "COMP_WORDS": "medshare send --to hosp",
        "COMP_CWORD": "3",
    }
    assert a.run().stdout.split() == ["plain,hospital-b"]


@pytest.fixture(autouse=True)
def _no_leftovers(homes: tuple[Path, Path, Path]) -> Iterator[None]:
    """Forget unfinished requests between tests: their paths are those of another test."""
    yield
    for pointer in (homes[0] / "outbox").glob("pending-*"):
        pointer.unlink()
