"""Access at the command line: looking in memory, explaining, breaking the glass, reviewing."""

import http.client
import json
import os
import pty
import select
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.test_cli_credentials import Town

PATIENCE = 30.0
PEOPLE = {"wang": ("Dr Wang Li", "Psychiatry"), "okafor": ("Dr Ada Okafor", "Dermatology")}
RULES = """
version = 1
[[departments]]
parcels = "psychiatry"
open = ["psychiatry"]
[break_glass]
roles = ["specialist"]
"""
SECRET = "secret-of-the-study"
REASON = "unconscious after a fit, nobody within reach"
SEND = "send study --to wang --to okafor --folder {} --new --role {} --department psychiatry"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    """A sender, a psychiatrist and a dermatologist, both certified, with rules."""
    town = Town(tmp_path_factory.mktemp("access"))
    (town.root / "study" / "report.txt").write_text(f"{SECRET}\n\u202eline two\n")
    town.do("officer", "authority init --name", "Health Commission")
    town.do("sender", "init --name radiology")
    town.do("sender", "card export --output sender.card")
    for who, (name, department) in PEOPLE.items():
        town.do(who, "init --name", name)
        town.do(who, f"card request --output {who}.csr")
        line = f"authority issue {who}.csr --licence 1 --role specialist --output {who}.pem --yes"
        town.do("officer", line, "--name", name, "--department", department)
        town.do(who, f"card attach {who}.pem")
        town.do(who, f"card export --output {who}.card")
        town.do("sender", f"card import {who}.card --name {who} --yes")
    town.do("officer", "authority crl --output lists.pem")
    for who, other in (("wang", "okafor"), ("okafor", "wang")):
        town.do(who, "card import sender.card --name radiology --yes")
        town.do(who, f"card import {other}.card --name {other} --yes")
        town.do(who, "trust add office/ca.pem --name commission --yes")
        town.do(who, "trust update lists.pem")
        rules = town.root / who / "policy.toml"
        rules.touch(mode=0o600)
        rules.write_text(RULES)
    return town


def sent(town: Town, folder: str, role: str = "attending") -> str:
    """Send the study through *folder*; return the parcel's id."""
    return str(town.json("sender", SEND.format(folder, role))["parcel"])


