"""Whether an authority that is trusted here vouches for a station: the checks, one by one.

1.  The certificate is a credential: name, licence, role, station, card (`trust.credential`).
2.  It is bound to the card that is known of the station, as that is now.
3.  Its chain leads by names and signatures to a certificate that somebody here has imported.
4.  Each authority in the chain may issue certificates, this deep (RFC 5280 §4.2.1.3, §4.2.1.9).
5.  The purpose is right, and no critical extension is unknown (§4.2).
6.  Each certificate is valid at `now`.
7.  None is on the revocation list of its issuer, which is complete and fresh (§6.3); where there
    is no such list, the responder of the issuer has lately called it good (RFC 6960).
8.  It is on the authority's list of practitioners, if there is one, which is fresh and goes
    with that revocation list.
9.  The name on the card imitates nobody (`require_own_name`).

These are steps of our own rather than `cryptography.x509.verification`: that follows the rules
of the web, which know no Ed25519, want a DNS name, and look at no revocation list.  Every
signature is checked by `cryptography`.  Each refusal has a code of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from medshare.errors import CredentialError
from medshare.trust.card import Card
from medshare.trust.credential import (
    PURPOSE,
    Credential,
    digest_of,
    parse_credential,
    require_bound,
    require_own_name,
)
from medshare.trust.issued import extension_of, has_issued, require_understood
from medshare.trust.ocsp import (
    Answer,
    Word,
    read_answer,
    require_fresh_answer,
    require_good,
    responder_of,
)
from medshare.trust.practitioner_list import SignedList, require_fresh
from medshare.trust.revocation_list import (
    DEFAULT_MAX_AGE,
    newest_crl,
    number_of,
    require_fresh_crl,
    require_not_revoked,
)

MAX_DEPTH: Final = 4
"""Authorities between a person and what somebody here has imported, both included."""
PURPOSES: Final = frozenset(
    {PURPOSE, ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.EMAIL_PROTECTION}
)
"""Extended key usages that serve, where a certificate has any; anything else is for others."""


@dataclass(frozen=True, slots=True)
class Authority:
    """What is known here of an authority that somebody has decided to trust."""

    name: str
    certificates: tuple[x509.Certificate, ...]
    """What was imported: the anchor first, then authorities below it."""
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    practitioners: SignedList | None = None
    crl_max_age: int = DEFAULT_MAX_AGE

    @property
    def anchor(self) -> x509.Certificate:
        """The certificate in which trust begins."""
        return self.certificates[0]


@dataclass(frozen=True, slots=True)
class Vetted:
    """A credential that passed every check, and who stands behind it."""

    credential: Credential
    authority: str
    """The local name of the authority."""


def vet(
    chain: Sequence[x509.Certificate],
    card: Card,
    authorities: Iterable[Authority],
    *,
    others: Iterable[str],
    now: int,
    answers: Mapping[bytes, bytes] | None = None,
) -> Vetted:
    """Return the credential that *chain* is for *card* after all the checks above.

    *chain* begins with the person's certificate; *others* are the vetted names of others;
    *now* is in seconds since 1970 UTC; *answers* are those of responders (OCSP), by the digest of
    the certificate.  Raises CredentialError, saying which check failed.
    """
    credential = parse_credential(chain[0])  # 1
    require_bound(credential, card)  # 2
    authority, path = path_of(chain, tuple(authorities))  # 3
    for depth, issuer in enumerate(path[1:]):
        require_issuer(issuer, below=depth)  # 4
    _require_purpose(chain[0])  # 5
    for certificate in path:
        _require_valid(certificate, now=now)  # 6
    _require_not_revoked(path, authority, answers or {}, now=now)  # 7
    _require_listed(credential, path[1], authority, now=now)  # 8
    require_own_name(card, credential, others)  # 9
    return Vetted(credential, authority.name)


def path_of(
    chain: Sequence[x509.Certificate], authorities: Sequence[Authority]
) -> tuple[Authority, list[x509.Certificate]]:
    """Return the certificates from the person's to the anchor, and whose anchor that is.

    Raises CredentialError when no signatures lead to one of *authorities*.
    """
    leaf = chain[0]
    if leaf.issuer == leaf.subject:
        raise CredentialError(
            "the certificate is signed by its own holder: no authority vouches for it",
            code="credential.self-signed",
        )
    forged = False
    for authority in authorities:
        candidates = [*authority.certificates, *chain[1:]]
        path = [leaf]
        while len(path) <= MAX_DEPTH:
            named = [one for one in candidates if one.subject == path[-1].issuer]
            issuer = next((one for one in named if has_issued(one, path[-1])), None)
            forged = forged or (issuer is None and bool(named))
            if issuer is None:
                break
            path.append(issuer)
            if issuer == authority.anchor:
                return authority, path
    if forged:
        raise CredentialError(
            "the certificate was changed, or its signature is not of the authority that it names",
            code="credential.signature",
        )
    raise CredentialError(
        "no authority that is trusted here stands behind the certificate",
        hint="if you know the authority, import its certificate: medshare trust add ca.pem",
        code="credential.chain",
    )


def require_issuer(certificate: x509.Certificate, *, below: int) -> None:
    """Raise CredentialError unless *certificate* may issue, with *below* authorities under it."""
    require_understood(certificate, what="an authority's certificate")
    basic = extension_of(certificate, x509.BasicConstraints)
    usage = extension_of(certificate, x509.KeyUsage)
    deep = basic is not None and basic.path_length is not None and below > basic.path_length
    if basic is None or not basic.ca or usage is None or not usage.key_cert_sign or deep:
        raise CredentialError(
            "a certificate in the chain is not that of an authority, or of one that may not "
            "issue so deep",
            code="credential.chain",
        )


def _require_purpose(leaf: x509.Certificate) -> None:
    require_understood(leaf, what="the certificate")
    basic = extension_of(leaf, x509.BasicConstraints)
    usage = extension_of(leaf, x509.KeyUsage)
    extended = extension_of(leaf, x509.ExtendedKeyUsage)
    if basic is not None and basic.ca:
        raise _purpose("it is that of an authority")
    if usage is None or not usage.digital_signature or usage.key_cert_sign:
        raise _purpose("it does not let its holder sign")
    if extended is not None and not PURPOSES.intersection(extended):
        raise _purpose("it serves other uses only")


def _purpose(why: str) -> CredentialError:
    return CredentialError(
        f"the certificate is not for practitioners: {why}", code="credential.purpose"
    )


def _require_valid(certificate: x509.Certificate, *, now: int) -> None:
    what = "the certificate" if _is_leaf(certificate) else "the certificate of the authority"
    if now < certificate.not_valid_before_utc.timestamp():
        begins = certificate.not_valid_before_utc
        raise CredentialError(
            f"{what} is not valid before {begins:%Y-%m-%d %H:%M} UTC",
            hint="check the clock of this machine",
            code="credential.not-yet-valid",
        )
    if now >= certificate.not_valid_after_utc.timestamp():
        raise CredentialError(
            f"{what} was valid until {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
            hint="the authority can renew it",
            code="credential.expired",
        )


def _is_leaf(certificate: x509.Certificate) -> bool:
    basic = extension_of(certificate, x509.BasicConstraints)
    return basic is None or not basic.ca


def _require_not_revoked(
    path: list[x509.Certificate],
    authority: Authority,
    answers: Mapping[bytes, bytes],
    *,
    now: int,
) -> None:
    for certificate, issuer in pairwise(path):
        what = "the credential" if _is_leaf(certificate) else "an authority in the chain"
        octets = answers.get(digest_of(certificate))
        answer = _answer(octets, certificate, issuer, authority, now=now)
        if answer is not None:
            require_good(answer, what=what)
        try:
            crl = newest_crl(authority.crls, issuer)
            require_fresh_crl(crl, now=now, max_age=authority.crl_max_age)
        except CredentialError as fault:
            if answer is None:
                raise _with_hint(fault, certificate) from None
        else:
            require_not_revoked(crl, certificate, what=what)


def _answer(
    octets: bytes | None,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    authority: Authority,
    *,
    now: int,
) -> Answer | None:
    """Return what the responder said, if that can be believed now.

    A revocation is believed after its answer is out of date too: it ends with a newer answer.
    """
    if octets is None:
        return None
    try:
        answer = read_answer(octets, certificate, issuer, now)
        if answer.word is not Word.REVOKED:
            require_fresh_answer(answer, now=now, max_age=authority.crl_max_age)
    except CredentialError:
        return None
    return answer


def _with_hint(fault: CredentialError, certificate: x509.Certificate) -> CredentialError:
    """Return *fault*, with the responder as a way out where the certificate names one."""
    if responder_of(certificate) is None:
        return fault
    hint = f"ask its responder: medshare trust refresh NAME; or {fault.hint}"
    return CredentialError(fault.message, hint=hint, code=fault.code)


def _require_listed(
    credential: Credential, issuer: x509.Certificate, authority: Authority, *, now: int
) -> None:
    """Hold the credential against the list of its issuer, if that publishes one."""
    if authority.practitioners is None:
        return
    content = authority.practitioners.content
    if content.authority != digest_of(issuer):
        return
    require_fresh(content, now=now)
    require_goes_with(authority.practitioners, newest_crl(authority.crls, issuer))
    if not content.names(credential.certificate.serial_number, credential.digest):
        raise CredentialError(
            "the certificate is not on the authority's list of practitioners",
            hint="if it was issued lately, get the current list: medshare trust update FILE",
            code="credential.not-listed",
        )


def require_goes_with(practitioners: SignedList, crl: x509.CertificateRevocationList) -> None:
    """Raise CredentialError unless *crl* is the one that the list names, or a later one."""
    content, number = practitioners.content, number_of(crl)
    if number < content.crl_number or (
        number == content.crl_number and digest_of(crl) != content.crl
    ):
        raise CredentialError(
            "the revocation list is not the one with which the list of practitioners goes",
            hint="get both from the authority, in one file: medshare trust update FILE",
            code="credential.mixed",
        )
