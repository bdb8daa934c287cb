"""What one station puts into its record, and how the record is signed.

Recording comes before the act: where it fails, the act does not go on.  One entry stands for
one act on one parcel, however many chunks that takes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from medshare.anchor import Anchor
from medshare.audit import entries
from medshare.audit.checkpoint import station_origin
from medshare.audit.entries import NOTHING, Act, Details, Event, Ref
from medshare.errors import (
    AccessDeniedError,
    AuthenticityError,
    FormatError,
    IncompleteError,
    IntegrityError,
    KeyUnavailableError,
    MedshareError,
    PolicyError,
)
from medshare.ids import StationId
from medshare.record.log import AuditLog
from medshare.suites.base import Signer

REFUSALS: Final = (
    AccessDeniedError,
    AuthenticityError,
    FormatError,
    IntegrityError,
    KeyUnavailableError,
    PolicyError,
)
"""Errors that say that something was not let through; others say that it did not get here."""


class StationRecord:
    """The record of *station*, in *folder*."""

    def __init__(self, folder: Path, station: StationId) -> None:
        self.log = AuditLog(folder)
        self.origin = station_origin(station)
        self._actor = entries.station(station)

    def note(
        self,
        act: Act,
        about: Ref = NOTHING,
        *,
        role: str = "",
        tier: str = "",
        parties: Sequence[StationId] = (),
        details: Details | None = None,
    ) -> None:
        """Record that this station does *act* now, before it does it.

        Raises StorageError when that is not possible, AuditError when the record was
        tampered with: the act must then not go on.
        """
        event = self.event(act, about, role=role, tier=tier, parties=parties, details=details)
        self.log.record(event)

    def event(
        self,
        act: Act,
        about: Ref = NOTHING,
        *,
        role: str = "",
        tier: str = "",
        parties: Sequence[StationId] = (),
        details: Details | None = None,
    ) -> Event:
        """Return what `note` would record."""
        return Event(
            act,
            self._actor,
            about,
            role=role,
            tier=tier,
            parties=tuple(parties)[: entries.MAX_PARTIES],
            details=details or {},
        )

    @contextmanager
    def refusals(self, act: Act, about: Ref, *, tier: str = "") -> Iterator[None]:
        """Record it when *act* is refused inside the block, and raise on.

        A parcel that is not complete yet is not refused.
        """
        try:
            yield
        except IncompleteError:
            raise
        except REFUSALS as error:
            with suppress(MedshareError):  # it is refused in any case
                self.log.record(self.event(act, about, tier=tier).refused(error))
            raise

    def anchor(self, signers: Sequence[Signer]) -> Anchor | None:
        """Sign the record as it is, and return what others may be told of it."""
        point = self.log.checkpoint(self.origin, signers)
        return Anchor(point.size, point.root) if point.size else None

    @contextmanager
    def signed(self, signers: Sequence[Signer]) -> Iterator[None]:
        """Sign what was recorded inside the block, however it ends."""
        try:
            yield
        except BaseException:
            with suppress(MedshareError):  # what ended the block is what has to be said
                self.anchor(signers)
            raise
        self.anchor(signers)
