"""Policy in force: what a tier demands holds for senders and receivers, whatever they ask for."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from medshare import cli
from medshare.envelope import parse_envelope
from medshare.errors import CredentialError, PolicyError, StorageError
from medshare.station.policy_file import policy_of
from medshare.trust.policy import BUILT_IN, to_toml
from tests.people import Person
from tests.sharing_case import Case

DAY = 86400
RULES = """
version = 1
[tiers.routine]
rotate_after = "1y"
keep_for = "30d"
[tiers.restricted]
rotate_after = "30d"
keystores = ["pkcs11"]
[tiers.national]
rotate_after = "90d"
suites = ["gm"]
"""


def rule(person: Person, text: str) -> None:
    """Let *text* be the policy of *person*'s station."""
    path = person.station.home / "policy.toml"
    path.write_text(text)
    path.chmod(0o600)
    person.station.__dict__.pop("policy", None)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Two stations, of which the first has a policy."""
    case = Case(tmp_path)
    rule(case.a, RULES)
    return case


def test_the_tier_gives_the_retention(case: Case) -> None:
    """Without a wish the parcel expires when the tier says; a shorter time is granted."""
    for asked, expected in ((0, 30 * DAY), (DAY, DAY)):
        result = case.send(keep_for=asked, anew=True)
        envelope = parse_envelope(case.transport(case.a).get_envelope(result.parcel))
        assert envelope.delete_after - envelope.created == expected


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"keep_for": 31 * DAY}, "policy.retention"),
        ({"tier": "restricted"}, "policy.keystore"),
        ({"tier": "national", "suites": frozenset({"intl"})}, "policy.suite"),
        ({"tier": "urgent"}, "policy.tier"),
    ],
)
def test_what_a_tier_does_not_allow_is_not_sent(
    case: Case, options: dict[str, Any], code: str
) -> None:
    """Each rule is named by its code, and nothing has left: not even an outbox entry is made."""
    with pytest.raises(PolicyError) as caught:
        case.send(**options)
    assert caught.value.code == code
    assert list((case.a.station.home / "outbox").iterdir()) == []
    assert case.transport(case.b).inbox() == ()


@pytest.mark.parametrize(
    ("tier", "code"),
    [("restricted", "policy.keystore"), ("sensitive", "policy.tier")],
)
def test_what_a_tier_does_not_allow_is_not_taken(tmp_path: Path, tier: str, code: str) -> None:
    """The receiver's policy holds for what arrives, before anything of it is kept."""
    case = Case(tmp_path)
    result = case.send(tier=tier)
    rule(case.b, RULES)
    with pytest.raises(PolicyError) as caught:
        case.receive(result.parcel)
    assert caught.value.code == code
    assert list((case.b.station.home / "inbox").iterdir()) == []


def test_a_suite_that_a_tier_does_not_allow_is_not_taken(tmp_path: Path) -> None:
    """A parcel in suite intl is refused where the tier demands gm."""
    case = Case(tmp_path)
    result = case.send(tier="routine")
    rule(case.b, RULES.replace('keep_for = "30d"', 'suites = ["gm"]'))
    with pytest.raises(PolicyError) as caught:
        case.receive(result.parcel)
    assert caught.value.code == "policy.suite"


def test_a_policy_that_cannot_be_read_permits_nothing(case: Case) -> None:
    """A slip in the file stops everything instead of falling back to the built-in policy."""
    rule(case.a, "version = 1\n[tiers")
    with pytest.raises(PolicyError, match="not valid TOML") as caught:
        case.send()
    assert caught.value.code == "policy.invalid"


def test_a_policy_that_others_could_have_written_is_refused(case: Case) -> None:
    """Who may write the policy rules: a file that a group may write is not read."""
    (case.a.station.home / "policy.toml").chmod(0o620)
    with pytest.raises(StorageError, match="could have written the policy"):
        case.send()


def test_a_policy_of_any_size_is_bounded(tmp_path: Path) -> None:
    """A huge file is refused unread."""
    (tmp_path / "policy.toml").write_bytes(b"#" * (1 << 17))
    (tmp_path / "policy.toml").chmod(0o600)
    with pytest.raises(PolicyError, match="larger than"):
        policy_of(tmp_path)


def run(home: Path, *words: str) -> Result:
    """Run `medshare` for the station in *home*."""
    return CliRunner().invoke(cli.cli, words, env={"MEDSHARE_HOME": str(home)})


def test_policy_show_writes_a_policy_that_check_accepts(tmp_path: Path) -> None:
    """What is in force can be copied, changed, checked and put in place."""
    shown = run(tmp_path, "policy", "show")
    assert (shown.exit_code, shown.stdout) == (0, to_toml(BUILT_IN))
    draft = tmp_path / "draft.toml"
    draft.write_text(shown.stdout)
    checked = run(tmp_path, "policy", "check", str(draft))
    assert checked.exit_code == 0
    assert "routine, sensitive, restricted" in checked.stdout


def test_policy_check_names_the_rule_that_is_wrong(tmp_path: Path) -> None:
    """A draft that is not valid ends with exit code 7, and is named."""
    draft = tmp_path / "draft.toml"
    draft.write_text('version = 1\n[tiers.a]\nrotate_after = "soon"\n')
    refused = run(tmp_path, "policy", "check", str(draft))
    assert refused.exit_code == 7
    assert "tiers.a.rotate_after" in refused.stderr


def test_policy_check_without_a_file_says_what_is_in_force(tmp_path: Path) -> None:
    """A station without policy.toml has the built-in policy, which is said."""
    checked = run(tmp_path, "policy", "check")
    assert checked.exit_code == 0
    assert "built-in policy" in checked.stdout
    assert run(tmp_path, "policy", "check", str(tmp_path / "missing")).exit_code == 2


LICENSED = RULES.replace('keep_for = "30d"', 'keep_for = "30d"\nrequire = "licensed"')


def test_a_tier_may_demand_licensed_recipients(case: Case) -> None:
    """Without a credential nobody is sent what demands one, by the tier or by the caller."""
    assert not case.send(licensed=False).receipts
    with pytest.raises(CredentialError):
        case.send(licensed=True, anew=True)
    rule(case.a, LICENSED)
    before = sorted((case.a.station.home / "outbox").iterdir())
    with pytest.raises(CredentialError) as caught:
        case.send(licensed=False, anew=True)
    assert caught.value.code == "credential.missing"
    assert sorted((case.a.station.home / "outbox").iterdir()) == before
