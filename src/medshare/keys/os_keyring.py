"""The keystore that the keyring of the operating system opens.

The secrets are in an encrypted file, as those of a keystore with a passphrase are, and the
keyring holds a random key of 256 bits in the passphrase's place: neither file nor keyring alone
opens anything.  A rotation writes the file and leaves the keyring as it is, so that no change
depends on what a keyring makes durable, and when.

    keys/keystore           secret keys, encrypted under the key in the keyring
    keys/keyring            under which name the keyring knows that key
"""

import hmac
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medshare.disk.atomic import read_file, write_file
from medshare.errors import FormatError, KeyUnavailableError, PassphraseError, StorageError
from medshare.keys.file import KEYSTORE_FILE, FileKeyStore
from medshare.keys.material import Material
from medshare.keys.passphrase import keyring_library
from medshare.keys.sealed import KdfCost
from medshare.suites.base import SYSTEM_RANDOM, RandomBytes

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend as Ring

KEYRING_FILE: Final = "keyring"
SERVICE: Final = "medshare keystore"
KEY_SIZE: Final = 32
_ACCOUNT_SIZE: Final = 16
_ACCOUNT: Final = re.compile(rf"[0-9a-f]{{{2 * _ACCOUNT_SIZE}}}")
_COST: Final = KdfCost(memory_kib=8, passes=1, lanes=1)
"""A key of 256 random bits is not guessed; the least that Argon2id takes is enough."""
_WHAT: Final = "the name of the keystore's key in the OS keyring"


@dataclass(frozen=True, slots=True)
class KeyringBackend:
    """The keyring of the user who runs this; implements `keys.base.Backend`."""

    suite: str = "intl"
    random: RandomBytes = SYSTEM_RANDOM

    def create(
        self, folder: Path, *, created: int, material: Material | None = None
    ) -> FileKeyStore:
        """Make a keystore in *folder* whose key the keyring keeps.

        With *material*, the content of a backup, that is what it holds.  Raises
        KeyUnavailableError when the keyring is locked, keeps nothing, or keeps it where
        others could read it, UsageError when its library is not installed.
        """
        account, key = self.random(_ACCOUNT_SIZE).hex(), self.random(KEY_SIZE).hex()
        with keyring_library() as keyring:
            _require_safe(keyring.get_keyring())
            keyring.set_password(SERVICE, account, key)
            if not hmac.compare_digest(keyring.get_password(SERVICE, account) or "", key):
                raise KeyUnavailableError("the OS keyring does not keep what it is given")
        write_file(folder / KEYRING_FILE, account.encode(), what=_WHAT)
        return FileKeyStore.create(
            folder / KEYSTORE_FILE,
            key.encode(),
            created=created,
            suite=self.suite,
            cost=_COST,
            random=self.random,
            backend="keyring",
            material=material,
        )

    def open(self, folder: Path) -> FileKeyStore:
        """Return the keystore in *folder*, opened with the key in the keyring.

        Raises KeyUnavailableError when the keyring is locked or does not have it.
        """
        account = _account(folder / KEYRING_FILE)
        with keyring_library() as keyring:
            key = keyring.get_password(SERVICE, account)
        if key is None:
            raise KeyUnavailableError(
                "the OS keyring does not hold the key of this keystore",
                hint="run medshare as the user who made the station, or restore a backup: "
                "medshare keys restore",
            )
        try:
            return FileKeyStore.open(
                folder / KEYSTORE_FILE,
                key.encode(),
                cost=_COST,
                random=self.random,
                backend="keyring",
            )
        except PassphraseError as error:
            if error.seconds_to_wait:
                raise
            raise KeyUnavailableError(
                "the key in the OS keyring is not the one of this keystore",
                hint="restore keystore and keyring from the same backup, or: medshare keys restore",
            ) from error


def _account(path: Path) -> str:
    try:
        account = read_file(path, limit=2 * _ACCOUNT_SIZE, what=_WHAT).decode("latin-1")
    except FormatError:
        account = ""
    if not _ACCOUNT.fullmatch(account):
        raise StorageError(f"{_WHAT} is damaged: {path}", hint="restore it from your backup")
    return account


def _require_safe(ring: "Ring") -> None:
    """Refuse a keyring that its own library advises against: a file in the clear, or none."""
    behind = getattr(ring, "backends", None) or [ring]  # a chain of which the first one keeps
    if behind[0].priority < 1:
        raise KeyUnavailableError(
            f"there is no keyring of the system here that keeps secrets ({ring.name})",
            hint="start one (Secret Service, KWallet), or use --keystore file",
        )
