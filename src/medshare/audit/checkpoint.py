"""Checkpoints (C2SP tlog-checkpoint): how long the record is and its root, signed.

    <origin>
    <size>
    base64(root)

A log signs with all keys of one generation of its identity, under its origin as the key's
name.  A witness cosigns (C2SP tlog-cosignature): with each of its keys over
`cosignature/v1`, the time, and the text above.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medshare.audit.merkle import EMPTY_ROOT, HASH_SIZE
from medshare.audit.notes import Note, NoteKey, NoteSignature, from_base64, is_name, parse_note
from medshare.canonical import MAX_TIME
from medshare.errors import FormatError, RevokedError, SignatureError, UntrustedSignerError
from medshare.ids import StationId
from medshare.suites.base import PublicKey, Signer
from medshare.suites.signatures import Verifier
from medshare.trust.card import Card

_WHAT: Final = "the checkpoint"
_COSIGNED: Final = "the cosignature on a checkpoint"
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_TIME_SIZE: Final = 8


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """That the record *origin* has *size* entries under *root*."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class LogKeys:
    """With which keys a record, or a witness, may have signed: one set for each generation."""

    name: str
    sets: tuple[tuple[PublicKey, ...], ...]
    revoked: tuple[tuple[PublicKey, ...], ...] = ()

    def notes(self, keys: Sequence[PublicKey], *, cosigner: bool = False) -> tuple[NoteKey, ...]:
        """Return one set of *keys* as they sign notes."""
        return tuple(NoteKey(self.name, key, cosigner) for key in keys)


def station_origin(station: StationId) -> str:
    """Return the origin of the record of a station."""
    return f"medshare/log/{station.hex()}"


def witness_name(station: StationId) -> str:
    """Return the name under which a station cosigns."""
    return f"medshare/witness/{station.hex()}"


def keys_of_card(card: Card, *, witness: bool = False) -> LogKeys:
    """Return the keys with which the station of *card* signs its record, or cosigns others'."""
    name = witness_name(card.station) if witness else station_origin(card.station)
    sets = tuple(one.sign_keys for one in card.generations)
    revoked = tuple(keys for keys in sets if card.revocation_of(keys) is not None)
    return LogKeys(name, tuple(keys for keys in sets if keys not in revoked), revoked)


def sign_checkpoint(checkpoint: Checkpoint, signers: Sequence[Signer]) -> Note:
    """Return *checkpoint* signed by all *signers*."""
    text = checkpoint.text()
    return Note(text, tuple(_sign(text.encode(), checkpoint.origin, one) for one in signers))


def _sign(message: bytes, name: str, signer: Signer) -> NoteSignature:
    return NoteSignature(name, NoteKey(name, signer.public).id, signer.sign(message))


def parse_checkpoint(data: bytes) -> tuple[Checkpoint, Note]:
    """Return what the checkpoint in *data* says, and the note; its signatures are not verified.

    Raises FormatError.
    """
    note = parse_note(data, what=_WHAT)
    lines = note.text.split("\n")
    if len(lines) != 4 or not is_name(lines[0]) or not _SIZE.fullmatch(lines[1]):
        raise FormatError("this is not the checkpoint of a record")
    checkpoint = Checkpoint(lines[0], int(lines[1]), from_base64(lines[2], _WHAT))
    if len(checkpoint.root) != HASH_SIZE or (checkpoint.size == 0) != (
        checkpoint.root == EMPTY_ROOT
    ):
        raise FormatError("the root in the checkpoint cannot be that of a record")
    return checkpoint, note


def require_signed(note: Note, keys: LogKeys) -> None:
    """Raise unless the record itself signed: with all keys of one of its generations.

    Raises SignatureError; UntrustedSignerError when none of *keys* has signed at all,
    RevokedError when it was signed with keys that were revoked.
    """
    for group in keys.sets:
        known = keys.notes(group)
        if any(note.find(key) for key in known):
            note.verify(known, what=_WHAT)
            return
    if any(note.find(key) for group in keys.revoked for key in keys.notes(group)):
        raise RevokedError(
            "the checkpoint is signed with keys that were revoked",
            hint="ask for one that is signed with the new keys",
        )
    raise UntrustedSignerError("the checkpoint is not signed by the record it is to be of")


def verified_checkpoint(data: bytes, keys: LogKeys) -> Checkpoint:
    """Return the checkpoint in *data* once it is proved to be of the record that has *keys*."""
    checkpoint, note = parse_checkpoint(data)
    if checkpoint.origin != keys.name:
        raise UntrustedSignerError("the checkpoint is that of another record")
    require_signed(note, keys)
    return checkpoint


def cosign(note: Note, name: str, signers: Sequence[Signer], *, now: int) -> Note:
    """Return *note* with the cosignatures of a witness called *name* in place of earlier ones.

    What the witness states with it, it must have checked: `record.witness` does.
    """
    kept = [one for one in note.signatures if one.name != name]
    message = _cosigned(note.text, now)
    for signer in signers:
        key = NoteKey(name, signer.public, cosigner=True)
        value = now.to_bytes(_TIME_SIZE) + signer.sign(message)
        kept.append(NoteSignature(name, key.id, value))
    return Note(note.text, tuple(kept))


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def cosigned_at(note: Note, keys: LogKeys) -> int | None:
    """Return when the witness with *keys* cosigned, or None when it did not.

    Raises SignatureError when a cosignature with its name does not verify, or not all are
    there that its keys can make.
    """
    for group in keys.sets:
        known = keys.notes(group, cosigner=True)
        found = [one for one in (note.find(key) for key in known) if one is not None]
        if found:
            if len(found) != len(known):
                raise SignatureError(f"{_COSIGNED} is not made with all keys of the witness")
            return _verified_time(note.text, known, found)
    return None


def _verified_time(text: str, keys: Sequence[NoteKey], found: Sequence[NoteSignature]) -> int:
    times = {one.value[:_TIME_SIZE] for one in found}
    time = int.from_bytes(found[0].value[:_TIME_SIZE])
    if len(times) != 1 or time > MAX_TIME:
        raise SignatureError(f"{_COSIGNED} names no time, or several")
    message = _cosigned(text, time)
    for key, signature in zip(keys, found, strict=True):
        Verifier(key.public).verify(signature.value[_TIME_SIZE:], message, what=_COSIGNED)
    return time
