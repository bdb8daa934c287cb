"""A transport in memory: the honest twin of relay and folder, and a base for those that lie."""

import threading

from medshare.envelope import ChunkRecord, ChunkVerifier, parse_envelope
from medshare.errors import NotFoundError, RelayRefusedError
from medshare.ids import ParcelId, StationId
from medshare.seal import parse_seal
from medshare.suites.base import Hashed
from medshare.transport.base import Stored


class MemoryParcel:
    """What is stored of one parcel."""

    def __init__(self, envelope: bytes, manifest: bytes) -> None:
        self.envelope = envelope
        self.manifest = manifest
        self.parsed = parse_envelope(envelope)
        self.verifier = ChunkVerifier(self.parsed)
        self.chunks: dict[int, bytes] = {}
        self.records: dict[int, ChunkRecord] = {}
        self.seal: bytes | None = None
        self.receipts: dict[StationId, bytes] = {}
        self.wanted: set[int] = set()


class MemoryStore:
    """The far side, shared by the transports of all stations; counts what moves."""

    def __init__(self) -> None:
        self.parcels: dict[ParcelId, MemoryParcel] = {}
        self.changed = threading.Condition()
        self.put_chunks: list[int] = []
        self.got_chunks: list[int] = []


class MemoryTransport:
    """One station's view of a `MemoryStore`."""

    route = "memory"
    traffic: int | None = None
    absent: tuple[StationId, ...] = ()
    """Who is not enrolled, as an announcement is told."""

    def __init__(self, store: MemoryStore, station: StationId) -> None:
        self.store = store
        self.station = station

    def _parcel(self, parcel: ParcelId) -> MemoryParcel:
        try:
            return self.store.parcels[parcel]
        except KeyError:
            raise NotFoundError("no such parcel") from None

    def announce(self, parcel: ParcelId, envelope: bytes, manifest: bytes) -> tuple[StationId, ...]:
        with self.store.changed:
            known = self.store.parcels.get(parcel)
            if known is not None and known.envelope != envelope:
                raise RelayRefusedError("another envelope has this id")
            self.store.parcels.setdefault(parcel, MemoryParcel(envelope, manifest))
        return self.absent

    def stored(self, parcel: ParcelId) -> Stored:
        with self.store.changed:
            found = self._parcel(parcel)
            return Stored(
                chunks=tuple(found.records.values()),
                sealed=found.seal is not None,
                receipts=tuple(found.receipts),
                wanted=tuple(sorted(found.wanted)),
            )

    def put_chunk(
        self, parcel: ParcelId, index: int, sealed: memoryview, *, whole: Hashed | None = None
    ) -> None:
        record = self._parcel(parcel).verifier.check(index, sealed)
        with self.store.changed:
            found = self._parcel(parcel)
            found.chunks[index], found.records[index] = bytes(sealed), record
            found.wanted.discard(index)
            self.store.put_chunks.append(index)
            self.store.changed.notify_all()

    def get_chunk(self, parcel: ParcelId, index: int, into: memoryview) -> int:
        with self.store.changed:
            found = self._parcel(parcel)
            if index not in found.chunks:
                raise NotFoundError("no such chunk")
            data = found.chunks[index]
            self.store.got_chunks.append(index)
        into[: len(data)] = data
        return len(data)

    def want_chunks(self, parcel: ParcelId, indexes: tuple[int, ...]) -> None:
        with self.store.changed:
            self._parcel(parcel).wanted.update(indexes)
            self.store.changed.notify_all()

    def put_seal(self, parcel: ParcelId, seal: bytes) -> None:
        with self.store.changed:
            found = self._parcel(parcel)
            named = parse_seal(seal, found.parsed)
            for index, digest in enumerate(named.chunks):
                if index not in found.records or found.records[index].digest != digest:
                    raise RelayRefusedError("chunks are missing")
            found.seal = seal
            self.store.changed.notify_all()

    def get_envelope(self, parcel: ParcelId) -> bytes:
        return self._parcel(parcel).envelope

    def get_manifest(self, parcel: ParcelId, *, size: int) -> bytes:
        return self._parcel(parcel).manifest[:size]

    def get_seal(self, parcel: ParcelId) -> bytes:
        seal = self._parcel(parcel).seal
        if seal is None:
            raise NotFoundError("not sealed")
        return seal

    def put_receipt(self, parcel: ParcelId, recipient: StationId, receipt: bytes) -> None:
        with self.store.changed:
            self._parcel(parcel).receipts[recipient] = receipt
            self.store.changed.notify_all()

    def get_receipt(self, parcel: ParcelId, recipient: StationId) -> bytes:
        try:
            return self._parcel(parcel).receipts[recipient]
        except KeyError:
            raise NotFoundError("no such receipt") from None

    def inbox(self, *, seconds: float = 0.0) -> tuple[ParcelId, ...]:
        return tuple(
            parcel
            for parcel, found in self.store.parcels.items()
            if found.parsed.sender != self.station
            and found.parsed.stanzas_for(self.station)
            and self.station not in found.receipts
        )

    def wait_for_news(self, parcel: ParcelId, known: Stored, *, seconds: float) -> Stored:
        with self.store.changed:
            self.store.changed.wait_for(lambda: self._stored_now(parcel) != known, seconds)
        return self.stored(parcel)

    def _stored_now(self, parcel: ParcelId) -> Stored:
        found = self._parcel(parcel)
        return Stored(
            chunks=tuple(found.records.values()),
            sealed=found.seal is not None,
            receipts=tuple(found.receipts),
            wanted=tuple(sorted(found.wanted)),
        )

    def remove(self, parcel: ParcelId) -> None:
        with self.store.changed:
            self._parcel(parcel)
            del self.store.parcels[parcel]

    def close(self) -> None:
        """Nothing to release."""
