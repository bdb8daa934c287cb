"""Seals and opens whole parcels in memory, from fixed seeds: for every test that needs one.

`make_identity("a")` is the same station each time.  `make_parcel` uses the modules of the
format as a sender does; `open_parcel` follows docs/format.md §12 as a receiver does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from blake3 import blake3

from medshare.chunking import Layout
from medshare.codecs import Effort
from medshare.digest import Digest
from medshare.envelope import (
    ChunkVerifier,
    Envelope,
    check_sealed_manifest,
    encode_envelope,
    parse_envelope,
)
from medshare.errors import IncompleteError, IntegrityError, UntrustedSignerError
from medshare.ids import ParcelId, StationId
from medshare.manifest import FileEntry, Manifest
from medshare.packing import ChunkOpener, ChunkPacker, ChunkSealer, ChunkUnpacker
from medshare.receipt import Receipt, ReceivedFile, encode_receipt
from medshare.seal import Seal, encode_seal, parse_seal
from medshare.sealing import (
    ParcelKey,
    open_manifest,
    seal_manifest,
    unwrap_parcel_key,
    wrap_parcel_key,
)
from medshare.suites.base import Signer, SoftwareOpener, SoftwareSigner
from medshare.suites.intl import INTL
from medshare.suites.kem import HYBRID, HYBRID_SEED_SIZE, opener_from_seed
from medshare.suites.signatures import ED25519, ML_DSA_65, signer_from_seed
from medshare.trust.card import Card, Generation, issue, station_id

CREATED = 1_750_000_000
"""When everything here happens: seconds since 1970 UTC."""

CHUNK_SIZE = 1024


def octets(label: str, size: int = 32) -> bytes:
    """Return *size* octets that look random and are the same each time for *label*."""
    return blake3(label.encode()).digest(length=size)


@dataclass(frozen=True, slots=True)
class Identity:
    """One station with its secret keys in memory."""

    name: str
    card: Card
    signers: tuple[SoftwareSigner, ...]
    openers: tuple[SoftwareOpener, ...]

    @property
    def station(self) -> StationId:
        """The station's id."""
        return self.card.station


def make_identity(name: str) -> Identity:
    """Return the station called *name*, always with the same keys."""
    signers = make_signers(name)
    openers = (opener_from_seed(HYBRID, octets(f"{name} kem", HYBRID_SEED_SIZE)),)
    generation = Generation(
        station=station_id(INTL, [one.public for one in signers]),
        number=0,
        name=name,
        suite="intl",
        created=CREATED,
        sign_keys=tuple(one.public for one in signers),
        kem_keys=tuple(one.public for one in openers),
    )
    return Identity(name, issue(generation, signers, before=None, old=()), signers, openers)


def make_signers(name: str) -> tuple[SoftwareSigner, ...]:
    """Return the signature keys that the station called *name* begins with."""
    return (
        signer_from_seed(ED25519, octets(f"{name} ed25519")),
        signer_from_seed(ML_DSA_65, octets(f"{name} ml-dsa-65")),
    )


class Octets(Protocol):
    """A sealed parcel as it travels; without a seal while it is unfinished."""

    @property
    def envelope(self) -> bytes:
        """The encoded envelope."""

    @property
    def manifest(self) -> bytes:
        """The sealed manifest."""

    @property
    def chunks(self) -> Sequence[bytes]:
        """The sealed chunks, in order."""

    @property
    def seal(self) -> bytes:
        """The encoded seal."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A sealed parcel: its octets, and everything that its sender knows about it."""

    envelope: bytes
    manifest: bytes
    chunks: list[bytes]
    seal: bytes
    key: ParcelKey
    chunk_signer: SoftwareSigner
    facts: Envelope
    listing: Manifest
    sealed: Seal
    sender: Identity
    files: dict[str, bytes] = field(repr=False)

    @property
    def id(self) -> ParcelId:
        """The parcel's id."""
        return self.facts.parcel

    @property
    def layout(self) -> Layout:
        """Where its files lie in its chunks."""
        return Layout(self.listing.sizes, self.facts.chunk_size)

    @property
    def sealer(self) -> ChunkSealer:
        """What sealed its chunks."""
        return ChunkSealer(INTL, self.id, self.facts.chunk_count, self.key, self.chunk_signer)


def write_folder(parcel: Octets, folder: Path) -> None:
    """Write the parcel folder of docs/format.md §11."""
    (folder / "chunks").mkdir(parents=True)
    (folder / "envelope").write_bytes(parcel.envelope)
    (folder / "manifest").write_bytes(parcel.manifest)
    (folder / "seal").write_bytes(parcel.seal)
    for index, chunk in enumerate(parcel.chunks):
        (folder / "chunks" / f"{index:08d}").write_bytes(chunk)


