"""Signature algorithms by name: `ed25519` (RFC 8032) and `ml-dsa-65` (FIPS 204).

Names are the place for further families: `ecdsa-p256` and `sm2` need no format change.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from medshare.errors import FormatError, SignatureError, UnsupportedVersionError
from medshare.suites.base import PublicKey

ED25519: Final = "ed25519"
ML_DSA_65: Final = "ml-dsa-65"
SEED_SIZE: Final = 32
SIGNATURE_SIZES: Final = {ED25519: 64, ML_DSA_65: 3309}
PUBLIC_SIZES: Final = {ED25519: 32, ML_DSA_65: 1952}
IDENTITY_SETS: Final = ((ED25519, ML_DSA_65),)
"""The sets of algorithms, in order, with which an identity signs (format §3.3)."""

Verify = Callable[[bytes, bytes], None]


@dataclass(frozen=True, slots=True)
class SoftwareSigner:
    """A signature key held in memory; its representation never shows the secret."""

    public: PublicKey
    _sign: Callable[[bytes], bytes]

    def sign(self, message: bytes) -> bytes:
        """Return the signature over *message*."""
        return self._sign(message)

    def __repr__(self) -> str:
        return f"SoftwareSigner({self.public!r})"


def signer_from_seed(algorithm: str, seed: bytes) -> SoftwareSigner:
    """Return the signer whose private key expands from the 32 octets *seed*."""
    private: Ed25519PrivateKey | MLDSA65PrivateKey
    if algorithm == ED25519:
        private = Ed25519PrivateKey.from_private_bytes(seed)
    elif algorithm == ML_DSA_65:
        private = MLDSA65PrivateKey.from_seed_bytes(seed)
    else:
        raise UnsupportedVersionError(f"signature algorithm '{algorithm}' is unknown here")
    public = PublicKey(algorithm, private.public_key().public_bytes_raw())
    return SoftwareSigner(public, private.sign)


class Verifier:
    """One public key, parsed once, for many signatures.

    Raises FormatError when it is not a valid public key of its algorithm.
    """

    def __init__(self, key: PublicKey) -> None:
        self._size = SIGNATURE_SIZES.get(key.algorithm, -1)
        self._verify = _load(key)

    def verify(self, signature: bytes, message: bytes, *, what: str) -> None:
        """Raise SignatureError unless *signature* over *message* verifies."""
        if len(signature) != self._size:
            raise SignatureError(f"signature on {what} has the wrong length")
        try:
            self._verify(signature, message)
        except InvalidSignature:
            raise SignatureError(f"signature on {what} does not verify") from None


def require_identity_set(keys: Sequence[PublicKey], *, what: str) -> None:
    """Raise UnsupportedVersionError unless *keys* are a set with which identities may sign.

    Whoever breaks one algorithm could otherwise leave out the other (format §3.3).  Raises
    FormatError when a key has not the size of its algorithm.
    """
    if tuple(key.algorithm for key in keys) not in IDENTITY_SETS:
        raise UnsupportedVersionError(
            f"the signature keys of {what} are not a combination that is accepted here",
            hint="update medshare, or ask for keys that sign with Ed25519 and ML-DSA-65",
        )
    if any(len(key.value) != PUBLIC_SIZES[key.algorithm] for key in keys):
        raise FormatError(f"a signature key of {what} has the wrong size")


def _load(key: PublicKey) -> Verify:
    try:
        if key.algorithm == ED25519:
            return Ed25519PublicKey.from_public_bytes(key.value).verify
        if key.algorithm == ML_DSA_65:
            return MLDSA65PublicKey.from_public_bytes(key.value).verify
    except ValueError as error:
        raise FormatError(f"not a valid {key.algorithm} public key") from error
    raise UnsupportedVersionError(f"signature algorithm '{key.algorithm}' is unknown here")
