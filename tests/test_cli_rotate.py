"""`medshare rotate-key`, `vault` and `card distrust`, as a person and as cron use them."""

import json
import re
import time
from pathlib import Path

import pytest

from medshare.errors import StorageError
from medshare.station.key_book import Happened, KeyBook
from tests.test_cli_station import Desk

POLICY = """
version = 1
[identity]
rotate_after = "{identity}"
[tiers.routine]
rotate_after = "{routine}"
[tiers.sensitive]
rotate_after = "never"
"""


class Hospital(Desk):
    """A station with a vault and a study."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder)
        self.environ["MEDSHARE_VAULT"] = str(folder / "vault")
        assert self.run("init", "--name", name).exit_code == 0
        self.study = folder / "study"
        self.study.mkdir()
        (self.study / "one.dcm").write_bytes(b"\x01\x02" * 3000)
        (self.study / "two.txt").write_bytes(b"note")

    def rule(self, *, identity: str = "never", routine: str = "never") -> None:
        """Let the policy say how long keys last."""
        path = self.home / "policy.toml"
        path.write_text(POLICY.format(identity=identity, routine=routine))
        path.chmod(0o600)

    def add(self, *words: str) -> str:
        """Put the study into the vault; return the id of the parcel."""
        record = self.last("vault", "add", str(self.study), *words)
        return str(record["parcel"])

    def last(self, *words: str) -> dict[str, object]:
        """Run with `--json`; return the last object that it prints."""
        done = self.run(*words, "--json")
        assert done.exit_code == 0, done.output
        record: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
        return record

    def keys(self) -> list[str]:
        """Return the labels of all keys that are in use."""
        listed = self.json("keys", "list")["keys"]
        return sorted({key["name"] for key in listed if key["state"] == "current"})


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    """A station with a vault and a study."""
    return Hospital(tmp_path / "us", "us")


def test_nothing_due_says_nothing(hospital: Hospital) -> None:
    """Cron gets no mail, and needs no passphrase; a program gets one record."""
    hospital.add()
    hospital.passphrase.unlink()
    done = hospital.run("rotate-key", "--due")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    assert hospital.json("rotate-key", "--due") == {"event": "nothing_due"}


def test_due_rotates_what_the_policy_says(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the tier whose time is over gets a new key, and parcels follow."""
    parcel = hospital.add()
    hospital.add("--tier", "sensitive")
    hospital.rule(routine="12h")
    tomorrow = time.time() + 86400
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    record = hospital.json("rotate-key", "--due")
    assert record["event"] == "tiers_rotated"
    assert [tier["key"] for tier in record["tiers"]] == ["routine/1"]
    assert record["tiers"][0]["destroyed"] == ["routine/0"]
    assert hospital.keys() == ["identity/0", "routine/1", "sensitive/0"]
    assert hospital.run("vault", "open", parcel, "--output", str(out(hospital))).exit_code == 0


def out(hospital: Hospital) -> Path:
    """Return a folder for what is opened."""
    return hospital.folder / "out"


def test_the_identity_is_the_default(hospital: Hospital) -> None:
    """Without an option the identity keys are replaced, as ever."""
    assert hospital.json("rotate-key")["event"] == "rotated"
    assert hospital.json("rotate-key", "--identity")["generation"] == 2


def test_all_means_all(hospital: Hospital) -> None:
    """Every tier of the policy, and the identity, in one run with a record each."""
    hospital.add()
    done = hospital.run("rotate-key", "--all", "--json")
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events == ["tiers_rotated", "rotated"]
    assert hospital.keys() == ["identity/1", "restricted/0", "routine/1", "sensitive/0"]


SLIPS = (
    (("--all", "--due"), 2, "either"),
    (("--tier", "routine", "--compromised", "routine"), 2, "either"),
    (("--identity", "--all"), 2, "either"),
    (("--tier", "urgent"), 7, "no tier 'urgent'"),
    (("--compromised", "urgent"), 2, "no key 'urgent'"),
    (("--since", "2026-01-01"), 2, "--compromised"),
    (("--compromised", "identity", "--since", "soon"), 2, "not a date"),
    (("--compromised", "identity", "--since", "2199-01-01"), 2, "in the future"),
)


