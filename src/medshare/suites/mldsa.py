"""Signature algorithm `ml-dsa-65` (FIPS 204, pure, empty context); the secret is the seed ξ."""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from medshare.suites.base import PublicKey, RandomBytes, SoftwareSigner, Verify

NAME: Final = "ml-dsa-65"
SECRET_SIZE: Final = 32


def new_secret(random: RandomBytes) -> bytes:
    """Return a fresh seed."""
    return random(SECRET_SIZE)


def signer(secret: bytes) -> SoftwareSigner:
    """Return the signer whose key expands from the seed *secret*."""
    private = MLDSA65PrivateKey.from_seed_bytes(secret)
    public = PublicKey(NAME, private.public_key().public_bytes_raw())
    return SoftwareSigner(public, private.sign)


def verifier(public: bytes) -> Verify:
    """Return what verifies under *public*; raise ValueError when it is not valid."""
    return MLDSA65PublicKey.from_public_bytes(public).verify
