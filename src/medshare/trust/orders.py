"""What administrators of a relay can decide: the actions, and what each takes (format §16.2).

An order is an action with its arguments.  Each action has exactly the arguments of its row in
`_TAKES`; one too many or too few is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from medshare import canonical
from medshare.canonical import Fields
from medshare.errors import FormatError
from medshare.ids import PARCEL_ID_SIZE, STATION_ID_SIZE, ParcelId, StationId
from medshare.trust.card import Card, parse_card
from medshare.trust.quorum import MAX_ADMINISTRATORS

MAX_CARD: Final = 1 << 17
"""Octets of a card in a signed object of an administrator."""
PERSON_SIZE: Final = 32
MAX_SETTING: Final = 1 << 62
MAX_PROFILE: Final = 1 << 16
_WHAT: Final = "the arguments of a proposal"


class Action(StrEnum):
    """Everything that needs a proposal."""

    ENROLL = "enroll"
    REMOVE = "remove"
    SET_PROFILE = "set-profile"
    WITHDRAW_GRANT = "withdraw-grant"
    DELETE = "delete"
    HOLD = "hold"
    RELEASE_HOLD = "release-hold"
    SET_POLICY = "set-policy"
    SET_ADMINISTRATORS = "set-administrators"


ALONE: Final = frozenset({Action.HOLD})
"""Actions that one administrator may take: a hold destroys nothing and shows nobody anything,
it must be there before the sweep is, and only a quorum lifts it."""

SETTINGS: Final = ("keep_seconds", "open_parcels", "parcel_bytes", "station_bytes", "total_bytes")
"""What a policy of a relay may set; what it leaves out is as the relay was started."""

_TAKES: Final[Mapping[Action, tuple[str, ...]]] = {
    Action.ENROLL: ("card", "profile"),
    Action.REMOVE: ("station",),
    Action.SET_PROFILE: ("profile", "station"),
    Action.WITHDRAW_GRANT: ("parcel", "station"),
    Action.DELETE: ("parcel",),
    Action.HOLD: ("parcel",),
    Action.RELEASE_HOLD: ("parcel",),
    Action.SET_POLICY: ("settings",),
    Action.SET_ADMINISTRATORS: ("administrators", "need"),
}


@dataclass(frozen=True, slots=True)
class Administrator:
    """Somebody who may propose and approve: a card, and the person where that is known."""

    card: Card
    person: bytes = b""
    """SHA-256 that names the person by his credential, or empty; see `trust.charter`."""

    def to_value(self) -> list[canonical.Value]:
        """Return the CBOR form."""
        return [self.card.encoded, self.person]


@dataclass(frozen=True, slots=True)
class Order:
    """An action with its arguments; those that it does not take are empty."""

    action: Action
    card: Card | None = None
    profile: bytes = b""
    """What the relay demands of the station beside its key, as the relay keeps it; see
    `relay.profiles`.  Empty for nothing."""
    station: StationId = StationId(b"")
    parcel: ParcelId = ParcelId(b"")
    settings: Mapping[str, int] = field(default_factory=dict)
    administrators: tuple[Administrator, ...] = ()
    need: int = 0

    @property
    def subject(self) -> StationId:
        """The station that it is about, if it is about one."""
        return self.station if self.card is None else self.card.station

    def arguments(self) -> dict[str, canonical.Value]:
        """Return what goes with the action."""
        values: dict[str, canonical.Value] = {
            "administrators": [one.to_value() for one in self.administrators],
            "card": b"" if self.card is None else self.card.encoded,
            "need": self.need,
            "parcel": bytes(self.parcel),
            "profile": self.profile,
            "settings": dict(self.settings),
            "station": bytes(self.station),
        }
        return {name: values[name] for name in _TAKES[self.action]}


def parse_order(action: str, arguments: Mapping[str, object]) -> Order:
    """Return the order; raise FormatError unless its arguments are those of its action."""
    try:
        known = Action(action)
    except ValueError as error:
        raise FormatError("a proposal asks for an action that is unknown here") from error
    fields, takes = Fields(dict(arguments), what=_WHAT), _TAKES[known]
    order = Order(
        known,
        card=_card(fields.octets("card", maximum=MAX_CARD)) if "card" in takes else None,
        profile=fields.octets("profile", maximum=MAX_PROFILE) if "profile" in takes else b"",
        station=_station(fields, takes),
        parcel=_parcel(fields, takes),
        settings=_settings(fields.mapping("settings")) if "settings" in takes else {},
        administrators=_administrators(fields) if "administrators" in takes else (),
        need=fields.uint("need", maximum=MAX_ADMINISTRATORS) if "need" in takes else 0,
    )
    fields.finish()
    return order


def _station(fields: Fields, takes: tuple[str, ...]) -> StationId:
    return StationId(fields.octets("station", size=STATION_ID_SIZE) if "station" in takes else b"")


def _parcel(fields: Fields, takes: tuple[str, ...]) -> ParcelId:
    return ParcelId(fields.octets("parcel", size=PARCEL_ID_SIZE) if "parcel" in takes else b"")


def _card(data: bytes) -> Card:
    return parse_card(data)


def _settings(table: Mapping[str, object]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, value in table.items():
        if name not in SETTINGS:
            raise FormatError("a policy of a relay has a setting that is unknown here")
        if type(value) is not int or not 1 <= value <= MAX_SETTING:
            raise FormatError(f"the setting '{name}' of a policy is not a number from 1 on")
        found[name] = value
    return found


def _administrators(fields: Fields) -> tuple[Administrator, ...]:
    return administrators_of(fields.items("administrators", maximum=MAX_ADMINISTRATORS))


def administrators_of(items: list[object]) -> tuple[Administrator, ...]:
    """Return the administrators in *items*; raise FormatError when one is malformed."""
    found = []
    for item in items:
        match item:
            case [bytes() as card, bytes() as person] if len(card) <= MAX_CARD and len(person) in {
                0,
                PERSON_SIZE,
            }:
                found.append(Administrator(parse_card(card), person))
            case _:
                raise FormatError("an administrator is malformed")
    return tuple(found)
