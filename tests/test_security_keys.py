"""FIDO2: keys.security_key against relay.security_keys, with a security key in software."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import AccessDeniedError, KeyUnavailableError
from medshare.keys.security_key import SecurityKey, one_security_key
from medshare.relay import codes, security_keys
from medshare.relay.profiles import person
from medshare.relay.second_factor import CHALLENGE_SECONDS
from medshare.relay.security_keys import Demand
from medshare.wire import problems, routes, sign_in
from medshare.wire.routes import Target
from medshare.wire.sign_in import FIDO2, Challenge, Proof
from tests.relay_case import HOST, Reply
from tests.sign_in_case import Person, person_at
from tests.soft_authenticator import SoftAuthenticator
from tests.suites.transport_suite import ALICE

ORIGIN = f"https://{HOST}"


def silent(sentence: str) -> None:
    """Say nothing."""


def key_of(device: SoftAuthenticator) -> SecurityKey:
    """Return *device* as the program sees it."""
    return SecurityKey(device, None, silent)


@contextmanager
def enrolled(data: Path, device: SoftAuthenticator, *, verify: bool = True) -> Iterator[Person]:
    """Open a relay at which Alice has enrolled *device*."""
    with person_at(data, person([FIDO2], verify=verify)) as alice:
        begun = alice.begun(alice.begin(FIDO2))
        proof = key_of(device).new_factor(begun, user=ALICE.station, origin=ORIGIN)
        reply = alice.finish(begun.factor, proof)
        assert reply.status == 200, reply.code
        yield alice


@pytest.fixture
def device() -> SoftAuthenticator:
    """A security key."""
    return SoftAuthenticator()


@pytest.fixture
def alice(
    tmp_path: Path, device: SoftAuthenticator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Person]:
    """Alice, with the key enrolled."""
    monkeypatch.setattr(codes, "SCRYPT_COST", 1 << 4)
    with enrolled(tmp_path / "relay", device) as found:
        yield found


def challenged(alice: Person) -> Challenge:
    """Return what the relay asks the key to sign."""
    reply = alice.ask(Target(routes.CHALLENGE))
    assert reply.status == 200, reply.code
    return sign_in.decode_challenge(reply.body)


def answered(alice: Person, proof: Proof) -> Reply:
    """Sign in with what the key said; the next attempt may follow at once."""
    reply = alice.ask(Target(routes.SIGN_IN), sign_in.encode_proof(proof))
    alice.case.now += 1
    return reply


def test_a_touch_opens_a_session(alice: Person, device: SoftAuthenticator) -> None:
    """What the key signs for this relay signs in, each time for a new challenge."""
    for _ in range(2):
        proof = key_of(device).answer(challenged(alice), origin=ORIGIN)
        session = sign_in.decode_session(answered(alice, proof).body).session
        assert alice.inbox(session).status == 200


def test_what_was_signed_once_is_of_no_use_again(alice: Person, device: SoftAuthenticator) -> None:
    """The same answer a second time is refused."""
    proof = key_of(device).answer(challenged(alice), origin=ORIGIN)
    assert answered(alice, proof).status == 200
    assert answered(alice, proof).code == problems.FACTOR


def test_a_challenge_is_answered_once(alice: Person, device: SoftAuthenticator) -> None:
    """A wrong answer uses the challenge up: the right one comes too late."""
    proof = key_of(device).answer(challenged(alice), origin=ORIGIN)
    assert answered(alice, replace(proof, signature=b"x")).code == problems.FACTOR
    assert answered(alice, proof).code == problems.FACTOR


def test_a_challenge_does_not_last(alice: Person, device: SoftAuthenticator) -> None:
    """After two minutes its answer is refused."""
    proof = key_of(device).answer(challenged(alice), origin=ORIGIN)
    alice.case.now += CHALLENGE_SECONDS + 1
    assert answered(alice, proof).code == problems.FACTOR


@pytest.mark.parametrize(
    "origin", ["https://evil.example.org", f"https://{HOST}:8443", f"https://sub.{HOST}"]
)
def test_an_answer_for_another_origin_is_refused(
    alice: Person, device: SoftAuthenticator, origin: str
) -> None:
    """Another host or port, as a relay in between would have it, is refused."""
    given = challenged(alice)
    stand_in = SoftAuthenticator()
    stand_in.credentials = {
        name: replace(one, rp=sign_in.rp_id(origin)) for name, one in device.credentials.items()
    }
    stand_in.counter = device.counter
    proof = key_of(stand_in).answer(given, origin=origin)
    assert answered(alice, proof).code == problems.FACTOR


def test_a_key_refuses_to_sign_for_another_relay(alice: Person, device: SoftAuthenticator) -> None:
    """A relay in between gets nothing out of the key: its credential is for another name."""
    with pytest.raises(KeyUnavailableError):
        key_of(device).answer(challenged(alice), origin="https://evil.example.org")


def test_an_answer_to_another_challenge_is_refused(
    alice: Person, device: SoftAuthenticator
) -> None:
    """A signature over a challenge that this relay did not give is refused."""
    given = challenged(alice)
    other = replace(given, challenge=secrets.token_bytes(32))
    proof = key_of(device).answer(other, origin=ORIGIN)
    assert answered(alice, proof).code == problems.FACTOR


@pytest.mark.parametrize("behind", [0, 1, 5])
def test_a_cloned_key_is_noticed(alice: Person, device: SoftAuthenticator, behind: int) -> None:
    """A counter that did not grow means that there are two of the key."""
    for _ in range(6):
        proof = key_of(device).answer(challenged(alice), origin=ORIGIN)
        assert answered(alice, proof).status == 200
    device.counts = False
    device.counter -= behind
    proof = key_of(device).answer(challenged(alice), origin=ORIGIN)
    assert answered(alice, proof).code == problems.FACTOR


def test_a_key_without_counter_is_accepted(tmp_path: Path) -> None:
    """A counter that is 0 for ever, as of some keys, says nothing and is accepted."""
    device = SoftAuthenticator(counts=False)
    with enrolled(tmp_path / "relay", device) as alice:
        for _ in range(2):
            proof = key_of(device).answer(challenged(alice), origin=ORIGIN)
            assert answered(alice, proof).status == 200


def test_a_touch_alone_is_not_enough(alice: Person, device: SoftAuthenticator) -> None:
    """Where the profile demands that the key verifies, an answer without that is refused."""
    given = replace(challenged(alice), verify=False)
    device.verifies = False
    proof = key_of(device).answer(given, origin=ORIGIN)
    assert answered(alice, proof).code == problems.FACTOR


def test_a_touch_alone_is_enough_where_the_operator_says_so(tmp_path: Path) -> None:
    """With --touch-only a key without PIN or finger enrols and signs in."""
    device = SoftAuthenticator(verifies=False)
    with enrolled(tmp_path / "relay", device, verify=False) as alice:
        proof = key_of(device).answer(challenged(alice), origin=ORIGIN)
        assert answered(alice, proof).status == 200


def test_an_answer_without_a_touch_is_refused(alice: Person, device: SoftAuthenticator) -> None:
    """A key that nobody touched says so, and is refused."""
    device.present = False
    proof = key_of(device).answer(challenged(alice), origin=ORIGIN)
    assert answered(alice, proof).code == problems.FACTOR


def test_another_key_is_refused(alice: Person) -> None:
    """A credential that is not enrolled signs nobody in, whatever it calls itself."""
    given, other = challenged(alice), SoftAuthenticator()
    begun = sign_in.BegunFactor(bytes(16), FIDO2, b"", secrets.token_bytes(32))
    made = key_of(other).new_factor(begun, user=bytes(32), origin=ORIGIN)
    proof = key_of(other).answer(replace(given, credentials=(made.credential,)), origin=ORIGIN)
    assert answered(alice, proof).code == problems.FACTOR
    given = challenged(alice)
    proof = key_of(other).answer(replace(given, credentials=(made.credential,)), origin=ORIGIN)
    assert answered(alice, replace(proof, credential=given.credentials[0])).code == problems.FACTOR


def test_a_key_is_not_enrolled_for_another_challenge(tmp_path: Path) -> None:
    """What finishes a factor was made for its challenge, this relay, and by a verifying key."""
    with person_at(tmp_path / "relay", person([FIDO2])) as alice:
        for number, (origin, verifies, right) in enumerate(
            [(ORIGIN, True, False), ("https://evil.example.org", True, True), (ORIGIN, False, True)]
        ):
            begun = alice.begun(alice.begin(FIDO2))
            asked = begun if right else replace(begun, challenge=secrets.token_bytes(32))
            key = key_of(SoftAuthenticator(verifies=verifies))
            proof = key.new_factor(replace(asked, verify=verifies), user=bytes(32), origin=origin)
            assert alice.finish(begun.factor, proof).code == problems.FACTOR, number
            alice.case.now += 60


def test_a_key_is_enrolled_once(alice: Person, device: SoftAuthenticator) -> None:
    """A key that is enrolled already refuses to be enrolled again."""
    proof = key_of(device).answer(challenged(alice), origin=ORIGIN)
    session = sign_in.decode_session(answered(alice, proof).body).session
    begun = alice.begun(alice.begin(FIDO2, secret="", session=session))
    assert begun.known == (proof.credential,)
    with pytest.raises(KeyUnavailableError):
        key_of(device).new_factor(begun, user=ALICE.station, origin=ORIGIN)


def test_a_code_is_no_security_key(alice: Person) -> None:
    """A proof of another kind than the factor is refused, also where it is begun."""
    assert alice.try_code("123456").code == problems.PROFILE
    assert alice.ask(Target(routes.CHALLENGE)).status == 200


def test_without_a_key_there_is_no_challenge(tmp_path: Path) -> None:
    """Whoever has no security key here is told so."""
    with person_at(tmp_path / "relay") as alice:
        assert alice.ask(Target(routes.CHALLENGE)).code == problems.NOT_FOUND


@given(
    st.builds(
        Proof,
        kind=st.just(FIDO2),
        credential=st.binary(max_size=64),
        client_data=st.binary(max_size=64)
        | st.just(b'{"type":"webauthn.get","challenge":"AAAA","origin":"https://x"}')
        | st.just(b'{"type":1,"challenge":[],"origin":{}}'),
        data=st.binary(max_size=120),
        signature=st.binary(max_size=80),
    )
)
def test_nonsense_is_refused_and_nothing_else(proof: Proof) -> None:
    """Whatever somebody sends as a key's answer is an AccessDeniedError, never a fault."""
    device = SoftAuthenticator()
    begun = sign_in.BegunFactor(bytes(16), FIDO2, b"", bytes(32))
    made = key_of(device).new_factor(begun, user=bytes(32), origin=ORIGIN)
    demand = Demand(bytes(32), ORIGIN, verify=True)
    credential, counter = security_keys.new_credential(made, demand)
    with pytest.raises(AccessDeniedError):
        security_keys.new_credential(proof, demand)
    with pytest.raises(AccessDeniedError):
        security_keys.next_counter(proof, demand, credential, counter=counter)


@pytest.mark.parametrize(
    ("origin", "rp"),
    [
        ("https://relay.example.org", "relay.example.org"),
        ("https://relay.example.org:8443", "relay.example.org"),
        ("https://127.0.0.1:9", "127.0.0.1"),
        ("https://[::1]:8443", "::1"),
    ],
)
def test_the_rp_id_is_the_host(origin: str, rp: str) -> None:
    """The port is part of the origin, and not of the RP id."""
    assert sign_in.rp_id(origin) == rp


def test_exactly_one_key_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """With none or two plugged in nobody guesses which."""
    from fido2.hid import CtapHidDevice

    for devices in ([], [SoftAuthenticator(), SoftAuthenticator()]):
        monkeypatch.setattr(CtapHidDevice, "list_devices", lambda found=devices: iter(found))
        with pytest.raises(KeyUnavailableError), one_security_key(None, silent):
            pass
