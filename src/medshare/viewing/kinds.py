"""What a file is, judged by its content alone: its name was chosen by somebody else."""

from enum import StrEnum
from typing import Final

_MARKS: Final = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"%PDF-", "application/pdf"),
    (128, b"DICM", "application/dicom"),
)
_SAMPLE: Final = 1 << 16
_CONTROLS: Final = frozenset(range(32)) - {9, 10, 12, 13}
_CBOR: Final = b"\xd9\xd9\xf7"
"""The tag of self-described CBOR (RFC 8949 §3.4.6)."""


class Kind(StrEnum):
    """Ways to show a file."""

    DICOM = "dicom"
    IMAGE = "image"
    PDF = "pdf"
    TEXT = "text"
    CBOR = "cbor"
    OTHER = "other"


def media_type(data: bytes) -> str:
    """Return the media type of *data*, of a closed list; `text/plain` is also HTML and SVG.

    Nothing that a browser would run is ever called by its own type.
    """
    for at, mark, name in _MARKS:
        if data[at : at + len(mark)] == mark and (name != "image/webp" or data[:4] == b"RIFF"):
            return name
    if data.startswith(_CBOR):
        return "application/cbor"
    return "text/plain" if _is_text(data) else "application/octet-stream"


def kind_of(data: bytes) -> Kind:
    """Return how *data* is shown."""
    name = media_type(data)
    if name.startswith("image/"):
        return Kind.IMAGE
    known = {
        "application/pdf": Kind.PDF,
        "application/dicom": Kind.DICOM,
        "application/cbor": Kind.CBOR,
        "text/plain": Kind.TEXT,
    }
    return known.get(name, Kind.OTHER)


def _is_text(data: bytes) -> bool:
    """Tell whether *data* is UTF-8 without control characters, as far as it is looked at."""
    sample = data[:_SAMPLE]
    if not _CONTROLS.isdisjoint(sample):
        return False
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        return len(data) > _SAMPLE and error.start >= len(sample) - 3
    return True
