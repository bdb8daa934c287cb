"""From what was typed to a station, its identity and a way to the other side."""

import importlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from medshare.commands.options import gathered
from medshare.errors import MedshareError, NotFoundError, UsageError
from medshare.ids import PARCEL_ID_SIZE, ParcelId, parcel_id_from_text

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from medshare.config import Settings
    from medshare.station import Identity, Station
    from medshare.transport.base import Transport

Command = TypeVar("Command", bound=Callable[..., Any])

_DIGITS: Final = re.compile(rf"[0-9a-f]{{8,{2 * PARCEL_ID_SIZE}}}")


@dataclass(frozen=True, slots=True)
class Way:
    """What the command line says about the way to the other side, and about the passphrase."""

    relay: str | None = None
    folder: Path | None = None
    passphrase_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None


def way_options(command: Command) -> Command:
    """Add the options about the way to the other side; the command gets them as one `way`."""
    option = gathered("way", Way())
    command = key_options(option, command)
    command = option(
        "--folder",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="A folder that both sides see, or carry, instead of a relay.",
    )(command)
    return relay_option(option, command)


def relay_option(option: Callable[..., Callable[[Command], Command]], command: Command) -> Command:
    """Add `--relay`, made by *option*."""
    return option("--relay", metavar="URL", help="The relay (or MEDSHARE_RELAY, or config.toml).")(
        command
    )


def key_options(option: Callable[..., Callable[[Command], Command]], command: Command) -> Command:
    """Add what a station needs to sign: passphrase and client certificate; made by *option*."""
    command = option(
        "--passphrase-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Read the passphrase of this station from a file.",
    )(command)
    for name, text in (("key", "Its key."), ("cert", "The client certificate for the relay.")):
        command = option(
            f"--client-{name}", type=click.Path(path_type=Path), metavar="FILE", help=text
        )(command)
    return command


def open_station() -> "tuple[Settings, Station]":
    """Return the settings and the station that they name, still locked."""
    from medshare.config import load_settings
    from medshare.station import Station

    settings = load_settings()
    return settings, Station.open(settings.home)


def station_if_any() -> "Station | None":
    """Return this machine's station, or None when there is none that can be read."""
    try:
        return open_station()[1]
    except MedshareError:
        return None


@contextmanager
def _loading(*modules: str) -> Iterator[None]:
    """Import *modules* while the block runs; what cannot be imported fails where it is used.

    A passphrase takes time, to be typed and to be made a key of, and leaves the interpreter
    free meanwhile: the program is a quarter of a second earlier at work.
    """

    def load() -> None:
        for module in modules:
            with suppress(ImportError, MedshareError):
                importlib.import_module(module)

    thread = threading.Thread(target=load, name="medshare-loading", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def open_way(way: Way, *modules: str) -> "Iterator[tuple[Station, Identity, Transport]]":
    """Give the station, its identity and an open transport; close the transport at the end.

    Asks for the passphrase when there is a terminal and no other source of it; *modules*
    are those that the caller will need after that.
    """
    from medshare.commands.process import prepare_to_move
    from medshare.commands.unlock import unlock_identity

    prepare_to_move()
    settings, station = open_station()
    route = _route(way, settings)
    kind = "folder" if isinstance(route, Path) else "relay"
    with _loading(f"medshare.transport.{kind}", *modules):
        identity = unlock_identity(station, settings, file=way.passphrase_file)
    transport = _connect(route, settings, identity, way)
    try:
        yield station, identity, transport
    finally:
        transport.close()


def _route(way: Way, settings: "Settings") -> str | Path:
    """Return the folder or relay that was named, before anybody is asked for a passphrase."""
    if way.folder is not None and way.relay is not None:
        raise UsageError("name either a relay or a folder, not both")
    if way.folder is not None:
        return way.folder
    relay = way.relay or settings.relay
    if relay is None:
        raise UsageError(
            "no relay is named",
            hint="give --relay URL (or set MEDSHARE_RELAY, or relay in config.toml), "
            "or --folder DIR",
        )
    return relay


def _connect(
    route: str | Path, settings: "Settings", identity: "Identity", way: Way
) -> "Transport":
    if isinstance(route, Path):
        from medshare.transport.folder import FolderTransport

        return FolderTransport(route.resolve(), identity.station)
    from medshare.commands.showing import shown_at
    from medshare.transport.relay import RelayTransport

    shown = shown_at(route, settings, cert=way.client_cert, key=way.client_key)
    return RelayTransport(route, identity, ca_file=settings.relay_ca, shown=shown)


def match_parcel(text: str, known: Sequence[ParcelId]) -> ParcelId:
    """Return the parcel whose id is *text*, or the only one in *known* that begins so.

    Raises UsageError when *text* cannot be an id or fits several, NotFoundError when it
    fits none.
    """
    digits = text.lower()
    if not _DIGITS.fullmatch(digits):
        raise UsageError(
            f"'{text}' is not a parcel id",
            hint="an id has 32 hexadecimal digits, of which the first eight or more will do",
        )
    if len(digits) == 2 * PARCEL_ID_SIZE:
        return parcel_id_from_text(digits)
    found = [parcel for parcel in known if parcel.hex().startswith(digits)]
    if not found:
        raise NotFoundError(f"there is no parcel whose id begins with {digits}")
    if len(found) > 1:
        raise UsageError(f"several parcels begin with {digits}", hint="give more of its digits")
    return found[0]


def contact_names(
    ctx: click.Context,  # noqa: ARG001  # click's signature
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> "list[CompletionItem]":
    """Offer the names of contacts to the shell; nothing when there is no station."""
    from click.shell_completion import CompletionItem

    station = station_if_any()
    if station is None:
        return []
    names = (contact.name for contact in station.contacts.all())
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
