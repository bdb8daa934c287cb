"""One worker's chunk: plaintext in, sealed chunk out; and the way back (format §6).

`ChunkPacker` and `ChunkUnpacker` own the buffers of one worker, so that a transfer of
any size uses the same memory.  They are not shared between threads; the sealer and the
opener that they are given may be.
"""

from dataclasses import dataclass, replace
from typing import Final

from medshare.chunk import (
    HEADER_SIZE,
    SIGNATURE_SIZE,
    TRAILER_SIZE,
    ChunkHeader,
    chunk_signing_input,
    close_payload,
    max_payload_size,
    max_sealed_size,
    padme,
    parse_header,
    parse_payload,
    parse_trailer,
)
from medshare.chunking import Layout
from medshare.codecs import STORE, Codec, Effort
from medshare.digest import DIGEST_SIZE, Digest
from medshare.envelope import ChunkRecord, Envelope
from medshare.errors import IntegrityError
from medshare.ids import ParcelId
from medshare.sealing import ParcelKey
from medshare.suites.base import NONCE_SIZE, TAG_SIZE, Signer, Suite

_NONCE: Final = b"medshare/1 nonce\x00"


class ChunkSealer:
    """Encrypts and signs the chunks of one parcel; safe to share between threads.

    The nonce is a pseudo-random function of all that is encrypted or authenticated, as in
    SIV modes (RFC 5297): sealing the same payload again gives the same octets, and no nonce
    ever serves two payloads, or two headers, whatever was interrupted or changed between.
    docs/decisions/0002-nonces-and-resume.md has the argument.
    """

    def __init__(
        self, suite: Suite, parcel: ParcelId, chunk_count: int, key: ParcelKey, signer: Signer
    ) -> None:
        self.suite = suite
        self._parcel = parcel
        self._count = chunk_count
        self._aead = suite.aead(key.derive(suite, "content", parcel))
        self._nonce_key = key.derive(suite, "nonce", parcel)
        self._signer = signer

    def seal(
        self, index: int, payload: memoryview, out: memoryview
    ) -> tuple[int, ChunkRecord, bytes]:
        """Write the sealed chunk into *out*; return its size, its record, and its whole digest.

        The piece digests inside *payload* must be those of its pieces: the nonce of a stored
        payload is derived from them.
        """
        body_size = len(payload) + TAG_SIZE
        last = index == self._count - 1
        bare = ChunkHeader(self._parcel, index, last, body_size, bytes(NONCE_SIZE))
        head = replace(bare, nonce=self._nonce(bare, payload)).encode()
        end = HEADER_SIZE + body_size
        out[:HEADER_SIZE] = head
        self._aead.encrypt_into(head[-NONCE_SIZE:], payload, head, out[HEADER_SIZE:end])
        hasher = self.suite.hasher()
        hasher.update(out[:end])
        digest = Digest(hasher.digest())
        signature = self._signer.sign(chunk_signing_input(self._parcel, index, digest))
        out[end : end + SIGNATURE_SIZE] = signature
        hasher.update(signature)
        return end + SIGNATURE_SIZE, ChunkRecord(index, digest, signature), hasher.digest()

    def _nonce(self, header: ChunkHeader, payload: memoryview) -> bytes:
        """Return the nonce that belongs to *header* and *payload* (format §6.4).

        Piece digests and trailer determine a stored payload; of a compressed one the
        encoded octets are hashed as well, since one plaintext may be encoded in many ways.
        """
        trailer = parse_trailer(payload)
        info = _NONCE + header.before_nonce
        info += self.suite.digest(payload[trailer.encoded_size :]).value
        if trailer.codec != STORE:
            info += self.suite.digest(payload[: trailer.encoded_size]).value
        return self.suite.derive(self._nonce_key, info=info)[:NONCE_SIZE]


@dataclass(frozen=True, slots=True)
class PackedChunk:
    """A sealed chunk in the buffer that `pack` was given."""

    sealed: memoryview
    record: ChunkRecord
    whole_digest: bytes
    """The suite's hash over all of `sealed`, its signature included."""
    piece_digests: tuple[bytes, ...]
    plain_size: int


