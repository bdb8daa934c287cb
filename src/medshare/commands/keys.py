"""`medshare keys`: what keys there are, whether they work, and their backup."""

import time
from pathlib import Path

import click

from medshare.commands.key_backup import adopt, backup, release, restore
from medshare.commands.key_copies import backups
from medshare.commands.keys_factor import keys_second_factor
from medshare.commands.opening import open_station
from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.commands.unlock import passphrase_option, unlock_keystore


@click.group(
    epilog=examples(
        """
        medshare keys list
        medshare keys check                       # each of them is used once
        medshare keys backup --to anna --to ben --to chen --output keys.backup
        medshare keys backups                     # which should be destroyed by now
        """
    )
)
def keys() -> None:
    """Show, check, back up and restore the keys of this station."""


keys.add_command(adopt)
keys.add_command(backup)
keys.add_command(backups)
keys.add_command(release)
keys.add_command(restore)
keys.add_command(keys_second_factor)


@keys.command("list")
@passphrase_option
@output_options
def list_(passphrase_file: Path | None, mode: Mode) -> None:
    """List the keys of this station: their age, where they live, and when they are due."""
    from medshare.commands import key_views

    settings, station = open_station()
    store = unlock_keystore(station, settings, file=passphrase_file)
    listing = key_views.listing_of(station, store, now=int(time.time()))
    with choose(mode) as out:
        out.result(key_views.listing_record(listing), lambda: key_views.listing(listing))


@keys.command(
    epilog=examples(
        """
        medshare keys check
        medshare keys check --force-last-pin-try   # after looking the PIN up
        """
    )
)
@click.option(
    "--force-last-pin-try",
    is_flag=True,
    help="Try the PIN of a token even if it locks itself should that be wrong.",
)
@passphrase_option
@output_options
def check(force_last_pin_try: bool, passphrase_file: Path | None, mode: Mode) -> None:
    """Use every key of this station once: sign, open, wrap.

    A right PIN gives a token all its tries back.
    """
    from medshare.commands import key_views
    from medshare.station.identity import identity_of

    settings, station = open_station()
    store = unlock_keystore(
        station, settings, file=passphrase_file, force_last_try=force_last_pin_try
    )
    identity_of(station.card, store)
    used = key_views.use_each(store)
    with choose(mode) as out:
        out.result(
            {"event": "keys_checked", "backend": store.backend, "keys": used},
            lambda: key_views.checked(store.backend, used),
        )
