"""From what was typed to an order, a relay, and a proposal at it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medshare.commands.opening import Way, open_station, station_if_any
from medshare.errors import FormatError, NotFoundError, UsageError
from medshare.ids import ParcelId, StationId, parcel_id_from_text, station_id_from_text

if TYPE_CHECKING:
    from medshare.station import Identity
    from medshare.transport.administration import AdminTransport, Matter
    from medshare.trust.card import Card
    from medshare.trust.orders import Administrator

SHORT: Final = 12
"""Digits by which a proposal is called."""
_LEAST: Final = 6
_MAX_POLICY: Final = 1 << 16


@contextmanager
def administering(way: Way) -> "Iterator[tuple[Identity, AdminTransport]]":
    """Give this station's identity and the relay that it administers; close it at the end."""
    from medshare.commands.showing import shown_at
    from medshare.commands.unlock import unlock_identity
    from medshare.transport.administration import AdminTransport

    if way.folder is not None:
        raise UsageError("only a relay has administrators, not a folder")
    settings, station = open_station()
    url = way.relay or settings.relay
    if url is None:
        raise UsageError("no relay is named", hint="give --relay URL, or set MEDSHARE_RELAY")
    identity = unlock_identity(station, settings, file=way.passphrase_file)
    shown = shown_at(url, settings, cert=way.client_cert, key=way.client_key)
    transport = AdminTransport(url, identity, ca_file=settings.relay_ca, shown=shown)
    try:
        yield identity, transport
    finally:
        transport.close()


def matter_of(transport: "AdminTransport", text: str) -> "Matter":
    """Return the proposal whose digest begins with *text*; raise NotFoundError or UsageError."""
    digits = text.lower()
    if len(digits) < _LEAST or set(digits) - set("0123456789abcdef"):
        raise UsageError(
            f"'{text}' is not the beginning of the id of a proposal",
            hint="medshare admin list shows the ids, of which the first six digits will do",
        )
    found = [one for one, _ in transport.proposals() if one.hex().startswith(digits)]
    if not found:
        raise NotFoundError(f"there is no proposal whose id begins with {digits}")
    if len(found) > 1:
        raise UsageError(f"several proposals begin with {digits}", hint="give more of its digits")
    return transport.matter(found[0])


def station_named(text: str) -> StationId:
    """Return the station that is called *text* here, or whose id it is; raise UsageError."""
    station = station_if_any()
    known = [] if station is None else [one for one in station.contacts.all() if one.name == text]
    if known:
        return known[0].station
    try:
        return station_id_from_text(text.lower())
    except FormatError as error:
        raise UsageError(
            f"'{text}' is neither a contact here nor the id of a station",
            hint="an id has 64 hexadecimal digits: medshare relay list --json, at the relay",
        ) from error


def parcel_named(text: str) -> ParcelId:
    """Return the parcel with that id, which is given in full; raise UsageError."""
    try:
        return parcel_id_from_text(text.lower())
    except FormatError as error:
        raise UsageError(
            f"'{text}' is not the id of a parcel", hint="all of its 32 digits are needed here"
        ) from error


def card_in(path: Path) -> "Card":
    """Return the card in the file *path*."""
    from medshare.disk.atomic import read_file
    from medshare.trust.card import dearmor, parse_card
    from medshare.wire.routes import MAX_CARD_BODY

    return parse_card(dearmor(read_file(path, limit=2 * MAX_CARD_BODY, what="the card")))


def administrators_in(paths: Sequence[Path]) -> "tuple[Administrator, ...]":
    """Return the administrators whose cards are in *paths*, with what is known of the persons.

    A certificate that follows a card says whose it is.  Raises CredentialError when it is not
    bound to that card.
    """
    return tuple(_administrator_in(path) for path in paths)


def _administrator_in(path: Path) -> "Administrator":
    from medshare.disk.atomic import read_file
    from medshare.trust.bundle import CERTIFICATE, MAX_BUNDLE, read_blocks
    from medshare.trust.charter import administrator_of
    from medshare.trust.credential import load_certificates

    card = card_in(path)
    data = read_file(path, limit=MAX_BUNDLE, what="the card")
    if b"-----BEGIN CERTIFICATE-----" not in data:
        return administrator_of(card, None)
    blocks = [one for one in read_blocks(data, what="the card") if one.label == CERTIFICATE]
    return administrator_of(card, load_certificates(blocks)[0])


def settings_in(path: Path) -> dict[str, int]:
    """Return what the policy of a relay in the file *path* sets.

    TOML: `quota`, `station_quota`, `parcel_quota` as sizes such as "500G", `max_open` as a
    number, `keep_at_most` as a time such as "90d".  Raises UsageError for anything else.
    """
    from medshare.commands.options import Size, Span
    from medshare.disk.atomic import read_toml

    try:
        table = read_toml(path, limit=_MAX_POLICY, what="the policy")
    except ValueError as error:
        raise UsageError(f"the policy is not valid toml: {error}".lower()) from error
    found = {}
    for key, value in table.items():
        if key not in SETTINGS_IN_FILE:
            raise UsageError(
                f"the policy of a relay has no setting '{key[:40]}'",
                hint=f"it has {', '.join(SETTINGS_IN_FILE)}",
            )
        kind = Span() if key == KEPT else Size()
        number = kind.convert(value, None, None) if isinstance(value, str) else value
        if type(number) is not int or number < 1:
            raise UsageError(f"the setting '{key}' is neither a number nor such as 500G or 90d")
        found[SETTINGS_IN_FILE[key]] = number
    return found


KEPT: Final = "keep_at_most"
SETTINGS_IN_FILE: Final = {
    "quota": "total_bytes",
    "station_quota": "station_bytes",
    "parcel_quota": "parcel_bytes",
    "max_open": "open_parcels",
    KEPT: "keep_seconds",
}
"""How the settings are called in a file, as the options of `relay serve` are."""


def now() -> int:
    """Return seconds since 1970 UTC."""
    return int(time.time())
