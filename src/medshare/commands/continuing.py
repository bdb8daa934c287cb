"""`medshare amend`, `opinion` and `share`: parcels that continue another."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from medshare.commands.granting import (
    Granted,
    conditions,
    grant_options,
    parcel_named,
    recipients,
)
from medshare.commands.opening import Way, contact_names, open_way, way_options
from medshare.commands.options import Mode, Span, examples, output_options
from medshare.commands.output import choose
from medshare.commands.transfer import show_sent
from medshare.errors import UsageError
from medshare.grant import Kind

if TYPE_CHECKING:
    from medshare.sharing.conditions import Conditions, Continuation
    from medshare.sharing.send import SendOptions
    from medshare.station import Contact, Station

Command = TypeVar("Command", bound=Callable[..., Any])

_TO_SEND: Final = (
    "medshare.sharing.continuing",
    "medshare.sharing.send",
    "medshare.codecs.encoder",
    "medshare.commands.views",
)


def _to_option(*, required: bool, text: str) -> Callable[[Command], Command]:
    return click.option(
        "--to",
        "names",
        multiple=True,
        required=required,
        metavar="NAME",
        shell_complete=contact_names,
        help=text,
    )


def _sending_options(command: Command) -> Command:
    """Add what sending needs beside recipients and grants."""
    for add in (
        output_options,
        click.option("--note", default="", metavar="TEXT", help="A few words, sealed with it."),
        click.option(
            "--delete-after",
            "keep_for",
            type=Span(),
            metavar="TIME",
            help="The relay erases it after so long (12h, 30d).",
        ),
        way_options,
    ):
        command = add(command)
    return command


@click.command(
    epilog=examples(
        """
        medshare amend 3f2a9c1b report-v2.pdf --to dr-wang    # a revision, signed by you
        medshare amend 3f2a9c1b ct_head/ --to dr-wang --to dr-li
        """
    )
)
@click.argument("parcel")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@_to_option(required=True, text="Somebody who has PARCEL, or NAME:ROLE; may be repeated.")
@grant_options
@_sending_options
def amend(parcel: str, paths: tuple[Path, ...], **asked: Any) -> None:
    """Send a revision of PARCEL: new files, which take the place of the old ones.

    It needs 'amend' in the grant of this station, and goes to those who have the parcel.
    Every station verifies that, and refuses a revision by anybody else.
    """
    _continue(Kind.REVISION, parcel, paths, **asked)


@click.command(
    epilog=examples(
        """
        medshare opinion 3f2a9c1b opinion.pdf                 # to whoever sent 3f2a9c1b
        """
    )
)
@click.argument("parcel")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@_to_option(required=False, text="Somebody else who has PARCEL.  [default: its sender]")
@grant_options
@_sending_options
def opinion(parcel: str, paths: tuple[Path, ...], **asked: Any) -> None:
    """Answer PARCEL with an opinion: files of your own, linked to it.

    It needs 'annotate' in the grant of this station. The parcel stays as it is.
    """
    _continue(Kind.OPINION, parcel, paths, **asked)


@click.command(
    epilog=examples(
        """
        medshare share 3f2a9c1b --to dr-li                     # as you have it yourself
        medshare share 3f2a9c1b --to dr-li --role trainee --grant-until 7d
        """
    )
)
@click.argument("parcel")
@_to_option(required=True, text="Whom to pass it on to, or NAME:ROLE; may be repeated.")
@grant_options
@_sending_options
def share(parcel: str, **asked: Any) -> None:
    """Pass on PARCEL, as it was received, to somebody else.

    It needs 'share' in the grant of this station; nobody gets more than that grant has, or
    for longer. Without it, the stations of others refuse what is passed on.
    """
    _continue(Kind.SHARE, parcel, (), **asked)


def _continue(
    kind: Kind,
    parcel: str,
    paths: Sequence[Path],
    *,
    names: Sequence[str],
    granted: Granted,
    way: Way,
    mode: Mode,
    **options: Any,
) -> None:
    with open_way(way, *_TO_SEND) as (station, identity, transport), choose(mode) as out:
        from medshare.sharing.continuing import continuation, received_files
        from medshare.sharing.send import send

        chosen = parcel_named(parcel, station, transport)
        before = continuation(chosen, kind, station=station, transport=transport)
        to, roles = recipients(names, station)
        to = to or [_sender(before.parent.sender, station)]
        asked = conditions(granted, to, roles, station)
        result = send(
            paths or received_files(chosen, station),
            to=to,
            identity=identity,
            station=station,
            transport=transport,
            options=_options(before, to, asked, station, **options),
            on_event=out.event,
        )
    show_sent(result, to, transport.route, out)


def _options(
    before: "Continuation",
    to: "Sequence[Contact]",
    asked: "Conditions",
    station: "Station",
    *,
    keep_for: int | None,
    note: str,
) -> "SendOptions":
    """Return how to send what continues *before*: of its tier, and within what it allows."""
    from medshare.sharing.continuing import conditions_after
    from medshare.sharing.send import SendOptions

    stations = [one.station for one in to]
    after = conditions_after(before, station.id, stations, asked=asked)
    return SendOptions(tier=before.parent.tier, keep_for=keep_for or 0, note=note, conditions=after)


def _sender(sender: bytes, station: "Station") -> "Contact":
    """Return who sent the parcel that is answered."""
    contact = next((one for one in station.contacts.all() if one.station == sender), None)
    if contact is None:
        raise UsageError("this station has sent the parcel itself", hint="name somebody with --to")
    return contact
