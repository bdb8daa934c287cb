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
from medshare.suites import suite_named
from medshare.suites.base import Signer, SoftwareOpener, SoftwareSigner, Suite
from medshare.suites.kem import HYBRID, HYBRID_SEED_SIZE, KEMS, P256, SM2, opener_from_seed
from medshare.suites.signatures import ECDSA_P256, ED25519, ML_DSA_65, signer_from_seed
from medshare.trust.card import Card, Generation, issue, station_id

CREATED = 1_750_000_000
"""When everything here happens: seconds since 1970 UTC."""

CHUNK_SIZE = 1024


KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "intl": ((ED25519, ML_DSA_65), (HYBRID,)),
    "p256": ((ECDSA_P256,), (P256,)),
    "gm": ((SM2,), (SM2,)),
    "gm+intl": ((ED25519, ML_DSA_65, SM2), (HYBRID, SM2)),
}
"""Algorithms of signature keys, and of keys to seal to, of a station by its suites, or `p256`
for one whose keys are in a token."""


def octets(label: str, size: int = 32) -> bytes:
    """Return *size* octets that look random and are the same each time for *label*."""
    return blake3(label.encode()).digest(length=size)


def secret(label: str, algorithm: str) -> bytes:
    """Return a secret key of *algorithm* that is the same each time for *label*."""
    if algorithm == SM2:
        from gmalglib import sm2  # type: ignore[import-untyped]  # stubs, but no marker for them

        private = octets(label)
        public: bytes = sm2.SM2.get_pk(private)
        return private + public[1:]
    return octets(label, HYBRID_SEED_SIZE if algorithm == HYBRID else 32)


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

    def openers_for(self, suite: str) -> tuple[SoftwareOpener, ...]:
        """Return the keys to seal to in a parcel of *suite*."""
        own = (one for one in self.openers if KEMS[one.public.algorithm].family == suite)
        return tuple(own) or self.openers


def make_identity(name: str, suites: str = "intl") -> Identity:
    """Return the station called *name* with keys of *suites*, always the same."""
    signers, openers = make_signers(name, suites), make_openers(name, suites)
    suite = "gm" if "gm" in suites else "intl"
    generation = Generation(
        station=station_id(suite_named(suite), [one.public for one in signers]),
        number=0,
        name=name,
        suite=suite,
        created=CREATED,
        sign_keys=tuple(one.public for one in signers),
        kem_keys=tuple(one.public for one in openers),
    )
    return Identity(name, issue(generation, signers, before=None, old=()), signers, openers)


def make_signers(
    name: str, suites: str = "intl", generation: str = ""
) -> tuple[SoftwareSigner, ...]:
    """Return signature keys of the station called *name*."""
    return tuple(
        signer_from_seed(one, secret(f"{name} {one}{generation}", one)) for one in KEYS[suites][0]
    )


def make_openers(
    name: str, suites: str = "intl", generation: str = ""
) -> tuple[SoftwareOpener, ...]:
    """Return the keys that others seal to of the station called *name*."""
    return tuple(
        opener_from_seed(one, secret(f"{name} {kem_label(one)}{generation}", one))
        for one in KEYS[suites][1]
    )


def kem_label(algorithm: str) -> str:
    """Return what the label of a key of *algorithm* has after the name of its station."""
    return "kem" if algorithm == HYBRID else f"{algorithm} kem"


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
        return ChunkSealer(self.suite, self.id, self.facts.chunk_count, self.key, self.chunk_signer)

    @property
    def suite(self) -> Suite:
        """The suite in which it is sealed."""
        return self.facts.cipher_suite


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
    suite: str | None = None,
) -> Parcel:
    """Return *files* sealed by *sender* to itself and *recipients*.

    The suite is that of the sender's card unless given.  Id, key and chunk key follow from
    *label*: two parcels need two labels.
    """
    used = suite_named(suite or sender.card.current.suite)
    parcel = ParcelId(octets(f"{label} id", 16))
    key = ParcelKey(octets(f"{label} key"))
    signer = signer_from_seed(
        used.chunk_signature, secret(f"{label} chunk key", used.chunk_signature)
    )
    entries = (FileEntry(path, len(data), CREATED * 10**9) for path, data in files.items())
    manifest = Manifest(tuple(entries), tuple(folders), note)
    sealed_manifest = seal_manifest(manifest, key, used, parcel)
    layout = Layout(manifest.sizes, chunk_size)
    addressed = {one.station: one for one in (sender, *recipients)}
    facts = Envelope(
        parcel=parcel,
        suite=used.name,
        created=CREATED,
        delete_after=0,
        tier="routine",
        sender=sender.station,
        sender_keys=tuple(one.public for one in sender.signers),
        recipients=tuple(
            wrap_parcel_key(
                key, used, parcel, sender=sender.station, recipient=one.station, to=opener.public
            )
            for one in addressed.values()
            for opener in one.openers_for(used.name)
        ),
        chunk_size=chunk_size,
        chunk_count=layout.chunk_count,
        chunk_key=signer.public,
        commitment=key.commitment(used, parcel),
        manifest_size=len(sealed_manifest),
        manifest_digest=used.digest(sealed_manifest),
        digest=used.digest(b""),
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
    sealer = ChunkSealer(envelope.cipher_suite, envelope.parcel, envelope.chunk_count, key, signer)
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
        suite=parcel.facts.suite,
        seal=parcel.sealed.digest,
        sender=parcel.facts.sender,
        recipient=recipient.station,
        recipient_keys=tuple(one.public for one in recipient.signers),
        received=CREATED + 120,
        files=tuple(
            ReceivedFile(path, len(data), parcel.suite.digest(data))
            for path, data in parcel.files.items()
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
