"""`medshare keys second-factor`: a security key without which the passphrase opens nothing."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medshare.commands.opening import open_station
from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.commands.unlock import passphrase_option, terminal, touching, unlock_file
from medshare.errors import UsageError

if TYPE_CHECKING:
    from medshare.keys.file import FileKeyStore
    from medshare.keys.second_factor import EnrolledKey, SecondFactor
    from medshare.station import Station


@click.group(
    "second-factor",
    epilog=examples(
        """
        medshare keys second-factor on       # plug the security key in first
        medshare keys second-factor add      # a spare one, to be kept elsewhere
        medshare keys second-factor list
        medshare keys second-factor off
        """
    ),
)
def keys_second_factor() -> None:
    """Let the keystore depend on a FIDO2 security key.

    The key computes a secret (hmac-secret) that goes into the derivation of the keystore's key:
    with the disk and the passphrase, and without the security key, nothing opens. A code (TOTP)
    cannot do that: it proves something to a server, and there is none here. It is not offered.
    """


def _require_file(station: "Station") -> Path:
    """Return the folder of the keystore; raise UsageError unless it is a file of its own."""
    if station.backend != "file":
        raise UsageError(
            f"this keystore is of kind {station.backend}, not a file with a passphrase",
            hint="a hardware token has a second factor built in: its PIN",
        )
    return station.home / "keys"


def _opened(station: "Station", settings: Any, file: Path | None) -> "tuple[FileKeyStore, bytes]":
    """Return the keystore, and the passphrase as it was given."""
    from medshare.keys.file import FileBackend

    folder, touch = _require_file(station), touching()

    def open_with(passphrase: bytes) -> "tuple[FileKeyStore, bytes]":
        return FileBackend(passphrase, touch=touch).open(folder), passphrase

    return unlock_file(settings, open_with, file=file, prompt="Passphrase of this station: ")


def _new_key(station: "Station", secret: bytes) -> "EnrolledKey":
    """Let the security key that is plugged in open what *secret* opens."""
    from medshare.keys.second_factor import ORIGIN, PRF_SALT_SIZE, enrolled_key
    from medshare.keys.security_key import one_security_key

    def say(sentence: str) -> None:
        click.echo(f"medshare: {sentence}", err=True)

    with one_security_key(terminal(), say) as key:
        user, salt = bytes(station.id), os.urandom(PRF_SALT_SIZE)
        credential = key.new_secret(ORIGIN, user=user, challenge=os.urandom(32))
        _, value = key.secret(ORIGIN, {credential: salt}, challenge=os.urandom(32))
    return enrolled_key(credential, salt, value, secret)


@keys_second_factor.command()
@passphrase_option
@output_options
def on(passphrase_file: Path | None, mode: Mode) -> None:
    """Let the keystore open only with the security key that is plugged in, and the passphrase.

    Make a backup for custodians before (medshare keys backup): it is what helps when the key is
    lost. Unattended stations cannot use this; it is for people.
    """
    from medshare.keys.sealed import SALT_SIZE
    from medshare.keys.second_factor import (
        SecondFactor,
        combined,
        find_second_factor,
        write_second_factor,
    )
    from medshare.suites.base import KEY_SIZE

    settings, station = open_station()
    folder = _require_file(station)
    store, passphrase = _opened(station, settings, passphrase_file)
    before = find_second_factor(folder)
    if before is not None and store.salt not in before.plain:
        raise UsageError(
            "the keystore has a second factor already",
            hint="add a spare key: medshare keys second-factor add",
        )
    secret = os.urandom(KEY_SIZE)
    factor = SecondFactor((_new_key(station, secret),), plain=(store.salt,))
    with station.changing():
        _record(station, "add-factor")
        write_second_factor(folder, factor)
        store.change_passphrase(combined(secret, passphrase), salt=os.urandom(SALT_SIZE))
    _tell(mode, "on", factor)


@keys_second_factor.command()
@passphrase_option
@output_options
def add(passphrase_file: Path | None, mode: Mode) -> None:
    """Let a spare security key open the keystore as well.

    Plug in the one that opens it now; you are told when to change them.
    """
    from medshare.keys.second_factor import MAX_KEYS, SecondFactor, write_second_factor

    settings, station = open_station()
    folder = _require_file(station)
    _opened(station, settings, passphrase_file)
    factor, secret = _in_force(folder, touching())
    if len(factor.keys) >= MAX_KEYS:
        raise UsageError(f"a keystore has at most {MAX_KEYS} security keys")
    _await_other_key()
    added = SecondFactor((*factor.keys, _new_key(station, secret)), factor.plain)
    with station.changing():
        _record(station, "add-factor")
        write_second_factor(folder, added)
    _tell(mode, "added", added)


@keys_second_factor.command()
@passphrase_option
@output_options
def off(passphrase_file: Path | None, mode: Mode) -> None:
    """Let the passphrase alone open the keystore again; needs the security key once more."""
    from medshare.keys.sealed import SALT_SIZE
    from medshare.keys.second_factor import remove_second_factor, write_second_factor

    settings, station = open_station()
    folder = _require_file(station)
    store, passphrase = _opened(station, settings, passphrase_file)
    factor = _factor(folder)
    salt = os.urandom(SALT_SIZE)
    with station.changing():
        _record(station, "remove-factor")
        if store.salt not in factor.plain:
            write_second_factor(folder, factor.also_plain(salt))
            store.change_passphrase(passphrase, salt=salt)
        remove_second_factor(folder)
    _tell(mode, "off", None)


@keys_second_factor.command("list")
@output_options
def list_(mode: Mode) -> None:
    """Say whether the keystore has a second factor, and how many security keys open it."""
    from medshare.keys.second_factor import find_second_factor

    _, station = open_station()
    factor = find_second_factor(_require_file(station))
    _tell(mode, "off" if factor is None else "on", factor)


def _record(station: "Station", act: str) -> None:
    """Record what is done to the second factor of the keystore, before it is done."""
    from medshare.audit.entries import Act, Detail

    station.record.note(Act(act), details={Detail.UID: os.getuid()})


def _factor(folder: Path) -> "SecondFactor":
    from medshare.keys.second_factor import find_second_factor

    factor = find_second_factor(folder)
    if factor is None:
        raise UsageError("the keystore has no second factor")
    return factor


def _in_force(
    folder: Path, touch: "Callable[[SecondFactor], bytes]"
) -> "tuple[SecondFactor, bytes]":
    factor = _factor(folder)
    return factor, touch(factor)


def _await_other_key() -> None:
    """Wait until somebody has changed the keys."""
    click.echo("medshare: now plug in the spare key instead, and press Enter", err=True)
    sys.stdin.readline()


def _tell(mode: Mode, state: str, factor: "SecondFactor | None") -> None:
    from medshare.commands import text
    from medshare.commands.views import GOOD, QUIET, headline

    count = 0 if factor is None else len(factor.keys)
    keys = text.count(count, "security key")
    sentence = f"the keystore opens with the passphrase and one of {keys}"
    with choose(mode) as out:
        out.result(
            {"event": "keystore_factor", "state": state, "keys": count},
            lambda: (
                headline("✓", GOOD, sentence)
                if count
                else headline("●", QUIET, "the keystore opens with the passphrase alone")
            ),
        )
