"""A builder that can lie: parcels in which one thing is wrong and every signature verifies.

A `Forger` holds the parts of an honest parcel.  Whoever changes one of them gets octets
that are signed anew by the sender's own keys, sealed anew, and encrypted under the right
key, so that only the check that is meant can refuse them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cbor2
import zstandard

from medshare import signed
from medshare.chunk import (
    HEADER_SIZE,
    SIGNATURE_SIZE,
    TRAILER_SIZE,
    ChunkHeader,
    chunk_signing_input,
    max_sealed_size,
)
from medshare.digest import DIGEST_SIZE
from medshare.suites.base import NONCE_SIZE, TAG_SIZE, Suite
from tests.builder import CREATED, Parcel, octets

TRAILER = {
    "plain": (0, 4),
    "encoded": (4, 4),
    "pieces": (8, 4),
    "codec": (12, 1),
    "reserved": (13, 3),
}
"""Offset and width of each field of a payload's trailer."""

Twist = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Forgery:
    """The octets of a parcel, true or false."""

    envelope: bytes
    manifest: bytes
    chunks: list[bytes]
    seal: bytes


def plain(data: bytes) -> bytes:
    """Return *data*: the twist that changes nothing."""
    return data


def cbor(value: object) -> bytes:
    """Return what `canonical.encode` would write, and what it would refuse to write."""
    return cbor2.dumps(value, canonical=True)


def body_of(data: bytes) -> Any:
    """Return the decoded body of a signed object."""
    return cbor2.loads(cbor2.loads(data)[1])


