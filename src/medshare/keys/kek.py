"""Key-encryption keys (KEKs): what a vault's parcel keys are wrapped under, one for each tier.

A KEK has a label, by which whoever asked for it finds it again (`routine/3`), and wraps keys of
32 octets by one of two algorithms:

    aes-256-kw    AES key wrap (RFC 3394, NIST SP 800-38F KW), which needs no nonce
    sm4-gcm       nonce ‖ SM4-GCM(nonce, key, aad = "medshare/1 kek" ‖ 00 ‖ label), for keys that
                  only national algorithms may protect (GB/T 32907; no library offers RFC 3394
                  with SM4); at most 2^32 times with one KEK (SP 800-38D §8.3), which is counted
                  by whoever asks

Neither binds the wrapped key to a parcel; whoever unwraps must know from elsewhere which key to
expect, as a parcel does by its commitment (format §6.3).

Pure: this is the software half, for keystores whose secrets are in memory.
"""

import re
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)

from medshare.errors import IntegrityError, KeyUnavailableError, UsageError
from medshare.suites import suite_named
from medshare.suites.base import KEY_SIZE, NONCE_SIZE, SYSTEM_RANDOM, TAG_SIZE

AES_KW: Final = "aes-256-kw"
SM4_GCM: Final = "sm4-gcm"
KEK_SIZES: Final = {AES_KW: KEY_SIZE, SM4_GCM: 16}
"""The octets of a KEK of each algorithm."""
ALGORITHM_OF_SUITE: Final = {"intl": AES_KW, "gm": SM4_GCM}
"""With which algorithm a KEK wraps where a suite is demanded."""
WRAPPED_SIZE: Final = KEY_SIZE + 8
"""Octets of a key that AES key wrap wrapped."""
MAX_KEKS: Final = 1024
MAX_LABEL: Final = 64
_LABEL: Final = re.compile(rf"[a-z0-9](?:[a-z0-9./-]{{0,{MAX_LABEL - 2}}}[a-z0-9])?")


@dataclass(frozen=True, slots=True, repr=False)
class SecretKek:
    """A KEK held in memory; *created* in seconds since 1970 UTC."""

    label: str
    algorithm: str
    created: int
    key: bytes

    def __repr__(self) -> str:
        return f"SecretKek({self.label}, {self.algorithm})"

    def wrap(self, key: bytes) -> bytes:
        """Return *key*, of 32 octets, wrapped."""
        require_key(key)
        if self.algorithm == AES_KW:
            return aes_key_wrap(self.key, key)
        out = bytearray(SYSTEM_RANDOM(NONCE_SIZE) + bytes(KEY_SIZE + TAG_SIZE))
        sealed, nonce = memoryview(out)[NONCE_SIZE:], bytes(out[:NONCE_SIZE])
        suite_named("gm").aead(self.key).encrypt_into(nonce, key, self._associated(), sealed)
        return bytes(out)

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return the key in *wrapped*; raise IntegrityError when it is not of this KEK."""
        try:
            if self.algorithm == AES_KW:
                return aes_key_unwrap(self.key, require_wrapped(wrapped))
            return self._opened(wrapped)
        except (InvalidUnwrap, IntegrityError):
            raise does_not_unwrap() from None

    def _opened(self, wrapped: bytes) -> bytes:
        if len(wrapped) != NONCE_SIZE + KEY_SIZE + TAG_SIZE:
            raise does_not_unwrap()
        nonce, sealed, plain = wrapped[:NONCE_SIZE], wrapped[NONCE_SIZE:], bytearray(KEY_SIZE)
        cipher = suite_named("gm").aead(self.key)
        cipher.decrypt_into(nonce, sealed, self._associated(), memoryview(plain))
        return bytes(plain)

    def _associated(self) -> bytes:
        return b"medshare/1 kek\x00" + self.label.encode()


def require_key(key: bytes) -> bytes:
    """Return *key*; raise ValueError unless it has the one size that is wrapped."""
    if len(key) != KEY_SIZE:
        raise ValueError(f"a KEK wraps keys of {KEY_SIZE} octets")
    return key


def require_wrapped(wrapped: bytes) -> bytes:
    """Return *wrapped*; raise IntegrityError unless it has the size of a wrapped key."""
    if len(wrapped) != WRAPPED_SIZE:
        raise does_not_unwrap()
    return wrapped


def check_label(label: str) -> str:
    """Return *label*; raise UsageError unless it can name a KEK."""
    if not _LABEL.fullmatch(label):
        raise UsageError(
            f"a key-encryption key cannot be called '{label}'",
            hint=f"1 to {MAX_LABEL} of a-z, 0-9, and in between '.', '/' and '-'",
        )
    return label


def no_such_kek(label: str) -> KeyUnavailableError:
    """Return the error that says that there is no KEK called *label*."""
    return KeyUnavailableError(
        f"the keystore holds no key-encryption key called '{label}'",
        hint="restore the newest backup of the keystore",
    )


def does_not_unwrap() -> IntegrityError:
    """Return the error that says that a wrapped key is not of the KEK that was asked."""
    return IntegrityError("a key does not unwrap: it is damaged, or of another key-encryption key")
