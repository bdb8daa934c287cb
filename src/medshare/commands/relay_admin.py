"""`medshare relay admin`: name, once and at its machine, who administers a relay."""

import sys
import time
from pathlib import Path

import click

from medshare.commands.admin_place import administrators_in
from medshare.commands.options import Mode, examples, output_options
from medshare.errors import CancelledError, UsageError

_data = click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder of the relay.",
)


@click.group(
    epilog=examples(
        "medshare relay admin init --data /srv/relay --need 2 anna.card ben.card cleo.card"
    )
)
def admin() -> None:
    """Name who administers this relay; see medshare admin."""


@admin.command(
    epilog=examples(
        """
        medshare relay admin init --data /srv/relay --need 2 anna.card ben.card cleo.card
        """
    )
)
@click.argument("cards", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--need", type=click.IntRange(2), required=True, help="How many must approve.")
@click.option("--yes", is_flag=True, help="Name them without asking, for scripts.")
@_data
@output_options
def init(cards: tuple[Path, ...], need: int, yes: bool, data: Path, mode: Mode) -> None:
    """Name those with CARDS to administer the relay, NEED of them together.

    They are enrolled. From then on nobody enrolls or removes a station here alone, and only they
    can name others. A certificate that follows a card in its file says which person it is of:
    no person counts twice.
    """
    from medshare.commands import admin_views
    from medshare.relay.folder import DataFolder
    from medshare.relay.founding import found
    from medshare.trust.quorum import Member, require_workable

    named = administrators_in(cards)
    require_workable([Member(one.card.station, one.person) for one in named], need)
    if not yes:
        _confirm([(one.card.name, one.card.fingerprint) for one in named], json=mode.json)
    charter = found(DataFolder(data), named, need=need, now=int(time.time()))
    record = admin_views.charter_record(charter, {}, event="administrators_named")
    _tell(mode, record, admin_views.charter_lines(charter, {}))


@admin.command(epilog=examples("medshare relay admin show --data /srv/relay"))
@_data
@output_options
def show(data: Path, mode: Mode) -> None:
    """Show who administers the relay."""
    from medshare.commands import admin_views
    from medshare.relay.admin_store import AdminStore

    store = AdminStore(data, data / "audit")
    charter = store.charter()
    if charter is None:
        raise UsageError(
            "nobody was named to administer this relay", hint="medshare relay admin init --help"
        )
    settings = store.settings()
    record = admin_views.charter_record(charter, settings, event="administration")
    _tell(mode, record, admin_views.charter_lines(charter, settings))


def _confirm(cards: list[tuple[str, str]], *, json: bool) -> None:
    from medshare.commands.text import visible

    if json or not sys.stdin.isatty():
        raise UsageError(
            "administrators are named only after their fingerprints were compared, and nobody is "
            "here to ask",
            hint="compare the fingerprints of their cards, then add --yes",
        )
    for name, fingerprint in cards:
        click.echo(f"  {visible(name):<30} {fingerprint}", err=True)
    if not click.confirm("Are these the fingerprints that they read to you?", err=True):
        raise CancelledError("nobody was named, and nothing was changed")


def _tell(mode: Mode, record: dict[str, object], lines: list[str]) -> None:
    import json

    if mode.json:
        click.echo(json.dumps(record))
    elif not mode.quiet:
        for line in lines:
            click.echo(line)
    sys.stdout.flush()
