"""Credentials: X.509 certificates in which a registration authority vouches for a person.

A certificate (RFC 5280) says who holds a station, and is bound to one generation of its card:

- its key is the card's Ed25519 or P-256 key;
- two URIs among its alternative names give the station id and the SHA-256 of the newest
  generation of the card as signed, and so bind the post-quantum keys, which X.509 libraries
  cannot carry yet (docs/decisions/0007-credentials.md).

Here it is read and held against a card.  Whether an authority that is trusted stands behind it
is `trust.certification`.  Every refusal is a CredentialError whose code says which check failed.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from medshare.errors import CredentialError, FormatError
from medshare.ids import STATION_ID_SIZE, StationId
from medshare.signed import signing_input
from medshare.suites import p256
from medshare.suites.base import PublicKey
from medshare.suites.signatures import ECDSA_P256, ED25519
from medshare.trust.bundle import CERTIFICATE, Block
from medshare.trust.card import LABEL, Card
from medshare.trust.foreign import require_whole_signature, x509_errors
from medshare.trust.hcrole import Role, parse_roles
from medshare.trust.petname import confusable, folded

STATION_URN: Final = "urn:medshare:station:"
CARD_URN: Final = "urn:medshare:card:"
PURPOSE: Final = x509.ObjectIdentifier("2.25.205635157229732461991311448768263191535")
"""Extended key usage of certificates for practitioners, under a UUID (X.667): it is nobody's."""
MAX_CERTIFICATE: Final = 1 << 15
MAX_CHAIN: Final = 6
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MAX_TEXT: Final = 256


@dataclass(frozen=True, slots=True)
class Credential:
    """What a certificate says of a person; texts are the authority's, times in seconds UTC."""

    certificate: x509.Certificate
    name: str
    licence: str
    roles: tuple[Role, ...]
    department: str
    organisation: str
    not_before: int
    not_after: int
    station: StationId
    card_digest: bytes
    key: PublicKey

    @property
    def role(self) -> str:
        """The roles as people call them."""
        return ", ".join(role.name for role in self.roles)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the certificate."""
        return digest_of(self.certificate)


def digest_of(certificate: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    """Return the SHA-256 of a certificate or CRL, which names it."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()


def card_digest(card: Card) -> bytes:
    """Return the SHA-256 of the newest generation of *card*, as it is signed."""
    return hashlib.sha256(signing_input(LABEL, card.body)).digest()


def urns_of(card: Card) -> tuple[str, str]:
    """Return the two URIs that bind a certificate to *card*."""
    return f"{STATION_URN}{card.station.hex()}", f"{CARD_URN}{card_digest(card).hex()}"


def certificate_key(card: Card) -> PublicKey:
    """Return the key of *card* that a certificate can carry; CredentialError if it has none."""
    for key in card.current.sign_keys:
        if key.algorithm in {ED25519, ECDSA_P256}:
            return key
    raise CredentialError(
        "a certificate cannot carry the keys of this station yet: it has SM2 keys only",
        hint="a station with both families has keys that it can: medshare init --suite gm+intl",
        code="credential.key",
    )


def load_certificates(blocks: Iterable[Block]) -> tuple[x509.Certificate, ...]:
    """Return the certificates among *blocks*; raise FormatError when one is malformed."""
    found = tuple(load_certificate(block.content) for block in blocks if block.label == CERTIFICATE)
    if len(found) > MAX_CHAIN:
        raise FormatError("there are too many certificates")
    return found


def load_certificate(octets: bytes) -> x509.Certificate:
    """Return the certificate in *octets*, in DER; raise FormatError when it is malformed."""
    if len(octets) > MAX_CERTIFICATE:
        raise FormatError("a certificate is too long")
    with x509_errors("a certificate"):
        certificate = x509.load_der_x509_certificate(octets)
        _ = certificate.extensions, certificate.subject, certificate.issuer
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    require_whole_signature(octets, certificate.signature, what="a certificate")
    return certificate


def certificate_blocks(chain: Sequence[x509.Certificate]) -> tuple[Block, ...]:
    """Return *chain* as it is written into text files."""
    return tuple(Block(CERTIFICATE, one.public_bytes(Encoding.DER)) for one in chain)


