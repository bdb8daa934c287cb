"""Certificates and lists as an authority makes them, and as it never would."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtensionOID, NameOID

from medshare.suites.signatures import ED25519, signer_from_seed
from medshare.trust.card import Card
from medshare.trust.certification import Authority
from medshare.trust.credential import PURPOSE, digest_of, urns_of
from medshare.trust.hcrole import encode_role, role_named
from medshare.trust.practitioner_list import Listed, PractitionerList, SignedList, sign_list
from tests.builder import Identity, make_identity, octets

NOW = 1_800_000_000
DAY = 86400
DOCTOR = make_identity("Dr Wang")
"""The station that is certified."""


def moment(seconds: int) -> datetime:
    """A time as X.509 libraries take it."""
    return datetime.fromtimestamp(seconds, UTC)


def key_named(label: str) -> Ed25519PrivateKey:
    """A key that is the same each time for *label*."""
    return Ed25519PrivateKey.from_private_bytes(octets(label))


def station_key(identity: Identity) -> Ed25519PrivateKey:
    """The private Ed25519 key of a station of the builder."""
    return key_named(f"{identity.name} {ED25519}")


def distinguished(**parts: str) -> x509.Name:
    """A name of its parts: cn, o, ou, serial."""
    kinds = {
        "cn": NameOID.COMMON_NAME,
        "o": NameOID.ORGANIZATION_NAME,
        "ou": NameOID.ORGANIZATIONAL_UNIT_NAME,
        "serial": NameOID.SERIAL_NUMBER,
    }
    return x509.Name([x509.NameAttribute(kinds[kind], value) for kind, value in parts.items()])


def usage(*, sign: bool = False, issue: bool = False) -> x509.KeyUsage:
    """A key usage."""
    return x509.KeyUsage(sign, False, False, False, False, issue, issue, False, False)


Parts = dict[Any, tuple[x509.ExtensionType, bool]]
"""Extensions by what a test calls them, each with whether it is critical."""


def certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public: Any,
    signer: Ed25519PrivateKey,
    parts: Parts,
    *,
    since: int = NOW - DAY,
    until: int = NOW + 365 * DAY,
    serial: int = 7,
) -> x509.Certificate:
    """A certificate with just these extensions."""
    builder = (
        x509.CertificateBuilder(issuer, subject, public)
        .serial_number(serial)
        .not_valid_before(moment(since))
        .not_valid_after(moment(until))
    )
    for extension, critical in parts.values():
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, None)


COMMISSION = distinguished(o="Health Commission", cn="Health Commission")
CA_PARTS: Parts = {
    "basic": (x509.BasicConstraints(ca=True, path_length=None), True),
    "usage": (usage(sign=True, issue=True), True),
}


def authority_certificate(label: str = "ca", **changes: Any) -> x509.Certificate:
    """The certificate of the authority with the key *label*; *changes* go to `certificate`."""
    given: dict[str, Any] = {
        "subject": COMMISSION,
        "issuer": COMMISSION,
        "public": key_named(label).public_key(),
        "signer": key_named(label),
        "parts": CA_PARTS,
        "until": NOW + 3650 * DAY,
    }
    return certificate(**given | changes)


def doctor_parts(card: Card = DOCTOR.card) -> Parts:
    """The extensions of a good credential."""
    names = [x509.UniformResourceIdentifier(urn) for urn in urns_of(card)]
    roles = encode_role(role_named("specialist"))
    directory = ExtensionOID.SUBJECT_DIRECTORY_ATTRIBUTES
    return {
        "basic": (x509.BasicConstraints(ca=False, path_length=None), True),
        "usage": (usage(sign=True), True),
        "purpose": (x509.ExtendedKeyUsage([PURPOSE]), False),
        "names": (x509.SubjectAlternativeName(names), False),
        "role": (x509.UnrecognizedExtension(directory, roles), False),
    }


SUBJECT = distinguished(o="St. Mary", ou="radiology", cn="Dr Wang", serial="110023")


def credential(**changes: Any) -> x509.Certificate:
    """A good credential of DOCTOR; *changes* go to `certificate`."""
    given: dict[str, Any] = {
        "subject": SUBJECT,
        "issuer": COMMISSION,
        "public": station_key(DOCTOR).public_key(),
        "signer": key_named("ca"),
        "parts": doctor_parts(),
    }
    return certificate(**given | changes)


def crl(
    number: int = 1,
    *,
    revoked: Sequence[int] = (),
    since: int = NOW - 60,
    until: int = NOW + 7 * DAY,
    label: str = "ca",
    issuer: x509.Name = COMMISSION,
    critical: bool = False,
) -> x509.CertificateRevocationList:
    """A revocation list; *critical* gives it an extension that nobody here knows."""
    builder = (
        x509.CertificateRevocationListBuilder(issuer)
        .last_update(moment(since))
        .next_update(moment(until))
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    if critical:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    for serial in revoked:
        one = x509.RevokedCertificateBuilder(serial, moment(since))
        builder = builder.add_revoked_certificate(one.build())
    return builder.sign(key_named(label), None)


def listing(
    version: int = 1,
    *,
    before: SignedList | None = None,
    goes_with: x509.CertificateRevocationList | None = None,
    of: Sequence[x509.Certificate] = (),
    expires: int = NOW + 7 * DAY,
    created: int = NOW - 60,
    label: str = "ca",
) -> SignedList:
    """A list of practitioners that follows *before*."""
    revocations = crl() if goes_with is None else goes_with
    previous = () if before is None else (before.digest, *before.content.previous)
    numbers = [one.extensions.get_extension_for_class(x509.CRLNumber) for one in [revocations]]
    content = PractitionerList(
        authority=digest_of(authority_certificate(label)),
        version=version,
        created=created,
        expires=expires,
        previous=previous,
        crl=digest_of(revocations),
        crl_number=numbers[0].value.crl_number,
        entries=tuple(
            Listed(one.serial_number, DOCTOR.station, digest_of(one))
            for one in sorted(of, key=lambda one: one.serial_number)
        ),
    )
    return sign_list(content, signer_from_seed(ED25519, octets(label)))


def trusted(**changes: Any) -> Authority:
    """The authority as it is known here, with a fresh revocation list."""
    given: dict[str, Any] = {
        "name": "commission",
        "certificates": (authority_certificate(),),
        "crls": (crl(),),
    }
    return Authority(**given | changes)