def environment(town: Town, who: str) -> dict[str, str]:
    """What a process of *who* is started with."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "MEDSHARE_HOME": str(town.root / who),
        "MEDSHARE_PASSPHRASE_FILE": str(town.root / "passphrase"),
    }


def command(*words: str) -> list[str]:
    """The command line of the program itself."""
    return [sys.executable, "-m", "medshare", *words]


def on_a_terminal(town: Town, who: str, *words: str, typed: str = "") -> tuple[int, str]:
    """Let *who* type a command at a terminal, and *typed* then; return how it ends, and shows."""
    outside, inside = pty.openpty()
    process = subprocess.Popen(
        command(*words),
        stdout=inside,
        stderr=inside,
        stdin=inside,
        cwd=town.root,
        env={**environment(town, who), "TERM": "dumb", "NO_COLOR": "1"},
    )
    os.close(inside)
    os.write(outside, typed.encode())
    shown = b""
    while select.select([outside], [], [], PATIENCE)[0]:
        try:
            part = os.read(outside, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(outside)
    return process.wait(PATIENCE), shown.decode()


@pytest.mark.service
def test_a_text_is_shown_at_a_terminal_and_nowhere_else(town: Town) -> None:
    """Whoever may look sees it, without escape sequences; a pipe gets nothing."""
    parcel = sent(town, "terminal", "trainee")
    words = ("view", parcel, "report.txt", "--folder", "terminal")
    code, shown = on_a_terminal(town, "wang", *words)
    assert (code, SECRET in shown) == (0, True)
    assert "\\u202eline two" in shown
    assert "\u202e" not in shown
    refused = town.json("wang", " ".join(words), exit_code=7)
    assert refused["code"] == "policy.terminal"
    assert "medshare receive" in refused["hint"]


@pytest.mark.service
def test_a_terminal_asks_for_the_reason(town: Town) -> None:
    """Without `--reason` it is typed where no other user of the machine sees it."""
    parcel = sent(town, "asked", "trainee")
    words = ("view", parcel, "report.txt", "--folder", "asked", "--break-glass")
    code, shown = on_a_terminal(town, "okafor", *words, typed=f"{REASON}\n")
    assert (code, SECRET in shown) == (0, True)
    assert "why can it not wait?" in shown
    found = town.json("okafor", "policy review --all")["emergencies"]
    assert (found[-1]["parcel"], found[-1]["reason"]) == (parcel, REASON)


@pytest.mark.service
def test_a_page_shows_the_parcel_until_it_is_ended(town: Town) -> None:
    """The address that is printed shows the study; Ctrl-C ends it; the disk holds none of it."""
    parcel = sent(town, "page", "trainee")
    temporary = town.root / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        command("view", parcel, "--folder", "page", "--json"),
        stdout=subprocess.PIPE,
        cwd=town.root,
        env={**environment(town, "wang"), "TMPDIR": str(temporary)},
        text=True,
    )
    try:
        assert process.stdout is not None
        begun = json.loads(process.stdout.readline())
        assert begun["event"] == "viewing"
        number = [one["path"] for one in begun["files"]].index("study/report.txt")
        address, _, token = begun["url"].removeprefix("http://").partition("/#")
        line = http.client.HTTPConnection(address, timeout=PATIENCE)
        line.request("GET", f"/file/{number}", headers={"Authorization": f"Bearer {token}"})
        assert SECRET in json.loads(line.getresponse().read())["text"]
        line.close()
        for folder in (town.root / "wang", temporary):
            for path in folder.rglob("*"):
                assert not path.is_file() or SECRET.encode() not in path.read_bytes()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait(PATIENCE)
    assert json.loads(out)["event"] == "view_ended"
    assert process.returncode == 0


@pytest.mark.service
def test_a_page_is_short_where_openings_are_counted(town: Town) -> None:
    """What a relay would take for another opening is not begun: nine minutes at most."""
    line = SEND.format("counted", "trainee") + " --openings 1"
    parcel = str(town.json("sender", line)["parcel"])
    process = subprocess.Popen(
        command("view", parcel, "--folder", "counted", "--json"),
        stdout=subprocess.PIPE,
        cwd=town.root,
        env=environment(town, "wang"),
        text=True,
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["seconds"] == 540
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def explained(town: Town, who: str, words: str) -> dict[str, Any]:
    """What `policy explain` says, with its rules by name."""
    record = town.json(who, f"policy explain {words}")
    record["rules"] = {one["rule"]: one["verdict"] for one in record["rules"]}
    return record


def test_a_decision_is_explained_rule_by_rule(town: Town) -> None:
    """For oneself, for another, for another act, and as if the glass were broken."""
    parcel = sent(town, "explain", "consultant")
    words = f"{parcel[:10]} --folder explain"
    mine = explained(town, "okafor", words)
    assert (mine["allowed"], mine["rule"]) == (False, "department")
    assert mine["rules"]["permission"] == "passed"
    theirs = explained(town, "okafor", f"{words} --as wang")
    assert (theirs["who"], theirs["allowed"]) == ("wang", True)
    assert not explained(town, "wang", f"{words} --act export")["allowed"]
    broken = explained(town, "okafor", f"{words} --break-glass")
    assert (broken["allowed"], broken["break_glass"]) == (True, ["department"])
    assert not explained(town, "okafor", f"{words} --act annotate --break-glass")["allowed"]
    assert explained(town, "sender", f"{parcel} --act export")["allowed"]
    table = town.do("okafor", f"policy explain {words}")
    assert "✗ this station may not view parcel" in table
    assert "what to do" in table
    assert town.json("okafor", f"audit search --parcel {parcel}")["found"] == 0


def test_half_of_breaking_the_glass_is_none(town: Town) -> None:
    """Without a reason, with a reason alone, or for everything at once: nothing is opened."""
    parcel = sent(town, "half")
    for words in (
        f"receive {parcel} --output x --break-glass",
        f"receive {parcel} --output x --reason why",
        f"view {parcel} --break-glass",
        "receive --output x --break-glass --reason because",
    ):
        refused = town.json("okafor", f"{words} --folder half", exit_code=2)
        assert refused["code"] == "usage"
    assert not (town.root / "x").exists()


@pytest.fixture(scope="module")
def emergency(town: Town) -> tuple[str, int]:
    """A parcel for which the glass was broken, and the number of the entry."""
    parcel = sent(town, "glass")
    line = f"receive {parcel} --output glass-in --folder glass --break-glass"
    done = town.run("okafor", line, "--reason", REASON)
    assert done.exit_code == 0
    assert "the glass was broken" in done.stderr
    (entry,) = town.json("okafor", "policy review")["emergencies"]
    assert (entry["parcel"], entry["reason"], entry["role"]) == (parcel, REASON, "specialist")
    return parcel, int(entry["number"])


def test_an_emergency_shines(town: Town, emergency: tuple[str, int]) -> None:
    """In the record with its purpose, without the reason; and at the sender, by the receipt."""
    parcel, number = emergency
    town.do("sender", SEND.format("glass", "attending").replace(" --new", ""))
    proof = town.json("sender", f"receipt {parcel}")
    assert len(bytes.fromhex(proof["emergency"])) == 32
    assert "the recipient broke the glass" in town.do("sender", f"receipt {parcel}")
    shown = town.do("okafor", "audit search --act emergency")
    assert f"{number}  " in shown
    assert REASON not in shown
    town.do("okafor", "audit export --fhir --output fhir.json")
    exported = (town.root / "fhir.json").read_text()
    assert '"BTG"' in exported
    assert REASON not in exported
    assert all(
        REASON.encode() not in path.read_bytes()
        for path in (town.root / "okafor" / "audit").rglob("*")
        if path.is_file()
    )


def test_only_somebody_else_reviews(town: Town, emergency: tuple[str, int]) -> None:
    """The reviewer's signature ends the waiting; one's own, another's or a forged one does not."""
    _, number = emergency
    assert "nobody else has reviewed that yet: 1" in town.run("okafor", "doctor").output
    town.do("okafor", f"policy review {number} --output handed")
    assert town.json("okafor", f"policy review {number} --output handed", exit_code=2)
    assert town.json("okafor", "policy review 0 --output other", exit_code=5)
    own = town.json("okafor", "policy judge handed", exit_code=4)
    assert own["code"] == "authenticity.untrusted"
    seen = town.json("wang", "policy judge handed")
    assert (seen["of"], seen["reason"], seen["finding"]) == ("okafor", REASON, None)
    assert town.json("wang", "policy judge handed --finding justified", exit_code=2)
    town.do("wang", "policy judge handed --finding not-justified --output judged")
    strange = town.json("sender", "policy reviewed judged", exit_code=3)
    assert strange["code"] == "review.own"
    done = town.json("okafor", "policy reviewed judged")
    assert "every emergency was reviewed" in town.run("okafor", "doctor").output
    assert (done["number"], done["reviewer"], done["already"]) == (number, "wang", False)
    before = town.do("okafor", "audit search --act review")
    again = town.json("okafor", "policy reviewed judged")
    assert (again["number"], again["already"]) == (number, True)
    assert "was reviewed already" in town.run("okafor", "policy reviewed judged").output
    assert town.do("okafor", "audit search --act review") == before
    assert town.json("okafor", "policy review")["emergencies"] == []
    (kept,) = town.json("okafor", "policy review --all")["emergencies"]
    assert kept["justified"] is False
    assert town.json("wang", "policy review --all")["emergencies"] == []
    assert "reviewed" in town.do("okafor", "policy review --all")


