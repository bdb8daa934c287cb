"""Signatures by the algorithm of the key (format §13.2), and which keys make an identity.

Each algorithm is a `SignatureScheme` in `SIGNATURES`: its sizes, and where its code is,
which is imported when it is first needed.  A further one is a module
(`suites.base.SignatureBackend`), an entry here and perhaps a set in `IDENTITY_SETS`; no
format change.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature

from medshare.errors import FormatError, SignatureError, UnsupportedVersionError
from medshare.suites.base import (
    PublicKey,
    RandomBytes,
    SignatureBackend,
    SoftwareSigner,
    Verify,
)
from medshare.suites.extras import from_extra

ED25519: Final = "ed25519"
ML_DSA_65: Final = "ml-dsa-65"
ECDSA_P256: Final = "ecdsa-p256"
SM2: Final = "sm2"
SEED_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class SignatureScheme:
    """What is known of one algorithm without its code; sizes in octets."""

    name: str
    public_size: int
    secret_size: int
    signature_size: int
    family: str
    """The suite to which it belongs."""
    request_name: str
    """The `alg` of RFC 9421 with which it signs HTTP requests; empty where it does not."""
    request_hash: str
    """The name of the hash over a body that goes with it (`suites.hasher_named`)."""
    backend: Callable[[], SignatureBackend]


def _ed25519() -> SignatureBackend:
    from medshare.suites import ed25519

    return ed25519


def _mldsa() -> SignatureBackend:
    from medshare.suites import mldsa

    return mldsa


def _ecdsa() -> SignatureBackend:
    from medshare.suites import ecdsa_p256

    return ecdsa_p256


def _sm2() -> SignatureBackend:
    with from_extra("gm"):
        from medshare.suites import sm2
    return sm2


SIGNATURES: Final = {
    scheme.name: scheme
    for scheme in (
        SignatureScheme(ED25519, 32, SEED_SIZE, 64, "intl", "ed25519", "blake3", _ed25519),
        SignatureScheme(ML_DSA_65, 1952, SEED_SIZE, 3309, "intl", "", "", _mldsa),
        SignatureScheme(ECDSA_P256, 65, 32, 64, "intl", "ecdsa-p256-sha256", "blake3", _ecdsa),
        SignatureScheme(SM2, 64, 96, 64, "gm", "sm2-sm3", "sm3", _sm2),
    )
}
IDENTITY_SETS: Final = (
    (ED25519, ML_DSA_65),
    (ECDSA_P256,),
    (SM2,),
    (ED25519, ML_DSA_65, SM2),
)
"""The sets of algorithms, in order, with which an identity signs (format §3.3).

ECDSA alone is for hardware tokens, which offer nothing better yet."""


def scheme_named(name: str) -> SignatureScheme:
    """Return the algorithm called *name*; raise UnsupportedVersionError if it is unknown."""
    try:
        return SIGNATURES[name]
    except KeyError:
        raise UnsupportedVersionError(f"signature algorithm '{name}' is unknown here") from None


def new_secret(algorithm: str, random: RandomBytes) -> bytes:
    """Return a secret for a new key of *algorithm*."""
    return scheme_named(algorithm).backend().new_secret(random)


def signer_from_seed(algorithm: str, secret: bytes) -> SoftwareSigner:
    """Return the signer whose private key is *secret*; raise FormatError when it is not valid."""
    scheme = scheme_named(algorithm)
    try:
        if len(secret) == scheme.secret_size:
            return scheme.backend().signer(secret)
    except ValueError as error:
        raise FormatError(f"not a valid {algorithm} private key") from error
    raise FormatError(f"not a valid {algorithm} private key")


class Verifier:
    """One public key, parsed once, for many signatures.

    Raises FormatError when it is not a valid public key of its algorithm.
    """

    def __init__(self, key: PublicKey) -> None:
        scheme = scheme_named(key.algorithm)
        self.scheme = scheme
        self._size = scheme.signature_size
        self._verify = _load(scheme, key.value)

    def verify(self, signature: bytes, message: bytes, *, what: str) -> None:
        """Raise SignatureError unless *signature* over *message* verifies."""
        if len(signature) != self._size:
            raise SignatureError(f"signature on {what} has the wrong length")
        try:
            self._verify(signature, message)
        except InvalidSignature:
            raise SignatureError(f"signature on {what} does not verify") from None


def _load(scheme: SignatureScheme, public: bytes) -> Verify:
    try:
        if len(public) == scheme.public_size:
            return scheme.backend().verifier(public)
    except ValueError as error:
        raise FormatError(f"not a valid {scheme.name} public key") from error
    raise FormatError(f"not a valid {scheme.name} public key")


def require_identity_set(keys: Sequence[PublicKey], *, what: str) -> None:
    """Raise UnsupportedVersionError unless *keys* are a set with which identities may sign.

    Whoever breaks one algorithm could otherwise leave out the other (format §3.3).  Raises
    FormatError when a key has not the size of its algorithm.
    """
    if tuple(key.algorithm for key in keys) not in IDENTITY_SETS:
        raise UnsupportedVersionError(
            f"the signature keys of {what} are not a combination that is accepted here",
            hint="update medshare, or ask for a card with the keys of suite 'intl' or 'gm'",
        )
    if any(len(key.value) != SIGNATURES[key.algorithm].public_size for key in keys):
        raise FormatError(f"a signature key of {what} has the wrong size")


def request_key(keys: Sequence[PublicKey]) -> PublicKey | None:
    """Return the first of *keys* that signs requests to relays, or None."""
    return next((key for key in keys if scheme_named(key.algorithm).request_name), None)
