"""Reading the tables of a policy file: strictly, and with the place of what is wrong.

Whatever is unknown, of another kind or out of bounds is refused with PolicyError
(`policy.invalid`): nothing falls back to a default.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, TypeVar

from medshare.errors import PolicyError

Kind = TypeVar("Kind", bound=StrEnum)

MAX_SPAN: Final = 100 * 365 * 86400
NEVER: Final = "never"
_SPAN: Final = re.compile(r"([1-9][0-9]{0,9})([smhdwy])")
_SECONDS: Final = {"y": 365 * 86400, "w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}


def refused(message: str, rule: str, *, hint: str) -> PolicyError:
    """Return the refusal of *rule*, whose code is `policy.<rule>`."""
    return PolicyError(message, hint=hint, code=f"policy.{rule}")


def invalid(problem: str) -> PolicyError:
    """Return that the policy is none, and why."""
    return refused(
        f"the policy is not valid: {problem}",
        "invalid",
        hint="mend that, then run: medshare policy check FILE",
    )


def table_of(value: object, where: str) -> Mapping[str, object]:
    """Return *value* as a table."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise invalid(f"{where} is not a table")
    return value


def require_known(table: Mapping[str, object], keys: Sequence[str], where: str) -> None:
    """Refuse a table that has a setting other than *keys*."""
    unknown = sorted(set(table) - set(keys))
    if unknown:
        shown = "".join(c if c.isascii() and c.isprintable() else "?" for c in unknown[0][:40])
        raise invalid(
            f"{where} has a setting that is unknown here: {shown}; known: {', '.join(keys)}"
        )


def choice_of(value: object, known: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the names in *value*, in the order of *known*, so that equal rules are equal."""
    if not isinstance(value, list) or not value or len(value) > len(known):
        raise invalid(f"{where} is not a list of one or more of {', '.join(known)}")
    for name in value:
        if name not in known or value.count(name) > 1:
            raise invalid(
                f"{where} names something other than {', '.join(known)}, or names it twice"
            )
    return tuple(name for name in known if name in value)


def one_of(value: object, kinds: type[Kind], where: str) -> Kind:
    """Return which of *kinds* the word *value* is."""
    for known in kinds:
        if value == str(known):
            return known
    raise invalid(f"{where} is not one of {', '.join(kinds)}")


def number_of(value: object, least: int, most: int, where: str) -> int:
    """Return *value*, a whole number from *least* to *most*."""
    if type(value) is not int or not least <= value <= most:
        raise invalid(f"{where} is not a number from {least} to {most}")
    return value


def span_of(
    table: Mapping[str, object], key: str, default: int, where: str, *, zero: str = NEVER
) -> int:
    """Return the seconds that *key* of *table* states; *default* where it is not there."""
    value = table.get(key)
    if value is None:
        return default
    seconds = parse_span(value, zero=zero) if isinstance(value, str) else None
    if seconds is None:
        raise invalid(f'{where}.{key} is not a time such as "12h", "90d", "2y", or "{zero}"')
    return seconds


def parse_span(text: str, *, zero: str = NEVER) -> int | None:
    """Return the seconds that *text* states (`90d`, `2y`), 0 for *zero*, None if it is neither."""
    if text == zero:
        return 0
    match = _SPAN.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    return seconds if 0 < seconds <= MAX_SPAN else None


def span_text(seconds: int, *, zero: str = NEVER) -> str:
    """Return *seconds* as `parse_span` reads it, in the largest unit that fits."""
    if not seconds:
        return zero
    unit = next(unit for unit, size in _SECONDS.items() if seconds % size == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"


def list_text(names: Sequence[str]) -> str:
    """Return *names*, none of which needs escaping, as a list in TOML."""
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
