"""Signed objects: the one outer shape of envelope, seal, receipt and card (format §3).

A signed object is the CBOR array `[label, body, [[algorithm, signature], …]]`.  What is
signed is `label ‖ 0x00 ‖ body`, so a signature made for one purpose never serves another.
There is exactly one signature for each key that must sign, in the order of the keys:
a missing, extra or reordered signature is refused, so none can be stripped.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medshare import canonical
from medshare.errors import FormatError, SignatureError, UnsupportedVersionError
from medshare.suites.base import PublicKey, Signer
from medshare.suites.signatures import Verifier

MAX_SIGNATURES: Final = 8
MAX_ALGORITHM: Final = 32
_MAX_SIGNATURE: Final = 8192
_MAX_PUBLIC_KEY: Final = 4096
_MAX_ITEMS: Final = 64
_VERSION: Final = re.compile(r"medshare/[0-9]{1,9}(?= )")


@dataclass(frozen=True, slots=True)
class Signed:
    """A body with its signatures, not yet verified."""

    label: str
    body: bytes
    signatures: tuple[tuple[str, bytes], ...]

    def encode(self) -> bytes:
        """Return the deterministic encoding."""
        pairs: list[canonical.Value] = [[name, value] for name, value in self.signatures]
        return canonical.encode([self.label, self.body, pairs])

    def verify(self, keys: Sequence[PublicKey], *, what: str) -> None:
        """Raise SignatureError unless each of *keys*, in this order, has signed."""
        if [name for name, _ in self.signatures] != [key.algorithm for key in keys] or not keys:
            raise SignatureError(f"{what} does not carry exactly the signatures it needs")
        message = signing_input(self.label, self.body)
        for key, (_, signature) in zip(keys, self.signatures, strict=True):
            Verifier(key).verify(signature, message, what=what)


def signing_input(label: str, body: bytes) -> bytes:
    """Return the octets that are signed: label ‖ 0x00 ‖ body."""
    return label.encode() + b"\x00" + body


def sign(label: str, body: bytes, signers: Sequence[Signer]) -> Signed:
    """Return *body* signed by all *signers*, in order."""
    message = signing_input(label, body)
    return Signed(label, body, tuple((one.public.algorithm, one.sign(message)) for one in signers))


def parse(data: bytes, *, label: str, limit: int, what: str) -> Signed:
    """Return the signed object in *data*; raise FormatError unless it is one with *label*.

    Raises UnsupportedVersionError when it is one of another version of the format.
    """
    match canonical.decode(data, limit=limit, what=what, items=_MAX_ITEMS):
        case [str() as found, bytes() as body, list() as pairs]:
            _require_label(found, label, what)
        case _:
            raise FormatError(f"{what} is not a signed object")
    if not 1 <= len(pairs) <= MAX_SIGNATURES:
        raise FormatError(f"{what} carries no signature, or too many")
    return Signed(label, body, tuple(_signature(pair, what) for pair in pairs))


def _require_label(found: str, label: str, what: str) -> None:
    if found == label:
        return
    if _VERSION.sub("", found) == _VERSION.sub("", label):
        raise UnsupportedVersionError(
            f"{what} was written in another version of the format",
            hint="update medshare, then try again",
        )
    raise FormatError(f"{what} is not labelled '{label}'")


def _signature(pair: object, what: str) -> tuple[str, bytes]:
    match pair:
        case [str() as name, bytes() as value] if (
            len(value) <= _MAX_SIGNATURE and len(name.encode()) <= MAX_ALGORITHM
        ):
            return name, value
    raise FormatError(f"a signature on {what} is malformed")


def keys_to_value(keys: Sequence[PublicKey]) -> list[canonical.Value]:
    """Return the CBOR form of a list of public keys: `[[algorithm, octets], …]`."""
    return [[key.algorithm, key.value] for key in keys]


def keys_from_value(items: Sequence[object], *, what: str) -> tuple[PublicKey, ...]:
    """Read a list of public keys; raise FormatError when one is malformed."""
    keys = []
    for item in items:
        match item:
            case [str() as name, bytes() as value] if (
                len(name.encode()) <= MAX_ALGORITHM and len(value) <= _MAX_PUBLIC_KEY
            ):
                keys.append(PublicKey(name, value))
            case _:
                raise FormatError(f"a public key of {what} is malformed")
    return tuple(keys)
