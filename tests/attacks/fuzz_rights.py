"""The decoders of what administrators decide, people sign in with, and stations may do."""

from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from medshare import canonical, clientcert, httpsig, signed
from medshare.audit import review
from medshare.authority.register import Issued, Register, parse_register
from medshare.errors import AuthenticityError, CredentialError, FormatError, UsageError
from medshare.grant import Permission
from medshare.relay.profiles import parse_profile, person, unattended
from medshare.station.emergencies import new_emergency, parse_emergency
from medshare.station.openings import LABEL as OPENINGS
from medshare.station.openings import parse_openings
from medshare.trust import ocsp, proposal
from medshare.trust.charter import Charter, parse_charter
from medshare.trust.orders import Action, Administrator, Order
from medshare.wire import admin_bodies, sign_in
from medshare.withdrawal import LABEL as WITHDRAWAL
from medshare.withdrawal import Withdrawal, encode_withdrawal, parse_kept, parse_withdrawal
from tests import certifier, responders
from tests.attacks.fuzz import Target
from tests.attacks.fuzz_format import PARCEL, A, B
from tests.builder import Identity, make_identity, octets

C = make_identity("c")
NOW = 1_800_000_000
_ONLY_FORMAT = (FormatError,)
_SIGNED = (FormatError, AuthenticityError)


def _anew(label: str, who: Identity, read: Callable[[bytes], object]) -> Callable[[bytes], object]:
    return lambda body: read(signed.sign(label, body, who.signers).encode())


def _body(data: bytes, label: str) -> bytes:
    return signed.parse(data, label=label, limit=len(data), what="an example").body


def _both(
    name: str, read: Callable[[bytes], object], data: bytes, label: str, who: Identity
) -> Iterator[Target]:
    """Yield the target for a signed object, and the one behind its signatures."""
    yield Target(name, read, (data,), _SIGNED)
    yield Target(f"{name} signed anew", _anew(label, who, read), (_body(data, label),), _SIGNED)


def _charter() -> Charter:
    names = tuple(Administrator(one.card, b"") for one in (A, B, C))
    return Charter("relay.example", 0, 2, names)


def quorum_targets() -> Iterator[Target]:
    """What administrators of a relay sign, and what it tells them."""
    charter = _charter()
    made = proposal.propose(
        charter,
        Order(Action.ENROLL, card=C.card),
        A.card,
        A.signers,
        now=NOW,
        random=lambda size: octets("nonce", size),
    )
    cast = proposal.vote(made, B.card, B.signers, approves=True, now=NOW)
    yield Target("charter", parse_charter, (charter.encode(),), _SIGNED)
    yield from _both("proposal", proposal.parse_proposal, made.encoded, proposal.PROPOSAL, A)
    yield from _both("vote", proposal.parse_vote, cast.encoded, proposal.VOTE, B)
    pending = admin_bodies.State.PENDING
    for name, read, data in (
        (
            "result of a proposal",
            admin_bodies.decode_result,
            admin_bodies.encode_result(admin_bodies.Result(pending, 1, 0, 2)),
        ),
        (
            "overview of a relay",
            admin_bodies.decode_overview,
            admin_bodies.encode_overview(
                admin_bodies.Overview(charter.encode(), {"open_parcels": 7})
            ),
        ),
        (
            "list of proposals",
            admin_bodies.decode_listing,
            admin_bodies.encode_listing([(made.digest, pending)]),
        ),
        (
            "dossier",
            admin_bodies.decode_dossier,
            admin_bodies.encode_dossier(
                admin_bodies.Dossier(made.encoded, (cast.encoded,), pending, 0)
            ),
        ),
    ):
        yield Target(name, read, (data,), _SIGNED)


