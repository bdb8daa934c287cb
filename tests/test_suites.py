"""Suite `intl`, its signatures and its key encapsulation: standards met, misuse refused."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from medshare.digest import Digest
from medshare.errors import (
    FormatError,
    IntegrityError,
    MedshareError,
    SignatureError,
    UnsupportedVersionError,
)
from medshare.suites import SUITE_NAMES, suite_named
from medshare.suites.base import NONCE_SIZE, TAG_SIZE, PublicKey
from medshare.suites.intl import INTL
from medshare.suites.kem import (
    HYBRID,
    HYBRID_SEED_SIZE,
    KEMS,
    check_public,
    opener_from_seed,
    wrap,
)
from medshare.suites.signatures import (
    ED25519,
    ML_DSA_65,
    SIGNATURES,
    Verifier,
    require_identity_set,
    signer_from_seed,
)
from tests.builder import octets
from tests.strategies import damaged

OPENER = opener_from_seed(HYBRID, octets("suite kem", HYBRID_SEED_SIZE))
XWING_LABEL = b"\\.//^\\"
SMALL_ORDER = (
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
)
"""Points with which X25519 gives zeros for every private key (RFC 7748 §6.1)."""


def test_suites_are_found_by_name() -> None:
    """Every listed suite is found and knows its name; no other name is."""
    for name in SUITE_NAMES:
        assert suite_named(name).name == name
    for name in ("", "INTL", "gm+intl", "none"):
        with pytest.raises(UnsupportedVersionError):
            suite_named(name)


def test_the_hash_is_blake3() -> None:
    """Digests agree with the published BLAKE3 test vector, in one go and in parts."""
    empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert INTL.digest().hex == empty
    hasher = INTL.hasher()
    hasher.update(b"med")
    hasher.update(b"share")
    assert Digest(hasher.digest()) == INTL.digest(b"medshare") == INTL.digest(b"med", b"", b"share")


def test_keys_are_derived_with_hkdf() -> None:
    """Derivation is HKDF-SHA-256 as RFC 5869 writes it out, with a salt of zeros."""
    key, info = octets("key"), b"purpose"
    extracted = hmac.digest(bytes(32), key, "sha256")
    assert INTL.derive(key, info=info) == hmac.digest(extracted, info + b"\x01", "sha256")


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_the_aead_is_aes_gcm(plain: bytes, aad: bytes) -> None:
    """Ciphertext and tag are those of AES-256-GCM, and only they open."""
    key, nonce = octets("aead"), bytes(NONCE_SIZE)
    out = bytearray(len(plain) + TAG_SIZE)
    INTL.aead(key).encrypt_into(nonce, plain, aad, memoryview(out))
    assert bytes(out) == AESGCM(key).encrypt(nonce, plain, aad)
    again = bytearray(len(plain))
    INTL.aead(key).decrypt_into(nonce, out, aad, memoryview(again))
    assert bytes(again) == plain
    with pytest.raises(IntegrityError):
        INTL.aead(key).decrypt_into(nonce, out, aad + b"x", memoryview(again))


# --- signatures ---------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [ED25519, ML_DSA_65])
def test_signatures_verify_and_have_their_size(algorithm: str) -> None:
    """A signature verifies under its key and message only, and has the announced size."""
    signer = signer_from_seed(algorithm, octets("signer"))
    signature = signer.sign(b"message")
    assert len(signature) == SIGNATURES[algorithm].signature_size
    assert len(signer.public.value) == SIGNATURES[algorithm].public_size
    verifier = Verifier(signer.public)
    verifier.verify(signature, b"message", what="it")
    other = Verifier(signer_from_seed(algorithm, octets("other")).public)
    for key, given_signature, message in (
        (verifier, signature, b"massage"),
        (verifier, signature[:-1], b"message"),
        (verifier, signature + b"\0", b"message"),
        (verifier, b"", b"message"),
        (other, signature, b"message"),
    ):
        with pytest.raises(SignatureError):
            key.verify(given_signature, message, what="it")


def test_ed25519_is_rfc_8032() -> None:
    """The first test vector of RFC 8032 §7.1."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    signer = signer_from_seed(ED25519, seed)
    assert signer.public.value.hex().startswith("d75a980182b10ab7d54bfed3c964073a")
    assert signer.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974")


def test_signatures_are_not_malleable() -> None:
    """Adding the group order to S makes another encoding of the same number: refused."""
    order = 2**252 + 27742317777372353535851937790883648493
    signer = signer_from_seed(ED25519, octets("signer"))
    signature = signer.sign(b"message")
    s = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(SignatureError):
        Verifier(signer.public).verify(
            signature[:32] + s.to_bytes(32, "little"), b"message", what="it"
        )


@given(damaged(signer_from_seed(ML_DSA_65, octets("signer")).sign(b"message")))
def test_damaged_signatures_are_refused(signature: bytes) -> None:
    """No change to an ML-DSA-65 signature verifies, and none raises anything else."""
    public = signer_from_seed(ML_DSA_65, octets("signer")).public
    with pytest.raises(SignatureError):
        Verifier(public).verify(signature, b"message", what="it")


