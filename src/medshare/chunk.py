"""The sealed chunk: header, ciphertext, signature; and the payload inside (format §6).

    offset  size  sealed chunk
         0     4  magic "MSC1"
         4     1  flags: bit 0 = last chunk of the parcel; other bits 0
         5     3  reserved, 0
         8    16  parcel id
        24     4  index, from 0
        28     4  body size n: ciphertext and tag
        32    12  nonce, derived from the rest of the header and the payload (§6.4)
        44     n  ciphertext ‖ tag; the 44 octets above are the associated data
      44+n    64  signature of the per-parcel key over `chunk_signing_input`

    payload = encoded ‖ padding (zeros) ‖ piece digests (32 each) ‖ trailer (16)
    trailer = plain size u32 ‖ encoded size u32 ‖ piece count u32 ‖ codec u8 ‖ 0 0 0

All integers are big-endian.  Everything up to the signature can be checked without any
secret; codec, lengths and digests of the plaintext are inside.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medshare.chunking import MAX_PIECES
from medshare.digest import DIGEST_SIZE, Digest
from medshare.errors import FormatError, IntegrityError, LimitError, UnsupportedVersionError
from medshare.ids import ParcelId
from medshare.suites.base import NONCE_SIZE, TAG_SIZE, Buffer

MAGIC: Final = b"MSC1"
HEADER_SIZE: Final = 44
SIGNATURE_SIZE: Final = 64
TRAILER_SIZE: Final = 16
_LABEL: Final = b"medshare/1 chunk\x00"
_LAST: Final = 1
_HEADER: Final = struct.Struct(">4sB3x16sII12s")
_TRAILER: Final = struct.Struct(">IIIB3x")


def max_payload_size(chunk_size: int) -> int:
    """Octets of the largest payload that a parcel with *chunk_size* may hold."""
    return chunk_size + MAX_PIECES * DIGEST_SIZE + TRAILER_SIZE


def max_sealed_size(chunk_size: int) -> int:
    """Octets of the largest sealed chunk that a parcel with *chunk_size* may hold."""
    return HEADER_SIZE + max_payload_size(chunk_size) + TAG_SIZE + SIGNATURE_SIZE


@dataclass(frozen=True, slots=True)
class ChunkHeader:
    """The public header of a sealed chunk; it is the associated data of its ciphertext."""

    parcel: ParcelId
    index: int
    last: bool
    body_size: int
    nonce: bytes

    @property
    def before_nonce(self) -> bytes:
        """All of the header before the nonce: 32 octets from which the nonce is derived."""
        return self.encode()[:-NONCE_SIZE]

    def encode(self) -> bytes:
        """Return the 44 octets of the header."""
        flags = _LAST if self.last else 0
        return _HEADER.pack(MAGIC, flags, self.parcel, self.index, self.body_size, self.nonce)


def parse_header(sealed: Buffer, *, chunk_size: int, size: int | None = None) -> ChunkHeader:
    """Read the header of *sealed*, the whole chunk, or the beginning of one of *size* octets.

    Raises LimitError, UnsupportedVersionError or FormatError when it is not well formed.
    """
    size = len(sealed) if size is None else size
    if size < HEADER_SIZE + TRAILER_SIZE + TAG_SIZE + SIGNATURE_SIZE:
        raise FormatError("a sealed chunk is too short")
    if size > max_sealed_size(chunk_size):
        raise LimitError("a sealed chunk is larger than its parcel allows")
    head = bytes(sealed[:HEADER_SIZE])
    magic, flags, parcel, index, body_size, nonce = _HEADER.unpack(head)
    if magic != MAGIC:
        kind = UnsupportedVersionError if magic[:3] == MAGIC[:3] else FormatError
        raise kind("not a sealed chunk of this version of the format")
    header = ChunkHeader(ParcelId(parcel), index, bool(flags & _LAST), body_size, nonce)
    if header.encode() != head:
        raise UnsupportedVersionError("reserved bits of a chunk header are set")
    if body_size != size - HEADER_SIZE - SIGNATURE_SIZE:
        raise FormatError("a sealed chunk does not have the length that its header states")
    return header


def chunk_signing_input(parcel: ParcelId, index: int, digest: Digest) -> bytes:
    """Return what the chunk key signs: label ‖ parcel ‖ index u32 ‖ digest of header and body."""
    return _LABEL + parcel + index.to_bytes(4) + digest.value


@dataclass(frozen=True, slots=True)
class Trailer:
    """The last 16 octets of a payload."""

    plain_size: int
    encoded_size: int
    pieces: int
    codec: int

    def encode(self) -> bytes:
        """Return the 16 octets of the trailer."""
        return _TRAILER.pack(self.plain_size, self.encoded_size, self.pieces, self.codec)


def parse_trailer(payload: memoryview) -> Trailer:
    """Read the trailer of *payload*.

    Raises FormatError when it is too short, UnsupportedVersionError if reserved octets are set.
    """
    if len(payload) < TRAILER_SIZE:
        raise FormatError("a chunk payload is too short")
    octets = payload[-TRAILER_SIZE:]
    trailer = Trailer(*_TRAILER.unpack(octets))
    if trailer.encode() != octets:
        raise UnsupportedVersionError("reserved octets of a chunk payload are set")
    return trailer


@dataclass(frozen=True, slots=True)
class Payload:
    """What lies inside a chunk: how it is encoded, and the digest of each piece."""

    codec: int
    encoded: memoryview
    digests: tuple[bytes, ...]


def close_payload(
    buffer: memoryview,
    *,
    encoded_size: int,
    plain_size: int,
    codec: int,
    digests: Sequence[bytes],
    padding: int = 0,
) -> int:
    """Write padding, digests and trailer behind the encoded octets; return the payload's size."""
    end = encoded_size + padding
    buffer[encoded_size:end] = bytes(padding)
    listing = b"".join(digests)
    buffer[end : end + len(listing)] = listing
    end += len(listing)
    trailer = Trailer(plain_size, encoded_size, len(digests), codec)
    buffer[end : end + TRAILER_SIZE] = trailer.encode()
    return end + TRAILER_SIZE


def parse_payload(payload: memoryview, *, plain_size: int, pieces: int) -> Payload:
    """Read an opened payload; raise IntegrityError unless it fits its place in the layout.

    Raises UnsupportedVersionError or FormatError when it is not well formed.
    """
    trailer = parse_trailer(payload)
    if trailer.plain_size != plain_size or trailer.pieces != pieces:
        raise IntegrityError("a chunk does not hold what the manifest lays into it")
    digests_at = len(payload) - TRAILER_SIZE - pieces * DIGEST_SIZE
    if not trailer.encoded_size <= min(plain_size, digests_at):
        raise FormatError("lengths inside a chunk contradict each other")
    padding = payload[trailer.encoded_size : digests_at]
    if padding != bytes(len(padding)):
        raise FormatError("padding inside a chunk is not zero")
    listing = bytes(payload[digests_at:-TRAILER_SIZE])
    digests = tuple(listing[at : at + DIGEST_SIZE] for at in range(0, len(listing), DIGEST_SIZE))
    return Payload(trailer.codec, payload[: trailer.encoded_size], digests)


def padme(size: int) -> int:
    """Return *size* rounded up so that it tells only O(log log size) bits (PURBs, §4)."""
    if size < 2:
        return size
    exponent = size.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (size + mask) & ~mask
