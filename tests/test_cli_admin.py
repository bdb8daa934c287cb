"""Three administrators, one relay in a process of its own, and the command line between them."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.builder import make_identity
from tests.certifier import credential
from tests.relay_process import RelayProcess, relay_process
from tests.test_cli_credentials import Town

pytestmark = pytest.mark.service

PEOPLE = ("anna", "ben", "cleo")
DIGITS = 64


class Ministry(Town):
    """A town with a relay that three people administer, two of them together."""

    def __init__(self, root: Path, *others: str) -> None:
        super().__init__(root)
        for who in (*PEOPLE, *others):
            self.do(who, f"init --name {who}")
            self.do(who, f"card export --output {who}.card")

    def named(self) -> dict[str, Any]:
        """Name the administrators."""
        cards = " ".join(f"{who}.card" for who in PEOPLE)
        return self.json("operator", f"relay admin init --data relay --need 2 --yes {cards}")

    def propose(self, who: str, line: str, relay: RelayProcess) -> dict[str, Any]:
        """Let *who* propose something."""
        return self.json(who, f"admin propose {line} --relay {relay.url}")

    def approve(self, who: str, proposal: str, relay: RelayProcess) -> dict[str, Any]:
        """Let *who* approve a proposal, called by its first digits."""
        return self.json(who, f"admin approve {proposal[:12]} --yes --relay {relay.url}")

    def carry(self, line: str, relay: RelayProcess) -> dict[str, Any]:
        """Let Anna propose and Ben approve; return how it stands."""
        made = self.propose("anna", line, relay)
        assert made["state"] == "pending"
        return self.approve("ben", made["proposal"], relay)


@pytest.fixture(scope="module")
def ministry(tmp_path_factory: pytest.TempPathFactory) -> Ministry:
    """The town, its administrators named."""
    town = Ministry(tmp_path_factory.mktemp("ministry"), "wang", "novak")
    town.do("operator", "relay enroll wang.card --data relay --yes")  # while nobody is named
    assert town.named()["need"] == 2
    return town


@pytest.fixture
def relay(ministry: Ministry) -> Iterator[RelayProcess]:
    """The relay, running."""
    with relay_process(ministry.root / "relay") as running:
        yield running


def test_a_station_is_enrolled_by_two_and_sends_afterwards(
    ministry: Ministry, relay: RelayProcess
) -> None:
    """At the machine nobody can enroll alone; two administrators can, from where they are."""
    alone = ministry.run("operator", "relay enroll novak.card --data relay --yes")
    assert alone.exit_code == 4
    assert "medshare admin propose enroll" in alone.output
    assert ministry.carry("enroll novak.card", relay)["state"] == "done"
    alone = ministry.run("operator", "relay remove wang --data relay")
    assert alone.exit_code == 4
    ministry.do("wang", "card import novak.card --yes")
    ministry.do("novak", "card import wang.card --yes")
    sent = ministry.json("wang", f"send study --to novak --relay {relay.url}")
    parcel = sent["parcel"]
    one = ministry.propose("anna", f"hold {parcel}", relay)
    assert one["state"] == "done"
    refused = ministry.json(
        "ben", f"admin propose delete {parcel} --relay {relay.url}", exit_code=4
    )
    assert refused["code"] == "transfer.refused.held"
    assert ministry.carry(f"release-hold {parcel}", relay)["state"] == "done"
    assert ministry.carry(f"delete {parcel}", relay)["state"] == "done"
    assert not list((ministry.root / "relay" / "parcels").iterdir())
    late = ministry.json("novak", f"receive --relay {relay.url} --output in", exit_code=0)
    assert late["event"] != "received"


def test_an_approver_reads_everything_and_compares(ministry: Ministry, relay: RelayProcess) -> None:
    """Without --yes and without a terminal nothing is approved, and the digits are named."""
    made = ministry.propose("anna", "remove " + card_id(ministry, "wang"), relay)
    asked = ministry.run("ben", f"admin approve {made['proposal'][:8]} --relay {relay.url}")
    assert asked.exit_code == 2
    assert made["fingerprint"] in asked.output
    shown = ministry.do("cleo", f"admin show {made['proposal'][:8]} --relay {relay.url}")
    assert made["fingerprint"].split()[0] in shown
    assert "refuse station" in shown
    enrolling = ministry.propose(
        "anna", "enroll novak.card --profile person --factor fido2 --touch-only", relay
    )
    shown = ministry.do("cleo", f"admin show {enrolling['proposal'][:8]} --relay {relay.url}")
    assert "let novak" in shown
    assert "fido2; a touch is enough" in shown
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    client = credential(parts={"purpose": (usage, False)})
    (ministry.root / "client.pem").write_bytes(client.public_bytes(Encoding.PEM))
    unattended = (
        "set-profile wang --profile unattended --profile-cert client.pem --from 10.1.0.0/16"
    )
    ministry.do("anna", "card import wang.card --yes")
    made_of_machine = ministry.propose("anna", unattended, relay)["proposal"]
    shown = ministry.do("cleo", f"admin show {made_of_machine[:8]} --relay {relay.url}")
    assert "10.1.0.0/16" in shown
    assert hashlib.sha256(client.public_bytes(Encoding.DER)).hexdigest() in shown
    assert "anna" in shown
    gone = ministry.json("anna", f"admin reject {made['proposal'][:8]} --relay {relay.url}")
    assert (gone["event"], gone["state"]) == ("voted", "rejected")
    listed = ministry.json("cleo", f"admin list --relay {relay.url}")
    states = {one["proposal"]: one["state"] for one in listed["proposals"]}
    assert states[made["proposal"]] == "rejected"
    text = ministry.do("cleo", f"admin list --relay {relay.url}")
    assert made["proposal"][:12] in text


def test_bounds_and_administrators_are_changed_by_the_quorum(
    ministry: Ministry, relay: RelayProcess
) -> None:
    """A policy from a file takes effect; a file that is none, or unknown settings, are refused."""
    policy = ministry.root / "bounds.toml"
    policy.write_text('quota = "500G"\nmax_open = 8\n')
    assert ministry.carry("set-policy bounds.toml", relay)["state"] == "done"
    shown = ministry.json("cleo", f"admin show --relay {relay.url}")
    assert shown["settings"] == {"open_parcels": 8, "total_bytes": 500 << 30}
    policy.write_text("keys = 1\n")
    bad = ministry.run("anna", f"admin propose set-policy bounds.toml --relay {relay.url}")
    assert bad.exit_code == 2
    line = "set-administrators anna.card ben.card cleo.card --need 3"
    assert ministry.carry(line, relay)["state"] == "done"
    made = ministry.propose("anna", "set-administrators anna.card ben.card --need 2", relay)
    assert ministry.approve("ben", made["proposal"], relay)["state"] == "pending"
    assert ministry.approve("cleo", made["proposal"], relay)["state"] == "done"
    outside = ministry.json("cleo", f"admin list --relay {relay.url}", exit_code=4)
    assert outside["code"] == "access.denied"
    back = "set-administrators anna.card ben.card cleo.card --need 2"
    assert ministry.carry(back, relay)["state"] == "done"


def test_an_auditor_verifies_from_a_copy_and_finds_what_was_slipped_in(
    ministry: Ministry, tmp_path: Path
) -> None:
    """Offline, a copy of the folder shows each act with its quorum; without one it is named."""
    with relay_process(ministry.root / "relay") as relay:
        assert ministry.carry("enroll wang.card", relay)["state"] == "done"
        assert relay.terminate()[0] == 0
    cards = ministry.root / "relay" / "cards"
    slipped = make_identity("slipped in").card
    (cards / slipped.station.hex()).write_bytes(slipped.encoded)
    verify = "admin verify --relay-data relay"
    found = ministry.json("auditor", verify, exit_code=3)
    assert found["code"] == "audit.quorum"
    assert slipped.station.hex()[:16] in found["message"]
    (cards / slipped.station.hex()).unlink()
    assert ministry.json("auditor", verify)["unrecorded"] == []
    copy = tmp_path / "copy"
    shutil.copytree(ministry.root / "relay" / "audit", copy)
    good = ministry.json("auditor", f"admin verify --log {copy}")
    assert good["objections"] == []
    assert good["approved_acts"] > 0
    whole = ministry.json("auditor", "audit verify --relay-data relay")
    assert whole["administration"]["objections"] == []
    victim = min((copy / "administration").iterdir())
    victim.unlink()
    bad = ministry.json("auditor", f"admin verify --log {copy}", exit_code=3)
    assert bad["code"] == "audit.quorum"


def test_administrators_are_named_once_and_only_if_they_make_a_quorum(tmp_path: Path) -> None:
    """One alone, one twice, or a second time: refused; a certificate names the person."""
    town = Ministry(tmp_path)
    for cards, need in (("anna.card", 2), ("anna.card anna.card", 2), ("anna.card ben.card", 3)):
        done = town.run("operator", f"relay admin init --data r --need {need} --yes {cards}")
        assert done.exit_code == 2, done.output
        unasked = town.run("operator", f"relay admin init --data r --need {need} {cards}")
        assert unasked.stderr == done.stderr, "refused before anybody compares fingerprints"
    asked = town.run("operator", "relay admin init --data r --need 2 anna.card ben.card")
    assert asked.exit_code == 2
    assert town.run("operator", "relay admin show --data r").exit_code == 2
    town.do("operator", "relay admin init --data r --need 2 --yes anna.card ben.card")
    shown = json.loads(town.do("operator", "relay admin show --data r --json"))
    assert [one["name"] for one in shown["administrators"]] == ["anna", "ben"]
    again = town.run("operator", "relay admin init --data r --need 2 --yes cleo.card ben.card")
    assert again.exit_code == 2


def card_id(town: Ministry, who: str) -> str:
    """Return the id of the station of *who*, in full."""
    found = town.json(who, "card show")["station"]
    assert len(found) == DIGITS
    return str(found)
