"""Requests that are signed by keys of other kinds: each with its own algorithm, and no other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from medshare import httpsig
from medshare.suites.base import Signer
from medshare.wire import problems, routes
from medshare.wire.bodies import inbox_query
from medshare.wire.routes import Target
from tests.builder import Identity, make_identity
from tests.relay_case import HOST, NOW, Case, Request, open_case
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


def inbox(identity: Identity, signer: Signer, algorithm: str) -> Request:
    """Return a request for the inbox of *identity* that says it is signed with *algorithm*."""
    target, query = Target(routes.INBOX), inbox_query(0)
    request = httpsig.Request(target.route.method, HOST, target.path, f"?{query}")
    fields = httpsig.sign_request(
        request,
        key_id=identity.station.hex(),
        nonce=httpsig.encode_nonce(bytes(httpsig.NONCE_BYTES)),
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
