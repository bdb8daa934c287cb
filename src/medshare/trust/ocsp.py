"""What a responder answers about one certificate (OCSP, RFC 6960), strictly.

An answer is about exactly one certificate, signed by its issuer or by a responder to whom the
issuer has given just that task (id-kp-OCSPSigning), and believed no longer than a revocation
list would be.  Questions have no nonce (as in RFC 5019): they say which certificate, nothing of
who asks, and many responders sign their answers in advance anyway.  Against a replayed answer
stand its dates, and `require_no_older`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from medshare.errors import CredentialError, FormatError
from medshare.trust.foreign import x509_errors
from medshare.trust.issued import RSA_BITS, STRONG, extension_of, has_issued, require_understood
from medshare.trust.practitioner_list import require_begun
from medshare.trust.revocation_list import DEFAULT_MAX_AGE

MAX_ANSWER: Final = 1 << 14
MAX_URL: Final = 512
_MAX_DELEGATES: Final = 4
_WHAT: Final = "the answer of the responder"
_HINT: Final = "ask again later, or take in a revocation list: medshare trust update FILE"


class Word(Enum):
    """What a responder says of a certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


_WORDS: Final = {
    ocsp.OCSPCertStatus.GOOD: Word.GOOD,
    ocsp.OCSPCertStatus.REVOKED: Word.REVOKED,
    ocsp.OCSPCertStatus.UNKNOWN: Word.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose signature was checked; times in seconds since 1970 UTC."""

    word: Word
    this_update: int
    next_update: int | None
    revoked_at: int | None = None
    reason: str = ""

    def good_until(self, max_age: int = DEFAULT_MAX_AGE) -> int:
        """Return when it is out of date: as it says itself, but never after *max_age* seconds."""
        latest = self.this_update + max_age
        return latest if self.next_update is None else min(latest, self.next_update)


def request_for(certificate: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """Return the question about *certificate*, in DER: its number, and hashes of *issuer*.

    SHA-1 names the issuer here, as the profile for all responders has it (RFC 5019 §2.1.1), and
    some know nothing else.  Nothing rests on it: the answer is signed by that issuer.
    """
    return _question(certificate, issuer, SHA1()).public_bytes(Encoding.DER)  # noqa: S303


def _question(
    certificate: x509.Certificate, issuer: x509.Certificate, algorithm: HashAlgorithm
) -> ocsp.OCSPRequest:
    return ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, algorithm).build()


def responder_of(certificate: x509.Certificate) -> str | None:
    """Return the first address of a responder that *certificate* names and that can be asked."""
    access = extension_of(certificate, x509.AuthorityInformationAccess)
    for one in access or ():
        place = one.access_location
        asks = one.access_method == AuthorityInformationAccessOID.OCSP
        if not asks or not isinstance(place, x509.UniformResourceIdentifier):
            continue
        if _can_be_asked(place.value):
            return place.value
    return None


def _can_be_asked(url: str) -> bool:
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc


def parse_answer(
    octets: bytes,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    now: int,
    *,
    max_age: int = DEFAULT_MAX_AGE,
) -> Answer:
    """Return what *octets* (DER) say of *certificate*, at *now* and not older than *max_age*.

    Raises CredentialError, whose code says which check failed.
    """
    answer = read_answer(octets, certificate, issuer, now)
    require_fresh_answer(answer, now=now, max_age=max_age)
    return answer


def read_answer(
    octets: bytes, certificate: x509.Certificate, issuer: x509.Certificate, now: int
) -> Answer:
    """Return what *octets* say, checked in everything but whether it is out of date."""
    if len(octets) > MAX_ANSWER:
        raise _malformed("is too long")
    try:
        with x509_errors(_WHAT):
            response = ocsp.load_der_ocsp_response(octets)
            _require_given(response)
            single = _only(response)
            _require_about(single, certificate, issuer)
            _require_signed(response, issuer, now=now)
            answer = _content(single)
    except FormatError as error:
        raise _malformed("is malformed") from error
    require_begun(answer.this_update, now=now, what=_WHAT)
    return answer


def require_fresh_answer(answer: Answer, *, now: int, max_age: int) -> None:
    """Raise CredentialError when *answer* is out of date at *now*."""
    if now >= answer.good_until(max_age):
        raise CredentialError(f"{_WHAT} is out of date", hint=_HINT, code="credential.stale-answer")


def require_no_older(answer: Answer, known: Answer) -> None:
    """Raise CredentialError when *answer* is older than what is *known* already."""
    if answer.this_update < known.this_update:
        raise CredentialError(
            f"{_WHAT} is older than the one that is known here",
            hint=_HINT,
            code="credential.rollback",
        )


def require_good(answer: Answer, *, what: str) -> None:
    """Raise CredentialError unless *answer* says that the certificate, *what*, is good."""
    if answer.word is Word.REVOKED:
        reason = f" ({answer.reason})" if answer.reason else ""
        raise CredentialError(
            f"{what} was revoked by its authority{reason}",
            hint="ask the authority, or the person, before doing anything else",
            code="credential.revoked",
        )
    if answer.word is Word.UNKNOWN:
        raise CredentialError(
            f"{what} is unknown to the responder of its authority",
            hint="ask the authority, or the person, before doing anything else",
            code="credential.unknown",
        )


def _malformed(why: str) -> CredentialError:
    return CredentialError(f"{_WHAT} {why}", hint=_HINT, code="credential.answer")


def _require_given(response: ocsp.OCSPResponse) -> None:
    status = response.response_status
    if status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise CredentialError(
            f"the responder gives no answer: {status.name.lower().replace('_', ' ')}",
            hint=_HINT,
            code="credential.no-answer",
        )


def _only(response: ocsp.OCSPResponse) -> ocsp.OCSPSingleResponse:
    singles = list(response.responses)
    if len(singles) != 1:
        raise _malformed("is not about one certificate")
    if any(
        one.critical for part in (response.extensions, response.single_extensions) for one in part
    ):
        raise _malformed("has a critical extension that is unknown here")
    return singles[0]


def _require_about(
    single: ocsp.OCSPSingleResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> None:
    asked = _question(certificate, issuer, single.hash_algorithm)
    if (single.serial_number, single.issuer_name_hash, single.issuer_key_hash) != (
        asked.serial_number,
        asked.issuer_name_hash,
        asked.issuer_key_hash,
    ):
        raise CredentialError(
            f"{_WHAT} is about another certificate", hint=_HINT, code="credential.mixed"
        )


def _content(single: ocsp.OCSPSingleResponse) -> Answer:
    due, revoked = single.next_update_utc, single.revocation_time_utc
    reason = single.revocation_reason
    return Answer(
        _WORDS[single.certificate_status],
        _seconds(single.this_update_utc),
        None if due is None else _seconds(due),
        None if revoked is None else _seconds(revoked),
        "" if reason is None else str(reason.value),
    )


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _require_signed(response: ocsp.OCSPResponse, issuer: x509.Certificate, *, now: int) -> None:
    """Raise CredentialError unless *issuer*, or a delegate of it that is valid, has signed."""
    signer = next(
        (one for one in _candidates(response, issuer) if _has_signed(one, response)), None
    )
    if signer is None or (signer != issuer and not has_issued(issuer, signer)):
        raise CredentialError(
            f"{_WHAT} is not signed by the authority or by a responder of it, or was changed",
            hint=_HINT,
            code="credential.signature",
        )
    if signer != issuer:
        _require_delegate(signer, now=now)


def _candidates(
    response: ocsp.OCSPResponse, issuer: x509.Certificate
) -> Iterator[x509.Certificate]:
    """Yield whom the answer names as its signer."""
    attached = response.certificates
    if len(attached) > _MAX_DELEGATES:
        raise _malformed("has too many certificates")
    for one in (issuer, *attached):
        if response.responder_name is not None:
            named = one.subject == response.responder_name
        else:
            key = x509.SubjectKeyIdentifier.from_public_key(one.public_key())
            named = key.digest == response.responder_key_hash
        if named:
            yield one


def _require_delegate(delegate: x509.Certificate, *, now: int) -> None:
    what = "the certificate of the responder"
    require_understood(delegate, what=what)
    purposes = extension_of(delegate, x509.ExtendedKeyUsage)
    usage = extension_of(delegate, x509.KeyUsage)
    if (
        purposes is None
        or ExtendedKeyUsageOID.OCSP_SIGNING not in purposes
        or (usage is not None and not usage.digital_signature)
    ):
        raise CredentialError(
            f"{what} is not for answers about certificates", hint=_HINT, code="credential.purpose"
        )
    begins, ends = delegate.not_valid_before_utc, delegate.not_valid_after_utc
    if not begins.timestamp() <= now < ends.timestamp():
        raise CredentialError(f"{what} is not valid now", hint=_HINT, code="credential.expired")


def _has_signed(signer: x509.Certificate, response: ocsp.OCSPResponse) -> bool:
    """Tell whether the key of *signer* has signed, with an algorithm that is still good."""
    if response.signature_algorithm_oid not in STRONG:
        return False
    key, hashed = signer.public_key(), response.signature_hash_algorithm
    signature, signed = response.signature, response.tbs_response_bytes
    try:
        if isinstance(key, Ed25519PublicKey) and hashed is None:
            key.verify(signature, signed)
        elif isinstance(key, ec.EllipticCurvePublicKey) and hashed is not None:
            key.verify(signature, signed, ec.ECDSA(hashed))
        elif isinstance(key, RSAPublicKey) and hashed is not None and key.key_size >= RSA_BITS:
            key.verify(signature, signed, padding.PKCS1v15(), hashed)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
