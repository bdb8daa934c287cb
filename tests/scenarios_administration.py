"""Proposals, votes and charters of administrators, honest and not: tests/vectors/administration."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cbor2

from medshare import signed
from medshare.suites.base import Signer
from medshare.trust.charter import Charter
from medshare.trust.orders import Action, Administrator, Order
from medshare.trust.proposal import PROPOSAL, VOTE, SignedProposal, parse_proposal, propose, vote
from tests.builder import CREATED, make_parcel, octets
from tests.forger import cbor
from tests.scenarios import A, B, C, flip
from tests.vector_files import FOLDER, SUFFIX, Vector, load

PLACE = FOLDER / "administration"
RELAY = "medshare/log/relay/" + "0f" * 16
KINDS = ("charter", "proposal", "vote")
SIGNATURE = "authenticity.signature"
CHARTER = Charter(RELAY, 0, 2, tuple(Administrator(one.card) for one in (A, B, C)))
PARCEL = make_parcel({"a": b"x"}, sender=A, recipients=[B], label="administered").id
ORDERS = (
    Order(Action.ENROLL, card=C.card),
    Order(Action.REMOVE, station=C.station),
    Order(Action.SET_PROFILE, station=C.station, profile=b"\xa0"),
    Order(Action.WITHDRAW_GRANT, parcel=PARCEL, station=C.station),
    Order(Action.DELETE, parcel=PARCEL),
    Order(Action.HOLD, parcel=PARCEL),
    Order(Action.RELEASE_HOLD, parcel=PARCEL),
    Order(Action.SET_POLICY, settings={"total_bytes": 1 << 40}),
    Order(
        Action.SET_ADMINISTRATORS,
        administrators=(Administrator(A.card, octets("person")), Administrator(B.card)),
        need=2,
    ),
)


def proposal(order: Order) -> SignedProposal:
    """Return a proposal of A."""
    nonce = octets(str(order.action), 16)
    return propose(CHARTER, order, A.card, A.signers, now=CREATED, random=lambda _: nonce)


def scenarios() -> Iterator[Vector]:
    """Yield every vector, freshly made."""
    for order in ORDERS:
        made = proposal(order)
        yield _vector(
            "proposal", str(order.action), "§16.3", "success", f"to {order.action}", made.encoded
        )
    first = proposal(ORDERS[4])
    for name, approves in (("approve", True), ("reject", False)):
        cast = vote(first, B.card, B.signers, approves=approves, now=CREATED + 60)
        yield _vector("vote", name, "§16.4", "success", f"a vote to {name}", cast.encoded)
    yield _vector("charter", "three", "§16.1", "success", "two of three", CHARTER.encode())
    yield from _bad_proposals(first)
    yield from _bad_votes(first)
    yield from _bad_charters()


def _vector(kind: str, name: str, spec: str, expect: str, comment: str, data: bytes) -> Vector:
    return Vector(f"{kind}-{name}", spec, expect, expect, comment, {kind: data})


def _bad_proposals(honest: SignedProposal) -> Iterator[Vector]:
    facts = cbor2.loads(cbor2.loads(honest.encoded)[1])
    enrolling = cbor2.loads(cbor2.loads(proposal(ORDERS[0]).encoded)[1])["arguments"]

    def forged(
        name: str, expect: str, comment: str, spec: str = "§16.3", **changes: object
    ) -> Vector:
        value = signed.sign(PROPOSAL, cbor(facts | changes), A.signers).encode()
        return _vector("proposal", name, spec, expect, comment, value)

    def bare(name: str, expect: str, comment: str, data: bytes) -> Vector:
        return _vector("proposal", name, "§16.3", expect, comment, data)

    body = cbor2.loads(honest.encoded)[1]
    as_vote = signed.sign(VOTE, body, A.signers).encode()
    half = signed.sign(PROPOSAL, body, A.signers[:1]).encode()
    parcel = facts["arguments"]["parcel"]
    yield from (
        bare("flipped", SIGNATURE, "one bit of the parcel is another",
             honest.encoded.replace(parcel, flip(3)(parcel))),
        bare("by-another", SIGNATURE, "b signed what shows the card of a",
             signed.sign(PROPOSAL, body, B.signers).encode()),
        bare("half-signed", SIGNATURE, "only Ed25519 signed", half),
        bare("is-a-vote", "format", "labelled as a vote", as_vote),
        bare("trailing", "format", "an octet follows", honest.encoded + b"\0"),
        forged("action-unknown", "format", "an action that there is not", "§16.2",
               action="open"),
        forged("arguments-of-another", "format", "the arguments are those of another action",
               "§16.2", arguments=enrolling),
        forged("argument-too-many", "format", "an argument that the action does not take", "§16.2",
               arguments={**facts["arguments"], "station": bytes(32)}),
        forged("parcel-short", "format", "a parcel of 15 octets", "§16.2",
               arguments={"parcel": bytes(15)}),
        forged("nonce-short", "format", "a nonce of 15 octets", nonce=bytes(15)),
        forged("expired-before", "format", "it is over before it is made",
               expires=facts["created"]),
        forged("valid-for-years", "format", "it is valid for more than 31 days",
               expires=facts["created"] + 32 * 86400),
        forged("critical", "format.version", "a critical extension",
               critical={"unheard": 1}),
        forged("setting-unknown", "format", "a setting that there is not", "§16.2",
               action="set-policy", arguments={"settings": {"keys": 1}}),
        forged("setting-zero", "format", "a bound of nothing", "§16.2",
               action="set-policy", arguments={"settings": {"total_bytes": 0}}),
        forged("relay-long", "format.limit", "a relay with a name of 65 octets",
               relay="r" * 65),
    )  # fmt: skip


def _bad_votes(on: SignedProposal) -> Iterator[Vector]:
    honest = vote(on, B.card, B.signers, approves=True, now=CREATED + 60).encoded
    facts = cbor2.loads(cbor2.loads(honest)[1])

    def forged(
        name: str, expect: str, comment: str, by: Sequence[Signer] = B.signers, **changes: object
    ) -> Vector:
        value = signed.sign(VOTE, cbor(facts | changes), by).encode()
        return _vector("vote", name, "§16.4", expect, comment, value)

    yield from (
        forged("verdict-unknown", "format", "neither of the two verdicts", verdict="maybe"),
        forged("proposal-short", "format", "a digest of 31 octets", proposal=bytes(31)),
        forged("by-another", SIGNATURE, "a signed what shows the card of b", by=A.signers),
        forged("critical", "format.version", "a critical extension", critical={"x": 1}),
        _vector("vote", "flipped", "§16.4", SIGNATURE, "another proposal in a signed vote",
                honest.replace(on.digest, flip(0)(on.digest))),
    )  # fmt: skip


def _bad_charters() -> Iterator[Vector]:
    facts = cbor2.loads(CHARTER.encode())

    def forged(name: str, comment: str, **changes: object) -> Vector:
        return _vector("charter", name, "§16.1", "format", comment, cbor(facts | changes))

    one, two, three = facts["administrators"]
    person = octets("one person")
    yield from (
        forged("quorum-of-one", "a quorum of one", need=1),
        forged("quorum-too-large", "four of three", need=4),
        forged("station-twice", "a station is named twice", administrators=[one, two, two]),
        forged("person-twice", "a person has two stations",
               administrators=[[one[0], person], [two[0], person], three]),
        forged("origin-missing", "a later charter that follows from nothing", number=1),
        forged("first-with-origin", "a first charter that follows from something",
               proposal=bytes(32)),
    )  # fmt: skip


def write(place: Path = PLACE) -> int:
    """Write all vectors anew; return how many there are."""
    place.mkdir(exist_ok=True)
    for file in place.glob(f"*{SUFFIX}"):
        file.unlink()
    made = list(scenarios())
    for one in made:
        (place / f"{one.name}{SUFFIX}").write_bytes(one.encode())
    return len(made)


def stored() -> dict[str, Vector]:
    """Return the vectors as they lie in the folder."""
    return {file.stem: load(file) for file in sorted(PLACE.glob(f"*{SUFFIX}"))}


def content(one: Vector) -> tuple[str, bytes]:
    """Return what kind of thing a vector holds, and its octets."""
    ((kind, data),) = one.objects.items()
    assert kind in KINDS
    return kind, data


def digest_in(name: str) -> bytes:
    """Return the digest of the honest proposal of that name."""
    return parse_proposal(content(stored()[f"proposal-{name}"])[1]).digest
