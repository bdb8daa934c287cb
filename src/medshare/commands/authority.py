"""`medshare authority`: a small registration authority, for those who have none."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from medshare.commands.options import Mode, Span, examples, output_options
from medshare.commands.output import choose
from medshare.commands.text import visible
from medshare.commands.unlock import choose_passphrase, passphrase_option, unlock_file
from medshare.errors import CancelledError, UsageError

if TYPE_CHECKING:
    from medshare.authority.office import Office
    from medshare.authority.register import Issued
    from medshare.authority.request import Request
    from medshare.config import Settings
    from medshare.keys.base import KeyStore

Command = TypeVar("Command", bound=Callable[..., Any])

_YEAR: Final = 365 * 86400
_MAX_INPUT: Final = 1 << 25

_data_option = click.option(
    "--data",
    required=True,
    envvar="MEDSHARE_AUTHORITY",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The folder of the authority (or MEDSHARE_AUTHORITY).",
)


def _output_option(text: str) -> Callable[[Command], Command]:
    return click.option(
        "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help=text
    )


def _valid_option(default: str, text: str) -> Callable[[Command], Command]:
    return click.option(
        "--valid", type=Span(), default=default, show_default=True, metavar="TIME", help=text
    )


@click.group(
    epilog=examples(
        """
        medshare authority init --data /srv/ca --name 'Health Commission'
        medshare authority issue wang.csr --data /srv/ca --name 'Dr Wang Li' --licence 110023 \
--role specialist --output wang.pem
        medshare authority crl --data /srv/ca --output commission.pem
        medshare authority list --data /srv/ca
        """
    )
)
def authority() -> None:
    """Vet people, and certify whose station is whose.

    For hospitals and commissions that have no certification authority of their own. Those that
    have one use it: see docs/credentials.md.
    """


@authority.command(
    epilog=examples("medshare authority init --data /srv/ca --name 'Health Commission'")
)
@_data_option
@click.option("--name", required=True, metavar="NAME", help="What its certificates say of it.")
@passphrase_option
@output_options
def init(data: Path, name: str, passphrase_file: Path | None, mode: Mode) -> None:
    """Make DIR an authority: a key, encrypted, and a certificate for ten years.

    Keep it on a machine of its own. Whoever has the folder and the passphrase can certify
    anybody.
    """
    from medshare.authority.office import Office, require_no_authority
    from medshare.commands import credential_views
    from medshare.keys.file import FileBackend

    require_no_authority(data.absolute())
    office = choose_passphrase(
        _settings(data),
        lambda passphrase: Office.create(
            FileBackend(passphrase.value), data, name=name.strip(), now=int(time.time())
        ),
        file=passphrase_file,
    )
    with choose(mode) as out:
        out.result(
            credential_views.office_record(office, event="authority_made"),
            lambda: credential_views.office_made(office),
        )


@authority.command(
    epilog=examples(
        """
        medshare authority issue wang.csr --data /srv/ca --name 'Dr Wang Li' --licence 110023 \
