"""Appending to a record: durable before `record` returns, and in one order for all processes.

The order of writes: entry → fsync → noted hash.  A crash leaves a torn frame, which is cut
away, or a hash too few, which is made again.  A record that has fewer entries than its
newest checkpoint or its noted hashes, or whose last entries do not follow each other, was
tampered with: nothing is appended to it.
"""

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare.audit import entries
from medshare.audit.checkpoint import Checkpoint, sign_checkpoint
from medshare.audit.entries import OPERATOR, Act, Detail, Entry, Event, next_entry, parse_entry
from medshare.audit.merkle import HASH_SIZE, leaf_hash, root_at
from medshare.disk.atomic import storage_errors
from medshare.disk.syscalls import sync_data
from medshare.errors import AuditError, FormatError
from medshare.record.checkpoints import Checkpoints
from medshare.record.hashes import HashFiles
from medshare.record.segments import (
    MAX_BATCH,
    MAX_SEGMENT,
    MAX_SPAN,
    Content,
    Segment,
    frame,
    private_folder,
    segments_in,
    unarchived_in,
)
from medshare.suites.base import Signer

LOCK: Final = "lock"
_WRITE: Final = "write the record"
_HINT: Final = "keep it as it is, and look at it with: medshare audit verify"


@dataclass(slots=True)
class _Tail:
    """Where the record ends."""

    segment: Segment
    begun: int
    """Time of the segment's first entry, or of its making."""
    end: int
    number: int
    before: bytes
    last_time: int


