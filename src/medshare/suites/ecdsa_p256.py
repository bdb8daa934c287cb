"""Signature algorithm `ecdsa-p256`: ECDSA on P-256 with SHA-256 (FIPS 186-5 §6).

A signature is r ‖ s, 32 octets each, as RFC 9421 §3.3.4 and PKCS#11 write it.  Both numbers
must lie between 1 and n - 1.  Whoever sees (r, s) can write (r, n - s), which verifies as well:
nothing in the format takes two encodings of a signature for two statements, and digests of
signed objects cover the signature.
"""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256

from medshare.suites import p256
from medshare.suites.base import PublicKey, RandomBytes, SoftwareSigner, Verify

NAME: Final = "ecdsa-p256"
SIGNATURE_SIZE: Final = 2 * p256.NUMBER_SIZE


def new_secret(random: RandomBytes) -> bytes:
    """Return a fresh secret number."""
    return p256.new_secret(random)


def signer(secret: bytes) -> SoftwareSigner:
    """Return the signer with the number *secret*; raise ValueError when it is out of range."""
    private = p256.load_secret(secret)

    def sign(message: bytes) -> bytes:
        r, s = decode_dss_signature(private.sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(p256.NUMBER_SIZE) + s.to_bytes(p256.NUMBER_SIZE)

    return SoftwareSigner(PublicKey(NAME, p256.point_of(private.public_key())), sign)


def verifier(public: bytes) -> Verify:
    """Return what verifies under the point *public*; raise ValueError when it is not valid."""
    key = p256.load_point(public)

    def verify(signature: bytes, message: bytes) -> None:
        r = int.from_bytes(signature[: p256.NUMBER_SIZE])
        s = int.from_bytes(signature[p256.NUMBER_SIZE :])
        if len(signature) != SIGNATURE_SIZE or not (0 < r < p256.ORDER and 0 < s < p256.ORDER):
            raise InvalidSignature
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))

    return verify
