"""`medshare audit` between two stations and a relay's folder, as people and programs use it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner, Result

from medshare import cli
from tests.test_transport_collector import PATIENCE, listening

PATIENT = "Mueller^Hans"


class Hospital:
    """A station, its desk, and `medshare` as its people type it."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self.home = root / name
        self.audit = self.home / "audit"
        self._environ = {
            "MEDSHARE_HOME": str(self.home),
            "MEDSHARE_PASSPHRASE_FILE": str(root / "passphrase"),
        }

    def run(self, *words: str, exit_code: int = 0) -> Result:
        """Run medshare in the folder of all; return what it said."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            done = CliRunner().invoke(cli.cli, words, env=self._environ)
        assert done.exit_code == exit_code, done.output
        return done

    def say(self, *words: str, exit_code: int = 0) -> list[dict[str, Any]]:
        """Run with --json; return the objects that were written."""
        done = self.run(*words, "--json", exit_code=exit_code)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def audited(self, *words: str, exit_code: int = 0) -> dict[str, Any]:
        """Verify the record; return what was found."""
        return self.say("audit", "verify", *words, exit_code=exit_code)[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stations that trust each other, and between which a study went and its receipt came."""
    root = tmp_path_factory.mktemp("hospitals")
    passphrase = root / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text("a very long passphrase")
    (root / "way").mkdir()
    (root / "study").mkdir()
    (root / "study" / f"{PATIENT}.dcm").write_bytes(b"pixels" * 1000)
    a, b = Hospital(root, "a"), Hospital(root, "b")
    for one in (a, b):
        one.run("init", "--name", f"hospital {one.home.name}")
        one.run("card", "export", "--output", f"{one.home.name}.card")
    a.run("card", "import", "b.card", "--yes", "--name", "beta")
    b.run("card", "import", "a.card", "--yes", "--name", "alpha")
    a.run("send", "study", "--to", "beta", "--folder", "way")
    b.run("receive", "--output", "out", "--folder", "way")
    a.run("send", "study", "--to", "beta", "--folder", "way", "--wait", "5")
    return root


@pytest.fixture
def world(made: Path, tmp_path: Path) -> Path:
    """A copy of that, to change."""
    shutil.copytree(made, tmp_path / "world")
    return tmp_path / "world"


@pytest.fixture
def a(world: Path) -> Hospital:
    """The sender."""
    return Hospital(world, "a")


@pytest.fixture
def b(world: Path) -> Hospital:
    """The recipient."""
    return Hospital(world, "b")


def test_the_record_is_shown(a: Hospital) -> None:
    """The newest entries, one a line, under local names; for programs with ids alone."""
    shown = a.run("audit", "show").stdout
    assert re.search(r"send +parcel \w{12} +this station +routine, with beta, ", shown)
    assert "8 entries, signed up to 8" in shown
    *entries, record = a.say("audit", "show", "--last", "2")
    assert [(one["number"], one["act"]) for one in entries] == [(6, "send"), (7, "deliver")]
    assert (record["entries"], record["signed"], record["shown"]) == (8, 8, 2)


def test_entries_are_found(a: Hospital) -> None:
    """By act, person and parcel; whoever or whatever is unknown is said to be so."""
    *found, last = a.say("audit", "search", "--act", "send", "--act", "seal")
    assert [one["number"] for one in found] == [3, 4, 6]
    assert last["found"] == 3
    parcel = found[0]["object"]["id"]
    assert a.say("audit", "search", "--parcel", parcel[:8])[-1]["found"] == 4
    assert a.say("audit", "search", "--actor", "beta")[-1]["found"] == 4
    assert a.say("audit", "search", "--actor", "beta", "--parcel", parcel)[-1]["found"] == 3
    assert a.say("audit", "search", "--since", "1h", "--last", "2")[-1]["found"] == 2
    assert a.say("audit", "search", "--until", "2001-01-01")[-1]["found"] == 0
    assert a.say("audit", "search", "--refused")[-1]["found"] == 0
    a.run("audit", "search", "--actor", "nobody", exit_code=2)
    a.run("audit", "search", "--since", "yesterday", exit_code=2)
    assert "no entry fits" in a.run("audit", "search", "--until", "2001-01-01T10:00").stdout


