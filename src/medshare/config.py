"""From environment and `config.toml` to objects: the one place that reads either.

`MEDSHARE_HOME`             where the station keeps everything
`MEDSHARE_VAULT`            where it keeps sealed parcels at rest, apart from its keys
`MEDSHARE_RELAY`            the relay to use when no other is named
`MEDSHARE_RELAY_CA`         a file with the certificates that vouch for that relay, if the
                            system's own do not
`MEDSHARE_CLIENT_CERT`      a client certificate, PEM, for a relay that demands one
`MEDSHARE_CLIENT_KEY`       its key, PEM, not encrypted
`MEDSHARE_PASSPHRASE_FILE`  a file with the passphrase, or with the PIN of a token
`MEDSHARE_PKCS11_MODULE`    the library through which a hardware token is reached

`config.toml`, in the station's folder, may hold:

    relay = "https://relay.example.org"
    relay_ca = "/etc/medshare/ca.pem"
    client_cert = "/etc/medshare/gateway.pem"
    client_key = "/etc/medshare/gateway.key"
    passphrase_command = ["pass", "show", "medshare"]
    keyring = true                                     # needs medshare[keyring]
    keystore = "pkcs11:token=medshare"                 # what `medshare init` makes
    pkcs11_module = "/usr/lib/softhsm/libsofthsm2.so"  # needs medshare[hsm]
    vault = "/srv/medshare-vault"

An environment variable goes before the file, an option on the command line before both.  The
library of a token is code that handles keys: it is named here and nowhere else, as
`pkcs11_module`, or as `module-path` of the URI in `keystore`.
"""

import os
import pwd
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from medshare.disk.atomic import read_toml, storage_errors
from medshare.errors import LimitError, MedshareError, StorageError, UsageError
from medshare.ids import StationId
from medshare.keys.passphrase import Ask, Sources

CONFIG_FILE: Final = "config.toml"
MAX_CONFIG: Final = 1 << 16
_STATION_DIGITS: Final = 16
_KEYS: Final = (
    "client_cert",
    "client_key",
    "keyring",
    "keystore",
    "passphrase_command",
    "pkcs11_module",
    "relay",
    "relay_ca",
    "vault",
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is configured; *home* is absolute, and what is not configured is left empty."""

    home: Path
    relay: str | None = None
    relay_ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    passphrase_file: Path | None = None
    passphrase_command: tuple[str, ...] = ()
    keyring: bool = False
    keystore: str = "file"
    """What `medshare init` makes: `file`, `keyring`, or the URI of a token, with no module."""
    pkcs11_module: Path | None = None
    vault: Path | None = None
    """Where sealed parcels are kept at rest, absolute; see `vault_folder` for the usual place."""

    def passphrase_sources(self, *, file: Path | None, ask: Ask | None) -> Sources:
        """Return where to look for the passphrase; *file* is what the command line names."""
        return Sources(
            file=file or self.passphrase_file,
            command=self.passphrase_command,
            keyring=str(self.home) if self.keyring else None,
            ask=ask,
        )


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings that *environ* and the station's `config.toml` make.

    Raises UsageError when one of them makes no sense, StorageError when the file cannot
    be read or others could have written it.
    """
    home = home_folder(environ)
    table = _read_config(home / CONFIG_FILE)
    vault = environ.get("MEDSHARE_VAULT") or _text(table, "vault")
    passphrase_file = environ.get("MEDSHARE_PASSPHRASE_FILE")
    relay_ca = environ.get("MEDSHARE_RELAY_CA") or _text(table, "relay_ca")
    client_cert = environ.get("MEDSHARE_CLIENT_CERT") or _text(table, "client_cert")
    client_key = environ.get("MEDSHARE_CLIENT_KEY") or _text(table, "client_key")
    keystore, module = _keystore(_text(table, "keystore"))
    module = environ.get("MEDSHARE_PKCS11_MODULE") or _text(table, "pkcs11_module") or module
    return Settings(
        home=home,
        relay=environ.get("MEDSHARE_RELAY") or _text(table, "relay"),
        relay_ca=_path(relay_ca) if relay_ca else None,
        client_cert=_path(client_cert) if client_cert else None,
        client_key=_path(client_key) if client_key else None,
        passphrase_file=_path(passphrase_file) if passphrase_file else None,
        passphrase_command=_command(table),
        keyring=_flag(table, "keyring"),
        keystore=keystore,
        pkcs11_module=Path(module) if module else None,
        vault=_path(vault).absolute() if vault else None,
    )


def home_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the station: `MEDSHARE_HOME`, or the usual place of this system."""
    chosen = environ.get("MEDSHARE_HOME")
    if chosen:
        return _path(chosen).absolute()
    return _usual_folder("medshare", environ)


def vault_folder(
    settings: Settings, station: StationId, environ: Mapping[str, str] = os.environ
) -> Path:
    """Return the vault of *station*: what is configured, or the usual place of this system.

    The usual place is not in the folder of the station: keys and data lie apart.
    """
    if settings.vault is not None:
        return settings.vault
    return _usual_folder("medshare-vault", environ) / station.hex()[:_STATION_DIGITS]


def _usual_folder(name: str, environ: Mapping[str, str]) -> Path:
    from platformdirs import PlatformDirs

    usual = Path(PlatformDirs(name, appauthor=False).user_data_dir)
    if environ.get("HOME", "set") == "":  # services start with it set to nothing
        usual = Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".local" / "share" / name
    return usual.absolute()


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    _require_own(path)
    try:
        table = read_toml(path, limit=MAX_CONFIG, what=CONFIG_FILE)
    except (LimitError, ValueError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    unknown = sorted(set(table) - set(_KEYS))
    if unknown:
        raise UsageError(
            f"{path} has a setting that is unknown here: {unknown[0]}",
            hint=f"known are {', '.join(_KEYS)}",
        )
    return table


def _require_own(path: Path) -> None:
    """Refuse a file that names a command to run, and that somebody else may have written."""
    with storage_errors(f"read {CONFIG_FILE}"):
        status = path.stat()
    if status.st_uid not in {os.geteuid(), 0} or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StorageError(
            f"other users of this machine could have written {path}",
            hint=f"check what it says, then run: chmod 600 {shlex.quote(str(path))}",
            code="storage.permissions",
        )


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"there is no home folder for {text!r}") from error


def _text(table: Mapping[str, Any], key: str) -> str | None:
    value = table.get(key)
    if value is not None and not (isinstance(value, str) and value):
        raise UsageError(f"the setting {key} in {CONFIG_FILE} is not a text")
    return value


def _keystore(text: str | None) -> tuple[str, str | None]:
    """Return the kind or token of a new keystore, and the module that its URI may name."""
    if text is None or text in {"file", "keyring"}:
        return text or "file", None
    from medshare.keys.pkcs11_uri import parse_uri, require_token

    try:
        uri = require_token(parse_uri(text))
    except MedshareError as error:
        raise UsageError(
            f"the setting keystore in {CONFIG_FILE} makes no sense: {error.message}",
            hint="it is file, keyring, or a URI such as pkcs11:token=medshare",
        ) from error
    return str(uri.of_token()), uri.module_path


def _flag(table: Mapping[str, Any], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise UsageError(f"the setting {key} in {CONFIG_FILE} is neither true nor false")
    return value


def _command(table: Mapping[str, Any]) -> tuple[str, ...]:
    value = table.get("passphrase_command", [])
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise UsageError(
            f"the setting passphrase_command in {CONFIG_FILE} is not a list of words",
            hint='for example: passphrase_command = ["pass", "show", "medshare"]',
        )
    return tuple(value)
