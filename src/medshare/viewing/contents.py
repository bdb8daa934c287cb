"""One file, as a page or a terminal shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import cbor2

from medshare import canonical
from medshare.errors import LimitError, MedshareError
from medshare.viewing import dicom
from medshare.viewing.dicom import Window
from medshare.viewing.kinds import Kind, kind_of, media_type

MAX_TEXT: Final = 1 << 20
"""Octets of a text that are shown."""
MAX_ITEMS: Final = 500
_MAX_DEPTH: Final = 8
_MAX_MIXED_KEYS: Final = 1 << 16
"""Octets of CBOR beyond which keys are texts or octets: others can be made to collide."""


class Named(Protocol):
    """A file of a parcel: its path, and its size in octets."""

    @property
    def path(self) -> str:
        """The path in the parcel."""

    @property
    def size(self) -> int:
        """How many octets it has."""


class Readable(Protocol):
    """Files that are read into memory, one at a time; may be asked by several threads."""

    @property
    def files(self) -> Sequence[Named]:
        """All of them, in order."""

    def read(self, number: int) -> bytes:
        """Return the content of file *number*; raises MedshareError when it may not be had."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What can be shown of a file; pictures are asked for one by one."""

    kind: Kind
    media_type: str
    rows: tuple[tuple[str, str], ...] = ()
    text: str = ""
    pictures: int = 0
    problem: str = ""


def shown(data: bytes) -> Shown:
    """Return what can be shown of *data*; what cannot be is said in `problem`."""
    kind, media = kind_of(data), media_type(data)
    try:
        match kind:
            case Kind.TEXT:
                cut = len(data) > MAX_TEXT
                text = data[:MAX_TEXT].decode("utf-8", "replace")
                return Shown(kind, media, text=text, problem="only its beginning" if cut else "")
            case Kind.DICOM:
                rows, pictures = dicom.summary(data), dicom.frame_count(data)
                return Shown(kind, media, rows=rows, pictures=pictures)
            case Kind.IMAGE:
                return Shown(kind, media, pictures=1)
            case Kind.CBOR:
                return Shown(kind, media, text=cbor_text(data))
            case Kind.PDF | Kind.OTHER:
                return Shown(kind, media)
    except MedshareError as error:
        return Shown(kind, media, problem=error.message)


def picture(data: bytes, number: int, window: Window | None = None) -> tuple[bytes, str]:
    """Return picture *number* of *data*, and its media type; *window* is for grey DICOM alone."""
    if kind_of(data) is Kind.IMAGE:
        return data, media_type(data)
    made = dicom.frame(data, number, window)
    return made, media_type(made)


def cbor_text(data: bytes) -> str:
    """Return the CBOR in *data* as indented text; bounded in depth and in length.

    Raises LimitError when it is too large.  What a tag means is left aside: references to
    shared values would let a few octets stand for more than any memory holds.
    """
    if len(data) > MAX_TEXT:
        raise LimitError("this file is too large to be shown")
    try:
        value = cbor2.loads(
            data,
            strict_hashable_types=len(data) > _MAX_MIXED_KEYS,
            semantic_decoders=_BARE_TAGS,
            tag_hook=_bare,
        )
    except (cbor2.CBORError, RecursionError, ValueError, TypeError, OverflowError):
        return "(damaged)"
    lines: list[str] = []
    _lines(value, 0, "", lines)
    return "\n".join(lines)


def _bare(value: object, _immutable: bool) -> object:  # noqa: FBT001  # cbor2 calls it
    return value.value if isinstance(value, cbor2.CBORTag) else value


_BARE_TAGS: Final = dict.fromkeys(canonical.TAGS, _bare)


def _lines(value: object, depth: int, name: str, lines: list[str]) -> None:
    pad = "  " * depth + name
    if len(lines) >= MAX_ITEMS or depth > _MAX_DEPTH:
        lines.append(f"{pad}…")
    elif isinstance(value, dict):
        lines.append(f"{pad}{len(value)} entries")
        for key, one in list(value.items())[:MAX_ITEMS]:
            _lines(one, depth + 1, f"{str(key)[:64]}: ", lines)
    elif isinstance(value, list | tuple):
        lines.append(f"{pad}{len(value)} items")
        for one in value[:MAX_ITEMS]:
            _lines(one, depth + 1, "- ", lines)
    elif isinstance(value, bytes):
        more = "…" if len(value) > 32 else ""
        lines.append(f"{pad}{value[:32].hex()}{more}")
    else:
        lines.append(f"{pad}{str(value)[:500]}")
