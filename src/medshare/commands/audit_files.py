"""`medshare audit prove`, `checkpoint` and `witness`: what is handed to others."""

import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medshare.audit.entries import Act, Detail, Kind, Ref
from medshare.commands.audit_place import Place, Where, keys_for, open_place, where_options
from medshare.commands.audit_proofs import read
from medshare.commands.opening import open_station
from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.commands.unlock import passphrase_option, unlock_identity
from medshare.errors import AuditError, MedshareError, NotFoundError, UsageError

if TYPE_CHECKING:
    from medshare.audit.checkpoint import LogKeys
    from medshare.station import Identity, Station

_output_option = click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE, not stdout."
)


def _give(data: bytes, output: Path | None, *, what: str) -> None:
    """Write *data* to a file that is not there yet, or to stdout."""
    from medshare.disk.atomic import write_file

    if output is None:
        click.echo(data.decode(), nl=False)
        return
    if output.exists():
        raise UsageError(f"{output} exists; it is not overwritten")
    write_file(output, data, mode=0o644, what=what)


@click.command(
    epilog=examples(
        """
        medshare audit prove 1204 --output entry.tlog-proof
        medshare audit prove 88 --relay-data /srv/relay
        medshare audit verify entry.tlog-proof --card st-mary.card    # by whoever gets it
        """
    )
)
@click.argument("number", type=click.IntRange(0))
@_output_option
@where_options
def prove(number: int, output: Path | None, where: Where) -> None:
    """Write a file that shows entry NUMBER, and proves that it is in the record.

    Whoever has the file and the station's card can check it, without any network and without
    the rest of the record.
    """
    place = open_place(where)
    _give(place.reader().prove(number).encode(), output, what="the proof")


@click.command(
    epilog=examples(
        """
        medshare audit checkpoint                              # the newest
        medshare audit checkpoint --since 1000 --output for-the-witness
        medshare audit checkpoint --keep cosigned              # what the witness gave back
        medshare audit checkpoint --keys > relay.keys          # to check with, for others
        """
    )
)
@click.option("--since", type=click.IntRange(0), metavar="SIZE", help="Prove that it continues.")
@click.option("--sign", is_flag=True, help="Sign what is recorded first.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep the cosignatures that a witness has added.",
)
@click.option("--keys", is_flag=True, help="Print the keys that others need, instead.")
@_output_option
@where_options
@passphrase_option
def checkpoint(
    since: int | None,
    sign: bool,
    keep: Path | None,
    keys: bool,
    output: Path | None,
    where: Where,
    passphrase_file: Path | None,
) -> None:
    """Print the newest checkpoint: how long the record is, and its root, signed.

    Give it to others: who keeps it can show later whether the record still begins so.
    """
    place = open_place(where)
    if keys:
        _give(_vkeys(place), output, what="the keys")
        return
    if sign:
        _sign(place, passphrase_file)
    if keep is not None:
        _keep(place, keep)
        return
    if not place.reader().checkpoints.newest():
        raise NotFoundError("the record is not signed yet", hint="medshare audit checkpoint --sign")
    shown = place.reader().show(since or 0)
    data = shown.encode() if since is not None else shown.note.encode()
    _give(data, output, what="the checkpoint")


def _vkeys(place: Place) -> bytes:
    notes = place.keys.notes(place.keys.sets[-1])
    return "".join(f"{key.vkey}\n" for key in notes).encode()


def _sign(place: Place, passphrase_file: Path | None) -> None:
    if place.log is None:
        raise UsageError("a copy of a record is not signed")
    if place.relay is not None:
        place.log.checkpoint(place.origin, place.relay.signers)
        return
    if place.station is None:
        raise UsageError("an authority signs its record whenever it certifies or publishes")
    settings, station = open_station()
    identity = unlock_identity(station, settings, file=passphrase_file)
    place.log.checkpoint(place.origin, identity.signers)


def _keep(place: Place, path: Path) -> None:
    """Add the cosignatures in *path* to the checkpoint of the same size."""
    from medshare.audit.checkpoint import parse_checkpoint, verified_checkpoint
    from medshare.audit.notes import Note

    if place.log is None:
        raise UsageError("nothing is added to a copy of a record")
    data = read(path)
    point = verified_checkpoint(data, place.keys)
    own, note = place.log.checkpoints.load(point.size)
    if own.root != point.root:
        raise AuditError("the witness has seen another record than this", code="audit.forked")
    theirs = parse_checkpoint(data)[1]
    names = {one.name for one in theirs.signatures}
    kept = [one for one in note.signatures if one.name not in names or one.name == place.origin]
    added = [one for one in theirs.signatures if one.name != place.origin]
    place.log.checkpoints.keep(point.size, Note(note.text, (*kept, *added)))


@click.command(
    epilog=examples(
        """
        medshare audit witness for-the-witness --output cosigned
        medshare audit witness relay.checkpoint --key relay.keys
        """
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@_output_option
@where_options
@passphrase_option
@output_options
def witness(
    file: Path, output: Path | None, where: Where, passphrase_file: Path | None, mode: Mode
) -> None:
    """Cosign the checkpoint in FILE, of the record of somebody else.

    This station then vouches that it has seen one history of that record and no other. A
    checkpoint that does not continue the last one it saw is refused, and kept as evidence.
    """
    from medshare.record.witness import read_shown

    shown = read_shown(read(file))
    keys, _ = keys_for(shown.checkpoint.origin, where)
    settings, station = open_station()
    identity = unlock_identity(station, settings, file=passphrase_file)
    with station.record.signed(identity.signers):
        data = _witnessed(file, keys, station, identity)
    point = shown.checkpoint
    if output is not None or not mode.json:
        _give(data, output, what="the cosigned checkpoint")
    if mode.json:
        record = {
            "event": "witnessed",
            "origin": point.origin,
            "size": point.size,
            "root": point.root.hex(),
            "note": data.decode(),
        }
        choose(mode).result(record, lambda: "")


def _witnessed(file: Path, keys: "LogKeys", station: "Station", identity: "Identity") -> bytes:
    """Cosign, and put into the record of this station that it did, or why it did not."""
    from medshare.audit.checkpoint import witness_name
    from medshare.record.witness import Witness, read_shown

    shown = read_shown(read(file))
    about = Ref(Kind.RECORD, sha256(shown.checkpoint.origin.encode()).digest())
    event = station.record.event(Act.WITNESS, about, details={Detail.SIZE: shown.checkpoint.size})
    book = Witness(station.home / "witnessed", witness_name(station.id))
    try:
        book.require(shown, keys)
        station.record.log.record(event)
        note = book.witness(shown, keys, identity.signers, now=int(time.time()))
    except MedshareError as error:
        with suppress(MedshareError):
            station.record.log.record(event.refused(error))
        raise
    return note.encode()
