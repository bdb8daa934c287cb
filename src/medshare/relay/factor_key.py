"""The key under which a relay keeps the secrets of second factors, made when it is first needed.

    factor-key   CBOR {"key": 32 octets, "label"}, mode 0600

AES-256-GCM (NIST SP 800-38D) with a random nonce for each secret; station and factor are
authenticated with it, so that no row can stand in for another.  A copy of the database alone
shows no secret; whoever reads both files, or the memory of the relay, has them.
"""

import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medshare import canonical
from medshare.canonical import Fields
from medshare.disk.atomic import opened_folder, read_file, storage_errors, write_at
from medshare.errors import FormatError, StorageError
from medshare.ids import StationId
from medshare.suites.base import KEY_SIZE, NONCE_SIZE, SYSTEM_RANDOM

FILE: Final = "factor-key"
LABEL: Final = "medshare relay factor key"
_MAX_FILE: Final = 256
_WHAT: Final = "the factor key of the relay"
_CONTEXT: Final = b"medshare/1 relay factor\x00"


class FactorKey:
    """Seals and opens the secrets of factors."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, secret: bytes, *, station: StationId, factor: bytes) -> bytes:
        """Return *secret* sealed for one factor of one station."""
        nonce = SYSTEM_RANDOM(NONCE_SIZE)
        return nonce + self._aead.encrypt(nonce, secret, _CONTEXT + station + factor)

    def open(self, sealed: bytes, *, station: StationId, factor: bytes) -> bytes:
        """Return the secret in *sealed*; raise StorageError when it is not this factor's."""
        try:
            return self._aead.decrypt(
                sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], _CONTEXT + station + factor
            )
        except (InvalidTag, ValueError) as error:
            raise StorageError(
                "the secret of a second factor does not open with the factor key of this relay",
                hint=f"restore {FILE}, or reset the second factors of the station",
            ) from error


def factor_key(folder: Path) -> FactorKey:
    """Return the factor key in the data folder *folder*, after making one where there is none.

    Raises StorageError when it cannot be read or made, or is damaged.
    """
    path = folder / FILE
    if not path.exists():
        _make(folder)
    data = read_file(path, limit=_MAX_FILE, what=_WHAT, follow=False)
    try:
        fields = Fields(canonical.decode(data, limit=_MAX_FILE, what=_WHAT, items=8), what=_WHAT)
        fields.literal("label", LABEL)
        key = fields.octets("key", size=KEY_SIZE)
        fields.finish()
    except FormatError as error:
        raise StorageError(f"{_WHAT} is damaged", hint=f"restore {FILE} from a backup") from error
    return FactorKey(key)


def _make(folder: Path) -> None:
    data = canonical.encode({"key": SYSTEM_RANDOM(KEY_SIZE), "label": LABEL})
    with storage_errors(f"write {_WHAT}"), opened_folder(folder, follow=True) as place:
        try:
            write_at(place, FILE, data, replace=False)
        except FileExistsError:
            return  # somebody else was quicker: theirs it is
        os.fsync(place)
