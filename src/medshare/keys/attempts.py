"""How often in a row a passphrase was wrong, and how long to wait before the next try.

What protects a keystore from guessing is the cost of Argon2id: whoever has the file can
guess elsewhere.  The wait is a service to people: it slows down the script that tries a
wrong passphrase for ever, and makes a series of failures visible.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

MAX_WAIT: Final = 60
_COUNTED: Final = 64
"""After so many failures the file stops growing."""


def count_failure(path: Path) -> int:
    """Add one failure to the file *path*, one octet each; return how many there are in a row.

    Where it cannot be written, every failure counts as the first.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        file = os.open(path, flags, 0o600)
        try:
            if os.fstat(file).st_size < _COUNTED:
                os.write(file, b"x")
            return os.fstat(file).st_size
        finally:
            os.close(file)
    except OSError:
        return 1


def forget_failures(path: Path) -> None:
    """Begin to count anew; nothing is said where that is not possible."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def seconds_to_wait(failures: int) -> int:
    """Return the wait after *failures* in a row: 1, 2, 4 … at most `MAX_WAIT` seconds."""
    return min(1 << max(0, min(failures, 16) - 1), MAX_WAIT)
