"""`medshare doctor`: what it looks at, what it says, and how it ends."""

import json
import resource
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medshare import cli
from medshare.commands import checks
from medshare.commands.checks import Finding, Level, Machine, examine
from medshare.config import Settings
from medshare.station import Station
from medshare.station.key_book import Entry, Happened, KeyBook
from medshare.station.vaults import register_vault
from tests.parcels_at_hand import CHEAP, PASSPHRASE

NOW = 1_800_000_000
SWAPS = "Filename Type Size Used Priority\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with a station on which all is well."""
    home = tmp_path / "home"
    Station.create(home, name="us", passphrase=PASSPHRASE, now=NOW - 5, cost=CHEAP)
    files = {"swaps": SWAPS, "core_pattern": "core\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return Machine(
        settings=Settings(home=home, vault=tmp_path / "elsewhere" / "vault"),
        now=NOW,
        swaps=tmp_path / "swaps",
        core_pattern=tmp_path / "core_pattern",
        block=tmp_path / "block",
    )


@pytest.fixture(autouse=True)
def no_core_dumps() -> None:
    """Let this process write no core dumps, as one that is well."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def home_of(machine: Machine) -> Path:
    """Return the folder of the station."""
    assert machine.settings is not None
    return machine.settings.home


def grave(machine: Machine) -> list[Finding]:
    """Return what is not well."""
    return [one for one in examine(machine) if one.level in {Level.WARN, Level.BAD}]


def only(machine: Machine) -> Finding:
    """Return the one thing that is not well."""
    (finding,) = grave(machine)
    return finding


def test_a_good_machine_has_nothing_to_mend(machine: Machine) -> None:
    """Every check says that it looked, and none complains."""
    assert grave(machine) == []
    names = {one.check for one in examine(machine)}
    assert names >= {"station", "permissions", "locations", "policy", "clock", "swap", "disk"}


def test_without_a_station_the_machine_is_looked_at(tmp_path: Path, machine: Machine) -> None:
    """No station is a note, not a fault."""
    machine.settings = Settings(home=tmp_path / "none")
    assert grave(machine) == []
    assert any("no station" in one.message for one in examine(machine))


@pytest.mark.parametrize(
    ("name", "mode", "says"),
    [
        (".", 0o755, "open to other users"),
        ("keys", 0o750, "open to other users"),
        ("keys/keystore", 0o644, "open to other users"),
        ("outbox", 0o755, "open to other users"),
        ("key-history", 0o640, "open to other users"),
    ],
)
def test_open_permissions_are_named_with_the_command(
    machine: Machine, name: str, mode: int, says: str
) -> None:
    """Whatever others could enter or read is named, with what mends it."""
    KeyBook(home_of(machine)).add(Entry(NOW, Happened.MADE, "routine/0"))
    (home_of(machine) / name).chmod(mode)
    finding = only(machine)
    assert (finding.level, says in finding.message) == (Level.BAD, True)
    assert "chmod" in finding.hint


def test_a_policy_that_others_may_read_is_fine(machine: Machine) -> None:
    """Rules are no secret; that others could write them is a fault."""
    path = home_of(machine) / "policy.toml"
    path.write_text("version = 1\n")
    path.chmod(0o644)
    assert grave(machine) == []
    path.chmod(0o664)
    assert {one.check for one in grave(machine)} == {"permissions", "policy"}


def test_a_policy_that_is_not_valid_is_named(machine: Machine) -> None:
    """The slip is in the message."""
    path = home_of(machine) / "policy.toml"
    path.write_text("version = 2\n")
    path.chmod(0o600)
    assert "version is not 1" in only(machine).message


def test_a_keystore_that_a_tier_does_not_allow_is_noted(machine: Machine) -> None:
    """It is no fault: another tier may allow it."""
    path = home_of(machine) / "policy.toml"
    path.write_text('version = 1\n[tiers.a]\nrotate_after = "1y"\nkeystores = ["pkcs11"]\n')
    path.chmod(0o600)
    assert grave(machine) == []
    assert any("'file' in tier a" in one.message for one in examine(machine))


def test_keys_and_data_in_one_place_are_named(machine: Machine, tmp_path: Path) -> None:
    """A vault in the folder of the station is bad; one beside it is worth a note."""
    assert machine.settings is not None
    machine.settings = Settings(home=home_of(machine), vault=tmp_path / "beside")
    assert grave(machine) == []
    assert any("leave one of them out" in one.hint for one in examine(machine))
    machine.settings = Settings(home=home_of(machine), vault=home_of(machine) / "vault")
    assert "in the folder of the station" in only(machine).message


def test_a_vault_that_is_not_mounted_is_named(machine: Machine, tmp_path: Path) -> None:
    """Its keys could not be rotated."""
    register_vault(home_of(machine), tmp_path / "gone")
    assert "is not there" in only(machine).message


def test_what_an_interrupted_change_left_is_named(machine: Machine) -> None:
    """The copy of the earlier keystore is a warning."""
    path = home_of(machine) / "keys" / "keystore.previous"
    path.touch(mode=0o600)
    assert (only(machine).check, only(machine).level) == ("keystore", Level.WARN)


def test_due_keys_and_open_incidents_are_named(machine: Machine) -> None:
    """A key whose time is over is a warning, an incident that is not closed is bad."""
    book = KeyBook(home_of(machine))
    book.add(Entry(NOW - 400 * 86400, Happened.MADE, "routine/0"))
    assert (only(machine).level, "'routine/0' is due" in only(machine).message) == (
        Level.WARN,
        True,
    )
    book.add(Entry(NOW, Happened.INCIDENT_BEGUN, "routine"))
    found = grave(machine)
    assert [one.level for one in found] == [Level.BAD, Level.WARN]
    assert found[0].hint == "medshare rotate-key --compromised routine"
    book.add(Entry(NOW, Happened.INCIDENT_DONE, "routine"))
    assert only(machine).level is Level.WARN


def test_a_clock_before_the_keys_is_named(machine: Machine) -> None:
    """A time before keys were made, or before this version was, is wrong."""
    for now in (NOW - 86400, 1_000_000_000):
        machine.now = now
        assert (only(machine).check, only(machine).level) == ("clock", Level.BAD)


@pytest.mark.parametrize(
    ("line", "safe"),
    [
        ("/dev/sda2 partition 1024 0 -2", False),
        ("/swapfile file 1024 0 -2", False),
        ("/dev/zram0 partition 1024 0 100", True),
        ("/dev/dm-1 partition 1024 0 -2", True),
        ("/dev/dm-2 partition 1024 0 -2", False),
    ],
)
def test_swap_in_the_clear_is_named(
    machine: Machine, tmp_path: Path, line: str, safe: bool
) -> None:
    """Encrypted devices and compressed memory are fine; disks and files are a warning."""
    machine.swaps.write_text(SWAPS + line + "\n")
    for name, uuid in (("dm-1", "CRYPT-PLAIN-swap"), ("dm-2", "LVM-abc")):
        (tmp_path / "block" / name / "dm").mkdir(parents=True)
        (tmp_path / "block" / name / "dm" / "uuid").write_text(uuid)
    assert [one.check for one in grave(machine)] == ([] if safe else ["swap"])


def test_core_dumps_are_named(machine: Machine) -> None:
    """A limit above zero, or a program that collects dumps in spite of it, is a warning."""
    machine.core_pattern.write_text("|/usr/lib/systemd/systemd-coredump %P\n")
    assert only(machine).check == "core-dumps"
    machine.core_pattern.write_text("core\n")
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard:
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        assert only(machine).check == "core-dumps"


def test_old_libraries_are_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is below the bound of pyproject.toml is bad; extras that are not there are no matter."""
    required = ["click>=8.4", "cryptography>=999.1", 'keyring>=999; extra == "keyring"']
    monkeypatch.setattr(metadata, "requires", lambda _: required)
    finding = only(machine)
    assert (finding.level, finding.check) == (Level.BAD, "versions")
    assert "cryptography" in finding.message
    assert "at least 999.1" in finding.message


