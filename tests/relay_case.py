"""A relay without sockets: the application in this process, asked message by message."""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blake3 import blake3

from medshare import httpsig
from medshare.envelope import ChunkVerifier, check_sealed_manifest, parse_envelope
from medshare.relay.access import AccessRules
from medshare.relay.admission import Names
from medshare.relay.app import RelayApp
from medshare.relay.service import Service, opened
from medshare.relay.settings import Limits
from medshare.seal import parse_seal
from medshare.suites.base import PublicKey, Signer
from medshare.suites.intl import INTL
from medshare.suites.kem import HYBRID, HYBRID_SEED_SIZE, opener_from_seed
from medshare.suites.signatures import ED25519, ML_DSA_65, signer_from_seed
from medshare.trust.card import Generation, issue
from medshare.trust.revocation import Revocation
from medshare.wire.problems import Problem, decode_problem
from medshare.wire.routes import Target, chunk_name
from tests.builder import CREATED, Identity, octets
from tests.running_relay import enroll
from tests.suites.transport_suite import ALICE, BOB, CAROL

HOST = "relay.example.org"
NOW = 1_760_000_000
_nonces = itertools.count()


def kem_key(identity: Identity, number: int) -> PublicKey:
    """Return a key to seal to, for generation *number* of *identity*."""
    seed = octets(f"{identity.name} {number} kem", HYBRID_SEED_SIZE)
    return opener_from_seed(HYBRID, seed).public


def rotated(identity: Identity, label: str = "", *, revoked: Revocation | None = None) -> Identity:
    """Return *identity* with a further generation of keys; each *label* makes other ones."""
    number = len(identity.card.generations)
    signers = (
        signer_from_seed(ED25519, octets(f"{identity.name} {number} {label} ed25519")),
        signer_from_seed(ML_DSA_65, octets(f"{identity.name} {number} {label} ml-dsa-65")),
    )
    generation = Generation(
        station=identity.station,
        number=number,
        name=identity.name,
        suite=INTL.name,
        created=CREATED + number,
        sign_keys=tuple(one.public for one in signers),
        kem_keys=(kem_key(identity, number),) if revoked else identity.card.current.kem_keys,
        revoked=revoked,
    )
    card = issue(generation, signers, before=identity.card, old=identity.signers)
    return replace(identity, card=card, signers=signers)


@dataclass(frozen=True)
class Request:
    """One request as it is put on the wire; every part can be made wrong."""

    method: str
    path: str
    query: str = ""
    body: bytes | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    pieces: tuple[bytes, ...] | None = None
    """How the body arrives, when not as it was announced."""

    def but(self, **changes: Any) -> "Request":
        """Return the request with *changes* that its signature knows nothing of."""
        return replace(self, **changes)

    def without(self, *names: str) -> "Request":
        """Return the request without the named fields."""
        left = tuple(pair for pair in self.headers if pair[0].decode() not in names)
        return replace(self, headers=left)

    def with_field(self, name: str, value: str) -> "Request":
        """Return the request with one field more, or another value of it."""
        return replace(self, headers=(*self.without(name).headers, (name.encode(), value.encode())))


def signed(
    identity: Identity,
    target: Target | tuple[str, str],
    body: bytes | None = None,
    *,
    query: str = "",
    host: str = HOST,
    created: int = NOW,
    nonce: bytes | None = None,
    signer: Signer | None = None,
    key_id: str | None = None,
    session: str = "",
) -> Request:
    """Return a request that *identity* has signed."""
    if isinstance(target, Target):
        method, path = target.route.method, target.path
    else:
        method, path = target
    announced = None if body is None else httpsig.Body(blake3(body).digest(), len(body))
    fields = httpsig.sign_request(
        httpsig.Request(
            method, host, path, f"?{query}" if query else "", announced, session=session
        ),
        key_id=key_id or identity.station.hex(),
        nonce=httpsig.encode_nonce(nonce or next(_nonces).to_bytes(httpsig.NONCE_BYTES)),
        created=created,
        sign=(signer or identity.signers[0]).sign,
    )
    if announced is not None:
        fields["Content-Length"] = str(announced.length)
    fields["Host"] = host
    headers = tuple((name.lower().encode(), value.encode()) for name, value in fields.items())
    return Request(method, path, query, body, headers)


