"""Residuals sorted by magnitude, and packed (docs/codecs.md, "Tiles").

Residuals are cut into tiles of 8 by 8, and tiles are ordered by *width*: how many bits
their largest residual needs.  What follows each other in the sorted stream is then alike,
and the entropy coder, which learns one table per 128 KiB, learns one that fits: what
contexts do for JPEG-LS, but for whole tiles at a time.  Narrow residuals go two or four
into a byte, which halves what a prefix code loses on frequent symbols; from wide ones the
low bits, which are noise, are split off.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from medshare.codecs.arrays import U32, U64, Bytes, Samples
from medshare.codecs.shapes import TILE, TILE_SAMPLES, Shape
from medshare.errors import CodecError

STREAMS: Final = 6
CRUMBS, NIBBLES, OCTETS, LOW_CRUMBS, LOW_NIBBLES, LOW_OCTETS = range(STREAMS)
PER_BYTE: Final = (4, 2, 1, 4, 2, 1)
WIDTHS: Final = 17

_TOP_BITS: Final = 7
# Bits that a value of 16 bits needs, by value.
_BITS: Final = np.repeat(
    np.arange(WIDTHS, dtype=np.uint8), [1, *(1 << bits for bits in range(WIDTHS - 1))]
)


@dataclass(frozen=True, slots=True)
class Section:
    """Where tiles of widths in [start, stop) go: whole, or as tops and `low_bits` below."""

    start: int
    stop: int
    stream: int
    low_stream: int = -1
    low_bits: int = 0


SECTIONS: Final = (
    Section(1, 3, CRUMBS),
    Section(3, 5, NIBBLES),
    Section(5, 9, OCTETS),
    *(
        Section(
            width,
            width + 1,
            OCTETS,
            LOW_CRUMBS if width == 9 else LOW_NIBBLES if width < 12 else LOW_OCTETS,
            min(width - _TOP_BITS, 8),
        )
        for width in range(9, WIDTHS)
    ),
)


def stream_sizes(widths: Bytes) -> list[int]:
    """Return the bytes in each stream for tiles of these widths.

    Raises:
        CodecError: a width is larger than 16.
    """
    counts = np.bincount(widths, minlength=WIDTHS)
    if counts.size > WIDTHS:
        raise CodecError("compressed pixels have a tile wider than 16 bits")
    sizes = [0] * STREAMS
    for section in SECTIONS:
        samples = int(counts[section.start : section.stop].sum()) * TILE_SAMPLES
        sizes[section.stream] += samples // PER_BYTE[section.stream]
        if section.low_bits:
            sizes[section.low_stream] += samples // PER_BYTE[section.low_stream]
    return sizes


class Tiling:
    """Tiles of rasters, sorted and packed, in buffers that are given.

    Each has room for all tiles.  `first` holds the streams, `second` sorted tiles, where
    the residuals may be as well, and `third` tiles in their own order.
    """

    def __init__(self, first: Samples, second: Samples, third: Samples) -> None:
        self._streams = first.view(np.uint8)
        self._sorted = second.reshape(-1, TILE_SAMPLES)
        self._tiles = third.reshape(-1, TILE_SAMPLES)

    def pack(self, residuals: Samples, shape: Shape) -> tuple[Bytes, list[Bytes]]:
        """Return the width of each tile, and the streams; valid until the next call."""
        tiles = self._tiles[: shape.tiles]
        _cut(residuals, shape, tiles)
        widths = _widths(tiles)
        ordered = self._sorted[: shape.tiles]
        np.take(tiles, np.argsort(widths, kind="stable"), axis=0, out=ordered, mode="clip")
        streams = self._slots(stream_sizes(widths))
        for section, samples, top, low in self._sections(widths, streams):
            if section.low_bits:
                spare = self._tiles.reshape(-1)[: samples.size]  # spent: sorted by now
                np.bitwise_and(samples, (1 << section.low_bits) - 1, out=spare)
                _squeeze(spare, PER_BYTE[section.low_stream], low)
                np.right_shift(samples, section.low_bits, out=samples)
            _squeeze(samples, PER_BYTE[section.stream], top)
        return widths, streams

    def slots(self, widths: Bytes) -> list[Bytes]:
        """Return the buffers that `unpack` expects to be filled with the streams."""
        return self._slots(stream_sizes(widths))

    def unpack(self, widths: Bytes, streams: list[Bytes], shape: Shape, into: Samples) -> None:
        """Write the residuals of which `pack` made these widths and streams."""
        ordered = self._sorted[: shape.tiles]
        ordered[: int(np.count_nonzero(widths == 0))] = 0
        for section, samples, top, low in self._sections(widths, streams):
            _spread(top, PER_BYTE[section.stream], samples)
            if section.low_bits:
                spare = self._tiles.reshape(-1)[: samples.size]  # not yet filled
                _spread(low, PER_BYTE[section.low_stream], spare)
                np.left_shift(samples, section.low_bits, out=samples)
                np.bitwise_or(samples, spare, out=samples)
        place = np.empty(shape.tiles, np.intp)
        place[np.argsort(widths, kind="stable")] = np.arange(shape.tiles)
        tiles = self._tiles[: shape.tiles]
        np.take(ordered, place, axis=0, out=tiles, mode="clip")
        _join(tiles, shape, into)

    def _slots(self, sizes: list[int]) -> list[Bytes]:
        slots, start = [], 0
        for size in sizes:
            slots.append(self._streams[start : start + size])
            start += size
        return slots

    def _sections(
        self, widths: Bytes, streams: list[Bytes]
    ) -> Iterator[tuple[Section, Samples, Bytes, Bytes]]:
        """Yield each section that has tiles, its sorted samples and its part of the streams."""
        counts = np.bincount(widths, minlength=WIDTHS)
        flat, done, used = self._sorted.reshape(-1), int(counts[0]) * TILE_SAMPLES, [0] * STREAMS
        for section in SECTIONS:
            size = int(counts[section.start : section.stop].sum()) * TILE_SAMPLES
            parts = []
            for stream in (section.stream, section.low_stream):
                taken = size // PER_BYTE[stream] if stream >= 0 else 0
                parts.append(streams[stream][used[stream] : used[stream] + taken])
                used[stream] += taken
            if size:
                yield section, flat[done : done + size], parts[0], parts[1]
            done += size


def _places(values: Samples, shape: Shape, tiles: Samples) -> Iterator[tuple[Samples, Samples]]:
    """Yield pairs of equally shaped views: in the bands, and in the tiles.

    Whole tiles by band first, eight samples at a time; then what is loose: to the right of
    the tiles, below them, and the tail.
    """
    down, across = shape.tile_grid
    width, each = shape.tile_width, down * across
    loose, done = tiles[shape.bands * each :].reshape(-1), 0
    for band in range(shape.bands):
        samples = values[band * shape.band : (band + 1) * shape.band]
        rows = samples[: down * TILE * width].reshape(down, TILE, width)
        beside = rows[:, :, across * TILE :]
        below = samples[down * TILE * width :]
        if each:
            row = rows[:, :, : across * TILE].reshape(down, TILE, across, TILE)
            tile = tiles[band * each : (band + 1) * each].reshape(down, across, TILE, TILE)
            yield row.view("V16")[..., 0], tile.view("V16")[..., 0].transpose(0, 2, 1)
        for part in (beside, below):
            yield part, loose[done : done + part.size].reshape(part.shape)
            done += part.size
    tail = values[shape.bands * shape.band :]
    yield tail, loose[done : done + tail.size]


def _cut(residuals: Samples, shape: Shape, tiles: Samples) -> None:
    """Fill the tiles from the bands, and the last one up with zeros."""
    tiles.reshape(-1)[tiles.size - (-shape.loose % TILE_SAMPLES) :] = 0
    for source, target in _places(residuals, shape, tiles):
        np.copyto(target, source)


def _join(tiles: Samples, shape: Shape, into: Samples) -> None:
    """Undo `_cut`."""
    for target, source in _places(into, shape, tiles):
        np.copyto(target, source)


def _widths(tiles: Samples) -> Bytes:
    """Return how many bits the largest sample of each tile needs."""
    union = tiles.view(U64).reshape(-1)
    while union.size > len(tiles):
        union = np.bitwise_or(union[0::2], union[1::2])
    for shift in (32, 16):
        union = np.bitwise_or(union, np.right_shift(union, shift))
    return _BITS[union.astype(np.uint16)]


def _squeeze(samples: Samples, per_byte: int, into: Bytes) -> None:
    """Put four samples of two bits, two of four, or one of eight into each byte."""
    if per_byte == 4:
        words = samples.view(U64)
        pairs = np.bitwise_or(words, np.right_shift(words, 14))
        np.bitwise_or(pairs, np.right_shift(pairs, 28), out=pairs)
        np.copyto(into, pairs, casting="unsafe")
    elif per_byte == 2:
        halves = samples.view(U32)
        packed = np.right_shift(halves, 12)
        np.bitwise_or(packed, halves, out=packed)
        np.copyto(into, packed, casting="unsafe")
    else:
        np.copyto(into, samples, casting="unsafe")


def _spread(packed: Bytes, per_byte: int, into: Samples) -> None:
    """Undo `_squeeze`; bits that do not belong to a sample are dropped."""
    if per_byte == 4:
        words = into.view(U64)
        np.copyto(words, packed)
        np.bitwise_or(words, np.left_shift(words, 28), out=words)
        np.bitwise_and(words, 0x0000_000F_0000_000F, out=words)
        np.bitwise_or(words, np.left_shift(words, 14), out=words)
        np.bitwise_and(words, 0x0003_0003_0003_0003, out=words)
    elif per_byte == 2:
        halves = into.view(U32)
        np.copyto(halves, packed)
        np.bitwise_or(halves, np.left_shift(halves, 12), out=halves)
        np.bitwise_and(halves, 0x000F_000F, out=halves)
    else:
        np.copyto(into, packed)
