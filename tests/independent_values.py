"""The values of docs/format.md §§1 to 3, read a second time.  Imports nothing of medshare."""

import re
from typing import Any, NoReturn

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SHA256, SM3, Hash
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from gmalglib.sm2 import SM2  # type: ignore[import-untyped]  # stubs, but no marker for them

MIB = 1 << 20
KEY_SIZES = {"ed25519": 32, "ml-dsa-65": 1952, "ecdsa-p256": 65, "sm2": 64}
IDENTITIES = (
    ["ed25519", "ml-dsa-65"],
    ["ecdsa-p256"],
    ["sm2"],
    ["ed25519", "ml-dsa-65", "sm2"],
)


class RefusedError(Exception):
    """The parcel is refused: a kind of fault of §1.5, and a reason."""


def refuse(kind: str, reason: str) -> NoReturn:
    """Refuse the parcel."""
    raise RefusedError(f"{kind}: {reason}")


def need(truth: object, kind: str, reason: str) -> None:
    """Refuse the parcel unless *truth*."""
    if not truth:
        refuse(kind, reason)


class Intl:
    """H, KDF and AEAD of suite `intl` (§1.3, §13.1)."""

    chunk_key = "ed25519"

    def h(self, data: bytes) -> bytes:
        """H."""
        return blake3(data).digest()

    def kdf(self, key: bytes, info: bytes) -> bytes:
        """KDF."""
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key)

    def open(self, key: bytes, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        """AEAD, backwards; raises InvalidTag."""
        return AESGCM(key).decrypt(nonce, data, aad)


class Gm:
    """H, KDF and AEAD of suite `gm` (§13.1)."""

    chunk_key = "sm2"

    def h(self, data: bytes) -> bytes:
        """H."""
        state = Hash(SM3())
        state.update(data)
        return state.finalize()

    def kdf(self, key: bytes, info: bytes) -> bytes:
        """KDF."""
        return HKDF(algorithm=SM3(), length=32, salt=None, info=info).derive(key)

    def open(self, key: bytes, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        """AEAD, backwards; raises InvalidTag."""
        decryptor = Cipher(SM4(key[:16]), GCM(nonce, data[-16:])).decryptor()
        decryptor.authenticate_additional_data(aad)
        return decryptor.update(data[:-16]) + decryptor.finalize()


Suite = Intl | Gm


def suite_named(name: str) -> Suite:
    """Return the suite of that name (§13.1)."""
    need(name in ("intl", "gm"), "format.version", "suite")
    return Intl() if name == "intl" else Gm()


# --- §2: CBOR -----------------------------------------------------------------------------


class Cbor:
    """A strict decoder of the values of §2.1."""

    def __init__(self, data: bytes, items: int) -> None:
        self.data, self.at, self.left = data, 0, items - 1

    def take(self, count: int) -> bytes:
        """Take *count* octets."""
        need(self.at + count <= len(self.data), "format", "CBOR is cut off")
        self.at += count
        return self.data[self.at - count : self.at]

    def reserve(self, count: int) -> None:
        """Count *count* further items before any of them is read."""
        self.left -= count
        need(self.left >= 0, "format.limit", "too many items")

    def value(self, depth: int = 0) -> Any:
        """Read one item."""
        head = self.take(1)[0]
        major, number = head >> 5, head & 31
        if major == 7:
            need(number in (20, 21, 22), "format", "a simple value or a float")
            return {20: False, 21: True, 22: None}[number]
        if number >= 24:
            need(number < 28, "format", "an indefinite length")
            width = 1 << (number - 24)
            number = int.from_bytes(self.take(width))
            least = 24 if width == 1 else 1 << (4 * width)
            need(number >= least, "format", "a number in more octets than it needs")
        if major == 0:
            return number
        if major == 2:
            return self.take(number)
        if major == 3:
            try:
                return self.take(number).decode()
            except UnicodeDecodeError:
                refuse("format", "text is not UTF-8")
        need(major in (4, 5), "format", "a negative number or a tag")
        need(depth < 16, "format", "nested too deep")
        self.reserve(number * (major - 3))
        if major == 4:
            return [self.value(depth + 1) for _ in range(number)]
        return self.map(number, depth + 1)

    def map(self, count: int, depth: int) -> dict[str, Any]:
        """Read a map of *count* entries."""
        found: dict[str, Any] = {}
        before = b""
        for _ in range(count):
            start = self.at
            key = self.value(depth)
            need(isinstance(key, str), "format", "a key that is no text")
            octets = self.data[start : self.at]
            need(before < octets, "format", "keys out of order")
            found[key], before = self.value(depth), octets
        return found


def decode(data: bytes, size: int, items: int) -> Any:
    """Decode *data* with the limits of §14."""
    need(len(data) <= size, "format.limit", "too many octets")
    reader = Cbor(data, items)
    value = reader.value()
    need(reader.at == len(data), "format", "trailing octets")
    return value


def fields(value: Any, types: dict[str, Any], *, extended: bool = False) -> Any:
    """Check a map against §2.4 and §2.5: a type, or a length of octets, for each field.

    *extended* says that whoever calls looks at what is critical.
    """
    need(isinstance(value, dict), "format", "not a map")
    types = {"critical": dict, "extra": dict} | types
    need(value.keys() == types.keys(), "format", "missing or unknown fields")
    for name, kind in types.items():
        found = value[name]
        if isinstance(kind, int):
            need(isinstance(found, bytes) and len(found) == kind, "format", name)
        else:
            need(type(found) is kind, "format", name)
    need(len(value["extra"]) <= 64 and len(value["critical"]) <= 64, "format.limit", "extra")
    need(extended or not value["critical"], "format.version", "a critical extension")
    return value


def within(number: int, least: int, most: int) -> None:
    """Check the bounds of a number."""
    need(least <= number <= most, "format.limit", "a number out of bounds")


def time(number: int) -> None:
    """Check a time of §1.2."""
    within(number, 0, 253402300799)


# --- §3: signed objects -------------------------------------------------------------------


def unpack(data: bytes, purpose: str, size: int) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Take a signed object apart (§3.1)."""
    outer = decode(data, size, 64)
    shape = isinstance(outer, list) and [type(item) for item in outer] == [str, bytes, list]
    need(shape, "format", "not a signed object")
    label, body, pairs = outer
    if label != f"medshare/1 {purpose}":
        other = re.fullmatch(rf"medshare/[0-9]+ {purpose}", label)
        refuse("format.version" if other else "format", "another label")
    need(1 <= len(pairs) <= 8, "format", "number of signatures")
    return body, [pair_of(pair, 8192) for pair in pairs]


def pair_of(pair: Any, most: int) -> tuple[str, bytes]:
    """Read a pair of algorithm and octets."""
    shape = isinstance(pair, list) and [type(item) for item in pair] == [str, bytes]
    need(shape and len(pair[0].encode()) <= 32 and len(pair[1]) <= most, "format", "a pair")
    return pair[0], pair[1]


def identity(keys: list[Any]) -> list[tuple[str, bytes]]:
    """Read the keys of an identity (§3.3)."""
    need(len(keys) <= 8, "format.limit", "too many keys")
    pairs = [pair_of(key, 4096) for key in keys]
    need([name for name, _ in pairs] in IDENTITIES, "format.version", "not an identity set")
    need(all(len(key) == KEY_SIZES[name] for name, key in pairs), "format", "size of a key")
    return pairs


def verify(
    purpose: str, body: bytes, signatures: list[tuple[str, bytes]], keys: list[tuple[str, bytes]]
) -> None:
    """Verify all signatures (§3.2, §3.3)."""
    kind = "authenticity.signature"
    need([name for name, _ in signatures] == [name for name, _ in keys], kind, "who signed")
    message = f"medshare/1 {purpose}".encode() + b"\0" + body
    for (name, key), (_, signature) in zip(keys, signatures, strict=True):
        check(name, key, signature, message)


def check(name: str, key: bytes, signature: bytes, message: bytes) -> None:
    """Verify one signature (§13.2)."""
    if name == "sm2":
        point(key)
        fits = len(signature) == 64 and SM2(pk=b"\x04" + key).verify(message, signature)
        need(fits, "authenticity.signature", "sm2 does not verify")
        return
    if name == "ecdsa-p256":
        check_ecdsa(key, signature, message)
        return
    kind = Ed25519PublicKey if name == "ed25519" else MLDSA65PublicKey
    try:
        kind.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        refuse("authenticity.signature", f"{name} does not verify")


def check_ecdsa(key: bytes, signature: bytes, message: bytes) -> None:
    """Verify r ‖ s over SHA-256 (§13.2)."""
    public = p256(key)
    need(len(signature) == 64, "authenticity.signature", "length of a signature")
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    try:
        public.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
    except InvalidSignature:
        refuse("authenticity.signature", "ecdsa-p256 does not verify")


def p256(key: bytes) -> ec.EllipticCurvePublicKey:
    """Read a point of P-256, 04 ‖ x ‖ y (§13.2)."""
    need(len(key) == 65 and key[0] == 4, "format", "a key that is no such point")
    numbers = int.from_bytes(key[1:33]), int.from_bytes(key[33:])
    try:
        return ec.EllipticCurvePublicNumbers(*numbers, ec.SECP256R1()).public_key()
    except ValueError:
        refuse("format", "a key off the curve")


def point(key: bytes) -> None:
    """Check that a key is a point of the SM2 curve (§13.2)."""
    need(len(key) == 64 and SM2.is_pk_valid(b"\x04" + key), "format", "a key off the curve")
