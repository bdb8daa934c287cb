"""The one interface that every way between two ends offers.

Everything that crosses it is sealed.  A transport moves and stores octets; what they
mean, and whether to believe them, is decided above it.  All methods may be called from
several threads at once, block until done, and raise only `TransferError` kinds (network
and refusals), `AccessDeniedError` (the far side does not know this station, or not for
this), `StorageError` (a folder that is full) or `IntegrityError` (the far side refused
octets as damaged).
"""

from dataclasses import dataclass
from typing import Protocol

from medshare.envelope import ChunkRecord
from medshare.ids import ParcelId, StationId
from medshare.suites.base import Hashed


@dataclass(frozen=True, slots=True)
class Stored:
    """What the far side holds of one parcel."""

    chunks: tuple[ChunkRecord, ...]
    """Records of the chunks that are there; the far side may lie, the signatures cannot."""

    sealed: bool
    """Whether the seal is there, so that no further chunk will come."""

    receipts: tuple[StationId, ...]
    """Recipients whose receipt is there."""

    wanted: tuple[int, ...]
    """Indexes of chunks that a recipient found damaged or missing and asks for again."""

    manifest: bool = True
    """Whether the sealed manifest is there: the far side may have lost it to damage."""


class Transport(Protocol):
    """Moves sealed parcels; see the module's text for the errors it may raise."""

    @property
    def route(self) -> str:
        """The way taken, for people and for the record: `relay https://…`, `folder …`."""

    @property
    def traffic(self) -> int | None:
        """Octets that have crossed the line until now, both ways, also of chunks under way.

        None where there is no line, and more chunks at once would move no faster.
        """

    def announce(self, parcel: ParcelId, envelope: bytes, manifest: bytes) -> tuple[StationId, ...]:
        """Make *envelope* and sealed *manifest* known.  Idempotent.

        Returns the recipients that cannot fetch the parcel there, as the far side knows them.
        Raises RelayRefusedError when another envelope has this parcel id already.
        """

    def stored(self, parcel: ParcelId) -> Stored:
        """Return what is there; raise NotFoundError when the parcel is unknown."""

    def put_chunk(
        self, parcel: ParcelId, index: int, sealed: memoryview, *, whole: Hashed | None = None
    ) -> None:
        """Store one sealed chunk durably; *whole* is a digest of all of it.  Idempotent."""

    def get_chunk(self, parcel: ParcelId, index: int, into: memoryview) -> int:
        """Read one sealed chunk into *into*; return its size.

        Raises NotFoundError when it is not there (yet), TransferError when it is larger
        than *into*.
        """

    def want_chunks(self, parcel: ParcelId, indexes: tuple[int, ...]) -> None:
        """Ask the far side, and through it the sender, for these chunks again."""

    def put_seal(self, parcel: ParcelId, seal: bytes) -> None:
        """Store the seal.  Idempotent; raises RelayRefusedError while chunks are missing."""

    def get_envelope(self, parcel: ParcelId) -> bytes:
        """Return the envelope; raise NotFoundError when the parcel is unknown."""

    def get_manifest(self, parcel: ParcelId, *, size: int) -> bytes:
        """Return the sealed manifest, of at most *size* octets."""

    def get_seal(self, parcel: ParcelId) -> bytes:
        """Return the seal; raise NotFoundError while there is none."""

    def put_receipt(self, parcel: ParcelId, recipient: StationId, receipt: bytes) -> None:
        """Store the sealed receipt of *recipient*.  Idempotent."""

    def get_receipt(self, parcel: ParcelId, recipient: StationId) -> bytes:
        """Return the sealed receipt of *recipient*; raise NotFoundError while there is none."""

    def inbox(self, *, seconds: float = 0.0) -> tuple[ParcelId, ...]:
        """Return the parcels that wait for this station, oldest first.

        While there is none, block, at most *seconds*.
        """

    def wait_for_news(self, parcel: ParcelId, known: Stored, *, seconds: float) -> Stored:
        """Block until something differs from *known*, at most *seconds*; return what is there."""

    def remove(self, parcel: ParcelId) -> None:
        """Delete a parcel of this station's at the far side, for good."""

    def close(self) -> None:
        """Release connections; the transport is not used afterwards."""