def test_a_full_disk_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little room for a rotation is bad."""

    class Usage:
        free = 1 << 20

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    assert (only(machine).check, only(machine).level) == ("disk", Level.BAD)


def run(machine: Machine, *words: str) -> Result:
    """Run `medshare` for the station."""
    environ = {
        "MEDSHARE_HOME": str(home_of(machine)),
        "MEDSHARE_VAULT": str(home_of(machine).parent / "elsewhere" / "vault"),
    }
    return CliRunner().invoke(cli.cli, words, env=environ)


def test_the_command_ends_with_8_when_something_is_bad(machine: Machine) -> None:
    """Bad findings make a number of their own; the hint mends the first."""
    (home_of(machine) / "outbox").chmod(0o755)
    done = run(machine, "doctor")
    assert done.exit_code == 8
    assert "chmod" in done.stderr
    assert "✗ permissions" in done.stdout


def test_programs_get_every_finding(machine: Machine) -> None:
    """With --json there is one object with all findings, and an error last when it is bad."""
    done = run(machine, "doctor", "--json")
    record = json.loads(done.stdout.splitlines()[0])
    assert record["event"] == "examined"
    assert record["healthy"] is (done.exit_code == 0)
    assert {"check", "level", "message", "hint"} == record["findings"][0].keys()


def test_strict_counts_warnings(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning alone ends well, unless --strict is asked for."""
    warning = [Finding("swap", Level.WARN, "swap in the clear", "encrypt it")]
    monkeypatch.setattr(checks, "examine", lambda: warning)
    assert run(machine, "doctor", "--quiet").exit_code == 0
    assert run(machine, "doctor", "--quiet", "--strict").exit_code == 8
