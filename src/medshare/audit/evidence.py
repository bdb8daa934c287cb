"""What speaks about a record from outside its entries: checkpoints, anchors, cosignatures.

A *fault* is what an audit finds: its kind, the first entry that is bad or may be, the last
one that may be, and a sentence.  Where an entry disagrees with those around it, first and
last are the same; where only a signed root disagrees, all entries since the last root that
agrees come into question.
"""

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """How a record was tampered with; `audit.<kind>` is the code under which it is reported."""

    ALTERED = "altered"
    REMOVED = "removed"
    SWAPPED = "swapped"
    INSERTED = "inserted"
    TRUNCATED = "truncated"
    """Entries are missing at the end that the record itself still speaks of."""
    REWRITTEN = "rewritten"
    """The entries agree with each other, and not with what was signed."""
    FORKED = "forked"
    """The record signed two histories: others were shown another one than lies here."""
    ROLLED_BACK = "rolled-back"
    """The record ends, by all that lies here, before an end that others have seen."""
    BACKDATED = "backdated"
    FORGED = "forged"
    """A checkpoint among those of the record is not signed by it."""


class Source(StrEnum):
    """Where a statement about a record was found."""

    CHECKPOINT = "checkpoint"
    """Among the record's own checkpoints: whoever can write to the record can remove it."""
    RECEIPT = "receipt"
    SEAL = "seal"
    WITNESS = "witness"
    """A checkpoint that a witness cosigned."""
    GIVEN = "given"
    """A checkpoint that somebody else kept, and brings."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """That the record had *size* entries under *root*, says *source*."""

    size: int
    root: bytes
    source: Source
    label: str = ""
    """Which one of its kind, for messages: a parcel or a witness; never a name."""
    seen_at: int | None = None
    """When somebody else saw it, by his own clock, in seconds since 1970 UTC."""

    def __str__(self) -> str:
        return f"{self.source} {self.label}".strip()


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, and where: entries *first* to *last*, both included."""

    fault: Fault
    first: int
    last: int
    sentence: str

    @property
    def code(self) -> str:
        """The stable code."""
        return f"audit.{self.fault}"
