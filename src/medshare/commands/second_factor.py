"""`medshare second-factor`: what a person signs in to a relay with."""

import base64
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import click

from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.commands.sign_in import (
    AtRelay,
    Place,
    at_relay,
    place_options,
    say,
    typed,
)
from medshare.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from medshare.commands.lines import Output
    from medshare.wire.sign_in import BegunFactor, Factors, Proof

_DIGITS: Final = 8
"""Digits of the id of a factor that people see and type."""


@click.group(
    "second-factor",
    epilog=examples(
        """
        medshare second-factor add totp --relay https://relay.example.org
        medshare second-factor add fido2 --relay https://relay.example.org
        medshare second-factor list
        medshare second-factor recovery-codes
        """
    ),
)
def second_factor() -> None:
    """Add and list what you sign in to a relay with, beside the keys of this station.

    A code that changes every 30 seconds (TOTP), in an app on the phone, or a FIDO2 security key,
    which cannot be fooled into answering another server. See docs/sign-in.md.
    """


@second_factor.command()
@click.argument("kind", type=click.Choice(["totp", "fido2"]))
@place_options
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The enrolment secret of the relay's operator, for the first factor.",
)
@click.option(
    "--code-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A pipe from which the first code is read, instead of stdin.",
)
@output_options
def add(
    kind: str, place: Place, secret_file: Path | None, code_file: Path | None, mode: Mode
) -> None:
    """Add a second factor: totp, or fido2.

    The first one needs the enrolment secret that the operator of the relay handed out, and comes
    with recovery codes, shown once. Another one needs a session: medshare sign-in.
    """
    from medshare.wire.sign_in import NewFactor

    if kind == "totp":
        _library("pyotp")
        _library("segno")
    with choose(mode) as out, at_relay(place, in_session=True) as here:
        secret = ""
        if secret_file is not None or not here.has_session:
            secret = typed("Enrolment secret, from the operator of the relay: ", secret_file)
        begun = here.transport.begin_factor(NewFactor(kind, secret))
        proof = _shown(out, here, begun, code_file) if kind == "totp" else _touched(here, begun)
        recovery = here.transport.finish_factor(begun.factor, proof)
        record = {
            "event": "factor_added",
            "relay": here.transport.url,
            "factor": begun.factor.hex(),
            "kind": kind,
            "recovery_codes": list(recovery),
        }
        out.result(record, lambda: _added(record))


def _shown(out: "Output", here: AtRelay, begun: "BegunFactor", code_file: Path | None) -> "Proof":
    """Show the secret, as a picture for a phone and as text; return the first code."""
    from medshare.wire.sign_in import TOTP, Proof

    uri = _otpauth(here, begun.secret)
    record = {"event": "factor_begun", "kind": TOTP, "factor": begun.factor.hex(), "otpauth": uri}
    typed_in = wrap(_text(begun.secret), 4)
    lines = f"{_picture(uri)}\n{uri}\n\nto type it: {' '.join(typed_in)}\n"
    out.result(record, lambda: lines)
    return Proof(TOTP, code=typed("The code that the app shows: ", code_file))


def _otpauth(here: AtRelay, secret: bytes) -> str:
    """Return the text that authenticator apps read; the phone is told no name of a person."""
    from medshare.wire.sign_in import rp_id

    uri = (
        _library("pyotp")
        .TOTP(_text(secret))
        .provisioning_uri(
            name=here.station.hex()[:_DIGITS],
            issuer_name=f"medshare {rp_id(here.transport.origin)}",
        )
    )
    return str(uri)


def _text(secret: bytes) -> str:
    """Return *secret* as authenticator apps take it from a keyboard: base32."""
    return base64.b32encode(secret).decode("ascii").rstrip("=")


def _picture(uri: str) -> str:
    import io

    picture = io.StringIO()
    _library("segno").make(uri, error="m").terminal(picture, compact=True)
    return picture.getvalue()


def _library(name: str) -> Any:
    """Import a library of the extra `signin`; raise UsageError, which names it, without."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            "second factors need packages that are not installed",
            hint="install them with: pip install 'medshare[signin]'",
        ) from error


def _touched(here: AtRelay, begun: "BegunFactor") -> "Proof":
    from medshare.commands.unlock import terminal
    from medshare.keys.security_key import one_security_key

    with one_security_key(terminal(), say) as key:
        return key.new_factor(begun, user=here.station, origin=here.transport.origin)


def _added(record: dict[str, Any]) -> Any:
    from rich.console import Group

    from medshare.commands.views import GOOD, facts, headline

    codes = record["recovery_codes"]
    rows = [("factor", record["factor"][:_DIGITS])]
    rows += [("recovery" if not number else " ", code) for number, code in enumerate(codes)]
    if codes:
        rows.append(("note", "write these down now: each signs in once, and none is shown again"))
    rows.append(("next", f"medshare sign-in --relay {record['relay']}, with the next code"))
    return Group(headline("✓", GOOD, f"{record['kind']} added"), facts(rows))


@second_factor.command("list")
@place_options
@output_options
def list_(place: Place, mode: Mode) -> None:
    """List the second factors at a relay; needs a session."""
    with at_relay(place, in_session=True) as here:
        found = here.transport.factors()
        relay = here.transport.url
    record = {
        "event": "factors",
        "relay": relay,
        "factors": [
            {"factor": f.factor.hex(), "kind": f.kind, "created": f.created, "used": f.used or None}
            for f in found.factors
        ],
        "recovery_codes_left": found.recovery,
    }
    with choose(mode) as out:
        out.result(record, lambda: _listed(found, relay))


def _listed(found: "Factors", relay: str) -> Any:
    from rich.console import Group

    from medshare.commands import text
    from medshare.commands.views import GOOD, facts, headline

    rows = [
        (one.factor.hex()[:_DIGITS], f"{one.kind}, since {text.moment(one.created)}")
        for one in found.factors
    ]
    rows.append(("recovery", f"{text.count(found.recovery, 'code')} left"))
    return Group(headline("●", GOOD, f"second factors at {relay}"), facts(rows))


@second_factor.command()
@click.argument("factor")
@place_options
@output_options
def remove(factor: str, place: Place, mode: Mode) -> None:
    """Remove a second factor; needs a session, and ends it.

    FACTOR is the beginning of its id, as the list shows it. The last one cannot be removed.
    """
    from medshare.commands.views import GOOD, headline

    with at_relay(place, in_session=True) as here:
        found = [
            one.factor
            for one in here.transport.factors().factors
            if len(factor) >= 4 and one.factor.hex().startswith(factor.lower())
        ]
        if len(found) != 1:
            raise NotFoundError("no second factor, or more than one, has an id that begins so")
        here.transport.remove_factor(found[0])
        here.sessions.forget(here.transport.url)
        record = {"event": "factor_removed", "relay": here.transport.url, "factor": found[0].hex()}
    with choose(mode) as out:
        out.result(record, lambda: headline("✓", GOOD, "removed; sign in again"))


@second_factor.command("recovery-codes")
@place_options
@output_options
def recovery_codes(place: Place, mode: Mode) -> None:
    """Make new recovery codes, in place of those of before; needs a session."""
    with at_relay(place, in_session=True) as here:
        codes = here.transport.recovery_codes()
        record = {
            "event": "recovery_codes",
            "relay": here.transport.url,
            "recovery_codes": list(codes),
        }
    with choose(mode) as out:
        out.result(record, lambda: "\n".join([*codes, "write these down; none is shown again"]))
