"""One encoding for every structure (format §2): deterministic CBOR, strictly decoded.

`decode` refuses whatever `encode` (RFC 8949 §4.2) would not have written: indefinite lengths,
integers or lengths in more octets than needed, unsorted or repeated keys, tags,
floating point, trailing octets, nesting deeper than `MAX_DEPTH`.  Maps have text
keys only.  The caller bounds both octets and items, because an item of one octet costs
some 80 in memory: a few kilobytes of Zstandard could otherwise fill the machine.

`Fields` reads one decoded map, key by key, with type and size checks, and then
insists that nothing is left over.
"""

from collections.abc import Mapping
from typing import Any, Final

import cbor2

from medshare.errors import FormatError, LimitError, UnsupportedVersionError

Value = int | bytes | str | bool | None | list[Any] | dict[str, Any]
"""What the format can express; integers are 0 to 2^64-1."""

MAX_DEPTH: Final = 16
MAX_ITEMS: Final = 1 << 21
"""Items in one object, unless a caller allows fewer."""
MAX_TIME: Final = 253_402_300_799
"""The last second of the year 9999, in seconds since 1970 UTC: what calendars can show."""
_MAX_INT: Final = 2**64 - 1
TAGS: Final = (
    *range(6), 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799,
)  # fmt: skip
"""Every tag to which cbor2 gives a meaning of its own."""


def encode(value: Value) -> bytes:
    """Return the one deterministic encoding of *value*; raise FormatError if it has none."""
    try:
        return cbor2.dumps(value, canonical=True)
    except UnicodeEncodeError as error:
        raise FormatError("a text holds characters that cannot be written as UTF-8") from error


def decode(data: bytes, *, limit: int, what: str, items: int = MAX_ITEMS) -> Value:
    """Return the value that *data* encodes.

    Raises LimitError when *data* has more than *limit* octets or *items* items, FormatError
    when it is not exactly what `encode` would have written.
    """
    if len(data) > limit:
        raise LimitError(f"{what} has {len(data)} bytes; at most {limit} are allowed")
    if len(data) > items:
        _require_few_items(data, items, what)
    try:
        value = cbor2.loads(
            data,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            semantic_decoders=_NO_TAGS,
            tag_hook=_refuse_tag,
        )
        _require_plain(value)
        if encode(value) != data:
            raise FormatError("not in its deterministic encoding")
    except (cbor2.CBORError, FormatError, ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"{what} is not valid deterministic CBOR") from error
    return value  # type: ignore[no-any-return]  # _require_plain has seen every item


def _require_few_items(data: bytes, most: int, what: str) -> None:
    """Raise LimitError if *data* announces more than *most* items; allocate nothing.

    What is malformed here is left for the decoder to refuse.
    """
    position, end, open_items, seen = 0, len(data), 1, 0
    while open_items and position < end:
        head = data[position]
        major, argument = head >> 5, head & 31
        position += 1
        if 24 <= argument < 28:
            width = 1 << (argument - 24)
            argument = int.from_bytes(data[position : position + width])
            position += width
        elif argument >= 28:
            return
        if major in (2, 3):
            position += argument
        elif major in (4, 5):
            open_items += argument * (major - 3)
        elif major == 6:
            open_items += 1
        open_items -= 1
        seen += 1
        if seen + open_items > most:
            raise LimitError(f"{what} has more than {most} items")


def _refuse_tag(*_: object) -> None:
    raise FormatError("tags are not part of the format")


_NO_TAGS: Final = dict.fromkeys(TAGS, _refuse_tag)


def _require_plain(value: object) -> None:
    """Raise FormatError if *value* holds anything that the format cannot express."""
    pending = [value]
    while pending:
        item = pending.pop()
        kind = type(item)
        if kind is int:
            if not 0 <= item <= _MAX_INT:  # type: ignore[operator]  # kind says int
                raise FormatError("integer out of range")
        elif kind is list:
            pending.extend(item)  # type: ignore[arg-type]  # kind says list
        elif kind is dict:
            if any(type(key) is not str for key in item):  # type: ignore[attr-defined]  # dict
                raise FormatError("map keys must be text")
            pending.extend(item.values())  # type: ignore[attr-defined]  # kind says dict
        elif kind not in (bytes, str, bool, type(None)):
            raise FormatError("value of a kind that the format does not have")


