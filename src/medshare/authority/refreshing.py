"""Asking the responders of authorities about the certificates of contacts, and keeping the answers.

Only certificates whose signatures lead to an authority that is trusted here are asked about: no
stranger makes this station call anywhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

from cryptography import x509

from medshare.authority.answers import Answers
from medshare.authority.held import Credentials
from medshare.errors import CredentialError, TransferError
from medshare.ids import StationId
from medshare.station import Contact, Station
from medshare.transport.responder import ask_responder
from medshare.trust.certification import path_of
from medshare.trust.credential import digest_of
from medshare.trust.ocsp import (
    MAX_ANSWER,
    Answer,
    parse_answer,
    read_answer,
    request_for,
    require_no_older,
    responder_of,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking about one certificate in the chain of a contact."""

    contact: str | None
    """None for this station itself."""
    certificate: x509.Certificate | None
    """None where there is no certificate that can be asked about."""
    responder: str = ""
    answer: Answer | None = None
    good_until: int | None = None
    fault: CredentialError | TransferError | None = None


def refresh(station: Station, contacts: Sequence[Contact], *, now: int) -> tuple[Asked, ...]:
    """Ask about the certificates of *contacts* that name a responder; keep what is answered.

    It is a fault of theirs to have no such certificate.  Without *contacts* those that have one
    are asked about, and this station itself, and all other answers are forgotten.  An answer that
    fails a check, or is older than the one that is kept, is not kept.
    """
    work = _Refresh(Credentials(station), Answers(station.home), now)
    if contacts:
        named = [work.ask_about(one.name, one.station) for one in contacts]
        return tuple(chain.from_iterable(named))
    everybody = [(one.name, one.station) for one in station.contacts.all()]
    parts = [work.ask_about(name, key) for name, key in [(None, station.id), *everybody]]
    found = [one for one in chain.from_iterable(parts) if one.certificate is not None]
    work.answers.keep_only(one.certificate for one in found if one.certificate is not None)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Refresh:
    credentials: Credentials
    answers: Answers
    now: int
    done: set[bytes] = field(default_factory=set)
    """Digests of certificates that were asked about: contacts share authorities."""

    def ask_about(self, name: str | None, station: StationId) -> Iterator[Asked]:
        """Ask about the chain of *station*; a certificate that was asked about is left out."""
        held = self.credentials.of(station)
        try:
            if not held:
                raise _nobody_to_ask("it has no certificate here")
            authority, path = path_of(held, self.credentials.authorities)
            pairs = [pair for pair in pairwise(path) if responder_of(pair[0]) is not None]
            if not pairs:
                raise _nobody_to_ask("its certificate names no responder")
        except CredentialError as fault:
            yield Asked(name, None, fault=fault)
            return
        for certificate, issuer in pairs:
            if digest_of(certificate) not in self.done:
                self.done.add(digest_of(certificate))
                yield self._ask(name, certificate, issuer, authority.crl_max_age)

    def _ask(
        self,
        name: str | None,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        max_age: int,
    ) -> Asked:
        url = responder_of(certificate) or ""
        try:
            octets = ask_responder(url, request_for(certificate, issuer), limit=MAX_ANSWER)
            answer = parse_answer(octets, certificate, issuer, self.now, max_age=max_age)
            known = self.answers.of([certificate]).get(digest_of(certificate))
            if known is not None:
                _require_no_older(answer, known, certificate, issuer, self.now)
        except (CredentialError, TransferError) as fault:
            return Asked(name, certificate, url, fault=fault)
        self.answers.keep(certificate, octets)
        return Asked(name, certificate, url, answer, answer.good_until(max_age))


def _nobody_to_ask(why: str) -> CredentialError:
    return CredentialError(
        f"there is no responder to ask: {why}",
        hint="take in the revocation list of its authority: medshare trust update FILE",
        code="credential.no-responder",
    )


def _require_no_older(
    answer: Answer, known: bytes, certificate: x509.Certificate, issuer: x509.Certificate, now: int
) -> None:
    try:
        before = read_answer(known, certificate, issuer, now)
    except CredentialError:
        return  # what is kept serves nothing any more
    require_no_older(answer, before)
