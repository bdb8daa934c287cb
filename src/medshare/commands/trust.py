"""`medshare trust`: which registration authorities this station believes."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from medshare.commands.options import Mode, Span, examples, output_options
from medshare.commands.output import choose
from medshare.commands.text import visible
from medshare.errors import CancelledError, UsageError

if TYPE_CHECKING:
    from cryptography import x509

    from medshare.authority.anchors import Authorities
    from medshare.trust.bundle import Block

_MAX_INPUT: Final = 1 << 25
_MAX_NAME: Final = 64


def _authorities() -> "Authorities":
    from medshare.authority.anchors import Authorities
    from medshare.commands.opening import open_station

    station = open_station()[1]
    return Authorities(station.home, station.record)


def _blocks(file: Path, what: str) -> "tuple[Block, ...]":
    from medshare.disk.atomic import read_file
    from medshare.trust.bundle import read_blocks

    return read_blocks(read_file(file, limit=_MAX_INPUT, what=what), what=what)


@click.group(
    epilog=examples(
        """
        medshare trust add ca.pem --name commission
        medshare trust update commission.pem
        medshare trust refresh wang
        medshare trust list
        medshare trust remove commission
        """
    )
)
def trust() -> None:
    """Say which authorities vouch for people, and take in what they publish.

    An authority certifies whose station is whose: name, licence, role. It is your hospital's
    certification authority, or one that medshare authority runs.
    """


@trust.command(
    epilog=examples(
        """
        medshare trust add ca.pem                     # shows its digest, and asks
        medshare trust add ca.pem --name commission --yes
        """
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="What to call it here.  [default: from it]")
@click.option(
    "--crl-max-age",
    type=Span(),
    default="31d",
    show_default=True,
    metavar="TIME",
    help="How old its revocation lists may be, whatever they say themselves.",
)
@click.option("--yes", is_flag=True, help="Trust it without asking, for scripts.")
@output_options
def add(file: Path, name: str | None, crl_max_age: int, yes: bool, mode: Mode) -> None:
    """Trust the authority whose certificate is in FILE (PEM).

    Authorities below it may follow in the same file, the highest first. What is also in it, such
    as a revocation list, is left alone: that is for medshare trust update.
    """
    from medshare.commands import credential_views
    from medshare.trust.credential import load_certificates

    known = _authorities()
    certificates = load_certificates(_blocks(file, "the certificate"))
    called = name or (_proposed(certificates[0]) if certificates else "authority")
    if certificates and not yes:
        _confirm(certificates[0], called, json=mode.json)
    added = known.add(certificates, name=called, crl_max_age=crl_max_age, now=int(time.time()))
    with choose(mode) as out:
        out.result(
            credential_views.authority_record(added, event="authority_trusted"),
            lambda: credential_views.authority(added, "is trusted from now on"),
        )


def _proposed(certificate: "x509.Certificate") -> str:
    from cryptography.x509.oid import NameOID

    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value)[:_MAX_NAME].strip() if names else "authority"


def _confirm(certificate: "x509.Certificate", called: str, *, json: bool) -> None:
    from medshare.trust.credential import digest_of

    digest = digest_of(certificate).hex()
    if json or not sys.stdin.isatty():
        raise UsageError(
            "an authority is trusted only after its digest was compared, and nobody is here to ask",
            hint=f"its SHA-256 is {digest}; if that is right, add --yes",
        )
    click.echo(f"  authority    {visible(certificate.subject.rfc4514_string())}", err=True)
    click.echo(f"  sha-256      {digest}", err=True)
    click.echo(f"  called here  {visible(called)}", err=True)
    if not click.confirm("Is that what the authority says it is?", err=True):
        raise CancelledError("the authority is not trusted, and nothing was changed")


@trust.command(epilog=examples("medshare trust update commission.pem"))
@click.argument("file", type=click.Path(path_type=Path))
@output_options
def update(file: Path, mode: Mode) -> None:
    """Take in a revocation list, and a list of practitioners, from FILE (PEM).

    What is older than what is known, out of date, or not of an authority that is trusted here,
    is refused, and nothing is changed.
    """
    from medshare.commands import credential_views

    changed = _authorities().update(_blocks(file, "the lists"), now=int(time.time()))
    with choose(mode) as out:
        out.result(
            credential_views.authority_record(changed, event="authority_updated"),
            lambda: credential_views.authority(changed, "is up to date"),
        )


@trust.command(
    epilog=examples(
        """
        medshare trust refresh            # about all contacts, and this station
        medshare trust refresh wang novak
        """
    )
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@output_options
def refresh(names: tuple[str, ...], mode: Mode) -> None:
    """Ask the responders of authorities (OCSP) whether contacts' certificates are still good.

    The answer serves where no current revocation list is known. It tells the responder which
    certificate you ask about, so nothing else ever asks; this needs a network.
    """
    from medshare.authority.refreshing import refresh as ask
    from medshare.commands import refresh_views
    from medshare.commands.opening import open_station

    station = open_station()[1]
    contacts = [station.contacts.named(name) for name in names]
    asked = ask(station, contacts, now=int(time.time()))
    with choose(mode) as out:
        out.result(refresh_views.record(asked), lambda: refresh_views.view(asked))
    for one in asked:
        if one.fault is not None:
            raise one.fault


@trust.command("list", epilog=examples("medshare trust list"))
@output_options
def list_(mode: Mode) -> None:
    """List the authorities that are trusted here."""
    from medshare.commands import credential_views

    found = _authorities().all()
    record = {
        "event": "authorities",
        "authorities": [credential_views.authority_record(one) for one in found],
    }
    with choose(mode) as out:
        out.result(record, lambda: credential_views.authorities(found))


@trust.command(epilog=examples("medshare trust remove commission"))
@click.argument("name")
@output_options
def remove(name: str, mode: Mode) -> None:
    """Trust the authority NAME no longer: whom it has vetted is nobody's word any more."""
    from medshare.commands import credential_views

    gone = _authorities().remove(name)
    with choose(mode) as out:
        out.result(
            credential_views.authority_record(gone, event="authority_removed"),
            lambda: credential_views.authority(gone, "is not trusted any more"),
        )
