"""Signed notes (C2SP signed-note): a text, an empty line, and one line for each signature.

    — <key name> base64(key id ‖ signature)
    key id = SHA-256(key name ‖ LF ‖ type ‖ public key), its first four octets

Ed25519 has the assigned types 0x01 and, for cosignatures, 0x04.  Algorithms for which C2SP
assigns none have the type `0xff ‖ "medshare/1 " ‖ algorithm ‖ 00`, with `cosignature ` before
the algorithm where it is one.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from medshare.errors import FormatError, LimitError, SignatureError
from medshare.suites.base import PublicKey
from medshare.suites.signatures import ED25519, SIGNATURES, Verifier

MAX_NOTE: Final = 1 << 18
MAX_SIGNATURES: Final = 64
KEY_ID_SIZE: Final = 4
MAX_NAME: Final = 255
_DASH: Final = "— "
_ED25519_TYPES: Final = {False: b"\x01", True: b"\x04"}
_OWN_TYPE: Final = b"\xffmedshare/1 "
_COSIGNATURE: Final = b"cosignature "
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_VKEY: Final = re.compile(r"([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)")


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A public key under the name with which it signs notes."""

    name: str
    public: PublicKey
    cosigner: bool = False

    @property
    def type(self) -> bytes:
        """The signature type."""
        if self.public.algorithm == ED25519:
            return _ED25519_TYPES[self.cosigner]
        kind = _COSIGNATURE if self.cosigner else b""
        return _OWN_TYPE + kind + self.public.algorithm.encode() + b"\x00"

    @property
    def id(self) -> bytes:
        """The four octets that stand before its signatures."""
        content = self.name.encode() + b"\n" + self.type + self.public.value
        return sha256(content).digest()[:KEY_ID_SIZE]

    @property
    def vkey(self) -> str:
        """The key as others are told of it: name, id and key, joined by `+`."""
        material = base64.b64encode(self.type + self.public.value).decode()
        return f"{self.name}+{self.id.hex()}+{material}"


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line; who made it is not known before a key verifies it."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """Return the line, with its end."""
        octets = base64.b64encode(self.key_id + self.value).decode()
        return f"{_DASH}{self.name} {octets}\n"

    def is_by(self, key: NoteKey) -> bool:
        """Tell whether it claims to be made with *key*."""
        return self.name == key.name and self.key_id == key.id


@dataclass(frozen=True, slots=True)
class Note:
    """A text, which ends with a line feed, and its signatures, not yet verified."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        """Return the octets of the whole note."""
        return (self.text + "\n" + "".join(one.line() for one in self.signatures)).encode()

    def find(self, key: NoteKey) -> NoteSignature | None:
        """Return the first signature that claims to be made with *key*, or None."""
        return next((one for one in self.signatures if one.is_by(key)), None)

    def verify(self, keys: Sequence[NoteKey], *, what: str) -> None:
        """Raise SignatureError unless each of *keys* has signed the text."""
        if not keys:
            raise SignatureError(f"there is no key to check {what} with")
        for key in keys:
            signature = self.find(key)
            if signature is None:
                raise SignatureError(f"{what} does not carry exactly the signatures it needs")
            Verifier(key.public).verify(signature.value, self.text.encode(), what=what)


def parse_note(data: bytes, *, what: str) -> Note:
    """Return the note in *data*; raise FormatError unless it is written exactly as it must be."""
    if len(data) > MAX_NOTE:
        raise LimitError(f"{what} has {len(data)} bytes; at most {MAX_NOTE} are allowed")
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{what} is not a text") from error
    text, parting, lines = whole.rpartition("\n\n")
    if not parting or not lines.endswith("\n") or _CONTROL.search(whole):
        raise FormatError(f"{what} is not a signed note")
    signatures = lines[:-1].split("\n")
    if len(signatures) > MAX_SIGNATURES:
        raise LimitError(f"{what} carries too many signatures")
    return Note(text + "\n", tuple(_signature(line, what) for line in signatures))


def _signature(line: str, what: str) -> NoteSignature:
    name, _, octets = line.removeprefix(_DASH).partition(" ")
    value = from_base64(octets, what)
    if not line.startswith(_DASH) or not is_name(name) or len(value) <= KEY_ID_SIZE:
        raise FormatError(f"a signature on {what} is malformed")
    return NoteSignature(name, value[:KEY_ID_SIZE], value[KEY_ID_SIZE:])


def is_name(name: str) -> bool:
    """Tell whether *name* may name a key, or a record."""
    return 0 < len(name.encode()) <= MAX_NAME and not any(c.isspace() or c == "+" for c in name)


def from_base64(text: str, what: str) -> bytes:
    """Return the octets that *text* stands for, in the only way to write them."""
    try:
        octets = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"{what} holds something that is not base64") from error
    if base64.b64encode(octets).decode() != text:
        raise FormatError(f"{what} holds something that is not base64")
    return octets


def parse_vkey(text: str) -> NoteKey:
    """Return the key that a vkey names; raise FormatError unless it is one, and whole."""
    match = _VKEY.fullmatch(text)
    if match is None:
        raise FormatError("this is not the key of a record")
    key = _key(match[1], from_base64(match[3], "the key of a record"))
    if key.vkey != text:
        raise FormatError("the key of a record does not fit its own name")
    return key


def _key(name: str, material: bytes) -> NoteKey:
    for algorithm, scheme in SIGNATURES.items():
        for cosigner in (False, True):
            begin = NoteKey(name, PublicKey(algorithm, b""), cosigner).type
            value = material.removeprefix(begin)
            if material.startswith(begin) and len(value) == scheme.public_size:
                return NoteKey(name, PublicKey(algorithm, value), cosigner)
    raise FormatError("the key of a record has an algorithm that is unknown here")
