"""What needs secret keys: sealing and opening (format §§4, 6, 7, 9).

One random 256-bit key per parcel; every other key is derived from it.  The envelope
commits to it, so no ciphertext opens to two plaintexts under two keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import zstandard

from medshare.chunking import Layout
from medshare.digest import Digest
from medshare.envelope import MAX_SEALED_MANIFEST, Envelope, Stanza, check_sealed_manifest
from medshare.errors import FormatError, IntegrityError, LimitError, NoIdentityMatchError
from medshare.ids import ParcelId, StationId
from medshare.manifest import MAX_MANIFEST_SIZE, Manifest, parse_manifest
from medshare.receipt import MAX_RECEIPT_SIZE, MAX_SEALED_RECEIPT
from medshare.suites.base import (
    KEY_ID_SIZE,
    KEY_SIZE,
    NONCE_SIZE,
    SYSTEM_RANDOM,
    TAG_SIZE,
    Opener,
    PublicKey,
    RandomBytes,
    Suite,
)
from medshare.suites.kem import wrap

_WRAP: Final = b"medshare/1 wrap\x00"
_CHUNK_SIGNER: Final = b"medshare/1 chunk signer\x00"
MANIFEST_LEVEL: Final = 3


@dataclass(frozen=True, slots=True, repr=False)
class ParcelKey:
    """The one secret of a parcel.  Its representation shows nothing."""

    value: bytes

    def derive(self, suite: Suite, purpose: str, parcel: ParcelId) -> bytes:
        """Return the 32-octet key for *purpose* in *parcel*."""
        return suite.derive(self.value, info=f"medshare/1 {purpose}\x00".encode() + parcel)

    def commitment(self, suite: Suite, parcel: ParcelId) -> bytes:
        """Return what the envelope publishes to bind the parcel to this key."""
        return self.derive(suite, "commitment", parcel)


def key_id(suite: Suite, key: PublicKey) -> bytes:
    """Return the 16 octets by which a stanza names the key that it is wrapped to."""
    return suite.digest(key.algorithm.encode(), b"\x00", key.value).value[:KEY_ID_SIZE]


def wrap_parcel_key(
    key: ParcelKey,
    suite: Suite,
    parcel: ParcelId,
    *,
    sender: StationId,
    recipient: StationId,
    to: PublicKey,
) -> Stanza:
    """Return the stanza that gives *key* to the holder of *to*, bound to sender and parcel."""
    info = _WRAP + parcel + sender + recipient
    return Stanza(recipient, to.algorithm, key_id(suite, to), wrap(to, key.value, info=info))


def unwrap_parcel_key(
    envelope: Envelope, station: StationId, openers: Sequence[Opener]
) -> ParcelKey:
    """Return the key of the parcel, unwrapped with whichever of *openers* it is wrapped to.

    Raises NoIdentityMatchError when no stanza is for them, IntegrityError when the key
    does not match the envelope's commitment.
    """
    suite = envelope.cipher_suite
    held = {key_id(suite, opener.public): opener for opener in openers}
    for stanza in envelope.stanzas_for(station):
        opener = held.get(stanza.key_id)
        if opener is not None and opener.public.algorithm == stanza.algorithm:
            info = _WRAP + envelope.parcel + envelope.sender + station
            key = ParcelKey(opener.unwrap(stanza.wrapped, info=info))
            require_commitment(key, envelope)
            return key
    raise NoIdentityMatchError(
        "this parcel is not addressed to this station",
        hint="ask the sender to send it again, to your current card",
    )


def require_commitment(key: ParcelKey, envelope: Envelope) -> None:
    """Raise IntegrityError unless *key* is the one that the envelope commits to."""
    if len(key.value) != KEY_SIZE:
        raise IntegrityError("the parcel key has the wrong length")
    committed = Digest(envelope.commitment)
    found = Digest(key.commitment(envelope.cipher_suite, envelope.parcel))
    committed.require(found, what="the parcel key")


def wrap_chunk_seed(seed: bytes, parcel: ParcelId, to: PublicKey) -> bytes:
    """Return the seed of the chunk-signing key wrapped to the sender itself, for resuming."""
    return wrap(to, seed, info=_CHUNK_SIGNER + parcel)


def unwrap_chunk_seed(wrapped: bytes, parcel: ParcelId, opener: Opener) -> bytes:
    """Return the seed that `wrap_chunk_seed` wrapped; raise IntegrityError otherwise."""
    return opener.unwrap(wrapped, info=_CHUNK_SIGNER + parcel)


# --- small sealed objects: manifest and receipt ------------------------------------------


def _seal_object(
    plain: bytes, key: bytes, suite: Suite, parcel: ParcelId, random: RandomBytes
) -> bytes:
    packed = zstandard.ZstdCompressor(level=MANIFEST_LEVEL).compress(plain)
    nonce = random(NONCE_SIZE)
    out = bytearray(NONCE_SIZE + len(packed) + TAG_SIZE)
    out[:NONCE_SIZE] = nonce
    suite.aead(key).encrypt_into(nonce, packed, parcel, memoryview(out)[NONCE_SIZE:])
    return bytes(out)


def _open_object(
    sealed: bytes, key: bytes, suite: Suite, parcel: ParcelId, *, limit: int, what: str
) -> bytes:
    if len(sealed) < NONCE_SIZE + TAG_SIZE:
        raise FormatError(f"{what} is too short")
    packed = bytearray(len(sealed) - NONCE_SIZE - TAG_SIZE)
    suite.aead(key).decrypt_into(
        sealed[:NONCE_SIZE], memoryview(sealed)[NONCE_SIZE:], parcel, memoryview(packed)
    )
    try:
        size = zstandard.frame_content_size(packed)
        if size < 0:
            raise FormatError(f"{what} does not say to how many bytes it unpacks")
        if size > limit:
            raise LimitError(f"{what} would unpack to more than {limit} bytes")
        plain = zstandard.ZstdDecompressor().decompress(
            packed, max_output_size=size, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise FormatError(f"{what} does not unpack") from error
    return plain


def seal_manifest(
    manifest: Manifest,
    key: ParcelKey,
    suite: Suite,
    parcel: ParcelId,
    *,
    random: RandomBytes = SYSTEM_RANDOM,
) -> bytes:
    """Return *manifest*, compressed and encrypted; raise LimitError when it is too large."""
    derived = key.derive(suite, "manifest", parcel)
    sealed = _seal_object(manifest.encode(), derived, suite, parcel, random)
    if len(sealed) > MAX_SEALED_MANIFEST:
        raise LimitError("the list of files is too long for one parcel")
    return sealed


def open_manifest(sealed: bytes, key: ParcelKey, envelope: Envelope) -> Manifest:
    """Return the manifest once it is proved to be the one that *envelope* names.

    Its files need exactly the chunks that the envelope announces.  Raises IntegrityError
    or FormatError.
    """
    suite = envelope.cipher_suite
    check_sealed_manifest(sealed, envelope)
    derived = key.derive(suite, "manifest", envelope.parcel)
    plain = _open_object(
        sealed, derived, suite, envelope.parcel, limit=MAX_MANIFEST_SIZE, what="the manifest"
    )
    manifest = parse_manifest(plain)
    if Layout(manifest.sizes, envelope.chunk_size).chunk_count != envelope.chunk_count:
        raise IntegrityError("the files of the manifest do not fill the chunks of the envelope")
    return manifest


def seal_receipt(
    receipt: bytes, key: ParcelKey, envelope: Envelope, *, random: RandomBytes = SYSTEM_RANDOM
) -> bytes:
    """Return a signed receipt encrypted so that only the parties of the parcel can read it.

    Raises LimitError when it is too large.
    """
    suite = envelope.cipher_suite
    derived = key.derive(suite, "receipt", envelope.parcel)
    sealed = _seal_object(receipt, derived, suite, envelope.parcel, random)
    if len(sealed) > MAX_SEALED_RECEIPT:
        raise LimitError("the receipt is too long")
    return sealed


def open_receipt(sealed: bytes, key: ParcelKey, envelope: Envelope) -> bytes:
    """Return the signed receipt inside *sealed*.

    Raises LimitError or FormatError when it is malformed, IntegrityError when it does not open.
    """
    if len(sealed) > MAX_SEALED_RECEIPT:
        raise LimitError("the receipt is too long")
    suite = envelope.cipher_suite
    derived = key.derive(suite, "receipt", envelope.parcel)
    return _open_object(
        sealed, derived, suite, envelope.parcel, limit=MAX_RECEIPT_SIZE, what="the receipt"
    )
