"""`medshare policy explain`: why something is allowed or refused, rule by rule."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from medshare.commands.opening import (
    Way,
    contact_names,
    match_parcel,
    open_station,
    open_way,
    way_options,
)
from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.errors import NotFoundError
from medshare.grant import Permission
from medshare.ids import ParcelId

if TYPE_CHECKING:
    from medshare.envelope import Envelope
    from medshare.station import Station

_AS_IF: Final = "as if there were a reason that is long enough "


@click.command(
    epilog=examples(
        """
        medshare policy explain 3f2a9c1b                       # may I look at it?
        medshare policy explain 3f2a9c1b --act export
        medshare policy explain 3f2a9c1b --as dr-okafor        # by the rules of this station
        medshare policy explain 3f2a9c1b --break-glass         # would that help?
        """
    )
)
@click.argument("parcel")
@click.option(
    "--act",
    type=click.Choice(list(map(str, Permission))),
    default=str(Permission.VIEW),
    show_default=True,
    help="What is to be done with it.",
)
@click.option(
    "--as",
    "contact",
    metavar="CONTACT",
    shell_complete=contact_names,
    help="Who is to do it, if not the holder of this station.",
)
@click.option("--break-glass", is_flag=True, help="As if the glass were broken for it.")
@way_options
@output_options
def explain(
    parcel: str, act: str, contact: str | None, break_glass: bool, way: Way, mode: Mode
) -> None:
    """Say why PARCEL may be viewed, exported, … here or not, rule by rule.

    A parcel that this station has at hand is read from its own folders; another one, from the
    relay or the folder that is named. Nothing is opened, and nothing is recorded.
    """
    from medshare.commands import access_views, credential_views
    from medshare.sharing.access import explained
    from medshare.trust.access_rules import MAX_REASON

    station, envelope = _found(parcel, way)
    who = None if contact is None else station.contacts.named(contact)
    decision, standing = explained(
        envelope,
        Permission(act),
        station,
        who=who,
        reason=(_AS_IF * MAX_REASON)[:MAX_REASON].strip() if break_glass else None,
        now=int(time.time()),
    )
    name = "this station" if who is None else who.name
    text, line = envelope.parcel.hex(), credential_views.standing_line(standing)
    choose(mode).result(
        access_views.decision_record(decision, parcel=text, who=name),
        lambda: access_views.decision(decision, parcel=text, who=name, known=line),
    )


def _found(text: str, way: Way) -> "tuple[Station, Envelope]":
    """Return the station, and the envelope of the parcel that *text* names, verified.

    Raises UntrustedSignerError or GrantError where no rule would be asked, because nobody who
    is trusted here has sent it, or it continues what it may not.
    """
    from medshare.envelope import parse_envelope
    from medshare.sharing.incoming import require_lineage, sender_of

    station = open_station()[1]
    at_hand = _at_hand(station)
    try:
        place = at_hand.get(match_parcel(text, list(at_hand)))
    except NotFoundError:
        place = None
    if place is not None:
        envelope = parse_envelope(_read(place))
    else:
        with open_way(way) as (station, _, transport):
            octets = transport.get_envelope(match_parcel(text, transport.inbox()))
            envelope = parse_envelope(octets)
    sender_of(envelope, station, kept=place is not None)
    require_lineage(envelope, station, kept=place is not None)
    return station, envelope


def _at_hand(station: "Station") -> dict[ParcelId, Path]:
    """Return where the parcels lie that this station sends, receives or keeps."""
    from medshare.errors import FormatError
    from medshare.ids import parcel_id_from_text
    from medshare.sharing.at_hand import parcels_at_hand

    found = {}
    for folder in parcels_at_hand(station):
        try:
            found[parcel_id_from_text(folder.name)] = folder / "envelope"
        except FormatError:
            continue  # something else that lies there
    return found


def _read(place: Path) -> bytes:
    from medshare.disk.atomic import read_file
    from medshare.envelope import MAX_ENVELOPE_SIZE

    return read_file(place, limit=MAX_ENVELOPE_SIZE, what="the envelope")