@dataclass
class Reply:
    """What the application answered, and how much of the body it read for that."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    messages_read: int = 0

    @property
    def problem(self) -> Problem:
        """The refusal."""
        return decode_problem(self.body)

    @property
    def code(self) -> str:
        """The code of the refusal, or nothing."""
        return "" if self.status < 400 else self.problem.code


@dataclass
class Case:
    """An open relay; `now` is its clock."""

    data: Path
    limits: Limits = field(default_factory=Limits)
    now: int = NOW
    rules: AccessRules | None = None
    client: tuple[str, int] = ("203.0.113.9", 4711)
    service: Service = field(init=False)
    app: Callable[..., Any] = field(init=False)

    @contextmanager
    def open(self) -> Iterator["Case"]:
        """Open the relay until the block ends."""
        clock, rules = lambda: self.now, self.rules
        with opened(self.data, self.limits, rules=rules, clock=clock) as self.service:
            self.app = RelayApp(self.service, Names((HOST,), ()))
            yield self

    def ask(self, request: Request, *, scheme: str = "https", port: int = 443) -> Reply:
        """Let the application answer *request*."""
        return asyncio.run(self.answer(request, scheme=scheme, port=port))

    async def answer(self, request: Request, *, scheme: str = "https", port: int = 443) -> Reply:
        """Let the application answer *request* in the running loop."""
        reply = Reply()
        scope = {
            "type": "http",
            "method": request.method,
            "scheme": scheme,
            "server": ("203.0.113.7", port),
            "client": self.client,
            "raw_path": request.path.encode("latin-1"),
            "query_string": request.query.encode("latin-1"),
            "headers": list(request.headers),
            "extensions": {},
        }
        messages = _messages(request)

        async def receive() -> dict[str, Any]:
            reply.messages_read += 1
            return next(messages, {"type": "http.disconnect"})

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                assert not reply.status, "a second answer"
                reply.status = message["status"]
                reply.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            else:
                reply.body += message["body"]

        await self.app(scope, receive, send)
        if reply.status not in {0, 204}:
            assert int(reply.headers["content-length"]) == len(reply.body)
        return reply

    def files(self) -> set[str]:
        """Return all files of parcels, by their path below the folder of parcels."""
        root = self.data / "parcels"
        return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


def _messages(request: Request) -> Iterator[dict[str, Any]]:
    pieces: Sequence[bytes] = request.pieces or ()
    if request.pieces is None:
        pieces = [request.body or b""]
    for number, piece in enumerate(pieces, start=1):
        yield {"type": "http.request", "body": piece, "more_body": number < len(pieces)}


@contextmanager
def open_case(data: Path, **settings: Any) -> Iterator[Case]:
    """Open a relay in *data* at which Alice, Bob and Carol are enrolled."""
    enroll(data, ALICE, BOB, CAROL)
    with Case(data, **settings).open() as case:
        yield case


def check_consistency(case: Case) -> None:
    """Assert that files and rows agree, that all that is there is whole, and is counted."""
    root = case.data / "parcels"
    total = 0
    with case.service.parcels.database.reading() as view:
        rows = {row.parcel: row for row in view.parcels() if row.gone is None}
        assert {row.parcel.hex() for row in rows.values()} == {path.name for path in root.iterdir()}
        for parcel, row in rows.items():
            folder = root / parcel.hex()
            sizes = {
                str(p.relative_to(folder)): p.stat().st_size
                for p in folder.rglob("*")
                if p.is_file()
            }
            envelope = parse_envelope((folder / "envelope").read_bytes())
            assert ("manifest" in sizes) == row.manifest
            assert ("seal" in sizes) == (row.seal is not None)
            if row.manifest:
                check_sealed_manifest((folder / "manifest").read_bytes(), envelope)
            if row.seal is not None:
                seal = parse_seal((folder / "seal").read_bytes(), envelope)
                assert seal.digest.value == row.seal
            held = {chunk_name(one.index): one for one in view.chunks(row.number) if one.held}
            assert held.keys() == {path.name for path in (folder / "chunks").iterdir()}
            for name, one in held.items():
                record = ChunkVerifier(envelope).check(
                    one.index, (folder / "chunks" / name).read_bytes()
                )
                assert (record.digest, record.signature) == (one.digest, one.signature)
            given = {s.hex() for s, size in view.receipts(row.number).items() if size is not None}
            assert given == {path.name for path in (folder / "receipts").iterdir()}
            assert row.size == sum(sizes.values())
            total += row.size
    assert case.service.parcels.ledger.used() == total
