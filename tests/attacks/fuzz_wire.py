"""The decoders of what a relay, a witness and an authority say, and of what a relay is asked."""

from collections.abc import Callable, Iterator
from typing import cast

from cryptography.hazmat.primitives.serialization import Encoding

from medshare import canonical, httpsig, signed
from medshare.audit.checkpoint import Checkpoint, keys_of_card, parse_checkpoint, sign_checkpoint
from medshare.audit.entries import parse_entry
from medshare.audit.notes import parse_vkey
from medshare.audit.proof import EntryProof, Shown, parse_proof, parse_shown
from medshare.authority.request import make_request, read_request
from medshare.envelope import ChunkVerifier
from medshare.errors import (
    AccessDeniedError,
    AuthenticityError,
    CredentialError,
    FormatError,
    MedshareError,
)
from medshare.station import Identity
from medshare.trust import practitioner_list
from medshare.trust.bundle import Block, read_blocks, write_blocks
from medshare.trust.credential import load_certificate, load_certificates, parse_credential
from medshare.trust.hcrole import encode_role, parse_roles, role_named
from medshare.trust.revocation_list import load_crl
from medshare.wire import bodies, problems
from tests import certifier
from tests.attacks.fuzz import Target
from tests.attacks.fuzz_format import PARCEL, A
from tests.audit_case import Log

_ONLY_FORMAT = (FormatError,)
Make = tuple[str, Callable[[bytes], object], tuple[bytes, ...], tuple[type[MedshareError], ...]]


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """Let a reader of text read octets, as the server hands them over."""
    return lambda data: read(data.decode("latin-1"))


def _headers(data: bytes) -> list[tuple[bytes, bytes]]:
    pairs = (line.partition(b": ") for line in data.split(b"\n"))
    return [(name, value) for name, _, value in pairs]


def _signed_request() -> bytes:
    body = httpsig.Body(bytes(32), 4096)
    request = httpsig.Request("PUT", "relay.example", "/v1/parcels", body=body)
    nonce = httpsig.encode_nonce(bytes(16))
    signer = A.signers[0]
    fields = httpsig.sign_request(
        request, key_id=A.station.hex(), nonce=nonce, created=1_800_000_000, sign=signer.sign
    )
    lines = [f"{name}: {value}" for name, value in fields.items()]
    return "\n".join([*lines, "content-length: 4096"]).encode()


def request_targets() -> Iterator[Make]:
    """What a relay is asked."""
    request = (_signed_request(),)
    refusals = (FormatError, AccessDeniedError)
    yield (
        "signature fields",
        lambda x: httpsig.parse_signature_headers(_headers(x)),
        request,
        refusals,
    )
    yield "body fields", lambda x: httpsig.parse_body(_headers(x)), request, _ONLY_FORMAT
    session = (b"medshare-session: " + b"s" * 43, *request)
    yield "session field", lambda x: httpsig.parse_session(_headers(x)), session, _ONLY_FORMAT
    digest = (httpsig.content_digest(bytes(32)).encode(),)
    yield "content digest", _text(httpsig.parse_content_digest), digest, _ONLY_FORMAT
    query = (bodies.state_query(known="abc.7", wait=30).encode(), b"wait=0")
    yield "state query", _text(bodies.parse_state_query), query, _ONLY_FORMAT
    yield "inbox query", _text(bodies.parse_inbox_query), (b"after=17",), _ONLY_FORMAT


def answer_targets() -> Iterator[Make]:
    """What a relay answers."""
    verifier = ChunkVerifier(PARCEL.facts)
    records = tuple(verifier.check(index, one) for index, one in enumerate(PARCEL.chunks))
    state = bodies.State("t.1", "", True, True, records, (A.station,), (1, 3))
    yield "state", bodies.decode_state, (bodies.encode_state(state),), _ONLY_FORMAT
    inbox = bodies.encode_inbox([PARCEL.id], following=9)
    yield "inbox", bodies.decode_inbox, (inbox,), _ONLY_FORMAT
    announced = bodies.encode_announced(bodies.Announced(manifest=True, absent=(A.station,)))
    yield "announced", bodies.decode_announced, (announced,), _ONLY_FORMAT
    indexes = bodies.encode_indexes([0, 5, 70000])
    yield "indexes", bodies.decode_indexes, (indexes,), _ONLY_FORMAT
    problem = problems.encode_problem(problems.Problem(409, "transfer.incomplete", "no", (1, 2)))
    yield "problem", _problem, (problem,), _ONLY_FORMAT


def _problem(data: bytes) -> object:
    return problems.error_of(problems.decode_problem(data))


def record_targets() -> Iterator[Make]:
    """What a record of events holds, and what witnesses are shown."""
    entries = tuple(Log.of(4).entries)
    keys = keys_of_card(A.card)
    origin = keys.notes(A.card.current.sign_keys)
    checkpoint = Checkpoint(origin[0].name, 4, bytes(32))
    note = sign_checkpoint(checkpoint, A.signers)
    yield "audit entry", parse_entry, entries, _ONLY_FORMAT
    yield "checkpoint", parse_checkpoint, (note.encode(),), _ONLY_FORMAT
    vkeys = tuple(one.vkey.encode() for one in origin)
    yield "verifier key", _text(parse_vkey), vkeys, _ONLY_FORMAT
    proof = EntryProof(entries[0], 0, (bytes(32), bytes(32)), note.encode())
    yield "proof", parse_proof, (proof.encode(),), _ONLY_FORMAT
    shown = Shown(2, (bytes(32),), checkpoint, note)
    yield "shown checkpoint", parse_shown, (shown.encode(),), _ONLY_FORMAT


def _certificate(data: bytes) -> object:
    return parse_credential(load_certificate(data))


def _bundle(data: bytes) -> object:
    return load_certificates(read_blocks(data, what="an input"))


def _list_anew(body: bytes) -> object:
    signer = A.signers[0]
    data = signed.sign(practitioner_list.LABEL, body, [signer]).encode()
    return practitioner_list.parse_list(data, signer.public)


def credential_targets() -> Iterator[Make]:
    """What an authority issues, and what it is asked."""
    der = certifier.credential().public_bytes(Encoding.DER)
    chain = (der, certifier.authority_certificate().public_bytes(Encoding.DER))
    refusals = (FormatError, CredentialError)
    yield "certificate", _certificate, chain, refusals
    bundle = write_blocks(Block("CERTIFICATE", one) for one in chain)
    yield "bundle", _bundle, (bundle,), _ONLY_FORMAT
    role = encode_role(role_named("physician"))
    yield "role", parse_roles, (role,), _ONLY_FORMAT
    revoked = certifier.crl().public_bytes(Encoding.DER)
    yield "revocation list", load_crl, (revoked,), _ONLY_FORMAT
    listed = (certifier.listing().content.body(),)
    yield "practitioners signed anew", _list_anew, listed, refusals
    # make_request asks for the parts of a station that this identity has.
    asked = make_request(cast("Identity", A))
    yield "certificate request", read_request, (asked,), (*refusals, AuthenticityError)


def targets() -> Iterator[Target]:
    """Return them all."""
    for make in (request_targets, answer_targets, record_targets, credential_targets):
        yield from (Target(*one) for one in make())
    yield Target("label map", _extra, (canonical.encode({"a": {}}),), _ONLY_FORMAT)


def _extra(data: bytes) -> None:
    fields = canonical.Fields(canonical.decode(data, limit=4096, what="an input"), what="an input")
    canonical.refuse_unknown_critical(fields.mapping("a"), frozenset())
    fields.finish()
