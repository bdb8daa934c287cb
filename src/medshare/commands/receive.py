"""`medshare receive`."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from medshare.commands.glass import glass_options, reason_of
from medshare.commands.opening import Way, match_parcel, open_way, way_options
from medshare.commands.options import (
    Mode,
    examples,
    output_options,
    suite_option,
    suites_allowed,
)
from medshare.commands.output import choose
from medshare.commands.transfer import Patience
from medshare.errors import (
    AccessDeniedError,
    AuthenticityError,
    FormatError,
    IntegrityError,
    KeyUnavailableError,
    MedshareError,
    NotFoundError,
    PolicyError,
    UsageError,
)
from medshare.ids import ParcelId
from medshare.sharing.events import Notice

if TYPE_CHECKING:
    from rich.console import RenderableType

    from medshare.commands.lines import Output
    from medshare.sharing.receive import ReceiveOptions, ReceiveResult
    from medshare.station import Identity, Station
    from medshare.transport.base import Transport

_GRAVE: Final = (IntegrityError, AuthenticityError, FormatError)
_OF_ONE_PARCEL: Final = (
    *_GRAVE,
    AccessDeniedError,
    KeyUnavailableError,
    NotFoundError,
    PolicyError,
    UsageError,
)
"""Faults of one parcel; what concerns the relay or the disk ends the command at once."""

_TO_RECEIVE: Final = (
    "medshare.sharing.receive",
    "medshare.codecs.planes",
    "medshare.commands.views",
)
"""Imported while the passphrase is made a key of."""


@click.command(
    epilog=examples(
        """
        medshare receive --list                      # who sent what; writes nothing
        medshare receive --output inbox/             # everything that waits
        medshare receive --output inbox/ --await 8h  # or the first that comes
        medshare receive 3f2a9c1b --output inbox/    # one parcel, by the start of its id
        medshare receive --output inbox/ --keep      # sealed in the vault as well
        medshare receive --output inbox/ --folder /media/usb
        medshare receive 3f2a9c1b --output inbox/ --break-glass --reason 'unconscious, ...'
        """
    )
)
@click.argument("parcel", required=False)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the files go; it is made if need be.",
)
@click.option("--list", "only_list", is_flag=True, help="Show what waits, verified; write nothing.")
@click.option("--keep", is_flag=True, help="Keep it in the vault as well, as it was sealed.")
@way_options
@click.option(
    "--wait",
    type=Patience(),
    metavar="TIME",
    default="10m",
    show_default=True,
    help="How long to wait for a sender that has not finished, without anything moving.",
)
@click.option(
    "--await",
    "await_",
    type=Patience(),
    metavar="TIME",
    default=0.0,
    help="While nothing waits, stay for so long, and take what comes first.",
)
@suite_option("The algorithms to take; naming one takes it although the keys differ.")
@glass_options
@output_options
def receive(
    parcel: str | None,
    output: Path | None,
    only_list: bool,
    keep: bool,
    way: Way,
    mode: Mode,
    break_glass: bool,
    reason: str,
    **options: Any,
) -> None:
    """Fetch, verify and open what others sent to this station.

    PARCEL is the id of a parcel, or its first eight digits or more; without it, everything
    that waits is received. Files appear under their names only after all of a parcel has
    been verified. Running the same command again goes on where an interrupted one stopped.
    """
    if output is None and not only_list:
        raise UsageError("where shall the files go?", hint="give --output DIR, or --list to look")
    glass = reason_of(break_glass, reason)
    if glass is not None and parcel is None:
        raise UsageError("the glass is broken for one parcel", hint="name it: --list shows them")
    stay = options.pop("await_")
    if stay and (parcel is not None or only_list):
        raise UsageError("--await takes what comes first; leave out PARCEL and --list")
    with open_way(way, *_TO_RECEIVE) as (station, identity, transport):
        if output is None or only_list:
            _show_waiting(parcel, identity, station, transport, mode)
            return
        known = transport.inbox()
        if not known and stay:
            choose(mode).event(Notice("receive.awaiting", "nothing waits yet; staying for it"))
            known = transport.inbox(seconds=stay)
        parcels = known if parcel is None else (match_parcel(parcel, known),)
        if not parcels:
            choose(mode).result({"event": "nothing_waits"}, nothing_waits)
        source = _kept(transport, station, identity) if keep else transport
        chosen = _receive_options(break_glass=glass, **options)
        _receive_each(parcels, output, chosen, identity, station, source, mode)


def _receive_options(*, wait: float, suite: str, break_glass: str | None) -> "ReceiveOptions":
    from medshare.sharing.receive import ReceiveOptions

    suites, mixed = suites_allowed(suite)
    return ReceiveOptions(wait=wait, suites=suites, mixed=mixed, break_glass=break_glass)


def _kept(transport: "Transport", station: "Station", identity: "Identity") -> "Transport":
    """Return *transport* with a copy of what it fetches in the vault."""
    from medshare.commands.vault import vault_of
    from medshare.config import load_settings
    from medshare.vault.keeping import KeepingTransport

    return KeepingTransport(transport, vault_of(load_settings(), station, make=True), identity)


def nothing_waits() -> "RenderableType":
    """Return the sentence for an empty inbox."""
    return "nothing waits for this station"


def _show_waiting(
    parcel: str | None,
    identity: "Identity",
    station: "Station",
    transport: "Transport",
    mode: Mode,
) -> None:
    from medshare.commands import credential_views, records, views
    from medshare.sharing.receive import list_waiting

    listings = list_waiting(identity=identity, station=station, transport=transport)
    if parcel is not None:
        chosen = match_parcel(parcel, [listing.parcel for listing in listings])
        listings = tuple(one for one in listings if one.parcel == chosen)
    known = credential_views.senders(station, listings, now=int(time.time()))
    choose(mode).result(
        records.waiting(listings, credential_views.records_of(known)),
        lambda: views.waiting(listings, credential_views.lines_of(known)),
    )


def _receive_each(
    parcels: Sequence[ParcelId],
    output: Path,
    options: "ReceiveOptions",
    identity: "Identity",
    station: "Station",
    transport: "Transport",
    mode: Mode,
) -> None:
    """Receive one parcel after the other; what is wrong with one does not hold up the next."""
    from medshare.sharing.receive import receive as receive_parcel

    failures: list[MedshareError] = []
    for parcel in parcels:
        out = choose(mode)
        try:
            with out:
                result = receive_parcel(
                    parcel,
                    identity=identity,
                    station=station,
                    transport=transport,
                    output=output,
                    options=options,
                    on_event=out.event,
                )
        except _OF_ONE_PARCEL as error:
            failures.append(error)
            if len(parcels) > 1:
                out.event(Notice("receive.refused", f"parcel {parcel.hex()}: {error.message}"))
        else:
            _show_received(result, station, out)
    if failures:
        raise next((error for error in failures if isinstance(error, _GRAVE)), failures[0])


def _show_received(result: "ReceiveResult", station: "Station", out: "Output") -> None:
    """Say what came, from whom, and who vouches for the sender."""
    from medshare.commands import credential_views, records, views

    sender = result.sender
    known = credential_views.standings(station, [sender], now=int(time.time()))
    standing = known.get(sender.station)
    out.result(
        records.received(result, credential_views.standing_record(standing)),
        partial(views.received, result, credential_views.standing_line(standing)),
    )
