"""`medshare relay`: run a mailbox for sealed parcels, and say who may use it.

Nothing here may load what decrypts: results are plain lines, not the views of transfers.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from medshare.commands.options import Mode, Size, examples, output_options
from medshare.commands.relay_admin import admin
from medshare.commands.text import count, size, visible
from medshare.errors import CancelledError, NotFoundError, UsageError

if TYPE_CHECKING:
    from medshare.relay.enrolment import Stations
    from medshare.relay.settings import Limits
    from medshare.trust.card import Card

_MAX_PORT: Final = 65535

_data_option = click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder of the relay; made if need be, for this user alone.",
)


class Address(click.ParamType[tuple[str, int]]):
    """Where to listen: `HOST:PORT`, `[::1]:PORT`, `:PORT` everywhere; port 0 is any free one."""

    name = "address"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Return host and port."""
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        if not (port.isascii() and port.isdecimal()) or int(port) > _MAX_PORT:
            self.fail(f"{value!r} is not an address such as 127.0.0.1:8000 or :443", param, ctx)
        return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)  # noqa: S104  # asked for


@click.group(
    epilog=examples(
        """
        medshare relay enroll st-mary.card --data /srv/relay
        medshare relay serve --data /srv/relay --listen :443 --tls-cert r.pem --tls-key r.key
        medshare relay list --data /srv/relay
        """
    )
)
def relay() -> None:
    """Run a relay, which sees only ciphertext.

    Stations leave sealed parcels at it and fetch them from it. It holds no key that opens
    anything; only stations that are enrolled may use it.
    """


relay.add_command(admin)


@relay.command(
    epilog=examples(
        """
        medshare relay serve --data relay --listen 127.0.0.1:8000        # to try it out
        medshare relay serve --data /srv/relay --listen :443 --tls-cert r.pem --tls-key r.key
        """
    )
)
@_data_option
@click.option("--listen", required=True, type=Address(), metavar="HOST:PORT", help="Where to.")
@click.option(
    "--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="Certificate chain, PEM."
)
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="Its key, PEM.")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST[:PORT]",
    help="What clients call it, if not as in the certificate: behind a proxy. May be repeated.",
)
@click.option("--quota", type=Size(), help="Room for all parcels together.  [default: the disk]")
@click.option("--station-quota", type=Size(), help="Room for all parcels of one sender.")
@click.option("--parcel-quota", type=Size(), help="Room for one parcel.")
@click.option(
    "--max-open",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Parcels that one sender may have begun and not finished.",
)
@output_options
def serve(
    data: Path,
    listen: tuple[str, int],
    tls_cert: Path | None,
    tls_key: Path | None,
    names: tuple[str, ...],
    mode: Mode,
    **bounds: int | None,
) -> None:
    """Serve until told to stop (SIGTERM, Ctrl-C).

    Plain HTTP is for this machine alone; anything else needs a certificate and its key.
    With -v, one line for each request goes to stderr.
    """
    from medshare.relay.app import RelayApp
    from medshare.relay.names import names_of
    from medshare.relay.service import opened
    from medshare.relay.serving import serve as run
    from medshare.relay.settings import server_limits

    _log_to_stderr(mode)
    called = names_of(tls_cert, names)
    with opened(data, _limits(bounds)) as service:
        run(
            RelayApp(service, called),
            *listen,
            tls_cert=tls_cert,
            tls_key=tls_key,
            on_ready=partial(_say_ready, mode, len(service.stations.cards())),
            limits=server_limits(),
        )
        stored = service.parcels.ledger.used()
    _tell(mode, {"event": "relay_stopped", "bytes": stored}, f"stopped; {size(stored)} stored")


def _limits(bounds: dict[str, int | None]) -> "Limits":
    from medshare.relay.settings import Limits

    return Limits(
        total_bytes=bounds["quota"],
        station_bytes=bounds["station_quota"],
        parcel_bytes=bounds["parcel_quota"],
        open_parcels=bounds["max_open"] or 1,
    )


def _say_ready(mode: Mode, stations: int, url: str) -> None:
    record = {"event": "relay_ready", "url": url, "stations": stations}
    _tell(mode, record, f"relay at {url}, for {count(stations, 'station')}")


@relay.command(
    epilog=examples(
        """
        medshare relay enroll st-mary.card --data /srv/relay    # shows the fingerprint, and asks
        medshare relay enroll st-mary.card --data /srv/relay --yes
        """
    )
)
@click.argument("card", type=click.Path(path_type=Path, allow_dash=True))
@_data_option
@click.option("--yes", is_flag=True, help="Enroll it without asking, for scripts.")
@output_options
def enroll(card: Path, data: Path, yes: bool, mode: Mode) -> None:
    """Let the station with CARD (a file, or - for stdin) use the relay.

    Takes effect at once, also while the relay runs. A station whose keys were rotated
    brings its newer card itself.
    """
    from medshare.trust.card import dearmor, parse_card

    found = parse_card(dearmor(_read_card(card)))
    _require_unadministered(data, "enroll CARD")
    stations = _stations(data)
    if not yes and not stations.matching(found.station.hex()):
        _confirm(found, json=mode.json)
    with _recorded(data) as note:
        enrol = partial(note, "enrol", found)
        changed = stations.enroll(found, before_change=enrol)
    sentence = "may use this relay" if changed else "is enrolled already, with this very card"
    _tell(
        mode,
        {"event": "enrolled", "changed": changed, **_record(found)},
        f"{visible(found.name)} {sentence}",
    )


