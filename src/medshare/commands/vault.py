"""`medshare vault`: sealed parcels at rest on this station."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medshare.audit.entries import Act
from medshare.commands.opening import match_parcel, open_station
from medshare.commands.options import Mode, Span, examples, output_options
from medshare.commands.output import choose
from medshare.commands.unlock import passphrase_option, unlock_identity
from medshare.errors import IntegrityError, MedshareError, UsageError
from medshare.ids import ParcelId

if TYPE_CHECKING:
    from medshare.config import Settings
    from medshare.station import Station
    from medshare.vault.store import Vault


@click.group(
    epilog=examples(
        """
        medshare receive --keep --output inbox/        # what arrives stays sealed here as well
        medshare vault add ct_head/ --tier sensitive
        medshare vault list
        medshare vault open 3f2a9c1b --output out/
        """
    )
)
def vault() -> None:
    """Keep sealed parcels at rest, apart from the keys.

    The vault is the folder MEDSHARE_VAULT. A parcel lies in it in the very bytes in which
    it travelled; its key is wrapped under the key of its tier, so that a rotation of keys
    moves no pixels.
    """


def vault_of(settings: "Settings", station: "Station", *, make: bool = False) -> "Vault":
    """Return the vault of *station*; raise UsageError when there is none, unless *make* is on."""
    from medshare.config import vault_folder
    from medshare.vault.store import Vault

    root = vault_folder(settings, station.id)
    return Vault.make(root, station) if make else Vault.open(root, station)


@vault.command("list")
@output_options
def list_(mode: Mode) -> None:
    """List what is in the vault; no key is needed, and no name of a file shown."""
    from medshare.commands import vault_views
    from medshare.vault.listing import list_vault

    found = list_vault(vault_of(*open_station()))
    with choose(mode) as out:
        out.result(vault_views.listing_record(found), lambda: vault_views.listing(found))


@vault.command(
    epilog=examples(
        """
        medshare vault add ct_head/
        medshare vault add mr/ report.pdf --tier restricted --note 'trial 7'
        """
    )
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--tier", default="routine", show_default=True, help="How sensitive it is.")
@click.option("--note", default="", metavar="TEXT", help="A few words, sealed with the files.")
@click.option(
    "--delete-after",
    "keep_for",
    type=Span(),
    metavar="TIME",
    help="When it is to be erased (30d, 10y); else what its tier says.",
)
@passphrase_option
@output_options
def add(
    paths: tuple[Path, ...],
    tier: str,
    note: str,
    keep_for: int | None,
    passphrase_file: Path | None,
    mode: Mode,
) -> None:
    """Seal files and folders into the vault, for this station alone.

    The files themselves stay where they are.
    """
    from medshare.commands import vault_views
    from medshare.sharing.send import SendOptions
    from medshare.vault.keeping import add_to_vault

    settings, station = open_station()
    place = vault_of(settings, station, make=True)
    identity = unlock_identity(station, settings, file=passphrase_file)
    options = SendOptions(tier=tier, note=note, keep_for=keep_for or 0)
    with choose(mode) as out:
        result = add_to_vault(place, paths, identity=identity, options=options, on_event=out.event)
    out.result(
        vault_views.added_record(result, tier, place), lambda: vault_views.added(result, tier)
    )


@vault.command(
    "open",
    epilog=examples(
        """
        medshare vault open 3f2a9c1b --output out/    # by the start of its id
        """
    ),
)
@click.argument("parcel")
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the files go; it is made if need be.",
)
@passphrase_option
@output_options
def open_(parcel: str, output: Path, passphrase_file: Path | None, mode: Mode) -> None:
    """Open PARCEL from the vault into a folder; the vault keeps it.

    Content that was sealed anew after an incident is found under its first id as well.
    """
    from medshare.commands import vault_views
    from medshare.vault.opening import open_from_vault

    settings, station = open_station()
    place = vault_of(settings, station)
    found = _find(place, parcel)
    identity = unlock_identity(station, settings, file=passphrase_file)
    with choose(mode) as out:
        opened = open_from_vault(place, found, identity=identity, output=output, on_event=out.event)
    out.result(vault_views.opened_record(opened), lambda: vault_views.opened(opened))


@vault.command(
    epilog=examples(
        """
        medshare vault verify                 # all of it, chunk by chunk
        medshare vault verify 3f2a9c1b
        """
    )
)
@click.argument("parcels", nargs=-1)
@passphrase_option
@output_options
def verify(parcels: tuple[str, ...], passphrase_file: Path | None, mode: Mode) -> None:
    """Check that what is in the vault is whole, unaltered, and opens."""
    from medshare.commands import vault_views
    from medshare.vault.listing import verify_in_vault

    settings, station = open_station()
    place = vault_of(settings, station)
    chosen = [_find(place, text) for text in parcels] or list(place.parcels())
    identity = unlock_identity(station, settings, file=passphrase_file)
    bad = []
    for parcel in chosen:
        out = choose(mode)
        try:
            with out:
                report = verify_in_vault(place, parcel, identity, on_event=out.event)
            problems = [f"{one.where}: {one.problem}" for one in report.faults]
        except MedshareError as error:
            problems = [error.message]
        if problems:
            bad.append(parcel.hex())
        out.result(*vault_views.verified(parcel, problems))
    if not chosen:
        choose(mode).result({"event": "vault", "parcels": []}, lambda: "the vault is empty")
    if bad:
        raise IntegrityError(f"not as it should be: {', '.join(bad[:8])}")


@vault.command(
    epilog=examples(
        """
        medshare vault remove 3f2a9c1b --yes
        """
    )
)
@click.argument("parcel")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_options
def remove(parcel: str, yes: bool, mode: Mode) -> None:
    """Destroy PARCEL in the vault, for good."""
    place = vault_of(*open_station())
    found = _find(place, parcel)
    if not yes:
        _confirm(f"Destroy parcel {found.hex()}?", json=mode.json)
    place.destroy(found)
    with choose(mode) as out:
        record = {"event": "vault_removed", "parcel": found.hex()}
        out.result(record, lambda: f"parcel {found.hex()} is destroyed")


@vault.command(
    epilog=examples(
        """
        medshare vault forget /mnt/old-disk/vault --yes
        """
    )
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_options
def forget(folder: Path, yes: bool, mode: Mode) -> None:
    """Let the station forget a vault that is gone: keys that it needs may then be destroyed."""
    from medshare.station.vaults import forget_vault, registered_vaults

    _, station = open_station()
    folder = folder.absolute()
    if folder not in registered_vaults(station.home):
        known = ", ".join(str(one) for one in registered_vaults(station.home)) or "none"
        raise UsageError(f"{folder} is none of the vaults of this station", hint=f"known: {known}")
    if not yes:
        _confirm(f"Forget {folder}, with all that is in it?", json=mode.json)
    station.record.note(Act.FORGET)
    forget_vault(station.home, folder)
    with choose(mode) as out:
        record = {"event": "vault_forgotten", "folder": str(folder), "at": int(time.time())}
        out.result(record, lambda: f"{folder} is forgotten; its files are as they were")


def _confirm(question: str, *, json: bool) -> None:
    """Ask the person at the terminal; raise UsageError where nobody can be asked."""
    if json or not sys.stdin.isatty():
        raise UsageError("nobody is here to ask", hint="if you are sure, add --yes")
    click.confirm(question, abort=True, err=True)


def _find(place: "Vault", text: str) -> ParcelId:
    """Return the parcel with the id *text*, or its beginning; also one that was sealed anew."""
    from medshare.vault.listing import find_in_vault
    from medshare.vault.origin import read_origin

    known: dict[ParcelId, Any] = dict.fromkeys(place.parcels())
    for parcel in tuple(known):
        origin = read_origin(place.folder(parcel))
        if origin is not None:
            known[origin.parcel] = known[origin.replaced] = None
    return find_in_vault(place, match_parcel(text, list(known)))
