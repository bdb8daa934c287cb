"""What leaves a trace beside transfers: policies, keys, vaults, backups, acts of an authority."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from medshare.audit.checkpoint import keys_of_card
from medshare.audit.entries import Act, Detail, Entry, Kind
from medshare.authority.recording import OfficeRecord, keys_of_authority
from medshare.errors import PolicyError
from medshare.record.reader import RecordReader
from medshare.station import Station
from medshare.trust.policy import BUILT_IN, INPATIENT, OUTPATIENT, parse_policy, to_toml
from tests.parcels_at_hand import CHEAP, PASSPHRASE
from tests.test_cli_credentials import Town

YEAR = 365 * 86400


def entries_of(folder: Path, act: Act) -> list[Entry]:
    """The entries of one kind in the record of a station or an authority."""
    return [one for one in RecordReader(folder / "audit").entries() if one.event.act is act]


def test_a_changed_policy_is_recorded_by_whoever_unlocks_next(tmp_path: Path) -> None:
    """An edited, and a removed, policy.toml leave one entry each, with its digest; nothing else."""
    home = tmp_path / "home"
    Station.create(home, name="us", passphrase=PASSPHRASE, now=1, cost=CHEAP).unlock(PASSPHRASE)
    assert entries_of(home, Act.POLICY) == []
    policy, digests = home / "policy.toml", []
    for text in ("version = 1\n", "version = 1\n", 'version = 1\nmixed_suites = "forbid"\n'):
        policy.write_text(text)
        policy.chmod(0o600)
        for _ in range(2):
            Station.open(home).unlock(PASSPHRASE)
        digests.append(hashlib.sha256(text.encode()).digest())
    policy.unlink()
    Station.open(home).unlock(PASSPHRASE)
    seen = [one.event.details[Detail.DIGEST] for one in entries_of(home, Act.POLICY)]
    assert seen == [digests[0], digests[2], hashlib.sha256(b"").digest()]


@pytest.mark.parametrize(("text", "kept"), [("15y", OUTPATIENT), ("30y", INPATIENT)])
def test_the_policy_says_how_long_the_record_is_kept(text: str, kept: int) -> None:
    """15 years for outpatients, 30 for inpatients, never less; written as it was read."""
    rules = parse_policy({"version": 1, "record": {"keep_for": text}})
    assert rules.keep_record == kept
    assert f'keep_for = "{text}"' in to_toml(rules)
    assert BUILT_IN.keep_record == 30 * YEAR
    for bad in ("14y", "never", 15, "soon"):
        with pytest.raises(PolicyError):
            parse_policy({"version": 1, "record": {"keep_for": bad}})


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    """An authority, and three stations."""
    made = Town(tmp_path_factory.mktemp("town"))
    made.do("office-desk", "authority init", "--name", "Health Commission")
    for who in ("wang", "novak", "okafor"):
        made.do(who, f"init --name {who}")
        made.do(who, f"card export --output {who}.card")
    made.do("wang", "card request --output wang.csr")
    made.do(
        "office-desk",
        "authority issue wang.csr --licence 1 --role nurse --yes --output wang.pem",
        "--name",
        "Wang",
    )
    return made


def test_an_authority_records_whom_it_certifies_revokes_and_publishes(town: Town) -> None:
    """Each act is in its record, by digest of the certificate, signed with its own key."""
    listed = town.json("office-desk", "authority list")
    serial = listed["certificates"][0]["serial"]
    town.do("office-desk", f"authority renew {serial} --output wang2.pem")
    town.do("office-desk", f"authority revoke {serial} --reason cessation")
    town.do("office-desk", "authority crl --output lists.pem")
    shown = town.do("office-desk", "audit show --authority-data office --json").splitlines()
    acts = [json.loads(line) for line in shown[:-1]]
    assert [one["act"] for one in acts] == [
        "init",
        "issue",
        "renew",
        "revoke",
        "revoke",
        "publish",
    ]
    assert all(one["actor"]["kind"] == "operator" for one in acts)
    assert {one["object"]["kind"] for one in acts} == {str(Kind.CREDENTIAL)}
    assert acts[1]["parties"] == [town.json("wang", "card show")["station"]]
    verified = town.json("office-desk", "audit verify --authority-data office")
    assert (verified["findings"], verified["unsigned"]) == ([], 0)
    assert verified["checkpoints"] >= 3
    text = town.do("office-desk", "audit show --authority-data office")
    assert "Wang" not in text
    two = town.run("office-desk", "audit show --authority-data office --relay-data office")
    assert two.exit_code == 2


def test_an_altered_record_of_an_authority_is_found_and_stops_it(town: Town) -> None:
    """Somebody who edits the record is found, and nobody is certified until it is looked at."""
    segment = next((town.root / "office" / "audit").glob("entries-*"))
    before = segment.read_bytes()
    segment.write_bytes(before.replace(b"issue", b"renew", 1))
    town.json("office-desk", "audit verify --authority-data office", exit_code=3)
    segment.write_bytes(before)
    assert town.json("office-desk", "audit verify --authority-data office")["findings"] == []


def test_trust_in_authorities_vaults_and_backups_leaves_a_trace(town: Town) -> None:
    """Trusting and distrusting an authority, forgetting a vault, making and releasing a backup."""
    town.do("novak", "trust add office/ca.pem --name commission --yes")
    town.do("novak", "trust remove commission")
    home = town.root / "novak"
    trusted, gone = entries_of(home, Act.TRUST)[0], entries_of(home, Act.DISTRUST)[0]
    assert trusted.event.object.kind is Kind.CREDENTIAL
    assert trusted.event.object == gone.event.object
    town.do("novak", "card import wang.card --yes")
    town.do("novak", "card import okafor.card --yes")
    town.do("novak", "keys backup --to wang --to okafor --threshold 2 --output novak.backup")
    (backup,) = entries_of(home, Act.BACKUP)
    assert len(backup.event.parties) == 2
    town.do("wang", "keys release novak.backup --output share --yes")
    (released,) = entries_of(town.root / "wang", Act.BACKUP)
    assert released.event.details[Detail.DIGEST] == backup.event.details[Detail.DIGEST]
    town.do("novak", f"vault forget {_made_vault(town)} --yes")
    assert len(entries_of(home, Act.FORGET)) == 1


def _made_vault(town: Town) -> Path:
    from medshare.station.vaults import register_vault

    vault = town.root / "old-disk"
    register_vault(town.root / "novak", vault)
    return vault


def test_a_destroyed_key_is_named_by_tier_and_number(town: Town) -> None:
    """When a rotation destroys a key, the record says which, before it is gone."""
    town.do("okafor", "card import wang.card --yes")
    town.do("okafor", "send study --to wang --folder far")
    town.do("okafor", "rotate-key --tier routine")
    found = entries_of(town.root / "okafor", Act.DESTROY)
    assert [(one.event.tier, one.event.details[Detail.GENERATION]) for one in found] == [
        ("routine", 0)
    ]


def test_the_record_of_an_authority_needs_its_certificate_alone(town: Town) -> None:
    """A copy of its record is checked with the key in ca.pem; a station's card does not fit."""
    from medshare.authority.office import Office

    office = Office.open(town.root / "office")
    reader = RecordReader(OfficeRecord(office.folder, office.certificate).log.folder)
    assert reader.audit(keys_of_authority(office.certificate)).findings == ()
    card = Station.open(town.root / "wang").card
    assert reader.audit(keys_of_card(card)).findings


def pruned(town: Town, keep: str, **how: Any) -> dict[str, Any]:
    """Let Wang prune his record."""
    return town.json("wang", f"audit prune --keep-for {keep}", **how)


def test_nothing_is_pruned_that_the_policy_keeps(town: Town) -> None:
    """With a policy of 30 years, 15 are refused; with one of 15 they are the default."""
    policy = town.root / "wang" / "policy.toml"
    for text, code in (("30y", 7), ("15y", 0)):
        policy.write_text(f'version = 1\n[record]\nkeep_for = "{text}"\n')
        policy.chmod(0o600)
        pruned(town, "15y", exit_code=code)
        assert town.json("wang", "policy show")["keep_record"] == int(text[:-1]) * YEAR