@relay.command("list")
@_data_option
@output_options
def list_(data: Path, mode: Mode) -> None:
    """List the stations that may use the relay."""
    cards = _stations(data, make=False).cards()
    record = {"event": "stations", "stations": [_record(card) for card in cards]}
    lines = [
        f"{card.station.hex()[:16]}  {card.fingerprint}  {visible(card.name)}" for card in cards
    ]
    _tell(mode, record, *(lines or ["no station is enrolled yet; medshare relay enroll CARD"]))


@relay.command()
@click.argument("station")
@_data_option
@output_options
def remove(station: str, data: Path, mode: Mode) -> None:
    """Refuse a station from now on.

    STATION is its name, or the first digits of its id.

    Takes effect at once. Its parcels stay until they expire or somebody fetches them.
    """
    _require_unadministered(data, "remove STATION")
    stations = _stations(data, make=False)
    found = stations.matching(station)
    if not found:
        raise NotFoundError(f"no station called {visible(station)} is enrolled here")
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} enrolled stations are called {visible(station)}",
            hint="give the first digits of the id: medshare relay list",
        )
    with _recorded(data) as note:
        note("remove", found[0])
        stations.remove(found[0].station)
    _tell(
        mode,
        {"event": "unenrolled", **_record(found[0])},
        f"{visible(found[0].name)} may use this relay no longer",
    )


@contextmanager
def _recorded(data: Path) -> "Iterator[Callable[[str, Card], None]]":
    """Give what puts an act of whoever runs the relay into its record; sign it at the end."""
    from medshare.audit import entries
    from medshare.relay.recording import RelayRecord

    record = RelayRecord(data, time.time)

    def note(act: str, card: "Card") -> None:
        generation = card.current.number
        details = {entries.Detail.GENERATION: generation, entries.Detail.UID: os.getuid()}
        about = entries.station(card.station)
        record.note(entries.Act(act), None, about, details=details)

    yield note
    record.sign()


def _stations(data: Path, *, make: bool = True) -> "Stations":
    from medshare.relay.enrolment import Stations
    from medshare.relay.folder import DataFolder

    if not make and not data.is_dir():
        raise UsageError(f"there is no folder of a relay at {visible(str(data))}")
    return Stations(DataFolder(data).cards)


def _require_unadministered(data: Path, how: str) -> None:
    from medshare.relay.founding import require_unadministered

    require_unadministered(data, how)


def _read_card(file: Path) -> bytes:
    from medshare.disk.atomic import read_file
    from medshare.errors import LimitError
    from medshare.wire.routes import MAX_CARD_BODY

    limit = 2 * MAX_CARD_BODY
    if str(file) != "-":
        return read_file(file, limit=limit, what="the card")
    octets = sys.stdin.buffer.read(limit + 1)
    if len(octets) > limit:
        raise LimitError(f"the card is larger than {limit} bytes")
    return octets


def _confirm(card: "Card", *, json: bool) -> None:
    """Ask the person at the terminal; raise UsageError where nobody can be asked."""
    if json or not sys.stdin.isatty():
        raise UsageError(
            "a card is enrolled only after its fingerprint was compared, and nobody is here to ask",
            hint=f"its fingerprint is {card.fingerprint}; if that is right, add --yes",
        )
    click.echo(f"  card of      {visible(card.name)}", err=True)
    click.echo(f"  fingerprint  {card.fingerprint}", err=True)
    click.echo("Let its owner read you the fingerprint, by telephone.", err=True)
    if not click.confirm("Is it the same?", err=True):
        raise CancelledError("the card is not enrolled, and nothing was changed")


def _record(card: "Card") -> dict[str, Any]:
    return {
        "station": card.station.hex(),
        "name": card.name,
        "fingerprint": card.fingerprint,
        "generation": card.current.number,
    }


def _tell(mode: Mode, record: dict[str, Any], *lines: str) -> None:
    """Give a result: *record* to programs, *lines* to people."""
    if mode.json:
        click.echo(json.dumps(record))
    elif not mode.quiet:
        for line in lines:
            click.echo(line)
    sys.stdout.flush()


def _log_to_stderr(mode: Mode) -> None:
    """Let the relay's log go to stderr: what goes wrong, and with -v each request."""
    logging.basicConfig(
        stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING
    )
    logging.getLogger("medshare.relay").setLevel(
        logging.INFO if mode.verbose and not mode.quiet else logging.WARNING
    )
