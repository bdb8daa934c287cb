"""Witnessing the records of others: one history each, and never back (C2SP tlog-witness).

    witnessed/<SHA-256 of the origin>         the newest checkpoint that was cosigned
    witnessed/<SHA-256 of the origin>.forked  one that does not continue it, under signature

What was seen is durable before a cosignature is given.  A record that shows another history
is refused, and what it showed is kept: with the one before, it proves that there were two.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from medshare.audit.checkpoint import Checkpoint, LogKeys, cosign, parse_checkpoint, require_signed
from medshare.audit.merkle import require_consistency
from medshare.audit.notes import MAX_NOTE, Note
from medshare.audit.proof import Shown, is_shown, parse_shown
from medshare.disk.atomic import read_file, storage_errors, write_file
from medshare.errors import AuditError, UntrustedSignerError, UsageError
from medshare.record.segments import private_folder
from medshare.suites.base import Signer

_LOCK: Final = ".lock"
_WHAT: Final = "what was witnessed"


def read_shown(data: bytes) -> Shown:
    """Return what a witness is shown in *data*: a checkpoint, with or without a proof before it."""
    if is_shown(data):
        return parse_shown(data)
    checkpoint, note = parse_checkpoint(data)
    return Shown(0, (), checkpoint, note)


class Witness:
    """What the station called *name* has witnessed, in *folder*."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name

    def last_seen(self, origin: str) -> tuple[Checkpoint, Note] | None:
        """Return the newest checkpoint of *origin* that was cosigned here, or None."""
        path = self._path(origin)
        if not path.exists():
            return None
        return parse_checkpoint(read_file(path, limit=MAX_NOTE, what=_WHAT, follow=False))

    def witness(self, shown: Shown, keys: LogKeys, signers: Sequence[Signer], *, now: int) -> Note:
        """Return the checkpoint in *shown* with the cosignatures of *signers*.

        1. It is of the record that has *keys*, and signed by it.
        2. It is not before the one that was cosigned last.
        3. Its proof begins there, and shows that the one continues the other.

        Raises UntrustedSignerError or SignatureError for 1, AuditError for 2 and 3, UsageError
        when the proof begins elsewhere.
        """
        with self._held():
            self.require(shown, keys)
            note = cosign(shown.note, self._name, signers, now=now)
            write_file(self._path(shown.checkpoint.origin), note.encode(), what=_WHAT)
        return note

    def require(self, shown: Shown, keys: LogKeys) -> None:
        """Raise as `witness` does unless *shown* can be cosigned.

        Of a record that shows another history, what it showed is kept.
        """
        if shown.checkpoint.origin != keys.name:
            raise UntrustedSignerError("this is a checkpoint of another record")
        require_signed(shown.note, keys)
        before = self.last_seen(shown.checkpoint.origin)
        if before is not None:
            self._require_continues(before[0], shown)

    def _require_continues(self, before: Checkpoint, shown: Shown) -> None:
        point = shown.checkpoint
        try:
            if point.size < before.size:
                raise AuditError(
                    f"the record had {before.size} entries when it was witnessed last, and is "
                    f"shown with {point.size}",
                    code="audit.rolled-back",
                )
            if before.size not in {point.size, shown.old}:
                raise UsageError(
                    f"a proof from {before.size} entries is needed, not from {shown.old}",
                    hint=f"ask for it: medshare audit checkpoint --since {before.size}",
                )
            path = () if point.size == before.size else shown.path
            require_consistency(before.size, before.root, point.size, point.root, path)
        except AuditError:
            private_folder(self._folder)
            write_file(self._forked(point.origin), shown.note.encode(), what=_WHAT)
            raise

    def _path(self, origin: str) -> Path:
        return self._folder / sha256(origin.encode()).hexdigest()

    def _forked(self, origin: str) -> Path:
        return self._path(origin).with_suffix(".forked")

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Let nobody else witness meanwhile: two answers at once could be two histories."""
        private_folder(self._folder)
        with storage_errors("lock what was witnessed"):
            file = os.open(
                self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)
