"""What is asked on the command line about grants, and what of it an offer is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from medshare.commands.opening import match_parcel
from medshare.commands.options import Span, gathered
from medshare.errors import NotFoundError, UntrustedSignerError, UsageError
from medshare.grant import BUILT_IN, MAX_OPENINGS, Permission, Purpose, is_code
from medshare.ids import ParcelId, StationId

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from medshare.sharing.conditions import Conditions, Offer
    from medshare.station import Contact, Station
    from medshare.transport.base import Transport
    from medshare.trust.roles import Roles

Command = TypeVar("Command", bound=Callable[..., Any])
_BESIDE_A_ROLE: Final = "--purpose, --grant-until, --openings and --permit go with a --role"


@dataclass(frozen=True, slots=True)
class Granted:
    """What the command line says recipients may do."""

    role: str | None = None
    purpose: str | None = None
    lasts: int | None = None
    openings: int | None = None
    permit: tuple[str, ...] = ()
    department: str = ""

    def offer(self, role: str | None, roles: "Roles") -> "Offer | None":
        """Return what a recipient with *role*, or the role of all, is offered; None for nothing.

        Raises UsageError when something is said of a grant, and no role.
        """
        from medshare.sharing.conditions import offer_of

        named = role or self.role
        if named is None:
            if self != Granted(department=self.department):
                raise UsageError(_BESIDE_A_ROLE, hint="for example --role consultant")
            return None
        return offer_of(
            named,
            roles,
            permit=frozenset(map(Permission, self.permit)),
            purpose=self.purpose or Purpose.TREAT,
            lasts=self.lasts or 0,
            openings=self.openings or 0,
        )


def _roles(
    ctx: click.Context,  # noqa: ARG001  # click's signature
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> "list[CompletionItem]":
    """Offer the names of the built-in roles to the shell."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(role) for role in BUILT_IN if role.startswith(incomplete)]


_OPTIONS: Final[tuple[tuple[tuple[str, ...], dict[str, Any]], ...]] = (
    (
        ("--role",),
        {
            "metavar": "ROLE",
            "shell_complete": _roles,
            "help": "What recipients may do: attending, consultant, trainee, or an own role.",
        },
    ),
    (
        ("--purpose",),
        {
            "type": click.Choice([str(one) for one in Purpose], case_sensitive=False),
            "metavar": "CODE",
            "help": "Why, as HL7 has it: TREAT, ETREAT, HRESCH, HQUALIMP…  [default: TREAT]",
        },
    ),
    (
        ("--grant-until", "lasts"),
        {"type": Span(), "metavar": "TIME", "help": "The grant ends after so long (12h, 30d)."},
    ),
    (
        ("--openings",),
        {
            "type": click.IntRange(1, MAX_OPENINGS),
            "metavar": "N",
            "help": "How often it may be opened.",
        },
    ),
    (
        ("--permit",),
        {
            "type": click.Choice([str(one) for one in Permission]),
            "multiple": True,
            "help": "Allow this beside what the role has; may be repeated.",
        },
    ),
    (
        ("--department",),
        {"default": "", "metavar": "CODE", "help": "Where it comes from, such as psychiatry."},
    ),
)


def grant_options(command: Command) -> Command:
    """Add `--role` and what goes with it; the command receives them as one `granted`."""
    option = gathered("granted", Granted())
    for names, how in reversed(_OPTIONS):
        command = option(*names, **how)(command)
    return command


def parcel_named(written: str, station: "Station", transport: "Transport") -> ParcelId:
    """Return the parcel whose id begins with *written*: one that is here, or waits for it.

    Raises UsageError or NotFoundError as `match_parcel` does.
    """
    from medshare.sharing.continuing import parcels_at

    try:
        return match_parcel(written, parcels_at(station))
    except NotFoundError:
        return match_parcel(written, transport.inbox())


def recipients(
    names: Sequence[str], station: "Station"
) -> "tuple[list[Contact], Mapping[StationId, str]]":
    """Return the contacts that `--to` names, and the roles of those named as `NAME:ROLE`.

    A contact whose own name has a colon is found by all of it.  Raises UsageError for somebody
    unknown, or with two roles.
    """
    found: dict[StationId, Contact] = {}
    roles: dict[StationId, str] = {}
    for written in names:
        contact, role = _recipient(written, station)
        if role and roles.get(contact.station, role) != role:
            raise UsageError(f"{contact.name} is given two roles", hint="name each person once")
        found[contact.station] = contact
        if role:
            roles[contact.station] = role
    return list(found.values()), roles


def _recipient(written: str, station: "Station") -> "tuple[Contact, str]":
    name, colon, role = written.rpartition(":")
    if not colon or not name:
        return station.contacts.named(written), ""
    try:
        return station.contacts.named(written), ""
    except UntrustedSignerError:
        return station.contacts.named(name), role


def conditions(
    granted: Granted, to: "Sequence[Contact]", roles: Mapping[StationId, str], station: "Station"
) -> "Conditions":
    """Return on what conditions *to* get what is sent; raise UsageError where they make no sense.

    A role that stands beside a name goes before the role of all.
    """
    from medshare.sharing.conditions import Conditions

    if granted.department and not is_code(granted.department):
        raise UsageError(
            f"'{granted.department}' is not the code of a department",
            hint="it has 1 to 32 of a-z, 0-9 and, in between, '-', such as psychiatry",
        )
    known = station.policy.roles
    offers = {one.station: granted.offer(roles.get(one.station), known) for one in to}
    return Conditions(
        offers={one: offer for one, offer in offers.items() if offer is not None},
        department=granted.department,
    )
