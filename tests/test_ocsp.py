"""Answers of responders: believed of the right certificate, from the right signer, for a while."""

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import CredentialError
from medshare.trust.certification import Authority, Vetted, vet
from medshare.trust.credential import digest_of
from medshare.trust.ocsp import (
    MAX_ANSWER,
    Answer,
    Word,
    parse_answer,
    request_for,
    require_no_older,
    responder_of,
)
from tests.certifier import (
    CA_PARTS,
    DAY,
    DOCTOR,
    NOW,
    authority_certificate,
    credential,
    crl,
    doctor_parts,
    key_named,
    trusted,
)
from tests.responders import RESPONDER, URL, access, answer, asked_about, delegate

LEAF = asked_about()
CA = authority_certificate()
STATUS = ocsp.OCSPCertStatus
SIGNING = ExtendedKeyUsageOID.OCSP_SIGNING
RESPONDER_KEY = key_named("responder")


def read(octets: bytes, **changes: int) -> Answer:
    """Read an answer about LEAF."""
    return parse_answer(octets, LEAF, CA, changes.pop("now", NOW), **changes)


def code_of(act: Callable[[], object]) -> str:
    """The code with which something is refused."""
    with pytest.raises(CredentialError) as caught:
        act()
    assert caught.value.hint
    return caught.value.code


def by_delegate(signer: x509.Certificate = RESPONDER) -> bytes:
    """An answer that *signer* has signed, and that brings its certificate."""
    return answer(LEAF, signer=signer, key=RESPONDER_KEY, attached=(signer,))


def by_stranger() -> bytes:
    """An answer of somebody who calls himself what the authority is called."""
    stranger = authority_certificate("stranger")
    return answer(LEAF, signer=stranger, key=key_named("stranger"), by_name=True)


def test_good_revoked_and_unknown_are_read() -> None:
    """Each word is told apart, with its dates; a revocation says when and why."""
    good = read(answer(LEAF))
    assert (good.word, good.this_update, good.next_update) == (Word.GOOD, NOW - 60, NOW + DAY)
    revoked = read(answer(LEAF, status=STATUS.REVOKED))
    assert (revoked.word, revoked.revoked_at) == (Word.REVOKED, NOW - 120)
    assert revoked.reason == "keyCompromise"
    assert read(answer(LEAF, status=STATUS.UNKNOWN)).word is Word.UNKNOWN


def test_a_responder_with_a_task_of_its_own_is_believed() -> None:
    """A certificate of the issuer, for answers alone, signs as well as the issuer itself."""
    assert read(by_delegate()).word is Word.GOOD


def test_keys_of_other_kinds_sign_too() -> None:
    """ECDSA and RSA answers, as hospitals' authorities give them, are checked and believed."""
    rsa_key = rsa.generate_private_key(65537, 2048)
    for key in (ec.generate_private_key(ec.SECP256R1()), rsa_key):
        signer = delegate(SIGNING, public=key.public_key())
        good = answer(LEAF, signer=signer, key=key, hashed=hashes.SHA256(), attached=(signer,))
        assert read(good).word is Word.GOOD


