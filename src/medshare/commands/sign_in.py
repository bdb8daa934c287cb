"""`medshare sign-in` and `medshare sign-out`: a session at a relay, with a second factor."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from medshare.commands.opening import key_options, open_station, relay_option
from medshare.commands.options import Mode, examples, gathered, output_options
from medshare.commands.output import choose
from medshare.errors import UsageError

if TYPE_CHECKING:
    from medshare.station.relay_sessions import RelaySessions
    from medshare.transport.sign_in import SignInTransport
    from medshare.wire.sign_in import Proof

Command = TypeVar("Command", bound=Callable[..., Any])
_MAX_LINE: Final = 256


@dataclass(frozen=True, slots=True)
class Place:
    """Which relay, and how to get at the keys of this station."""

    relay: str | None = None
    passphrase_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None


def place_options(command: Command) -> Command:
    """Add `--relay` and what goes with it; the command gets them as one `place`."""
    option = gathered("place", Place())
    return relay_option(option, key_options(option, command))


@dataclass(frozen=True, slots=True)
class AtRelay:
    """A relay as this station sees it, and the sessions that are kept."""

    transport: "SignInTransport"
    sessions: "RelaySessions"
    station: bytes
    has_session: bool


@contextmanager
def at_relay(place: Place, *, in_session: bool) -> Iterator[AtRelay]:
    """Open the relay that *place* names, with the session that is kept if *in_session*."""
    from medshare.commands.showing import shown_at
    from medshare.commands.unlock import unlock_identity
    from medshare.station.relay_sessions import RelaySessions
    from medshare.transport.sign_in import SignInTransport

    settings, station = open_station()
    relay = place.relay or settings.relay
    if relay is None:
        raise UsageError("no relay is named", hint="give --relay URL (or set MEDSHARE_RELAY)")
    shown = shown_at(relay, settings, cert=place.client_cert, key=place.client_key)
    if not in_session:
        shown = replace(shown, session="")
    identity = unlock_identity(station, settings, file=place.passphrase_file)
    transport = SignInTransport(relay, identity, ca_file=settings.relay_ca, shown=shown)
    with closing(transport):
        yield AtRelay(
            transport, RelaySessions(settings.home), bytes(station.id), bool(shown.session)
        )


def typed(prompt: str, file: Path | None) -> str:
    """Return what somebody types after *prompt*, or a line of *file*, or of stdin for scripts."""
    if file is not None:
        from medshare.keys.passphrase import read_passphrase_file

        return read_passphrase_file(file).decode("ascii", "replace").strip()
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(prompt).strip()
    line = sys.stdin.readline(_MAX_LINE).strip()
    if not line:
        raise UsageError("a code is needed, and nobody is here to type it", hint="--code-file FILE")
    return line


def say(sentence: str) -> None:
    """Tell the person at the terminal something, beside the result."""
    click.echo(f"medshare: {sentence}", err=True)


def code_options(command: Command) -> Command:
    """Add `--code` and `--code-file`."""
    command = click.option(
        "--code-file", type=click.Path(path_type=Path), metavar="FILE", help="Read it from a file."
    )(command)
    return click.option("--code", metavar="N", help="The code; asked for if it is not given.")(
        command
    )


@click.command(
    "sign-in",
    epilog=examples(
        """
        medshare sign-in --relay https://relay.example.org            # asks for the code
        medshare sign-in --fido2                                      # touch the security key
        medshare sign-in --recovery-code                              # phone or key is lost
        """
    ),
)
@place_options
@code_options
@click.option("--fido2", is_flag=True, help="Use the security key that is plugged in.")
@click.option("--recovery-code", is_flag=True, help="Use a recovery code; it works once.")
@output_options
def sign_in(
    place: Place, code: str | None, code_file: Path | None, fido2: bool, recovery_code: bool,
    mode: Mode,
) -> None:  # fmt: skip
    """Sign in to a relay that demands a second factor of this station.

    The session lasts some hours, ends when nothing is done for a while, and is of use only with
    the keys of this station. Send, receive and the others use it by themselves.
    """
    from medshare.station.relay_sessions import KeptSession
    from medshare.wire.sign_in import RECOVERY, TOTP, Proof

    if fido2 and (recovery_code or code or code_file):
        raise UsageError("a security key needs no code")
    with at_relay(place, in_session=False) as here:
        if fido2:
            proof = _touched(here)
        else:
            kind, prompt = (RECOVERY, "Recovery code: ") if recovery_code else (TOTP, "Code: ")
            proof = Proof(kind, code=code or typed(prompt, code_file))
        session = here.transport.sign_in(proof)
        relay = here.transport.url
        here.sessions.keep(KeptSession(relay, session.session, session.expires, session.idle))
    record = {
        "event": "signed_in",
        "relay": relay,
        "expires": session.expires,
        "idle": session.idle,
        "failures": session.failures,
    }
    with choose(mode) as out:
        out.result(record, lambda: _signed_in(record))


def _touched(here: AtRelay) -> "Proof":
    from medshare.commands.unlock import terminal
    from medshare.keys.security_key import one_security_key

    with one_security_key(terminal(), say) as key:
        challenge = here.transport.challenge()
        return key.answer(challenge, origin=here.transport.origin)


def _signed_in(record: dict[str, Any]) -> Any:
    from rich.console import Group

    from medshare.commands import text
    from medshare.commands.views import GOOD, facts, headline

    rows = [
        ("until", text.moment(record["expires"])),
        ("or after", f"{record['idle'] // 60} minutes without a request"),
    ]
    if record["failures"]:
        attempts = text.count(record["failures"], "attempt")
        rows.append(("before it", f"{attempts} failed; were they not yours, tell the operator"))
    return Group(headline("✓", GOOD, f"signed in to {record['relay']}"), facts(rows))


@click.command("sign-out", epilog=examples("medshare sign-out --relay https://relay.example.org"))
@place_options
@output_options
def sign_out(place: Place, mode: Mode) -> None:
    """End the session at a relay, there and here."""
    from medshare.commands.views import GOOD, headline

    with at_relay(place, in_session=True) as here:
        here.transport.sign_out()
        here.sessions.forget(here.transport.url)
        relay = here.transport.url
    with choose(mode) as out:
        out.result(
            {"event": "signed_out", "relay": relay},
            lambda: headline("✓", GOOD, f"signed out of {relay}"),
        )


__all__ = ["sign_in", "sign_out"]
