"""Which certificates and keys X.509 signatures are believed from, whatever they are for."""

from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

from medshare.errors import CredentialError

Kind = TypeVar("Kind", bound=x509.ExtensionType)

STRONG: Final = frozenset(
    {
        SignatureAlgorithmOID.ED25519,
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
        SignatureAlgorithmOID.RSASSA_PSS,
    }
)
"""Signature algorithms that are still good; of PSS the hash is looked at apart."""
RSA_BITS: Final = 2048
"""The shortest RSA key whose signatures are believed."""
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_DIRECTORY_ATTRIBUTES,
    }
)


def has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Tell whether *certificate* is signed by *issuer*, with an algorithm that is still good."""
    if certificate.signature_algorithm_oid not in STRONG:
        return False
    try:
        key, hashed = issuer.public_key(), certificate.signature_hash_algorithm
        if hashed is not None and hashed.name not in _HASHES:
            return False
        if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS:
            return False
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def require_understood(certificate: x509.Certificate, *, what: str) -> None:
    """Raise CredentialError when *certificate* has a critical extension that is unknown here."""
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise CredentialError(
                f"{what} has a critical extension that is unknown here: "
                f"{extension.oid.dotted_string}",
                code="credential.extension",
            )


def extension_of(certificate: x509.Certificate, kind: type[Kind]) -> Kind | None:
    """Return the extension of that *kind*, or None."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
