"""Key encapsulation `x25519+ml-kem-768`: X-Wing in HPKE (RFC 9180), base mode, single shot.

ML-KEM-768 with X25519, HKDF-SHA-256 and AES-256-GCM: whoever records traffic today must
break both to read it later.  The secret is the ML-KEM-768 seed (d ‖ z, 64 octets), then the
X25519 scalar (32).
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from medshare.errors import IntegrityError
from medshare.suites.base import PublicKey, RandomBytes, SoftwareOpener

NAME: Final = "x25519+ml-kem-768"
SECRET_SIZE: Final = 64 + 32
LATTICE_SIZE: Final = 1184
"""Octets of the ML-KEM-768 public key, the first part of ours."""


def new_secret(random: RandomBytes) -> bytes:
    """Return a fresh secret."""
    return random(SECRET_SIZE)


def opener(secret: bytes) -> SoftwareOpener:
    """Return the opener whose private keys are in *secret*."""
    lattice = MLKEM768PrivateKey.from_seed_bytes(secret[:64])
    curve = X25519PrivateKey.from_private_bytes(secret[64:])
    public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    private = hpke.MLKEM768X25519PrivateKey(lattice, curve)

    def unwrap(wrapped: bytes, info: bytes) -> bytes:
        try:
            return _suite().decrypt(wrapped, private, info=info)
        except (InvalidTag, ValueError):
            raise IntegrityError("a wrapped key does not open") from None

    return SoftwareOpener(PublicKey(NAME, public), unwrap)


def check_public(public: bytes) -> None:
    """Raise ValueError unless *public* is the keys of both algorithms, end to end."""
    _load(public)


def wrap(public: bytes, secret: bytes, info: bytes) -> bytes:
    """Return encapsulation ‖ ciphertext ‖ tag (RFC 9180 §6.1).

    Raises ValueError when *public* is not valid, or is a point of small order (RFC 7748 §6.1).
    """
    return _suite().encrypt(secret, _load(public), info=info)


def _suite() -> hpke.Suite:
    return hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def _load(public: bytes) -> hpke.MLKEM768X25519PublicKey:
    return hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public[:LATTICE_SIZE]),
        X25519PublicKey.from_public_bytes(public[LATTICE_SIZE:]),
    )
