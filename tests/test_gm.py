"""Suite `gm` against the published examples of its standards, and against a second library."""

import hmac
import json
from collections.abc import Callable
from pathlib import Path

import gmssl_pyx  # type: ignore[import-untyped]  # it has stubs, but not the marker for them
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB
from cryptography.hazmat.primitives.hashes import SM3
from cryptography.hazmat.primitives.hmac import HMAC
from gmalglib import sm2 as second_sm2  # type: ignore[import-untyped]  # likewise
from gmalglib import sm3 as second_sm3
from hypothesis import given, settings
from hypothesis import strategies as st

from medshare.errors import FormatError, IntegrityError, SignatureError, UnsupportedVersionError
from medshare.suites import gcrypt, hasher_named, suite_named, suite_of_keys
from medshare.suites.base import NONCE_SIZE, SYSTEM_RANDOM, TAG_SIZE, Aead, Buffer, PublicKey
from medshare.suites.gcrypt import Gcrypt
from medshare.suites.gm import GM, SM4_KEY_SIZE, FastSm4Gcm, Sm3, Sm4Gcm, fast
from medshare.suites.kem import KEMS, check_public, opener_from_seed, wrap
from medshare.suites.signatures import SIGNATURES, SM2, Verifier, new_secret, signer_from_seed
from medshare.suites.sm2 import MAX_WRAPPED_SECRET, WRAP_LABEL, opener, signer
from tests.builder import octets, secret
from tests.strategies import damaged

STANDARDS = json.loads(
    (Path(__file__).parent / "vectors" / "gm" / "standards.json").read_text(encoding="utf-8")
)
SIGNED = {key: bytes.fromhex(text) for key, text in STANDARDS["sm2-signature"].items()
          if key != "source"}  # fmt: skip
ENCRYPTED = {key: bytes.fromhex(text) for key, text in STANDARDS["sm2-encryption"].items()
             if key != "source"}  # fmt: skip
SECRET = secret("gm test", SM2)
SIGNER = signer_from_seed(SM2, SECRET)
OPENER = opener_from_seed(SM2, SECRET)
SECOND = second_sm2.SM2(SECRET[:32])
PUBLIC = b"\x04" + SIGNER.public.value
few = settings(max_examples=15)  # an operation on the curve takes a millisecond


# --- published examples -------------------------------------------------------------------


@pytest.mark.parametrize("case", STANDARDS["sm3"], ids=lambda case: case["source"])
def test_the_hash_is_sm3(case: dict[str, str]) -> None:
    """Digests are those of GB/T 32905, in one go and in parts."""
    message = bytes.fromhex(case["message"])
    assert GM.digest(message).hex == case["digest"]
    hasher = hasher_named("sm3")
    hasher.update(message[:1])
    early = hasher.copy()
    hasher.update(message[1:])
    assert hasher.digest().hex() == hasher.digest().hex() == case["digest"]
    assert early.digest() == GM.digest(message[:1]).value


@pytest.mark.parametrize("case", STANDARDS["sm4"], ids=lambda case: case["source"])
def test_the_cipher_is_sm4(case: dict[str, str]) -> None:
    """The block cipher that suite gm uses gives the examples of GB/T 32907."""
    key, block, rounds = bytes.fromhex(case["key"]), bytes.fromhex(case["plain"]), case["rounds"]
    # With zeros as its plaintext, CBC encrypts each ciphertext once more.
    encryptor = Cipher(SM4(key), CBC(block)).encryptor()
    chain = encryptor.update(bytes(16 * int(rounds)))
    assert chain[-16:].hex() == case["ciphertext"]
    once = Cipher(SM4(key), ECB()).encryptor().update(block)
    assert once == chain[:16]


def test_the_aead_is_sm4_gcm() -> None:
    """Ciphertext and tag are those of RFC 8998; the rest of a longer key changes nothing."""
    case = {k: bytes.fromhex(v) for k, v in STANDARDS["sm4-gcm"].items() if k != "source"}
    aead = GM.aead(case["key"] + octets("second half", 16))
    out = bytearray(len(case["plain"]) + TAG_SIZE)
    size = aead.encrypt_into(case["nonce"], case["plain"], case["aad"], memoryview(out))
    assert (bytes(out), size) == (case["ciphertext"], len(out))
    again = bytearray(len(case["plain"]))
    assert aead.decrypt_into(case["nonce"], out, case["aad"], memoryview(again)) == len(again)
    assert bytes(again) == case["plain"]


