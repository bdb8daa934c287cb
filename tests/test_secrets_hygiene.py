"""Secrets stay where they belong: markers are planted everywhere, and every trace is searched.

Two stations and a relay run as processes of their own, over TLS, from `init` to `rotate-key`.
Then all that they wrote and said is searched for the markers, as octets, in hexadecimal
digits, in base64 and in UTF-16.
"""

import base64
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from medshare.keys.file import FileBackend, FileKeyStore
from medshare.station import Station
from tests.conftest import ROOT
from tests.relay_process import relay_process
from tests.running_server import Certificate

pytestmark = [pytest.mark.service, pytest.mark.slow]

PASSPHRASE = "marker-passphrase-Xq7Lw2"
PATIENT = "MARKERPATIENT^LI^MEI"
FILE = "MARKERFILE-4711.dcm"
FOLDER = "MARKERFOLDER-oncology"
NOTE = "MARKERNOTE second opinion"
A, B = "MARKERSTATION-mary", "MARKERSTATION-north"
NAMES = (FILE, FOLDER, A, B)
NEVER = (PASSPHRASE, PATIENT)
"""What stands in no file but the one that the user made, and in no output."""
CONTENT = (
    b"\x00" * 128 + b"DICM" + b"\x10\x00\x10\x00PN" + PATIENT.encode() + bytes(range(256)) * 40
)


def forms(marker: str | bytes) -> tuple[bytes, ...]:
    """Return how *marker* looks as octets, as digits, in base64 at any place, and in UTF-16."""
    raw = marker.encode() if isinstance(marker, str) else marker
    shifted = (base64.b64encode(bytes(by) + raw)[4 if by else 0 : -4] for by in range(3))
    wide = (marker.encode("utf-16-le"),) if isinstance(marker, str) else ()
    return (raw, raw.hex().encode(), raw.hex().upper().encode(), *shifted, *wide)


def found(octets: bytes, *markers: str | bytes) -> list[str | bytes]:
    """Return the *markers* that stand in *octets* in any form."""
    return [one for one in markers if any(form in octets for form in forms(one))]


def files_below(folder: Path) -> Iterator[Path]:
    """Every file and folder below *folder*, with those that are hidden."""
    return (path for path in folder.rglob("*") if not path.is_symlink())


def traces(folder: Path) -> dict[str, bytes]:
    """Every path below *folder*, with what the file holds: names are searched as well."""
    found_ = {}
    for path in files_below(folder):
        name = str(path.relative_to(folder))
        found_[name] = name.encode() + b"\n" + (path.read_bytes() if path.is_file() else b"")
    return found_


@dataclass
class Run:
    """What happened: what each command said, and what the system told about the processes."""

    root: Path
    said: dict[str, bytes] = field(default_factory=dict)
    processes: list[bytes] = field(default_factory=list)
    relay_log: bytes = b""
    relay_process: bytes = b""
    url: str = ""

    def environment(self, station: str) -> dict[str, str]:
        """The environment of a command of *station*."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "src"),
            "HOME": str(self.root / "user"),
            "TMPDIR": str(self.root / "tmp"),
            "MEDSHARE_HOME": str(self.root / station),
            "MEDSHARE_VAULT": str(self.root / f"vault-{station}"),
            "MEDSHARE_PASSPHRASE_FILE": str(self.root / "passphrase"),
            "MEDSHARE_RELAY_CA": str(self.root / "ca.pem"),
            "MEDSHARE_RELAY": self.url,
        }

    def command(self, station: str, *words: str, code: int = 0) -> None:
        """Run medshare to its end, and look meanwhile at what `ps` could show of it."""
        process = subprocess.Popen(
            [sys.executable, "-m", "medshare", *words],
            env=self.environment(station),
            cwd=self.root / "desk",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        while process.poll() is None:  # at the very first, there is nothing to see
            self.processes.append(shown_by_the_system(process.pid))
            if b"medshare" in self.processes[-1]:
                break
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, (words, out, err)
        self.said[f"{len(self.said)} {station} {' '.join(words[:2])}"] = out + err


def shown_by_the_system(pid: int) -> bytes:
    """What everybody on the machine, or the same user, can see of a process that runs."""
    seen = b""
    for name in ("cmdline", "environ", "comm"):
        file = Path(f"/proc/{pid}/{name}")
        seen += file.read_bytes() if file.exists() else b""
    return seen


def prepare(root: Path) -> None:
    """Lay out desk, passphrase and certificate; all that stands there is the user's own."""
    for name in ("user", "tmp", "desk"):
        (root / name).mkdir(mode=0o700)
    study = root / "desk" / FOLDER
    study.mkdir()
    (study / FILE).write_bytes(CONTENT)
    passphrase = root / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text(PASSPHRASE)
    (root / "note").write_text(NOTE + "\n")


def introduce(run: Run) -> None:
    """Make two stations that know each other, and enroll them."""
    for station, name in (("a", A), ("b", B)):
        run.command(station, "init", "--name", name)
        run.command(station, "card", "export", "--output", f"{station}.card")
        run.command(station, "relay", "enroll", f"{station}.card", "--yes", "--data", "../relay")
    run.command("a", "card", "import", "b.card", "--yes", "--name", B)
    run.command("b", "card", "import", "a.card", "--yes", "--name", A)


