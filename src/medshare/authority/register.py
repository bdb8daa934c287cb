"""The register of an authority: whom it has certified, whom it has revoked, what it published.

One file, replaced as a whole, so that no certificate leaves the authority that it does not
know of, and no number of a list is given twice.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from medshare import canonical
from medshare.canonical import Fields
from medshare.disk.atomic import read_file, write_file
from medshare.errors import FormatError, StorageError, UsageError
from medshare.trust.credential import Credential, load_certificate, parse_credential
from medshare.trust.practitioner_list import MAX_ENTRIES, MAX_PREVIOUS, MAX_VERSION

MAX_REGISTER: Final = 1 << 27
REASONS: Final = {
    "unspecified": x509.ReasonFlags.unspecified,
    "key-compromise": x509.ReasonFlags.key_compromise,
    "affiliation-changed": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessation": x509.ReasonFlags.cessation_of_operation,
    "privilege-withdrawn": x509.ReasonFlags.privilege_withdrawn,
}
"""Why a certificate may be revoked (RFC 5280 §5.3.1)."""
_VERSION: Final = 1
_ITEMS: Final = 8 * MAX_ENTRIES
_WHAT: Final = "the register"


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate; *revoked_at* in seconds since 1970 UTC, 0 while it is good."""

    certificate: x509.Certificate
    revoked_at: int = 0
    reason: str = ""

    @property
    def credential(self) -> Credential:
        """What it says."""
        return parse_credential(self.certificate)

    @property
    def serial(self) -> str:
        """Its serial number, as people write it: in hexadecimal digits."""
        return f"{self.certificate.serial_number:x}"


@dataclass(frozen=True, slots=True)
class Register:
    """Everything that an authority must not forget."""

    crl_number: int = 0
    list_version: int = 0
    previous: tuple[bytes, ...] = ()
    """Digests of the lists that were published, newest first."""
    issued: tuple[Issued, ...] = ()

    def found(self, serial: str) -> Issued:
        """Return the certificate whose serial number begins with *serial*, if it is the only one.

        Raises UsageError.
        """
        digits = serial.lower()
        found = [one for one in self.issued if one.serial.startswith(digits)]
        if len(found) != 1 or len(digits) < 4:
            raise UsageError(
                f"{len(found)} certificates have a serial number that begins with '{serial}'",
                hint="medshare authority list shows them; give the number, or at least four digits",
            )
        return found[0]

    def with_issued(self, certificate: x509.Certificate) -> "Register":
        """Return the register with one more certificate; UsageError when it is full."""
        if len(self.issued) >= MAX_ENTRIES:
            raise UsageError(f"a register holds {MAX_ENTRIES:,} certificates at most")
        return replace(self, issued=(*self.issued, Issued(certificate)))

    def with_revoked(self, serial: str, *, reason: str, now: int) -> "Register":
        """Return the register with a certificate revoked; UsageError when it is already.

        With it go all others of the same licence: a person who may not practise has no second
        certificate that is good.  Only one that is `superseded` goes alone.
        """
        chosen = self.found(serial)
        if chosen.revoked_at:
            raise UsageError("this certificate is revoked already")
        licence = chosen.credential.licence
        issued = tuple(
            replace(one, revoked_at=max(now, 1), reason=reason)
            if one is chosen or _goes_along(one, licence, reason)
            else one
            for one in self.issued
        )
        return replace(self, issued=issued)

    def with_list(self, digest: bytes) -> "Register":
        """Return the register with one more list published, with this digest."""
        previous = (digest, *self.previous)[:MAX_PREVIOUS]
        return replace(self, list_version=self.list_version + 1, previous=previous)

    def encode(self) -> bytes:
        """Return the octets of the file."""
        issued: list[canonical.Value] = [
            [one.certificate.public_bytes(Encoding.DER), one.revoked_at, one.reason]
            for one in self.issued
        ]
        return canonical.encode(
            {
                "crl_number": self.crl_number,
                "issued": issued,
                "list_version": self.list_version,
                "previous": list(self.previous),
                "version": _VERSION,
            }
        )


def _goes_along(other: Issued, licence: str, reason: str) -> bool:
    """Tell whether *other* is revoked with one of this *licence*, for this *reason*."""
    same = other.credential.licence == licence
    return same and not other.revoked_at and reason != "superseded"


def parse_register(data: bytes) -> Register:
    """Return the register in *data*; raise FormatError when it is malformed."""
    fields = Fields(
        canonical.decode(data, limit=MAX_REGISTER, what=_WHAT, items=_ITEMS), what=_WHAT
    )
    fields.uint("version", minimum=_VERSION, maximum=_VERSION)
    found = Register(
        crl_number=fields.uint("crl_number", maximum=MAX_VERSION),
        list_version=fields.uint("list_version", maximum=MAX_VERSION),
        previous=tuple(fields.items("previous", maximum=MAX_PREVIOUS)),
        issued=tuple(_issued(one) for one in fields.items("issued", maximum=MAX_ENTRIES)),
    )
    fields.finish()
    if not all(isinstance(one, bytes) for one in found.previous):
        raise FormatError(f"{_WHAT} is malformed")
    return found


def _issued(item: object) -> Issued:
    match item:
        case [bytes() as certificate, int() as revoked_at, str() as reason] if bool(revoked_at) is (
            reason in REASONS
        ):
            return Issued(load_certificate(certificate), revoked_at, reason)
    raise FormatError(f"{_WHAT} is malformed")


def read_register(path: Path) -> Register:
    """Return the register at *path*; raise StorageError when it is damaged."""
    try:
        return parse_register(read_file(path, limit=MAX_REGISTER, what=_WHAT))
    except FormatError as error:
        raise StorageError(
            f"the register of the authority is damaged: {path}", hint="restore it from your backup"
        ) from error


def write_register(path: Path, register: Register) -> None:
    """Make *register* the content of the file at *path*, durably."""
    write_file(path, register.encode(), what=_WHAT)
