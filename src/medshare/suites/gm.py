"""Suite `gm`: SM4-GCM (GB/T 32907), SM3 (GB/T 32905), HKDF-SM3 (RFC 5869), SM2 (GB/T 32918).

SM3 and SM4 come from OpenSSL through `cryptography`, or from libgcrypt where the machine has
it and it agrees (`suites.gcrypt`); only SM2 (`suites.sm2`) needs the extra `medshare[gm]`.
An SM4 key has 16 octets: the first half of a derived key.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SM3, Hash
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from medshare.digest import Digest
from medshare.errors import IntegrityError
from medshare.suites import gcrypt
from medshare.suites.base import KEY_SIZE, NONCE_SIZE, TAG_SIZE, Aead, Buffer, Hasher

SM4_KEY_SIZE: Final = 16
_WORTH_IT: Final = 4096
"""Octets from which on another library is worth the way to it."""


class Sm3:
    """SM3 of OpenSSL as an incremental hash; long updates release the interpreter lock."""

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
    """SM4-GCM of OpenSSL under the first 16 octets of a key; releases the interpreter lock."""

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


class FastSm4Gcm:
    """SM4-GCM of libgcrypt under the first 16 octets of a key; releases the interpreter lock."""

    def __init__(self, key: bytes, library: gcrypt.Gcrypt) -> None:
        self._key = key[:SM4_KEY_SIZE]
        self._library = library

    def encrypt_into(self, nonce: Buffer, data: Buffer, aad: Buffer, out: memoryview, /) -> int:
        """Write ciphertext and tag into *out*."""
        self._library.encrypt(self._key, bytes(nonce), data, bytes(aad), out)
        return len(data) + TAG_SIZE

    def decrypt_into(self, nonce: Buffer, data: Buffer, aad: Buffer, out: memoryview, /) -> int:
        """Write plaintext into *out*; raise IntegrityError when the tag is wrong."""
        if len(data) < TAG_SIZE:
            raise IntegrityError("ciphertext does not authenticate")
        self._library.decrypt(self._key, bytes(nonce), data, bytes(aad), out)
        return len(data) - TAG_SIZE


@cache
def fast() -> gcrypt.Gcrypt | None:
    """Return libgcrypt where it is there and makes of a sample what OpenSSL makes of it."""
    library = gcrypt.load()
    if library is None:
        return None
    sample, key, nonce = bytes(range(256)) * 17, bytes(range(KEY_SIZE)), bytes(NONCE_SIZE)
    hasher = library.sm3()
    hasher.update(sample)
    agrees = hasher.digest() == _sm3(sample)
    sealed = [bytearray(len(sample) + TAG_SIZE) for _ in range(2)]
    FastSm4Gcm(key, library).encrypt_into(nonce, sample, nonce, memoryview(sealed[0]))
    Sm4Gcm(key).encrypt_into(nonce, sample, nonce, memoryview(sealed[1]))
    return library if agrees and sealed[0] == sealed[1] else None


def _sm3(*parts: Buffer) -> bytes:
    state = Hash(SM3())
    for part in parts:
        state.update(part)
    return state.finalize()


@dataclass(frozen=True, slots=True)
class GmSuite:
    """The national suite."""

    name: str = "gm"
    hash_name: str = "sm3"
    chunk_signature: str = "sm2"

    def hasher(self) -> Hasher:
        """Return a fresh SM3 hasher."""
        library = fast()
        return Sm3() if library is None else library.sm3()

    def digest(self, *parts: Buffer) -> Digest:
        """Return the SM3 digest of the concatenated *parts*."""
        if sum(map(len, parts)) < _WORTH_IT:
            return Digest(_sm3(*parts))
        hasher = self.hasher()
        for part in parts:
            hasher.update(part)
        return Digest(hasher.digest())

    def derive(self, key: bytes, *, info: bytes) -> bytes:
        """Return HKDF-SM3(key, salt = none, info), 32 octets."""
        return HKDF(algorithm=SM3(), length=KEY_SIZE, salt=None, info=info).derive(key)

    def aead(self, key: bytes) -> Aead:
        """Return SM4-GCM under the first half of *key*."""
        library = fast()
        return Sm4Gcm(key) if library is None else FastSm4Gcm(key, library)


GM: Final = GmSuite()
