"""One parcel from the far side to this station.

Order of claims: a chunk is verified before it is written, written before the journal
says so; files get their final names after the seal has been verified and everything is
durable; the receipt is signed after the files have their names.
"""

import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from medshare.digest import DIGEST_SIZE, Digest
from medshare.disk.incoming import PartFolder, Prepared, discard_remains
from medshare.envelope import Envelope
from medshare.errors import IncompleteError, IntegrityError, NotFoundError
from medshare.grant import Permission
from medshare.ids import ParcelId, StationId
from medshare.receipt import ReceivedFile
from medshare.resume import Reached
from medshare.seal import Seal, parse_seal
from medshare.sharing.access import Access
from medshare.sharing.delivery import Delivery
from medshare.sharing.events import Finished, OnEvent, Phase, Planned
from medshare.sharing.fetching import NEWS_SECONDS, Fetching
from medshare.sharing.hashing import FileHashing
from medshare.sharing.incoming import MENDS, Incoming
from medshare.sharing.workers import Crew, Meter
from medshare.station import Contact, Identity, Station
from medshare.transfer import Patience
from medshare.transport.base import Transport

SEAL_ROUNDS: Final = 3
SEAL_PAUSE: Final = 0.2
"""Seconds before a seal is asked for again that was said to be there, and was not."""


@dataclass(frozen=True, slots=True)
class ReceiveOptions:
    """How to receive; times in seconds."""

    workers: int | None = None
    wait: float = 600.0
    """How long to wait, without anything moving, for a sender that has not finished."""
    give_up_after: float = 300.0
    damage_delay: float = 1.0
    """First pause before a chunk that arrived damaged twice is fetched again."""
    damage_wait: float = 20.0
    """How long to wait for an intact copy of a damaged chunk, while nothing else moves."""
    suites: frozenset[str] | None = None
    """Those in which a parcel is taken; None for those of which the own card has keys."""
    mixed: bool = False
    """Whether signature and wrapped key may be of another family than the suite."""
    break_glass: str | None = None
    """Why a rule of the policy is to be overridden in an emergency; None to keep to all."""


@dataclass(frozen=True, slots=True)
class ReceiveResult:
    """What was received; octets are plaintext unless the name says wire."""

    parcel: ParcelId
    sender: Contact
    files: tuple[ReceivedFile, ...]
    total_bytes: int
    wire_bytes: int
    moved_chunks: int
    resumed_chunks: int
    output: Path
    receipt_file: Path
    envelope: Envelope | None = None
    """What its sender signed: what was granted, and what it continues."""
    recipient: StationId | None = None
    """This station."""