def test_a_sound_record_is_verified(a: Hospital, b: Hospital) -> None:
    """Both records are sound, and what each keeps of the other agrees."""
    ours, theirs = a.audited(), b.audited()
    assert (ours["findings"], ours["entries"], ours["seals"]) == ([], 8, 1)
    assert (theirs["findings"], theirs["entries"], theirs["receipts"]) == ([], 6, 1)
    copy = a.audited("--log", str(b.audit), "--card", "b.card")
    assert (copy["findings"], copy["receipts"]) == ([], 1)
    assert "none altered, removed or moved" in a.run("audit", "verify").stdout
    a.run("audit", "verify", "--log", str(b.audit), exit_code=2)
    a.run("audit", "verify", "--log", str(b.audit), "--relay-data", "x", exit_code=2)


def test_a_tampered_record_is_exit_code_3(a: Hospital) -> None:
    """Whoever alters an entry is found; the entry is named, to people and to programs."""
    (segment,) = a.audit.glob("entries-*")
    data = segment.read_bytes()
    segment.write_bytes(data.replace(b"routine", b"ROUTINE", 1))
    found, error = a.say("audit", "verify", exit_code=3)
    assert [(one["fault"], one["first"]) for one in found["findings"]] == [("altered", 3)]
    assert (error["code"], error["exit"]) == ("audit.altered", 3)
    done = a.run("audit", "verify", exit_code=3)
    assert "entry 3 was altered" in done.stderr
    a.run("audit", "show", exit_code=3)


def test_a_record_put_back_is_found_by_the_other(a: Hospital, b: Hospital) -> None:
    """An old state of a record is exposed by the receipts that the sender keeps."""
    shutil.rmtree(b.audit)
    b.run("audit", "verify", exit_code=3)
    b.run("card", "import", "a.card", "--yes")
    for receipt in (b.home / "receipts").iterdir():
        receipt.unlink()
    assert b.audited()["findings"] == []
    found, error = a.say("audit", "verify", "--log", str(b.audit), "--card", "b.card", exit_code=3)
    assert found["findings"][0]["fault"] == "rolled-back"
    assert error["code"] == "audit.rolled-back"


def test_one_entry_is_proved_to_somebody_else(a: Hospital, b: Hospital, world: Path) -> None:
    """The file of one entry is enough for whoever has the card, and lies to nobody."""
    a.run("audit", "prove", "4", "--output", "entry.tlog-proof")
    (proved,) = b.say("audit", "verify", "entry.tlog-proof")
    assert (proved["entry"]["number"], proved["entry"]["act"]) == (4, "seal")
    stranger = Hospital(world, "nobody")
    (proved,) = stranger.say("audit", "verify", "entry.tlog-proof", "--card", "a.card")
    assert proved["size"] == 8
    stranger.run("audit", "verify", "entry.tlog-proof", exit_code=4)
    stranger.run("audit", "verify", "entry.tlog-proof", "--card", "b.card", exit_code=4)
    a.run("audit", "prove", "3", "--output", "entry.tlog-proof", exit_code=2)
    path = world / "entry.tlog-proof"
    path.write_text(path.read_text().replace("index 4", "index 5"))
    b.run("audit", "verify", "entry.tlog-proof", exit_code=3)
    a.run("audit", "prove", "77", exit_code=5)
    assert "tlog-proof@v1" in a.run("audit", "prove", "0").stdout


