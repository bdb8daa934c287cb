"""The second signature of a request: by the key of a client certificate (RFC 9421 §4.3).

A station that nobody attends proves two keys with each request: its own, and that of a
certificate which the operator of the relay has enrolled with it.  The second signature covers
the first one, and with it all that the first covers, its time and its nonce among them:

    Signature-Input: medshare=(…)…, certificate=("signature";key="medshare")
        ;keyid="<SHA-256 of the certificate>";alg="…";tag="medshare/1 certificate"

It holds whatever TLS shows or hides: a proxy that ends TLS passes it on as it is.  Algorithms
are those of RFC 9421 §3.3 that certificates of hospitals have.  Pure: the clock is an argument.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from medshare.errors import AccessDeniedError, FormatError, UsageError
from medshare.httpsig import LABEL, SECOND, byte_sequence, parse_byte_sequence, signature_base
from medshare.trust.foreign import x509_errors

TAG: Final = "medshare/1 certificate"
MAX_CERTIFICATE: Final = 16 * 1024
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 4096
_COMPONENT: Final = f'signature";key="{LABEL}'  # quoted by `signature_base`, at both ends
_PSS: Final = padding.PSS(padding.MGF1(hashes.SHA512()), hashes.SHA512.digest_size)
_ALGORITHMS: Final = ("ed25519", "ecdsa-p256-sha256", "ecdsa-p384-sha384", "rsa-pss-sha512")
_CURVES: Final[dict[str, tuple[str, int, hashes.HashAlgorithm]]] = {
    "secp256r1": ("ecdsa-p256-sha256", 32, hashes.SHA256()),
    "secp384r1": ("ecdsa-p384-sha384", 48, hashes.SHA384()),
}
_INPUT: Final = re.compile(
    rf'(?P<params>\("signature";key="{LABEL}"\)'
    rf';keyid="(?P<fingerprint>[0-9a-f]{{64}})"'
    rf';alg="(?P<algorithm>{"|".join(_ALGORITHMS)})"'
    rf';tag="{re.escape(TAG)}")'
)

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Second:
    """A second signature, well-formed and not yet verified."""

    params: str
    fingerprint: str
    algorithm: str
    signature: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """A client certificate and its public key; times in seconds since 1970 UTC."""

    der: bytes
    key: PublicKey
    begins: int
    ends: int

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate in hexadecimal digits."""
        return hashlib.sha256(self.der).hexdigest()


def parse_certificate(data: bytes) -> Certificate:
    """Return the client certificate in *data*, PEM or DER.

    Raises UsageError when it is none, is not for clients, or has a key that cannot sign
    requests.
    """
    if len(data) > MAX_CERTIFICATE:
        raise UsageError(f"the client certificate is larger than {MAX_CERTIFICATE} bytes")
    pem = data.lstrip().startswith(b"-----BEGIN")
    try:
        with x509_errors("a certificate"):
            load = x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate
            found = load(data)
            _require_for_clients(found)
            return Certificate(
                der=found.public_bytes(Encoding.DER),
                key=_checked(found.public_key()),
                begins=int(found.not_valid_before_utc.timestamp()),
                ends=int(found.not_valid_after_utc.timestamp()),
            )
    except FormatError as error:
        raise UsageError("this is not a certificate, or not one that can be read") from error


def _require_for_clients(certificate: x509.Certificate) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    allowed = {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    }
    if allowed.isdisjoint(usage):
        raise UsageError("this certificate is not for clients, as its extended key usage says")


def _checked(key: object) -> PublicKey:
    match key:
        case ed25519.Ed25519PublicKey():
            return key
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return key
        case rsa.RSAPublicKey() if MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            return key
    raise UsageError(
        "the key of the client certificate cannot sign requests",
        hint=f"it must be Ed25519, ECDSA on P-256 or P-384, or RSA of {MIN_RSA_BITS} to"
        f" {MAX_RSA_BITS} bits",
    )


def algorithm_of(key: PublicKey) -> str:
    """Return what RFC 9421 calls the signatures of *key*."""
    match key:
        case ed25519.Ed25519PublicKey():
            return "ed25519"
        case ec.EllipticCurvePublicKey():
            return _CURVES[key.curve.name][0]
    return "rsa-pss-sha512"


def sign_second(
    fields: Mapping[str, str], certificate: Certificate, key: PrivateKey
) -> dict[str, str]:
    """Return *fields*, those of `httpsig.sign_request`, with the signature of *key* behind."""
    params = (
        f'("signature";key="{LABEL}");keyid="{certificate.fingerprint}"'
        f';alg="{algorithm_of(certificate.key)}";tag="{TAG}"'
    )
    first = fields["Signature"].removeprefix(f"{LABEL}=")
    signature = _sign(key, signature_base([(_COMPONENT, first)], params))
    return {
        **fields,
        "Signature-Input": f"{fields['Signature-Input']}{SECOND}{params}",
        "Signature": f"{fields['Signature']}{SECOND}{byte_sequence(signature)}",
    }


def _sign(key: PrivateKey, message: bytes) -> bytes:
    match key:
        case ed25519.Ed25519PrivateKey():
            return key.sign(message)
        case ec.EllipticCurvePrivateKey():
            _, size, digest = _CURVES[key.curve.name]
            r, s = decode_dss_signature(key.sign(message, ec.ECDSA(digest)))
            return r.to_bytes(size) + s.to_bytes(size)
    return key.sign(message, _PSS, hashes.SHA512())


def parse_second(second: tuple[str, str]) -> Second:
    """Return the second signature of a request; raise FormatError when it is malformed."""
    match = _INPUT.fullmatch(second[0])
    if match is None:
        raise FormatError("the signature of the client certificate is malformed")
    return Second(match["params"], match["fingerprint"], match["algorithm"], second[1])


def require_second(
    second: Second | None, first: bytes, certificate: Certificate, *, now: int
) -> None:
    """Raise AccessDeniedError unless *second* is the signature of *certificate* over *first*.

    1. there is one, and it names this certificate;
    2. the certificate is valid at *now*;
    3. it is of the algorithm of the key, and good.

    Raises FormatError when the octets of the signature are malformed.
    """
    if second is None:
        raise AccessDeniedError("this station is enrolled with a client certificate; none signed")
    if second.fingerprint != certificate.fingerprint:
        raise AccessDeniedError("this station is enrolled with another client certificate")
    if not certificate.begins <= now <= certificate.ends:
        raise AccessDeniedError("the client certificate of this station is not valid now")
    message = signature_base([(_COMPONENT, byte_sequence(first))], second.params)
    if second.algorithm != algorithm_of(certificate.key) or not _verifies(
        certificate.key, second.signature, message
    ):
        raise AccessDeniedError("the signature of the client certificate is not good")


def _verifies(key: PublicKey, signature: str, message: bytes) -> bool:
    try:
        match key:
            case ed25519.Ed25519PublicKey():
                key.verify(_octets(signature, 64), message)
            case ec.EllipticCurvePublicKey():
                _, size, digest = _CURVES[key.curve.name]
                octets = _octets(signature, 2 * size)
                r, s = int.from_bytes(octets[:size]), int.from_bytes(octets[size:])
                key.verify(encode_dss_signature(r, s), message, ec.ECDSA(digest))
            case rsa.RSAPublicKey():
                octets = _octets(signature, (key.key_size + 7) // 8)
                key.verify(octets, message, _PSS, hashes.SHA512())
    except InvalidSignature:
        return False
    return True


def _octets(signature: str, size: int) -> bytes:
    return parse_byte_sequence(signature, size, "signature")