def test_a_reason_that_was_changed_is_found(town: Town, emergency: tuple[str, int]) -> None:
    """The digest in the record tells; a reason that was destroyed is said to be gone."""
    _, number = emergency
    (path,) = (
        one for one in (town.root / "okafor" / "emergencies").iterdir() if "." not in one.name
    )
    octets = path.read_bytes()
    path.write_bytes(octets.replace(b"unconscious", b"headache ok"))
    (found,) = town.json("okafor", "policy review --all")["emergencies"]
    assert (found["reason"], found["fault"]) == (None, "integrity")
    assert town.json("okafor", f"policy review {number} --output late", exit_code=3)
    path.unlink()
    (found,) = town.json("okafor", "policy review --all")["emergencies"]
    assert found["fault"] == "transfer.not-found"
    path.write_bytes(octets)
    path.chmod(0o600)


def test_a_policy_with_departments_is_shown_and_checked(town: Town, tmp_path: Path) -> None:
    """`policy show` writes the rules so that `policy check` takes them; a slip is named."""
    shown = tomllib.loads(town.do("wang", "policy show"))
    assert shown["departments"] == [{"parcels": "psychiatry", "open": ["psychiatry"]}]
    record = town.json("wang", "policy show")
    assert record["break_glass"]["roles"] == ["specialist"]
    draft = tmp_path / "draft.toml"
    for text, named in (
        ('[[departments]]\nparcels = "a"', "departments.open"),
        ('[[departments]]\nparcels = "a"\nopen = []', "departments.open"),
        ('[[departments]]\nparcels = "-"\nopen = ["a"]', "departments.parcels"),
        ('[[departments]]\nparcels = "a"\nopen = ["a"]\nshut = 1', "shut"),
        ('[[departments]]\nparcels = "a"\nopen = ["a"]\n' * 2, "two rules"),
        ("departments = 1", "departments"),
        ("[break_glass]", "break_glass.roles"),
        ('[break_glass]\nroles = ["a"]\nleast_reason = 0', "least_reason"),
        ('[break_glass]\nroles = ["a"]\noverrides = ["permission"]', "overrides"),
    ):
        draft.write_text(f"version = 1\n{text}\n")
        refused = town.json("wang", f"policy check {draft}", exit_code=7)
        assert named in refused["message"]