def make_parcel(
    files: Mapping[str, bytes],
    *,
    sender: Identity,
    recipients: Sequence[Identity],
    chunk_size: int = CHUNK_SIZE,
    effort: Effort = Effort.BALANCED,
    pad: bool = False,
    folders: Sequence[str] = (),
    note: str = "",
    label: str = "parcel",
) -> Parcel:
    """Return *files* sealed by *sender* to itself and *recipients*.

    Id, key and chunk key follow from *label*: two parcels need two labels.
    """
    parcel = ParcelId(octets(f"{label} id", 16))
    key = ParcelKey(octets(f"{label} key"))
    signer = signer_from_seed(ED25519, octets(f"{label} chunk key"))
    entries = (FileEntry(path, len(data), CREATED * 10**9) for path, data in files.items())
    manifest = Manifest(tuple(entries), tuple(folders), note)
    sealed_manifest = seal_manifest(manifest, key, INTL, parcel)
    layout = Layout(manifest.sizes, chunk_size)
    addressed = {one.station: one for one in (sender, *recipients)}
    facts = Envelope(
        parcel=parcel,
        suite="intl",
        created=CREATED,
        delete_after=0,
        tier="routine",
        sender=sender.station,
        sender_keys=tuple(one.public for one in sender.signers),
        recipients=tuple(
            wrap_parcel_key(
                key, INTL, parcel, sender=sender.station, recipient=one.station, to=opener.public
            )
            for one in addressed.values()
            for opener in one.openers
        ),
        chunk_size=chunk_size,
        chunk_count=layout.chunk_count,
        chunk_key=signer.public,
        commitment=key.commitment(INTL, parcel),
        manifest_size=len(sealed_manifest),
        manifest_digest=INTL.digest(sealed_manifest),
        digest=INTL.digest(b""),
    )
    facts, envelope = encode_envelope(facts, sender.signers)
    chunks, digests = pack(files, facts, layout, key, signer, effort=effort, pad=pad)
    sealed, seal = make_seal(facts, digests, sender.signers)
    return Parcel(
        envelope, sealed_manifest, chunks, seal, key, signer, facts, manifest, sealed,
        sender, dict(files),
    )  # fmt: skip


def pack(
    files: Mapping[str, bytes],
    envelope: Envelope,
    layout: Layout,
    key: ParcelKey,
    signer: Signer,
    *,
    effort: Effort = Effort.BALANCED,
    pad: bool = False,
) -> tuple[list[bytes], list[Digest]]:
    """Return the sealed chunks of *files*, and their digests."""
    sealer = ChunkSealer(INTL, envelope.parcel, envelope.chunk_count, key, signer)
    packer = ChunkPacker(sealer, layout, effort=effort, pad=pad)
    stream, start = b"".join(files.values()), 0
    chunks: list[bytes] = []
    digests: list[Digest] = []
    for index in range(layout.chunk_count):
        size = layout.size(index)
        packer.plain(index)[:] = stream[start : start + size]
        packed = packer.pack(index)
        chunks.append(bytes(packed.sealed))
        digests.append(packed.record.digest)
        start += size
    return chunks, digests


def make_seal(
    envelope: Envelope, digests: Sequence[Digest], signers: Sequence[Signer]
) -> tuple[Seal, bytes]:
    """Return the seal of *envelope* over chunks with *digests*."""
    seal = Seal(
        parcel=envelope.parcel,
        envelope=envelope.digest,
        manifest=envelope.manifest_digest,
        chunks=tuple(digests),
        sealed=CREATED + 60,
        digest=envelope.digest,
    )
    return encode_seal(seal, envelope, signers)


def make_receipt(parcel: Parcel, recipient: Identity) -> bytes:
    """Return the signed receipt of *recipient* for the whole of *parcel*."""
    receipt = Receipt(
        parcel=parcel.id,
        suite="intl",
        seal=parcel.sealed.digest,
        sender=parcel.facts.sender,
        recipient=recipient.station,
        recipient_keys=tuple(one.public for one in recipient.signers),
        received=CREATED + 120,
        files=tuple(
            ReceivedFile(path, len(data), INTL.digest(data)) for path, data in parcel.files.items()
        ),
    )
    return encode_receipt(receipt, recipient.signers)


def verify_parcel(parcel: Octets) -> Seal:
    """Check everything that can be checked without any key (docs/format.md §12.1)."""
    envelope = parse_envelope(parcel.envelope)
    check_sealed_manifest(parcel.manifest, envelope)
    if not parcel.seal:
        raise IncompleteError("the seal is missing")
    seal = parse_seal(parcel.seal, envelope)
    if len(parcel.chunks) < envelope.chunk_count:
        raise IncompleteError("chunks are missing")
    if len(parcel.chunks) > envelope.chunk_count:
        raise IntegrityError("there are more chunks than the parcel has")
    verifier = ChunkVerifier(envelope)
    for index, chunk in enumerate(parcel.chunks):
        seal.require_chunk(index, verifier.check(index, chunk).digest)
    return seal


def open_parcel(parcel: Octets, recipient: Identity, sender: Card) -> dict[str, bytes]:
    """Return the files of *parcel* after every check of a receiver (docs/format.md §12.2)."""
    envelope = parse_envelope(parcel.envelope)
    if envelope.sender != sender.station or not sender.knows_signing_keys(envelope.sender_keys):
        raise UntrustedSignerError("the parcel is not from whom it should be")
    key = unwrap_parcel_key(envelope, recipient.station, recipient.openers)
    manifest = open_manifest(parcel.manifest, key, envelope)
    verify_parcel(parcel)
    layout = Layout(manifest.sizes, envelope.chunk_size)
    unpacker = ChunkUnpacker(ChunkOpener(envelope, key), layout)
    stream = b"".join(
        bytes(unpacker.unpack(index, memoryview(chunk))[0])
        for index, chunk in enumerate(parcel.chunks)
    )
    files, start = {}, 0
    for entry in manifest.files:
        files[entry.path] = stream[start : start + entry.size]
        start += entry.size
    return files
