"""The curve P-256 (SEC 2, SP 800-186): its keys as octets, strictly.

A public key is an uncompressed point, `04 ‖ x ‖ y` (SEC 1 §2.3.3), 65 octets; no other form of
the same point is accepted.  A secret is the number d, 32 octets, from 1 to n - 1.
"""

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from medshare.suites.base import RandomBytes

ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
NUMBER_SIZE: Final = 32
POINT_SIZE: Final = 1 + 2 * NUMBER_SIZE
_UNCOMPRESSED: Final = 4
_EXTRA: Final = 8
"""Octets drawn beyond the size of n, so that no number is likelier (FIPS 186-5 §A.2.1)."""


def new_secret(random: RandomBytes) -> bytes:
    """Return a fresh secret, as FIPS 186-5 §A.2.1 draws it."""
    drawn = int.from_bytes(random(NUMBER_SIZE + _EXTRA))
    return (drawn % (ORDER - 1) + 1).to_bytes(NUMBER_SIZE)


def load_secret(secret: bytes) -> ec.EllipticCurvePrivateKey:
    """Return the key with *secret*; raise ValueError when it is out of range."""
    number = int.from_bytes(secret)
    if len(secret) != NUMBER_SIZE or not 0 < number < ORDER:
        raise ValueError("the secret is out of range")
    return ec.derive_private_key(number, ec.SECP256R1())


def load_point(point: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key at *point*; raise ValueError unless it is uncompressed and on the curve."""
    if len(point) != POINT_SIZE or point[0] != _UNCOMPRESSED:
        raise ValueError("not an uncompressed point")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def point_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the point of *key*, uncompressed."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
