"""Which run of the operating system this is: what was written in it is still in its cache."""

from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return an identifier that changes with every boot, or `""` where there is none.

    With `""`, what was not made durable is never trusted after an interruption.
    """
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