def parse_credential(certificate: x509.Certificate) -> Credential:
    """Return what *certificate* says of a person and a station.

    Raises CredentialError (`credential.malformed`) when it lacks something, or says it twice.
    """
    station, card = _bound_to(certificate)
    return Credential(
        certificate,
        name=_only(certificate.subject, NameOID.COMMON_NAME, "name"),
        licence=_only(certificate.subject, NameOID.SERIAL_NUMBER, "licence number"),
        roles=_roles(certificate),
        department=_at_most_one(certificate.subject, NameOID.ORGANIZATIONAL_UNIT_NAME),
        organisation=_at_most_one(certificate.subject, NameOID.ORGANIZATION_NAME),
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
        station=station,
        card_digest=card,
        key=public_key_of(certificate),
    )


def _malformed(what: str) -> CredentialError:
    return CredentialError(
        f"the certificate is no practitioner's credential: {what}",
        hint="ask the authority for one with name, licence, role and the names of the request",
        code="credential.malformed",
    )


def _only(name: x509.Name, kind: x509.ObjectIdentifier, what: str) -> str:
    value = _at_most_one(name, kind)
    if not value:
        raise _malformed(f"it states no {what}")
    return value


def _at_most_one(name: x509.Name, kind: x509.ObjectIdentifier) -> str:
    values = [one.value for one in name.get_attributes_for_oid(kind)]
    if len(values) > 1 or any(not isinstance(v, str) or len(v) > _MAX_TEXT for v in values):
        raise _malformed("part of its subject is there twice, or is too long")
    return str(values[0]) if values else ""


def _roles(certificate: x509.Certificate) -> tuple[Role, ...]:
    for one in certificate.extensions:
        if one.oid == ExtensionOID.SUBJECT_DIRECTORY_ATTRIBUTES:
            if not isinstance(one.value, x509.UnrecognizedExtension):
                break
            try:
                roles = parse_roles(one.value.value)
            except FormatError as error:
                raise _malformed(error.message) from error
            if roles:
                return roles
    raise _malformed("it states no healthcare role")


def _bound_to(certificate: x509.Certificate) -> tuple[StationId, bytes]:
    """Return the station and the digest of the card that the certificate names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise _malformed("it names no station") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    station, card = _digits(uris, STATION_URN), _digits(uris, CARD_URN)
    if len(station) != STATION_ID_SIZE:
        raise _malformed("it names no station")
    return StationId(station), card


def _digits(uris: Iterable[str], prefix: str) -> bytes:
    found = [uri.removeprefix(prefix) for uri in uris if uri.startswith(prefix)]
    if len(found) != 1 or not _DIGEST.fullmatch(found[0]):
        raise _malformed(f"it has not exactly one name that begins with {prefix}")
    return bytes.fromhex(found[0])


def public_key_of(certificate: x509.Certificate | x509.CertificateSigningRequest) -> PublicKey:
    """Return the key of *certificate* as cards write it; CredentialError if cards cannot."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, Ed25519PublicKey):
        return PublicKey(ED25519, key.public_bytes_raw())
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return PublicKey(ECDSA_P256, p256.point_of(key))
    raise CredentialError(
        "the key of the certificate is of a kind that no station has", code="credential.key"
    )


def require_bound(credential: Credential, card: Card) -> None:
    """Raise CredentialError unless *credential* was issued for *card* as it is now."""
    if credential.station != card.station:
        raise CredentialError(
            "the certificate was issued for another station", code="credential.station"
        )
    if credential.card_digest != card_digest(card):
        raise CredentialError(
            "the certificate was issued for other keys of this station than its card shows now",
            hint="after a key rotation the authority issues a new one: medshare card request",
            code="credential.card",
        )
    if credential.key != certificate_key(card):
        raise CredentialError(
            "the key of the certificate is not on the card of the station", code="credential.key"
        )


def require_own_name(card: Card, credential: Credential, others: Iterable[str]) -> None:
    """Raise CredentialError when *card* calls itself what could be taken for somebody else.

    *others* are the names in the certificates of others.  A name that the authority has
    vetted, in the same spelling, imitates nobody, even if two people share it.
    """
    if _letters(card.name) == _letters(credential.name):
        return
    if confusable(card.name, credential.name):
        raise _imitation("its spelling is not that of the name which the authority has vetted")
    if any(confusable(card.name, other) for other in others):
        raise _imitation("it could be taken for the name of another person")


def _letters(name: str) -> str:
    return "".join(one for one in folded(name) if one.isalnum())


def _imitation(why: str) -> CredentialError:
    return CredentialError(
        f"the name on the card may imitate another: {why}",
        hint="ask its owner, by telephone, before doing anything else",
        code="credential.imitation",
    )