class Receiving:
    """Fetches what is missing of one incoming parcel, verifies it, and puts it in place."""

    def __init__(
        self,
        incoming: Incoming,
        station: Station,
        identity: Identity,
        transport: Transport,
        options: ReceiveOptions,
        on_event: OnEvent,
        access: Access,
    ) -> None:
        self._in = incoming
        self._access = access
        self._station = station
        self._identity = identity
        self._transport = transport
        self._options = options
        self._meter = Meter(incoming.parcel, on_event)
        self._patience = Patience(options.give_up_after)
        self._line = Crew(self._meter, self._patience)
        self._resumed = len(incoming.history.chunks)
        self._fetching = Fetching(
            incoming,
            transport,
            self._meter,
            patience=self._patience,
            wait=options.wait,
            damage_delay=options.damage_delay,
            damage_wait=options.damage_wait,
        )

    def run(self) -> ReceiveResult:
        """Do all of it; return what was done."""
        into = self._in
        if "placed" in into.history.milestones:
            discard_remains(into.output, into.parcel)
            self._plan()
            seal = self._fetch_seal_again()
        else:
            seal = self._receive_files()
        files = self._received_files()
        delivery = Delivery(
            into,
            self._identity,
            self._station,
            self._transport,
            self._line,
            emergency=self._access.emergency,
        )
        receipt_file = delivery.run(seal, files)
        self._meter.tell(Finished(into.parcel, "received", len(files), into.layout.total_size))
        return ReceiveResult(
            parcel=into.parcel,
            sender=into.opened.sender,
            files=files,
            total_bytes=into.layout.total_size,
            wire_bytes=self._meter.wire_bytes,
            moved_chunks=self._meter.moved_chunks,
            resumed_chunks=self._resumed,
            output=into.output,
            receipt_file=receipt_file,
            envelope=into.opened.envelope,
            recipient=self._identity.station,
        )

    def _receive_files(self) -> Seal:
        into, manifest = self._in, self._in.opened.manifest
        with closing(PartFolder(into.output, into.parcel)) as part:
            prepared = part.prepare(manifest)
            self._forget_lost(prepared)
            self._plan()
            if prepared.placing:
                seal = self._fetch_seal_again()
            else:
                seal = self._fetch_all(part)
                self._fetching.sync(part)
            self._meter.tell(Phase(into.parcel, "placing"))
            self._access.note(Permission.EXPORT)
            part.place()
            into.note(Reached("placed"), sync=True)
            part.discard()
        return seal

    def _forget_lost(self, prepared: Prepared) -> None:
        """Count as missing what an earlier run wrote and the part folder no longer has."""
        layout, chunks = self._in.layout, self._in.history.chunks
        if not prepared.kept:
            lost = set(chunks)
        else:
            lost = {index for file in prepared.renewed for index in layout.chunks_of(file)}
        self._fetching.discard(sorted(lost & set(chunks)))
        # Durable before the part folder counts as prepared, which is at the first write.
        self._in.journal.sync()
        self._resumed = len(chunks)

    def _plan(self) -> None:
        into, layout = self._in, self._in.layout
        resumed_bytes = sum(layout.size(index) for index in into.history.chunks)
        self._meter.begin(
            total_chunks=layout.chunk_count,
            total_bytes=layout.total_size,
            chunks=self._resumed,
            plain_bytes=resumed_bytes,
        )
        self._meter.tell(
            Planned(
                parcel=into.parcel,
                direction="receive",
                peer=into.opened.sender.name,
                route=self._transport.route,
                files=len(into.opened.manifest.files),
                total_bytes=layout.total_size,
                total_chunks=layout.chunk_count,
                resumed_chunks=self._resumed,
                resumed_bytes=resumed_bytes,
            )
        )

    # --- fetching --------------------------------------------------------------------

    def _fetch_all(self, part: PartFolder) -> Seal:
        """Fetch chunks until all are here and are those that the seal names."""
        hashing = FileHashing(self._in, part)
        unsealed: list[int] = []
        for _ in range(SEAL_ROUNDS):
            self._fetching.run(part, hashing, workers=self._options.workers)
            seal = self._fetch_seal()
            unsealed = self._unsealed(seal)
            if not unsealed:
                hashing.finish()
                return seal
            self._fetching.discard(unsealed)
            hashing = FileHashing(self._in, part)
        names = self._fetching.names(unsealed)
        raise IntegrityError(f"the far side keeps serving chunks that were not sealed: {names}")

    def _unsealed(self, seal: Seal) -> list[int]:
        """Return the chunks that are here and are not those that *seal* names."""
        chunks = self._in.history.chunks
        return [index for index, done in chunks.items() if seal.chunks[index] != done.digest]

    def _fetch_seal_again(self) -> Seal:
        """Return the seal of what an earlier run has verified; no other one will do."""
        seal = self._fetch_seal()
        if self._unsealed(seal):
            raise IntegrityError("the far side serves another seal than the one received before")
        return seal

    def _fetch_seal(self) -> Seal:
        """Return the verified seal; wait for it as long as was asked."""
        self._meter.tell(Phase(self._in.parcel, "checking"))
        while True:
            try:
                get = partial(self._transport.get_seal, self._in.parcel)
                return parse_seal(
                    self._line.retrying("fetching the seal", get), self._in.opened.envelope
                )
            except NotFoundError:
                if time.monotonic() - self._meter.last_moved > self._options.wait:
                    raise IncompleteError(
                        "there is no intact seal of this parcel: it is unfinished, or damaged",
                        hint=f"{MENDS}; what is here is kept",
                    ) from None
            ask = partial(self._transport.stored, self._in.parcel)
            stored = self._line.retrying("asking", ask)
            if stored.sealed:
                self._line.pause(SEAL_PAUSE)
            else:
                news = partial(
                    self._transport.wait_for_news,
                    self._in.parcel,
                    stored,
                    seconds=min(NEWS_SECONDS, self._options.wait),
                )
                self._line.retrying("waiting for the seal", news)

    # --- the end ----------------------------------------------------------------------

    def _received_files(self) -> tuple[ReceivedFile, ...]:
        into, empty = self._in, self._in.opened.envelope.cipher_suite.digest(b"")
        digests: list[Digest] = [empty] * len(into.opened.manifest.files)
        for index, done in into.history.chunks.items():
            for number, piece in enumerate(into.layout.pieces(index)):
                at = number * DIGEST_SIZE
                digests[piece.file] = Digest(done.pieces[at : at + DIGEST_SIZE])
        for number, digest in into.history.files.items():
            digests[number] = digest
        return tuple(
            ReceivedFile(entry.path, entry.size, digest)
            for entry, digest in zip(into.opened.manifest.files, digests, strict=True)
        )
