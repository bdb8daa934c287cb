"""The key with which a relay signs its record, made when it is first needed.

    log-key      CBOR {"created", "label", "secrets": [[algorithm, secret], …]}, mode 0600

It opens nothing and vouches for nothing but the record: a relay has no keystore, and no key
with which anything could be decrypted.  Whoever has it can sign another history, which is why
stations witness the record, and auditors compare.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from medshare import canonical
from medshare.audit.checkpoint import LogKeys
from medshare.audit.notes import NoteKey
from medshare.canonical import Fields
from medshare.disk.atomic import opened_folder, read_file, storage_errors, write_at
from medshare.errors import FormatError, StorageError
from medshare.suites.base import SYSTEM_RANDOM, PublicKey, Signer
from medshare.suites.signatures import ED25519, ML_DSA_65, new_secret, signer_from_seed

FILE: Final = "log-key"
LABEL: Final = "medshare relay log key"
ALGORITHMS: Final = (ED25519, ML_DSA_65)
_MAX_FILE: Final = 4096
_NAME_OCTETS: Final = 16
_WHAT: Final = "the log key of the relay"


@dataclass(frozen=True, slots=True, repr=False)
class LogKey:
    """What signs for one relay's record; its representation shows no secret."""

    origin: str
    signers: tuple[Signer, ...]

    @property
    def keys(self) -> LogKeys:
        """What others check with."""
        return LogKeys(self.origin, (tuple(one.public for one in self.signers),))

    def vkeys(self) -> tuple[str, ...]:
        """Return the lines that others keep, to check with later."""
        return tuple(NoteKey(self.origin, one.public).vkey for one in self.signers)

    def __repr__(self) -> str:
        return f"LogKey({self.origin})"


def relay_origin(keys: Sequence[PublicKey]) -> str:
    """Return the origin of the record of the relay whose log key has these public halves."""
    listing = canonical.encode([[key.algorithm, key.value] for key in keys])
    digest = sha256(b"medshare/1 relay log\x00" + listing).digest()
    return f"medshare/log/relay/{digest[:_NAME_OCTETS].hex()}"


def log_key(folder: Path, *, now: int) -> LogKey:
    """Return the log key in the data folder *folder*, after making one where there is none.

    Raises StorageError when it cannot be read or made, or is damaged.
    """
    path = folder / FILE
    if not path.exists():
        _make(folder, now)
    data = read_file(path, limit=_MAX_FILE, what=_WHAT, follow=False)
    try:
        signers = _parse(data)
    except FormatError as error:
        raise StorageError(
            "the log key of the relay is damaged",
            hint=f"restore {FILE} in its data folder from your backup",
        ) from error
    return LogKey(relay_origin([one.public for one in signers]), signers)


def _make(folder: Path, now: int) -> None:
    secrets: list[canonical.Value] = [
        [algorithm, new_secret(algorithm, SYSTEM_RANDOM)] for algorithm in ALGORITHMS
    ]
    data = canonical.encode({"created": now, "label": LABEL, "secrets": secrets})
    with storage_errors(f"write {_WHAT}"), opened_folder(folder, follow=True) as place:
        try:
            write_at(place, FILE, data, replace=False)
        except FileExistsError:
            return  # somebody else was quicker: theirs it is
        os.fsync(place)


def _parse(data: bytes) -> tuple[Signer, ...]:
    fields = Fields(canonical.decode(data, limit=_MAX_FILE, what=_WHAT, items=16), what=_WHAT)
    fields.literal("label", LABEL)
    fields.time("created")
    items = fields.items("secrets", maximum=len(ALGORITHMS))
    fields.finish()
    found = [(item[0], item[1]) for item in items if isinstance(item, list) and len(item) == 2]
    if [algorithm for algorithm, _ in found] != list(ALGORITHMS):
        raise FormatError(f"{_WHAT} is malformed")
    return tuple(signer_from_seed(algorithm, secret) for algorithm, secret in found)