def test_another_station_witnesses_and_finds_the_fork(
    a: Hospital, b: Hospital, world: Path
) -> None:
    """What the witness saw is kept with the record; another history shown to it is refused."""
    shutil.copytree(a.home, world / "forked")
    forked = Hospital(world, "forked")
    a.run("audit", "checkpoint", "--since", "0", "--output", "shown")
    (seen,) = b.say("audit", "witness", "shown")
    (world / "cosigned").write_text(seen["note"])
    a.run("audit", "checkpoint", "--keep", "cosigned")
    assert a.audited("--witness", "b.card")["witnessed"] == 1
    a.run("card", "import", "b.card", "--yes")
    a.run("audit", "checkpoint", "--sign", "--since", str(seen["size"]), "--output", "more")
    b.run("audit", "witness", "more", "--output", "again")
    for _ in range(2):
        forked.run("audit", "export", "--fhir", "--output", "x", "--from", "5")
        (world / "x").unlink()
    forked.run("audit", "checkpoint", "--sign", "--since", "10", "--output", "other")
    done = b.run("audit", "witness", "other", exit_code=3)
    assert "does not continue" in done.stderr
    last = b.say("audit", "show", "--last", "1")[0]
    assert (last["act"], last["outcome"], last["code"]) == ("witness", "refused", "audit.forked")
    assert b.audited()["unsigned"] == 0
    found, _ = b.say("audit", "verify", "--log", str(forked.audit), "--card", "a.card", exit_code=3)
    assert found["findings"][0]["fault"] == "forked"


def test_a_checkpoint_kept_elsewhere_is_evidence(a: Hospital, b: Hospital, world: Path) -> None:
    """A checkpoint, or a receipt, that somebody else kept is held against the record."""
    a.run("audit", "checkpoint", "--output", "kept")
    a.run("card", "import", "b.card", "--yes")
    assert a.audited("--against", "kept")["given"] == 1
    (receipt,) = (b.home / "receipts").iterdir()
    assert b.audited("--against", str(receipt))["receipts"] == 2
    a.run("audit", "verify", "--against", str(receipt), exit_code=2)
    (point,) = b.say("audit", "verify", "kept")
    assert point["size"] == 8
    shutil.rmtree(a.audit)
    done = a.run("audit", "verify", "--against", "kept", exit_code=3)
    assert "8 entries" in done.stderr
    assert b.run("audit", "checkpoint").stdout.startswith("medshare/log/")


def test_the_record_is_exported(a: Hospital, world: Path) -> None:
    """As FHIR and as DICOM has it, from any entry on; that it was read is recorded."""
    lines = a.run("audit", "export", "--fhir").stdout.splitlines()
    assert [json.loads(line)["resourceType"] for line in lines] == ["AuditEvent"] * 9
    (told,) = a.say("audit", "export", "--atna", "--from", "4", "--output", "messages")
    assert (told["entries"], told["next"]) == (6, 10)
    assert (world / "messages").read_text().count("<AuditMessage>") == 6
    assert a.say("audit", "show", "--last", "1")[0]["act"] == "use-record"
    a.run("audit", "export", "--atna", "--output", "messages", exit_code=2)
    a.run("audit", "export", exit_code=2)
    a.run("audit", "export", "--fhir", "--atna", exit_code=2)
    a.run("audit", "export", "--syslog", "host:port", exit_code=2)


@pytest.mark.service
def test_the_record_goes_to_a_collector(a: Hospital, world: Path) -> None:
    """Each entry arrives at the hospital's collector over TLS; a false one gets nothing."""
    with listening(world) as (collector, ca):
        address = f"127.0.0.1:{collector.port}"
        (told,) = a.say("audit", "export", "--syslog", address, "--ca", str(ca))
        collector.thread.join(PATIENCE)
        assert len(collector.messages()) == told["entries"] == 9
    trustme.CA().cert_pem.write_to_path(world / "other.pem")
    with listening(world) as (collector, _):
        address = f"127.0.0.1:{collector.port}"
        a.run("audit", "export", "--syslog", address, "--ca", "other.pem", exit_code=3)


def test_nothing_of_a_patient_leaves_with_the_record(a: Hospital, b: Hospital) -> None:
    """Neither what is stored nor what is shown or exported names a file or a patient."""
    for one in (a, b):
        texts = [
            one.run("audit", "show").stdout,
            one.run("audit", "export", "--fhir").stdout,
            one.run("audit", "export", "--atna").stdout,
            one.run("audit", "prove", "2").stdout,
        ]
        stored = [path.read_bytes() for path in one.audit.rglob("*") if path.is_file()]
        assert all(PATIENT not in text and "Mueller" not in text for text in texts)
        assert all(b"Mueller" not in data and b"hospital" not in data for data in stored)


