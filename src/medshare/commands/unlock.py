"""How a command comes to the secret half of the station: options, prompt, second tries."""

import getpass
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import click

from medshare.config import Settings
from medshare.errors import PassphraseError
from medshare.keys.attempts import seconds_to_wait
from medshare.keys.base import KeyStore
from medshare.keys.passphrase import Ask, Passphrase, existing_passphrase, new_passphrase, remember
from medshare.station import Identity, Station

Opened = TypeVar("Opened")

TRIES: Final = 3
"""How often a person at a terminal may type a passphrase before the command gives up."""

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read the passphrase from FILE, which only you may read.",
)


def terminal() -> Ask | None:
    """Return the way to ask the person at the terminal, or None where there is none."""
    return getpass.getpass if sys.stdin.isatty() else None


def unlock_identity(station: Station, settings: Settings, *, file: Path | None) -> Identity:
    """Return the secret half of *station*; *file* is what `--passphrase-file` names."""
    return _unlock(settings, station.unlock, file)


def unlock_keystore(station: Station, settings: Settings, *, file: Path | None) -> KeyStore:
    """Return the keystore of *station*; *file* is what `--passphrase-file` names."""
    return _unlock(settings, station.keystore, file)


def _unlock(settings: Settings, open_with: Callable[[bytes], Opened], file: Path | None) -> Opened:
    """Open with the passphrase; whoever types it may try again, after a growing pause."""
    sources = settings.passphrase_sources(file=file, ask=terminal())
    for attempt in range(1, TRIES + 1):
        passphrase = existing_passphrase(sources)
        try:
            opened = open_with(passphrase.value)
        except PassphraseError as error:
            if not passphrase.typed or attempt == TRIES:
                raise
            click.echo(f"medshare: {error.message}", err=True)
            time.sleep(seconds_to_wait(attempt))
        else:
            remember(sources, passphrase)
            return opened
    raise PassphraseError("the keystore does not open")


def choose_passphrase(
    settings: Settings, make: Callable[[Passphrase], Opened], *, file: Path | None
) -> Opened:
    """Return what *make* makes with a new passphrase, which the keyring then learns."""
    sources = settings.passphrase_sources(file=file, ask=terminal())
    passphrase = new_passphrase(sources)
    made = make(passphrase)
    remember(sources, passphrase)
    return made
