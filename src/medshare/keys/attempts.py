"""How often in a row a passphrase was wrong, and the wait before the next try.

A file beside the keystore has one octet for each failure, and its time of change is the last
of them: a crash can lose at most the failure that it interrupts.  After the second failure in
a row, nothing is tried until the wait is over, and what is not tried is not counted.

What protects a keystore from guessing is the cost of its derivation: whoever has the file can
guess elsewhere, or remove the count.  The wait is a service to people: it slows down the script
that tries a wrong passphrase for ever, and makes a series of failures visible.  It must
therefore never lock the owner out: it ends after a minute at most, also when the clock was put
back, and where the file cannot be read or written there is none.
"""

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare.errors import PassphraseError

MAX_WAIT: Final = 60
CODE: Final = "key.passphrase-wait"
_COUNTED: Final = 64
"""After so many failures the file stops growing."""


@dataclass(frozen=True, slots=True)
class Failures:
    """How many failures in a row there were, and how many seconds are left of the wait."""

    count: int
    wait: float


def require_waited(path: Path, *, now: float) -> None:
    """Raise PassphraseError, saying how long, while the wait after wrong passphrases lasts.

    *path* is the file in which they are counted, *now* is in seconds since 1970 UTC.
    """
    found = failures_in(path, now=now)
    if found.wait <= 0:
        return
    seconds = max(1, round(found.wait))
    error = PassphraseError(
        f"the passphrase was wrong {found.count} times in a row, so that nothing is tried for "
        f"another {seconds} s",
        hint=f"wait {seconds} s, then run the same command again",
        code=CODE,
    )
    error.seconds_to_wait = found.wait
    raise error


def failures_in(path: Path, *, now: float) -> Failures:
    """Return what the file *path* says; nothing counts where it cannot be read."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return Failures(0, 0)
        since = now - status.st_mtime
        if since < 0:  # the clock was put back: the wait begins now, and once
            os.utime(path, (now, now), follow_symlinks=False)
            since = 0
    except OSError:
        return Failures(0, 0)
    return Failures(status.st_size, max(0.0, seconds_to_wait(status.st_size) - since))


def count_failure(path: Path, *, now: float) -> int:
    """Add one failure to the file *path*, at *now*; return how many there are in a row.

    Where it cannot be written, every failure counts as the first.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        file = os.open(path, flags, 0o600)
        try:
            if os.fstat(file).st_size < _COUNTED:
                os.write(file, b"x")
            os.utime(file, (now, now))
            os.fsync(file)
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
    """Return the wait after *failures* in a row: none, 1, 2, 4 … at most `MAX_WAIT` seconds."""
    return min(1 << (min(failures, 16) - 2), MAX_WAIT) if failures > 1 else 0
