"""Reading a record, one's own or a copy of another's: entries, proofs, and auditing the whole.

Nothing here writes or waits for a lock.  What is appended meanwhile is seen or not, and is
never taken for a fault: checkpoints are read first, noted hashes counted next, entries last.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

from medshare.audit.checkpoint import Checkpoint, LogKeys, cosigned_at, require_signed
from medshare.audit.entries import Act, Detail, Entry, parse_entry
from medshare.audit.evidence import Evidence, Fault, Finding, Source
from medshare.audit.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    require_inclusion,
    root_at,
)
from medshare.audit.notes import Note
from medshare.audit.proof import EntryProof, Shown
from medshare.audit.verify import Batch, Report, check
from medshare.errors import AuditError, MedshareError, NotFoundError, RevokedError, UsageError
from medshare.record.checkpoints import Checkpoints
from medshare.record.hashes import HashFiles
from medshare.record.segments import Segment, segments_in

_BATCH = 4096
_PRUNED = str(Act.PRUNE_RECORD).encode()


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit of a whole record found."""

    report: Report
    checkpoints: int
    """Checkpoints of the record itself that are signed as they must be."""
    revoked: int
    """Checkpoints that keys signed which were revoked since; they prove nothing."""
    witnessed: int
    """Cosignatures of the witnesses that were asked for."""
    findings: tuple[Finding, ...]