class ChunkPacker:
    """Turns the plaintext in `plain` into a sealed chunk."""

    def __init__(
        self,
        sealer: ChunkSealer,
        layout: Layout,
        *,
        effort: Effort = Effort.BALANCED,
        pad: bool = False,
    ) -> None:
        self._sealer = sealer
        self._layout = layout
        self._effort = effort
        self._pad = pad
        self._codec = Codec(layout.chunk_size)
        self._payload = memoryview(bytearray(max_payload_size(layout.chunk_size)))
        self._filled: int | None = None

    def plain(self, index: int) -> memoryview:
        """Return the buffer to fill with the plaintext of chunk *index*."""
        self._filled = index
        return self._payload[: self._layout.size(index)]

    def pack(
        self, index: int, *, out: memoryview | None = None, effort: Effort | None = None
    ) -> PackedChunk:
        """Seal chunk *index*, whose plaintext has been put into `plain(index)`, into *out*.

        *out* has room for `max_sealed_size` octets; without it, the packed chunk is a new
        buffer.  The plaintext is overwritten when it could be compressed: raises RuntimeError
        unless the last call was `plain(index)`, as no receiver could notice the difference.
        """
        if self._filled != index:
            raise RuntimeError("the packer does not hold the plaintext of this chunk")
        if out is None:
            out = memoryview(bytearray(max_sealed_size(self._layout.chunk_size)))
        plain = self.plain(index)
        self._filled = None
        digests = tuple(
            self._sealer.suite.digest(plain[p.chunk_offset : p.chunk_offset + p.size]).value
            for p in self._layout.pieces(index)
        )
        codec, encoded = self._codec.encode(plain, effort or self._effort)
        encoded_size = len(encoded)
        if encoded is not plain:
            self._payload[:encoded_size] = encoded
        size = close_payload(
            self._payload,
            encoded_size=encoded_size,
            plain_size=len(plain),
            codec=codec,
            digests=digests,
            padding=self._padding(encoded_size + len(digests) * DIGEST_SIZE + TRAILER_SIZE),
        )
        payload = self._payload[:size]
        sealed_size, record, whole = self._sealer.seal(index, payload, out)
        return PackedChunk(out[:sealed_size], record, whole, digests, len(plain))

    def _padding(self, size: int) -> int:
        if not self._pad:
            return 0
        return min(padme(size), max_payload_size(self._layout.chunk_size)) - size


class ChunkOpener:
    """Decrypts the verified chunks of one parcel; safe to share between threads."""

    def __init__(self, envelope: Envelope, key: ParcelKey) -> None:
        self.suite = suite = envelope.cipher_suite
        self._chunk_size = envelope.chunk_size
        self._aead = suite.aead(key.derive(suite, "content", envelope.parcel))

    def open(self, sealed: memoryview, out: memoryview) -> memoryview:
        """Decrypt *sealed* into *out*; return the part of *out* that holds the payload.

        Raises IntegrityError when the ciphertext does not authenticate.
        """
        header = parse_header(sealed, chunk_size=self._chunk_size)
        end = HEADER_SIZE + header.body_size
        payload = out[: header.body_size - TAG_SIZE]
        self._aead.decrypt_into(
            header.nonce, sealed[HEADER_SIZE:end], sealed[:HEADER_SIZE], payload
        )
        return payload


class ChunkUnpacker:
    """Turns a verified sealed chunk back into plaintext, and checks every piece of it."""

    def __init__(self, opener: ChunkOpener, layout: Layout) -> None:
        self._opener = opener
        self._layout = layout
        self._codec = Codec(layout.chunk_size)
        self._payload = memoryview(bytearray(max_payload_size(layout.chunk_size)))
        self._plain = memoryview(bytearray(layout.chunk_size))

    def unpack(self, index: int, sealed: memoryview) -> tuple[memoryview, tuple[bytes, ...]]:
        """Return the plaintext of chunk *index*, valid until the next call, and its digests.

        *sealed* must have passed `ChunkVerifier.check`.  Raises IntegrityError (or
        CodecError, FormatError) unless every piece has the digest that the sender gave it.
        """
        pieces = list(self._layout.pieces(index))
        size = self._layout.size(index)
        opened = self._opener.open(sealed, self._payload)
        payload = parse_payload(opened, plain_size=size, pieces=len(pieces))
        if payload.codec == STORE and len(payload.encoded) == size:
            plain = payload.encoded
        else:
            plain = self._plain[:size]
            self._codec.decode(payload.codec, payload.encoded, plain)
        for piece, expected in zip(pieces, payload.digests, strict=True):
            part = plain[piece.chunk_offset : piece.chunk_offset + piece.size]
            if self._opener.suite.digest(part).value != expected:
                raise IntegrityError(f"chunk {index} does not unpack to what the sender packed")
        return plain, payload.digests