def test_the_published_signature_verifies() -> None:
    """The signature of GB/T 32918.5 is good; the second library makes it from the same number."""
    key = PublicKey(SM2, SIGNED["public"])
    Verifier(key).verify(SIGNED["signature"], SIGNED["message"], what="it")
    second = second_sm2.SM2(
        SIGNED["private"], uid=SIGNED["user"], rnd_fn=lambda _: SIGNED["k"][::-1]
    )
    assert second.sign(SIGNED["message"]) == SIGNED["signature"]
    der = encode_dss_signature(
        int.from_bytes(SIGNED["signature"][:32]), int.from_bytes(SIGNED["signature"][32:])
    )
    assert gmssl_pyx.sm2_verify_sm3_digest(key.value, SIGNED["e"], der)


def test_the_published_ciphertext_is_understood() -> None:
    """What GB/T 32918.5 encrypts decrypts here, though it is bound to nothing."""
    second = second_sm2.SM2(pk=b"\x04" + ENCRYPTED["public"], rnd_fn=lambda _: ENCRYPTED["k"][::-1])
    assert second.encrypt(ENCRYPTED["plain"]) == b"\x04" + ENCRYPTED["ciphertext"]
    with pytest.raises(IntegrityError, match="another purpose"):
        opener(ENCRYPTED["private"] + ENCRYPTED["public"]).unwrap(ENCRYPTED["ciphertext"], info=b"")


def test_keys_are_derived_with_hkdf() -> None:
    """Derivation is HKDF of RFC 5869 with SM3, written out, with a salt of zeros."""

    def mac(key: bytes, message: bytes) -> bytes:
        made = HMAC(key, SM3())
        made.update(message)
        return made.finalize()

    extracted = mac(bytes(32), octets("key"))
    assert GM.derive(octets("key"), info=b"purpose") == mac(extracted, b"purpose\x01")


# --- the second library -------------------------------------------------------------------


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_two_libraries_agree_on_sm4_gcm(plain: bytes, aad: bytes) -> None:
    """OpenSSL's SM4-GCM is GmSSL's, and nothing else opens."""
    key, nonce = octets("aead"), octets("nonce", NONCE_SIZE)
    out = bytearray(len(plain) + TAG_SIZE)
    GM.aead(key).encrypt_into(nonce, plain, aad, memoryview(out))
    if plain and aad:  # GmSSL's binding wants both
        expected = gmssl_pyx.sm4_gcm_encrypt(key[:SM4_KEY_SIZE], nonce, aad, plain)
        assert bytes(out) == b"".join(expected)
    again = bytearray(len(plain))
    GM.aead(key).decrypt_into(nonce, out, aad, memoryview(again))
    assert bytes(again) == plain
    with pytest.raises(IntegrityError):
        GM.aead(key).decrypt_into(nonce, out, aad + b"x", memoryview(again))


@pytest.mark.parametrize("sealed", [b"", bytes(15)])
def test_what_is_shorter_than_a_tag_does_not_open(sealed: bytes) -> None:
    """Too few octets are an IntegrityError, as any others that do not authenticate."""
    for aead in (Sm4Gcm(bytes(32)), GM.aead(bytes(32))):
        with pytest.raises(IntegrityError):
            aead.decrypt_into(bytes(12), sealed, b"", memoryview(bytearray()))


@pytest.fixture
def libgcrypt() -> Gcrypt:
    """The faster library, or a skip that says that it is missing."""
    found = fast()
    if found is None:
        pytest.skip("no libgcrypt 1.10 on this machine: apt-get install libgcrypt20")
    return found


FORMS = [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))]


@pytest.mark.parametrize("form", FORMS, ids=["bytes", "bytearray", "view", "writable view"])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 4095, 4096, 70_001])
def test_the_faster_library_makes_the_same(
    size: int, form: Callable[[Buffer], bytes], libgcrypt: Gcrypt
) -> None:
    """Libgcrypt seals, opens and hashes as OpenSSL does, whatever holds the octets."""
    plain, key, nonce, aad = octets("plain", size), octets("key"), octets("nonce", 12), b"header"
    fast_one, slow_one = FastSm4Gcm(key, libgcrypt), Sm4Gcm(key)
    made = [bytearray(size + TAG_SIZE) for _ in range(2)]
    aeads: tuple[Aead, Aead] = (fast_one, slow_one)
    for aead, out in zip(aeads, made, strict=True):
        assert aead.encrypt_into(form(nonce), form(plain), form(aad), memoryview(out)) == len(out)
    assert made[0] == made[1]
    again = bytearray(size)
    assert fast_one.decrypt_into(nonce, form(made[1]), aad, memoryview(again)) == size
    assert again == plain
    hashers = (libgcrypt.sm3(), Sm3())
    for hasher in hashers:
        hasher.update(form(plain))
        early = hasher.copy()
        hasher.update(b"more")
        assert early.digest() == early.digest() == GM.digest(plain).value
    assert hashers[0].digest() == hashers[1].digest() == GM.digest(plain, b"more").value


