"""The key schedule of HPKE (RFC 9180), base mode, for a Diffie-Hellman done elsewhere.

A hardware token computes the one thing that needs the private key, the Diffie-Hellman value;
what RFC 9180 makes of it follows here.  Everything that needs no token goes through
`cryptography.hazmat.primitives.hpke` (`suites.dhkem_p256`).  The module is held to the official
vectors of RFC 9180 in `tests/vectors/rfc9180`.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from medshare.errors import IntegrityError
from medshare.suites.base import KEY_SIZE, NONCE_SIZE

_VERSION: Final = b"HPKE-v1"
_BASE_MODE: Final = b"\x00"
_KDF_SHA256: Final = 1
_HASH_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class Ciphers:
    """The numbers of RFC 9180 §7 that name KEM and AEAD; the KDF is HKDF-SHA-256."""

    kem: int
    aead: int
    key_size: int = KEY_SIZE

    @property
    def kem_id(self) -> bytes:
        """What labels derivations inside the KEM (§4.1)."""
        return b"KEM" + self.kem.to_bytes(2)

    @property
    def suite_id(self) -> bytes:
        """What labels derivations of the key schedule (§5.1)."""
        return b"HPKE" + b"".join(one.to_bytes(2) for one in (self.kem, _KDF_SHA256, self.aead))


P256_AES256GCM: Final = Ciphers(kem=0x0010, aead=0x0002)
"""DHKEM(P-256, HKDF-SHA256) with AES-256-GCM."""


@dataclass(frozen=True, slots=True, repr=False)
class Context:
    """What opens the first message of a sender (§5.2); its representation shows nothing."""

    key: bytes
    base_nonce: bytes

    def open(self, ciphertext: bytes, *, aad: bytes = b"") -> bytes:
        """Return the first plaintext; raise IntegrityError when *ciphertext* is not its own."""
        try:
            return AESGCM(self.key).decrypt(self.base_nonce, ciphertext, aad)
        except InvalidTag:
            raise IntegrityError("a wrapped key does not open") from None


def shared_secret(ciphers: Ciphers, dh: bytes, *, enc: bytes, public: bytes) -> bytes:
    """Return what `Decap` makes of the Diffie-Hellman value *dh* (§4.1).

    *enc* is the sender's ephemeral key and *public* the recipient's, both serialised.
    """
    extracted = _extract(ciphers.kem_id, b"", b"eae_prk", dh)
    return _expand(ciphers.kem_id, extracted, b"shared_secret", enc + public, _HASH_SIZE)


def key_schedule(ciphers: Ciphers, shared: bytes, *, info: bytes) -> Context:
    """Return the context that follows from the KEM's secret *shared*, without a PSK (§5.1)."""
    suite = ciphers.suite_id
    context = (
        _BASE_MODE
        + _extract(suite, b"", b"psk_id_hash", b"")
        + _extract(suite, b"", b"info_hash", info)
    )
    secret = _extract(suite, shared, b"secret", b"")
    return Context(
        key=_expand(suite, secret, b"key", context, ciphers.key_size),
        base_nonce=_expand(suite, secret, b"base_nonce", context, NONCE_SIZE),
    )


def _extract(suite: bytes, salt: bytes, label: bytes, key: bytes) -> bytes:
    """`LabeledExtract` (§4)."""
    return HKDF.extract(SHA256(), salt or None, _VERSION + suite + label + key)


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, size: int) -> bytes:
    """`LabeledExpand` (§4)."""
    labelled = size.to_bytes(2) + _VERSION + suite + label + info
    return HKDFExpand(SHA256(), size, labelled).derive(key)
