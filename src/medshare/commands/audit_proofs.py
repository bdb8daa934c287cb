"""Files that speak about a record: proofs of entries, checkpoints, receipts."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medshare.commands.audit_place import Place, Where, keys_for, known_names, read_card
from medshare.commands.options import Mode
from medshare.commands.output import choose
from medshare.errors import FormatError, UsageError

if TYPE_CHECKING:
    from medshare.audit.checkpoint import LogKeys
    from medshare.audit.evidence import Evidence
    from medshare.audit.notes import Note

_MAX_FILE: Final = 1 << 20


def read(path: Path) -> bytes:
    """Return the content of a proof or a checkpoint."""
    from medshare.disk.atomic import read_file

    return read_file(path, limit=_MAX_FILE, what="the file")


def witness_keys(card: Path) -> "LogKeys":
    """Return the keys with which the station whose card lies in *card* cosigns."""
    from medshare.audit.checkpoint import keys_of_card

    found = read_card(card)
    if found is None:
        raise UsageError("name the card of the witness")
    return keys_of_card(found, witness=True)


def verify_files(
    files: Sequence[Path], witnesses: Sequence[Path], where: Where, mode: Mode
) -> None:
    """Check each of *files*, proofs and checkpoints, and show what it shows."""
    known = [witness_keys(card) for card in witnesses]
    for path in files:
        _verify_file(read(path), known, where, mode)


def _verify_file(data: bytes, witnesses: "Sequence[LogKeys]", where: Where, mode: Mode) -> None:
    from medshare.audit.checkpoint import parse_checkpoint, verified_checkpoint
    from medshare.audit.proof import is_proof, parse_proof, verified_proof
    from medshare.commands import audit_views
    from medshare.record.witness import read_shown

    if is_proof(data):
        proof = parse_proof(data)
        _, note = parse_checkpoint(proof.checkpoint)
        keys, _ = keys_for(note.text.partition("\n")[0], where)
        entry, point = verified_proof(proof, keys)
        seen = _seen_by(note, witnesses)
        record = audit_views.proved_record(entry, point, seen)
        names = known_names()
        choose(mode).result(record, lambda: audit_views.proved(entry, point, seen, names))
        return
    shown = read_shown(data)
    keys, _ = keys_for(shown.checkpoint.origin, where)
    point = verified_checkpoint(shown.note.encode(), keys)
    seen = _seen_by(shown.note, witnesses)
    record = {
        "event": "checkpoint",
        "origin": point.origin,
        "size": point.size,
        "root": point.root.hex(),
        "witnesses": seen,
    }
    sentence = f"the checkpoint after {point.size:,} entries is signed by its record"
    by = f", and witnessed by {len(seen)}" if seen else ""
    choose(mode).result(record, lambda: sentence + by)


def _seen_by(note: "Note", witnesses: "Sequence[LogKeys]") -> list[str]:
    """Return which witnesses have cosigned; raise SignatureError when one of them is false."""
    from medshare.audit.checkpoint import cosigned_at

    return [
        keys.name.rpartition("/")[2] for keys in witnesses if cosigned_at(note, keys) is not None
    ]


def add_evidence(path: Path, place: Place, witnesses: "Sequence[LogKeys]") -> "list[Evidence]":
    """Return what the file *path*, a checkpoint or a receipt, says of the record at *place*."""
    from medshare.audit.checkpoint import cosigned_at, verified_checkpoint
    from medshare.audit.evidence import Evidence, Source
    from medshare.record.witness import read_shown

    data = read_large(path)
    try:
        shown = read_shown(data)
    except FormatError:
        return [_receipt(data, place)]
    point = verified_checkpoint(shown.note.encode(), place.keys)
    given = Evidence(point.size, point.root, Source.GIVEN, f"after {point.size} entries")
    times = [cosigned_at(shown.note, keys) for keys in witnesses]
    seen = [
        Evidence(point.size, point.root, Source.WITNESS, "given", time)
        for time in times
        if time is not None
    ]
    return [given, *seen]


def read_large(path: Path) -> bytes:
    """Return the content of a checkpoint or a receipt."""
    from medshare.disk.atomic import read_file
    from medshare.receipt import MAX_RECEIPT_SIZE

    return read_file(path, limit=MAX_RECEIPT_SIZE, what="the file")


def _receipt(data: bytes, place: Place) -> "Evidence":
    from medshare.receipt import parse_receipt
    from medshare.sharing.anchors import anchor_in

    receipt = parse_receipt(data)
    found = None if place.card is None else anchor_in(receipt, place.card)
    if found is None:
        raise UsageError("this receipt says nothing about this record")
    return found