@given(st.integers(0, 8 * (100 + TAG_SIZE) - 1))
def test_the_faster_library_refuses_the_same(bit: int) -> None:
    """Any flipped bit of ciphertext or tag is an IntegrityError, as with OpenSSL."""
    sealed = bytearray(100 + TAG_SIZE)
    aead = GM.aead(bytes(32))
    aead.encrypt_into(bytes(12), bytes(100), b"", memoryview(sealed))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        aead.decrypt_into(bytes(12), sealed, b"", memoryview(bytearray(100)))


def test_without_the_faster_library_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where libgcrypt is missing or too old, OpenSSL does all, and digests are the same."""
    expected = GM.digest(bytes(5000))
    monkeypatch.setattr(gcrypt, "_NAME", "libgcrypt.so.none")
    fast.cache_clear()
    gcrypt.load.cache_clear()
    try:
        assert fast() is None
        assert GM.digest(bytes(5000)) == expected
        assert isinstance(GM.aead(bytes(32)), Sm4Gcm)
        assert isinstance(GM.hasher(), Sm3)
        monkeypatch.setattr(gcrypt, "_NAME", "libgcrypt.so.20")
        monkeypatch.setattr(gcrypt, "_OLDEST", b"9.9.9")
        gcrypt.load.cache_clear()
        assert gcrypt.load() is None
    finally:
        monkeypatch.undo()
        fast.cache_clear()
        gcrypt.load.cache_clear()


@given(st.binary(max_size=300))
def test_two_libraries_agree_on_sm3(data: bytes) -> None:
    """Digests are those of the second library."""
    assert GM.digest(data).value == second_sm3.SM3(data).digest()


@few
@given(st.binary(max_size=300))
def test_signatures_go_both_ways(message: bytes) -> None:
    """Each library accepts what the other signs, with the default user id."""
    ours = SIGNER.sign(message)
    assert second_sm2.SM2(pk=PUBLIC).verify(message, ours)
    Verifier(SIGNER.public).verify(SECOND.sign(message), message, what="it")
    r, s = int.from_bytes(ours[:32]), int.from_bytes(ours[32:])
    if message:  # with the Z value that GmSSL computes itself
        der = encode_dss_signature(r, s)
        assert gmssl_pyx.sm2_verify(SIGNER.public.value, message, der)


@few
@given(st.binary(max_size=100), st.binary(max_size=100))
def test_wraps_go_both_ways(content: bytes, info: bytes) -> None:
    """Each library opens what the other wrapped: SM2 encryption of the binding and the secret."""
    binding = GM.digest(WRAP_LABEL, info).value
    assert SECOND.decrypt(b"\x04" + wrap(OPENER.public, content, info=info)) == binding + content
    theirs: bytes = second_sm2.SM2(pk=PUBLIC).encrypt(binding + content)
    assert OPENER.unwrap(theirs[1:], info=info) == content


# --- signatures ---------------------------------------------------------------------------


def test_signatures_have_their_size_and_verify_for_one_message() -> None:
    """A signature has 64 octets, is made anew each time, and is good for one key and message."""
    first, second = SIGNER.sign(b"message"), SIGNER.sign(b"message")
    assert first != second
    assert len(first) == SIGNATURES[SM2].signature_size == 64
    other = signer_from_seed(SM2, secret("gm other", SM2)).public
    Verifier(SIGNER.public).verify(second, b"message", what="it")
    for key, signature, message in (
        (SIGNER.public, first, b"massage"),
        (SIGNER.public, first[:-1], b"message"),
        (SIGNER.public, first + b"\0", b"message"),
        (SIGNER.public, b"", b"message"),
        (other, first, b"message"),
    ):
        with pytest.raises(SignatureError):
            Verifier(key).verify(signature, message, what="it")


@few
@given(damaged(SIGNER.sign(b"message")) | st.binary(min_size=64, max_size=64))
def test_damaged_signatures_are_refused(signature: bytes) -> None:
    """No other octets verify, numbers out of range included, and none raises anything else."""
    with pytest.raises(SignatureError):
        Verifier(SIGNER.public).verify(signature, b"message", what="it")


ORDER = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123


@pytest.mark.parametrize("number", [0, ORDER, ORDER + 1, 2**256 - 1])
@pytest.mark.parametrize("half", [0, 32])
def test_numbers_out_of_range_do_not_verify(number: int, half: int) -> None:
    """Neither r nor s may be 0 or as large as the order of the curve."""
    signature = bytearray(SIGNER.sign(b"message"))
    signature[half : half + 32] = number.to_bytes(32)
    with pytest.raises(SignatureError):
        Verifier(SIGNER.public).verify(bytes(signature), b"message", what="it")


BAD_PUBLIC = {
    "empty": b"",
    "short": SIGNER.public.value[:-1],
    "long": SIGNER.public.value + b"\0",
    "zeros": bytes(64),
    "off the curve": SIGNER.public.value[:-1] + bytes([SIGNER.public.value[-1] ^ 1]),
    "beyond the field": b"\xff" * 64,
    "compressed": b"\x02" + SIGNER.public.value[:32],
}


@pytest.mark.parametrize("public", BAD_PUBLIC.values(), ids=BAD_PUBLIC.keys())
def test_what_is_no_point_is_no_key(public: bytes) -> None:
    """A public key that is not a point of the curve is refused before it is used."""
    key = PublicKey(SM2, public)
    for use in (Verifier, check_public, lambda one: wrap(one, b"secret", info=b"")):
        with pytest.raises(FormatError):
            use(key)


@pytest.mark.parametrize("number", [0, ORDER - 1, ORDER, 2**256 - 1])
def test_what_is_no_number_is_no_secret(number: int) -> None:
    """A private number is from 1 to n - 2 (GB/T 32918.1 §6.1)."""
    bad = number.to_bytes(32) + SECRET[32:]
    for make in (signer_from_seed, opener_from_seed):
        with pytest.raises(FormatError):
            make(SM2, bad)
    with pytest.raises(ValueError, match="private"):
        signer(bad)


def test_fresh_keys_belong_together() -> None:
    """A new secret is a private number with its own point, and none is made twice."""
    one, other = (new_secret(SM2, SYSTEM_RANDOM) for _ in range(2))
    assert second_sm2.SM2.get_pk(one[:32]) == b"\x04" + one[32:]
    assert one[:32] != other[:32]
    assert suite_of_keys([signer_from_seed(SM2, one).public]) is suite_named("gm")


# --- wrapping -----------------------------------------------------------------------------


@few
@given(st.binary(max_size=100), st.binary(max_size=100))
def test_what_is_wrapped_unwraps(content: bytes, info: bytes) -> None:
    """A secret comes back from its wrap, for the same info only."""
    wrapped = wrap(OPENER.public, content, info=info)
    assert len(wrapped) == len(content) + KEMS[SM2].overhead
    assert OPENER.unwrap(wrapped, info=info) == content
    with pytest.raises(IntegrityError):
        OPENER.unwrap(wrapped, info=info + b"x")


@few
@given(damaged(wrap(OPENER.public, b"secret", info=b"")) | st.binary(max_size=400))
def test_damaged_wraps_do_not_open(wrapped: bytes) -> None:
    """No other octets open, and none raises anything but IntegrityError."""
    with pytest.raises(IntegrityError):
        OPENER.unwrap(wrapped, info=b"")


def test_the_other_point_does_not_open() -> None:
    """C1 with its y negated shares x with the right one, and opens nothing."""
    prime = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
    wrapped = wrap(OPENER.public, b"secret", info=b"")
    y = (prime - int.from_bytes(wrapped[32:64])).to_bytes(32)
    with pytest.raises(IntegrityError):
        OPENER.unwrap(wrapped[:32] + y + wrapped[64:], info=b"")


def test_the_longest_secret_is_wrapped_and_none_longer() -> None:
    """What is more than SM2 encryption takes here is a FormatError, before it is tried."""
    longest = bytes(MAX_WRAPPED_SECRET)
    assert OPENER.unwrap(wrap(OPENER.public, longest, info=b"i"), info=b"i") == longest
    with pytest.raises(FormatError):
        wrap(OPENER.public, longest + b"\0", info=b"i")


def test_no_secret_is_shown() -> None:
    """Representations of SM2 keys show the algorithm and the public key's beginning only."""
    for key in (OPENER, SIGNER):
        assert SECRET[:4].hex() not in repr(key)
        assert repr(key).endswith(f"(sm2, {key.public.value[:4].hex()}…))")


def test_other_hashes_have_no_name_here() -> None:
    """Asking for a hash that no suite uses is an UnsupportedVersionError."""
    with pytest.raises(UnsupportedVersionError):
        hasher_named("sha1")
    assert hmac.compare_digest(hasher_named("blake3").digest(), suite_named("intl").digest().value)
