"""A small registration authority, for those who have none: it vets, issues, revokes, publishes.

It lives in a folder of its own, best on a machine of its own:

    keys/keystore   the secret key, encrypted
    ca.pem          its certificate, which others import: medshare trust add ca.pem
    register        whom it has certified and revoked, what it has published
    audit/          its record (`authority.recording`)
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from medshare.audit.entries import Act, Detail, Details
from medshare.authority.recording import OfficeRecord
from medshare.authority.register import (
    REASONS,
    Issued,
    Register,
    read_register,
    write_register,
)
from medshare.authority.request import MAX_COMMON_NAME, Request
from medshare.authority.signing import certificate_signer, loaded, sign_certificate, sign_crl
from medshare.disk.atomic import read_file, write_file
from medshare.errors import FormatError, StorageError, UsageError
from medshare.keys.base import Backend, KeyStore
from medshare.keys.lock import exclusive
from medshare.manifest import check_label
from medshare.station.permissions import private_folder, require_private
from medshare.suites.base import PublicKey, Signer
from medshare.trust.bundle import CRL, PRACTITIONERS, Block, read_blocks, write_blocks
from medshare.trust.credential import (
    MAX_CERTIFICATE,
    PURPOSE,
    certificate_blocks,
    digest_of,
    load_certificates,
    public_key_of,
    urns_of,
)
from medshare.trust.hcrole import Role, encode_role
from medshare.trust.practitioner_list import Listed, PractitionerList, sign_list

AUTHORITY_YEARS: Final = 10
_KEYS, _CERTIFICATE, _REGISTER, _LOCK = "keys", "ca.pem", "register", "lock"
_BACKDATED: Final = timedelta(minutes=5)
"""Certificates begin so much earlier, as clocks differ."""
_LICENCE: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?"
)
"""What a PrintableString may hold (X.680 §41.4)."""


@dataclass(frozen=True, slots=True)
class Person:
    """What an officer has vetted of somebody."""

    name: str
    licence: str
    role: Role
    department: str
    organisation: str

    def __post_init__(self) -> None:
        """Raise UsageError when one of them cannot stand in a certificate."""
        for what, value in (("name", self.name), ("licence number", self.licence)):
            if not value:
                raise UsageError(f"a certificate needs a {what}")
        if not _LICENCE.issuperset(self.licence):
            raise UsageError("a licence number has letters, digits and '()+,-./:=? only")
        for value in (self.name, self.licence, self.department, self.organisation):
            require_label(value)


def require_label(value: str) -> None:
    """Raise UsageError unless *value* is empty, or can stand in a certificate and be shown."""
    if len(value) > MAX_COMMON_NAME:
        raise UsageError(f"what stands in a certificate has {MAX_COMMON_NAME} characters at most")
    try:
        if value:
            check_label(value)
    except FormatError as error:
        raise UsageError(error.message) from error


class Office:
    """An authority, locked: its folder and its certificate."""

    def __init__(self, folder: Path, certificate: x509.Certificate) -> None:
        self.folder = folder
        self.certificate = certificate
        self.record = OfficeRecord(folder, certificate)

    @classmethod
    def create(cls, backend: Backend, folder: Path, *, name: str, now: int) -> "Office":
        """Make *folder* an authority called *name*; *now* in seconds since 1970 UTC.

        Raises UsageError when there is one already, or the name cannot serve; StorageError.
        """
        folder = folder.absolute()
        require_no_authority(folder)
        if not name:
            raise UsageError("an authority needs a name", hint="give it with --name")
        require_label(name)
        private_folder(folder)
        require_private(folder, what="the folder of this authority")
        keys = private_folder(folder / _KEYS)
        store = backend.create(keys, created=now)
        certificate = _own_certificate(name, certificate_signer(store.signers(0)), now=now)
        office = cls(folder, certificate)
        office.record.note(Act.INIT, certificate)
        office.record.sign(store)
        write_register(folder / _REGISTER, Register())
        octets = write_blocks(certificate_blocks([certificate]))
        write_file(folder / _CERTIFICATE, octets, mode=0o644, what="the certificate")
        return office

    @classmethod
    def open(cls, folder: Path) -> "Office":
        """Return the authority in *folder*; raise UsageError when there is none."""
        folder = folder.absolute()
        path = folder / _CERTIFICATE
        if not path.exists():
            raise UsageError(
                f"there is no authority in {folder}", hint="make one: medshare authority init"
            )
        require_private(folder, what="the folder of this authority")
        octets = read_file(path, limit=2 * MAX_CERTIFICATE, what="the certificate")
        certificates = load_certificates(read_blocks(octets, what="the certificate"))
        if len(certificates) != 1:
            raise StorageError(f"{path} does not hold exactly one certificate")
        return cls(folder, certificates[0])

    @property
    def keys(self) -> Path:
        """The folder of its keystore."""
        return self.folder / _KEYS

    @property
    def name(self) -> str:
        """What it calls itself."""
        return str(self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

    def register(self) -> Register:
        """Return what it has certified, revoked and published."""
        return read_register(self.folder / _REGISTER)

    def issue(
        self, request: Request, person: Person, store: KeyStore, *, valid: int, now: int
    ) -> Issued:
        """Certify *person*, whose station made *request*, for *valid* seconds from *now*.

        The register knows of the certificate before this returns.  Raises UsageError when it
        would outlive the authority's own.
        """
        builder = self._builder(_subject(person), request.key, valid=valid, now=now)
        names = [x509.UniformResourceIdentifier(urn) for urn in urns_of(request.card)]
        roles = x509.UnrecognizedExtension(
            ExtensionOID.SUBJECT_DIRECTORY_ATTRIBUTES, encode_role(person.role)
        )
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return self._sign(builder.add_extension(roles, critical=False), store, Act.ISSUE)

    def renew(self, serial: str, store: KeyStore, *, valid: int, now: int) -> Issued:
        """Certify the person of an earlier certificate again, with the same station and keys.

        Raises UsageError when that was revoked.
        """
        before = self.register().found(serial)
        if before.revoked_at:
            raise UsageError(
                "a certificate that was revoked is not renewed",
                hint="vet the person anew, then: medshare authority issue",
            )
        old = before.certificate
        key = public_key_of(old)
        builder = self._builder(old.subject, key, valid=valid, now=now)
        for extension in old.extensions:
            if isinstance(extension.value, x509.SubjectAlternativeName) or (
                extension.oid == ExtensionOID.SUBJECT_DIRECTORY_ATTRIBUTES
            ):
                builder = builder.add_extension(extension.value, critical=False)
        return self._sign(builder, store, Act.RENEW)

    def revoke(self, serial: str, *, reason: str, now: int) -> Issued:
        """Note that a certificate is revoked; `publish` makes it known."""
        with self._changing():
            before = self.register()
            register = before.with_revoked(serial, reason=reason, now=now)
            for old, new in zip(before.issued, register.issued, strict=True):
                if old != new:
                    self.record.note(Act.REVOKE, new.certificate, station=new.credential.station)
            write_register(self.folder / _REGISTER, register)
            return register.found(serial)

    def publish(self, store: KeyStore, *, valid: int, now: int) -> bytes:
        """Return a new revocation list and a new list of practitioners, in one text file.

        Both are valid for *valid* seconds.  Their numbers are on disk before they are out.
        """
        signer = certificate_signer(store.signers(0))
        with self._changing():
            register = self.register()
            register = replace(register, crl_number=register.crl_number + 1)
            crl = _crl(self.certificate, register, signer, valid=valid, now=now)
            content = PractitionerList(
                authority=digest_of(self.certificate),
                version=register.list_version + 1,
                created=now,
                expires=now + valid,
                previous=register.previous,
                crl=digest_of(crl),
                crl_number=register.crl_number,
                entries=_listed(register, now=now),
            )
            practitioners = sign_list(content, signer)
            details: Details = {
                Detail.DIGEST: practitioners.digest,
                Detail.COUNT: len(content.entries),
            }
            self.record.note(Act.PUBLISH, self.certificate, details=details)
            write_register(self.folder / _REGISTER, register.with_list(practitioners.digest))
        self.record.sign(store)
        return write_blocks(
            [
                Block(CRL, crl.public_bytes(Encoding.DER)),
                Block(PRACTITIONERS, practitioners.encoded),
            ]
        )

    def _changing(self) -> AbstractContextManager[None]:
        return exclusive(self.folder / _LOCK, wait=True, what="this authority is being used")

    def _builder(
        self, subject: x509.Name, key: PublicKey, *, valid: int, now: int
    ) -> x509.CertificateBuilder:
        ends = _moment(now + valid)
        if ends > self.certificate.not_valid_after_utc:
            raise UsageError(
                "the certificate would be valid longer than that of the authority",
                hint="give a shorter time with --valid",
            )
        purposes = [PURPOSE]
        own = self.certificate.public_key()
        return (
            x509.CertificateBuilder(self.certificate.subject, subject, loaded(key))
            .serial_number(x509.random_serial_number())
            .not_valid_before(_moment(now) - _BACKDATED)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(own),  # type: ignore[arg-type]
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(loaded(key)), critical=False)
        )

    def _sign(self, builder: x509.CertificateBuilder, store: KeyStore, act: Act) -> Issued:
        certificate = sign_certificate(builder, certificate_signer(store.signers(0)))
        issued = Issued(certificate)
        with self._changing():
            self.record.note(act, certificate, station=issued.credential.station)
            write_register(self.folder / _REGISTER, self.register().with_issued(certificate))
        self.record.sign(store)
        return issued


def require_no_authority(folder: Path) -> None:
    """Raise UsageError when there is an authority in *folder*, or something else."""
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(
            f"the folder of a new authority is not empty: {folder}",
            hint="name another one with --data",
        )


def _own_certificate(name: str, signer: Signer, *, now: int) -> x509.Certificate:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, name),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    key = loaded(signer.public)
    usage = _usage(digital_signature=True, key_cert_sign=True, crl_sign=True)
    builder = (
        x509.CertificateBuilder(subject, subject, key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(now) - _BACKDATED)
        .not_valid_after(_moment(now) + timedelta(days=365 * AUTHORITY_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
    return sign_certificate(builder, signer)


def _subject(person: Person) -> x509.Name:
    parts = [
        (NameOID.ORGANIZATION_NAME, person.organisation),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, person.department),
        (NameOID.COMMON_NAME, person.name),
        (NameOID.SERIAL_NUMBER, person.licence),
    ]
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts if value])


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _crl(
    issuer: x509.Certificate, register: Register, signer: Signer, *, valid: int, now: int
) -> x509.CertificateRevocationList:
    own = issuer.public_key()
    builder = (
        x509.CertificateRevocationListBuilder(issuer.subject)
        .last_update(_moment(now))
        .next_update(_moment(now + valid))
        .add_extension(x509.CRLNumber(register.crl_number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(own),  # type: ignore[arg-type]
            critical=False,
        )
    )
    for one in register.issued:
        if one.revoked_at:
            revoked = (
                x509.RevokedCertificateBuilder()
                .serial_number(one.certificate.serial_number)
                .revocation_date(_moment(one.revoked_at))
            )
            if one.reason != "unspecified":  # RFC 5280 §5.3.1: then it is left out
                revoked = revoked.add_extension(x509.CRLReason(REASONS[one.reason]), critical=False)
            builder = builder.add_revoked_certificate(revoked.build())
    return sign_crl(builder, signer)


def _listed(register: Register, *, now: int) -> tuple[Listed, ...]:
    """Return who is certified at *now*: not revoked, not expired."""
    good = [
        one.credential
        for one in register.issued
        if not one.revoked_at and now < one.certificate.not_valid_after_utc.timestamp()
    ]
    found = [Listed(one.certificate.serial_number, one.station, one.digest) for one in good]
    return tuple(sorted(found, key=lambda one: one.serial))


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