def sha1_answer() -> bytes:
    """An answer under an old hash: the library signs none, so SHA-256 is renamed."""
    key = rsa.generate_private_key(65537, 2048)
    signer = delegate(SIGNING, public=key.public_key())
    made = answer(LEAF, signer=signer, key=key, hashed=hashes.SHA256(), attached=(signer,))
    return made.replace(bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105"))


def short_key() -> bytes:
    """An answer of a delegate whose RSA key is too short."""
    key = rsa.generate_private_key(65537, 1024)
    signer = delegate(SIGNING, public=key.public_key())
    return answer(LEAF, signer=signer, key=key, hashed=hashes.SHA256(), attached=(signer,))


def too_many() -> bytes:
    """An answer with more certificates than anybody needs."""
    others = tuple(delegate(SIGNING, serial=one) for one in range(1, 7))
    return answer(LEAF, attached=others)


OTHER_CA = authority_certificate("other")
REFUSED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "stale": ("stale-answer", lambda: answer(LEAF, since=NOW - DAY, until=NOW)),
    "old, with no end": ("stale-answer", lambda: answer(LEAF, since=NOW - 31 * DAY, until=None)),
    "old, with a far end": ("stale-answer", lambda: answer(LEAF, since=NOW - 31 * DAY)),
    "from the future": ("not-yet-valid", lambda: answer(LEAF, since=NOW + 301)),
    "another number": ("mixed", lambda: answer(asked_about(serial=8))),
    "another issuer": ("mixed", lambda: answer(LEAF, issuer=OTHER_CA)),
    "by a stranger": ("signature", by_stranger),
    "by a stranger who says so": (
        "signature",
        lambda: answer(LEAF, signer=OTHER_CA, key=key_named("other"), attached=(OTHER_CA,)),
    ),
    "by a delegate of a stranger": (
        "signature",
        lambda: by_delegate(delegate(SIGNING, by="other")),
    ),
    "by a delegate that is not there": (
        "signature",
        lambda: answer(LEAF, signer=RESPONDER, key=RESPONDER_KEY),
    ),
    "by a delegate without purpose": ("purpose", lambda: by_delegate(delegate())),
    "by a delegate for something else": (
        "purpose",
        lambda: by_delegate(delegate(ExtendedKeyUsageOID.CLIENT_AUTH)),
    ),
    "by a delegate that is over": (
        "expired",
        lambda: by_delegate(delegate(SIGNING, until=NOW)),
    ),
    "by a delegate that is not yet": (
        "expired",
        lambda: by_delegate(delegate(SIGNING, since=NOW + 1)),
    ),
    "under SHA-1": ("signature", sha1_answer),
    "under a short key": ("signature", short_key),
    "critical extension": ("answer", lambda: answer(LEAF, critical=True)),
    "too many certificates": ("answer", too_many),
    "too large": ("answer", lambda: answer(LEAF) + bytes(MAX_ANSWER)),
    "something after it": ("answer", lambda: answer(LEAF) + b"\x00"),
    "garbage": ("answer", lambda: b"garbage"),
    "nothing": ("answer", lambda: b""),
    "no answer": (
        "no-answer",
        lambda: ocsp.OCSPResponseBuilder.build_unsuccessful(
            ocsp.OCSPResponseStatus.TRY_LATER
        ).public_bytes(Encoding.DER),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_answer_is_refused_with_the_reason(name: str) -> None:
    """Whatever is wrong with an answer has a code of its own."""
    code, make = REFUSED[name]
    assert code_of(lambda: read(make())) == f"credential.{code}"


def test_an_answer_lasts_as_long_as_it_says_and_never_longer_than_a_list() -> None:
    """It ends at its own date, or at the greatest age of revocation lists, whichever is first."""
    octets = answer(LEAF)
    assert read(octets, now=NOW + DAY - 1).good_until() == NOW + DAY
    assert code_of(lambda: read(octets, now=NOW + DAY)) == "credential.stale-answer"
    assert code_of(lambda: read(octets, max_age=60)) == "credential.stale-answer"
    assert read(answer(LEAF, until=None)).good_until(100) == NOW + 40
    assert read(answer(LEAF, since=NOW + 300)).word is Word.GOOD


def test_an_answer_does_not_go_back() -> None:
    """What is older than what is known is refused; the same again is not."""
    new, old = read(answer(LEAF)), read(answer(LEAF, since=NOW - 90))
    require_no_older(new, new)
    require_no_older(new, old)
    assert code_of(lambda: require_no_older(old, new)) == "credential.rollback"


@given(position=st.integers(0, len(answer(LEAF)) * 8 - 1))
def test_no_bit_of_an_answer_can_be_flipped(position: int) -> None:
    """A changed answer is refused, or says the same: unsigned parts change no meaning."""
    octets = bytearray(answer(LEAF))
    octets[position // 8] ^= 1 << position % 8
    try:
        found = read(bytes(octets))
    except CredentialError:
        return
    assert found == read(answer(LEAF))


def test_a_question_says_which_certificate_and_nothing_else() -> None:
    """Number and hashes of the issuer are in it; no nonce, no name, nothing of who asks."""
    asked = ocsp.load_der_ocsp_request(request_for(LEAF, CA))
    assert asked.serial_number == LEAF.serial_number
    assert list(asked.extensions) == []
    assert len(request_for(LEAF, CA)) < 100


@pytest.mark.parametrize(
    ("urls", "found"),
    [
        ((URL,), URL),
        (("https://ocsp.example/",), "https://ocsp.example/"),
        (("ldap://ocsp.example/", "file:///etc/passwd", URL), URL),
        (("http://", "http://user@ocsp.example/", "http://ocsp.example:99999/"), None),
        (("http://ocsp.example/" + "x" * 512, "http://ocsp.example/\n", "http://a b/"), None),
    ],
)
def test_only_addresses_that_can_be_asked_are_named(urls: tuple[str, ...], found: str) -> None:
    """The web's schemes, a host, no password, and no more than so many characters."""
    leaf = credential(parts=doctor_parts() | access(*urls))
    assert responder_of(leaf) == found


def test_most_certificates_name_no_responder() -> None:
    """A certificate without the extension has none."""
    assert responder_of(credential()) is None


def vetted(octets: bytes | None, *, authority: Authority, now: int = NOW) -> Vetted:
    """Vet LEAF with this answer at hand."""
    answers = {} if octets is None else {digest_of(LEAF): octets}
    return vet([LEAF], DOCTOR.card, [authority], others=(), now=now, answers=answers)


NO_LIST = trusted(crls=())
OLD_LIST = trusted(crls=(crl(since=NOW - 8 * DAY, until=NOW - DAY),))


@pytest.mark.parametrize("authority", [NO_LIST, OLD_LIST], ids=["no list", "old list"])
def test_a_good_answer_serves_where_no_list_does(authority: Authority) -> None:
    """With no revocation list, or an old one, a fresh good answer is enough to be vetted."""
    assert vetted(answer(LEAF), authority=authority).authority == "commission"


REVOKED = answer(LEAF, status=STATUS.REVOKED)
UNKNOWN = answer(LEAF, status=STATUS.UNKNOWN)


@pytest.mark.parametrize(
    ("octets", "authority", "code"),
    [
        (REVOKED, NO_LIST, "revoked"),
        (REVOKED, trusted(), "revoked"),
        (UNKNOWN, NO_LIST, "unknown"),
        (UNKNOWN, trusted(), "unknown"),
        (answer(LEAF), trusted(crls=(crl(revoked=[7]),)), "revoked"),
        (answer(LEAF, until=NOW), NO_LIST, "no-crl"),
        (answer(LEAF, until=NOW), OLD_LIST, "stale-crl"),
        (by_stranger(), NO_LIST, "no-crl"),
        (b"garbage", NO_LIST, "no-crl"),
        (None, NO_LIST, "no-crl"),
    ],
)
def test_no_answer_makes_good_what_is_not(octets: bytes, authority: Authority, code: str) -> None:
    """Revoked and unknown refuse whatever the list says; what cannot be believed is nothing."""
    assert code_of(lambda: vetted(octets, authority=authority)) == f"credential.{code}"


def test_a_revocation_outlives_its_answer() -> None:
    """An old answer that said revoked refuses still, until a newer one takes its place."""
    old = answer(LEAF, status=STATUS.REVOKED, until=NOW - 1)
    assert code_of(lambda: vetted(old, authority=trusted())) == "credential.revoked"


def test_the_way_to_the_responder_is_shown_where_there_is_one() -> None:
    """Without list and answer the hint names the command that asks, if anybody can be asked."""
    with pytest.raises(CredentialError) as caught:
        vetted(None, authority=NO_LIST)
    assert "medshare trust refresh NAME" in (caught.value.hint or "")
    with pytest.raises(CredentialError) as caught:
        vet([credential()], DOCTOR.card, [NO_LIST], others=(), now=NOW)
    assert "refresh" not in (caught.value.hint or "")


def test_an_answer_about_the_person_says_nothing_of_the_authority_between() -> None:
    """Each certificate of the chain needs a list or an answer of its own."""
    lower_name = RESPONDER.subject
    lower = authority_certificate(
        subject=lower_name, public=key_named("lower").public_key(), parts=CA_PARTS, serial=3
    )
    leaf = asked_about(issuer=lower_name, signer=key_named("lower"))
    about = answer(leaf, issuer=lower, signer=lower, key=key_named("lower"))
    answers = {digest_of(leaf): about}

    def check() -> Vetted:
        return vet([leaf, lower], DOCTOR.card, [NO_LIST], others=(), now=NOW, answers=answers)

    assert code_of(check) == "credential.no-crl"
    answers[digest_of(lower)] = answer(lower)
    assert check().authority == "commission"
