"""Settings from environment and config.toml: strict, and from nobody else."""

import os
import stat
from pathlib import Path

import pytest

from medshare.config import (
    CONFIG_FILE,
    MAX_CONFIG,
    Settings,
    home_folder,
    load_settings,
    vault_folder,
)
from medshare.disk.separation import require_apart
from medshare.errors import StorageError, UsageError
from medshare.ids import StationId


def configured(home: Path, text: str) -> dict[str, str]:
    """Return an environment whose station has this config.toml."""
    home.mkdir(parents=True, exist_ok=True)
    (home / CONFIG_FILE).write_text(text)
    return {"MEDSHARE_HOME": str(home)}


def test_nothing_configured_is_fine(tmp_path: Path) -> None:
    """Without a file everything but the home is empty."""
    settings = load_settings({"MEDSHARE_HOME": str(tmp_path / "none")})
    assert settings == Settings(home=tmp_path / "none")


def test_every_setting_of_the_file_is_read(tmp_path: Path) -> None:
    """The example of the documentation gives what it says."""
    text = """
        relay = "https://relay.example.org"
        passphrase_command = ["pass", "show", "medshare"]
        keyring = true
    """
    assert load_settings(configured(tmp_path, text)) == Settings(
        home=tmp_path,
        relay="https://relay.example.org",
        passphrase_command=("pass", "show", "medshare"),
        keyring=True,
    )


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    """MEDSHARE_RELAY wins over the file, and an empty variable counts as none."""
    environ = configured(tmp_path, 'relay = "https://file.example.org"')
    assert load_settings(environ | {"MEDSHARE_RELAY": ""}).relay == "https://file.example.org"
    found = load_settings(environ | {"MEDSHARE_RELAY": "https://environment.example.org"})
    assert found.relay == "https://environment.example.org"


def test_the_command_line_goes_before_the_environment(tmp_path: Path) -> None:
    """A passphrase file that is named on the command line is the one that is read."""
    environ = {"MEDSHARE_HOME": str(tmp_path), "MEDSHARE_PASSPHRASE_FILE": "/from/environment"}
    settings = load_settings(environ)
    assert settings.passphrase_sources(file=None, ask=None).file == Path("/from/environment")
    named = settings.passphrase_sources(file=Path("named"), ask=None)
    assert named.file == Path("named")


def test_a_passphrase_in_the_environment_is_not_looked_at(tmp_path: Path) -> None:
    """There is no variable that holds a passphrase itself."""
    environ = {"MEDSHARE_HOME": str(tmp_path), "MEDSHARE_PASSPHRASE": "in the clear"}
    settings = load_settings(environ)
    assert "in the clear" not in repr(settings)
    assert settings == Settings(home=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "relay = ",
        "relay = 1",
        'relay = ""',
        'keyring = "yes"',
        'passphrase_command = "pass show medshare"',
        "passphrase_command = [1]",
        "relays = []",
        "[relay]\nurl = 'x'",
        "# " + "x" * MAX_CONFIG,
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path: Path, text: str) -> None:
    """Broken TOML, wrong types, unknown keys and endless files are usage errors."""
    with pytest.raises(UsageError):
        load_settings(configured(tmp_path, text))


@pytest.mark.parametrize("octets", [b"\xff\xfe", b"relay = '\x00'"])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, octets: bytes) -> None:
    """What is not UTF-8, or holds control characters, is a usage error."""
    environ = configured(tmp_path, "")
    (tmp_path / CONFIG_FILE).write_bytes(octets)
    with pytest.raises(UsageError):
        load_settings(environ)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_could_have_written_is_refused(tmp_path: Path, mode: int) -> None:
    """It may name a command, so nobody else may write it; reading is nobody's secret."""
    environ = configured(tmp_path, 'relay = "https://relay.example.org"')
    (tmp_path / CONFIG_FILE).chmod(mode)
    with pytest.raises(StorageError, match="could have written"):
        load_settings(environ)
    (tmp_path / CONFIG_FILE).chmod(0o644)
    assert load_settings(environ).relay


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """Another user's file names no command to run here."""
    environ = configured(tmp_path, "")
    os.chown(tmp_path / CONFIG_FILE, 12345, -1)
    with pytest.raises(StorageError, match="could have written"):
        load_settings(environ)


def test_the_home_is_where_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MEDSHARE_HOME may be relative or begin with ~; the result is absolute."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert home_folder({"MEDSHARE_HOME": "station"}) == tmp_path / "station"
    assert home_folder({"MEDSHARE_HOME": "~/station"}) == tmp_path / "me" / "station"


def test_the_usual_home_is_in_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the variable, the folder is below the home of the user."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME")
    home = home_folder({"HOME": str(tmp_path)})
    assert home.is_relative_to(tmp_path)
    assert home.name == "medshare"


def test_an_empty_home_variable_does_not_lead_to_the_root_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With HOME set to nothing, as for some services, the password database tells."""
    monkeypatch.setenv("HOME", "")
    monkeypatch.delenv("XDG_DATA_HOME")
    home = home_folder({"HOME": ""})
    assert home.is_absolute()
    assert len(home.parts) > 3
    assert stat.S_ISDIR(home.parents[3].stat().st_mode)


def test_the_vault_is_apart_from_the_keys(tmp_path: Path) -> None:
    """By default each station has a vault of its own, outside the folder with its keystore."""
    station = StationId(bytes(range(32)))
    environ = {"HOME": os.environ["HOME"]}
    settings = load_settings(environ)
    usual = vault_folder(settings, station, environ)
    assert usual.parts[-2:] == ("medshare-vault", "0001020304050607")
    require_apart(usual, settings.home, what="the vault")


def test_a_vault_is_where_it_is_configured_to_be(tmp_path: Path) -> None:
    """The environment goes before the file; a relative path is made absolute."""
    environ = configured(tmp_path, 'vault = "/srv/vault"')
    station = StationId(bytes(32))
    assert vault_folder(load_settings(environ), station, environ) == Path("/srv/vault")
    environ["MEDSHARE_VAULT"] = "here"
    assert vault_folder(load_settings(environ), station, environ) == Path.cwd() / "here"


def test_a_home_folder_of_nobody_is_a_wrong_setting(tmp_path: Path) -> None:
    """`~nobody-here/…` is refused as a setting that makes no sense, wherever a path is set."""
    for name in (
        "MEDSHARE_HOME",
        "MEDSHARE_VAULT",
        "MEDSHARE_RELAY_CA",
        "MEDSHARE_PASSPHRASE_FILE",
    ):
        with pytest.raises(UsageError, match="no home folder"):
            load_settings({"MEDSHARE_HOME": str(tmp_path), name: "~nobody-here/x"})
