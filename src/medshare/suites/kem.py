"""Wrapping a key to a recipient: HPKE (RFC 9180), base mode, single shot.

`x25519+ml-kem-768` is the hybrid KEM X-Wing (ML-KEM-768 with X25519), with HKDF-SHA-256
and AES-256-GCM: whoever records traffic today must break both to read it later.
Further names (`p256`, `sm2`) need no format change.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from medshare.errors import FormatError, IntegrityError, UnsupportedVersionError
from medshare.suites.base import PublicKey

HYBRID: Final = "x25519+ml-kem-768"
HYBRID_SEED_SIZE: Final = 64 + 32
"""Octets of a private key: the ML-KEM-768 seed (d ‖ z), then the X25519 scalar."""
_MLKEM_PUBLIC: Final = 1184
PUBLIC_SIZES: Final = {HYBRID: _MLKEM_PUBLIC + 32}
WRAP_OVERHEAD: Final = {HYBRID: 1088 + 32 + 16}
"""Octets that a wrap is longer than what it wraps: encapsulation and tag."""


def _suite() -> hpke.Suite:
    return hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class SoftwareOpener:
    """A KEM key held in memory; its representation never shows the secret."""

    public: PublicKey
    _private: hpke.MLKEM768X25519PrivateKey

    def unwrap(self, wrapped: bytes, *, info: bytes) -> bytes:
        """Return the wrapped octets; raise IntegrityError when they do not open."""
        try:
            return _suite().decrypt(wrapped, self._private, info=info)
        except (InvalidTag, ValueError):
            raise IntegrityError("a wrapped key does not open") from None

    def __repr__(self) -> str:
        return f"SoftwareOpener({self.public!r})"


def opener_from_seed(algorithm: str, seed: bytes) -> SoftwareOpener:
    """Return the opener whose private key is *seed* (see `HYBRID_SEED_SIZE`)."""
    if algorithm != HYBRID:
        raise UnsupportedVersionError(f"key encapsulation '{algorithm}' is unknown here")
    lattice = MLKEM768PrivateKey.from_seed_bytes(seed[:64])
    curve = X25519PrivateKey.from_private_bytes(seed[64:])
    public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    private = hpke.MLKEM768X25519PrivateKey(lattice, curve)
    return SoftwareOpener(PublicKey(HYBRID, public), private)


def wrap(key: PublicKey, secret: bytes, *, info: bytes) -> bytes:
    """Return *secret* wrapped to *key*: encapsulation ‖ ciphertext ‖ tag (RFC 9180 §6.1).

    Raises FormatError when *key* is not valid, or is a point of small order (RFC 7748 §6.1).
    """
    public = load_public(key)
    try:
        return _suite().encrypt(secret, public, info=info)
    except ValueError as error:
        raise FormatError(f"not a usable {key.algorithm} public key") from error


def load_public(key: PublicKey) -> hpke.MLKEM768X25519PublicKey:
    """Parse a recipient key; raise FormatError when it is not valid for its algorithm."""
    if key.algorithm != HYBRID:
        raise UnsupportedVersionError(f"key encapsulation '{key.algorithm}' is unknown here")
    if len(key.value) != PUBLIC_SIZES[HYBRID]:
        raise FormatError(f"not a valid {key.algorithm} public key")
    try:
        return hpke.MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(key.value[:_MLKEM_PUBLIC]),
            X25519PublicKey.from_public_bytes(key.value[_MLKEM_PUBLIC:]),
        )
    except ValueError as error:
        raise FormatError(f"not a valid {key.algorithm} public key") from error