def test_what_makes_no_sense_changes_nothing(hospital: Hospital) -> None:
    """Each slip is named, with its exit code, and no key is made or revoked."""
    hospital.add()
    for words, code, says in SLIPS:
        done = hospital.run("rotate-key", *words)
        assert (done.exit_code, says in done.stderr) == (code, True), (words, done.stderr)
    assert hospital.keys() == ["identity/0", "routine/0"]
    assert Happened.REVOKED not in {one.what for one in KeyBook(hospital.home).entries()}


def test_a_dry_run_says_what_would_be_done(hospital: Hospital) -> None:
    """Nothing changes, and the sentence says so."""
    hospital.add()
    done = hospital.run("rotate-key", "--tier", "routine", "--dry-run")
    assert "nothing was changed; this would bring into use: routine/1" in done.stdout
    done = hospital.run("rotate-key", "--compromised", "routine", "--dry-run")
    assert "nothing was changed; this would revoke routine" in done.stdout
    assert hospital.keys() == ["identity/0", "routine/0"]


def test_a_compromised_key_is_answered_and_told(hospital: Hospital) -> None:
    """New keys, content sealed anew, what was exposed, and what comes next: all is said."""
    parcel = hospital.add()
    done = hospital.run("rotate-key", "--compromised", "identity", "--reason", "stolen laptop")
    assert done.exit_code == 0, done.stderr
    for part in (
        "identity is revoked, and opens nothing here any more",
        "sealed anew   1 parcel",
        "routine/1",
        "medshare card export",
        f"{parcel[:16]}",
        "1 parcel may have been read",
    ):
        assert part in done.stdout
    listed = hospital.run("vault", "list").stdout
    assert "sealed anew here" in listed
    assert parcel[:16] not in listed
    opened = hospital.run("vault", "open", parcel[:12], "--output", str(out(hospital)))
    assert opened.exit_code == 0, opened.stderr
    assert (out(hospital) / "study" / "two.txt").read_bytes() == b"note"
    states = {key["name"]: key["state"] for key in hospital.json("keys", "list")["keys"]}
    assert (states["identity/0"], states["identity/1"]) == ("revoked", "current")
    assert "routine/0" not in states


def test_a_contact_is_told_of_the_revocation(tmp_path: Path, hospital: Hospital) -> None:
    """Importing the new card shows which keys are not to be trusted, and since when."""
    other = Hospital(tmp_path / "them", "them")
    card = hospital.run("card", "export").stdout.encode()
    other.run("card", "import", "-", "--yes", "--name", "us", stdin=card)
    hospital.run("rotate-key", "--compromised", "identity", "--since", "2026-01-02")
    card = hospital.run("card", "export").stdout.encode()
    imported = other.run("card", "import", "-", stdin=card)
    assert imported.exit_code == 0, imported.stderr
    assert "keys of generation 0, not to be trusted since 2026-01-02" in imported.stdout
    revoked = other.json("card", "show", "us")["revoked"]
    assert (revoked["through"], revoked["reason"]) == (0, "compromised")


def test_what_cannot_be_mended_ends_with_3(hospital: Hospital) -> None:
    """A damaged parcel is named, the exit code says so, and it can be removed."""
    parcel = hospital.add()
    chunk = hospital.folder / "vault" / parcel / "chunks" / "00000000"
    octets = chunk.read_bytes()
    chunk.write_bytes(octets[:-1] + bytes([octets[-1] ^ 1]))
    done = hospital.run("rotate-key", "--compromised", "routine")
    assert done.exit_code == 3
    assert "vault remove" in done.stderr
    assert hospital.run("vault", "verify").exit_code == 3
    assert hospital.run("doctor").exit_code == 8
    refused = hospital.run("vault", "remove", parcel)
    assert (refused.exit_code, "--yes" in refused.stderr) == (2, True)
    assert hospital.run("vault", "remove", parcel, "--yes").exit_code == 0
    record = hospital.json("rotate-key", "--compromised", "routine")
    assert (record["resumed"], record["failed"]) == (True, [])
    assert hospital.run("vault", "list").stdout == "the vault is empty\n"


def test_the_vault_is_listed_without_a_key(hospital: Hospital) -> None:
    """Neither passphrase nor any name of a file: ids, senders, sizes and keys."""
    parcel = hospital.add("--note", "secret note")
    hospital.passphrase.unlink()
    listed = hospital.run("vault", "list").stdout
    assert parcel[:16] in listed
    assert "this station" in listed
    assert "routine/0" in listed
    assert not re.search(r"study|one\.dcm|secret", listed)
    (entry,) = hospital.json("vault", "list")["parcels"]
    assert (entry["parcel"], entry["key"], entry["sealed"]) == (parcel, "routine/0", True)


