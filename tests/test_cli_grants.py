"""Roles, revisions, opinions, passing on and withdrawing at the command line, at a real relay."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medshare.relay.enrolment import Stations
from medshare.relay.folder import DataFolder
from medshare.station import Station
from tests.running_relay import Relay, running_relay
from tests.test_cli_transfer import Hospital

pytestmark = [pytest.mark.service]
NAMES = ("a", "b", "c")
STUDY = {"study/one.dcm": b"\x01\x02" * 3000, "study/two.txt": b"two"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three stations that trust each other, and their passphrase."""
    root = tmp_path_factory.mktemp("grants")
    passphrase = root / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text("a very long passphrase")
    people = [hospital(root, name, root) for name in NAMES]
    for one, name in zip(people, NAMES, strict=True):
        assert one.run("init", "--name", f"dr-{name}").exit_code == 0
        assert one.run("card", "export", "--output", f"{name}.card").exit_code == 0
    for one, name in zip(people, NAMES, strict=True):
        for other in set(NAMES) - {name}:
            assert one.run("card", "import", f"{other}.card", "--yes").exit_code == 0
    return root


def hospital(root: Path, name: str, desk: Path) -> Hospital:
    """Return the station called *name*, whose person sits at *desk*."""
    return Hospital(root / name, desk, {"MEDSHARE_PASSPHRASE_FILE": str(root / "passphrase")})


@pytest.fixture
def relay(root: Path, tmp_path: Path) -> Iterator[Relay]:
    """A relay at which all three are enrolled."""
    data = tmp_path / "relay"
    stations = Stations(DataFolder(data).cards)
    for name in NAMES:
        stations.enroll(Station.open(root / name).card)
    with running_relay(data) as found:
        yield found


class Ward:
    """Three stations at one relay; each command is run with `--json`."""

    def __init__(self, root: Path, desk: Path, relay: Relay) -> None:
        self.desk = desk
        self.relay = relay
        self.people = {name: hospital(root, name, desk) for name in NAMES}
        for name, content in STUDY.items():
            (desk / name).parent.mkdir(parents=True, exist_ok=True)
            (desk / name).write_bytes(content)

    def run(self, who: str, *words: str, exit_code: int = 0) -> dict[str, Any]:
        """Run one command of *who* at the relay; return the last record."""
        command = (*words, "--relay", self.relay.url, "--json")
        done = self.people[who].run(*command)
        assert done.exit_code == exit_code, (done.output, done.stderr)
        record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return record

    def send(self, *words: str) -> str:
        """Let a send the study to b; return the parcel's id."""
        return str(self.run("a", "send", "study", "--to", "dr-b", "--new", *words)["parcel"])

    def receive(self, who: str, parcel: str, *, exit_code: int = 0) -> dict[str, Any]:
        """Let *who* receive a parcel into a folder of its own."""
        return self.run(who, "receive", parcel, "--output", f"in-{who}", exit_code=exit_code)


@pytest.fixture
def ward(root: Path, tmp_path: Path, relay: Relay) -> Ward:
    """Three stations at one relay."""
    return Ward(root, tmp_path, relay)


def test_a_role_says_what_may_be_done(ward: Ward) -> None:
    """A grant travels with the parcel, is shown on both sides, and binds the recipient."""
    sent = ward.run(
        "a", "send", "study", "--to", "dr-b:consultant", "--to", "dr-c:trainee",
        "--grant-until", "14d", "--openings", "3", "--purpose", "hqualimp",
        "--department", "radiology",
    )  # fmt: skip
    roles = {one["to"]: one for one in sent["grants"]}
    assert roles["dr-b"]["permissions"] == ["annotate", "view"]
    assert roles["dr-c"]["permissions"] == ["view"]
    assert {one["purpose"] for one in sent["grants"]} == {"HQUALIMP"}
    assert {one["openings"] for one in sent["grants"]} == {3}
    assert sent["department"] == "radiology"

    (listed,) = ward.run("b", "receive", "--list")["parcels"]
    assert listed["fault"] is None
    assert {one["role"] for one in listed["grants"]} == {"consultant", "trainee"}
    shown = ward.run("b", "grant", "show", sent["parcel"][:8])
    assert (shown["sender"], shown["allowed"]) == ("dr-a", ["annotate", "view"])
    refused = ward.receive("b", sent["parcel"], exit_code=7)
    assert refused["code"] == "policy.permission"
    assert not list(ward.desk.glob("in-b/*"))


def test_a_revision_an_opinion_and_passing_on(ward: Ward) -> None:
    """What an attending may do reaches others with its lineage; a consultant may answer only."""
    parcel = ward.send("--role", "attending")
    ward.receive("b", parcel)
    shared = ward.run(
        "b", "share", parcel[:8], "--to", "dr-c", "--role", "consultant", "--permit", "export"
    )
    assert shared["lineage"] == {"kind": "share", "parent": parcel, "root": parcel, "revision": 0}
    received = ward.receive("c", shared["parcel"])
    assert {file["path"] for file in received["files"]} == set(STUDY)

    (ward.desk / "opinion.txt").write_text("no finding")
    refused = ward.run("c", "share", shared["parcel"], "--to", "dr-a", exit_code=4)
    assert refused["code"] == "grant.permission"
    amended = ward.run("c", "amend", shared["parcel"], "opinion.txt", "--to", "dr-b", exit_code=4)
    assert amended["code"] == "grant.permission"
    opinion = ward.run("c", "opinion", shared["parcel"], "opinion.txt")
    assert opinion["lineage"]["kind"] == "opinion"
    assert opinion["lineage"]["root"] == parcel
    assert ward.receive("b", opinion["parcel"])["lineage"]["parent"] == shared["parcel"]

    revision = ward.run("b", "amend", parcel, "opinion.txt", "--to", "dr-a")
    assert revision["lineage"]["revision"] == 1
    ward.receive("a", revision["parcel"])
    again = ward.run("a", "amend", revision["parcel"], "opinion.txt", "--to", "dr-b")
    assert again["lineage"] == {
        "kind": "revision", "parent": revision["parcel"], "root": parcel, "revision": 2,
    }  # fmt: skip
    shown = ward.run("b", "grant", "show", again["parcel"])
    assert [one["parcel"] for one in shown["before"]] == [parcel, revision["parcel"]]


