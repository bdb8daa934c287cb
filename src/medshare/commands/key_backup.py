"""`medshare keys backup`, `release`, `restore` and `adopt`: what brings a station back."""

import sys
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from medshare.audit import entries
from medshare.audit.entries import Act, Detail
from medshare.commands.opening import open_station
from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.commands.text import visible
from medshare.commands.unlock import (
    choose_passphrase,
    make_in_token,
    passphrase_option,
    token_uri,
    unlock_identity,
    unlock_keystore,
)
from medshare.errors import CancelledError, UsageError

if TYPE_CHECKING:
    from medshare.config import Settings
    from medshare.keys.backup import Backup
    from medshare.keys.material import Material
    from medshare.station import Station
    from medshare.trust.card import Card

_MAX_SHARE_FILE: Final = 4096


@click.command(
    epilog=examples(
        """
        medshare keys backup --to anna.card --to ben.card --to chen.card --output keys.backup
        medshare keys backup --to anna --to ben --threshold 2 --output keys.backup
        """
    )
)
@click.option(
    "--to",
    "custodians",
    multiple=True,
    required=True,
    metavar="CARD",
    help="A custodian: a contact, or the file of a card.  Once for each.",
)
@click.option(
    "--threshold",
    type=click.IntRange(2, 16),
    help="How many custodians are needed to open it.  [default: more than half]",
)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where to."
)
@passphrase_option
@output_options
def backup(
    custodians: tuple[str, ...],
    threshold: int | None,
    output: Path,
    passphrase_file: Path | None,
    mode: Mode,
) -> None:
    """Seal all keys of this station to several custodians, some of whom can open it together.

    One custodian alone opens nothing, nor does whoever finds the file. Make a new backup
    after each rotation, and destroy the old one: it still holds the keys of then, as
    `medshare keys backups` says. Keys in a token cannot leave it: docs/hsm.md says what to do.
    """
    from medshare.commands import key_views
    from medshare.disk.atomic import write_file
    from medshare.keys.backup import parse_backup

    settings, station = open_station()
    cards = [_custodian(station, name) for name in custodians]
    if output.exists():
        raise UsageError(f"{output} exists; it is not overwritten")
    needed = len(cards) // 2 + 1 if threshold is None else threshold
    data = _sealed(station, settings, cards, needed, file=passphrase_file)
    _note(station, parse_backup(data), cards, needed)
    write_file(output, data, what="the backup")
    with choose(mode) as out:
        out.result(
            key_views.backup_record(station, cards, needed, output),
            lambda: key_views.backed_up(cards, needed, output),
        )


def _note(station: "Station", made: "Backup", cards: "Sequence[Card]", needed: int) -> None:
    """Put into record and history that a backup is made, before it is written."""
    from medshare.station.backups import note_backup
    from medshare.station.key_book import KeyBook

    station.record.note(
        Act.BACKUP,
        parties=[one.station for one in cards],
        details={Detail.DIGEST: sha256(made.id).digest(), Detail.COUNT: needed},
    )
    who = ", ".join(one.name for one in cards)
    note_backup(KeyBook(station.home), made.id, now=int(time.time()), note=f"{needed} of {who}")


def _sealed(
    station: "Station",
    settings: "Settings",
    cards: "Sequence[Card]",
    needed: int,
    *,
    file: Path | None,
) -> bytes:
    """Return the backup of the keystore."""
    from medshare.keys.backup import make_backup
    from medshare.keys.file import FileKeyStore
    from medshare.station.identity import identity_of
    from medshare.suites.base import SYSTEM_RANDOM

    if station.backend == "pkcs11":
        raise UsageError(
            "keys in a token cannot leave it, so there is nothing that could be backed up here",
            hint="use the backup of the token itself; docs/hsm.md says what else is needed",
        )
    store = unlock_keystore(station, settings, file=file)
    if not isinstance(store, FileKeyStore):
        raise TypeError(f"a keystore of kind {store.backend} without secrets")
    return make_backup(
        store.secrets(),
        station.card,
        identity_of(station.card, store).signers,
        cards,
        threshold=needed,
        created=int(time.time()),
        random=SYSTEM_RANDOM,
    )


def _custodian(station: "Station", name: str) -> "Card":
    """Return the card in the file *name*, or that of the contact called so."""
    return _read_card(Path(name)) if Path(name).is_file() else station.contacts.named(name).card


