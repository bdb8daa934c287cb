"""Profiles and second factors at a relay: options of its commands, and commands of its operator.

Nothing here may load what decrypts.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from medshare.commands.options import Mode, Span, examples, gathered, output_options
from medshare.commands.relay_folder import (
    data_option,
    one_station,
    require_unadministered,
    stations_in,
    tell,
)
from medshare.commands.text import count, visible
from medshare.errors import UsageError

if TYPE_CHECKING:
    from medshare.ids import StationId
    from medshare.relay.access import AccessOffice, AccessRules
    from medshare.relay.profiles import Profile
    from medshare.relay.serving import ClientAuthority
    from medshare.trust.card import Card

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Rules:
    """What the options of `relay serve` say about who may pass."""

    session: int = 8 * 3600
    session_idle: int = 30 * 60
    require_profile: bool = False
    trusted_proxy: tuple[str, ...] = ()
    client_ca: Path | None = None
    require_client_cert: bool = False

    def access(self) -> "AccessRules":
        """Return the rules; raise UsageError when a proxy is no address."""
        from medshare.relay.access import AccessRules
        from medshare.relay.profiles import network
        from medshare.relay.sessions import Lifetimes

        proxies = tuple(network(one) for one in self.trusted_proxy)
        return AccessRules(
            self.require_profile, Lifetimes(self.session, self.session_idle), proxies
        )

    def clients(self) -> "ClientAuthority | None":
        """Return who issues the certificates of clients; None when nobody is named."""
        from medshare.relay.serving import ClientAuthority

        if self.client_ca is None:
            if self.require_client_cert:
                raise UsageError("--require-client-cert needs --client-ca FILE")
            return None
        return ClientAuthority(self.client_ca, self.require_client_cert)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options of `relay enroll` say about the profile of a station."""

    profile: str | None = None
    factor: tuple[str, ...] = ()
    touch_only: bool = False
    profile_cert: Path | None = None
    ranges: tuple[str, ...] = ()

    def made(self) -> "Profile | None":
        """Return the profile, None when none is named; raise UsageError when it makes no sense."""
        from medshare.clientcert import MAX_CERTIFICATE, parse_certificate
        from medshare.disk.atomic import read_file
        from medshare.relay import profiles
        from medshare.relay.codes import require_libraries

        certificate = None
        if self.profile_cert is not None:
            what = "the client certificate"
            octets = read_file(self.profile_cert, limit=4 * MAX_CERTIFICATE, what=what)
            certificate = parse_certificate(octets)
        person = bool(self.factor or self.touch_only)
        unattended = bool(self.profile_cert or self.ranges)
        match self.profile:
            case "person" if not unattended:
                require_libraries()
                return profiles.person(self.factor, verify=not self.touch_only)
            case "unattended" if not person:
                return profiles.unattended(certificate, self.ranges)
            case "open" | None if not (person or unattended):
                return None if self.profile is None else profiles.Profile()
        raise UsageError(
            "these options belong to another profile",
            hint="--factor is of --profile person, --client-cert and --from of unattended",
        )


def _with(command: Command, *options: Callable[[Command], Command]) -> Command:
    for add in options:
        command = add(command)
    return command


_TIMES: Final = {
    "--session-idle": ("30m", "How long a session lasts without a request."),
    "--session": ("8h", "How long a session lasts in all."),
}


def access_options(command: Command) -> Command:
    """Add the options of `relay serve` about who may pass; the command gets them as `rules`."""
    option = gathered("rules", Rules())
    return _with(
        command,
        option(
            "--require-client-cert", is_flag=True, help="Let TLS demand a certificate of everybody."
        ),
        option(
            "--client-ca",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Who must have issued the certificates that clients show in TLS.",
        ),
        option(
            "--trusted-proxy",
            multiple=True,
            metavar="NET",
            help="A proxy whose X-Forwarded-For is believed. May be repeated.",
        ),
        option(
            "--require-profile", is_flag=True, help="Refuse stations enrolled without a profile."
        ),
        *(
            option(name, type=Span(), default=usual, show_default=True, help=text)
            for name, (usual, text) in _TIMES.items()
        ),
    )


