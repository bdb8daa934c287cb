"""Where a station keeps sealed parcels at rest: a note of the folders, so that none is forgotten.

A key is destroyed only when nothing needs it any more.  A vault on a disk that is not mounted
looks like no vault; this note makes it an error instead.
"""

import os
from pathlib import Path
from typing import Final

from medshare import canonical
from medshare.disk.atomic import read_file, write_file
from medshare.errors import FormatError, StorageError

VAULTS_FILE: Final = "vaults"
MAX_VAULTS: Final = 16
_MAX_FILE: Final = MAX_VAULTS * 4200
_WHAT: Final = "the list of vaults"


def registered_vaults(home: Path) -> tuple[Path, ...]:
    """Return the vaults of the station in *home*, whether they are there or not."""
    path = home / VAULTS_FILE
    if not path.exists():
        return ()
    try:
        octets = read_file(path, limit=_MAX_FILE, what=_WHAT)
        value = canonical.decode(octets, limit=_MAX_FILE, what=_WHAT, items=MAX_VAULTS + 1)
    except FormatError as error:
        raise _damaged(path) from error
    if not isinstance(value, list) or not all(isinstance(item, bytes) for item in value):
        raise _damaged(path)
    return tuple(Path(os.fsdecode(item)) for item in value)


def register_vault(home: Path, vault: Path) -> None:
    """Let *vault*, an absolute path, be one of the vaults of the station in *home*."""
    known = registered_vaults(home)
    if vault in known:
        return
    if len(known) >= MAX_VAULTS:
        raise StorageError(f"a station has at most {MAX_VAULTS} vaults")
    octets = canonical.encode([os.fsencode(one) for one in (*known, vault)])
    write_file(home / VAULTS_FILE, octets, what=_WHAT)


def forget_vault(home: Path, vault: Path) -> None:
    """Let *vault* be none of the vaults of the station in *home* any more."""
    left = [one for one in registered_vaults(home) if one != vault]
    octets = canonical.encode([os.fsencode(one) for one in left])
    write_file(home / VAULTS_FILE, octets, what=_WHAT)


def present_vaults(home: Path) -> tuple[Path, ...]:
    """Return the vaults of the station in *home*; raise StorageError when one is not there."""
    found = registered_vaults(home)
    for vault in found:
        if not vault.is_dir():
            raise StorageError(
                f"the vault {vault} is not there",
                hint="mount it; or, if it is gone for good: medshare vault forget",
            )
    return found


def _damaged(path: Path) -> StorageError:
    return StorageError(f"{_WHAT} is damaged: {path}", hint="restore it from your backup")
