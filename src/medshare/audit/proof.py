"""What leaves the record in a file: the proof of one entry, and what a witness is shown.

A proof is a C2SP tlog-proof whose extra data is the entry itself, so that one file says what
is recorded and shows that it is:

    c2sp.org/tlog-proof@v1
    extra base64(entry)
    index <number>
    base64(hash), one a line
                                    (an empty line)
    <checkpoint>

What a witness is shown is the body of `add-checkpoint` in C2SP tlog-witness: `old <size>`,
the proof from there, an empty line, the checkpoint.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medshare.audit.checkpoint import Checkpoint, LogKeys, parse_checkpoint, require_signed
from medshare.audit.entries import Entry, parse_entry
from medshare.audit.merkle import HASH_SIZE, MAX_PROOF, leaf_hash, require_inclusion
from medshare.audit.notes import MAX_NOTE, Note, from_base64
from medshare.errors import AuditError, FormatError, LimitError, UntrustedSignerError

HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_PROOF_FILE: Final = MAX_NOTE + (1 << 16)
_EXTRA, _INDEX, _OLD = "extra ", "index ", "old "
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_PROOF: Final = "the proof"
_SHOWN: Final = "what the witness is shown"


@dataclass(frozen=True, slots=True)
class EntryProof:
    """One entry, and what shows that it is in the record."""

    entry: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        """Return the content of the file."""
        lines = [
            HEADER,
            _EXTRA + base64.b64encode(self.entry).decode(),
            f"{_INDEX}{self.index}",
            *_encoded(self.path),
        ]
        return "".join(f"{line}\n" for line in [*lines, ""]).encode() + self.checkpoint


def _encoded(hashes: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(one).decode() for one in hashes]


def _decoded(lines: Sequence[str], what: str) -> tuple[bytes, ...]:
    hashes = tuple(from_base64(line, what) for line in lines)
    if len(hashes) > MAX_PROOF or any(len(one) != HASH_SIZE for one in hashes):
        raise FormatError(f"{what} holds something that is no proof")
    return hashes


def _parted(data: bytes, what: str) -> tuple[list[str], bytes]:
    """Return the lines before the first empty one, and all that follows it."""
    if len(data) > MAX_PROOF_FILE:
        raise LimitError(f"{what} has {len(data)} bytes; at most {MAX_PROOF_FILE} are allowed")
    head, parting, rest = data.partition(b"\n\n")
    if not parting or not head.isascii():
        raise FormatError(f"{what} is malformed")
    return head.decode("ascii").split("\n"), rest


def _number(text: str, word: str, what: str) -> int:
    digits = text.removeprefix(word)
    if not text.startswith(word) or not _NUMBER.fullmatch(digits):
        raise FormatError(f"{what} is malformed")
    return int(digits)


def is_proof(data: bytes) -> bool:
    """Tell whether *data* claims to be the proof of an entry."""
    return data.startswith(HEADER.encode())


def parse_proof(data: bytes) -> EntryProof:
    """Return the proof in *data*, not yet checked; raise FormatError unless it is one."""
    lines, checkpoint = _parted(data, _PROOF)
    if len(lines) < 3 or lines[0] != HEADER or not lines[1].startswith(_EXTRA):
        raise FormatError("this is not the proof of an entry of a record")
    entry = from_base64(lines[1].removeprefix(_EXTRA), _PROOF)
    index = _number(lines[2], _INDEX, _PROOF)
    return EntryProof(entry, index, _decoded(lines[3:], _PROOF), checkpoint)


def verified_proof(proof: EntryProof, keys: LogKeys) -> tuple[Entry, Checkpoint]:
    """Return the entry once it is proved to be in the record that has *keys*.

    1. The checkpoint is of that record, and signed by it.
    2. The entry is well formed, and of the number that is proved.
    3. The path leads from it to the root of the checkpoint.

    Raises FormatError, SignatureError, UntrustedSignerError or AuditError.
    """
    checkpoint, note = parse_checkpoint(proof.checkpoint)
    if checkpoint.origin != keys.name:
        raise UntrustedSignerError("the proof is about the record of somebody else")
    require_signed(note, keys)
    entry = parse_entry(proof.entry)
    if entry.number != proof.index:
        raise AuditError("the proof is for another entry than it shows", code="audit.inclusion")
    leaf = leaf_hash(proof.entry)
    require_inclusion(leaf, proof.index, checkpoint.size, proof.path, checkpoint.root)
    return entry, checkpoint


@dataclass(frozen=True, slots=True)
class Shown:
    """What a witness is shown: the newest checkpoint, and that it continues one of *old* size."""

    old: int
    path: tuple[bytes, ...]
    checkpoint: Checkpoint
    note: Note

    def encode(self) -> bytes:
        """Return the content of the file."""
        lines = [f"{_OLD}{self.old}", *_encoded(self.path), ""]
        return "".join(f"{line}\n" for line in lines).encode() + self.note.encode()


def is_shown(data: bytes) -> bool:
    """Tell whether *data* claims to be for a witness, with a proof before the checkpoint."""
    return data.startswith(_OLD.encode())


def parse_shown(data: bytes) -> Shown:
    """Return what is in *data*, not yet checked; raise FormatError unless it is for a witness."""
    lines, rest = _parted(data, _SHOWN)
    checkpoint, note = parse_checkpoint(rest)
    old = _number(lines[0], _OLD, _SHOWN)
    return Shown(old, _decoded(lines[1:], _SHOWN), checkpoint, note)