def sign_in_targets() -> Iterator[Target]:
    """What people show to a relay to sign in, and what it answers."""
    factor = sign_in.Factor(bytes(16), sign_in.TOTP, NOW, 0)
    session = sign_in.Session("s" * 43, NOW, 900, 0)
    new = sign_in.encode_new_factor(sign_in.NewFactor(sign_in.TOTP, "handed out"))
    yield Target("new factor", sign_in.decode_new_factor, (new,), _ONLY_FORMAT)
    begun = sign_in.encode_begun_factor(
        sign_in.BegunFactor(bytes(16), sign_in.FIDO2, b"", bytes(32), known=(bytes(32),))
    )
    yield Target("begun factor", sign_in.decode_begun_factor, (begun,), _ONLY_FORMAT)
    proof = sign_in.encode_proof(
        sign_in.Proof(sign_in.FIDO2, "", bytes(32), b"{}", bytes(64), bytes(70))
    )
    yield Target("proof of a factor", sign_in.decode_proof, (proof,), _ONLY_FORMAT)
    recovery = sign_in.encode_recovery(("abcd-efgh-jkmn",))
    yield Target("recovery codes", sign_in.decode_recovery, (recovery,), _ONLY_FORMAT)
    factors = sign_in.encode_factors(sign_in.Factors((factor,), 8))
    yield Target("factors", sign_in.decode_factors, (factors,), _ONLY_FORMAT)
    challenge = sign_in.encode_challenge(sign_in.Challenge(bytes(32), (bytes(32),), verify=True))
    yield Target("challenge", sign_in.decode_challenge, (challenge,), _ONLY_FORMAT)
    yield Target(
        "session", sign_in.decode_session, (sign_in.encode_session(session),), _ONLY_FORMAT
    )


def _second(data: bytes) -> object:
    head, _, signature = data.decode("latin-1").partition("\n")
    return clientcert.parse_second((head, signature))


def certificate_targets() -> Iterator[Target]:
    """The certificates of stations that nobody attends, and what they sign."""
    key: Ed25519PrivateKey = certifier.key_named("client")
    found = certifier.authority_certificate("client")
    der = found.public_bytes(Encoding.DER)
    pem = found.public_bytes(Encoding.PEM)
    certificate = clientcert.parse_certificate(der)
    yield Target("client certificate", clientcert.parse_certificate, (der, pem), (UsageError,))
    fields = clientcert.sign_second(
        {"Signature-Input": "", "Signature": f"{httpsig.LABEL}=:AA==:"}, certificate, key
    )
    second = fields["Signature-Input"].removeprefix(httpsig.SECOND)
    yield Target("second signature", _second, (f"{second}\n:AA==:".encode(),), _ONLY_FORMAT)
    profiles = (person().encode(), unattended(certificate, ["10.1.0.0/16"]).encode())
    yield Target("profile", parse_profile, profiles, _ONLY_FORMAT)
    register = Register(issued=(Issued(certifier.credential()),), previous=(bytes(32),))
    yield Target("register", parse_register, (register.encode(),), _ONLY_FORMAT)
    yield Target("answer of a responder", _answer, _answers(), (CredentialError,))


_ASKED = responders.asked_about()
_CA = certifier.authority_certificate()


def _answer(data: bytes) -> object:
    return ocsp.parse_answer(data, _ASKED, _CA, NOW)


def _answers() -> tuple[bytes, ...]:
    by = responders.RESPONDER
    key = certifier.key_named("responder")
    delegated = responders.answer(_ASKED, signer=by, key=key, attached=(by,))
    return responders.answer(_ASKED), delegated


def station_targets() -> Iterator[Target]:
    """Withdrawals, emergencies and their reviews, and counts of openings."""
    withdrawal = encode_withdrawal(
        Withdrawal(
            PARCEL.id,
            PARCEL.facts.digest,
            A.station,
            tuple(one.public for one in A.signers),
            B.station,
            NOW,
        ),
        A.signers,
    )
    yield from _both("withdrawal", parse_withdrawal, withdrawal, WITHDRAWAL, A)
    yield Target("withdrawal kept", parse_kept, (withdrawal,), _ONLY_FORMAT)
    keys = tuple(one.public for one in B.signers)
    found = review.Review(A.station, 7, bytes(32), review.Outcome.JUSTIFIED, B.station, keys, NOW)
    encoded = review.encode_review(found, B.signers)
    yield from _both("review", review.parse_review, encoded, review.LABEL, B)
    asked = review.ReviewRequest(b"proof", b"reason").encode()
    yield Target("emergency for review", review.parse_request, (asked,), _ONLY_FORMAT)
    emergency = new_emergency(
        PARCEL.id, Permission.VIEW, at=NOW, overridden=("tier",), reason="unconscious patient"
    )
    yield Target("emergency", parse_emergency, (emergency.encode(),), _ONLY_FORMAT)
    openings = canonical.encode([OPENINGS, PARCEL.id, 3])
    yield Target("openings", parse_openings, (openings,), _ONLY_FORMAT)


def targets() -> Iterator[Target]:
    """Return them all."""
    yield from quorum_targets()
    yield from sign_in_targets()
    yield from certificate_targets()
    yield from station_targets()
