"""The keystore as an encrypted file: the default backend.

Writing: the old file is copied to `keystore.previous`, the new one takes its place
atomically, is read back and opened, and only then does the copy go.  Nothing is written
over a file that another process has changed since it was read.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare.disk.atomic import fsync_folder, read_file, storage_errors, write_file
from medshare.errors import (
    FormatError,
    IntegrityError,
    PassphraseError,
    StorageError,
    UnsupportedVersionError,
)
from medshare.keys.attempts import (
    count_failure,
    forget_failures,
    require_waited,
    seconds_to_wait,
)
from medshare.keys.base import KekRecord, KeyRecord, Purpose
from medshare.keys.kek import ALGORITHM_OF_SUITE, KEK_SIZES, SecretKek, check_label
from medshare.keys.lock import exclusive
from medshare.keys.material import (
    Material,
    SecretKey,
    kinds_for,
    new_generation,
    require_same_kinds,
)
from medshare.keys.sealed import (
    DEFAULT_COST,
    MAX_FILE,
    KdfCost,
    SealedStore,
    StoreKey,
    new_store_key,
    parse_sealed,
    store_key_for,
)
from medshare.keys.second_factor import FILE as SECOND_FACTOR
from medshare.keys.second_factor import Touch, passphrase_for, remove_second_factor
from medshare.suites.base import SYSTEM_RANDOM, Opener, PublicKey, RandomBytes, Signer
from medshare.suites.kem import opener_from_seed
from medshare.suites.signatures import signer_from_seed

Clock = Callable[[], float]
"""Returns seconds since 1970 UTC."""

KEYSTORE_FILE: Final = "keystore"
_WHAT: Final = "the keystore"


@dataclass(frozen=True, slots=True, repr=False)
class FileBackend:
    """A file and its passphrase, which its representation does not show."""

    passphrase: bytes
    suite: str = "intl"
    cost: KdfCost = DEFAULT_COST
    touch: Touch | None = None
    """How to come by the second factor, where the keystore has one."""

    def __repr__(self) -> str:
        return "FileBackend()"

    def create(
        self, folder: Path, *, created: int, material: Material | None = None
    ) -> "FileKeyStore":
        """Make a keystore in *folder* with keys of the suite, or with *material* of a backup."""
        if (folder / SECOND_FACTOR).exists():  # of a keystore that is gone
            remove_second_factor(folder)
        return FileKeyStore.create(
            folder / KEYSTORE_FILE,
            self.passphrase,
            created=created,
            suite=self.suite,
            cost=self.cost,
            material=material,
        )

    def open(self, folder: Path) -> "FileKeyStore":
        """Return the keystore in *folder*; one that costs less to guess is raised to the cost."""
        path = folder / KEYSTORE_FILE
        passphrase = self.passphrase
        if (folder / SECOND_FACTOR).exists():
            require_waited(attempts_file(path), now=time.time())  # before anybody is to touch it
            salt = _read(path)[1].header.salt
            passphrase = passphrase_for(folder, salt, passphrase, self.touch)
        return FileKeyStore.open(path, passphrase, cost=self.cost)


class FileKeyStore:
    """A keystore file, unlocked.  Made by `create` and `open`; its representation is mute."""

    def __init__(
        self,
        path: Path,
        key: StoreKey,
        material: Material,
        written: bytes,
        random: RandomBytes,
        *,
        backend: str = "file",
    ) -> None:
        self._path = path
        self._key = key
        self._material = material
        self._written = written
        self._random = random
        self._backend = backend

    @classmethod
    def create(
        cls,
        path: Path,
        passphrase: bytes,
        *,
        created: int,
        suite: str = "intl",
        cost: KdfCost = DEFAULT_COST,
        random: RandomBytes = SYSTEM_RANDOM,
        backend: str = "file",
        material: Material | None = None,
    ) -> "FileKeyStore":
        """Make a keystore at *path* with the keys of generation 0, not pending.

        *created* is in seconds since 1970 UTC; *suite* is one of `material.IDENTITY_KEYS`.
        With *material*, the content of a backup, that is what it holds.
        Raises UsageError when it is not, StorageError when there is something at *path*, or
        it cannot be written.
        """
        if path.exists():
            raise StorageError(f"there is a keystore at {path}; it is not overwritten")
        if material is None:
            first = new_generation(random, created=created, kinds=kinds_for(suite))
            material = Material((first,))
        rest = material.suite_at_rest
        key = new_store_key(passphrase, cost, random=random, suite=rest).fitting(material)
        data = key.close(material, random=random).encode()
        write_file(path, data, what=_WHAT)
        return cls(path, key, material, data, random, backend=backend)

    @classmethod
    def open(
        cls,
        path: Path,
        passphrase: bytes,
        *,
        cost: KdfCost = DEFAULT_COST,
        random: RandomBytes = SYSTEM_RANDOM,
        backend: str = "file",
        clock: Clock = time.time,
    ) -> "FileKeyStore":
        """Return the keystore at *path*, opened with *passphrase*.

        A file whose derivation cost is below *cost*, or which is not in the suite of its
        newest keys, is written anew.
        Raises PassphraseError, also while it is too soon after wrong ones (`attempts`),
        UnsupportedVersionError, and StorageError when the file is missing, unreadable or
        damaged.
        """
        data, store = _read(path)
        key = _unlock(path, store, passphrase, clock)
        material = _open(path, key, store)
        opened = cls(path, key, material, data, random, backend=backend)
        with suppress(StorageError):  # a copy too many is no reason not to open
            opened._forget_previous()
        opened._strengthen(passphrase, cost)
        return opened

    def __repr__(self) -> str:
        return f"FileKeyStore({len(self._material.generations)} generations)"

    @property
    def backend(self) -> str:
        """`file`, or `keyring` where the OS keyring keeps the passphrase."""
        return self._backend

    def secrets(self) -> Material:
        """Return all that it holds, for a backup."""
        return self._material

    def records(self) -> tuple[KeyRecord, ...]:
        """Return what is here: oldest generation first, signature keys before the others."""
        records = []
        for number, generation in enumerate(self._material.generations):
            for purpose in Purpose:
                for key in generation.of(purpose):
                    public, pending = _public(key), generation.pending
                    records.append(KeyRecord(number, purpose, public, generation.created, pending))
        return tuple(records)

    def signers(self, generation: int) -> tuple[Signer, ...]:
        """Return the signature keys of *generation*, in the order of the card."""
        keys = self._material.generation(generation).of(Purpose.SIGN)
        return tuple(_signer(key) for key in keys)

    def openers(self, generation: int) -> tuple[Opener, ...]:
        """Return the keys of *generation* to which others wrap, in the order of the card."""
        keys = self._material.generation(generation).of(Purpose.OPEN)
        return tuple(_opener(key) for key in keys)

    def prepare(self, *, created: int, suite: str | None = None) -> int:
        """Make the keys of the next generation durable, as pending; return its number."""
        kinds = self._material.generations[-1].kinds if suite is None else kinds_for(suite)
        pending = self._material.pending
        if pending is not None:
            require_same_kinds(self._material.generations[-1].kinds, kinds)
            return pending
        added = new_generation(self._random, created=created, kinds=kinds)
        self._write(self._material.with_pending(added))
        return len(self._material.generations) - 1

    def settle(self, generation: int) -> None:
        """Record durably that the rotation to *generation* is complete."""
        self._material.generation(generation)
        if self._material.pending == generation:
            self._write(self._material.settled())

    def keks(self) -> tuple[KekRecord, ...]:
        """Return the KEKs that are here, in the order of their labels."""
        return tuple(KekRecord(k.label, k.algorithm, k.created) for k in self._material.keks)

    def make_kek(self, label: str, *, created: int, suite: str = "intl") -> None:
        """Make a KEK called *label* durable; nothing is made where there is one."""
        if self._has_kek(label):
            return
        algorithm = ALGORITHM_OF_SUITE[suite]
        secret = self._random(KEK_SIZES[algorithm])
        kek = SecretKek(check_label(label), algorithm, created, secret)
        self._write(self._material.with_kek(kek))

    def destroy_kek(self, label: str) -> None:
        """Let there be no KEK called *label*: neither in the file nor in a copy of it."""
        if self._has_kek(label):
            self._write(self._material.without_kek(label))

    def wrap_key(self, label: str, key: bytes) -> bytes:
        """Return *key* wrapped under the KEK called *label*."""
        self._has_kek(label)
        return self._material.kek(label).wrap(key)

    def unwrap_key(self, label: str, wrapped: bytes) -> bytes:
        """Return the key that `wrap_key` wrapped."""
        self._has_kek(label)
        return self._material.kek(label).unwrap(wrapped)

    @property
    def salt(self) -> bytes:
        """The salt of the file: it names this very derivation, and no other."""
        return self._key.header.salt

    def change_passphrase(self, passphrase: bytes, *, salt: bytes) -> None:
        """Let the file open with *passphrase* from now on, derived with *salt*, which is new."""
        header = self._key.header
        anew = new_store_key(passphrase, header.cost, random=lambda _size: salt, suite=header.suite)
        self._write(self._material, anew)

    def _has_kek(self, label: str) -> bool:
        """Tell whether there is a KEK called *label*, also one that another process has made."""
        if not self._material.has_kek(label):
            data, store = _read(self._path)
            key = self._key.of(store)
            if data != self._written and key is not None:
                self._material, self._written = _open(self._path, key, store), data
                self._key = key
        return self._material.has_kek(label)

    def _write(self, material: Material, key: StoreKey | None = None) -> None:
        """Make *material* the content of the file; on failure nothing here has changed."""
        key = (key or self._key).fitting(material)
        data = key.close(material, random=self._random).encode()
        with exclusive(_beside(self._path, "lock"), wait=True, what="the keystore is in use"):
            if _read_octets(self._path) != self._written:
                raise StorageError(
                    "the keystore was changed by another process meanwhile; nothing was written",
                    hint="run the same command again",
                )
            write_file(previous_copy(self._path), self._written, what="a copy of the keystore")
            write_file(self._path, data, what=_WHAT)
            back, store = _read(self._path)
            if back != data or _open(self._path, key, store) != material:
                raise _damaged(self._path, "it does not read back as it was written")
            self._key, self._material, self._written = key, material, data
            self._forget_previous()

    def _forget_previous(self) -> None:
        """Remove the copy of the file's earlier state: the present one is known to open."""
        copy = previous_copy(self._path)
        if copy.exists():
            with storage_errors("remove the previous copy of the keystore"):
                copy.unlink(missing_ok=True)
            fsync_folder(copy.parent)

    def _strengthen(self, passphrase: bytes, cost: KdfCost) -> None:
        """Let cost and suite be what they should, now or, where that fails, at a later opening.

        The salt stays: a second factor goes by it (`second_factor`), and Argon2id makes
        something else of it all the same, as cost or length of the output differ.
        """
        header, suite = self._key.header, self._material.suite_at_rest
        raised = header.cost.raised_to(cost)
        if raised != header.cost or suite != header.suite:
            anew = new_store_key(passphrase, raised, random=lambda _: header.salt, suite=suite)
            with suppress(StorageError):
                self._write(self._material, anew)


