"""Certificate revocation lists (RFC 5280 §5), strictly: whole, signed, numbered, and fresh."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from medshare.errors import CredentialError, FormatError
from medshare.trust.foreign import require_whole_signature, x509_errors
from medshare.trust.practitioner_list import require_begun

MAX_CRL: Final = 1 << 24
DEFAULT_MAX_AGE: Final = 31 * 86400
"""Seconds for which a CRL is believed, even if its authority says longer."""
_KNOWN: Final = frozenset({ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.CRL_NUMBER})
_WHAT: Final = "the revocation list"


def load_crl(octets: bytes) -> x509.CertificateRevocationList:
    """Return the CRL in *octets*, in DER.

    Raises FormatError when it is malformed, or is one of those that cover only a part: an
    indirect, partitioned or delta CRL says so in a critical extension (RFC 5280 §5.2).
    """
    if len(octets) > MAX_CRL:
        raise FormatError(f"{_WHAT} is too long")
    with x509_errors(_WHAT):
        crl = x509.load_der_x509_crl(octets)
        _ = crl.issuer, crl.last_update_utc, number_of(crl), crl.signature_algorithm_oid
        extensions = [*crl.extensions, *(part for entry in crl for part in entry.extensions)]
    require_whole_signature(octets, crl.signature, what=_WHAT)
    if any(one.critical and one.oid not in _KNOWN for one in extensions):
        raise FormatError(f"{_WHAT} covers only some certificates, or has unknown extensions")
    if crl.next_update_utc is None:
        raise FormatError(f"{_WHAT} does not say when the next one comes")
    return crl


def number_of(crl: x509.CertificateRevocationList) -> int:
    """Return its number; raise FormatError when it has none."""
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        raise FormatError(f"{_WHAT} has no number") from None


def is_signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    """Tell whether *issuer*, which may sign CRLs, has signed *crl*."""
    if crl.issuer != issuer.subject:
        return False
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    try:
        signed = crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # raises
    except (TypeError, ValueError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return usage.crl_sign and signed


def require_fresh_crl(crl: x509.CertificateRevocationList, *, now: int, max_age: int) -> None:
    """Raise CredentialError when *crl* is out of date at *now*, or older than *max_age* seconds."""
    since = _seconds(crl.last_update_utc)
    require_begun(since, now=now, what=_WHAT)
    due = crl.next_update_utc
    if due is None or now >= _seconds(due) or now > since + max_age:
        raise CredentialError(
            f"{_WHAT} of the authority is out of date: whom it has revoked since is not known",
            hint="get the current one from the authority: medshare trust update FILE",
            code="credential.stale-crl",
        )


def newest_crl(
    crls: Sequence[x509.CertificateRevocationList], issuer: x509.Certificate
) -> x509.CertificateRevocationList:
    """Return the newest of *crls* that *issuer* has signed; raise CredentialError without one."""
    found = [crl for crl in crls if is_signed_by(crl, issuer)]
    if not found:
        raise CredentialError(
            "whom the authority has revoked is not known: there is no revocation list here",
            hint="get it from the authority: medshare trust update FILE",
            code="credential.no-crl",
        )
    return max(found, key=number_of)


def require_not_revoked(
    crl: x509.CertificateRevocationList, certificate: x509.Certificate, *, what: str
) -> None:
    """Raise CredentialError when *crl* names *certificate*, whatever the reason."""
    entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    if entry is None:
        return
    raise CredentialError(
        f"{what} was revoked by its authority{_reason(entry)}",
        hint="ask the authority, or the person, before doing anything else",
        code="credential.revoked",
    )


def _reason(entry: x509.RevokedCertificate) -> str:
    try:
        found = entry.extensions.get_extension_for_oid(CRLEntryExtensionOID.CRL_REASON).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    return f" ({found.reason.value})" if isinstance(found, x509.CRLReason) else ""


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
