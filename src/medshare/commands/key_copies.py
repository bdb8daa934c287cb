"""`medshare keys backups`: which backups were made, and which of them should be destroyed."""

import time
from typing import Any

import click

from medshare.commands.opening import open_station
from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose


@click.command(
    epilog=examples(
        """
        medshare keys backups
        medshare keys backups --destroyed 5f3a      # you have destroyed it
        """
    )
)
@click.option("--destroyed", metavar="ID", help="Note that this backup was destroyed.")
@output_options
def backups(destroyed: str | None, mode: Mode) -> None:
    """List the backups that were made here, and the keys that they should not hold any more.

    A key that was destroyed or revoked is still in each backup from before. Copies that
    were made by other means are not known here. No passphrase is needed.
    """
    from medshare.commands import key_copies_view
    from medshare.station.backups import forget_backup, known_backups
    from medshare.station.key_book import KeyBook

    _, station = open_station()
    book = KeyBook(station.home)
    if destroyed is not None:
        forget_backup(book, destroyed.lower(), now=int(time.time()))
    found = known_backups(book.entries())
    record: dict[str, Any] = key_copies_view.record(found)
    with choose(mode) as out:
        out.result(record, lambda: key_copies_view.listing(found))