@dataclass(slots=True)
class Forger:
    """The parts of *parcel*, free to be changed before `octets` signs them."""

    parcel: Parcel
    envelope: dict[str, Any] = field(init=False)
    manifest: bytes = field(init=False)
    chunks: list[bytes] = field(init=False)
    seal: dict[str, Any] = field(default_factory=dict)
    """Fields of the seal that shall differ from the right ones."""
    twist_envelope: Twist = plain
    """What happens to the envelope's encoded body before it is signed."""
    twist_seal: Twist = plain
    envelope_label: str = "medshare/1 envelope"
    seal_label: str = "medshare/1 seal"

    def __post_init__(self) -> None:
        self.envelope = body_of(self.parcel.envelope)
        self.manifest = self.parcel.manifest
        self.chunks = list(self.parcel.chunks)

    @property
    def suite(self) -> Suite:
        """The suite of the honest parcel."""
        return self.parcel.suite

    def octets(self) -> Forgery:
        """Return everything, signed by the sender; what is unchanged keeps its signatures."""
        body = self.twist_envelope(cbor(self.envelope))
        envelope = self._signed(self.envelope_label, body, self.parcel.envelope)
        seal = {
            "chunks": b"".join(
                self.suite.digest(one[:-SIGNATURE_SIZE]).value for one in self.chunks
            ),
            "critical": {},
            "envelope": self.suite.digest(envelope).value,
            "extra": {},
            "manifest": self.suite.digest(self.manifest).value,
            "parcel": self.parcel.id,
            "sealed": CREATED + 60,
        }
        body = self.twist_seal(cbor(seal | self.seal))
        sealed = self._signed(self.seal_label, body, self.parcel.seal)
        return Forgery(envelope, self.manifest, self.chunks, sealed)

    def _signed(self, label: str, body: bytes, honest: bytes) -> bytes:
        if [label, body] == cbor2.loads(honest)[:2]:
            return honest
        return signed.sign(label, body, self.parcel.sender.signers).encode()

    def set_manifest(self, value: object) -> None:
        """Seal the CBOR of *value* as the manifest."""
        self.set_packed_manifest(zstandard.ZstdCompressor().compress(cbor(value)))

    def set_packed_manifest(self, packed: bytes, *, purpose: str = "manifest") -> None:
        """Encrypt *packed*, which should be a Zstandard frame, as the manifest."""
        key = self.parcel.key.derive(self.suite, purpose, self.parcel.id)
        self.manifest = encrypt(
            self.suite, key, octets("nonce", NONCE_SIZE), packed, self.parcel.id
        )
        self.envelope["manifest_size"] = len(self.manifest)
        self.envelope["manifest_digest"] = self.suite.digest(self.manifest).value

    def payload(self, index: int) -> bytearray:
        """Return the opened payload of chunk *index*."""
        sealed = self.chunks[index]
        key = self.parcel.key.derive(self.suite, "content", self.parcel.id)
        out = bytearray(len(sealed) - HEADER_SIZE - SIGNATURE_SIZE - TAG_SIZE)
        self.suite.aead(key).decrypt_into(
            sealed[HEADER_SIZE - NONCE_SIZE : HEADER_SIZE],
            sealed[HEADER_SIZE:-SIGNATURE_SIZE],
            sealed[:HEADER_SIZE],
            memoryview(out),
        )
        return out

    def set_payload(self, index: int, payload: bytes | bytearray) -> None:
        """Seal *payload* as chunk *index*, with a right header."""
        last = index == self.envelope["chunk_count"] - 1
        nonce = octets(f"nonce {index}", NONCE_SIZE)
        header = ChunkHeader(self.parcel.id, index, last, len(payload) + TAG_SIZE, nonce)
        self.chunks[index] = self.sign_chunk(index, self.encrypt_chunk(header.encode(), payload))

    def set_header(self, index: int, header: bytes) -> None:
        """Seal the payload of chunk *index* under any *header*, and sign it."""
        payload = self.payload(index)
        self.chunks[index] = self.sign_chunk(index, self.encrypt_chunk(header, payload))

    def header(self, index: int) -> bytearray:
        """Return the header of chunk *index*."""
        return bytearray(self.chunks[index][:HEADER_SIZE])

    def encrypt_chunk(self, header: bytes, payload: bytes | bytearray) -> bytes:
        """Return *header* and the ciphertext of *payload* under the nonce in it."""
        key = self.parcel.key.derive(self.suite, "content", self.parcel.id)
        body = bytearray(len(payload) + TAG_SIZE)
        self.suite.aead(key).encrypt_into(header[-NONCE_SIZE:], payload, header, memoryview(body))
        return bytes(header + body)

    def sign_chunk(self, index: int, unsigned: bytes) -> bytes:
        """Return *unsigned* with the chunk key's signature for place *index*."""
        message = chunk_signing_input(self.parcel.id, index, self.suite.digest(unsigned))
        return unsigned + self.parcel.chunk_signer.sign(message)

    def trailer(self, payload: bytearray, **changes: int) -> bytearray:
        """Return *payload* with fields of its trailer (see `TRAILER`) set."""
        changed = bytearray(payload)
        for name, value in changes.items():
            offset, width = TRAILER[name]
            start = len(changed) - TRAILER_SIZE + offset
            changed[start : start + width] = value.to_bytes(width)
        return changed

    def stored_payload(self, data: bytes, *, padding: bytes = b"") -> bytearray:
        """Return the payload of one piece *data*, stored."""
        numbers = (len(data), len(data), 1)
        trailer = b"".join(number.to_bytes(4) for number in numbers) + bytes(4)
        return bytearray(data + padding + self.suite.digest(data).value + trailer)

    def oversized(self, index: int) -> bytes:
        """Return chunk *index* with a body just longer than the parcel allows, signed."""
        size = max_sealed_size(self.envelope["chunk_size"]) - HEADER_SIZE - SIGNATURE_SIZE + 1
        last = index == self.envelope["chunk_count"] - 1
        header = ChunkHeader(self.parcel.id, index, last, size, bytes(NONCE_SIZE)).encode()
        return self.sign_chunk(index, header + bytes(size))


def encrypt(suite: Suite, key: bytes, nonce: bytes, data: bytes, aad: bytes) -> bytes:
    """Return nonce, ciphertext and tag, as sealed manifests and receipts have them."""
    out = bytearray(len(data) + TAG_SIZE)
    suite.aead(key).encrypt_into(nonce, data, aad, memoryview(out))
    return nonce + bytes(out)


def swap_digests(listing: bytes) -> bytes:
    """Return the list of chunk digests with the first two exchanged."""
    first, second = listing[:DIGEST_SIZE], listing[DIGEST_SIZE : 2 * DIGEST_SIZE]
    return second + first + listing[2 * DIGEST_SIZE :]
