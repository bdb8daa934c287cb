"""`medshare audit export`: the record for a hospital's archive and for its collector."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medshare.audit.entries import OPERATOR, Act, Detail, Event
from medshare.commands.audit_place import Place, Where, open_place, where_options
from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.errors import UsageError

if TYPE_CHECKING:
    from medshare.audit.entries import Entry
    from medshare.record.reader import RecordReader
    from medshare.transport.collector import Collector


class CollectorAddress(click.ParamType[tuple[str, int]]):
    """Where the collector listens: `HOST`, `HOST:PORT`, `[::1]:PORT`."""

    name = "address"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Return host and port; 6514, which RFC 5425 assigns, where none is given."""
        from medshare.transport.collector import PORT

        if isinstance(value, tuple):
            return value
        text = str(value)
        host, colon, port = text.rpartition(":")
        if not colon or text.endswith("]"):
            host, port = text, str(PORT)
        if not host or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
            self.fail(f"{value!r} is not an address such as logs.example.org:6514", param, ctx)
        return host.removeprefix("[").removesuffix("]"), int(port)


@click.command(
    epilog=examples(
        """
        medshare audit export --fhir --output events.ndjson
        medshare audit export --atna --from 1200 --output messages.xml
        medshare audit export --syslog logs.example.org:6514 --ca hospital-ca.pem
        medshare audit export --fhir --relay-data /srv/relay
        """
    )
)
@click.option("--fhir", is_flag=True, help="FHIR R4 AuditEvents, one JSON object a line.")
@click.option("--atna", is_flag=True, help="DICOM audit messages (IHE ATNA), one a line.")
@click.option(
    "--syslog",
    type=CollectorAddress(),
    metavar="HOST:PORT",
    help="Send them to a collector: syslog over TLS.",
)
@click.option("--ca", type=click.Path(path_type=Path), metavar="FILE", help="Who vouches for it.")
@click.option(
    "--client-cert",
    "certificate",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Certificate and key with which to call it, PEM.",
)
@click.option(
    "--from", "start", type=click.IntRange(0), default=0, metavar="NUMBER", help="First entry."
)
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE, not stdout."
)
@where_options
@output_options
def export(
    fhir: bool,
    atna: bool,
    syslog: tuple[str, int] | None,
    start: int,
    output: Path | None,
    where: Where,
    mode: Mode,
    **certificates: Path | None,
) -> None:
    """Give the record to others, in the forms that hospitals' systems read.

    That it was read is recorded. Nothing in it names a patient or a file.
    """
    from medshare.transport.collector import Collector

    if (fhir, atna, syslog is not None).count(True) != 1:
        raise UsageError("choose one of --fhir, --atna and --syslog")
    place = open_place(where)
    reader = place.reader()
    _note(place, start)
    if syslog is not None:
        _send(
            place,
            reader,
            Collector(*syslog, certificates["ca"], certificates["certificate"]),
            start,
            mode,
        )
        return
    lines = _fhir(place, reader, start) if fhir else _atna(place, reader, start)
    if output is not None:
        _tell(place, _write(output, lines), max(start, reader.first), mode)
        return
    for line in lines:
        click.echo(line)


def _tell(place: Place, count: int, first: int, mode: Mode) -> None:
    """Say how much was handed over, and where to go on the next time."""
    following = first + count
    record = {"event": "exported", "origin": place.origin, "entries": count, "next": following}
    sentence = f"{count:,} entries handed over; the next time: --from {following}"
    choose(mode).result(record, lambda: sentence)


def _note(place: Place, start: int) -> None:
    """Record that the record is read; of a copy there is nobody to tell."""
    details = {Detail.FIRST: start}
    if place.station is not None:
        place.station.record.note(Act.USE_RECORD, details=details)
    elif place.log is not None:
        uid = {Detail.UID: os.getuid()}
        place.log.record(Event(Act.USE_RECORD, OPERATOR, details={**details, **uid}))


def _entries(reader: "RecordReader", start: int) -> "Iterator[Entry]":
    yield from reader.entries(max(start, reader.first))


def _fhir(place: Place, reader: "RecordReader", start: int) -> Iterator[str]:
    from medshare.audit.fhir import audit_event

    for entry in _entries(reader, start):
        yield json.dumps(audit_event(entry, origin=place.origin), separators=(",", ":"))


def _atna(place: Place, reader: "RecordReader", start: int) -> Iterator[str]:
    from medshare.audit.atna import audit_message

    for entry in _entries(reader, start):
        message = audit_message(entry, origin=place.origin).decode()
        yield message.replace("\n", "")


def _write(output: Path, lines: Iterator[str]) -> int:
    from medshare.disk.atomic import storage_errors

    if output.exists():
        raise UsageError(f"{output} exists; it is not overwritten")
    count = 0
    with storage_errors("write the exported record"), output.open("x", encoding="utf-8") as file:
        for line in lines:
            file.write(line + "\n")
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return count


def _send(
    place: Place,
    reader: "RecordReader",
    collector: "Collector",
    start: int,
    mode: Mode,
) -> None:
    from medshare.transport.collector import send_all

    count = send_all(_entries(reader, start), collector, origin=place.origin)
    _tell(place, count, max(start, reader.first), mode)
