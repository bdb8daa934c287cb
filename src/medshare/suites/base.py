"""What a cipher suite offers, and the few values that cross its border.

A *suite* fixes the algorithms that touch content: AEAD, hash, key derivation and the
signature on chunks.  Identity signatures and key encapsulation follow the keys of the
people concerned, so they are named by algorithm (`PublicKey.algorithm`), not by suite.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from medshare.digest import Digest

KEY_SIZE: Final = 32
NONCE_SIZE: Final = 12
TAG_SIZE: Final = 16
KEY_ID_SIZE: Final = 16

Buffer = bytes | bytearray | memoryview
"""Anything whose octets can be read without a copy."""

Hashed = tuple[str, bytes]
"""The name of a hash (`blake3`, `sm3`), and what it makes of something."""

RandomBytes = Callable[[int], bytes]
"""A source of cryptographically secure random octets; `os.urandom` outside tests."""

SYSTEM_RANDOM: Final[RandomBytes] = os.urandom


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key in the raw encoding of its algorithm, for signatures or for a KEM."""

    algorithm: str
    value: bytes

    def __repr__(self) -> str:
        return f"PublicKey({self.algorithm}, {self.value[:4].hex()}…)"


class Hasher(Protocol):
    """An incremental hash."""

    def update(self, data: Buffer, /) -> object:
        """Take more octets."""

    def digest(self) -> bytes:
        """Return the digest of the octets so far."""

    def copy(self) -> "Hasher":
        """Return an independent hasher in the same state."""


class Aead(Protocol):
    """Authenticated encryption under one key, into buffers that the caller owns."""

    def encrypt_into(self, nonce: Buffer, data: Buffer, aad: Buffer, out: memoryview, /) -> int:
        """Write ciphertext and tag (`len(data) + 16` octets) into *out*."""

    def decrypt_into(self, nonce: Buffer, data: Buffer, aad: Buffer, out: memoryview, /) -> int:
        """Write plaintext into *out*; raise IntegrityError when the tag is wrong."""


Verify = Callable[[bytes, bytes], None]
"""Takes a signature and a message; raises `cryptography.exceptions.InvalidSignature`."""


class Signer(Protocol):
    """A private signature key, in memory or in a token."""

    @property
    def public(self) -> PublicKey:
        """The public half."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature over *message*."""


class Opener(Protocol):
    """The private half of a KEM key: unwraps what was wrapped to its public half."""

    @property
    def public(self) -> PublicKey:
        """The public half."""

    def unwrap(self, wrapped: bytes, *, info: bytes) -> bytes:
        """Return the wrapped octets; raise IntegrityError when they do not open."""


@dataclass(frozen=True, slots=True)
class SoftwareSigner:
    """A signature key held in memory; its representation never shows the secret."""

    public: PublicKey
    _sign: Callable[[bytes], bytes]

    def sign(self, message: bytes) -> bytes:
        """Return the signature over *message*."""
        return self._sign(message)

    def __repr__(self) -> str:
        return f"SoftwareSigner({self.public!r})"


@dataclass(frozen=True, slots=True)
class SoftwareOpener:
    """A KEM key held in memory; its representation never shows the secret."""

    public: PublicKey
    _unwrap: Callable[[bytes, bytes], bytes]
    """Takes what was wrapped, and info; raises IntegrityError when it does not open."""

    def unwrap(self, wrapped: bytes, *, info: bytes) -> bytes:
        """Return the wrapped octets; raise IntegrityError when they do not open."""
        return self._unwrap(wrapped, info)

    def __repr__(self) -> str:
        return f"SoftwareOpener({self.public!r})"


class SignatureBackend(Protocol):
    """The code of one signature algorithm; a module with these three functions is one.

    A *secret* is what a keystore keeps: the seed or the number from which the key follows.
    """

    def new_secret(self, random: RandomBytes, /) -> bytes:
        """Return a secret drawn from *random*."""

    def signer(self, secret: bytes, /) -> SoftwareSigner:
        """Return the signer with *secret*; raise ValueError when it is not valid."""

    def verifier(self, public: bytes, /) -> Verify:
        """Return what verifies under *public*; raise ValueError when it is not valid."""


class KemBackend(Protocol):
    """The code of one way to wrap a key; a module with these four functions is one."""

    def new_secret(self, random: RandomBytes, /) -> bytes:
        """Return a secret drawn from *random*."""

    def opener(self, secret: bytes, /) -> SoftwareOpener:
        """Return the opener with *secret*; raise ValueError when it is not valid."""

    def check_public(self, public: bytes, /) -> None:
        """Raise ValueError unless *public* is a valid public key."""

    def wrap(self, public: bytes, secret: bytes, info: bytes, /) -> bytes:
        """Return *secret* wrapped to *public* and bound to *info*; raise ValueError as above."""


class Suite(Protocol):
    """The algorithms of one parcel."""

    @property
    def name(self) -> str:
        """How envelopes name it."""

    @property
    def hash_name(self) -> str:
        """The hash of this suite: `blake3` or `sm3`."""

    @property
    def chunk_signature(self) -> str:
        """Algorithm of the per-parcel key that signs chunks; its signatures have 64 octets."""

    def hasher(self) -> Hasher:
        """Return a fresh hasher."""

    def digest(self, *parts: Buffer) -> Digest:
        """Return the hash of the concatenated *parts*."""

    def derive(self, key: bytes, *, info: bytes) -> bytes:
        """Return 32 octets derived from *key* for the purpose named by *info*."""

    def aead(self, key: bytes) -> Aead:
        """Return the AEAD under *key*."""