def profile_options(command: Command, *, certificate: str = "--client-cert") -> Command:
    """Add the options of `relay enroll` about a profile; the command gets them as `wanted`.

    *certificate* is how the option for the certificate of an unattended station is called.
    """
    option = gathered("wanted", Wanted())
    return _with(
        command,
        option(
            "--from",
            "ranges",
            multiple=True,
            metavar="NET",
            help="Addresses of an unattended station, as 10.1.0.0/16. May be repeated.",
        ),
        option(
            certificate,
            "profile_cert",  # a name of its own: the way to the relay has a client_cert
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="The client certificate of an unattended station.",
        ),
        option(
            "--touch-only",
            is_flag=True,
            help="Accept security keys that do not verify who touches.",
        ),
        option(
            "--factor",
            multiple=True,
            type=click.Choice(["fido2", "totp"]),
            help="A second factor that is accepted of a person. May be repeated.  [default: any]",
        ),
        option(
            "--profile",
            type=click.Choice(["open", "person", "unattended"]),
            help="What is demanded beside its key.",
        ),
    )


def office(data: Path) -> "AccessOffice":
    """Return what the operator of the relay in *data* does about profiles and factors."""
    from medshare.relay.access import AccessOffice
    from medshare.relay.recording import RelayRecord

    return AccessOffice(data, RelayRecord(data, time.time), time.time)


def profile_name(data: Path, station: "StationId") -> str:
    """Return what is demanded of an enrolled station: the name of its profile."""
    from medshare.relay.access import FOLDER
    from medshare.relay.profiles import Profile, Profiles

    return (Profiles(data / FOLDER).find(station) or Profile()).kind


def secret_lines(secret: str) -> tuple[str, ...]:
    """Return what a person is told of an enrolment secret."""
    if not secret:
        return ()
    return (
        f"  enrolment secret  {secret}",
        "  Hand it to that person, not by way of this relay; it holds for 7 days, and once.",
        "  There: medshare second-factor add totp --relay URL",
    )


@click.group(
    "second-factor",
    epilog=examples(
        """
        medshare relay second-factor unlock dr-wang --data /srv/relay
        medshare relay second-factor reset dr-wang --data /srv/relay   # a phone or a key is lost
        """
    ),
)
def second_factor() -> None:
    """Help people whose second factor is lost or locked."""


@second_factor.command()
@click.argument("station")
@data_option
@output_options
def reset(station: str, data: Path, mode: Mode) -> None:
    """Forget all second factors of a person, and give out a new enrolment secret.

    STATION is its name, or the first digits of its id. Sessions and recovery codes end as well.
    """
    card, place = _station_and_office(data, station)
    secret = place.reset(card.station)
    record = {"event": "factors_reset", "station": card.station.hex(), "secret": secret}
    sentence = f"the second factors of {visible(card.name)} are forgotten"
    tell(mode, record, sentence, *secret_lines(secret))


@second_factor.command()
@click.argument("station")
@data_option
@output_options
def unlock(station: str, data: Path, mode: Mode) -> None:
    """Let a person try the second factor again after too many failures.

    STATION is its name, or the first digits of its id. Ask them first whether it was they who
    failed: only somebody with the key of the station can have.
    """
    card, place = _station_and_office(data, station)
    failures = place.unlock(card.station)
    record = {"event": "unlocked", "station": card.station.hex(), "failures": failures}
    tell(mode, record, f"{visible(card.name)} may try again, after {count(failures, 'failure')}")


@click.command(
    "profile",
    epilog=examples(
        """
        medshare relay profile dr-wang --profile person --factor fido2 --data /srv/relay
        medshare relay profile gateway --profile open --data /srv/relay
        """
    ),
)
@click.argument("station")
@data_option
@profile_options
@output_options
def set_profile(station: str, data: Path, wanted: Wanted, mode: Mode) -> None:
    """Change what is demanded of an enrolled station beside its key.

    STATION is its name, or the first digits of its id. Takes effect at once; sessions end.
    """
    profile = wanted.made()
    if profile is None:
        raise UsageError("say which profile: --profile open, person or unattended")
    require_unadministered(data, "set-profile STATION")
    card, place = _station_and_office(data, station)
    secret = place.set_profile(card.station, profile)
    record = {
        "event": "profile",
        "station": card.station.hex(),
        "profile": profile.kind,
        "secret": secret or None,
    }
    sentence = f"{visible(card.name)} has the profile {profile.kind}"
    tell(mode, record, sentence, *secret_lines(secret))


def _station_and_office(data: Path, text: str) -> "tuple[Card, AccessOffice]":
    return one_station(stations_in(data, make=False), text), office(data)
