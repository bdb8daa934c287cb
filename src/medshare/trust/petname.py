"""Local names of contacts: what the person here calls another station.

The name on a card proves nothing, so a contact is found by a name that was given here.
No two contacts may have names that a reader could take for one another.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from medshare.errors import FormatError, UsageError
from medshare.ids import StationId
from medshare.manifest import check_label

MAX_PETNAME: Final = 64
_SLUG: Final = 40
_SUGGESTIONS: Final = 3

# Letters of other scripts that look like Latin ones, first capitals and then small letters,
# and digits that look like letters: the part of Unicode TR 39 that matters for names of
# people and places.
_CAPITALS: Final = str.maketrans(
    {
        **dict(zip("АВЕКМНОРСТХІЅЈ", "abekmhopctxisj", strict=True)),  # Cyrillic
        **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "abezhikmnoptyx", strict=True)),  # Greek
    }
)
_LOOK_ALIKES: Final = str.maketrans(
    {
        **dict(zip("аеорсухіјѕһԁԛԝӏ", "aeopcyxijshdqwl", strict=True)),  # Cyrillic
        **dict(zip("вкмнтгь", "bkmhtrb", strict=True)),
        **dict(zip("αονιρυκτχγω", "aovipuktxyw", strict=True)),  # Greek
        **dict(zip("ıɑɡɩ", "iagl", strict=True)),
        **dict(zip("01", "ol", strict=True)),
        "i": "l",
    }
)


def check_petname(name: str) -> str:
    """Return *name* in Unicode form NFC; raise UsageError unless it can serve as a local name."""
    composed = unicodedata.normalize("NFC", name)
    if len(composed) > MAX_PETNAME:
        raise UsageError(f"a local name has at most {MAX_PETNAME} characters")
    try:
        check_label(composed)
    except FormatError as error:
        raise UsageError(error.message) from error
    if composed != composed.strip() or composed.startswith("-"):
        raise UsageError("a local name does not begin with a dash, or begin or end with a space")
    if not skeleton(composed):
        raise UsageError("a local name holds at least one letter or digit")
    return composed


def folded(name: str) -> str:
    """Return what two spellings of one name share: width and case do not count (NFKC)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def slug(card_name: str, station: StationId) -> str:
    """Return the local name proposed for a card that calls itself *card_name*.

    Letters and digits of any script, in lower case, joined by dashes: easy to type after
    `--to`.
    """
    words = re.findall(r"[^\W_]+", folded(card_name))
    joined = "-".join(words)[:_SLUG].strip("-")
    return joined if skeleton(joined) else f"station-{station.hex()[:8]}"


def skeleton(name: str) -> str:
    """Return what two names share that a reader could take for one another.

    Case, width, accents, spaces and punctuation do not count, nor which of several
    look-alike letters stands there.  It may join names that differ; then another has to
    be chosen, which costs little.
    """
    small = folded(_without_marks(name).translate(_CAPITALS))
    replaced = _without_marks(small).translate(_LOOK_ALIKES).translate(_LOOK_ALIKES)
    return "".join(c for c in replaced if c.isalnum()).replace("rn", "m").replace("vv", "w")


def _without_marks(name: str) -> str:
    parts = unicodedata.normalize("NFKD", name)
    return "".join(one for one in parts if unicodedata.category(one) != "Mn")


def confusable(first: str, second: str) -> bool:
    """Tell whether a look-up, or a reader, could take two names for one another."""
    return folded(first) == folded(second) or skeleton(first) == skeleton(second)


def close_matches(name: str, known: Iterable[str]) -> list[str]:
    """Return at most three of *known* that may have been meant by *name*."""
    by_fold = {folded(one): one for one in known}
    found = difflib.get_close_matches(folded(name), by_fold, n=_SUGGESTIONS, cutoff=0.6)
    return [by_fold[one] for one in found]
