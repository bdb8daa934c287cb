"""What is known of an authority: taken in once, then only ever replaced by what is newer."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from cryptography import x509

from medshare.errors import CredentialError, FormatError, UsageError
from medshare.trust.certification import Authority, require_goes_with, require_issuer
from medshare.trust.credential import digest_of, public_key_of
from medshare.trust.issued import has_issued
from medshare.trust.practitioner_list import (
    SignedList,
    authority_named,
    parse_list,
    require_newer,
)
from medshare.trust.revocation_list import (
    is_signed_by,
    newest_crl,
    number_of,
    require_fresh_crl,
)


def new_authority(
    name: str, certificates: Sequence[x509.Certificate], *, crl_max_age: int, now: int
) -> Authority:
    """Return the authority whose anchor is the first of *certificates*; the others are below it.

    Raises UsageError when there is none, CredentialError when one may not issue, is not valid
    at *now*, or is of somebody else.
    """
    if not certificates:
        raise UsageError("the file holds no certificate", hint="name that of the authority, in PEM")
    known = [certificates[0]]
    for certificate in certificates:
        require_issuer(certificate, below=0)
        _require_current(certificate, now=now)
        if certificate not in known and not any(has_issued(one, certificate) for one in known):
            raise CredentialError(
                "a certificate in the file is not of an authority below the first one",
                hint="import what belongs together, the highest first",
                code="credential.chain",
            )
        known.append(certificate)
    return Authority(name, tuple(dict.fromkeys(certificates)), crl_max_age=crl_max_age)


def _require_current(certificate: x509.Certificate, *, now: int) -> None:
    begins = certificate.not_valid_before_utc.timestamp()
    if not begins <= now < certificate.not_valid_after_utc.timestamp():
        raise CredentialError(
            "the certificate of the authority is not valid today", code="credential.expired"
        )


def updated(
    authority: Authority,
    crls: Iterable[x509.CertificateRevocationList],
    lists: Iterable[bytes],
    *,
    now: int,
) -> Authority:
    """Return *authority* as it is with these revocation lists and lists of practitioners.

    Nothing that is older, out of date or of somebody else is taken, and nothing at all if one
    is not.  Raises CredentialError or FormatError.
    """
    result = authority
    for crl in crls:
        result = _with_crl(result, crl, now=now)
    for octets in lists:
        result = _with_list(result, octets, now=now)
    if result.practitioners is not None:
        issuer = _issuer_of(result, result.practitioners.content.authority)
        require_goes_with(result.practitioners, newest_crl(result.crls, issuer))
    return result


def concerned(
    authorities: Iterable[Authority],
    crls: Sequence[x509.CertificateRevocationList],
    lists: Sequence[bytes],
) -> Authority | None:
    """Return of which authority these claim to be, or None; `updated` holds them against it.

    A list names the certificate of its authority.  Of several authorities with the name that a
    revocation list states, it is the one whose signature is right.
    """
    named = {authority_named(octets) for octets in lists}
    issuers = [crl.issuer for crl in crls]
    found = [
        authority
        for authority in authorities
        if any(digest_of(one) in named for one in authority.certificates)
        or (not named and any(one.subject in issuers for one in authority.certificates))
    ]
    signed = [one for one in found if _has_signed_any(one, crls)]
    return next(iter([*signed, *found]), None)


def _has_signed_any(authority: Authority, crls: Sequence[x509.CertificateRevocationList]) -> bool:
    return any(is_signed_by(crl, one) for crl in crls for one in authority.certificates)


def _with_crl(authority: Authority, crl: x509.CertificateRevocationList, *, now: int) -> Authority:
    if not any(is_signed_by(crl, one) for one in authority.certificates):
        raise CredentialError(
            "the revocation list is not signed by this authority, or was changed",
            code="credential.signature",
        )
    others = tuple(one for one in authority.crls if one.issuer != crl.issuer)
    for known in authority.crls:
        if known.issuer != crl.issuer:
            continue
        if number_of(crl) < number_of(known):
            raise CredentialError(
                f"the revocation list has number {number_of(crl)}, lower than {number_of(known)}, "
                "which is known here",
                hint="ask the authority for its current one",
                code="credential.rollback",
            )
        if number_of(crl) == number_of(known) and digest_of(crl) != digest_of(known):
            raise CredentialError(
                f"there are two revocation lists with number {number_of(crl)}",
                hint="tell the authority, and do not use it until that is explained",
                code="credential.mixed",
            )
    require_fresh_crl(crl, now=now, max_age=authority.crl_max_age)
    return replace(authority, crls=(*others, crl))


def _with_list(authority: Authority, octets: bytes, *, now: int) -> Authority:
    issuer = _issuer_of(authority, authority_named(octets))
    new = parse_list(octets, public_key_of(issuer))
    known = authority.practitioners
    if known is not None and known.content.authority != new.content.authority:
        raise CredentialError(
            "the list of practitioners is of another authority than the one known here",
            code="credential.mixed",
        )
    require_newer(new, known, now=now)
    return replace(authority, practitioners=new)


def _issuer_of(authority: Authority, digest: bytes) -> x509.Certificate:
    for one in authority.certificates:
        if digest_of(one) == digest:
            return one
    raise CredentialError(
        "the list of practitioners is of another authority than it is used for",
        code="credential.mixed",
    )


def known_list(octets: bytes, certificates: Sequence[x509.Certificate]) -> SignedList:
    """Return the list that was kept here, verified again under one of *certificates*.

    Raises FormatError when it is of none of them, CredentialError when it was changed.
    """
    named = authority_named(octets)
    for one in certificates:
        if digest_of(one) == named:
            return parse_list(octets, public_key_of(one))
    raise FormatError("a list of practitioners is kept with another authority")
