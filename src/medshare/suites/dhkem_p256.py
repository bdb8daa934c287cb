"""Key encapsulation `p256`: DHKEM(P-256, HKDF-SHA256) in HPKE (RFC 9180), single shot.

With HKDF-SHA-256 and AES-256-GCM, for stations whose keys live in a hardware token.  It does
not resist a quantum computer.  A secret is a number of 32 octets; a token keeps its own, and
`unwrap_with` needs no more of it than the Diffie-Hellman value.
"""

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke as software

from medshare.errors import IntegrityError
from medshare.suites import hpke, p256
from medshare.suites.base import TAG_SIZE, PublicKey, RandomBytes, SoftwareOpener

NAME: Final = "p256"
OVERHEAD: Final = p256.POINT_SIZE + TAG_SIZE


def new_secret(random: RandomBytes) -> bytes:
    """Return a fresh secret number."""
    return p256.new_secret(random)


def opener(secret: bytes) -> SoftwareOpener:
    """Return the opener with the number *secret*; raise ValueError when it is out of range."""
    private = p256.load_secret(secret)

    def unwrap(wrapped: bytes, info: bytes) -> bytes:
        _ephemeral(wrapped)
        try:
            return _suite().decrypt(wrapped, private, info=info)
        except (InvalidTag, ValueError):
            raise IntegrityError("a wrapped key does not open") from None

    return SoftwareOpener(PublicKey(NAME, p256.point_of(private.public_key())), unwrap)


def unwrap_with(
    exchange: Callable[[bytes], bytes], public: bytes, wrapped: bytes, *, info: bytes
) -> bytes:
    """Return what is wrapped to the key *public*, whose private half *exchange* uses.

    *exchange* takes a point on the curve and returns the x coordinate that Diffie-Hellman
    with the private key gives, 32 octets.  Raises IntegrityError when nothing opens; a point
    that is not on the curve never reaches *exchange*.
    """
    enc = _ephemeral(wrapped)
    ciphers = hpke.P256_AES256GCM
    shared = hpke.shared_secret(ciphers, exchange(enc), enc=enc, public=public)
    return hpke.key_schedule(ciphers, shared, info=info).open(wrapped[len(enc) :])


def check_public(public: bytes) -> None:
    """Raise ValueError unless *public* is a point on the curve, uncompressed."""
    p256.load_point(public)


def wrap(public: bytes, secret: bytes, info: bytes) -> bytes:
    """Return encapsulation ‖ ciphertext ‖ tag (RFC 9180 §6.1); raise ValueError as above."""
    return _suite().encrypt(secret, p256.load_point(public), info=info)


def _ephemeral(wrapped: bytes) -> bytes:
    """Return the sender's point at the beginning of *wrapped*; raise IntegrityError if it is none.

    A token may not look whether a point lies on the curve, and would give its key away bit by
    bit to points that do not.
    """
    enc = wrapped[: p256.POINT_SIZE]
    try:
        p256.load_point(enc)
    except ValueError:
        raise IntegrityError("a wrapped key does not open") from None
    return enc


def _suite() -> software.Suite:
    return software.Suite(software.KEM.P256, software.KDF.HKDF_SHA256, software.AEAD.AES_256_GCM)
