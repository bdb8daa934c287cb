"""The second factor of a keystore file: a security key, beside the passphrase.

    keys/second-factor   CBOR {"keys": [[credential, salt, wrapped], …], "label",
                               "plain": [salt, …]}

A secret K of 32 random octets is wrapped (RFC 3394) for each security key, under HKDF-SHA-256
of what that key computes for a salt (hmac-secret, the `prf` of Web Authentication).  What goes
into the derivation of the keystore (`keys.sealed`) in place of the passphrase is

    HMAC-SHA-256(K, "medshare keystore second factor" ‖ 00 ‖ passphrase)

so whoever has the disk and the passphrase still lacks K.  `plain` lists the salts of keystore
files that open with the passphrase alone: the one before a change that turns this on, or after
one that turns it off.  A change that is interrupted therefore leaves a keystore that opens.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from medshare import canonical
from medshare.canonical import Fields
from medshare.disk.atomic import fsync_folder, read_file, storage_errors, write_file
from medshare.errors import FormatError, KeyUnavailableError, StorageError
from medshare.keys.sealed import SALT_SIZE
from medshare.suites.base import KEY_SIZE
from medshare.wire.sign_in import MAX_CREDENTIAL

FILE: Final = "second-factor"
LABEL: Final = "medshare keystore second factor"
ORIGIN: Final = "https://keystore.medshare.invalid"
"""For which security keys make and use these credentials; no server has such a name."""
MAX_KEYS: Final = 8
PRF_SALT_SIZE: Final = 32
_WRAPPED: Final = KEY_SIZE + 8
_MAX_PLAIN: Final = 4
_MAX_FILE: Final = 16 * 1024
_WHAT: Final = "the second factor of the keystore"


@dataclass(frozen=True, slots=True)
class EnrolledKey:
    """One security key, and K wrapped for it."""

    credential: bytes
    salt: bytes
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """The security keys of a keystore, of which any one is enough."""

    keys: tuple[EnrolledKey, ...]
    plain: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """Return the octets of the file."""
        keys: list[canonical.Value] = [[one.credential, one.salt, one.wrapped] for one in self.keys]
        return canonical.encode({"keys": keys, "label": LABEL, "plain": list(self.plain)})

    def also_plain(self, salt: bytes) -> "SecondFactor":
        """Return the same, where the keystore with this salt opens without."""
        return replace(self, plain=(*self.plain, salt)[-_MAX_PLAIN:])

    def unwrap(self, credential: bytes, secret: bytes) -> bytes:
        """Return K, of which *secret* is what the security key computed.

        Raises KeyUnavailableError when it is not that of *credential*.
        """
        for one in self.keys:
            if one.credential == credential:
                try:
                    return aes_key_unwrap(_wrapping_key(secret, one.salt), one.wrapped)
                except InvalidUnwrap:
                    break
        raise KeyUnavailableError("this security key does not open the keystore")


Touch = Callable[[SecondFactor], bytes]
"""Returns K, after somebody has touched one of the security keys."""


def enrolled_key(credential: bytes, salt: bytes, secret: bytes, key: bytes) -> EnrolledKey:
    """Return *key*, which is K, wrapped for the security key that computed *secret*."""
    return EnrolledKey(credential, salt, aes_key_wrap(_wrapping_key(secret, salt), key))


def combined(key: bytes, passphrase: bytes) -> bytes:
    """Return what takes the place of *passphrase*; *key* is K."""
    return hmac.digest(key, LABEL.encode() + b"\x00" + passphrase, "sha256")


def _wrapping_key(secret: bytes, salt: bytes) -> bytes:
    return HKDF(SHA256(), KEY_SIZE, salt, LABEL.encode() + b" wrap").derive(secret)


def parse_second_factor(data: bytes) -> SecondFactor:
    """Return the second factor in *data*; raise FormatError when it is malformed."""
    value = canonical.decode(data, limit=_MAX_FILE, what=_WHAT, items=64)
    fields = Fields(value, what=_WHAT)
    fields.literal("label", LABEL)
    keys = tuple(_enrolled(one) for one in fields.items("keys", maximum=MAX_KEYS))
    plain = tuple(fields.items("plain", maximum=_MAX_PLAIN))
    fields.finish()
    if not keys or any(not isinstance(one, bytes) or len(one) != SALT_SIZE for one in plain):
        raise FormatError(f"{_WHAT} is malformed")
    return SecondFactor(keys, plain)


def _enrolled(item: object) -> EnrolledKey:
    match item:
        case [bytes() as credential, bytes() as salt, bytes() as wrapped] if (
            len(credential) <= MAX_CREDENTIAL
            and len(salt) == PRF_SALT_SIZE
            and len(wrapped) == _WRAPPED
        ):
            return EnrolledKey(credential, salt, wrapped)
    raise FormatError(f"{_WHAT} is malformed")


def find_second_factor(folder: Path) -> SecondFactor | None:
    """Return the second factor in the folder of a keystore, None when there is none.

    Raises StorageError when there is one that cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return None
    data = read_file(path, limit=_MAX_FILE, what=_WHAT, follow=False)
    try:
        return parse_second_factor(data)
    except FormatError as error:
        raise StorageError(
            f"{_WHAT} is damaged", hint=f"restore {path} from your backup, or the keys from theirs"
        ) from error


def write_second_factor(folder: Path, factor: SecondFactor) -> None:
    """Let *factor* be that of the keystore in *folder*, durably."""
    write_file(folder / FILE, factor.encode(), what=_WHAT)


def remove_second_factor(folder: Path) -> None:
    """Let the keystore in *folder* have none, durably."""
    with storage_errors(f"remove {_WHAT}"):
        (folder / FILE).unlink(missing_ok=True)
        fsync_folder(folder)


def passphrase_for(folder: Path, salt: bytes, passphrase: bytes, touch: Touch | None) -> bytes:
    """Return what opens the keystore in *folder*, whose file has this *salt*.

    That is *passphrase*, and where a second factor is in force what it makes of it.  Raises
    KeyUnavailableError when there is nobody to touch a key.
    """
    factor = find_second_factor(folder)
    if factor is None or salt in factor.plain:
        return passphrase
    if touch is None:
        raise KeyUnavailableError(
            "this keystore opens only with its security key beside the passphrase",
            hint="plug the key in, and use the command line where somebody can touch it",
        )
    return combined(touch(factor), passphrase)
