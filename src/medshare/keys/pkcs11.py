"""The keystore in a PKCS#11 token: private keys and KEKs are made in it and never leave it.

Each generation has a P-256 key that signs (`ecdsa-p256`) and another that opens (`p256`); a
KEK is an AES-256 key.  All are made non-extractable.  For opening, the token computes the
Diffie-Hellman value alone, and the rest of HPKE happens here (`suites.dhkem_p256`).  What a
KEK wraps has to enter the token, and what it unwraps to leave it: keys of parcels are used in
memory.

What is public of the keys is in a small file beside the card, `token` (`pkcs11_record`).
Making keys: leftovers of an interrupted run are removed from the token, the keys are made, the
file is written.  Destroying: the token first.  A lock keeps other processes out meanwhile.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare.disk.atomic import read_file, write_file
from medshare.errors import FormatError, StorageError, TokenError, UnsupportedVersionError
from medshare.keys import pkcs11_objects as objects
from medshare.keys.base import KekRecord, KeyRecord, Purpose
from medshare.keys.kek import check_label, require_key, require_wrapped
from medshare.keys.lock import exclusive
from medshare.keys.material import token_suite_error
from medshare.keys.pkcs11_record import (
    MAX_FILE,
    STORE_SIZE,
    Keys,
    TokenGeneration,
    TokenRecord,
    identity_key,
    parse_record,
)
from medshare.keys.pkcs11_session import Connection, connect
from medshare.keys.pkcs11_uri import KeyName, Pkcs11Uri, require_no_module, require_token
from medshare.suites import dhkem_p256, ecdsa_p256
from medshare.suites.base import SYSTEM_RANDOM, Opener, PublicKey, RandomBytes, Signer

TOKEN_FILE: Final = "token"  # noqa: S105  # the name of a file
_WHAT: Final = "the record of keys in a token"


@dataclass(frozen=True, slots=True, repr=False)
class TokenBackend:
    """A token, the module that reaches it, and its PIN; its representation shows none of it.

    *uri* is needed to make a keystore; one that exists knows its token.
    """

    module: Path | None
    pin: bytes
    uri: Pkcs11Uri | None = None
    force_last_try: bool = False
    random: RandomBytes = SYSTEM_RANDOM

    def __repr__(self) -> str:
        return "TokenBackend()"

    def create(self, folder: Path, *, created: int) -> "TokenKeyStore":
        """Make keys of generation 0 in the token, and a record of them in *folder*.

        Raises TokenError when the token is missing, full, locked or lacks a mechanism, and
        PassphraseError when the PIN is wrong.
        """
        if (folder / TOKEN_FILE).exists():
            raise StorageError(f"there is a keystore at {folder / TOKEN_FILE}; it is kept")
        token = self.connected()
        store = self.random(STORE_SIZE)
        keys = token.run(lambda token: _make_identity(token, store, 0), what="make keys")
        generation = TokenGeneration(created, pending=False, keys=keys)
        record = TokenRecord(store, token.uri, (generation,))
        write_file(folder / TOKEN_FILE, record.encode(), what=_WHAT)
        return TokenKeyStore(folder / TOKEN_FILE, record, token)

    def connected(self) -> Connection:
        """Return the token that `uri` names, logged in."""
        uri = require_no_module(require_token(self.uri or Pkcs11Uri()))
        return connect(self.module, uri, self.pin, force_last_try=self.force_last_try)

    def open(self, folder: Path) -> "TokenKeyStore":
        """Return the keystore whose record is in *folder*, the token logged in."""
        path = folder / TOKEN_FILE
        record = _read(path)
        token = connect(self.module, record.uri, self.pin, force_last_try=self.force_last_try)
        return TokenKeyStore(path, record, token)


class TokenKeyStore:
    """The keys of one station in a token; implements `keys.base.KeyStore`."""

    def __init__(self, path: Path, record: TokenRecord, token: Connection) -> None:
        self._path = path
        self._record = record
        self._token = token

    def __repr__(self) -> str:
        return f"TokenKeyStore({len(self._record.generations)} generations)"

    @property
    def backend(self) -> str:
        """`pkcs11`."""
        return "pkcs11"

    def records(self) -> tuple[KeyRecord, ...]:
        """Return what is here: oldest generation first, signature keys before the others."""
        return tuple(
            KeyRecord(
                number,
                purpose,
                public,
                generation.created,
                generation.pending,
                uri=self._record.uri_of(self._record.identity_key(purpose, number), "private"),
            )
            for number, generation in enumerate(self._record.generations)
            for purpose, public in generation.keys
        )

    def signers(self, generation: int) -> tuple[Signer, ...]:
        """Return the signature key of *generation*."""
        return tuple(
            TokenSigner(public, self._token, self._record.identity_key(purpose, generation))
            for purpose, public in self._record.generation(generation).keys
            if purpose is Purpose.SIGN
        )

    def openers(self, generation: int) -> tuple[Opener, ...]:
        """Return the key of *generation* to which others wrap."""
        return tuple(
            TokenOpener(public, self._token, self._record.identity_key(purpose, generation))
            for purpose, public in self._record.generation(generation).keys
            if purpose is Purpose.OPEN
        )

    def prepare(self, *, created: int, suite: str | None = None) -> int:
        """Make the keys of the next generation in the token, as pending; return its number."""
        if suite not in (None, "intl"):
            raise token_suite_error(suite)
        with self._changing():
            if self._record.pending is not None:
                return self._record.pending
            self._record.require_room()
            store, number = self._record.store, len(self._record.generations)
            keys = self._token.run(
                lambda token: _make_identity(token, store, number), what="make keys"
            )
            self._write(self._record.with_pending(created, keys))
        return number

    def settle(self, generation: int) -> None:
        """Record durably that the rotation to *generation* is complete."""
        with self._changing():
            self._record.generation(generation)
            if self._record.pending == generation:
                self._write(self._record.settled())

    def keks(self) -> tuple[KekRecord, ...]:
        """Return the KEKs that are here, in the order of their labels."""
        return tuple(
            KekRecord(
                kek.label,
                kek.algorithm,
                kek.created,
                uri=self._record.uri_of(self._record.kek_key(kek.label), "secret-key"),
            )
            for kek in self._record.keks
        )

    def make_kek(self, label: str, *, created: int, suite: str = "intl") -> None:  # noqa: ARG002  # tokens offer AES alone
        """Make a KEK called *label* in the token; nothing is made where there is one."""
        check_label(label)
        with self._changing():
            if self._record.has_kek(label):
                return
            record = self._record.with_kek(label, created=created)
            name = record.kek_key(label)
            self._token.run(
                lambda token: objects.make_kek(token, name),
                what="make a key-encryption key",
            )
            self._write(record)

    def destroy_kek(self, label: str) -> None:
        """Let there be no KEK called *label*: in the token first, then in the record."""
        with self._changing():
            if not self._record.has_kek(label):
                return
            name = self._kek_key(label)
            self._token.run(
                lambda token: objects.destroy_kek(token, name),
                what="destroy a key-encryption key",
            )
            self._write(self._record.without_kek(label))

    def wrap_key(self, label: str, key: bytes) -> bytes:
        """Return *key* wrapped inside the token."""
        name = self._kek_key(label)
        require_key(key)
        return self._token.run(lambda token: objects.wrap(token, name, key), what="wrap a key")

    def unwrap_key(self, label: str, wrapped: bytes) -> bytes:
        """Return the key that `wrap_key` wrapped."""
        name = self._kek_key(label)
        require_wrapped(wrapped)
        return self._token.run(
            lambda token: objects.unwrap(token, name, wrapped), what="unwrap a key"
        )

    def _kek_key(self, label: str) -> KeyName:
        """Return the name of the KEK called *label*, also of one that another process has made."""
        if not self._record.has_kek(label):
            self._record = _read(self._path)
        self._record.kek(label)
        return self._record.kek_key(label)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Keep other processes out, and take in what they have changed."""
        lock = self._path.with_name(f"{self._path.name}.lock")
        with exclusive(lock, wait=True, what="the keystore is in use"):
            self._record = _read(self._path)
            yield

    def _write(self, record: TokenRecord) -> None:
        write_file(self._path, record.encode(), what=_WHAT)
        self._record = record


