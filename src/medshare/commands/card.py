"""`medshare card`: give the public card of this station to others, and trust theirs."""

import sys
import time
from pathlib import Path
from typing import Final

import click

from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.commands.text import visible
from medshare.errors import CancelledError, LimitError, UsageError
from medshare.station import Contact, Station
from medshare.trust.card import MAX_CARD_FILE, Card, armor, dearmor, parse_card

_MAX_INPUT: Final = MAX_CARD_FILE * 3 // 2
_ARMORED: Final = b"-----BEGIN MEDSHARE CARD-----"


def _open_station() -> Station:
    from medshare.config import load_settings

    return Station.open(load_settings().home)


@click.group(
    epilog=examples(
        """
        medshare card export --output st-mary.card
        medshare card import dr-wang.card --name dr-wang
        medshare card list
        medshare card show dr-wang
        """
    )
)
def card() -> None:
    """Exchange public cards: who this station is, and whom it trusts."""


@card.command(
    epilog=examples(
        """
        medshare card export > st-mary.card
        medshare card export --output st-mary.card
        """
    )
)
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE, not stdout."
)
def export(output: Path | None) -> None:
    """Print the public card of this station, as text to send by mail.

    It holds no secret. Whoever imports it compares its fingerprint with you by telephone:
    medshare card show.
    """
    from medshare.disk.atomic import read_file, write_file

    text = armor(_open_station().card)
    if output is None:
        click.echo(text, nl=False)
        return
    if output.exists():
        # Only an older card may be in the way: a slip of the hand must not cost a study.
        try:
            older = read_file(output, limit=_MAX_INPUT, what="the file in the way")
        except LimitError:
            older = b""
        if not older.startswith(_ARMORED):
            raise UsageError(f"{output} exists, and is not a card; it is not overwritten")
    write_file(output, text.encode(), mode=0o644, what="the card")


@card.command(
    "import",
    epilog=examples(
        """
        medshare card import dr-wang.card                # shows the fingerprint, and asks
        medshare card import dr-wang.card --name wang
        ssh b medshare card export | medshare card import - --yes
        """
    ),
)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--name", metavar="NAME", help="What to call it here.  [default: from its card]")
@click.option("--yes", is_flag=True, help="Trust it without asking, for scripts.")
@output_options
def import_(file: Path, name: str | None, yes: bool, mode: Mode) -> None:
    """Trust the card in FILE (or - for stdin), after comparing its fingerprint.

    The fingerprint is what counts: a name proves nothing. Read it to each other by
    telephone. A newer card of a station that is trusted already needs no comparison: it
    is signed by the old keys.
    """
    from medshare.commands import station_views

    station = _open_station()
    found = parse_card(dearmor(_read_input(file)))
    known = station.contacts.of(found.station)
    now = int(time.time())
    contact = station.contacts.preview(found, name=name, now=now)
    if known is None and not yes:
        _confirm(contact, json=mode.json)
    contact = station.contacts.add(found, name=name, now=now)
    change = _change(known, found)
    with choose(mode) as out:
        out.result(
            {**station_views.contact_record(contact, event="card_imported"), "change": change},
            lambda: station_views.imported(contact, change),
        )


def _change(known: Contact | None, found: Card) -> str:
    """Say what an import changed: `new`, `rotated` or `none`."""
    if known is None:
        return "new"
    return "rotated" if len(found.generations) > len(known.card.generations) else "none"


def _read_input(file: Path) -> bytes:
    from medshare.disk.atomic import read_file

    if str(file) != "-":
        return read_file(file, limit=_MAX_INPUT, what="the card")
    octets = sys.stdin.buffer.read(_MAX_INPUT + 1)
    if len(octets) > _MAX_INPUT:
        raise LimitError(f"the card is larger than {_MAX_INPUT} bytes")
    return octets


def _confirm(contact: Contact, *, json: bool) -> None:
    """Ask the person at the terminal; raise UsageError where nobody can be asked."""
    if json or not sys.stdin.isatty():
        raise UsageError(
            "a card is trusted only after its fingerprint was compared, and nobody is here to ask",
            hint=f"its fingerprint is {contact.card.fingerprint}; if that is right, add --yes",
        )
    click.echo(f"  card of      {visible(contact.card.name)}", err=True)
    click.echo(f"  fingerprint  {contact.card.fingerprint}", err=True)
    click.echo(f"  called here  {visible(contact.name)}", err=True)
    click.echo("Let its owner read you the fingerprint, by telephone.", err=True)
    if not click.confirm("Is it the same?", err=True):
        raise CancelledError("the card is not trusted, and nothing was changed")


@card.command("list")
@output_options
def list_(mode: Mode) -> None:
    """List the contacts of this station."""
    from medshare.commands import station_views

    contacts = _open_station().contacts.all()
    with choose(mode) as out:
        out.result(
            {
                "event": "contacts",
                "contacts": [station_views.contact_record(one) for one in contacts],
            },
            lambda: station_views.contacts(contacts),
        )


@card.command()
@click.argument("name", required=False)
@output_options
def show(name: str | None, mode: Mode) -> None:
    """Show the card of this station, or of the contact NAME, with its fingerprint."""
    from medshare.commands import station_views

    station = _open_station()
    with choose(mode) as out:
        if name is None:
            out.result(
                station_views.station_record(station, event="station"),
                lambda: station_views.own(station),
            )
        else:
            contact = station.contacts.named(name)
            out.result(
                station_views.contact_record(contact, event="contact"),
                lambda: station_views.one_contact(contact),
            )
