"""Algorithm `sm2`, for signatures (GB/T 32918.2) and for wrapping keys (GB/T 32918.4).

The curve, the signature and the encryption are GmSSL's, through the package gmssl-pyx: extra
`medshare[gm]`.  What is here turns its DER into the plain octets of the format and back, and
hashes a message as GB/T 32918.2 §5.5 and §6.1 say, with the default user id.

A public key is x ‖ y.  A secret is d ‖ x ‖ y, as the package offers no way from d to the
public key.  Signatures are r ‖ s and differ each time, also for one message.

A wrap is C1 ‖ C3 ‖ C2 of SM3(label ‖ info) ‖ secret: whoever opens it for another purpose
than the one it was made for finds the wrong digest, and nothing that was taken from it can
be put into another (docs/decisions/0005-national-suite.md).
"""

from typing import Final

import gmssl_pyx  # type: ignore[import-untyped]  # it has stubs, but not the marker for them
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SM3, Hash

from medshare.errors import IntegrityError
from medshare.suites.base import PublicKey, RandomBytes, SoftwareOpener, SoftwareSigner, Verify
from medshare.suites.quiet import quiet

NAME: Final = "sm2"
NUMBER_SIZE: Final = 32
PUBLIC_SIZE: Final = 2 * NUMBER_SIZE
SECRET_SIZE: Final = NUMBER_SIZE + PUBLIC_SIZE
DIGEST_SIZE: Final = 32
USER_ID: Final = b"1234567812345678"
WRAP_LABEL: Final = b"medshare/1 sm2 wrap\x00"
MAX_WRAPPED_SECRET: Final = 255 - DIGEST_SIZE
"""GmSSL encrypts at most 255 octets."""

_ORDER: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123

_CURVE: Final = bytes.fromhex(  # a, b, and the base point (GB/T 32918.5)
    "fffffffeffffffffffffffffffffffffffffffff00000000fffffffffffffffc"
    "28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93"
    "32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7"
    "bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0"
)


@asn1.sequence
class _Ciphertext:
    """The form in which GmSSL gives and takes ciphertext (GB/T 35276)."""

    x: int
    y: int
    c3: bytes
    c2: bytes


def new_secret(random: RandomBytes) -> bytes:  # noqa: ARG001 -- GmSSL asks the system itself
    """Return a fresh key pair, proved to belong together."""
    public, private = gmssl_pyx.sm2_key_generate()
    secret: bytes = private + public
    verifier(public)(signer(secret).sign(b"pair"), b"pair")
    return secret


def _pair(secret: bytes) -> tuple[bytes, bytes]:
    private, public = secret[:NUMBER_SIZE], secret[NUMBER_SIZE:]
    if not 1 <= int.from_bytes(private) <= _ORDER - 2:
        raise ValueError("not a private key of the curve")
    check_public(public)
    return private, public


def check_public(public: bytes) -> None:
    """Raise ValueError unless *public* is a point of the curve."""
    if len(public) != PUBLIC_SIZE:
        raise ValueError("not a point of the curve")
    try:
        with quiet:
            gmssl_pyx.normalize_sm2_public_key(public)
    except gmssl_pyx.InvalidValueError as error:
        raise ValueError("not a point of the curve") from error


# --- signatures ---------------------------------------------------------------------------


def signer(secret: bytes) -> SoftwareSigner:
    """Return the signer with the key pair *secret*; raise ValueError when it is not valid."""
    private, public = _pair(secret)

    def sign(message: bytes) -> bytes:
        der = gmssl_pyx.sm2_sign_sm3_digest(private, _digest(public, message))
        return b"".join(number.to_bytes(NUMBER_SIZE) for number in decode_dss_signature(der))

    return SoftwareSigner(PublicKey(NAME, public), sign)


def verifier(public: bytes) -> Verify:
    """Return what verifies under *public*; raise ValueError when it is not valid."""
    check_public(public)

    def verify(signature: bytes, message: bytes) -> None:
        r, s = (int.from_bytes(signature[at : at + NUMBER_SIZE]) for at in (0, NUMBER_SIZE))
        der = encode_dss_signature(r, s)
        with quiet:
            good = gmssl_pyx.sm2_verify_sm3_digest(public, _digest(public, message), der)
        if not good:
            raise InvalidSignature

    return verify


def _digest(public: bytes, message: bytes) -> bytes:
    """Return e = SM3(Z ‖ message), where Z stands for user id, curve and public key."""
    return _sm3(_sm3((8 * len(USER_ID)).to_bytes(2) + USER_ID + _CURVE + public) + message)


def _sm3(data: bytes) -> bytes:
    state = Hash(SM3())
    state.update(data)
    return state.finalize()


# --- wrapping -----------------------------------------------------------------------------


def wrap(public: bytes, secret: bytes, info: bytes) -> bytes:
    """Return *secret* wrapped to *public*.

    Raises ValueError when *public* is not valid, or *secret* longer than `MAX_WRAPPED_SECRET`.
    """
    check_public(public)
    if len(secret) > MAX_WRAPPED_SECRET:
        raise ValueError("too long to wrap")
    try:
        with quiet:
            der = gmssl_pyx.sm2_encrypt(public, _sm3(WRAP_LABEL + info) + secret)
    except gmssl_pyx.GmsslInnerError as error:
        raise ValueError("not something to wrap") from error
    return from_der(der)


def opener(secret: bytes) -> SoftwareOpener:
    """Return the opener with the key pair *secret*; raise ValueError when it is not valid."""
    private, public = _pair(secret)

    def unwrap(wrapped: bytes, info: bytes) -> bytes:
        try:
            with quiet:
                plain: bytes = gmssl_pyx.sm2_decrypt(private, to_der(wrapped))
        except gmssl_pyx.GmsslInnerError:
            raise IntegrityError("a wrapped key does not open") from None
        if plain[:DIGEST_SIZE] != _sm3(WRAP_LABEL + info):
            raise IntegrityError("a wrapped key was wrapped for another purpose")
        return plain[DIGEST_SIZE:]

    return SoftwareOpener(PublicKey(NAME, public), unwrap)


def from_der(der: bytes) -> bytes:
    """Return C1 ‖ C3 ‖ C2 of a ciphertext in the form of GB/T 35276."""
    parts = asn1.decode_der(_Ciphertext, der)
    return parts.x.to_bytes(NUMBER_SIZE) + parts.y.to_bytes(NUMBER_SIZE) + parts.c3 + parts.c2


def to_der(wrapped: bytes) -> bytes:
    """Return the ciphertext *wrapped*, C1 ‖ C3 ‖ C2, in the form of GB/T 35276."""
    x, y = (int.from_bytes(wrapped[at : at + NUMBER_SIZE]) for at in (0, NUMBER_SIZE))
    c3 = wrapped[PUBLIC_SIZE : PUBLIC_SIZE + DIGEST_SIZE]
    return asn1.encode_der(_Ciphertext(x=x, y=y, c3=c3, c2=wrapped[PUBLIC_SIZE + DIGEST_SIZE :]))
