"""Which record an `audit` command is about: this station's, a relay's, or a copy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from medshare.commands.opening import open_station, station_if_any
from medshare.errors import FormatError, UntrustedSignerError, UsageError

if TYPE_CHECKING:
    from medshare.audit.checkpoint import LogKeys
    from medshare.audit.evidence import Evidence
    from medshare.ids import StationId
    from medshare.record.log import AuditLog
    from medshare.record.reader import RecordReader
    from medshare.relay.log_key import LogKey
    from medshare.station import Station
    from medshare.trust.card import Card

Command = TypeVar("Command", bound=Callable[..., Any])

FOLDER: Final = "audit"
MAX_KEY_FILE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Where:
    """What the command line says about the record, and about the keys to check it with."""

    relay_data: Path | None = None
    authority_data: Path | None = None
    log: Path | None = None
    card: Path | None = None
    key: Path | None = None


def where_options(command: Command) -> Command:
    """Add `--relay-data`, `--authority-data`, `--log`, `--card`, `--key`, as one `where`."""

    def gather(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        ctx.params["where"] = replace(ctx.params.get("where", Where()), **{str(param.name): value})
        return value

    def option(name: str, metavar: str, text: str) -> Callable[[Command], Command]:
        return click.option(
            name,
            type=click.Path(path_type=Path),
            metavar=metavar,
            expose_value=False,
            callback=gather,
            help=text,
        )

    command = option("--key", "FILE", "The keys of the record: medshare audit checkpoint --keys.")(
        command
    )
    command = option("--card", "FILE", "The card of the station whose record it is.")(command)
    command = option("--authority-data", "DIR", "The record of the authority in this folder.")(
        command
    )
    command = option("--log", "DIR", "A copy of a record; give --card or --key with it.")(command)
    return option("--relay-data", "DIR", "The record of the relay with this data folder.")(command)


@dataclass(frozen=True, slots=True)
class Place:
    """A record, and what is known here about it."""

    folder: Path
    keys: "LogKeys"
    log: "AuditLog | None"
    """To append to; None for copies."""
    station: "Station | None"
    """Whose own record it is."""
    relay: "LogKey | None"
    """What signs for it, when it is a relay's."""
    card: "Card | None"
    names: "Mapping[StationId, str]" = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """What the record is called."""
        return self.keys.name

    def reader(self) -> "RecordReader":
        """Return what reads it; raise NotFoundError when there is nothing."""
        from medshare.record.reader import RecordReader

        return RecordReader(self.folder)

    def evidence(self) -> "list[Evidence]":
        """Return what is kept on this machine about it, outside the record itself."""
        from medshare.audit.checkpoint import witness_name
        from medshare.audit.evidence import Evidence, Source
        from medshare.record.witness import Witness
        from medshare.sharing.anchors import evidence_about

        keeper = station_if_any()
        if keeper is None:
            return []
        found = [] if self.card is None else evidence_about(self.card, keeper)
        witness = Witness(keeper.home / "witnessed", witness_name(keeper.id))
        seen = witness.last_seen(self.origin)
        if seen is not None:
            point = seen[0]
            found.append(Evidence(point.size, point.root, Source.WITNESS, "this station"))
        return found


def open_place(where: Where) -> Place:
    """Return the record that *where* names; the own one when it names none."""
    named = [where.relay_data, where.authority_data, where.log]
    if sum(one is not None for one in named) > 1:
        raise UsageError("name one record: that of a relay, of an authority, or a copy of one")
    if where.authority_data is not None:
        return _authority(where.authority_data)
    if where.relay_data is not None:
        return _relay(where.relay_data, where)
    if where.log is not None:
        card = read_card(where.card)
        return Place(where.log, _given_keys(where, card), None, None, None, card, known_names())
    return _own(where)


def _own(where: Where) -> Place:
    from medshare.audit.checkpoint import keys_of_card

    station = open_station()[1]
    keys = read_keys(where.key) if where.key is not None else keys_of_card(station.card)
    folder, log = station.record.log.folder, station.record.log
    return Place(folder, keys, log, station, None, station.card, known_names())


def _relay(data: Path, where: Where) -> Place:
    import time

    from medshare.record.log import AuditLog
    from medshare.relay.log_key import FILE, log_key

    if not (data / FILE).is_file():
        raise UsageError(f"there is no record of a relay in {data}")
    key = log_key(data, now=int(time.time()))
    keys = read_keys(where.key) if where.key is not None else key.keys
    folder = data / FOLDER
    return Place(folder, keys, AuditLog(folder), None, key, None, known_names())


def _authority(data: Path) -> Place:
    from medshare.authority.office import Office
    from medshare.authority.recording import keys_of_authority

    office = Office.open(data)
    keys, log = keys_of_authority(office.certificate), office.record.log
    return Place(log.folder, keys, log, None, None, None, known_names())


def _given_keys(where: Where, card: "Card | None") -> "LogKeys":
    from medshare.audit.checkpoint import keys_of_card

    if where.key is not None:
        return read_keys(where.key)
    if card is not None:
        return keys_of_card(card)
    raise UsageError(
        "with what keys is this record to be checked?",
        hint="give the card of the station with --card, or the keys of the relay with --key",
    )


def keys_for(origin: str, where: Where) -> "tuple[LogKeys, Card | None]":
    """Return the keys with which the record *origin* is to be checked, and its station's card.

    They come from `--key` or `--card`, else from the contacts.  Raises UntrustedSignerError
    when nobody here knows them.
    """
    from medshare.audit.checkpoint import keys_of_card, station_origin

    if where.key is not None:
        return read_keys(where.key), None
    card = read_card(where.card)
    station = station_if_any()
    if card is None and station is not None:
        cards = [station.card, *(one.card for one in station.contacts.all())]
        card = next((one for one in cards if station_origin(one.station) == origin), None)
    if card is None:
        raise UntrustedSignerError(
            "this is about the record of somebody who is not known here",
            hint="give the card of the station with --card, or the keys of the relay with --key",
        )
    return keys_of_card(card), card


def read_card(path: Path | None) -> "Card | None":
    """Return the card in *path*, or None without one."""
    from medshare.disk.atomic import read_file
    from medshare.trust.card import MAX_CARD_FILE, dearmor, parse_card

    if path is None:
        return None
    return parse_card(dearmor(read_file(path, limit=2 * MAX_CARD_FILE, what="the card")))


def read_keys(path: Path) -> "LogKeys":
    """Return the keys in *path*: a vkey a line, all of one record and of one generation."""
    from medshare.audit.checkpoint import LogKeys
    from medshare.audit.notes import parse_vkey
    from medshare.disk.atomic import read_file

    data = read_file(path, limit=MAX_KEY_FILE, what="the keys of the record")
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise FormatError("this is not a file of keys of a record") from error
    keys = [parse_vkey(line.strip()) for line in lines if line.strip()]
    if not keys or len({key.name for key in keys}) != 1 or any(key.cosigner for key in keys):
        raise FormatError("the keys are not those of one record")
    return LogKeys(keys[0].name, (tuple(key.public for key in keys),))


def known_names() -> "dict[StationId, str]":
    """Return how stations are called here; nothing where there is no station."""
    station = station_if_any()
    if station is None:
        return {}
    return {one.station: one.name for one in station.contacts.all()} | {station.id: "this station"}
