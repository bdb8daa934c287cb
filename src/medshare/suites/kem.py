"""Wrapping a key to a recipient, by the algorithm of the recipient's key (format §13.3).

Each algorithm is a `KemScheme` in `KEMS`: its sizes, and where its code is, which is
imported when it is first needed.  A further one is a module (`suites.base.KemBackend`) and
an entry here; no format change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from medshare.errors import FormatError, UnsupportedVersionError
from medshare.suites.base import KemBackend, PublicKey, RandomBytes, SoftwareOpener
from medshare.suites.extras import from_extra

HYBRID: Final = "x25519+ml-kem-768"
P256: Final = "p256"
SM2: Final = "sm2"
HYBRID_SEED_SIZE: Final = 64 + 32
"""Octets of its private key: the ML-KEM-768 seed (d ‖ z), then the X25519 scalar."""


@dataclass(frozen=True, slots=True)
class KemScheme:
    """What is known of one algorithm without its code; sizes in octets."""

    name: str
    public_size: int
    secret_size: int
    overhead: int
    """How much longer a wrap is than what it wraps: encapsulation and tag."""
    family: str
    """The suite to which it belongs."""
    backend: Callable[[], KemBackend]


def _xwing() -> KemBackend:
    from medshare.suites import xwing

    return xwing


def _p256() -> KemBackend:
    from medshare.suites import dhkem_p256

    return dhkem_p256


def _sm2() -> KemBackend:
    with from_extra("gm"):
        from medshare.suites import sm2
    return sm2


KEMS: Final = {
    scheme.name: scheme
    for scheme in (
        KemScheme(HYBRID, 1184 + 32, HYBRID_SEED_SIZE, 1088 + 32 + 16, "intl", _xwing),
        KemScheme(P256, 65, 32, 65 + 16, "intl", _p256),
        KemScheme(SM2, 64, 96, 64 + 32 + 32, "gm", _sm2),
    )
}


def kem_named(name: str) -> KemScheme:
    """Return the algorithm called *name*; raise UnsupportedVersionError if it is unknown."""
    try:
        return KEMS[name]
    except KeyError:
        raise UnsupportedVersionError(f"key encapsulation '{name}' is unknown here") from None


def new_secret(algorithm: str, random: RandomBytes) -> bytes:
    """Return a secret for a new key of *algorithm*."""
    return kem_named(algorithm).backend().new_secret(random)


def opener_from_seed(algorithm: str, secret: bytes) -> SoftwareOpener:
    """Return the opener whose private key is *secret*; raise FormatError when it is not valid."""
    scheme = kem_named(algorithm)
    try:
        if len(secret) == scheme.secret_size:
            return scheme.backend().opener(secret)
    except ValueError as error:
        raise FormatError(f"not a valid {algorithm} private key") from error
    raise FormatError(f"not a valid {algorithm} private key")


def check_public(key: PublicKey) -> None:
    """Raise FormatError unless the recipient key *key* is valid for its algorithm."""
    scheme = _of(key)
    try:
        scheme.backend().check_public(key.value)
    except ValueError as error:
        raise FormatError(f"not a valid {key.algorithm} public key") from error


def wrap(key: PublicKey, secret: bytes, *, info: bytes) -> bytes:
    """Return *secret* wrapped to *key* and bound to *info*.

    Raises FormatError when *key* is not valid, or gives no secret (a point of small order).
    """
    scheme = _of(key)
    try:
        return scheme.backend().wrap(key.value, secret, info)
    except ValueError as error:
        raise FormatError(f"not a usable {key.algorithm} public key") from error


def _of(key: PublicKey) -> KemScheme:
    scheme = kem_named(key.algorithm)
    if len(key.value) != scheme.public_size:
        raise FormatError(f"not a valid {key.algorithm} public key")
    return scheme