class RecordReader:
    """The record in *folder*; raises NotFoundError when there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = Checkpoints(folder)
        self.hashes = HashFiles(folder)
        if not self.segments and not self.checkpoints.newest():
            raise NotFoundError("nothing is recorded here yet")

    @cached_property
    def segments(self) -> list[Segment]:
        """Its files, in their order."""
        return segments_in(self.folder)

    @property
    def first(self) -> int:
        """The number of the first entry that is kept."""
        return self.segments[0].first if self.segments else 0

    def size(self) -> int:
        """Return how many entries there are, those included that are no longer kept."""
        return self.segments[-1].read().number if self.segments else 0

    # --- entries -------------------------------------------------------------------------

    def batches(self, start: int = 0, *, strict: bool = True) -> Iterator[Batch]:
        """Yield entries from *start* on as they are stored, some thousands at a time.

        A file that cannot be read raises AuditError or StorageError; where *strict* is off it
        is left out, and its entries are missing.
        """
        firsts = [segment.first for segment in self.segments[1:]]
        for segment, following in zip(self.segments, [*firsts, None], strict=True):
            if following is not None and following <= start:
                continue
            try:
                content = segment.read()
            except MedshareError:
                if strict:
                    raise
                continue
            skipped = max(start - segment.first, 0)
            for at in range(skipped, len(content.entries), _BATCH):
                yield segment.first + at, content.entries[at : at + _BATCH]

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """Yield entries from *start* on; raise AuditError when one cannot be read."""
        for place, batch in self.batches(start):
            for number, data in enumerate(batch, place):
                yield _parsed(data, number)

    def chosen(self, numbers: Sequence[int]) -> Iterator[Entry]:
        """Yield the entries with these *numbers*, which ascend; those not kept are left out."""
        firsts = [segment.first for segment in self.segments]
        for place, group in groupby(numbers, key=lambda number: bisect_right(firsts, number) - 1):
            if place >= 0:
                content = self.segments[place].read()
                for number in group:
                    if number < content.number:
                        yield _parsed(content.entries[number - content.first], number)

    def octets(self, number: int) -> bytes:
        """Return entry *number* as it is stored; raise NotFoundError when it is not kept."""
        fitting = [segment for segment in self.segments if segment.first <= number]
        found = fitting[-1].entry(number) if fitting else None
        if found is None:
            raise NotFoundError(f"the record has no entry {number}, or keeps it no longer")
        return found

    # --- proofs --------------------------------------------------------------------------

    def prove(self, number: int) -> EntryProof:
        """Return the proof that entry *number* is under the newest checkpoint.

        Raises NotFoundError when no checkpoint covers it yet, AuditError when the record does
        not bear it out.
        """
        size = self.checkpoints.newest()
        if number >= size:
            raise NotFoundError(
                f"no checkpoint covers entry {number} yet",
                hint="the next command that unlocks the station, or the relay, makes one",
            )
        entry = self.octets(number)
        checkpoint, note = self.checkpoints.load(size)
        path = self._proved(lambda: inclusion_proof(self.hashes.node, number, size))
        require_inclusion(leaf_hash(entry), number, size, path, checkpoint.root)
        return EntryProof(entry, number, path, note.encode())

    def show(self, old: int) -> Shown:
        """Return the newest checkpoint with the proof that it continues the one of size *old*."""
        size = self.checkpoints.newest()
        if old > size:
            raise UsageError(f"the newest checkpoint is after {size} entries, not {old}")
        checkpoint, note = self.checkpoints.load(size)
        path = self._proved(lambda: consistency_proof(self.hashes.node, old, size))
        return Shown(old, path, checkpoint, note)

    def _proved(self, make: Callable[[], tuple[bytes, ...]]) -> tuple[bytes, ...]:
        try:
            return make()
        except IndexError:
            raise AuditError(
                "the record is shorter than its newest checkpoint", code="audit.truncated"
            ) from None

    def root(self, size: int) -> bytes:
        """Return the root after *size* entries; raise AuditError when there are not so many."""
        try:
            return root_at(self.hashes.node, size)
        except IndexError:
            raise AuditError("the record is shorter than that", code="audit.truncated") from None

    # --- auditing ------------------------------------------------------------------------

    def audit(
        self,
        keys: LogKeys,
        *,
        evidence: Sequence[Evidence] = (),
        witnesses: Sequence[LogKeys] = (),
    ) -> Audit:
        """Check every entry and everything that speaks about them.

        *evidence* is what was found outside the record; *witnesses* are those whose
        cosignatures are to be checked.
        """
        found = _Checkpoints(self.checkpoints, keys, witnesses)
        noted_to = self.hashes.count()
        kept_from = self.first
        pruned: set[int] = set()

        def noted(place: int, count: int) -> bytes:
            return self.hashes.read(0, place, max(0, min(count, noted_to - place)))

        report = check(
            _watched(self.batches(strict=False), pruned),
            evidence=[*found.evidence, *evidence],
            noted=noted,
            kept_from=kept_from,
        )
        findings = [*found.findings, *report.findings]
        if kept_from and kept_from not in pruned:
            what = f"entries 0 to {kept_from - 1} are missing, and their removal is not recorded"
            findings.insert(0, Finding(Fault.REMOVED, 0, kept_from - 1, what))
        findings.sort(key=lambda finding: finding.first)
        return Audit(report, found.good, found.revoked, found.witnessed, tuple(findings))


def _watched(batches: Iterator[Batch], pruned: set[int]) -> Iterator[Batch]:
    """Pass *batches* on, and note up to where they say that old entries were removed."""
    for place, batch in batches:
        for data in batch:
            if _PRUNED in data:
                try:
                    entry = parse_entry(data)
                except MedshareError:
                    continue
                last = entry.event.details.get(Detail.LAST)
                if entry.event.act is Act.PRUNE_RECORD and isinstance(last, int):
                    pruned.add(last + 1)
        yield place, batch


def _parsed(data: bytes, number: int) -> Entry:
    try:
        entry = parse_entry(data)
    except MedshareError as error:
        raise AuditError(f"entry {number} cannot be read", code="audit.altered") from error
    if entry.number != number:
        raise AuditError(f"entry {number} is not in its place", code="audit.altered")
    return entry


class _Checkpoints:
    """The checkpoints of a record, their signatures verified, as evidence."""

    def __init__(self, kept: Checkpoints, keys: LogKeys, witnesses: Sequence[LogKeys]) -> None:
        self._keys = keys
        self._witnesses = witnesses
        self.evidence: list[Evidence] = []
        self.findings: list[Finding] = []
        self.good = self.revoked = self.witnessed = 0
        for size in kept.sizes():
            try:
                self._take(*kept.load(size))
            except RevokedError:
                self.revoked += 1
            except MedshareError as error:
                first = max(size - 1, 0)
                what = f"the checkpoint after {size} entries is not good: {error.message}"
                self.findings.append(Finding(Fault.FORGED, first, first, what))

    def _take(self, checkpoint: Checkpoint, note: Note) -> None:
        if checkpoint.origin != self._keys.name:
            raise AuditError("it is that of another record")
        require_signed(note, self._keys)
        self.good += 1
        plain = Evidence(checkpoint.size, checkpoint.root, Source.CHECKPOINT, "")
        self.evidence.append(replace(plain, label=f"after {checkpoint.size} entries"))
        for witness in self._witnesses:
            seen_at = cosigned_at(note, witness)
            if seen_at is not None:
                self.witnessed += 1
                label = witness.name.rpartition("/")[2][:16]
                self.evidence.append(
                    replace(plain, source=Source.WITNESS, label=label, seen_at=seen_at)
                )