def test_old_entries_are_kept_as_long_as_the_law_asks(a: Hospital) -> None:
    """Nothing younger than fifteen years can be deleted, and nothing that is not so old is."""
    a.run("audit", "prune", "--keep-for", "14y", exit_code=7)
    assert a.say("audit", "prune", "--keep-for", "15y")[0]["removed"] == 0
    assert "nothing is so old" in a.run("audit", "prune").stdout
    a.run("audit", "prune", "--log", str(a.audit), "--card", "a.card", exit_code=2)


def test_the_record_of_a_relay(a: Hospital, world: Path) -> None:
    """Who enrols and removes stations is recorded, signed, and verified with the relay's keys."""
    data = ("--data", "relay")
    where = ("--relay-data", "relay")
    a.run("audit", "verify", *where, exit_code=2)
    a.run("relay", "enroll", "b.card", "--yes", *data)
    a.run("relay", "enroll", "b.card", "--yes", *data)
    a.run("relay", "remove", "hospital b", *data)
    assert [one["act"] for one in a.say("audit", "show", *where)[:-1]] == ["enrol", "remove"]
    found = a.audited(*where)
    assert (found["findings"], found["entries"], found["unsigned"]) == ([], 2, 0)
    a.run("audit", "checkpoint", "--keys", "--output", "relay.keys", *where)
    assert a.audited("--log", "relay/audit", "--key", "relay.keys")["findings"] == []
    a.run("audit", "prove", "1", "--output", "entry.tlog-proof", *where)
    (proved,) = a.say("audit", "verify", "entry.tlog-proof", "--key", "relay.keys")
    assert proved["entry"]["act"] == "remove"
    a.run("audit", "verify", "entry.tlog-proof", exit_code=4)
    a.run("audit", "export", "--fhir", *where)
    a.run("audit", "checkpoint", "--sign", "--output", "point", *where)
    a.run("audit", "witness", "point", "--key", "relay.keys", "--output", "seen")
    a.run("audit", "verify", "point", "--key", "relay.keys")
    (world / "relay.keys").write_text("not a key\n")
    a.run("audit", "verify", "point", "--key", "relay.keys", exit_code=3)


def test_a_copy_takes_nothing(a: Hospital) -> None:
    """Commands that would add to a record refuse a copy."""
    copy = ("--log", str(a.audit), "--card", "a.card")
    a.run("audit", "checkpoint", "--sign", *copy, exit_code=2)
    a.run("audit", "checkpoint", "--keep", "x", *copy, exit_code=2)
    before = len(a.say("audit", "show", *copy))
    a.run("audit", "export", "--fhir", *copy)
    assert len(a.say("audit", "show", *copy)) == before


def test_who_tries_to_unlock_a_station_is_recorded(a: Hospital, world: Path) -> None:
    """Each use of the passphrase is an entry, and so is each wrong one, with no word of it."""
    a.run("rotate-key", "--dry-run")
    wrong = world / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("not the passphrase")
    a.run("rotate-key", "--dry-run", "--passphrase-file", "wrong", exit_code=4)
    first, second, _ = a.say("audit", "show", "--last", "2")
    assert (first["act"], first["outcome"]) == ("sign-in", "done")
    assert (second["act"], second["outcome"], second["code"]) == (
        "sign-in",
        "refused",
        "key.passphrase",
    )


def test_a_station_that_did_nothing_yet(tmp_path: Path) -> None:
    """Without a station, or without a record, the command says so."""
    (tmp_path / "passphrase").write_text("x")
    nobody = Hospital(tmp_path, "nobody")
    nobody.run("audit", "show", exit_code=2)
    (tmp_path / "empty").mkdir()
    nobody.run("audit", "show", "--log", "empty", "--card", "none.card", exit_code=6)
