"""Checking a whole record: every entry against the one before, every root against what was signed.

1. Each entry begins with its number and the hash of the entry before, and its time is not
   before that one's.
2. Each leaf hash is the one that was noted when the entry was written.
3. At each size that a checkpoint, a receipt, a seal or a witness speaks of, the root is theirs.
4. The record is as long as each of them says.
5. What follows a size that somebody else saw is not dated before he saw it.

Entries are compared as octets and never decoded: ten million take a minute or two.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from typing import Final

from medshare.audit import entries
from medshare.audit.evidence import Evidence, Fault, Finding, Source
from medshare.audit.locate import locate
from medshare.audit.merkle import HASH_SIZE, Frontier
from medshare.errors import FormatError

CLOCK_SKEW: Final = 300
"""Seconds by which the clocks of a record and of its witness may differ."""
_CHUNK: Final = 4096

Batch = tuple[int, Sequence[bytes]]
"""The place of the first entry, and entries in a row."""
Noted = Callable[[int, int], bytes]
"""Takes a place and a number; returns the leaf hashes noted there, fewer where there are fewer."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found; times in seconds since 1970 UTC."""

    size: int
    """Entries, those included that are no longer kept."""
    first: int
    """The first entry that is kept."""
    root: bytes
    agreed: tuple[Evidence, ...]
    unsigned: int
    """Entries at the end that no evidence speaks of yet."""
    findings: tuple[Finding, ...]
    last_time: int


class _Broken(Exception):  # noqa: N818  # it ends the walk and never leaves this module
    """Entries disagree with each other: nothing after them can be judged."""


