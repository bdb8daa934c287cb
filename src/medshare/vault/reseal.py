"""Content of a vault sealed anew: another parcel, under a fresh key, for this station alone.

The order: the new parcel is put together beside the vault's others, with the note of where
its content came from; it gets its name when all of it is durable; then the old one is
destroyed.  Whatever is interrupted, the content is there once at least, and a second run ends
with exactly one.

What the sender signed is lost with the old ciphertext, but for its grants, which hold on
(`granted`).  What it proved is in the receipt, which names every file by its digest.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from medshare.chunk import max_sealed_size
from medshare.digest import Digest
from medshare.disk.parcels import ParcelFolder
from medshare.envelope import Envelope, encode_envelope
from medshare.ids import ParcelId
from medshare.packing import ChunkPacker, ChunkSealer
from medshare.seal import Seal, encode_seal
from medshare.sealing import seal_manifest
from medshare.sharing.outgoing import Secrets, SendOptions, facts_of
from medshare.sharing.wrapped import keep_key
from medshare.station import Identity
from medshare.suites import suite_named
from medshare.trust.policy import Policy
from medshare.trust.suite_choice import ALL_SUITES, choose_suite
from medshare.vault.granted import keep_granting
from medshare.vault.origin import read_origin, write_origin
from medshare.vault.store import Vault
from medshare.vault.stored import StoredParcel, open_stored

OnBytes = Callable[[int], None]
"""Called with the octets of plaintext of each chunk that was sealed anew; from any thread."""


@dataclass(frozen=True, slots=True)
class Resealed:
    """One parcel that took the place of another; octets are plaintext."""

    before: ParcelId
    after: ParcelId
    octets: int


def reseal(
    vault: Vault,
    parcel: ParcelId,
    identity: Identity,
    *,
    now: int,
    on_bytes: OnBytes = lambda octets: None,  # noqa: ARG005
) -> Resealed:
    """Seal the content of *parcel* anew, and destroy it; *now* in seconds since 1970 UTC.

    Tier and time of deletion stay.  Raises what `open_stored` raises, PolicyError, and
    StorageError when the new parcel cannot be stored; the old one is then still there.
    """
    stored = open_stored(vault, parcel, identity)
    anew = _Anew(stored, identity, vault.station.policy, now, on_bytes)
    staging = vault.stage(anew.parcel)
    write_origin(staging, stored.envelope, read_origin(stored.folder))
    keep_granting(staging, stored.folder, stored.envelope, stored.sealed.read_envelope())
    anew.write(ParcelFolder(staging))
    keep_key(staging, anew.envelope, anew.secrets.key, identity)
    vault.commit(anew.parcel)
    vault.destroy(parcel)
    return Resealed(parcel, anew.parcel, stored.layout.total_size)


def finish_interrupted(vault: Vault) -> int:
    """Destroy what interrupted runs left of old parcels and new ones; return how many there were.

    A parcel whose successor is whole is one of them.
    """
    vault.tidy()
    left = 0
    for parcel in vault.parcels():
        origin = read_origin(vault.folder(parcel))
        if origin is None or not vault.sealed(parcel).has_seal():
            continue
        if vault.folder(origin.replaced).is_dir():
            vault.destroy(origin.replaced)
            left += 1
    return left


class _Anew:
    """The new parcel for the content of an old one."""

    def __init__(
        self,
        stored: StoredParcel,
        identity: Identity,
        policy: Policy,
        now: int,
        on_bytes: OnBytes,
    ) -> None:
        self._stored = stored
        self._identity = identity
        self._now = now
        self._on_bytes = on_bytes
        tier = policy.find(stored.envelope.tier)
        allowed = ALL_SUITES if tier is None else frozenset(tier.suites)
        self.suite: Final = suite_named(choose_suite(identity.card, (), allowed, mixed=True))
        self.secrets: Final = Secrets.new(self.suite)
        self._manifest = seal_manifest(
            stored.manifest, self.secrets.key, self.suite, self.secrets.parcel
        )
        self.envelope, self._octets = encode_envelope(self._facts(), identity.signers)
        self._digests: dict[int, Digest] = {}
        self._local = threading.local()

    @property
    def parcel(self) -> ParcelId:
        """Its id."""
        return self.secrets.parcel

    def _facts(self) -> Envelope:
        before, options = self._stored.envelope, SendOptions(tier=self._stored.envelope.tier)
        facts = facts_of(
            self.secrets,
            self.suite,
            self._stored.layout,
            self._manifest,
            (),
            self._identity,
            options,
            self._now,
        )
        return replace(facts, delete_after=before.delete_after)

    def write(self, folder: ParcelFolder) -> None:
        """Put all of it into *folder*; the seal comes last."""
        folder.write_manifest(self._manifest)
        folder.write_envelope(self._octets)
        sealer = ChunkSealer(
            self.suite,
            self.parcel,
            self.envelope.chunk_count,
            self.secrets.key,
            self.secrets.signer,
        )

        def seal_one(index: int, plain: memoryview) -> None:
            packer, out = self._desk(sealer)
            packer.plain(index)[:] = plain
            packed = packer.pack(index, out=out)
            folder.write_chunk(packed.record, packed.sealed)
            self._digests[index] = packed.record.digest
            self._on_bytes(len(plain))

        self._stored.read_all(seal_one)
        folder.write_seal(self._seal())

    def _seal(self) -> bytes:
        envelope = self.envelope
        draft = Seal(
            parcel=envelope.parcel,
            envelope=envelope.digest,
            manifest=envelope.manifest_digest,
            chunks=tuple(self._digests[index] for index in range(envelope.chunk_count)),
            sealed=self._now,
            digest=envelope.digest,
        )
        return encode_seal(draft, envelope, self._identity.signers)[1]

    def _desk(self, sealer: ChunkSealer) -> tuple[ChunkPacker, memoryview]:
        desk: tuple[ChunkPacker, memoryview] | None = getattr(self._local, "desk", None)
        if desk is None:
            packer = ChunkPacker(sealer, self._stored.layout)
            size = max_sealed_size(self.envelope.chunk_size)
            desk = self._local.desk = packer, memoryview(bytearray(size))
        return desk
