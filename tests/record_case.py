"""Records on disk for tests: small segments, a clock that is set, cheap keys."""

from pathlib import Path

from medshare.audit.checkpoint import LogKeys, keys_of_card
from medshare.audit.entries import Act, Event
from medshare.record.log import AuditLog
from medshare.record.reader import Audit, RecordReader
from medshare.suites.signatures import signer_from_seed
from tests.audit_case import START, event

ORIGIN = "medshare/log/test"
SIGNER = signer_from_seed("ed25519", bytes(32))
KEYS = LogKeys(ORIGIN, ((SIGNER.public,),))
SMALL = 2000
"""Octets of a segment: some nine entries."""

__all__ = ["KEYS", "ORIGIN", "SIGNER", "Act", "Clock", "Event", "Record", "keys_of_card"]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Record:
    """A record in a folder, and what is done to it."""

    def __init__(self, folder: Path, *, max_segment: int = SMALL) -> None:
        self.folder = folder
        self.clock = Clock()
        self._max = max_segment
        self.log = self.opened()
        self._made = 0

    def opened(self) -> AuditLog:
        """The record as another process would open it."""
        return AuditLog(self.folder, clock=self.clock, max_segment=self._max)

    def grow(self, count: int, *, checkpoint: bool = False) -> None:
        """Append entries, and sign what is there."""
        for _ in range(count):
            self.clock.now += 1
            self.log.record(event(self._made))
            self._made += 1
        if checkpoint:
            self.sign()

    def sign(self) -> None:
        """Make a checkpoint."""
        self.log.checkpoint(ORIGIN, [SIGNER])

    def reader(self) -> RecordReader:
        """The record as an auditor reads it."""
        return RecordReader(self.folder)

    def audit(self) -> Audit:
        """What an auditor finds."""
        return self.reader().audit(KEYS)

    def entries(self) -> list[bytes]:
        """All entries, as they are stored."""
        return [data for _, batch in self.reader().batches() for data in batch]

    @property
    def segments(self) -> list[Path]:
        """The files of entries, in their order."""
        return sorted(
            [*self.folder.glob("entries-*"), *self.folder.glob("archive/entries-*")],
            key=lambda path: path.name,
        )
