"""Suite `intl`: AES-256-GCM (NIST SP 800-38D), BLAKE3, HKDF-SHA-256 (RFC 5869), Ed25519."""

from dataclasses import dataclass
from typing import Final

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from medshare.digest import Digest
from medshare.errors import IntegrityError
from medshare.suites.base import KEY_SIZE, Buffer, Hasher


class AesGcm:
    """AES-256-GCM under one key; `*_into` releases the interpreter lock."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def encrypt_into(self, nonce: Buffer, data: Buffer, aad: Buffer, out: memoryview, /) -> int:
        """Write ciphertext and tag into *out*."""
        return self._cipher.encrypt_into(nonce, data, aad, out)

    def decrypt_into(self, nonce: Buffer, data: Buffer, aad: Buffer, out: memoryview, /) -> int:
        """Write plaintext into *out*; raise IntegrityError when the tag is wrong."""
        try:
            return self._cipher.decrypt_into(nonce, data, aad, out)
        except InvalidTag:
            raise IntegrityError("ciphertext does not authenticate") from None


@dataclass(frozen=True, slots=True)
class IntlSuite:
    """The default suite."""

    name: str = "intl"
    hash_name: str = "blake3"
    chunk_signature: str = "ed25519"

    def hasher(self) -> Hasher:
        """Return a fresh BLAKE3 hasher."""
        return blake3()

    def digest(self, *parts: Buffer) -> Digest:
        """Return the BLAKE3-256 digest of the concatenated *parts*."""
        hasher = blake3()
        for part in parts:
            hasher.update(part)
        return Digest(hasher.digest())

    def derive(self, key: bytes, *, info: bytes) -> bytes:
        """Return HKDF-SHA-256(key, salt = none, info), 32 octets."""
        return HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=None, info=info).derive(key)

    def aead(self, key: bytes) -> AesGcm:
        """Return AES-256-GCM under *key*."""
        return AesGcm(key)


INTL: Final = IntlSuite()