def travel(run: Run, *more: str) -> None:
    """Let a study travel, be checked and acknowledged."""
    note = ("--note-file", "../note")
    run.command("a", "send", FOLDER, "--to", B, *note, "--new", *more)
    run.command("b", "receive", "--list", *more)
    run.command("b", "receive", "--output", "inbox", *more)
    run.command("b", "verify", "inbox", *more)
    run.command("a", "send", FOLDER, "--to", B, *note, "--wait", "30", *more)
    run.command("a", "receipt", *more)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One full run, with a umask that hides nothing."""
    root = tmp_path_factory.mktemp("hygiene")
    prepare(root)
    tls = Certificate.issue(root)
    run = Run(root)
    before = os.umask(0)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TMPDIR", str(root / "tmp"))
            introduce(run)
            run.command("a", "rotate-key", "--tier", "routine")
            words = ("--tls-cert", str(tls.cert), "--tls-key", str(tls.key))
            for loud in ("-v", "-vv"):
                with relay_process(root / "relay", *words, loud) as relay:
                    run.url = relay.url
                    travel(run, *(("--json",) if loud == "-vv" else ("-vv",)))
                    run.relay_process += shown_by_the_system(relay.process.pid)
                    _, out, err = relay.terminate()
                    run.relay_log += out.encode() + err.encode()
            run.command("b", "rotate-key", "--all", "--json")
            run.command("b", "keys", "list")
        yield run
    finally:
        os.umask(before)


def secrets_of(home: Path) -> list[bytes]:
    """Every secret key of the station in *home*, of all generations."""
    station = Station.open(home)
    store = station.keystore_with(FileBackend(PASSPHRASE.encode()))
    assert isinstance(store, FileKeyStore)
    material = store.secrets()
    return [key.seed for one in material.generations for key in one.keys]


def test_a_marker_is_found_in_every_form() -> None:
    """The search finds what it looks for, however it is written, and only that."""
    for by in range(3):
        assert found(base64.b64encode(b"x" * by + PASSPHRASE.encode() + b"yz"), PASSPHRASE)
    assert found(b"key=" + PASSPHRASE.encode().hex().encode(), PASSPHRASE)
    assert found(PATIENT.encode("utf-16-le"), PATIENT)
    assert not found(b"marker-passphrase-", *NEVER)


def test_passphrase_and_patient_are_nowhere(run: Run) -> None:
    """Neither in what was said, nor in any file of a station, a vault, the relay or the system."""
    for what, octets in run.said.items():
        assert found(octets, *NEVER) == [], what
    for folder in ("a", "b", "vault-a", "vault-b", "relay", "user", "tmp"):
        for name, octets in traces(run.root / folder).items():
            assert found(octets, *NEVER) == [], f"{folder}/{name}"
    assert found(run.relay_log, *NEVER) == []


def test_secret_keys_are_nowhere_in_the_clear(run: Run) -> None:
    """No secret key stands in any file or output, not even in the keystore."""
    secrets = [*secrets_of(run.root / "a"), *secrets_of(run.root / "b")]
    assert len(secrets) >= 6
    octets = b"\n".join([*run.said.values(), run.relay_log, *traces(run.root).values()])
    assert [one.hex()[:4] for one in secrets if found(octets, one)] == []


def test_the_relay_says_and_keeps_no_name(run: Run) -> None:
    """Its log, its database and its parcels name no file, no note, no station by its name."""
    assert run.relay_log.count(b" 204 ") > 4
    assert found(run.relay_log, *NAMES, NOTE) == []
    assert not re.search(rb"[?&](known|after|wait)=", run.relay_log), "queries are not logged"
    kept = traces(run.root / "relay")
    assert any(name.endswith("envelope") for name in kept)
    for name, octets in kept.items():
        assert found(octets, FILE, FOLDER, NOTE) == [], name
        if not name.startswith("cards/"):  # a card says the name of its station: it is public
            assert found(octets, A, B) == [], name


def test_the_system_shows_no_secret_of_a_process(run: Run) -> None:
    """T21: command lines and environments hold no passphrase, no note; the relay's, no name."""
    seen = b"\n".join(run.processes)
    assert seen.count(b"\x00medshare\x00") == len(run.said)
    assert found(seen, *NEVER, NOTE, FILE) == []
    assert b"serve" in run.relay_process
    assert found(run.relay_process, *NAMES, *NEVER, NOTE) == []


def test_a_station_keeps_names_in_its_journals_and_receipts_alone(run: Run) -> None:
    """What the station of the sender remembers of a study is what the threat model says."""
    allowed = re.compile(r"outbox/[0-9a-f]{32}/journal|receipts/[0-9a-f-]+\.receipt")
    for station in ("a", "b"):
        holding = (
            name
            for name, octets in traces(run.root / station).items()
            if found(octets, FILE, FOLDER, NOTE)
        )
        assert [name for name in holding if not allowed.fullmatch(name)] == []
    assert traces(run.root / "tmp") == {}, "nothing is left in the folder for temporary files"


def test_nothing_that_was_made_is_open_to_others(run: Run) -> None:
    """With a umask of 0, all of a station and of a relay is for its user alone."""
    for folder in ("a", "b", "vault-a", "vault-b", "relay"):
        if not (run.root / folder).exists():
            continue
        for path in (run.root / folder, *files_below(run.root / folder)):
            assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path


def test_what_is_received_is_writable_by_its_user_alone(run: Run) -> None:
    """With a umask of 0, received files are neither executable nor writable by others."""
    received = list(files_below(run.root / "desk" / "inbox"))
    assert any(path.name == FILE for path in received)
    for path in received:
        mode = path.stat().st_mode
        assert not mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID), path
        assert path.is_dir() or not mode & 0o111, path
