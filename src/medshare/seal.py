"""The seal: the sender's last signature, without which a parcel is unfinished (format §8).

It fixes the digest of every chunk, of the envelope and of the manifest.  Chunks that the
chunk key signed but that the seal does not name (left over from an interrupted send) are
worth nothing once it stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medshare import anchor, canonical, signed
from medshare.anchor import Anchor
from medshare.canonical import Fields
from medshare.chunking import MAX_CHUNKS
from medshare.digest import DIGEST_SIZE, Digest
from medshare.envelope import Envelope
from medshare.errors import IntegrityError
from medshare.ids import PARCEL_ID_SIZE, ParcelId
from medshare.suites.base import Signer

LABEL: Final = "medshare/1 seal"
MAX_SEAL_SIZE: Final = MAX_CHUNKS * DIGEST_SIZE + 65536
_MAX_ITEMS: Final = 4096
_WHAT: Final = "the seal"


@dataclass(frozen=True, slots=True)
class Seal:
    """The digests of all chunks of one parcel, in order, fixed by its sender."""

    parcel: ParcelId
    envelope: Digest
    manifest: Digest
    chunks: tuple[Digest, ...]
    sealed: int
    digest: Digest
    """Digest of the whole encoded seal; not part of it."""
    anchor: Anchor | None = None
    """What the sender's record was when it sealed."""

    def require_chunk(self, index: int, digest: Digest) -> None:
        """Raise DigestMismatchError unless *digest* is that of chunk *index*.

        Raises IntegrityError when the parcel has no chunk with that index.
        """
        if not 0 <= index < len(self.chunks):
            raise IntegrityError(f"chunk {index} lies beyond the end of its parcel")
        self.chunks[index].require(digest, what=f"chunk {index}")


def encode_seal(seal: Seal, envelope: Envelope, signers: Sequence[Signer]) -> tuple[Seal, bytes]:
    """Sign *seal*; return it with its digest, and the encoded seal.

    What is returned has been read back: raises what `parse_seal` raises for a seal that no
    reader would accept.
    """
    body = canonical.encode(
        {
            "chunks": b"".join(chunk.value for chunk in seal.chunks),
            "critical": {},
            "envelope": seal.envelope.value,
            "extra": anchor.to_extra(seal.anchor),
            "manifest": seal.manifest.value,
            "parcel": seal.parcel,
            "sealed": seal.sealed,
        }
    )
    data = signed.sign(LABEL, body, signers).encode()
    return parse_seal(data, envelope), data


def parse_seal(data: bytes, envelope: Envelope) -> Seal:
    """Return the seal in *data* once it is proved to be the sender's seal of *envelope*.

    Raises FormatError, SignatureError, or IntegrityError when it seals another parcel.
    """
    outer = signed.parse(data, label=LABEL, limit=MAX_SEAL_SIZE, what=_WHAT)
    outer.verify(envelope.sender_keys, what=_WHAT)
    value = canonical.decode(outer.body, limit=MAX_SEAL_SIZE, what=_WHAT, items=_MAX_ITEMS)
    fields = Fields(value, what=_WHAT)
    canonical.refuse_unknown_critical(fields.mapping("critical"), frozenset())
    extra = fields.mapping("extra")
    listing = fields.octets("chunks", size=envelope.chunk_count * DIGEST_SIZE)
    seal = Seal(
        parcel=ParcelId(fields.octets("parcel", size=PARCEL_ID_SIZE)),
        envelope=Digest(fields.octets("envelope", size=DIGEST_SIZE)),
        manifest=Digest(fields.octets("manifest", size=DIGEST_SIZE)),
        chunks=tuple(
            Digest(listing[at : at + DIGEST_SIZE]) for at in range(0, len(listing), DIGEST_SIZE)
        ),
        sealed=fields.time("sealed"),
        digest=envelope.cipher_suite.digest(data),
        anchor=anchor.from_extra(extra, what=_WHAT),
    )
    fields.finish()
    if seal.parcel != envelope.parcel or seal.envelope != envelope.digest:
        raise IntegrityError("the seal belongs to another parcel")
    if seal.manifest != envelope.manifest_digest:
        raise IntegrityError("the seal names another manifest than the envelope")
    return seal
