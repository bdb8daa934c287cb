"""NIfTI volumes in a chunk, found by their headers (NIfTI-1 and NIfTI-2, nifti.nimh.nih.gov)."""

import re
import struct
from typing import Final

from medshare.codecs.pixels import LEAST_BYTES, Find
from medshare.codecs.shapes import BE16, BYTES, LE16, RGB, SAMPLE_BYTES, WORDS

_MAGIC: Final = re.compile(rb"n\+([12])\0")
# By data type: bytes, 16-bit integers, colours, 32-bit integers and reals.
_FORMS: Final = {
    2: BYTES,
    256: BYTES,
    4: LE16,
    512: LE16,
    128: RGB,
    8: WORDS,
    768: WORDS,
    16: WORDS,
}
_MAX_DIMENSIONS: Final = 7


def find_volumes(chunk: memoryview) -> list[Find]:
    """Return the volumes of 8 to 32 bits a sample whose header lies in the chunk."""
    finds: list[Find] = []
    for match in _MAGIC.finditer(chunk):
        found = _volume(chunk, match.start(), second=match[1] == b"2")
        if found and (not finds or found.start >= finds[-1].stop):
            finds.append(found)
    return finds


def _volume(chunk: memoryview, magic: int, *, second: bool) -> Find | None:
    start = magic - (4 if second else 344)
    size = 540 if second else 348
    if start < 0 or start + size > len(chunk):
        return None
    header = chunk[start : start + size]
    for order in "<>":
        if struct.unpack_from(f"{order}i", header)[0] == size:
            kind, dimensions, offset = _fields(header, order, second=second)
            return _find(chunk, start + offset, kind, dimensions, big=order == ">")
    return None


def _fields(header: memoryview, order: str, *, second: bool) -> tuple[int, list[int], int]:
    """Return data type, dimensions and the distance to the samples."""
    if second:
        kind = struct.unpack_from(f"{order}h", header, 12)[0]
        dimensions = struct.unpack_from(f"{order}8q", header, 16)
        offset = struct.unpack_from(f"{order}q", header, 168)[0]
    else:
        kind = struct.unpack_from(f"{order}h", header, 70)[0]
        dimensions = struct.unpack_from(f"{order}8h", header, 40)
        offset = struct.unpack_from(f"{order}f", header, 108)[0]
    count = dimensions[0] if 1 <= dimensions[0] <= _MAX_DIMENSIONS else 0
    whole = int(offset) if 0 <= offset < 1 << 30 else 0
    return kind, list(dimensions[1 : count + 1]), whole


def _find(
    chunk: memoryview, start: int, kind: int, dimensions: list[int], *, big: bool
) -> Find | None:
    form = _FORMS.get(kind)
    if form is None or not dimensions or min(dimensions) < 1:
        return None
    form = BE16 if form == LE16 and big else form
    size = SAMPLE_BYTES[form]
    for dimension in dimensions:
        size *= dimension
    size = min(size, len(chunk) - start)
    size -= size % SAMPLE_BYTES[form]
    pitch = 1 if form == WORDS else dimensions[0]
    return Find(form, pitch, start, start + size) if size >= LEAST_BYTES else None
