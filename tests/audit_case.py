"""Records in memory, well made and then tampered with."""

from dataclasses import dataclass, field, replace

from medshare.audit import entries
from medshare.audit.entries import Act, Entry, Event, next_entry, parse_entry
from medshare.audit.evidence import Evidence, Source
from medshare.audit.merkle import HASH_SIZE, leaf_hash, root_of
from medshare.audit.verify import Report, check
from medshare.ids import ParcelId, StationId

START = 1_800_000_000
WHO = StationId(b"s" * 32)


def event(number: int) -> Event:
    """Something that happened, different for each number."""
    acts = [Act.SEND, Act.SEAL, Act.DELIVER, Act.OPEN]
    parcel = ParcelId(number.to_bytes(16))
    return Event(acts[number % 4], entries.station(WHO), entries.parcel(parcel), tier="routine")


def chained(events: list[Event], *, before: bytes = entries.NOTHING_BEFORE) -> list[bytes]:
    """Entries of these events, each a second after the one before."""
    made: list[bytes] = []
    for number, one in enumerate(events):
        entry = next_entry(
            one, number=number, before=before, last_time=START + number - 1, now=START + number
        )
        made.append(entry.encode())
        before = leaf_hash(made[-1])
    return made


@dataclass
class Log:
    """The entries of a record, the leaf hashes that were noted, and what speaks about it."""

    entries: list[bytes]
    noted: bytes
    evidence: list[Evidence] = field(default_factory=list)

    @classmethod
    def of(cls, size: int, *checkpoints: int) -> "Log":
        """A sound record of *size* entries, with checkpoints after so many of them."""
        log = cls(chained([event(number) for number in range(size)]), b"")
        log.note()
        for at in checkpoints:
            log.witness(at)
        return log

    @property
    def leaves(self) -> list[bytes]:
        return [leaf_hash(entry) for entry in self.entries]

    def note(self) -> None:
        """Let the noted hashes be those of the entries as they are now."""
        self.noted = b"".join(self.leaves)

    def rechain(self, start: int, *, times: bool = True) -> None:
        """Give the entries from *start* on numbers, predecessors and *times* that fit."""
        before = leaf_hash(self.entries[start - 1]) if start else entries.NOTHING_BEFORE
        for at in range(start, len(self.entries)):
            entry = replace(parse_entry(self.entries[at]), number=at, before=before)
            if times and at:
                entry = replace(entry, time=max(entry.time, parse_entry(self.entries[at - 1]).time))
            self.entries[at] = entry.encode()
            before = leaf_hash(self.entries[at])
        self.note()

    def witness(
        self, size: int, source: Source = Source.CHECKPOINT, *, seen_at: int | None = None
    ) -> None:
        """Let somebody state the root after *size* entries, as they are now."""
        root = root_of(self.leaves[:size])
        self.evidence.append(Evidence(size, root, source, "one", seen_at))

    def check(self, *, batch: int = 7, kept_from: int = 0) -> Report:
        """Audit it, a few entries at a time."""
        batches = (
            (at, self.entries[at : at + batch]) for at in range(kept_from, len(self.entries), batch)
        )
        return check(batches, evidence=self.evidence, noted=self._noted, kept_from=kept_from)

    def _noted(self, place: int, count: int) -> bytes:
        return self.noted[place * HASH_SIZE : (place + count) * HASH_SIZE]


def altered(data: bytes) -> bytes:
    """The same entry, in its place, saying something else."""
    entry: Entry = parse_entry(data)
    return replace(entry, event=replace(entry.event, tier="restricted")).encode()
