"""The keys of docs/format.md §13.3, read a second time.  Imports nothing of medshare."""

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from gmalglib.sm2 import SM2  # type: ignore[import-untyped]  # stubs, but no marker for them

from tests.independent_values import RefusedError, need, p256, refuse, suite_named

KEM = "x25519+ml-kem-768"
P256 = "p256"


class Hybrid:
    """The key of a station for X-Wing (§13.3)."""

    def __init__(self, seed: bytes) -> None:
        self.lattice = MLKEM768PrivateKey.from_seed_bytes(seed[:64])
        self.curve = X25519PrivateKey.from_private_bytes(seed[64:])
        publics = (self.lattice.public_key(), self.curve.public_key())
        self.public = b"".join(one.public_bytes_raw() for one in publics)

    def open(self, wrapped: bytes, info: bytes) -> bytes:
        """Unwrap by RFC 9180."""
        suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
        private = hpke.MLKEM768X25519PrivateKey(self.lattice, self.curve)
        try:
            return suite.decrypt(wrapped, private, info=info)
        except (InvalidTag, ValueError):
            refuse("integrity", "the stanza does not open")


class Token:
    """The key of a station for DHKEM(P-256, HKDF-SHA256) (§13.3), RFC 9180 written out."""

    def __init__(self, seed: bytes) -> None:
        self.private = ec.derive_private_key(int.from_bytes(seed), ec.SECP256R1())
        numbers = self.private.public_key().public_numbers()
        self.public = b"\x04" + numbers.x.to_bytes(32) + numbers.y.to_bytes(32)

    def open(self, wrapped: bytes, info: bytes) -> bytes:
        """Unwrap by RFC 9180 §§4.1, 5.1 and 5.2."""
        try:
            dh = self.private.exchange(ec.ECDH(), p256(wrapped[:65]))
        except RefusedError:
            refuse("integrity", "enc is no point")
        kem, suite = b"KEM\x00\x10", b"HPKE\x00\x10\x00\x01\x00\x02"
        shared = expand(kem, extract(kem, b"", b"eae_prk", dh), b"shared_secret",
                        wrapped[:65] + self.public, 32)  # fmt: skip
        context = b"\0" + extract(suite, b"", b"psk_id_hash", b"")
        context += extract(suite, b"", b"info_hash", info)
        secret = extract(suite, shared, b"secret", b"")
        key = expand(suite, secret, b"key", context, 32)
        try:
            nonce = expand(suite, secret, b"base_nonce", context, 12)
            return AESGCM(key).decrypt(nonce, wrapped[65:], b"")
        except InvalidTag:
            refuse("integrity", "the stanza does not open")


def extract(suite: bytes, salt: bytes, label: bytes, key: bytes) -> bytes:
    """LabeledExtract of RFC 9180 §4."""
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + key, "sha256")


def expand(suite: bytes, key: bytes, label: bytes, info: bytes, size: int) -> bytes:
    """LabeledExpand of RFC 9180 §4, up to 32 octets."""
    labelled = size.to_bytes(2) + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, labelled + b"\x01", "sha256")[:size]


class National:
    """The key of a station for SM2 (§13.3)."""

    def __init__(self, seed: bytes) -> None:
        self.curve = SM2(seed[:32])
        self.public = SM2.get_pk(seed[:32])[1:]

    def open(self, wrapped: bytes, info: bytes) -> bytes:
        """Unwrap by GB/T 32918.4, and check to what it is bound."""
        try:
            plain: bytes = self.curve.decrypt(b"\x04" + wrapped)
        except ValueError:
            refuse("integrity", "the stanza does not open")
        bound = suite_named("gm").h(b"medshare/1 sm2 wrap\0" + info)
        need(plain[:32] == bound, "integrity", "wrapped for another purpose")
        return plain[32:]


KINDS: dict[str, type[Hybrid | Token | National]] = {KEM: Hybrid, P256: Token, "sm2": National}
