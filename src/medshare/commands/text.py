"""How values look to people: other people's text made harmless, sizes, times, counts.

Every text that somebody else chose (names of stations, files and relays, notes) passes
through `visible` before a terminal or a log sees it.  It cannot move the cursor, hide,
reverse or fake a line (CVE-2019-6109, CVE-2023-43620).
"""

import re
import unicodedata
from datetime import UTC, datetime
from typing import Final

_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and marks that show nothing: names that look alike would differ unseen.
_BLANK: Final = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]")
_MAX_MARKS: Final = 4
"""Combining marks in a row that a living script may need; more would paint over other lines."""

MAX_SHOWN: Final = 300


def visible(text: str, *, limit: int = MAX_SHOWN) -> str:
    r"""Return *text* on one line, with everything that could deceive a reader escaped.

    Control characters, escape sequences, directions, and whatever is invisible or
    undecodable become `\x1b`, `\u202e` and the like; at most *limit* characters of the
    original are shown, the middle left out.
    """
    if len(text) > limit:
        half = (limit - 1) // 2
        return visible(text[:half], limit=limit) + "…" + visible(text[-half:], limit=limit)
    shown: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        if category in _UNSAFE or marks > _MAX_MARKS or _BLANK.match(character):
            shown.append(_escape(character))
        else:
            shown.append(character)
    return "".join(shown)


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def size(octets: float) -> str:
    """Return *octets* as people say it: `512 B`, `73.4 MiB`, `1.20 GiB`."""
    if octets < 1024:
        return f"{octets:.0f} B"
    value, unit = float(octets), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1023.5:
            break
        value, unit = value / 1024, larger
    return f"{value:.{2 if unit in {'GiB', 'TiB'} and value < 10 else 1}f} {unit}"


def span(seconds: float) -> str:
    """Return a length of time: `4 s`, `3 min 05 s`, `2 h 04 min`, `5 d 03 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"


def count(number: int, noun: str) -> str:
    """Return `1 file`, `140 files`, `1,024 chunks`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def moment(seconds: int) -> str:
    """Return seconds since 1970 as `2026-11-24 20:48 UTC`; a year beyond 9999 as a number."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s since 1970"


def share(part: float, whole: float) -> str:
    """Return *part* of *whole* as a whole percentage that says 100% only for all of it."""
    if whole <= 0:
        return "100%"
    return f"{min(100, int(100 * part / whole))}%"
