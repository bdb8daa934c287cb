"""How a command comes to the secret half of the station: options, prompt, second tries."""

import getpass
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

import click

from medshare.audit.entries import NOTHING, Act, Detail
from medshare.config import Settings
from medshare.errors import FormatError, PassphraseError, UsageError
from medshare.keys.attempts import seconds_to_wait
from medshare.keys.base import Backend, KeyStore
from medshare.keys.file import FileBackend
from medshare.keys.material import token_suite_error
from medshare.keys.os_keyring import KeyringBackend
from medshare.keys.passphrase import (
    PROMPT,
    Ask,
    Passphrase,
    existing_passphrase,
    new_passphrase,
    remember,
)
from medshare.keys.pkcs11 import TokenBackend
from medshare.keys.pkcs11_uri import Pkcs11Uri, parse_uri, require_no_module, require_token
from medshare.keys.second_factor import SecondFactor, Touch
from medshare.station import Identity, Station

Opened = TypeVar("Opened")

_PIN: Final = "PIN of the token: "
TRIES: Final = 3
"""How often a person at a terminal may type a passphrase before the command gives up."""

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read the passphrase, or the PIN of a token, from FILE, which only you may read.",
)


def terminal() -> Ask | None:
    """Return the way to ask the person at the terminal, or None where there is none."""
    return getpass.getpass if sys.stdin.isatty() else None


def unlock_identity(station: Station, settings: Settings, *, file: Path | None) -> Identity:
    """Return the secret half of *station*; *file* is what `--passphrase-file` names."""
    return station.identity(unlock_keystore(station, settings, file=file))


def unlock_keystore(
    station: Station, settings: Settings, *, file: Path | None, force_last_try: bool = False
) -> KeyStore:
    """Return the keystore of *station*; *file* is what `--passphrase-file` names.

    *force_last_try* lets a token lock itself when the PIN is wrong once more.  Each try is
    put into the record of the station.
    """
    if station.backend == "keyring":
        return _recorded(station, lambda _: station.keystore_with(KeyringBackend()))(b"")
    if station.backend == "pkcs11":
        return _unlock(
            settings,
            _recorded(
                station,
                lambda pin: station.keystore_with(
                    TokenBackend(settings.pkcs11_module, pin, force_last_try=force_last_try)
                ),
            ),
            file,
            prompt=_PIN,
        )
    touch = touching()
    return _unlock(
        settings,
        _recorded(
            station, lambda passphrase: station.keystore_with(FileBackend(passphrase, touch=touch))
        ),
        file,
        prompt=PROMPT,
    )


def touching() -> Touch:
    """Return how the second factor of a keystore is come by: one touch, however many tries."""

    @cache
    def touched(factor: SecondFactor) -> bytes:
        from medshare.keys.second_factor import ORIGIN
        from medshare.keys.security_key import one_security_key

        def say(sentence: str) -> None:
            click.echo(f"medshare: {sentence}", err=True)

        with one_security_key(terminal(), say) as key:
            salts = {one.credential: one.salt for one in factor.keys}
            credential, secret = key.secret(ORIGIN, salts, challenge=os.urandom(32))
            return factor.unwrap(credential, secret)

    return touched


def _recorded(
    station: Station, open_with: Callable[[bytes], KeyStore]
) -> Callable[[bytes], KeyStore]:
    """Return *open_with*, after which the record says who tried, and whether it was right."""

    def opened(secret: bytes) -> KeyStore:
        with station.record.refusals(Act.SIGN_IN, NOTHING):
            store = open_with(secret)
        station.record.note(Act.SIGN_IN, details={Detail.UID: os.getuid()})
        return store

    return opened


def unlock_file(
    settings: Settings,
    open_with: Callable[[bytes], Opened],
    *,
    file: Path | None,
    prompt: str,
) -> Opened:
    """Return what *open_with* opens with the passphrase, which may be asked for with *prompt*."""
    return _unlock(settings, open_with, file, prompt=prompt)


def _unlock(
    settings: Settings,
    open_with: Callable[[bytes], Opened],
    file: Path | None,
    *,
    prompt: str,
) -> Opened:
    """Open with passphrase or PIN; whoever types it may try again, after a growing pause."""
    sources = settings.passphrase_sources(file=file, ask=terminal())
    for attempt in range(1, TRIES + 1):
        passphrase = existing_passphrase(sources, prompt=prompt)
        try:
            opened = _patiently(open_with, passphrase)
        except PassphraseError as error:
            if not passphrase.typed or attempt == TRIES:
                raise
            _say(error)
            time.sleep(seconds_to_wait(attempt + 1))
        else:
            remember(sources, passphrase)
            return opened
    raise PassphraseError("the keystore does not open")


def _patiently(open_with: Callable[[bytes], Opened], passphrase: Passphrase) -> Opened:
    """Open; somebody who typed the passphrase need not type it again after a wait."""
    try:
        return open_with(passphrase.value)
    except PassphraseError as error:
        if not passphrase.typed or not error.seconds_to_wait:
            raise
        _say(error)
        time.sleep(error.seconds_to_wait)
        return open_with(passphrase.value)


def _say(error: PassphraseError) -> None:
    """Say that it was wrong; of a PIN also how few tries are left."""
    tries = f"; {error.hint}" if error.code == "key.pin" else ""
    click.echo(f"medshare: {error.message}{tries}", err=True)


def make_with(
    settings: Settings,
    keystore: str,
    make: Callable[[Backend], Opened],
    *,
    suite: str,
    file: Path | None,
) -> Opened:
    """Return what *make* makes with a keystore of the kind, or in the token, that was named.

    Raises UsageError when *keystore* is none, or cannot have the keys of *suite*.
    """
    if keystore == "keyring":
        return make(KeyringBackend(suite))
    if keystore == "file":
        return choose_passphrase(
            settings, lambda passphrase: make(FileBackend(passphrase.value, suite)), file=file
        )
    uri = token_uri(keystore)
    if suite != "intl":
        raise token_suite_error(suite)
    return make_in_token(settings, uri, make, file=file)


def make_in_token(
    settings: Settings, uri: Pkcs11Uri, make: Callable[[TokenBackend], Opened], *, file: Path | None
) -> Opened:
    """Return what *make* makes with the token that *uri* names, after its PIN was asked for."""
    return _unlock(
        settings,
        lambda pin: make(TokenBackend(settings.pkcs11_module, pin, uri)),
        file,
        prompt=_PIN,
    )


def token_uri(text: str) -> Pkcs11Uri:
    """Return the token that *text* names; a module in it is refused, as it was not configured."""
    try:
        return require_no_module(require_token(parse_uri(text)))
    except FormatError as error:
        raise UsageError(
            error.message, hint="a keystore is file, keyring, or a URI: pkcs11:token=medshare"
        ) from error


def choose_passphrase(
    settings: Settings, make: Callable[[Passphrase], Opened], *, file: Path | None
) -> Opened:
    """Return what *make* makes with a new passphrase, which the keyring then learns."""
    sources = settings.passphrase_sources(file=file, ask=terminal())
    passphrase = new_passphrase(sources)
    made = make(passphrase)
    remember(sources, passphrase)
    return made
