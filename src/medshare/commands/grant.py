"""`medshare grant`: look at what a parcel allows whom, and take it back."""

import time
from typing import TYPE_CHECKING, Any

import click

from medshare.commands.granting import parcel_named
from medshare.commands.opening import Way, contact_names, open_way, way_options
from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.errors import UsageError

if TYPE_CHECKING:
    from medshare.envelope import Envelope
    from medshare.ids import StationId
    from medshare.sharing.withdrawing import TakenBack
    from medshare.station import Station
    from medshare.trust.lineage import Power
    from medshare.withdrawal import Withdrawal


@click.group(
    epilog=examples(
        """
        medshare grant show 3f2a9c1b
        medshare grant withdraw 3f2a9c1b --from dr-wang --relay https://relay.example.org
        """
    )
)
def grant() -> None:
    """Show what a parcel allows whom, and take it back.

    A grant is signed by the sender as part of the parcel: role, permissions, purpose, end and
    number of openings. docs/grants.md says what of it can be enforced, and what cannot.
    """


@grant.command(
    epilog=examples(
        """
        medshare grant show 3f2a9c1b                        # one that was sent or received
        medshare grant show 3f2a9c1b --folder /media/usb
        """
    )
)
@click.argument("parcel")
@way_options
@output_options
def show(parcel: str, way: Way, mode: Mode) -> None:
    """Show who may do what with PARCEL, and what it continues, verified."""
    with open_way(way, "medshare.sharing.withdrawing") as (station, _, transport):
        from medshare.envelope import parse_envelope
        from medshare.sharing.continuing import envelope_of
        from medshare.sharing.incoming import require_lineage, sender_of
        from medshare.sharing.withdrawing import taken_back
        from medshare.trust.lineage import powers_in

        chosen = parcel_named(parcel, station, transport)
        envelope = parse_envelope(envelope_of(chosen, station, transport))
        sender_of(envelope, station, kept=True)
        chain = require_lineage(envelope, station, kept=True)
        taken = taken_back(envelope, station, transport)
        own = powers_in(chain).get(station.id)
        if any(one.recipient == station.id for one in taken.withdrawals):
            own = None
    from medshare.commands import grant_views, views

    names = names_of(station)
    with choose(mode) as out:
        out.result(
            _shown(chain, names, own, taken),
            lambda: views.facts(grant_views.shown(chain, names, taken)),
        )


def _shown(
    chain: "tuple[Envelope, ...]",
    names: "dict[StationId, str]",
    own: "Power | None",
    taken: "TakenBack",
) -> dict[str, Any]:
    from medshare.commands import records

    envelope = chain[-1]
    return {
        "event": "grants",
        "parcel": envelope.parcel.hex(),
        "sender": names.get(envelope.sender),
        "sender_station": envelope.sender.hex(),
        **records.terms(envelope, names=names),
        "before": [
            {"parcel": one.parcel.hex(), "sender_station": one.sender.hex()} for one in chain[:-1]
        ],
        "allowed": [] if own is None else sorted(own.permissions),
        "withdrawn": [
            {
                "from": names.get(one.recipient),
                "station": one.recipient.hex(),
                "withdrawn": one.withdrawn,
            }
            for one in taken.withdrawals
        ],
        "withdrawn_known": "relay" if taken.asked else "station",
    }


@grant.command(
    epilog=examples(
        """
        medshare grant withdraw 3f2a9c1b --from dr-wang     # at the relay of config.toml
        """
    )
)
@click.argument("parcel")
@click.option(
    "--from",
    "name",
    required=True,
    metavar="NAME",
    shell_complete=contact_names,
    help="Whose grant ends.",
)
@way_options
@output_options
def withdraw(parcel: str, name: str, way: Way, mode: Mode) -> None:
    """Take back what NAME was granted for PARCEL: the relay refuses it from now on.

    Whoever has opened the parcel before has seen it, and may have kept a copy.
    """
    with open_way(way, "medshare.sharing.withdrawing") as (station, identity, transport):
        from medshare.envelope import parse_envelope
        from medshare.sharing.continuing import envelope_of
        from medshare.sharing.withdrawing import WithdrawalStore
        from medshare.sharing.withdrawing import withdraw as withdraw_grant

        if not isinstance(transport, WithdrawalStore):
            raise UsageError(
                "a folder refuses nobody: a grant is withdrawn at a relay",
                hint="give --relay URL, or take the parcel out of the folder",
            )
        chosen = parcel_named(parcel, station, transport)
        withdrawal = withdraw_grant(
            parse_envelope(envelope_of(chosen, station, transport)),
            station.contacts.named(name),
            identity=identity,
            station=station,
            store=transport,
            now=int(time.time()),
        )
    with choose(mode) as out:
        out.result(
            _withdrawn(withdrawal, name),
            lambda: f"withdrawn: the relay refuses {name} from now on",
        )


def _withdrawn(withdrawal: "Withdrawal", name: str) -> dict[str, Any]:
    return {
        "event": "grant_withdrawn",
        "parcel": withdrawal.parcel.hex(),
        "from": name,
        "station": withdrawal.recipient.hex(),
        "withdrawn": withdrawal.withdrawn,
    }


def names_of(station: "Station") -> "dict[StationId, str]":
    """Return what stations are called here, this one among them."""
    names = {contact.station: contact.name for contact in station.contacts.all()}
    return names | {station.id: "this station"}
