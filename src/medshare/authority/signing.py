"""A `Signer`, wherever its key is, as a private key with which `cryptography` signs X.509.

The library asks such a key for its public half and for signatures, nothing else; what would
give the secret away is refused.
"""

from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import (
    Certificate,
    CertificateBuilder,
    CertificateRevocationList,
    CertificateRevocationListBuilder,
    CertificateSigningRequest,
    CertificateSigningRequestBuilder,
)

from medshare.errors import CredentialError
from medshare.suites import p256
from medshare.suites.base import PublicKey, Signer
from medshare.suites.signatures import ECDSA_P256, ED25519


class _Ed25519Key(Ed25519PrivateKey):
    """The Ed25519 key of a signer."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def sign(self, data: Any) -> bytes:
        return self._signer.sign(bytes(data))

    def public_key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self._signer.public.value)

    def private_bytes(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("this key does not leave its keystore")

    def private_bytes_raw(self) -> NoReturn:
        raise TypeError("this key does not leave its keystore")

    def __copy__(self) -> "_Ed25519Key":
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> "_Ed25519Key":
        return self


class _P256Key(ec.EllipticCurvePrivateKey):
    """The P-256 key of a signer."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        if not isinstance(signature_algorithm.algorithm, SHA256):
            raise TypeError("this key signs with SHA-256 only")
        numbers = self._signer.sign(bytes(data))
        r, s = numbers[: p256.NUMBER_SIZE], numbers[p256.NUMBER_SIZE :]
        return encode_dss_signature(int.from_bytes(r), int.from_bytes(s))

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return p256.load_point(self._signer.public.value)

    @property
    def curve(self) -> ec.EllipticCurve:
        return ec.SECP256R1()

    @property
    def key_size(self) -> int:
        return self.curve.key_size

    def exchange(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("this key only signs")

    def private_numbers(self) -> NoReturn:
        raise TypeError("this key does not leave its keystore")

    def private_bytes(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("this key does not leave its keystore")

    def __copy__(self) -> "_P256Key":
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> "_P256Key":
        return self


def certificate_signer(signers: tuple[Signer, ...]) -> Signer:
    """Return the first of *signers* whose key X.509 can carry; raise CredentialError if none."""
    for signer in signers:
        if signer.public.algorithm in {ED25519, ECDSA_P256}:
            return signer
    raise CredentialError(
        "a certificate cannot carry the keys here: they are SM2 keys only", code="credential.key"
    )


def loaded(public: PublicKey) -> Ed25519PublicKey | ec.EllipticCurvePublicKey:
    """Return *public*, of one of the two kinds that `certificate_signer` returns."""
    if public.algorithm == ED25519:
        return Ed25519PublicKey.from_public_bytes(public.value)
    return p256.load_point(public.value)


def sign_certificate(builder: CertificateBuilder, signer: Signer) -> Certificate:
    """Return the certificate, signed."""
    if signer.public.algorithm == ED25519:
        return builder.sign(_Ed25519Key(signer), None)
    return builder.sign(_P256Key(signer), SHA256())


def sign_crl(
    builder: CertificateRevocationListBuilder, signer: Signer
) -> CertificateRevocationList:
    """Return the revocation list, signed."""
    if signer.public.algorithm == ED25519:
        return builder.sign(_Ed25519Key(signer), None)
    return builder.sign(_P256Key(signer), SHA256())


def sign_request(
    builder: CertificateSigningRequestBuilder, signer: Signer
) -> CertificateSigningRequest:
    """Return the request, signed."""
    if signer.public.algorithm == ED25519:
        return builder.sign(_Ed25519Key(signer), None)
    return builder.sign(_P256Key(signer), SHA256())