@pytest.mark.parametrize(
    ("algorithm", "value", "error"),
    [
        (ED25519, bytes(31), FormatError),
        (ED25519, b"", FormatError),
        (ML_DSA_65, bytes(1951), FormatError),
        ("rsa", bytes(32), UnsupportedVersionError),
        ("", b"", UnsupportedVersionError),
    ],
)
def test_bad_verification_keys_are_refused(
    algorithm: str, value: bytes, error: type[MedshareError]
) -> None:
    """A key of the wrong size is a FormatError, one of an unknown algorithm says so."""
    with pytest.raises(error):
        Verifier(PublicKey(algorithm, value))


def test_an_identity_signs_with_both() -> None:
    """Only Ed25519 and ML-DSA-65 together, in this order and of the right sizes, are a set."""
    ed, ml = (signer_from_seed(name, octets("set")).public for name in (ED25519, ML_DSA_65))
    require_identity_set([ed, ml], what="it")
    for keys in ([], [ed], [ml], [ml, ed], [ed, ed], [ed, ml, ed], [PublicKey("later", b"k")]):
        with pytest.raises(UnsupportedVersionError):
            require_identity_set(keys, what="it")
    with pytest.raises(FormatError):
        require_identity_set([PublicKey(ED25519, bytes(31)), ml], what="it")


@pytest.mark.parametrize("make", [signer_from_seed, opener_from_seed])
def test_unknown_algorithms_have_no_keys(make: object) -> None:
    """Asking for a private key of an unknown algorithm is an UnsupportedVersionError."""
    with pytest.raises(UnsupportedVersionError):
        make("rsa", bytes(96))  # type: ignore[operator]  # both take a name and a seed


# --- key encapsulation --------------------------------------------------------------------


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_what_is_wrapped_unwraps(secret: bytes, info: bytes) -> None:
    """A secret comes back from its wrap, for the same info only."""
    wrapped = wrap(OPENER.public, secret, info=info)
    assert len(wrapped) == len(secret) + KEMS[HYBRID].overhead
    assert OPENER.unwrap(wrapped, info=info) == secret
    with pytest.raises(IntegrityError):
        OPENER.unwrap(wrapped, info=info + b"x")


@given(damaged(wrap(OPENER.public, b"secret", info=b"")) | st.binary(max_size=1300))
def test_damaged_wraps_do_not_open(wrapped: bytes) -> None:
    """No other octets open, and none raises anything but IntegrityError."""
    with pytest.raises(IntegrityError):
        OPENER.unwrap(wrapped, info=b"")


def test_the_wrap_is_hpke_with_x_wing() -> None:
    """A wrap opens by RFC 9180 and X-Wing written out by hand, as docs/format.md §13.3 says."""
    seed = octets("suite kem", HYBRID_SEED_SIZE)
    lattice = MLKEM768PrivateKey.from_seed_bytes(seed[:64])
    curve = X25519PrivateKey.from_private_bytes(seed[64:])
    wrapped = wrap(OPENER.public, b"secret", info=b"info")
    ephemeral = wrapped[1088:1120]
    shared = hashlib.sha3_256(
        lattice.decapsulate(wrapped[:1088])
        + curve.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        + ephemeral
        + curve.public_key().public_bytes_raw()
        + XWING_LABEL
    ).digest()  # fmt: skip
    suite = b"HPKE\x64\x7a\x00\x01\x00\x02"

    def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")

    def expand(label: bytes, context: bytes, size: int) -> bytes:
        info = size.to_bytes(2) + b"HPKE-v1" + suite + label + context
        return hmac.digest(secret, info + b"\x01", "sha256")[:size]

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", b"info")
    secret = extract(shared, b"secret", b"")
    key, nonce = expand(b"key", context, 32), expand(b"base_nonce", context, 12)
    assert AESGCM(key).decrypt(nonce, wrapped[1120:], b"") == b"secret"


@pytest.mark.parametrize("point", SMALL_ORDER, ids=["0", "1", "e0", "5f"])
def test_keys_of_small_order_are_refused(point: bytes) -> None:
    """A recipient key that would make half of the secret known is refused, with a coded error."""
    weak = PublicKey(HYBRID, OPENER.public.value[:-32] + point)
    with pytest.raises(FormatError):
        wrap(weak, b"secret", info=b"")


@pytest.mark.parametrize(
    ("algorithm", "value", "error"),
    [
        (HYBRID, b"", FormatError),
        (HYBRID, OPENER.public.value[:-1], FormatError),
        (HYBRID, b"\xff" * KEMS[HYBRID].public_size, FormatError),
        ("later", bytes(65), UnsupportedVersionError),
    ],
)
def test_bad_recipient_keys_are_refused(
    algorithm: str, value: bytes, error: type[MedshareError]
) -> None:
    """A key of the wrong size or with numbers out of range is refused before it is used."""
    with pytest.raises(error):
        check_public(PublicKey(algorithm, value))
    with pytest.raises(error):
        wrap(PublicKey(algorithm, value), b"secret", info=b"")


def test_no_secret_is_shown() -> None:
    """Representations of keys show the algorithm and the public key's beginning only."""
    for key in (OPENER, signer_from_seed(ED25519, octets("signer"))):
        shown = repr(key)
        assert key.public.algorithm in shown
        assert "0x" not in shown
        assert len(shown) < 80
