"""`medshare relay`: run a mailbox for sealed parcels, and say who may use it.

Nothing here may load what decrypts: results are plain lines, not the views of transfers.
"""

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

from medshare.commands.options import Mode, Size, Span, examples, output_options
from medshare.commands.relay_access import (
    Rules,
    Wanted,
    access_options,
    office,
    profile_name,
    profile_options,
    second_factor,
    secret_lines,
    set_profile,
)
from medshare.commands.relay_admin import admin
from medshare.commands.relay_folder import (
    data_option,
    one_station,
    require_unadministered,
    stations_in,
    tell,
)
from medshare.commands.text import count, size, visible
from medshare.errors import CancelledError, UsageError

if TYPE_CHECKING:
    from medshare.relay.settings import Limits
    from medshare.trust.card import Card

_MAX_PORT: Final = 65535


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


relay.add_command(second_factor)
relay.add_command(set_profile)

relay.add_command(admin)


@relay.command(
    epilog=examples(
        """
        medshare relay serve --data relay --listen 127.0.0.1:8000        # to try it out
        medshare relay serve --data /srv/relay --listen :443 --tls-cert r.pem --tls-key r.key
        """
    )
)
@data_option
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
    "--keep-at-most",
    type=Span(),
    metavar="TIME",
    help="For how long a sender may ask to keep a parcel.  [default: for ever]",
)
@click.option(
    "--max-open",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Parcels that one sender may have begun and not finished.",
)
@access_options
@output_options
def serve(
    data: Path,
    listen: tuple[str, int],
    tls_cert: Path | None,
    tls_key: Path | None,
    names: tuple[str, ...],
    rules: Rules,
    mode: Mode,
    **bounds: int | None,
) -> None:
    """Serve until told to stop (SIGTERM, Ctrl-C).

    Plain HTTP is for this machine alone; anything else needs a certificate and its key.
    With -v, one line for each request goes to stderr.
    """
    from medshare.commands.process import prepare_to_move
    from medshare.relay.app import RelayApp
    from medshare.relay.names import names_of
    from medshare.relay.service import opened
    from medshare.relay.serving import serve as run
    from medshare.relay.settings import server_limits

    prepare_to_move()
    _log_to_stderr(mode)
    called, clients = names_of(tls_cert, names), rules.clients()
    with opened(data, _limits(bounds), rules=rules.access()) as service:
        run(
            RelayApp(service, called),
            *listen,
            tls_cert=tls_cert,
            tls_key=tls_key,
            clients=clients,
            on_ready=partial(_say_ready, mode, len(service.stations.cards())),
            limits=server_limits(),
        )
        stored = service.parcels.ledger.used()
    tell(mode, {"event": "relay_stopped", "bytes": stored}, f"stopped; {size(stored)} stored")


def _limits(bounds: dict[str, int | None]) -> "Limits":
    from medshare.relay.settings import Limits

    return Limits(
        total_bytes=bounds["quota"],
        station_bytes=bounds["station_quota"],
        parcel_bytes=bounds["parcel_quota"],
        open_parcels=bounds["max_open"] or 1,
        keep_seconds=bounds["keep_at_most"],
    )


def _say_ready(mode: Mode, stations: int, url: str) -> None:
    record = {"event": "relay_ready", "url": url, "stations": stations}
    tell(mode, record, f"relay at {url}, for {count(stations, 'station')}")


@relay.command(
    epilog=examples(
        """
        medshare relay enroll st-mary.card --data /srv/relay    # shows the fingerprint, and asks
        medshare relay enroll st-mary.card --data /srv/relay --yes
        medshare relay enroll dr-wang.card --data /srv/relay --profile person
        """
    )
)
@click.argument("card", type=click.Path(path_type=Path, allow_dash=True))
@data_option
@click.option("--yes", is_flag=True, help="Enroll it without asking, for scripts.")
@profile_options
@output_options
def enroll(card: Path, data: Path, yes: bool, wanted: Wanted, mode: Mode) -> None:
    """Let the station with CARD (a file, or - for stdin) use the relay.

    Takes effect at once, also while the relay runs. A station whose keys were rotated
    brings its newer card itself. Of a person a second factor is demanded, of an unattended
    station the signature of its client certificate and an address; see docs/sign-in.md.
    """
    from medshare.trust.card import dearmor, parse_card

    found = parse_card(dearmor(_read_card(card)))
    require_unadministered(data, "enroll CARD")
    stations = stations_in(data)
    if not yes and not stations.matching(found.station.hex()):
        _confirm(found, json=mode.json)
    profile = wanted.made()
    with _recorded(data) as note:
        enrol = partial(note, "enrol", found)
        secret = "" if profile is None else office(data).set_profile(found.station, profile)
        changed = stations.enroll(found, before_change=enrol)
    sentence = "may use this relay" if changed else "is enrolled already, with this very card"
    profiled = {"profile": profile_name(data, found.station), "secret": secret or None}
    tell(
        mode,
        {"event": "enrolled", "changed": changed, **_record(found), **profiled},
        f"{visible(found.name)} {sentence}",
        *secret_lines(secret),
    )


@relay.command("list")
@data_option
@output_options
def list_(data: Path, mode: Mode) -> None:
    """List the stations that may use the relay."""
    cards = stations_in(data, make=False).cards()
    kinds = [profile_name(data, card.station) for card in cards]
    records = [{**_record(card), "profile": kind} for card, kind in zip(cards, kinds, strict=True)]
    record = {"event": "stations", "stations": records}
    lines = [
        f"{card.station.hex()[:16]}  {card.fingerprint}  {kind:10}  {visible(card.name)}"
        for card, kind in zip(cards, kinds, strict=True)
    ]
    tell(mode, record, *(lines or ["no station is enrolled yet; medshare relay enroll CARD"]))


@relay.command()
@click.argument("station")
@data_option
@output_options
def remove(station: str, data: Path, mode: Mode) -> None:
    """Refuse a station from now on.

    STATION is its name, or the first digits of its id.

    Takes effect at once. Its parcels stay until they expire or somebody fetches them.
    """
    require_unadministered(data, "remove STATION")
    stations = stations_in(data, make=False)
    found = one_station(stations, station)
    with _recorded(data) as note:
        note("remove", found)
        stations.remove(found.station)
        office(data).forget(found.station)
    tell(
        mode,
        {"event": "unenrolled", **_record(found)},
        f"{visible(found.name)} may use this relay no longer",
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


def _log_to_stderr(mode: Mode) -> None:
    """Let the relay's log go to stderr: what goes wrong, and with -v each request."""
    logging.basicConfig(
        stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING
    )
    logging.getLogger("medshare.relay").setLevel(
        logging.INFO if mode.verbose and not mode.quiet else logging.WARNING
    )
