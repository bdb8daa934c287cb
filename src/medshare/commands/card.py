"""`medshare card`: give the public card of this station to others, and trust theirs."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.commands.text import visible
from medshare.commands.unlock import passphrase_option
from medshare.errors import CancelledError, LimitError, UsageError
from medshare.station import Contact, Station
from medshare.trust.card import MAX_CARD_FILE, Card, armor, dearmor, parse_card

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

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
        medshare card request --output me.csr       # for an authority to certify
        medshare card attach me.pem                 # the certificate that came back
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

    The certificate of an authority follows, if there is one. It holds no secret. Whoever
    imports it compares its fingerprint with you by telephone: medshare card show.
    """
    from medshare.disk.atomic import read_file, write_file

    station = _open_station()
    text = armor(station.card) + _certificates_of(station)
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


def _certificates_of(station: Station) -> str:
    """Return the certificates of this station as text; nothing when it has none for its card."""
    from medshare.authority.held import Credentials
    from medshare.trust.bundle import write_blocks
    from medshare.trust.credential import card_digest, certificate_blocks, parse_credential

    chain = Credentials(station).of(station.id)
    if not chain or parse_credential(chain[0]).card_digest != card_digest(station.card):
        return ""
    return write_blocks(certificate_blocks(chain)).decode()


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
    is signed by the old keys. A certificate in the same file is kept with the card.
    """
    from medshare.commands import station_views

    station = _open_station()
    octets = _read_input(file)
    found = parse_card(dearmor(octets))
    chain = _certificates_in(octets, found)
    known = station.contacts.of(found.station)
    now = int(time.time())
    contact = station.contacts.preview(found, name=name, now=now)
    if known is None and not yes:
        _confirm(contact, json=mode.json)
    contact = station.contacts.add(found, name=name, now=now)
    change = _change(known, found)
    if chain:
        from medshare.authority.held import Credentials

        Credentials(station).attach(chain, found)
    with choose(mode) as out:
        record = station_views.contact_record(contact, event="card_imported")
        record["credential"], vetted = _vetted(station, contact, now)
        before = "" if known is None else known.name
        out.result(
            {**record, "change": change},
            lambda: station_views.imported(contact, change, vetted, before),
        )


def _vetted(station: Station, contact: Contact, now: int) -> tuple[dict[str, Any] | None, str]:
    """Return what is known of the credential of *contact*, for programs and for people."""
    from medshare.commands import credential_views

    standing = credential_views.standings(station, [contact], now=now).get(contact.station)
    return credential_views.standing_record(standing), credential_views.standing_line(standing)


def _certificates_in(octets: bytes, found: Card) -> tuple["Certificate", ...]:
    """Return the certificates that follow a card, which must be for that card."""
    if b"-----BEGIN CERTIFICATE-----" not in octets:
        return ()
    from medshare.trust.bundle import read_blocks
    from medshare.trust.credential import load_certificates, parse_credential, require_bound

    chain = load_certificates(read_blocks(octets, what="the card"))
    require_bound(parse_credential(chain[0]), found)
    return chain


def _change(known: Contact | None, found: Card) -> str:
    """Say what an import changed: `new`, `rotated` or `none`."""
    if known is None:
        return "new"
    return "rotated" if len(found.generations) > len(known.card.generations) else "none"


def _read_input(file: Path, *, what: str = "the card") -> bytes:
    from medshare.disk.atomic import read_file

    if str(file) != "-":
        return read_file(file, limit=_MAX_INPUT, what=what)
    octets = sys.stdin.buffer.read(_MAX_INPUT + 1)
    if len(octets) > _MAX_INPUT:
        raise LimitError(f"{what} is larger than {_MAX_INPUT} bytes")
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
    from medshare.commands import credential_views, station_views

    station = _open_station()
    contacts = station.contacts.all()
    known = credential_views.standings(station, contacts, now=int(time.time()))
    records = credential_views.records_of(known)
    with choose(mode) as out:
        out.result(
            {
                "event": "contacts",
                "contacts": [
                    station_views.contact_record(one) | {"credential": records.get(one.station)}
                    for one in contacts
                ],
            },
            lambda: station_views.contacts(contacts, credential_views.lines_of(known)),
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
            record = station_views.contact_record(contact, event="contact")
            record["credential"], vetted = _vetted(station, contact, int(time.time()))
            out.result(record, lambda: station_views.one_contact(contact, vetted))


@card.command(epilog=examples("medshare card distrust dr-wang"))
@click.argument("name")
@output_options
def distrust(name: str, mode: Mode) -> None:
    """Trust the contact NAME no longer: nothing is sent to it, or taken from it.

    For a station that was lost or stolen. It takes effect at once, here alone; a newer card
    of that station does not bring the trust back, `medshare card trust` does.
    """
    station = _open_station()
    contact = station.contacts.distrust(name, now=int(time.time()))
    _show_change(contact, "is not trusted here any more", mode)


@card.command(epilog=examples("medshare card trust dr-wang"))
@click.argument("name")
@output_options
def trust(name: str, mode: Mode) -> None:
    """Trust the contact NAME again, after it was distrusted."""
    contact = _open_station().contacts.trust_again(name)
    _show_change(contact, "is trusted again", mode)


def _show_change(contact: Contact, sentence: str, mode: Mode) -> None:
    from medshare.commands import station_views

    record = station_views.contact_record(contact, event="contact_changed")
    with choose(mode) as out:
        out.result(record, lambda: f"{visible(contact.name)} {sentence}")


@card.command(epilog=examples("medshare card request --output me.csr"))
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the request goes.",
)
@passphrase_option
@output_options
def request(output: Path, passphrase_file: Path | None, mode: Mode) -> None:
    """Write a request that an authority certifies: whose station this is.

    It is a PKCS#10 request, signed by this station, with its card beside it. Take it to the
    authority together with your papers and the fingerprint: medshare card show.
    """
    from medshare.authority.request import make_request
    from medshare.commands import station_views
    from medshare.commands.unlock import unlock_identity
    from medshare.config import load_settings
    from medshare.disk.atomic import write_file

    settings = load_settings()
    station = Station.open(settings.home)
    identity = unlock_identity(station, settings, file=passphrase_file)
    if output.exists():
        raise UsageError(f"{output} exists; it is not overwritten")
    write_file(output, make_request(identity), mode=0o644, what="the request")
    record = {
        "event": "certificate_requested",
        "station": station.id.hex(),
        "fingerprint": station.card.fingerprint,
        "file": str(output),
    }
    with choose(mode) as out:
        out.result(record, lambda: station_views.requested(station, output))


@card.command(
    epilog=examples(
        """
        medshare card attach me.pem        # ours: from now on it travels with the card
        medshare card attach dr-wang.pem   # of a contact, if it did not come with the card
        """
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@output_options
def attach(file: Path, mode: Mode) -> None:
    """Keep the certificate in FILE (PEM) with the card for which it was issued.

    The person's certificate comes first; those of authorities between it and one that others
    trust may follow.
    """
    from medshare.authority.held import Credentials
    from medshare.commands import credential_views
    from medshare.trust.bundle import read_blocks
    from medshare.trust.credential import load_certificates

    octets = _read_input(file, what="the certificate")
    chain = load_certificates(read_blocks(octets, what="the certificate"))
    if not chain:
        raise UsageError(f"{file} holds no certificate")
    credentials = Credentials(_open_station())
    found = credentials.card_for(chain)
    credential = credentials.attach(chain, found)
    standing = credentials.standing(found.station, found, now=int(time.time()))
    record = {
        "event": "certificate_attached",
        "station": found.station.hex(),
        "credential": credential_views.standing_record(standing),
    }
    with choose(mode) as out:
        out.result(record, lambda: credential_views.attached(credential, standing))