@dataclass(frozen=True, slots=True, repr=False)
class TokenSigner:
    """A signature key in a token; may be used by several threads."""

    public: PublicKey
    _token: Connection
    _name: KeyName

    def __repr__(self) -> str:
        return f"TokenSigner({self.public!r})"

    def sign(self, message: bytes) -> bytes:
        """Return the signature over *message*: r ‖ s."""
        digest = hashlib.sha256(message).digest()
        signature = self._token.run(
            lambda token: objects.sign(token, self._name, digest), what="sign"
        )
        if len(signature) != ecdsa_p256.SIGNATURE_SIZE:
            raise TokenError("the token signs in a form that is not that of PKCS#11")
        return signature


@dataclass(frozen=True, slots=True, repr=False)
class TokenOpener:
    """A key in a token to which others wrap; may be used by several threads."""

    public: PublicKey
    _token: Connection
    _name: KeyName

    def __repr__(self) -> str:
        return f"TokenOpener({self.public!r})"

    def unwrap(self, wrapped: bytes, *, info: bytes) -> bytes:
        """Return the wrapped octets; raise IntegrityError when they do not open."""

        def exchange(point: bytes) -> bytes:
            return self._token.run(
                lambda token: objects.exchange(token, self._name, point), what="agree on a key"
            )

        return dhkem_p256.unwrap_with(exchange, self.public.value, wrapped, info=info)


def _make_identity(token: Connection, store: bytes, generation: int) -> Keys:
    """Make the keys of *generation*, in place of what an interrupted run made of them."""
    token.require_mechanisms(objects.IDENTITY_MECHANISMS)
    signs, opens = (identity_key(store, purpose, generation) for purpose in Purpose)
    signing = PublicKey(ecdsa_p256.NAME, objects.make_signature_key(token, signs))
    opening = PublicKey(dhkem_p256.NAME, objects.make_agreement_key(token, opens))
    return ((Purpose.SIGN, signing), (Purpose.OPEN, opening))


def _read(path: Path) -> TokenRecord:
    try:
        return parse_record(read_file(path, limit=MAX_FILE, what=_WHAT))
    except UnsupportedVersionError:
        raise
    except FormatError as error:
        raise StorageError(
            f"the record of keys in a token is damaged: {path}",
            hint="restore it from your backup; the keys themselves are in the token",
        ) from error