--role specialist --department radiology --organisation 'St. Mary' --output wang.pem
        """
    )
)
@click.argument("request", type=click.Path(path_type=Path))
@_data_option
@click.option("--name", required=True, metavar="NAME", help="The person, as in the papers.")
@click.option("--licence", required=True, metavar="NUMBER", help="The licence to practise.")
@click.option(
    "--role",
    required=True,
    type=click.Choice(
        ["physician", "specialist", "nurse", "dentist", "pharmacist", "physicist", "technician"]
    ),
    help="The profession, coded in ISCO-08.",
)
@click.option("--department", default="", metavar="NAME", help="Where in the organisation.")
@click.option("--organisation", default="", metavar="NAME", help="[default: this authority]")
@_valid_option("2y", "For how long.")
@_output_option("Where the certificate goes.")
@click.option("--yes", is_flag=True, help="The fingerprint was compared: do not ask.")
@passphrase_option
@output_options
def issue(
    request: Path,
    data: Path,
    valid: int,
    output: Path,
    yes: bool,
    passphrase_file: Path | None,
    mode: Mode,
    **vetted: str,
) -> None:
    """Certify a person whose station made REQUEST, after seeing the papers.

    REQUEST is what medshare card request wrote. Compare the fingerprint with the person before
    you: it says that the request is of that person's station.
    """
    from medshare.authority.office import Office
    from medshare.authority.request import read_request
    from medshare.disk.atomic import read_file

    office = Office.open(data)
    asked = read_request(read_file(request, limit=_MAX_INPUT, what="the request"))
    person = _person(office, **vetted)
    if not yes:
        _confirm(asked, json=mode.json)
    done = office.issue(
        asked, person, _unlocked(office, passphrase_file), valid=valid, now=int(time.time())
    )
    _hand_out(done, output, mode, event="certificate_issued", verb="certified")


def _person(office: "Office", *, role: str, organisation: str, **vetted: str) -> Any:
    from medshare.authority.office import Person
    from medshare.trust.hcrole import role_named

    return Person(role=role_named(role), organisation=organisation or office.name, **vetted)


def _confirm(asked: "Request", *, json: bool) -> None:
    fingerprint = asked.card.fingerprint
    if json or not sys.stdin.isatty():
        raise UsageError(
            "a station is certified only after its fingerprint was compared, and nobody is here "
            "to ask",
            hint=f"its fingerprint is {fingerprint}; if that is right, add --yes",
        )
    click.echo(f"  card of      {visible(asked.card.name)}", err=True)
    click.echo(f"  fingerprint  {fingerprint}", err=True)
    if not click.confirm("Is it the one of the person before you?", err=True):
        raise CancelledError("nobody was certified, and nothing was changed")


def _hand_out(done: "Issued", output: Path, mode: Mode, *, event: str, verb: str) -> None:
    """Write a new certificate, which the register knows of already, and say what comes next."""
    from medshare.commands import credential_views
    from medshare.disk.atomic import write_file
    from medshare.trust.bundle import write_blocks
    from medshare.trust.credential import certificate_blocks

    octets = write_blocks(certificate_blocks([done.certificate]))
    write_file(output, octets, mode=0o644, what="the certificate")
    following = "publish: medshare authority crl; the person: medshare card attach FILE"
    with choose(mode) as out:
        out.result(
            credential_views.issued_record(done, event=event),
            lambda: credential_views.issued(done, verb, following),
        )


@authority.command(
    epilog=examples("medshare authority renew 3f2a9c1b --data /srv/ca --output wang.pem")
)
@click.argument("serial")
@_data_option
@_valid_option("2y", "For how long.")
@_output_option("Where the certificate goes.")
@passphrase_option
@output_options
def renew(
    serial: str, data: Path, valid: int, output: Path, passphrase_file: Path | None, mode: Mode
) -> None:
    """Certify the person of the certificate SERIAL for longer, with the same station.

    After a key rotation the person makes a new request instead, and is certified by issue.
    """
    from medshare.authority.office import Office

    office = Office.open(data)
    office.register().found(serial)
    store = _unlocked(office, passphrase_file)
    done = office.renew(serial, store, valid=valid, now=int(time.time()))
    _hand_out(done, output, mode, event="certificate_renewed", verb="renewed")


@authority.command(
    epilog=examples(
        "medshare authority revoke 3f2a9c1b --data /srv/ca --reason privilege-withdrawn"
    )
)
@click.argument("serial")
@_data_option
@click.option(
    "--reason",
    type=click.Choice(
        [
            "unspecified",
            "key-compromise",
            "affiliation-changed",
            "superseded",
            "cessation",
            "privilege-withdrawn",
        ]
    ),
    default="unspecified",
    show_default=True,
    metavar="WHY",
    help="What the list says: cessation, superseded, key-compromise, "
    "affiliation-changed or privilege-withdrawn.",
)
@output_options
def revoke(serial: str, data: Path, reason: str, mode: Mode) -> None:
    """Revoke the certificate SERIAL, for good; crl makes it known.

    All other certificates with the same licence number are revoked with it, unless the reason
    is superseded.
    """
    from medshare.authority.office import Office
    from medshare.commands import credential_views

    done = Office.open(data).revoke(serial, reason=reason, now=int(time.time()))
    following = "publish it: medshare authority crl"
    with choose(mode) as out:
        out.result(
            credential_views.issued_record(done, event="certificate_revoked"),
            lambda: credential_views.issued(done, "revoked", following),
        )


@authority.command(
    epilog=examples("medshare authority crl --data /srv/ca --output commission.pem --valid 7d")
)
@_data_option
@_valid_option("7d", "For how long stations may rely on it: then they need the next.")
@_output_option("Where it goes.")
@passphrase_option
@output_options
def crl(data: Path, valid: int, output: Path, passphrase_file: Path | None, mode: Mode) -> None:
    """Publish who is revoked, and who is certified: a signed revocation list and a signed list.

    Both go into one file, for medshare trust update. Publish after every change, and in any case
    before the last ones are out of date.
    """
    from medshare.authority.office import Office
    from medshare.commands import credential_views
    from medshare.disk.atomic import write_file

    office = Office.open(data)
    octets = office.publish(_unlocked(office, passphrase_file), valid=valid, now=int(time.time()))
    write_file(output, octets, mode=0o644, what="the lists")
    found = office.register()
    record = {
        "event": "lists_published",
        "crl_number": found.crl_number,
        "list_version": found.list_version,
        "file": str(output),
    }
    with choose(mode) as out:
        out.result(record, lambda: credential_views.published(output, found))


@authority.command("list", epilog=examples("medshare authority list --data /srv/ca"))
@_data_option
@output_options
def list_(data: Path, mode: Mode) -> None:
    """List everybody whom this authority has certified."""
    from medshare.authority.office import Office
    from medshare.commands import credential_views

    found = Office.open(data).register()
    record = {
        "event": "certificates",
        "certificates": [credential_views.issued_record(one) for one in found.issued],
    }
    with choose(mode) as out:
        out.result(record, lambda: credential_views.register(found))


def _settings(data: Path) -> "Settings":
    """Return the settings, so that the authority's passphrase is not taken for the station's."""
    from medshare.config import load_settings

    return replace(load_settings(), home=data.absolute(), keyring=False, passphrase_command=())


def _unlocked(office: "Office", file: Path | None) -> "KeyStore":
    from medshare.keys.file import FileBackend

    return unlock_file(
        _settings(office.folder),
        lambda passphrase: FileBackend(passphrase).open(office.keys),
        file=file,
        prompt="Passphrase of this authority: ",
    )