def previous_copy(path: Path) -> Path:
    """Return where the earlier state of the keystore *path* is kept during a change."""
    return _beside(path, "previous")


def attempts_file(path: Path) -> Path:
    """Return where wrong passphrases for the keystore *path* are counted."""
    return _beside(path, "attempts")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


def _read_octets(path: Path) -> bytes:
    return read_file(path, limit=MAX_FILE, what=_WHAT)


def _read(path: Path) -> tuple[bytes, SealedStore]:
    try:
        data = _read_octets(path)
        return data, parse_sealed(data)
    except UnsupportedVersionError:
        raise
    except FormatError as error:
        raise _damaged(path, error.message) from error


def _unlock(path: Path, store: SealedStore, passphrase: bytes, clock: Clock) -> StoreKey:
    require_waited(attempts_file(path), now=clock())
    try:
        key = store_key_for(store, passphrase)
    except PassphraseError as error:
        failures = count_failure(attempts_file(path), now=clock())
        times = "" if failures == 1 else f" ({failures} times in a row)"
        seconds = seconds_to_wait(failures)
        again = f"wait {seconds} s, then try again" if seconds else "try again"
        raise PassphraseError(
            f"{error.message}{times}", hint=f"{again}; a lost passphrase cannot be recovered"
        ) from error
    except MemoryError as error:
        needed = store.header.cost.memory_kib // 1024
        raise StorageError(f"not enough memory to open the keystore: {needed} MiB") from error
    forget_failures(attempts_file(path))
    return key


def _open(path: Path, key: StoreKey, store: SealedStore) -> Material:
    try:
        return key.open(store)
    except (IntegrityError, FormatError) as error:
        raise _damaged(path, error.message) from error


def _damaged(path: Path, reason: str) -> StorageError:
    copy = previous_copy(path)
    hint = f"its previous state is at {copy}: put that in its place, or restore a backup"
    if not copy.exists():
        hint = "restore it from your backup; nothing else can open parcels sent to this station"
    return StorageError(f"the keystore {path} is damaged ({reason})", hint=hint)


def _signer(key: SecretKey) -> Signer:
    return signer_from_seed(key.algorithm, key.seed)


def _opener(key: SecretKey) -> Opener:
    return opener_from_seed(key.algorithm, key.seed)


def _public(key: SecretKey) -> PublicKey:
    return (_signer(key) if key.purpose is Purpose.SIGN else _opener(key)).public
