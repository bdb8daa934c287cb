"""Suite `gm`: SM4-GCM (GB/T 32907), SM3 (GB/T 32905), HKDF-SM3 (RFC 5869), SM2 (GB/T 32918).

SM3 and SM4 come from OpenSSL through `cryptography`; only SM2 (`suites.sm2`) needs the
extra `medshare[gm]`.  An SM4 key has 16 octets: the first half of a derived key.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SM3, Hash
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from medshare.digest import Digest
from medshare.errors import IntegrityError
from medshare.suites.base import KEY_SIZE, TAG_SIZE, Buffer, Hasher

SM4_KEY_SIZE: Final = 16


class Sm3:
    """SM3 as an incremental hash; long updates release the interpreter lock."""

    def __init__(self, state: Hash | None = None) -> None:
        self._state = state or Hash(SM3())

    def update(self, data: Buffer, /) -> None:
        """Take more octets."""
        self._state.update(data)

    def digest(self) -> bytes:
        """Return the digest of the octets so far."""
        return self._state.copy().finalize()

    def copy(self) -> "Sm3":
        """Return an independent hasher in the same state."""
        return Sm3(self._state.copy())


class Sm4Gcm:
    """SM4-GCM under the first 16 octets of a key; `*_into` releases the interpreter lock."""

    def __init__(self, key: bytes) -> None:
        self._key = SM4(key[:SM4_KEY_SIZE])

    def encrypt_into(self, nonce: Buffer, data: Buffer, aad: Buffer, out: memoryview, /) -> int:
        """Write ciphertext and tag into *out*."""
        encryptor = Cipher(self._key, GCM(bytes(nonce))).encryptor()
        encryptor.authenticate_additional_data(aad)
        size = encryptor.update_into(data, out[: len(data)])
        encryptor.finalize()
        out[size : size + TAG_SIZE] = encryptor.tag
        return size + TAG_SIZE

    def decrypt_into(self, nonce: Buffer, data: Buffer, aad: Buffer, out: memoryview, /) -> int:
        """Write plaintext into *out*; raise IntegrityError when the tag is wrong."""
        view = memoryview(data)
        if len(view) < TAG_SIZE:
            raise IntegrityError("ciphertext does not authenticate")
        decryptor = Cipher(self._key, GCM(bytes(nonce), bytes(view[-TAG_SIZE:]))).decryptor()
        decryptor.authenticate_additional_data(aad)
        size = decryptor.update_into(view[:-TAG_SIZE], out)
        try:
            decryptor.finalize()
        except InvalidTag:
            raise IntegrityError("ciphertext does not authenticate") from None
        return size


@dataclass(frozen=True, slots=True)
class GmSuite:
    """The national suite."""

    name: str = "gm"
    hash_name: str = "sm3"
    chunk_signature: str = "sm2"

    def hasher(self) -> Hasher:
        """Return a fresh SM3 hasher."""
        return Sm3()

    def digest(self, *parts: Buffer) -> Digest:
        """Return the SM3 digest of the concatenated *parts*."""
        state = Hash(SM3())
        for part in parts:
            state.update(part)
        return Digest(state.finalize())

    def derive(self, key: bytes, *, info: bytes) -> bytes:
        """Return HKDF-SM3(key, salt = none, info), 32 octets."""
        return HKDF(algorithm=SM3(), length=KEY_SIZE, salt=None, info=info).derive(key)

    def aead(self, key: bytes) -> Sm4Gcm:
        """Return SM4-GCM under *key*."""
        return Sm4Gcm(key)


GM: Final = GmSuite()
