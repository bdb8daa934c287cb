"""Key-encryption keys (KEKs): what a vault's parcel keys are wrapped under, one for each tier.

A KEK has a label, by which whoever asked for it finds it again (`routine/3`), and wraps keys of
32 octets by AES key wrap (RFC 3394, NIST SP 800-38F KW), which needs no nonce: it has no limit
that would have to be counted, and the same key wraps to the same octets.  It binds the wrapped
key to nothing else; whoever unwraps must know from elsewhere which key to expect, as a parcel
does by its commitment (format §6.3).

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
from medshare.suites.base import KEY_SIZE

AES_KW: Final = "aes-256-kw"
WRAPPED_SIZE: Final = KEY_SIZE + 8
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
        return aes_key_wrap(self.key, require_key(key))

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return the key in *wrapped*; raise IntegrityError when it is not of this KEK."""
        try:
            return aes_key_unwrap(self.key, require_wrapped(wrapped))
        except InvalidUnwrap:
            raise does_not_unwrap() from None


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