def test_what_is_received_can_be_kept(tmp_path: Path, hospital: Hospital) -> None:
    """`receive --keep` leaves the sealed parcel in the vault, which opens and verifies."""
    other = Hospital(tmp_path / "them", "them")
    for ours, theirs, name in ((hospital, other, "them"), (other, hospital, "us")):
        card = theirs.run("card", "export").stdout
        assert ours.run("card", "import", "-", "--yes", stdin=card.encode()).exit_code == 0, name
    usb = str(tmp_path / "usb")
    Path(usb).mkdir()
    sent = other.run("send", str(other.study), "--to", "us", "--folder", usb)
    assert sent.exit_code == 0, sent.stderr
    received = hospital.run("receive", "--keep", "--folder", usb, "--output", str(out(hospital)))
    assert received.exit_code == 0, received.stderr
    assert hospital.run("vault", "verify").exit_code == 0
    (entry,) = hospital.json("vault", "list")["parcels"]
    assert entry["sender"] == "them"
    again = hospital.folder / "again"
    opened = hospital.run("vault", "open", entry["parcel"], "--output", str(again))
    assert opened.exit_code == 0, opened.stderr
    assert (again / "study" / "two.txt").read_bytes() == b"note"
    distrusted = hospital.run("card", "distrust", "them")
    assert "is not trusted here any more" in distrusted.stdout
    refused = hospital.run("vault", "open", entry["parcel"], "--output", str(again / "x"))
    assert refused.exit_code == 4
    checked = hospital.run("verify", f"{usb}/{entry['parcel']}")
    assert "not trusted here any more" in checked.stdout
    assert hospital.run("send", str(hospital.study), "--to", "them", "--folder", usb).exit_code == 4
    assert hospital.run("card", "trust", "them").exit_code == 0
    assert hospital.run("send", str(hospital.study), "--to", "them", "--folder", usb).exit_code == 0


def test_a_vault_that_is_gone_can_be_forgotten(hospital: Hospital) -> None:
    """Until somebody says so, no key is rotated that it may need."""
    hospital.add()
    (hospital.folder / "vault").rename(hospital.folder / "away")
    done = hospital.run("rotate-key", "--tier", "routine")
    assert (done.exit_code, "vault forget" in done.stderr) == (6, True)
    place = str(hospital.folder / "vault")
    assert hospital.run("vault", "forget", place + "x", "--yes").exit_code == 2
    assert hospital.run("vault", "forget", place, "--yes").exit_code == 0
    assert hospital.run("rotate-key", "--tier", "routine").exit_code == 0


def test_a_vault_in_the_folder_of_the_station_is_refused(hospital: Hospital) -> None:
    """The advice is to put it elsewhere; nothing is made."""
    hospital.environ["MEDSHARE_VAULT"] = str(hospital.home / "vault")
    done = hospital.run("vault", "add", str(hospital.study))
    assert (done.exit_code, "elsewhere" in done.stderr) == (6, True)
    assert not (hospital.home / "vault").exists()


def test_a_tier_of_the_policy_is_enforced_for_the_vault(hospital: Hospital) -> None:
    """What a tier does not allow is not put into the vault: exit code 7."""
    path = hospital.home / "policy.toml"
    path.write_text('version = 1\n[tiers.routine]\nrotate_after = "1y"\nkeystores = ["pkcs11"]\n')
    path.chmod(0o600)
    done = hospital.run("vault", "add", str(hospital.study))
    assert (done.exit_code, "'pkcs11' only" in done.stderr) == (7, True)


def test_an_interrupted_rotation_is_due_until_it_is_completed(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cron completes it, whatever its date; then nothing is due."""
    hospital.add()

    def broken(*_: object, **__: object) -> None:
        raise StorageError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr("medshare.sharing.at_hand.write_file", broken)
        assert hospital.run("rotate-key", "--tier", "routine").exit_code == 6
    record = hospital.json("rotate-key", "--due")
    assert [(tier["key"], tier["resumed"]) for tier in record["tiers"]] == [("routine/1", True)]
    assert hospital.json("rotate-key", "--due") == {"event": "nothing_due"}
