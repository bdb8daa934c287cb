"""The keys of docs/format.md §13.3, read a second time.  Imports nothing of medshare."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from gmalglib.sm2 import SM2  # type: ignore[import-untyped]  # stubs, but no marker for them

from tests.independent_values import need, refuse, suite_named

KEM = "x25519+ml-kem-768"


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
