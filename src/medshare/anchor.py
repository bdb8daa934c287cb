"""Anchors: what a seal or a receipt says about the record of who signed it (format §9.5).

In the map `extra` of a signed object, under the key `log`: `[size, root]`, the newest
checkpoint of the signer's own record.  Whoever keeps the object can later tell whether that
record still begins as it did.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from medshare import canonical
from medshare.digest import DIGEST_SIZE
from medshare.errors import FormatError

KEY: Final = "log"
MAX_SIZE: Final = (1 << 53) - 1


@dataclass(frozen=True, slots=True)
class Anchor:
    """That the signer's record had *size* entries under *root* (RFC 6962, SHA-256)."""

    size: int
    root: bytes


def to_extra(anchor: Anchor | None) -> dict[str, canonical.Value]:
    """Return the map `extra` that holds *anchor*, or nothing."""
    return {} if anchor is None else {KEY: [anchor.size, anchor.root]}


def from_extra(extra: Mapping[str, Any], *, what: str) -> Anchor | None:
    """Return the anchor in the map `extra`, or None; raise FormatError when it is malformed."""
    if KEY not in extra:
        return None
    match extra[KEY]:
        case [int() as size, bytes() as root] if (
            type(size) is int and 0 < size <= MAX_SIZE and len(root) == DIGEST_SIZE
        ):
            return Anchor(size, root)
    raise FormatError(f"what {what} says of its signer's record is malformed")