def _read_card(file: Path) -> "Card":
    from medshare.disk.atomic import read_file
    from medshare.trust.card import MAX_CARD_FILE, dearmor, parse_card

    octets = read_file(file, limit=MAX_CARD_FILE * 3 // 2, what="the card")
    return parse_card(dearmor(octets))


@click.command(
    epilog=examples(
        """
        medshare keys release st-mary.backup --output share.words
        """
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where to."
)
@click.option("--yes", is_flag=True, help="Do not ask, for scripts.")
@passphrase_option
@output_options
def release(file: Path, output: Path, yes: bool, passphrase_file: Path | None, mode: Mode) -> None:
    """Take this station's share out of the backup in FILE, as a custodian.

    Whoever holds enough shares can read everything that was sent to the station whose
    backup it is. Hand yours over only to somebody whom you have recognised.
    """
    from medshare.commands import key_views

    settings, station = open_station()
    found = _read_backup(file)
    if output.exists():
        raise UsageError(f"{output} exists; it is not overwritten")
    identity = unlock_identity(station, settings, file=passphrase_file)
    share = found.share_for(station.id, identity.openers)
    known = station.contacts.of(found.card.station)
    called = None if known is None else known.name
    if not yes:
        _confirm_release(found, called)
    about, digest = entries.station(found.card.station), sha256(found.id).digest()
    station.record.note(Act.BACKUP, about, details={Detail.DIGEST: digest})
    _write_share(output, found, share)
    with choose(mode) as out:
        out.result(
            key_views.release_record(found, output, called),
            lambda: key_views.released(found, output, called),
        )


def _confirm_release(found: "Backup", called: str | None) -> None:
    """Let the custodian look at whose keys they are; raise unless that is answered with yes."""
    if not sys.stdin.isatty():
        raise UsageError(
            "a share is released only by somebody who has looked at whose it is",
            hint="run this at a terminal, or add --yes",
        )
    whose = visible(called) if called else f"{visible(found.card.name)}, not a contact of yours"
    click.echo(f"  keys of      {whose}", err=True)
    click.echo(f"  fingerprint  {found.card.fingerprint}", err=True)
    click.echo("Whoever gets enough shares can read all that was sent to this station.", err=True)
    if not click.confirm("Have you recognised who asks you for it?", err=True):
        raise CancelledError("nothing was released")


def _write_share(output: Path, found: "Backup", share: str) -> None:
    from medshare.disk.atomic import write_file

    name = visible(found.card.name)
    text = (
        f"# One share of the backup {found.id.hex()} of the keys of {name}.\n"
        f"# {found.threshold} of {len(found.custodians)} such shares open it.\n"
        f"{share}\n"
    )
    write_file(output, text.encode(), what="the share")


@click.command(
    epilog=examples(
        """
        medshare keys restore keys.backup --share anna.words --share chen.words
        MEDSHARE_HOME=/srv/new medshare keys restore keys.backup --share a --share b
        """
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--share",
    "share_files",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    metavar="FILE",
    help="What a custodian has released.  Once for each.",
)
@click.option(
    "--keystore",
    type=click.Choice(["file", "keyring"]),
    default="file",
    show_default=True,
    help="Where the keys shall live from now on.",
)
@passphrase_option
@output_options
def restore(
    file: Path,
    share_files: tuple[Path, ...],
    keystore: str,
    passphrase_file: Path | None,
    mode: Mode,
) -> None:
    """Bring a station back from the backup in FILE, with the shares of enough custodians.

    In an empty folder the whole station comes back, without its parcels and contacts; in a
    folder whose keystore was lost, the keystore alone. A keystore that is there is never
    overwritten.
    """
    from medshare.commands import key_views
    from medshare.config import load_settings

    settings = load_settings()
    found = _read_backup(file)
    material = found.open([_read_share(one) for one in share_files])
    station = _brought_back(found, material, settings, keystore, file=passphrase_file)
    with choose(mode) as out:
        out.result(
            key_views.restore_record(station, found.created),
            lambda: key_views.restored(station, found.created),
        )


def _brought_back(
    found: "Backup", material: "Material", settings: "Settings", keystore: str, *, file: Path | None
) -> "Station":
    from medshare.keys.file import FileBackend
    from medshare.keys.os_keyring import KeyringBackend
    from medshare.station import Station

    def make(backend: FileBackend | KeyringBackend) -> Station:
        return Station.restore(
            settings.home,
            found.card,
            lambda folder: backend.create(folder, created=found.created, material=material),
            generations=len(material.generations),
        )

    if keystore == "keyring":
        return make(KeyringBackend())
    return choose_passphrase(
        settings, lambda passphrase: make(FileBackend(passphrase.value)), file=file
    )


@click.command(
    epilog=examples(
        """
        medshare keys adopt st-mary.card --keystore pkcs11:token=medshare
        """
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--keystore", required=True, metavar="URI", help="The token that holds the keys.")
@passphrase_option
@output_options
def adopt(file: Path, keystore: str, passphrase_file: Path | None, mode: Mode) -> None:
    """Bring a station back whose keys are in a token, from the newest card of it in FILE.

    Anybody to whom it was given has the card. Parcels and contacts come from a backup, or
    not at all.
    """
    from medshare.commands import key_views
    from medshare.config import load_settings
    from medshare.keys.pkcs11_adopt import adopt as adopt_keys
    from medshare.station import Station

    settings = load_settings()
    card = _read_card(file)
    station = make_in_token(
        settings,
        token_uri(keystore),
        lambda backend: Station.restore(
            settings.home,
            card,
            lambda folder: adopt_keys(backend, card, folder),
            generations=len(card.generations),
        ),
        file=passphrase_file,
    )
    with choose(mode) as out:
        out.result(
            key_views.restore_record(station, card.current.created),
            lambda: key_views.restored(station, card.current.created),
        )


def _read_backup(file: Path) -> "Backup":
    from medshare.disk.atomic import read_file
    from medshare.keys.backup import MAX_BACKUP, parse_backup

    return parse_backup(read_file(file, limit=MAX_BACKUP, what="the backup"))


def _read_share(file: Path) -> str:
    """Return the words in *file*; lines that begin with # are for people."""
    from medshare.disk.atomic import read_file
    from medshare.keys.shares import check as check_share

    text = read_file(file, limit=_MAX_SHARE_FILE, what="a share").decode("utf-8", "replace")
    return check_share(" ".join(line for line in text.splitlines() if not line.startswith("#")))
