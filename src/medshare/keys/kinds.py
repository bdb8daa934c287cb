"""Which kind of keystore is in a folder: each kind has a file of its own."""

from pathlib import Path
from typing import Final

from medshare.keys.os_keyring import KEYRING_FILE
from medshare.keys.pkcs11 import TOKEN_FILE

KEYS_KEPT_ELSEWHERE: Final = {KEYRING_FILE: "keyring", TOKEN_FILE: "pkcs11"}
"""The file that says so, and the name of the backend."""


def backend_of(folder: Path) -> str:
    """Return `pkcs11`, `keyring`, or `file` where nothing says otherwise."""
    for name, backend in KEYS_KEPT_ELSEWHERE.items():
        if (folder / name).exists():
            return backend
    return "file"
