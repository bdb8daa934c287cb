"""What a station remembers of its keys in a token: names and public keys, nothing secret.

    file = CBOR [ "medshare token", version, body, checksum ]
    body = CBOR { generations, keks, store, uri }

`store` is a random number that tells the keys of one station from those of others in the same
token; `uri` names the token (RFC 7512).  Each generation is `[created, pending, [[purpose,
algorithm, public key] …]]`, each KEK `[label, algorithm, created]`.  The checksum, BLAKE3 over
what is before it, tells damage.

Keys are found in the token by CKA_ID, 16 octets that follow from `store` and the name of the
key, so that an interrupted change leaves nothing that could not be found again.  The name, as
CKA_LABEL, has all of `store` in it: a record that was lost follows from token and card.

Pure: octets in, values out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from medshare import canonical
from medshare.canonical import Fields
from medshare.digest import Digest
from medshare.errors import FormatError, KeyUnavailableError, UnsupportedVersionError, UsageError
from medshare.keys.base import Purpose
from medshare.keys.kek import AES_KW, MAX_KEKS, check_label, no_such_kek
from medshare.keys.material import MAX_GENERATIONS, MAX_KEYS, too_many_keks
from medshare.keys.pkcs11_errors import too_many_generations
from medshare.keys.pkcs11_uri import (
    MAX_URI,
    KeyName,
    Pkcs11Uri,
    parse_uri,
    require_no_module,
    require_token,
)
from medshare.suites import suite_named
from medshare.suites.base import PublicKey

LABEL: Final = "medshare token"
VERSION: Final = 1
MAX_FILE: Final = 1 << 20
STORE_SIZE: Final = 8
ID_SIZE: Final = 16
_MAX_ITEMS: Final = MAX_GENERATIONS * (4 * MAX_KEYS + 4) + 4 * MAX_KEKS + 16
_MAX_PUBLIC: Final = 4096
_MAX_ALGORITHM: Final = 32
_WHAT: Final = "the record of keys in a token"
_LABEL: Final = re.compile(rf"medshare ([0-9a-f]{{{2 * STORE_SIZE}}}) .+")
_KEK_LABEL: Final = re.compile(rf"medshare [0-9a-f]{{{2 * STORE_SIZE}}} kek (.+)")

Keys = tuple[tuple[Purpose, PublicKey], ...]


@dataclass(frozen=True, slots=True)
class TokenGeneration:
    """The keys that were made together; *created* in seconds since 1970 UTC."""

    created: int
    pending: bool
    keys: Keys


@dataclass(frozen=True, slots=True)
class TokenKek:
    """A KEK in the token; *created* in seconds since 1970 UTC."""

    label: str
    algorithm: str
    created: int


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """Every generation, oldest first, of which only the newest may be pending; KEKs by label."""

    store: bytes
    uri: Pkcs11Uri
    generations: tuple[TokenGeneration, ...]
    keks: tuple[TokenKek, ...] = ()

    @property
    def pending(self) -> int | None:
        """The number of the pending generation, if there is one."""
        return len(self.generations) - 1 if self.generations[-1].pending else None

    def generation(self, number: int) -> TokenGeneration:
        """Return generation *number*; raise KeyUnavailableError when there is none."""
        if not 0 <= number < len(self.generations):
            raise KeyUnavailableError(
                f"the keystore holds no keys of generation {number}",
                hint="restore the newest backup of this station's folder",
            )
        return self.generations[number]

    def with_pending(self, created: int, keys: Keys) -> "TokenRecord":
        """Return this with a newest, pending generation of *keys*."""
        added = TokenGeneration(created, pending=True, keys=keys)
        return replace(self, generations=(*self.generations, added))

    def require_room(self) -> None:
        """Raise LimitError when there are as many generations as a card can list."""
        if len(self.generations) >= MAX_GENERATIONS:
            raise too_many_generations(MAX_GENERATIONS)

    def settled(self) -> "TokenRecord":
        """Return this with no generation pending."""
        *older, newest = self.generations
        return replace(self, generations=(*older, replace(newest, pending=False)))

    def kek(self, label: str) -> TokenKek:
        """Return the KEK called *label*; raise KeyUnavailableError when there is none."""
        found = next((kek for kek in self.keks if kek.label == label), None)
        if found is None:
            raise no_such_kek(label)
        return found

    def has_kek(self, label: str) -> bool:
        """Tell whether there is a KEK called *label*."""
        return any(kek.label == label for kek in self.keks)

    def with_kek(self, label: str, *, created: int) -> "TokenRecord":
        """Return this with a KEK called *label*, in its place in the order."""
        if len(self.keks) >= MAX_KEKS:
            raise too_many_keks()
        keks = (*self.keks, TokenKek(check_label(label), AES_KW, created))
        return replace(self, keks=tuple(sorted(keks, key=lambda kek: kek.label)))

    def without_kek(self, label: str) -> "TokenRecord":
        """Return this without the KEK called *label*."""
        return replace(self, keks=tuple(kek for kek in self.keks if kek.label != label))

    def identity_key(self, purpose: Purpose, generation: int) -> KeyName:
        """Return what the key of *generation* for *purpose* is called in the token."""
        return identity_key(self.store, purpose, generation)

    def kek_key(self, label: str) -> KeyName:
        """Return what the KEK called *label* is called in the token."""
        return _named(self.store, f"kek {label}")

    def uri_of(self, key: KeyName, kind: str) -> str:
        """Return the URI of *key*, which is of *kind* `private` or `secret-key`."""
        return str(replace(self.uri, object=key.label, id=key.id, type=kind))

    def encode(self) -> bytes:
        """Return the octets of the file."""
        generations: list[canonical.Value] = [
            [
                one.created,
                one.pending,
                [[str(use), key.algorithm, key.value] for use, key in one.keys],
            ]
            for one in self.generations
        ]
        body = canonical.encode(
            {
                "generations": generations,
                "keks": [[kek.label, kek.algorithm, kek.created] for kek in self.keks],
                "store": self.store,
                "uri": str(self.uri),
            }
        )
        return canonical.encode([LABEL, VERSION, body, _checksum(VERSION, body).value])


def identity_key(store: bytes, purpose: Purpose, generation: int) -> KeyName:
    """Return what a key of the station *store* is called in the token."""
    return _named(store, f"{purpose} {generation}")


def store_of(label: str) -> bytes | None:
    """Return the station whose key is labelled *label* in a token, or None if it is not ours."""
    match = _LABEL.fullmatch(label)
    return bytes.fromhex(match[1]) if match else None


def kek_of(label: str) -> str | None:
    """Return what the KEK that is labelled *label* in a token is called here, or None."""
    match = _KEK_LABEL.fullmatch(label)
    return match[1] if match else None


def _named(store: bytes, what: str) -> KeyName:
    label = f"medshare {store.hex()} {what}"
    digest = suite_named("intl").digest(b"medshare token key\x00", store, label.encode())
    return KeyName(label, digest.value[:ID_SIZE])


def _checksum(version: int, body: bytes) -> Digest:
    return suite_named("intl").digest(canonical.encode([LABEL, version, body]))


def parse_record(data: bytes) -> TokenRecord:
    """Return the record in *data*.

    Raises FormatError, of which UnsupportedVersionError is a kind, unless all of it is well
    formed; a URI with a module path in it is not.
    """
    match canonical.decode(data, limit=MAX_FILE, what=_WHAT, items=8):
        case [label, int() as version, bytes() as body, bytes() as checksum] if (
            label == LABEL and type(version) is int
        ):
            if checksum != _checksum(version, body).value:
                raise FormatError(f"{_WHAT} does not match its checksum")
        case _:
            raise FormatError(f"this is not {_WHAT}")
    if version != VERSION:
        raise UnsupportedVersionError(
            f"{_WHAT} has version {version}; this medshare reads version {VERSION}",
            hint="update medshare",
        )
    return _parse_body(body)


def _parse_body(body: bytes) -> TokenRecord:
    value = canonical.decode(body, limit=MAX_FILE, what=_WHAT, items=_MAX_ITEMS)
    fields = Fields(value, what=_WHAT)
    generations = fields.items("generations", maximum=MAX_GENERATIONS)
    record = TokenRecord(
        store=fields.octets("store", size=STORE_SIZE),
        uri=_uri(fields.text("uri", maximum=MAX_URI)),
        generations=tuple(_generation(item) for item in generations),
        keks=tuple(_kek(item) for item in fields.items("keks", maximum=MAX_KEKS)),
    )
    fields.finish()
    if not record.generations or any(one.pending for one in record.generations[:-1]):
        raise FormatError(f"{_WHAT} has no generation, or an older one that is pending")
    labels = [kek.label for kek in record.keks]
    if labels != sorted(set(labels)):
        raise FormatError(f"the key-encryption keys in {_WHAT} are not in order")
    return record


def _uri(text: str) -> Pkcs11Uri:
    try:
        return require_no_module(require_token(parse_uri(text)))
    except UsageError as error:
        raise FormatError(error.message) from error


def _generation(item: object) -> TokenGeneration:
    match item:
        case [int() as created, bool() as pending, list() as keys] if (
            type(created) is int and created <= canonical.MAX_TIME and len(keys) <= MAX_KEYS
        ):
            return TokenGeneration(created, pending, _keys(keys))
    raise FormatError(f"a generation in {_WHAT} is malformed")


def _keys(items: Sequence[object]) -> Keys:
    keys = []
    for item in items:
        match item:
            case [str() as purpose, str() as algorithm, bytes() as public] if (
                purpose in set(Purpose)
                and len(algorithm.encode()) <= _MAX_ALGORITHM
                and len(public) <= _MAX_PUBLIC
            ):
                keys.append((Purpose(purpose), PublicKey(algorithm, public)))
            case _:
                raise FormatError(f"a key in {_WHAT} is malformed")
    if [purpose for purpose, _ in keys] != list(Purpose):
        raise FormatError(f"a generation in {_WHAT} has not one key for each purpose")
    return tuple(keys)


def _kek(item: object) -> TokenKek:
    match item:
        case [str() as label, str() as algorithm, int() as created] if (
            type(created) is int and created <= canonical.MAX_TIME and algorithm == AES_KW
        ):
            try:
                return TokenKek(check_label(label), algorithm, created)
            except UsageError as error:
                raise FormatError(error.message) from error
    raise FormatError(f"a key-encryption key in {_WHAT} is malformed")