class Fields:
    """Read a decoded map strictly: every key once, of the right type, none left over."""

    def __init__(self, value: object, *, what: str) -> None:
        if not isinstance(value, dict):
            raise FormatError(f"{what} is not a map")
        self._left: dict[str, Any] = dict(value)
        self._what = what

    def _take(self, key: str) -> Any:
        try:
            return self._left.pop(key)
        except KeyError:
            raise FormatError(f"{self._what} lacks the field '{key}'") from None

    def uint(self, key: str, *, minimum: int = 0, maximum: int = _MAX_INT) -> int:
        """Take an unsigned integer within bounds."""
        value = self._take(key)
        if type(value) is not int:
            raise FormatError(f"field '{key}' of {self._what} is not an integer")
        if not minimum <= value <= maximum:
            raise LimitError(
                f"field '{key}' of {self._what} is {value}, not {minimum} to {maximum}"
            )
        return value

    def time(self, key: str) -> int:
        """Take a time in seconds since 1970 UTC, up to the year 9999."""
        return self.uint(key, maximum=MAX_TIME)

    def octets(self, key: str, *, size: int | None = None, maximum: int = 1 << 16) -> bytes:
        """Take a byte string of exactly *size*, or at most *maximum*, octets."""
        value = self._take(key)
        if not isinstance(value, bytes):
            raise FormatError(f"field '{key}' of {self._what} is not a byte string")
        if size is not None and len(value) != size:
            raise FormatError(f"field '{key}' of {self._what} has {len(value)} bytes, not {size}")
        if len(value) > maximum and size is None:
            raise LimitError(f"field '{key}' of {self._what} exceeds {maximum} bytes")
        return value

    def text(self, key: str, *, maximum: int = 256) -> str:
        """Take a text string of at most *maximum* UTF-8 octets."""
        value = self._take(key)
        if not isinstance(value, str):
            raise FormatError(f"field '{key}' of {self._what} is not text")
        if len(value.encode()) > maximum:
            raise LimitError(f"field '{key}' of {self._what} exceeds {maximum} bytes")
        return value

    def items(self, key: str, *, maximum: int) -> list[Any]:
        """Take an array of at most *maximum* items."""
        value = self._take(key)
        if not isinstance(value, list):
            raise FormatError(f"field '{key}' of {self._what} is not an array")
        if len(value) > maximum:
            raise LimitError(f"field '{key}' of {self._what} has more than {maximum} items")
        return value

    def mapping(self, key: str, *, maximum: int = 64) -> dict[str, Any]:
        """Take a map of at most *maximum* entries."""
        value = self._take(key)
        if not isinstance(value, dict):
            raise FormatError(f"field '{key}' of {self._what} is not a map")
        if len(value) > maximum:
            raise LimitError(f"field '{key}' of {self._what} has more than {maximum} entries")
        return value

    def literal(self, key: str, expected: str) -> None:
        """Take a text that must equal *expected*."""
        value = self._take(key)
        if value != expected:
            raise FormatError(f"field '{key}' of {self._what} is not '{expected}'")

    def value(self, key: str) -> Any:
        """Take a value of any kind, for the caller to check."""
        return self._take(key)

    def finish(self) -> None:
        """Raise FormatError if any field was not taken."""
        if self._left:
            raise FormatError(f"{self._what} has unknown fields")


def refuse_unknown_critical(critical: Mapping[str, object], known: frozenset[str]) -> None:
    """Raise UnsupportedVersionError when *critical* names an extension not in *known*."""
    if set(critical) - known:
        raise UnsupportedVersionError(
            "an extension that must be understood is unknown here",
            hint="update medshare, then try again",
        )
