"""The one interface that every keystore backend offers.

A keystore holds the secret keys of one station in *generations*, numbered from 0.  A
rotation adds a generation and never takes one away: old keys go on opening old parcels.
The newest generation is *pending* from the moment its keys are durable until the
rotation that asked for it is complete; a rotation that was interrupted is recognised by
it.

Beside these identity keys it holds *key-encryption keys* (KEKs), under labels that whoever
asks for them chooses.  They are made and destroyed one by one; what is pending of a rotation
of tiers is kept by whoever rotates, not here.

Secrets do not cross this interface, but for the keys that a KEK wraps.  What does is able to
sign or to open, so that a token which never gives its keys away can stand behind it as well
as a file.  The contract that each backend must pass is `tests/suites/keystore_suite.py`.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from medshare.suites.base import Opener, PublicKey, Signer


class Purpose(StrEnum):
    """What a key is for; no key serves two purposes."""

    SIGN = "sign"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What may be known of one key without any secret; *created* in seconds since 1970 UTC."""

    generation: int
    purpose: Purpose
    public: PublicKey
    created: int
    pending: bool
    uri: str = ""
    """The name of the key in a token (RFC 7512); empty where keys are not in one."""


@dataclass(frozen=True, slots=True)
class KekRecord:
    """What may be known of one KEK without any secret; *created* in seconds since 1970 UTC."""

    label: str
    algorithm: str
    created: int
    uri: str = ""


class KeyStore(Protocol):
    """The secret keys of one station, unlocked."""

    @property
    def backend(self) -> str:
        """Which kind of keystore this is: `file`, `keyring` or `pkcs11`."""

    def records(self) -> tuple[KeyRecord, ...]:
        """Return what is here: oldest generation first, signature keys before the others."""

    def signers(self, generation: int) -> tuple[Signer, ...]:
        """Return the signature keys of *generation*, in the order in which a card lists them.

        Raises KeyUnavailableError when there is no such generation.
        """

    def openers(self, generation: int) -> tuple[Opener, ...]:
        """Return the keys of *generation* to which others wrap, in the order of the card.

        Raises KeyUnavailableError when there is no such generation.
        """

    def prepare(self, *, created: int, suite: str | None = None) -> int:
        """Make the keys of the next generation durable, as pending; return its number.

        They are of *suite* (`intl`, `gm` or `gm+intl`), or of the kinds of the present ones.
        While a generation is pending it is the next one: nothing is made, its number is
        returned.  Raises StorageError when it cannot be stored, UsageError when there cannot
        be such keys here, or others are pending; then nothing has changed.
        """

    def settle(self, generation: int) -> None:
        """Record durably that the rotation to *generation* is complete.  Idempotent.

        Raises KeyUnavailableError when there is no such generation, StorageError when it
        cannot be stored.
        """

    def keks(self) -> tuple[KekRecord, ...]:
        """Return the KEKs that are here, in the order of their labels."""

    def make_kek(self, label: str, *, created: int, suite: str = "intl") -> None:
        """Make a KEK called *label* durable; nothing is made where there is one.

        *created* is in seconds since 1970 UTC.  It wraps by an algorithm of *suite*, where the
        kind of keystore has one; a token has AES alone.  Raises UsageError when *label* cannot name
        one (`kek.check_label`), LimitError when there are too many, StorageError or
        TokenError when it cannot be stored.
        """

    def destroy_kek(self, label: str) -> None:
        """Let there be no KEK called *label*, for good.  Idempotent."""

    def wrap_key(self, label: str, key: bytes) -> bytes:
        """Return *key*, of 32 octets, wrapped under the KEK called *label*.

        Raises KeyUnavailableError when there is no such KEK.
        """

    def unwrap_key(self, label: str, wrapped: bytes) -> bytes:
        """Return the key that `wrap_key` wrapped.

        Raises KeyUnavailableError when there is no such KEK, IntegrityError when *wrapped*
        is damaged or was wrapped under another one.
        """


class Backend(Protocol):
    """How to come to a keystore of one kind: where it is, and what opens it."""

    def create(self, folder: Path, *, created: int) -> KeyStore:
        """Make a keystore with the keys of generation 0, not pending; what it needs is in *folder*.

        *created* is in seconds since 1970 UTC.  Raises StorageError, and what belongs to its
        kind, when it cannot be made.
        """

    def open(self, folder: Path) -> KeyStore:
        """Return the keystore in *folder*, unlocked.

        Raises PassphraseError when that fails, StorageError when it is missing or damaged,
        UnsupportedVersionError.
        """


def pending_generation(store: KeyStore) -> int | None:
    """Return the number of the generation whose rotation is not complete, if there is one."""
    return next((record.generation for record in store.records() if record.pending), None)


def newest_generation(store: KeyStore) -> int:
    """Return the number of the newest generation, pending or not."""
    return max(record.generation for record in store.records())
