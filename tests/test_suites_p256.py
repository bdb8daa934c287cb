"""P-256 for hardware tokens: ECDSA, and DHKEM in HPKE, in software and with the exchange apart."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import FormatError, IntegrityError, SignatureError
from medshare.suites import dhkem_p256, hpke, p256
from medshare.suites.base import PublicKey
from medshare.suites.kem import KEMS, P256, check_public, new_secret, opener_from_seed, wrap
from medshare.suites.signatures import (
    ECDSA_P256,
    SIGNATURES,
    Verifier,
    require_identity_set,
    signer_from_seed,
)
from tests.builder import octets
from tests.strategies import damaged

VECTORS = json.loads((Path(__file__).parent / "vectors/rfc9180/dhkem-p256.json").read_bytes())
SIGNER = signer_from_seed(ECDSA_P256, octets("p256 signer"))
OPENER = opener_from_seed(P256, octets("p256 opener"))
PRIVATE = p256.load_secret(octets("p256 opener"))
KEY_SIZES = {1: 16, 2: 32}
OFF_THE_CURVE = b"\x04" + bytes(63) + b"\x01"


def unhex(vector: dict[str, Any], name: str) -> bytes:
    """Return a field of a vector."""
    return bytes.fromhex(vector[name])


def exchange(point: bytes) -> bytes:
    """Do what a token does: Diffie-Hellman with the key of `OPENER`."""
    return PRIVATE.exchange(ec.ECDH(), p256.load_point(point))


# --- RFC 9180 -----------------------------------------------------------------------------


def test_both_vectors_are_there() -> None:
    """AES-128-GCM of Appendix A.3.1 and AES-256-GCM: none is lost unnoticed."""
    assert [vector["aead_id"] for vector in VECTORS] == [1, 2]


@pytest.mark.parametrize("vector", VECTORS, ids=["aes-128", "aes-256"])
def test_the_key_schedule_is_that_of_rfc_9180(vector: dict[str, Any]) -> None:
    """From the private key to the plaintext, each value is that of the official vector."""
    ciphers = hpke.Ciphers(vector["kem_id"], vector["aead_id"], KEY_SIZES[vector["aead_id"]])
    private = p256.load_secret(unhex(vector, "skRm"))
    assert p256.point_of(private.public_key()) == unhex(vector, "pkRm")
    enc = unhex(vector, "enc")
    dh = private.exchange(ec.ECDH(), p256.load_point(enc))
    shared = hpke.shared_secret(ciphers, dh, enc=enc, public=unhex(vector, "pkRm"))
    assert shared == unhex(vector, "shared_secret")
    context = hpke.key_schedule(ciphers, shared, info=unhex(vector, "info"))
    assert (context.key, context.base_nonce) == (unhex(vector, "key"), unhex(vector, "base_nonce"))
    first, second = vector["encryptions"]
    assert context.open(unhex(first, "ct"), aad=unhex(first, "aad")) == unhex(first, "pt")
    with pytest.raises(IntegrityError):
        context.open(unhex(second, "ct"), aad=unhex(second, "aad"))


def test_our_ciphers_are_those_of_the_second_vector() -> None:
    """Tokens unwrap with the numbers of the official vector with AES-256-GCM."""
    vector = VECTORS[1]
    assert hpke.Ciphers(vector["kem_id"], vector["aead_id"]) == hpke.P256_AES256GCM
    assert hpke.P256_AES256GCM.suite_id == b"HPKE\x00\x10\x00\x01\x00\x02"
    assert hpke.P256_AES256GCM.kem_id == b"KEM\x00\x10"


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_software_and_exchange_apart_open_the_same(secret: bytes, info: bytes) -> None:
    """A wrap opens with the library's HPKE and with ours, for the same info only."""
    wrapped = wrap(OPENER.public, secret, info=info)
    assert len(wrapped) == len(secret) + KEMS[P256].overhead
    public = OPENER.public.value
    assert OPENER.unwrap(wrapped, info=info) == secret
    assert dhkem_p256.unwrap_with(exchange, public, wrapped, info=info) == secret
    with pytest.raises(IntegrityError):
        OPENER.unwrap(wrapped, info=info + b"x")
    with pytest.raises(IntegrityError):
        dhkem_p256.unwrap_with(exchange, public, wrapped, info=info + b"x")


@given(damaged(wrap(OPENER.public, b"secret", info=b"")) | st.binary(max_size=120))
def test_damaged_wraps_do_not_open(wrapped: bytes) -> None:
    """No other octets open, either way, and none raises anything but IntegrityError."""
    with pytest.raises(IntegrityError):
        OPENER.unwrap(wrapped, info=b"")
    with pytest.raises(IntegrityError):
        dhkem_p256.unwrap_with(exchange, OPENER.public.value, wrapped, info=b"")


