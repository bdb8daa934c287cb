"""`medshare admin propose`: one command for each thing that administrators can decide."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from medshare.commands.admin_place import (
    administering,
    administrators_in,
    card_in,
    now,
    parcel_named,
    settings_in,
    station_named,
)
from medshare.commands.opening import Way, way_options
from medshare.commands.options import Mode, Span, examples, output_options
from medshare.commands.output import choose
from medshare.commands.relay_access import Wanted, profile_options
from medshare.errors import UsageError

if TYPE_CHECKING:
    from medshare.trust.orders import Order

Command = TypeVar("Command", bound=Callable[..., Any])

_card = click.argument("card", type=click.Path(path_type=Path))
_parcel = click.argument("parcel")
_station = click.argument("station")


def _proposing(command: Command) -> Command:
    """Add `--expires`, and what says which relay and how to talk."""
    command = output_options(command)
    command = way_options(command)
    return click.option(
        "--expires",
        type=Span(),
        default="7d",
        show_default=True,
        metavar="TIME",
        help="How long it can be approved; at most 31d.",
    )(command)


def _profiled(command: Command) -> Command:
    """Add the options about a profile; `--client-cert` is that of whoever proposes."""
    return profile_options(command, certificate="--profile-cert")


@click.group(
    epilog=examples(
        """
        medshare admin propose enroll st-mary.card
        medshare admin propose remove st-mary
        medshare admin propose delete 6f1c20b76f1c20b76f1c20b76f1c20b7
        medshare admin propose hold 6f1c20b76f1c20b76f1c20b76f1c20b7
        medshare admin propose set-policy bounds.toml
        medshare admin propose set-administrators anna.card ben.card cleo.card --need 2
        """
    )
)
def propose() -> None:
    """Propose something to the other administrators of a relay.

    What is printed is the id of the proposal, and digits that whoever approves it compares.
    Proposing is approving: the others must follow. Only a hold takes effect at once.
    """


def _propose(order: "Order", expires: int, way: Way, mode: Mode) -> None:
    from medshare.commands import admin_views
    from medshare.suites.base import SYSTEM_RANDOM
    from medshare.trust import proposal

    if not 60 <= expires <= proposal.MAX_VALID:
        raise UsageError("a proposal can be approved for one minute to 31 days")
    with administering(way) as (identity, relay):
        charter, _ = relay.overview()
        made = proposal.propose(
            charter,
            order,
            identity.card,
            identity.signers,
            now=now(),
            valid=expires,
            random=SYSTEM_RANDOM,
        )
        result = relay.propose(made)
    record = {
        **admin_views.proposal_record(made, event="proposed"),
        **admin_views.result_record(result),
    }
    choose(mode).result(record, lambda: admin_views.standing(made, result))


def _order(action: str, **arguments: Any) -> "Order":
    from medshare.trust.orders import Action, Order

    return replace(Order(Action(action)), **arguments)


@propose.command(epilog=examples("medshare admin propose enroll st-mary.card"))
@_card
@_profiled
@_proposing
def enroll(card: Path, wanted: Wanted, expires: int, way: Way, mode: Mode) -> None:
    """Let the station with CARD use the relay.

    An enrolment secret for a second factor is given out at the relay, once that is done: medshare
    relay second-factor reset.
    """
    order = _order("enroll", card=card_in(card), profile=_profile(wanted))
    _propose(order, expires, way, mode)


def _profile(wanted: Wanted) -> bytes:
    made = wanted.made()
    return b"" if made is None else made.encode()


@propose.command(
    "set-profile", epilog=examples("medshare admin propose set-profile dr-wang --profile person")
)
@_station
@_profiled
@_proposing
def set_profile(station: str, wanted: Wanted, expires: int, way: Way, mode: Mode) -> None:
    """Change what is demanded of STATION beside its key."""
    profile = _profile(wanted)
    if not profile:
        raise UsageError("say which profile: --profile open, person or unattended")
    order = _order("set-profile", station=station_named(station), profile=profile)
    _propose(order, expires, way, mode)


@propose.command(epilog=examples("medshare admin propose remove st-mary"))
@_station
@_proposing
def remove(station: str, expires: int, way: Way, mode: Mode) -> None:
    """Refuse STATION (a contact, or an id) from then on; its parcels stay."""
    _propose(_order("remove", station=station_named(station)), expires, way, mode)


@propose.command(
    "withdraw-grant",
    epilog=examples("medshare admin propose withdraw-grant 6f1c20b76f1c20b76f1c20b76f1c20b7 dr-wu"),
)
@_parcel
@_station
@_proposing
def withdraw_grant(parcel: str, station: str, expires: int, way: Way, mode: Mode) -> None:
    """Let STATION fetch PARCEL no longer."""
    order = _order("withdraw-grant", parcel=parcel_named(parcel), station=station_named(station))
    _propose(order, expires, way, mode)


@propose.command(epilog=examples("medshare admin propose delete 6f1c20b76f1c20b76f1c20b76f1c20b7"))
@_parcel
@_proposing
def delete(parcel: str, expires: int, way: Way, mode: Mode) -> None:
    """Destroy PARCEL at the relay before its time; refused while it is held."""
    _propose(_order("delete", parcel=parcel_named(parcel)), expires, way, mode)


@propose.command(epilog=examples("medshare admin propose hold 6f1c20b76f1c20b76f1c20b76f1c20b7"))
@_parcel
@_proposing
def hold(parcel: str, expires: int, way: Way, mode: Mode) -> None:
    """Hold PARCEL at once: it is not deleted, by nobody, until a quorum releases it."""
    _propose(_order("hold", parcel=parcel_named(parcel)), expires, way, mode)


@propose.command(
    "release-hold",
    epilog=examples("medshare admin propose release-hold 6f1c20b76f1c20b76f1c20b76f1c20b7"),
)
@_parcel
@_proposing
def release_hold(parcel: str, expires: int, way: Way, mode: Mode) -> None:
    """Release the hold on PARCEL."""
    _propose(_order("release-hold", parcel=parcel_named(parcel)), expires, way, mode)


@propose.command("set-policy", epilog=examples("medshare admin propose set-policy bounds.toml"))
@click.argument("file", type=click.Path(path_type=Path))
@_proposing
def set_policy(file: Path, expires: int, way: Way, mode: Mode) -> None:
    """Let the bounds in FILE hold at the relay.

    FILE is TOML: quota, station_quota, parcel_quota (sizes such as "500G"), max_open, and
    keep_at_most ("90d"). What it leaves out is as the relay was started.
    """
    _propose(_order("set-policy", settings=settings_in(file)), expires, way, mode)


@propose.command(
    "set-administrators",
    epilog=examples("medshare admin propose set-administrators anna.card ben.card --need 2"),
)
@click.argument("cards", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--need", type=click.IntRange(2), required=True, help="How many must approve.")
@_proposing
def set_administrators(
    cards: tuple[Path, ...], need: int, expires: int, way: Way, mode: Mode
) -> None:
    """Let those with CARDS administer the relay, and no others.

    The present quorum must approve it. All other open proposals are void then.
    """
    order = _order("set-administrators", administrators=administrators_in(cards), need=need)
    _propose(order, expires, way, mode)
