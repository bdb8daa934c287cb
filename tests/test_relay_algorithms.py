"""Requests that are signed by keys of other kinds: each with its own algorithm, and no other."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from medshare import httpsig
from medshare.suites.base import Signer
from medshare.trust.card import issue
from medshare.wire import problems, routes
from medshare.wire.bodies import inbox_query
from medshare.wire.routes import Target
from tests.builder import Identity, make_identity, make_openers, make_signers
from tests.relay_case import HOST, NOW, Case, Request, open_case, signed
from tests.running_relay import enroll

STATIONS = {
    "ed25519": make_identity("soft"),
    "ecdsa-p256-sha256": make_identity("token", "p256"),
    "sm2-sm3": make_identity("national", "gm"),
}


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    """An open relay at which a station of each kind is enrolled."""
    enroll(tmp_path / "relay", *STATIONS.values())
    with open_case(tmp_path / "relay") as found:
        yield found


def inbox(identity: Identity, signer: Signer, algorithm: str, *, nonce: int = 0) -> Request:
    """Return a request for the inbox of *identity* that says it is signed with *algorithm*."""
    target, query = Target(routes.INBOX), inbox_query(0)
    request = httpsig.Request(target.route.method, HOST, target.path, f"?{query}")
    fields = httpsig.sign_request(
        request,
        key_id=identity.station.hex(),
        nonce=httpsig.encode_nonce(nonce.to_bytes(httpsig.NONCE_BYTES)),
        created=NOW,
        sign=signer.sign,
        algorithm=algorithm,
    )
    headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    return Request(
        target.route.method, target.path, query, None, (*headers, (b"host", HOST.encode()))
    )


@pytest.mark.parametrize("said", STATIONS)
@pytest.mark.parametrize("kind", STATIONS)
def test_only_the_algorithm_of_the_key_lets_in(case: Case, kind: str, said: str) -> None:
    """A good signature that is said to be of another algorithm is refused like a bad one."""
    identity = STATIONS[kind]
    reply = case.ask(inbox(identity, identity.signers[0], said))
    if said == kind:
        assert reply.status == 200
    else:
        assert (reply.status, reply.code) == (401, problems.SIGNATURE)


@pytest.mark.parametrize("kind", STATIONS)
def test_a_key_of_another_station_does_not_let_in(case: Case, kind: str) -> None:
    """The algorithm of the signer, in the name of another station: refused."""
    for other, identity in STATIONS.items():
        if other != kind:
            reply = case.ask(inbox(identity, STATIONS[kind].signers[0], kind))
            assert (reply.status, reply.code) == (401, problems.SIGNATURE)


def of_suite(identity: Identity, suites: str) -> Identity:
    """Return *identity* with a further generation, of the keys of *suites*."""
    signers = make_signers(identity.name, suites, f" {suites}")
    openers = make_openers(identity.name, suites, f" {suites}")
    generation = replace(
        identity.card.current,
        number=len(identity.card.generations),
        suite="gm",
        sign_keys=tuple(one.public for one in signers),
        kem_keys=tuple(one.public for one in openers),
    )
    card = issue(generation, signers, before=identity.card, old=identity.signers)
    return replace(identity, card=card, signers=signers, openers=openers)


def test_a_station_may_change_its_suite(case: Case) -> None:
    """A card with keys of another family, vouched for by the old ones, is taken like any other."""
    before = STATIONS["ed25519"]
    after = of_suite(before, "gm")
    first, second = (inbox(after, after.signers[0], "sm2-sm3", nonce=-n % 2**64) for n in (1, 2))
    assert case.ask(first).status == 401
    assert case.ask(signed(before, Target(routes.PUT_CARD), after.card.encoded)).status == 204
    assert case.ask(second).status == 200
    late = inbox(before, before.signers[0], "ed25519", nonce=2**64 - 3)
    assert case.ask(late).code == problems.SIGNATURE
