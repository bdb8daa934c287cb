"""Signature algorithm `ed25519` (RFC 8032); the secret is the seed of 32 octets."""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from medshare.suites.base import PublicKey, RandomBytes, SoftwareSigner, Verify

NAME: Final = "ed25519"
SECRET_SIZE: Final = 32


def new_secret(random: RandomBytes) -> bytes:
    """Return a fresh seed."""
    return random(SECRET_SIZE)


def signer(secret: bytes) -> SoftwareSigner:
    """Return the signer whose key expands from the seed *secret*."""
    private = Ed25519PrivateKey.from_private_bytes(secret)
    public = PublicKey(NAME, private.public_key().public_bytes_raw())
    return SoftwareSigner(public, private.sign)


def verifier(public: bytes) -> Verify:
    """Return what verifies under *public*; raise ValueError when it is not valid."""
    return Ed25519PublicKey.from_public_bytes(public).verify
