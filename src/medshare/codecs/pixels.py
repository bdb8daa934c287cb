"""Native pixel data and waveforms in a chunk, found without parsing the files.

An element is recognized by its tag, and believed only if its length is a whole number of
frames of the size that the nearest preceding attributes give (DICOM PS3.3 C.7.6.3, PS3.5
§7.1 and §8).  Encapsulated, hence already compressed, pixel data has no defined length
and drops out by itself.  A false find costs bytes, never correctness: what is found is
only predicted differently.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from medshare.codecs.shapes import BE16, BYTES, LE16, RGB, SAMPLE_BYTES

LEAST_BYTES: Final = 4096

_PREFIX: Final = re.compile(rb"DICM")
_PREAMBLE: Final = 128
_PIXELS: Final = (0x7FE0, 0x0010)
_WAVEFORM: Final = (0x5400, 0x1010)
_CHANNELS: Final = (0x003A, 0x0005)
_ROWS, _COLUMNS = (0x0028, 0x0010), (0x0028, 0x0011)
_SAMPLES, _PLANAR = (0x0028, 0x0002), (0x0028, 0x0006)
_BITS: Final = (0x0028, 0x0100)

_UNDEFINED: Final = 0xFFFF_FFFF
_REACH: Final = 1 << 20  # private elements of 100 KB lie between attributes and pixels
_GROUP_REACH: Final = 1024
_LONG_HEAD: Final = 1 << 18
_TRIES: Final = 4

Order = Literal["little", "big"]
Tag = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Find:
    """Bytes [start, stop) of the chunk are rows of `pitch` samples of one form.

    `length` is that of the whole image, where it is known; it may go on after the chunk.
    """

    form: int
    pitch: int
    start: int
    stop: int
    length: int = 0


def find_pixels(chunk: memoryview, file_start: int) -> list[Find]:
    """Return what was found, in order and without overlaps, whole samples only.

    Only files whose beginning lies in the chunk show what they hold; the first of them
    begins at `file_start`.
    """
    finds = list(_images(chunk, "little", file_start, len(chunk)))
    if not finds and _encapsulated(chunk, file_start):
        return []
    for start, stop in _unexplained(finds, file_start, len(chunk)):
        finds += _images(chunk, "big", start, stop)
        finds += _waveforms(chunk, start, stop)
    disjoint: list[Find] = []
    for find in sorted(finds, key=lambda find: find.start):
        behind = not disjoint or find.start >= disjoint[-1].stop
        if behind and find.stop - find.start >= LEAST_BYTES:
            disjoint.append(find)
    return disjoint


def first_file(chunk: memoryview) -> int:
    """Return where the first DICOM file starts that starts in the chunk, or -1."""
    prefix = _PREFIX.search(chunk)
    return max(0, prefix.start() - _PREAMBLE) if prefix else -1


def tail_like(find: Find, stop: int) -> Find:
    """Return the end of an image like `find`, which ends with its file at `stop`."""
    begin = max(0, stop - find.length)
    begin += (stop - begin) % SAMPLE_BYTES[find.form]
    return Find(find.form, find.pitch, begin, stop)


def _encapsulated(chunk: memoryview, start: int) -> bool:
    """Tell whether there is pixel data that is already compressed."""
    element = re.compile(re.escape(_tag(_PIXELS, "little")) + rb"O[BW]\0\0\xff\xff\xff\xff")
    return element.search(chunk, start) is not None


def _unexplained(finds: list[Find], start: int, stop: int) -> list[tuple[int, int]]:
    """Return the spans of [start, stop) that may hold files without little-endian pixels.

    What precedes a find is the head of the same file, unless it is very long.
    """
    edges = [start, *(edge for find in finds for edge in (find.start, find.stop)), stop]
    spans = list(pairwise(edges))[::2]
    return [span for span in spans if span[1] - span[0] > _LONG_HEAD or span[1] == stop]


def _images(chunk: memoryview, order: Order, start: int, stop: int) -> Iterator[Find]:
    before, end = start, start
    for position, value, length in _elements(chunk, order, _PIXELS, start, stop):
        # The attributes precede an icon and its pixels, if the file has one.
        for begin in (end, before):
            header = bytes(chunk[max(begin, position - _REACH) : position])
            image = _image(header, order, length)
            if image:
                yield _within(stop, *image, value, length)
                break
        before, end = end, min(value + length, len(chunk))


def _waveforms(chunk: memoryview, start: int, stop: int) -> Iterator[Find]:
    end = start
    for position, value, length in _elements(chunk, "little", _WAVEFORM, start, stop):
        header = bytes(chunk[max(end, position - _REACH) : position])
        channels = _last(header, "little", _CHANNELS)
        end = min(value + length, len(chunk))
        if channels and channels <= LEAST_BYTES and length % (2 * channels) == 0:
            yield _within(stop, LE16, channels, value, length)


def _within(end: int, form: int, pitch: int, start: int, length: int) -> Find:
    """Return a find that stops at `end`, or before."""
    size = max(0, min(length, end - start))
    return Find(form, pitch, start, start + size - size % SAMPLE_BYTES[form], length)


def _elements(
    chunk: memoryview, order: Order, tag: Tag, start: int, stop: int
) -> Iterator[tuple[int, int, int]]:
    """Yield where an element and its value start, and its defined length."""
    pattern = re.compile(re.escape(_tag(tag, order)))
    while match := pattern.search(chunk, start, stop):
        position = match.start()
        head = bytes(chunk[position + 4 : position + 12])
        explicit = head[:4] in (b"OW\0\0", b"OB\0\0")
        value = position + (12 if explicit else 8)
        length = int.from_bytes(head[4:8] if explicit else head[:4], order)
        start = position + 4
        if length != _UNDEFINED and min(length, len(chunk) - value) >= LEAST_BYTES:
            yield position, value, length
            start = min(value + length, len(chunk))


def _image(header: bytes, order: Order, length: int) -> tuple[int, int] | None:
    """Return form and pitch of an image of `length` bytes, if the attributes fit it."""
    stop = len(header)
    for _ in range(_TRIES):
        stop = header.rfind(_tag(_COLUMNS, order), 0, stop)
        if stop < 0:
            return None
        columns = _value(header, order, stop)
        before = header[max(0, stop - _GROUP_REACH) : stop]
        after = header[stop : stop + _GROUP_REACH]
        rows, bits = _last(before, order, _ROWS), _first(after, order, _BITS)
        samples = _last(before, order, _SAMPLES) or 1
        if rows and columns and bits in (8, 16) and samples in (1, 3):
            frame = rows * columns * samples * bits // 8
            if length >= frame and length % frame <= 1:
                planar = bool(_last(before, order, _PLANAR))
                return _form(order, columns, samples, bits, planar=planar)
    return None


def _form(order: Order, columns: int, samples: int, bits: int, *, planar: bool) -> tuple[int, int]:
    if bits == 8:
        return (RGB if samples == 3 and not planar else BYTES), columns
    return (LE16 if order == "little" else BE16), columns * (1 if planar else samples)


def _tag(tag: Tag, order: Order) -> bytes:
    return tag[0].to_bytes(2, order) + tag[1].to_bytes(2, order)


def _last(data: bytes, order: Order, tag: Tag) -> int | None:
    position = data.rfind(_tag(tag, order))
    return _value(data, order, position) if position >= 0 else None


def _first(data: bytes, order: Order, tag: Tag) -> int | None:
    position = data.find(_tag(tag, order))
    return _value(data, order, position) if position >= 0 else None


def _value(data: bytes, order: Order, position: int) -> int | None:
    """Return an unsigned short, whose value lies 8 bytes on in either encoding."""
    if data[position + 4 : position + 8] not in (
        b"US" + (2).to_bytes(2, order),
        (2).to_bytes(4, order),
    ):
        return None
    return int.from_bytes(data[position + 8 : position + 10], order)