@pytest.mark.parametrize("point", [OFF_THE_CURVE, bytes(65), b"\x04" + b"\xff" * 64, b"\x04"])
def test_a_token_never_sees_a_point_off_the_curve(point: bytes) -> None:
    """What could make a token leak its key bit by bit is refused before the token is asked."""
    wrapped = point + wrap(OPENER.public, b"secret", info=b"")[65:]

    def ask(enc: bytes) -> bytes:
        raise AssertionError("the token was asked")

    with pytest.raises(IntegrityError):
        dhkem_p256.unwrap_with(ask, OPENER.public.value, wrapped, info=b"")


# --- keys ---------------------------------------------------------------------------------


COMPRESSED = bytes([2 + OPENER.public.value[-1] % 2]) + OPENER.public.value[1:33]
HYBRID_FORM = bytes([6 + OPENER.public.value[-1] % 2]) + OPENER.public.value[1:]


@pytest.mark.parametrize(
    "value",
    [b"", bytes(65), OFF_THE_CURVE, b"\x04" + b"\xff" * 64, COMPRESSED, HYBRID_FORM, b"\x00"],
    ids=["empty", "zeros", "off the curve", "range", "compressed", "hybrid", "infinity"],
)
def test_other_points_and_forms_are_refused(value: bytes) -> None:
    """A key is one uncompressed point on the curve, written in one way only."""
    with pytest.raises(FormatError):
        check_public(PublicKey(P256, value))
    with pytest.raises(FormatError):
        wrap(PublicKey(P256, value), b"secret", info=b"")
    with pytest.raises(FormatError):
        Verifier(PublicKey(ECDSA_P256, value))


@pytest.mark.parametrize("number", [0, p256.ORDER, p256.ORDER + 1, 2**256 - 1])
def test_secrets_out_of_range_are_refused(number: int) -> None:
    """A secret number lies between 1 and n - 1."""
    with pytest.raises(FormatError):
        signer_from_seed(ECDSA_P256, number.to_bytes(32))
    with pytest.raises(FormatError):
        opener_from_seed(P256, number.to_bytes(32))


@given(st.binary(min_size=40, max_size=40) | st.sampled_from([bytes(40), b"\xff" * 40]))
def test_every_drawn_secret_is_valid(drawn: bytes) -> None:
    """Whatever the source of randomness gives makes a key (FIPS 186-5 §A.2.1)."""
    opener = opener_from_seed(P256, new_secret(P256, lambda size: drawn[:size]))
    check_public(opener.public)


# --- ECDSA --------------------------------------------------------------------------------


def test_ecdsa_is_that_of_rfc_6979() -> None:
    """The signature over "sample" of RFC 6979 §A.2.5, which another program made, verifies."""
    secret = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721"
    r = "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
    s = "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
    public = signer_from_seed(ECDSA_P256, bytes.fromhex(secret)).public
    Verifier(public).verify(bytes.fromhex(r + s), b"sample", what="it")


def test_signatures_verify_for_their_message_and_key_only() -> None:
    """A signature has 64 octets and verifies under its key and message, and no other."""
    signature = SIGNER.sign(b"message")
    assert len(signature) == SIGNATURES[ECDSA_P256].signature_size
    Verifier(SIGNER.public).verify(signature, b"message", what="it")
    other = signer_from_seed(ECDSA_P256, octets("other")).public
    for key, message in ((SIGNER.public, b"massage"), (other, b"message")):
        with pytest.raises(SignatureError):
            Verifier(key).verify(signature, message, what="it")


@given(damaged(SIGNER.sign(b"message")))
def test_damaged_signatures_are_refused(signature: bytes) -> None:
    """No change to a signature verifies, and none raises anything else."""
    with pytest.raises(SignatureError):
        Verifier(SIGNER.public).verify(signature, b"message", what="it")


@pytest.mark.parametrize("bad", [0, p256.ORDER, 2**256 - 1])
@pytest.mark.parametrize("place", [0, 1])
def test_numbers_out_of_range_are_refused(place: int, bad: int) -> None:
    """Neither r nor s may be 0, or n and above."""
    signature = SIGNER.sign(b"message")
    numbers = [signature[:32], signature[32:]]
    numbers[place] = bad.to_bytes(32)
    with pytest.raises(SignatureError):
        Verifier(SIGNER.public).verify(b"".join(numbers), b"message", what="it")


def test_a_der_signature_is_not_accepted() -> None:
    """The one encoding is r ‖ s: what OpenSSL writes is refused."""
    private = p256.load_secret(octets("p256 signer"))
    der = private.sign(b"message", ec.ECDSA(SHA256()))
    with pytest.raises(SignatureError):
        Verifier(SIGNER.public).verify(der, b"message", what="it")
    signature = SIGNER.sign(b"message")
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    private.public_key().verify(encode_dss_signature(r, s), b"message", ec.ECDSA(SHA256()))


def test_a_token_key_is_an_identity_of_its_own() -> None:
    """`ecdsa-p256` alone is a set with which an identity signs."""
    require_identity_set([SIGNER.public], what="it")