def test_a_withdrawn_grant_refuses_at_once(ward: Ward) -> None:
    """The relay refuses whom a grant was withdrawn from, and the station remembers it."""
    parcel = ward.send("--role", "attending")
    stranger = ward.run("b", "grant", "withdraw", parcel, "--from", "dr-c", exit_code=4)
    assert stranger["code"] == "grant.permission"
    gone = ward.run("a", "grant", "withdraw", parcel[:10], "--from", "dr-b")
    assert (gone["event"], gone["from"]) == ("grant_withdrawn", "dr-b")
    assert ward.receive("b", parcel, exit_code=4)["code"] == "grant.withdrawn"
    assert ward.run("b", "receive", "--list")["parcels"] == []
    assert len(list((ward.people["b"].home / "withdrawals").glob(f"{parcel}.*"))) == 1
    nobody = ward.run("a", "grant", "withdraw", parcel, "--from", "dr-c", exit_code=2)
    assert "not sent to dr-c" in nobody["message"]


def test_a_withdrawn_grant_is_shown_as_withdrawn(ward: Ward, root: Path) -> None:
    """Both sides of it see that it ended; the sender also where no relay can be asked."""
    parcel = ward.send("--role", "attending")
    ward.receive("b", parcel)
    before = ward.run("a", "grant", "show", parcel)
    assert (before["withdrawn"], before["withdrawn_known"]) == ([], "relay")
    assert ward.run("b", "grant", "show", parcel)["allowed"]
    gone = ward.run("a", "grant", "withdraw", parcel, "--from", "dr-b")
    taken = {"station": gone["station"], "withdrawn": gone["withdrawn"]}
    assert ward.run("a", "grant", "show", parcel)["withdrawn"] == [{"from": "dr-b", **taken}]
    seen = ward.run("b", "grant", "show", parcel)
    assert seen["withdrawn"] == [{"from": "this station", **taken}]
    assert seen["allowed"] == []
    (kept,) = (root / "a" / "withdrawals").glob(f"{parcel}.*")
    aside = ("grant", "show", parcel, "--folder", str(ward.desk / "usb"))
    told = ward.people["a"].run(*aside)
    assert told.exit_code == 0
    assert "what dr-b was granted, on" in told.stdout
    assert "only the withdrawals that this station knows" in " ".join(told.stdout.split())
    down = ward.people["a"].run("grant", "show", parcel, "--relay", "http://127.0.0.1:1", "--json")
    assert down.exit_code == 0
    assert json.loads(down.stdout.splitlines()[-1])["withdrawn_known"] == "station"
    kept.unlink()
    done = ward.people["a"].run(*aside, "--json")
    alone = json.loads(done.stdout.splitlines()[-1])
    assert (alone["withdrawn"], alone["withdrawn_known"]) == ([], "station")
    ward.run("a", "grant", "show", parcel)
    assert kept.exists(), "what the relay knows is remembered here"


def test_what_was_passed_on_ends_with_what_it_came_from(ward: Ward) -> None:
    """A withdrawal reaches those to whom the parcel was passed on at the same relay."""
    parcel = ward.send("--role", "attending")
    ward.receive("b", parcel)
    shared = ward.run("b", "share", parcel, "--to", "dr-c", "--role", "attending")
    ward.run("a", "grant", "withdraw", parcel, "--from", "dr-b")
    assert ward.receive("c", shared["parcel"], exit_code=4)["code"] == "grant.withdrawn"
    refused = ward.run("b", "share", parcel, "--to", "dr-c", "--role", "trainee", exit_code=4)
    assert refused["code"] == "grant.withdrawn"


def test_mistakes_are_told_before_anything_leaves(ward: Ward) -> None:
    """A role that is unknown, or that cannot have what it is given, sends nothing."""
    for words, said in (
        (("--to", "dr-b:professor"), "there is no role 'professor'"),
        (("--to", "dr-b:trainee", "--permit", "share"), "cannot have that permission"),
        (("--to", "dr-b", "--openings", "2"), "go with a --role"),
        (("--to", "dr-b:auditor"), "nobody could open it"),
        (("--to", "dr-b", "--to", "dr-c:trainee"), "some recipients get a role"),
        (("--to", "dr-b:trainee", "--department", "Ward 7"), "not the code of a department"),
        (("--to", "dr-b:trainee", "--to", "dr-b:consultant"), "two roles"),
    ):
        refused = ward.run("a", "send", "study", *words, exit_code=2)
        assert said in refused["message"]
    assert ward.run("b", "receive", "--list")["parcels"] == []


def test_a_folder_withdraws_nothing(ward: Ward) -> None:
    """Where nobody can refuse anything, a withdrawal says so instead of seeming to work."""
    done = ward.people["a"].run(
        "grant", "withdraw", "0" * 32, "--from", "dr-b", "--folder", str(ward.desk / "usb")
    )
    assert done.exit_code == 2
    assert "a folder refuses nobody" in done.stderr
