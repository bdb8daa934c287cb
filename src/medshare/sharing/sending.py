"""One parcel from this station to the far side.

Order of claims: the far side confirms a chunk before the journal says so; the seal is
made when every chunk is confirmed; delivery is a recipient's verified receipt.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Final

from medshare.audit import entries
from medshare.audit.entries import Act
from medshare.chunk import max_sealed_size
from medshare.codecs import Effort
from medshare.digest import Digest
from medshare.disk.atomic import read_file, write_file
from medshare.disk.sources import SourceReader, Sources
from medshare.envelope import ChunkRecord, ChunkVerifier, Envelope
from medshare.errors import IntegrityError, RelayRefusedError, SignatureError, TransferError
from medshare.ids import ParcelId, StationId
from medshare.packing import ChunkPacker, ChunkSealer, PackedChunk
from medshare.receipt import Receipt
from medshare.resume import ChunkDone, Reached
from medshare.seal import MAX_SEAL_SIZE, Seal, encode_seal, parse_seal
from medshare.sharing.events import (
    Finished,
    OnEvent,
    Phase,
    Planned,
    Retrying,
    Waiting,
    not_enrolled,
)
from medshare.sharing.outgoing import Outgoing, SendOptions
from medshare.sharing.pacing import Pacing
from medshare.sharing.receipts import Sent, accept_receipt, load_receipt, receipt_path
from medshare.sharing.workers import Benches, Crew, Meter
from medshare.station import Identity, Station
from medshare.transfer import DamageReport, Patience, WorkList
from medshare.transport.base import Stored, Transport

MOST_WORKERS: Final = 12
NEWS_SECONDS: Final = 20.0
SEAL_TRIES: Final = 3
MOST_RESENT: Final = 8
"""How often one part is sent again on request, so that nobody can keep a line busy for ever."""
_MANIFEST, _SEAL = -1, -2  # stand for themselves where others are indexes of chunks


@dataclass(frozen=True, slots=True)
class SendResult:
    """What was sent; octets are plaintext unless the name says wire."""

    parcel: ParcelId
    files: int
    total_bytes: int
    wire_bytes: int
    chunks: int
    moved_chunks: int
    resumed_chunks: int
    receipts: dict[StationId, Receipt]
    missing_receipts: tuple[StationId, ...]
    envelope: Envelope | None = None
    """What this station signed: what it granted, and what the parcel continues."""
    only_viewed: bool = False
    """Whether nobody who got it may keep it, so that no receipt will come."""


class Sending:
    """Moves what is missing of one outgoing parcel, seals it, and collects receipts."""

    def __init__(
        self,
        outgoing: Outgoing,
        sources: Sources,
        station: Station,
        identity: Identity,
        transport: Transport,
        options: SendOptions,
        on_event: OnEvent,
    ) -> None:
        self._out = outgoing
        self._sources = sources
        self._station = station
        self._identity = identity
        self._transport = transport
        self._options = options
        self._meter = Meter(outgoing.parcel, on_event)
        self._patience = Patience(options.give_up_after)
        self._line = Crew(self._meter, self._patience)
        self._lock = threading.Lock()
        self._suite = outgoing.envelope.cipher_suite
        self._pacing = Pacing(options.limit_rate, options.effort, self._meter)
        self._digests: dict[int, Digest] = {}
        self._pieces = {i: done.pieces for i, done in outgoing.history.chunks.items()}
        self._resent = Counter[int]()
        self._seal = self._earlier_seal()
        self._work = WorkList(outgoing.layout.chunk_count)

    def delivered_before(self) -> SendResult | None:
        """Return what an earlier run delivered, if it did and every receipt is still here."""
        kept = self._kept_receipts() if self._out.delivered else {}
        if len(kept) == len(self._out.receivers) > 0:
            return self._end(list(self._out.history.chunks), kept)
        return None

    def run(self, *, peer: str) -> SendResult:
        """Do all of it; return what was done."""
        out = self._out
        absent = self._line.retrying("announcing", self._announce)
        if absent:
            known = [self._station.contacts.of(one) for one in absent]
            self._meter.tell(not_enrolled([one.name for one in known if one is not None]))
        stored = self._line.retrying("asking", partial(self._transport.stored, out.parcel))
        resumed = self._adopt(stored)
        self._plan(resumed, peer)
        self._upload()
        self._finish_seal()
        return self._end(resumed, self._collect_receipts())

    def _kept_receipts(self) -> dict[StationId, Receipt]:
        """Return the receipts that an earlier run verified and kept before it was interrupted."""
        paths = {
            one: receipt_path(self._station, self._out.parcel, one) for one in self._out.receivers
        }
        return {one: load_receipt(path) for one, path in paths.items() if path.exists()}

    def _end(self, resumed: list[int], receipts: dict[StationId, Receipt]) -> SendResult:
        """Close the request if everybody has given a receipt; return what was done."""
        out = self._out
        missing = tuple(one for one in out.receivers if one not in receipts)
        delivered = not missing and not out.only_viewed
        if delivered and not out.delivered:
            out.note(Reached("receipted"), sync=True)
        outcome, files = "delivered" if delivered else "sealed", len(out.manifest.files)
        self._meter.tell(Finished(out.parcel, outcome, files, out.layout.total_size))
        return SendResult(
            parcel=out.parcel,
            files=files,
            total_bytes=out.layout.total_size,
            wire_bytes=self._meter.wire_bytes,
            chunks=out.layout.chunk_count,
            moved_chunks=self._meter.moved_chunks,
            resumed_chunks=len(resumed),
            receipts=receipts,
            missing_receipts=missing,
            envelope=out.envelope,
            only_viewed=out.only_viewed,
        )

    # --- what is there already -------------------------------------------------------

    def _announce(self) -> tuple[StationId, ...]:
        out = self._out
        return self._transport.announce(out.parcel, out.envelope_octets, out.manifest_octets)

    def _earlier_seal(self) -> Seal | None:
        path = self._out.folder / "seal"
        if not path.exists():
            return None
        octets = read_file(path, limit=MAX_SEAL_SIZE, what="the outbox")
        return parse_seal(octets, self._out.envelope)

    def _adopt(self, stored: Stored) -> list[int]:
        """Take as confirmed what is at the far side and provably made by this station."""
        verifier = ChunkVerifier(self._out.envelope)
        adopted = []
        for record in stored.chunks:
            if record.index not in stored.wanted and self._is_ours(record, verifier):
                self._digests[record.index] = record.digest
                adopted.append(record.index)
        self._work = WorkList(self._out.layout.chunk_count, done=adopted)
        return adopted

    def _is_ours(self, record: ChunkRecord, verifier: ChunkVerifier) -> bool:
        if record.index >= self._out.layout.chunk_count:
            return False
        if self._seal is not None:
            return self._seal.chunks[record.index] == record.digest
        known = self._out.history.chunks.get(record.index)
        if known is not None and known.digest == record.digest:
            return True
        try:
            verifier.check_record(record)
        except SignatureError:
            return False
        return True

    def _plan(self, resumed: list[int], peer: str) -> None:
        layout = self._out.layout
        resumed_bytes = sum(layout.size(index) for index in resumed)
        self._meter.begin(
            total_chunks=layout.chunk_count,
            total_bytes=layout.total_size,
            chunks=len(resumed),
            plain_bytes=resumed_bytes,
        )
        self._meter.tell(
            Planned(
                parcel=self._out.parcel,
                direction="send",
                peer=peer,
                route=self._transport.route,
                files=len(self._out.manifest.files),
                total_bytes=layout.total_size,
                total_chunks=layout.chunk_count,
                resumed_chunks=len(resumed),
                resumed_bytes=resumed_bytes,
            )
        )

    # --- moving ----------------------------------------------------------------------

    def _upload(self) -> None:
        missing = self._work.missing()
        if not missing:
            return
        self._work.offer(missing)
        out = self._out
        sealer = ChunkSealer(
            self._suite, out.parcel, out.layout.chunk_count, out.key, out.chunk_signer
        )
        packers = Benches(partial(ChunkPacker, sealer, out.layout, pad=self._options.pad))
        most = min(len(missing), MOST_WORKERS)
        with closing(SourceReader(self._sources)) as reader:
            crew = Crew(self._meter, self._patience, lambda: self._transport.traffic)
            job = partial(self._worker, crew, packers, reader)
            crew.run(job, workers=self._options.workers, most=most)

    def _worker(self, crew: Crew, packers: Benches[ChunkPacker], reader: SourceReader) -> None:
        out = memoryview(bytearray(max_sealed_size(self._out.layout.chunk_size)))
        while not crew.stopping.is_set():
            with self._lock:
                index = self._work.take()
            if index is None:
                return
            size = self._out.layout.size(index)
            with packers.lend() as packer, self._pacing.packing(size):
                packed = self._pack(index, packer, reader, out)
            self._pacing.keep(crew, len(packed.sealed))
            put = partial(
                self._transport.put_chunk,
                self._out.parcel,
                index,
                packed.sealed,
                whole=(self._suite.hash_name, packed.whole_digest),
            )
            with self._pacing.putting(size):
                self._put(index, put, crew)
            self._confirm(index, packed)

    def _put(self, index: int, put: Callable[[], None], crew: Crew) -> None:
        """Store a chunk; one that arrives damaged is sent again, a few times."""
        count = 0
        while True:
            try:
                crew.retrying(f"chunk {index}", put)
            except IntegrityError as error:
                count += 1
                if DamageReport.is_hopeless(count):
                    raise
                event = Retrying(self._out.parcel, f"chunk {index}", error.code, count, 0.0)
                self._meter.tell(event)
            else:
                return

    def _pack(
        self, index: int, packer: ChunkPacker, reader: SourceReader, out: memoryview
    ) -> PackedChunk:
        """Read and seal chunk *index*; make it exactly as it was sealed, if it was."""
        efforts = [self._pacing.effort()]
        if self._seal is not None:  # an earlier run may have made another effort
            efforts += [effort for effort in Effort if effort not in efforts]
        for effort in efforts:
            view = packer.plain(index)
            for piece in self._out.layout.pieces(index):
                end = piece.chunk_offset + piece.size
                reader.read_into(piece.file, piece.file_offset, view[piece.chunk_offset : end])
            packed = packer.pack(index, out=out, effort=effort)
            if self._seal is None or self._seal.chunks[index] == packed.record.digest:
                return packed
        raise IntegrityError(
            f"chunk {index} cannot be made again exactly as it was sealed",
            hint="send the files as a new parcel: medshare send --new",
        )

    def _confirm(self, index: int, packed: PackedChunk) -> None:
        pieces = b"".join(packed.piece_digests)
        with self._lock:
            self._out.note(ChunkDone(index, packed.record.digest, pieces))
            self._digests[index] = packed.record.digest
            self._pieces[index] = pieces
            self._work.done(index)
        self._meter.moved(plain=packed.plain_size, wire=len(packed.sealed))

    # --- sealing ---------------------------------------------------------------------

    def _finish_seal(self) -> None:
        """Make the seal, or take the earlier one, and see it stored at the far side."""
        self._meter.tell(Phase(self._out.parcel, "sealing"))
        if self._seal is None:
            self._seal, octets = self._make_seal()
            write_file(self._out.folder / "seal", octets)
        self._record_seal()
        self._store_seal()
        self._out.note(Reached("sealed"), sync=True)

    def _store_seal(self) -> None:
        """See the seal stored at the far side, with all its chunks."""
        octets = read_file(self._out.folder / "seal", limit=MAX_SEAL_SIZE, what="the outbox")
        for attempt in range(SEAL_TRIES):
            try:
                put = partial(self._transport.put_seal, self._out.parcel, octets)
                self._line.retrying("sealing", put)
                break
            except RelayRefusedError:
                if attempt + 1 == SEAL_TRIES:
                    raise
                ask = partial(self._transport.stored, self._out.parcel)
                self._adopt(self._line.retrying("asking", ask))
                self._upload()

    def _record_seal(self) -> None:
        """Put into the record that the parcel is sealed, before anybody sees the seal."""
        out = self._out
        if "sealed" not in out.history.milestones:
            about = entries.parcel(out.parcel)
            self._station.record.note(Act.SEAL, about, tier=out.envelope.tier)

    def _make_seal(self) -> tuple[Seal, bytes]:
        envelope = self._out.envelope
        draft = Seal(
            parcel=envelope.parcel,
            envelope=envelope.digest,
            manifest=envelope.manifest_digest,
            chunks=tuple(self._digests[index] for index in range(envelope.chunk_count)),
            sealed=int(time.time()),
            digest=envelope.digest,
            anchor=self._station.record.anchor(self._identity.signers),
        )
        return encode_seal(draft, envelope, self._identity.signers)

    # --- receipts --------------------------------------------------------------------

    def _collect_receipts(self) -> dict[StationId, Receipt]:
        """Verify the receipts that are there; wait for the others as long as was asked."""
        out, receipts = self._out, dict[StationId, Receipt]()
        begun = time.monotonic()
        ask = partial(self._transport.stored, out.parcel)
        stored = self._line.retrying("asking", ask)
        while True:
            for recipient in out.receivers:
                if recipient in stored.receipts and recipient not in receipts:
                    receipts[recipient] = self._fetch_receipt(recipient)
            self._mend(stored)
            waited = time.monotonic() - begun
            left = (self._options.wait or 0.0) - waited
            if len(receipts) == len(out.receivers) or left <= 0:
                return receipts
            self._meter.tell(Waiting(out.parcel, "the receipt", waited))
            news = partial(
                self._transport.wait_for_news, out.parcel, stored, seconds=min(left, NEWS_SECONDS)
            )
            stored = self._line.retrying("waiting for the receipt", news)

    def _mend(self, stored: Stored) -> None:
        """Send again what was lost at the far side; raise TransferError when that has no end."""
        lost = {*stored.wanted}
        if not stored.manifest:
            lost.add(_MANIFEST)
        if not stored.sealed:
            lost.add(_SEAL)
        self._resent.update(lost)
        if max(self._resent.values(), default=0) > MOST_RESENT:
            raise TransferError(
                f"one part was asked for more than {MOST_RESENT} times: it does not stay whole",
                hint="send by another way, or run the same command again later",
            )
        if not stored.manifest:
            self._line.retrying("announcing", self._announce)
        if stored.wanted:
            self._adopt(stored)
            self._upload()
        if not stored.sealed:
            self._store_seal()

    def _fetch_receipt(self, recipient: StationId) -> Receipt:
        out = self._out
        get = partial(self._transport.get_receipt, out.parcel, recipient)
        sealed = self._line.retrying("fetching the receipt", get)
        if self._seal is None:
            raise IntegrityError("a receipt for a parcel that is not sealed")
        sent = Sent(out.envelope, out.manifest, out.key, self._seal, out.layout, self._pieces)
        return accept_receipt(sealed, recipient, sent, station=self._station)