class AuditLog:
    """The record in *folder*, made when the first entry is; for several threads and processes."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        max_segment: int = MAX_SEGMENT,
        max_span: int = MAX_SPAN,
    ) -> None:
        self.folder = folder
        self.checkpoints = Checkpoints(folder)
        self.hashes = HashFiles(folder)
        self._clock = clock
        self._max_segment = max_segment
        self._max_span = max_span
        self._tail: _Tail | None = None
        self._lock = threading.Lock()

    # --- appending -----------------------------------------------------------------------

    def record(self, event: Event) -> Entry:
        """Append *event*; it is durable when this returns.

        Raises StorageError when that is not possible, AuditError when the record was
        tampered with: what was to be recorded must then not be done.
        """
        return self.record_all([event])[0]

    def record_all(self, events: Sequence[Event]) -> list[Entry]:
        """Append *events* in their order, all or none; see `record`."""
        with self._held():
            tail = self._current()
            made = self._entries(tail, events)
            octets = [entry.encode() for entry in made]
            leaves = [leaf_hash(one) for one in octets]
            frames = b"".join(map(frame, octets, leaves))
            if len(frames) > MAX_BATCH:
                raise ValueError("too much to be recorded at once")
            self._append(tail, frames)
            self.hashes.write(tail.number, leaves)
            tail.number += len(made)
            tail.before, tail.last_time = leaves[-1], made[-1].time
        return made

    def _entries(self, tail: _Tail, events: Sequence[Event]) -> list[Entry]:
        now, before, last_time = int(self._clock()), tail.before, tail.last_time
        made = []
        for number, event in enumerate(events, tail.number):
            entry = next_entry(event, number=number, before=before, last_time=last_time, now=now)
            before, last_time = leaf_hash(entry.encode()), entry.time
            made.append(entry)
        return made

    def _append(self, tail: _Tail, octets: bytes) -> None:
        """Write *octets* durably at the end, or leave the record as it was."""
        with storage_errors(_WRITE):
            file = os.open(tail.segment.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if os.pwrite(file, octets, tail.end) != len(octets):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                sync_data(file)
            except OSError:
                os.ftruncate(file, tail.end)
                raise
            finally:
                os.close(file)
        tail.end += len(octets)

    # --- checkpoints ---------------------------------------------------------------------

    def checkpoint(self, origin: str, signers: Sequence[Signer]) -> Checkpoint:
        """Sign what is recorded so far, and return it; one that is there already is returned.

        Raises AuditError when the record does not continue its newest checkpoint: no two
        histories are ever signed.
        """
        with self._held():
            size = self._current().number
            newest = self.checkpoints.newest()
            found = Checkpoint(origin, size, root_at(self.hashes.node, size))
            if newest:
                self._require_continues(newest, found)
            if newest < size:
                self.hashes.sync()
                self.checkpoints.keep(size, sign_checkpoint(found, signers))
        return found

    def _require_continues(self, newest: int, found: Checkpoint) -> None:
        before, _ = self.checkpoints.load(newest)
        if before.origin != found.origin or before.root != root_at(self.hashes.node, newest):
            raise AuditError(
                f"the record is not the one of which a checkpoint after {newest} entries was made",
                hint=_HINT,
                code="audit.rewritten",
            )

    def size(self) -> int:
        """Return how many entries the record has; raise as `record` does."""
        with self._held():
            return self._current().number

    # --- old parts -----------------------------------------------------------------------

    def prune(self, *, before: int) -> int:
        """Delete full segments whose entries are all older than *before*; return how many entries.

        What is deleted is recorded first.  Its hashes stay, and so does every proof.
        """
        with self._held():
            full = segments_in(self.folder)[:-1]
            old = []
            for segment in full:
                content = segment.read()
                if not content.entries or parse_entry(content.entries[-1]).time >= before:
                    break
                old.append((segment, content.number))
        if not old:
            return 0
        first, last = old[0][0].first, old[-1][1] - 1
        details = {Detail.FIRST: first, Detail.LAST: last}
        self.record(Event(Act.PRUNE_RECORD, OPERATOR, details=details))
        for segment, _ in old:
            segment.remove()
        return last - first + 1

    # --- the end of the record -----------------------------------------------------------

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Let nobody else append meanwhile."""
        private_folder(self.folder)
        with self._lock:
            with storage_errors("lock the record"):
                file = os.open(
                    self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
                )
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
            except BaseException:
                self._tail = None  # look again before the next entry
                raise
            finally:
                os.close(file)

    def _current(self) -> _Tail:
        """Return where the record ends, in a segment that has room."""
        tail = self._tail
        if tail is None or not _is_at(tail):
            tail = self._load()
        age = int(self._clock()) - tail.begun
        if tail.end >= self._max_segment or (
            age > self._max_span and tail.number > tail.segment.first
        ):
            tail = self._roll(tail)
        self._tail = tail
        return tail

    def _roll(self, tail: _Tail) -> _Tail:
        self.hashes.sync()
        following = Segment(self.folder, tail.number)
        following.begin()
        tail.segment.archive()
        end = following.read().end
        now = int(self._clock())
        return _Tail(following, now, end, tail.number, tail.before, tail.last_time)

    def _load(self) -> _Tail:
        """Find the end of the record, and mend what a crash left there."""
        found = segments_in(self.folder)
        if not found:
            return self._begin()
        for segment in unarchived_in(self.folder)[:-1]:
            segment.archive()  # it was full, and a crash came between
        segment = found[-1]
        content = self._whole(segment)
        self._require_end(content.number)
        return self._tail_of(found, content)

    def _begin(self) -> _Tail:
        self._require_end(0)
        segment = Segment(self.folder, 0)
        segment.begin()
        now = int(self._clock())
        return _Tail(segment, now, segment.read().end, 0, entries.NOTHING_BEFORE, 0)

    def _whole(self, segment: Segment) -> Content:
        """Return the content of the last segment, after cutting away what is torn."""
        content = segment.read()
        noted = self.hashes.count()
        torn = content.first_torn(noted)
        if torn is not None:
            content = content.until(torn)
        if content.end != len(content.data):
            if noted > content.number:
                raise _tampered("truncated", f"entry {content.number} and all after it are damaged")
            with storage_errors("mend the record"):
                os.truncate(segment.path, content.end)
        return content

    def _require_end(self, number: int) -> None:
        """Raise AuditError when the record was longer than *number* entries."""
        longest = max(self.hashes.count(), self.checkpoints.newest())
        if longest > number:
            raise _tampered(
                "truncated", f"entry {number} and all after it are missing, of {longest}"
            )

    def _tail_of(self, found: Sequence[Segment], content: Content) -> _Tail:
        """Check the entries since the newest checkpoint, and note hashes that are missing."""
        last = content.entries[-1:] or (found[-2].read().entries[-1:] if len(found) > 1 else [])
        before = leaf_hash(last[0]) if last else entries.NOTHING_BEFORE
        try:
            last_time = parse_entry(last[0]).time if last else 0
            begun = parse_entry(content.entries[0]).time if content.entries else last_time
        except FormatError as error:
            raise _tampered("altered", f"entry {content.number - 1} was altered") from error
        noted = self.hashes.read(0, content.number - 1, 1) if last else b""
        if noted not in {before, b"", bytes(HASH_SIZE)}:
            raise _tampered("altered", f"entry {content.number - 1} was altered")
        self._mend_hashes(content)
        return _Tail(found[-1], begun, content.end, content.number, before, last_time)

    def _mend_hashes(self, content: Content) -> None:
        """Compare entries that no checkpoint covers with each other, and note their hashes."""
        start = min(self.checkpoints.newest(), self.hashes.count())
        if self.hashes.count() < content.first:
            raise _tampered(
                "removed", f"hashes of entries before entry {content.first} are missing"
            )
        start = max(start, content.first)
        leaves: list[bytes] = []
        before = self.hashes.read(0, start - 1, 1) if start else entries.NOTHING_BEFORE
        for number in range(start, content.number):
            entry = content.entries[number - content.first]
            if not entry.startswith(entries.head(number, before)):
                raise _tampered("altered", f"entry {max(number - 1, 0)} or {number} was altered")
            before = leaf_hash(entry)
            leaves.append(before)
        noted = self.hashes.read(0, start, len(leaves))
        for at in range(0, len(noted), HASH_SIZE):
            one = noted[at : at + HASH_SIZE]
            if one != leaves[at // HASH_SIZE] and any(one):
                raise _tampered("altered", f"entry {start + at // HASH_SIZE} was altered")
        if noted != b"".join(leaves):
            self.hashes.write(start, leaves)


def _is_at(tail: _Tail) -> bool:
    """Tell whether the record still ends where it did."""
    try:
        return tail.segment.path.stat().st_size == tail.end
    except FileNotFoundError:
        return False


def _tampered(fault: str, what: str) -> AuditError:
    return AuditError(f"the record was tampered with: {what}", hint=_HINT, code=f"audit.{fault}")