class Check:
    """Walks through a record once; *evidence* speaks about it, *noted* are its leaf hashes."""

    def __init__(self, evidence: Sequence[Evidence], noted: Noted) -> None:
        ordered = sorted(evidence, key=lambda one: one.size)
        self._due: Iterator[tuple[int, list[Evidence]]] = (
            (size, list(group)) for size, group in groupby(ordered, key=lambda one: one.size)
        )
        self._next = next(self._due, None)
        self._all = ordered
        self._noted = noted
        self._tree = Frontier()
        self._before = entries.NOTHING_BEFORE
        self._time = 0
        self._good = 0
        self._agreed: list[Evidence] = []
        self._disagreed: list[tuple[Evidence, int]] = []
        self._findings: list[Finding] = []
        self._after: list[Evidence] = []
        self._ahead: Sequence[bytes] = ()

    def run(self, batches: Iterable[Batch], *, kept_from: int = 0) -> Report:
        """Return what there is to say about the entries in *batches*.

        Those before *kept_from* were removed as their time was over: their leaf hashes stand
        for them.
        """
        try:
            self._judge_roots()
            self._skip_to(kept_from)
            for (place, batch), ahead in _with_next(batches):
                self._ahead = ahead
                if place != self._tree.size:
                    self._gap(place)
                self._walk(batch)
            self._judge(reached=self._end())
        except _Broken:
            self._judge(reached=False)
        covered = max((one.size for one in self._agreed), default=0)
        size = self._tree.size
        return Report(
            size=size,
            first=min(kept_from, size),
            root=self._tree.root(),
            agreed=tuple(self._agreed),
            unsigned=max(0, size - max(covered, kept_from)),
            findings=tuple(self._findings),
            last_time=self._time,
        )

    # --- entries -----------------------------------------------------------------------

    def _skip_to(self, place: int) -> None:
        """Take noted hashes in place of entries that are not here, up to *place*."""
        while self._tree.size < place:
            wanted = min(_CHUNK, place - self._tree.size, self._room())
            noted = self._noted(self._tree.size, wanted)
            if len(noted) != wanted * HASH_SIZE:
                self._find(Fault.REMOVED, self._tree.size, place - 1, "entries are missing")
                raise _Broken
            leaves = [noted[at : at + HASH_SIZE] for at in range(0, len(noted), HASH_SIZE)]
            self._tree.extend(leaves)
            self._before = leaves[-1]
            self._judge_roots()

    def _gap(self, place: int) -> None:
        first = self._tree.size
        if place < first:
            self._find(Fault.INSERTED, place, first - 1, "entries are there twice")
            raise _Broken
        self._find(Fault.REMOVED, first, place - 1, "entries are missing")
        self._skip_to(place)

    def _room(self) -> int:
        """Return how many entries there are until evidence is to be judged."""
        return _CHUNK if self._next is None else self._next[0] - self._tree.size

    def _walk(self, batch: Sequence[bytes]) -> None:
        at = 0
        while at < len(batch):
            part = batch[at : at + self._room()]
            leaves = self._leaves(part, batch[at + len(part) :])
            self._tree.extend(leaves)
            at += len(part)
            self._judge_roots()

    def _leaves(self, part: Sequence[bytes], rest: Sequence[bytes]) -> list[bytes]:
        """Return the leaf hashes of entries that follow each other as they must."""
        number, before, time = self._tree.size, self._before, self._time
        leaves: list[bytes] = []
        dated: list[int] = []
        head, hashed = entries.head, sha256
        for entry in part:
            start = head(number, before)
            if not entry.startswith(start):
                self._broken(part, rest, leaves)
            at = len(start)
            # Until 2106 a time is written in four octets after this one.
            plain = entry[at : at + 1] == b"\x1a"
            now = int.from_bytes(entry[at + 1 : at + 5]) if plain else _time_at(entry, at)
            if now < time:
                dated.append(number)
            else:
                time = now
            before = hashed(b"\x00" + entry).digest()
            leaves.append(before)
            number += 1
        noted = self._noted(self._tree.size, len(leaves))
        if noted != b"".join(leaves)[: len(noted)]:
            self._broken(part, rest, leaves)
        self._judge_times(part[0], dated)
        self._before, self._time = before, time
        return leaves

    def _broken(self, part: Sequence[bytes], rest: Sequence[bytes], leaves: list[bytes]) -> None:
        """Say which entry is bad, given that they do not follow each other, and stop."""
        place = self._tree.size
        window = [*part, *rest, *self._ahead]
        noted = self._noted(place, len(window) + _CHUNK)
        self._findings.append(locate(place, window, self._before, noted))
        # What precedes the bad entry is sound, and evidence may speak of it.
        sound = min(max(self._findings[-1].first - place, 0), len(leaves))
        self._tree.extend(leaves[:sound])
        raise _Broken

    def _end(self) -> bool:
        """Return whether the end was reached that the noted hashes speak of."""
        size = self._tree.size
        if not self._noted(size, 1):
            return True
        self._find(Fault.TRUNCATED, size, size, f"entry {size} and all after it are missing")
        return False

    # --- evidence ----------------------------------------------------------------------

    def _judge_roots(self) -> None:
        """Compare the root with what evidence says of this size."""
        while self._next is not None and self._next[0] == self._tree.size:
            root = self._tree.root()
            agreed = False
            for one in self._next[1]:
                if one.root == root:
                    self._agreed.append(one)
                    agreed = True
                    if one.seen_at is not None:
                        self._after.append(one)
                else:
                    self._disagreed.append((one, self._good))
            if agreed:
                self._good = self._tree.size
            self._next = next(self._due, None)

    def _judge_times(self, entry: bytes, dated: Sequence[int]) -> None:
        """Judge *dated*, which go back in time, and *entry*, the first after evidence."""
        number = self._tree.size
        for one in self._after:
            head = entries.head(number, self._before)
            time = _time_at(entry, len(head))
            if one.seen_at is not None and time < one.seen_at - CLOCK_SKEW:
                what = f"entry {number} is dated before the record was seen without it ({one})"
                self._find(Fault.BACKDATED, number, number, what)
        self._after.clear()
        for number in dated:
            what = f"entry {number} is dated before the one before it"
            self._find(Fault.BACKDATED, number, number, what)

    def _judge(self, *, reached: bool) -> None:
        """Turn what disagrees into findings; an end that was not *reached* says nothing."""
        own = max((e.size for e in self._agreed if e.source is Source.CHECKPOINT), default=-1)
        for one, good in self._disagreed:
            forked = own >= one.size
            fault = Fault.FORKED if forked else Fault.REWRITTEN
            how = "another history was shown" if forked else "entries were rewritten"
            where = f"entry {good}" if good == one.size - 1 else f"entry {good} to {one.size - 1}"
            self._find(fault, good, one.size - 1, f"{how}: {where} ({one})")
        size = self._tree.size
        beyond = [one for one in self._all if one.size > size]
        if reached and beyond:
            inside = any(one.source is Source.CHECKPOINT for one in beyond)
            fault = Fault.TRUNCATED if inside else Fault.ROLLED_BACK
            longest = beyond[-1]
            self._find(
                fault,
                size,
                longest.size - 1,
                f"entry {size} to {longest.size - 1} are missing at the end ({longest})",
            )

    def _find(self, fault: Fault, first: int, last: int, sentence: str) -> None:
        self._findings.append(Finding(fault, first, last, sentence))


def _time_at(entry: bytes, at: int) -> int:
    """Return the time that an entry bears there; -1, before all times, when there is none."""
    try:
        return entries.uint_at(entry, at)[0]
    except FormatError:
        return -1


def _with_next(batches: Iterable[Batch]) -> Iterator[tuple[Batch, Sequence[bytes]]]:
    """Yield each batch with the entries that come after it."""
    waiting: Batch | None = None
    for batch in batches:
        if waiting is not None:
            yield waiting, batch[1]
        waiting = batch
    if waiting is not None:
        yield waiting, ()


def check(
    batches: Iterable[Batch], *, evidence: Sequence[Evidence], noted: Noted, kept_from: int = 0
) -> Report:
    """Return what there is to say about a record; see the module's text."""
    return Check(evidence, noted).run(batches, kept_from=kept_from)
