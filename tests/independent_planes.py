"""A second reading of docs/codecs.md: the octets of a chunk from its encoded form.

Written from the specification alone, one sample at a time and without NumPy: slow, and
meant to be read beside it.  Each function names its section.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import zstandard

from tests.independent_values import need, refuse

FAULT = "integrity.codec"
OCTETS = (2, 2, 1, 3, 4)


class Raster(NamedTuple):
    """What the head says of a raster (§2.2)."""

    form: int
    base: int
    offset: int
    pitch: int
    weights: tuple[int, ...]
    interpolated: int
    frames: tuple[int, ...]

    @property
    def narrow(self) -> bool:
        return self.form >= 2

    @property
    def modulus(self) -> int:
        return 256 if self.narrow else 65536


def plain_of(codec: int, encoded: bytes, size: int, chunk_size: int) -> bytes:
    """Decode a chunk (§1, §2)."""
    if codec == 0:
        need(len(encoded) == size, FAULT, "stored size")
        return encoded
    if codec == 1:
        return frame(encoded, size, chunk_size)
    need(codec == 2, FAULT, "unknown codec")
    return planes(encoded, size, chunk_size)


def frame(data: bytes, size: int, chunk_size: int) -> bytes:
    """Decompress one plain frame (§1.2)."""
    try:
        header = zstandard.get_frame_parameters(data)
        need(header.content_size == size, FAULT, "content size")
        need(not header.dict_id and not header.has_checksum, FAULT, "frame header")
        opener = zstandard.ZstdDecompressor(max_window_size=max(1024, chunk_size))
        return opener.decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        refuse(FAULT, str(error))


def planes(encoded: bytes, size: int, chunk_size: int) -> bytes:
    """Decode a chunk of codec 2 (§2.2)."""
    rasters, run_count, rest_size, rest_frame, start = head(encoded)
    ends = [start, start + rest_frame]
    for length in (length for raster in rasters for length in raster.frames):
        ends.append(ends[-1] + length)
    need(ends[-1] == len(encoded), FAULT, "sizes of the parts")
    parts = [encoded[a:b] for a, b in pairwise(ends)]
    need(rest_size <= size, FAULT, "rest size")
    rest = frame(parts[0], 9 * run_count + rest_size, chunk_size)
    result = bytearray(size)
    spans = runs(rest[: 9 * run_count], rasters, size, rest_size)
    fill_rest(result, [(start, stop) for _, start, stop in spans], rest[9 * run_count :])
    for number, raster in enumerate(rasters):
        own = [(start, stop) for which, start, stop in spans if which == number]
        frames = parts[1 + 7 * number : 8 + 7 * number]
        octets = octets_of(raster, sum(b - a for a, b in own), frames, chunk_size)
        for a, b in own:
            result[a:b], octets = octets[: b - a], octets[b - a :]
    return bytes(result)


def head(encoded: bytes) -> tuple[list[Raster], int, int, int, int]:
    """Read the head (§2.2): rasters, runs, rest size, rest frame size, and its own size."""
    need(len(encoded) >= 12, FAULT, "head")
    count, zero, run_count, rest_size, rest_frame = struct.unpack_from(">BBHII", encoded)
    need(zero == 0 and 1 <= count <= 16 and run_count, FAULT, "head")
    need(len(encoded) >= 12 + 52 * count, FAULT, "head")
    rasters = []
    for at in range(12, 12 + 52 * count, 52):
        form, base, offset, pitch = struct.unpack_from(">BBHI", encoded, at)
        weights = struct.unpack_from(">14b", encoded, at + 8)
        interpolated, zero, *frames = struct.unpack_from(">BB7I", encoded, at + 22)
        need(form <= 4 and base <= 3 and interpolated <= 1 and not zero, FAULT, "raster")
        need(interpolated or not any(weights), FAULT, "weights")
        need(form <= 1 or offset == 0, FAULT, "offset")
        rasters.append(Raster(form, base, offset, pitch, weights, interpolated, tuple(frames)))
    return rasters, run_count, rest_size, rest_frame, 12 + 52 * count


def runs(
    table: bytes, rasters: list[Raster], size: int, rest_size: int
) -> list[tuple[int, int, int]]:
    """Read the table of runs (§2.2): raster, start, stop."""
    found, end = [], 0
    for which, gap, length in struct.iter_unpack(">BII", table):
        need(which < len(rasters) and length, FAULT, "run")
        need(length % OCTETS[rasters[which].form] == 0, FAULT, "run cuts a sample")
        found.append((which, end + gap, end + gap + length))
        end += gap + length
        need(end <= size, FAULT, "run outside the chunk")
    need(sum(b - a for _, a, b in found) + rest_size == size, FAULT, "plain size")
    return found


def fill_rest(result: bytearray, spans: list[tuple[int, int]], rest: bytes) -> None:
    """Put the rest where no run is (§2.2)."""
    end = done = 0
    for start, stop in [*spans, (len(result), len(result))]:
        result[end:start] = rest[done : done + start - end]
        done, end = done + start - end, stop


def octets_of(raster: Raster, size: int, frames: list[bytes], chunk_size: int) -> bytes:
    """Return the octets of all runs of a raster (§2.3)."""
    count = size if raster.narrow else size // 2
    need(1 <= raster.pitch <= count <= max(1, chunk_size // 2), FAULT, "pitch or samples")
    if raster.interpolated:
        need(raster.pitch >= 32 and count >= 32 * raster.pitch, FAULT, "too small to halve")
    values = samples(raster, count, frames, chunk_size)
    x = [(value + raster.offset) % raster.modulus for value in values]
    if raster.form <= 1:
        return struct.pack(f"{'<>'[raster.form]}{count}H", *x)
    if raster.form == 2:
        return bytes(x)
    each = count // OCTETS[raster.form]
    parts = [x[at : at + each] for at in range(0, count, each)]
    if raster.form == 3:
        green, red, blue = parts
        parts = [[g + r for g, r in zip(green, red, strict=True)], green]
        parts.append([g + b for g, b in zip(green, blue, strict=True)])
    return bytes(value % 256 for item in zip(*parts, strict=True) for value in item)


def samples(raster: Raster, count: int, frames: list[bytes], chunk_size: int) -> list[int]:
    """Undo the prediction of a raster, but for its offset (§2.4, §2.5)."""
    p, mod = raster.pitch, raster.modulus
    if not raster.interpolated:
        residuals = unfolded(raster, frames, [count], p, 0, chunk_size)
        return plain(residuals, raster.base, p, mod)
    rows = count // p // 2 * 2
    even = p + p % 2
    w, n, tail = even // 2, rows * even // 4, count - rows * p
    residuals = unfolded(raster, frames, [n] * 4, w, tail, chunk_size)
    bands = [residuals[at : at + n] for at in range(0, 4 * n, n)]
    v = raster.weights
    kept = plain(bands[3], raster.base, w, mod)
    centre = predicted(bands[0], lambda i: centre_sum(kept, i, w, v[:4]), mod)
    right = predicted(bands[1], lambda i: edge_sum(kept, centre, i, 1, w, v[4:9]), mod)
    below = predicted(bands[2], lambda i: edge_sum(kept, centre, i, w, 1, v[9:]), mod)
    result = []
    for row in range(rows):
        here = slice(row // 2 * w, (row // 2 + 1) * w)
        pair = (below[here], centre[here]) if row % 2 else (kept[here], right[here])
        result += [value for two in zip(*pair, strict=True) for value in two][:p]
    return result + plain(residuals[4 * n :], 1, 1, mod)


def plain(r: list[int], base: int, p: int, mod: int) -> list[int]:
    """Undo plain prediction (§2.4)."""
    x = list(r)
    if base in (2, 3):
        for i in range(p, len(x)):
            x[i] += x[i - p]
    if base in (1, 3):
        for i in range(1, len(x)):
            x[i] += x[i - 1]
    return [value % mod for value in x]


def predicted(r: list[int], total: Callable[[int], int], mod: int) -> list[int]:
    """Undo the prediction of a band that is interpolated (§2.5)."""
    return [(value + (total(i) + 32) // 64) % mod for i, value in enumerate(r)]


def at(band: list[int], i: int) -> int:
    """One sample, 0 outside the band (§2.5)."""
    return band[i] if 0 <= i < len(band) else 0


def total_of(band: list[int], places: Sequence[int]) -> int:
    """The sum of some samples."""
    return sum(at(band, i) for i in places)


def centre_sum(k: list[int], i: int, w: int, v: Sequence[int]) -> int:
    """The weighted sum around a centre (§2.5)."""
    return (
        v[0] * total_of(k, (i, i + 1, i + w, i + w + 1))
        + v[1] * total_of(k, (i - 1, i + 2, i + w - 1, i + w + 2))
        + v[2] * total_of(k, (i - w, i - w + 1, i + 2 * w, i + 2 * w + 1))
        + v[3] * total_of(k, (i - w - 1, i - w + 2, i + 2 * w - 1, i + 2 * w + 2))
    )


def edge_sum(k: list[int], c: list[int], i: int, a: int, b: int, u: Sequence[int]) -> int:
    """The weighted sum around the middle of an edge (§2.5)."""
    return (
        u[0] * total_of(k, (i, i + a))
        + u[1] * total_of(c, (i - b, i))
        + u[2] * total_of(k, (i - a, i + 2 * a))
        + u[3] * total_of(k, (i - b, i - b + a, i + b, i + b + a))
        + u[4] * total_of(c, (i - b - a, i - a, i - b + a, i + a))
    )


def unfolded(
    raster: Raster, frames: list[bytes], bands: list[int], width: int, tail: int, chunk_size: int
) -> list[int]:
    """Return the residuals of a raster, from its frames (§2.6)."""
    t = width if width >= 16 else 8
    n = bands[0]
    down, across = n // t // 8, t // 8
    whole = len(bands) * down * across
    loose = sum(bands) + tail - 64 * whole
    widths = frame(frames[0], whole + -(-loose // 64), chunk_size)
    tiles = iter(tiles_of(widths, frames[1:], chunk_size))
    values: list[int] = []
    spare = []
    for _ in bands:
        grid = [[0] * t for _ in range(8 * down)]
        for row in range(0, 8 * down, 8):
            for column in range(0, 8 * across, 8):
                tile = next(tiles)
                for line in range(8):
                    grid[row + line][column : column + 8] = tile[8 * line : 8 * line + 8]
        spare.append((len(values), grid))
        values += [0] * n
    left = [value for tile in tiles for value in tile]
    for start, grid in spare:
        done = start
        beside = t - 8 * across
        for covered in grid:
            values[done : done + t] = covered[: 8 * across] + left[:beside]
            left, done = left[beside:], done + t
        rest = start + n - done
        values[done : done + rest], left = left[:rest], left[rest:]
    return [-(value + 1) // 2 if value % 2 else value // 2 for value in values + left[:tail]]


def tiles_of(widths: bytes, frames: list[bytes], chunk_size: int) -> list[list[int]]:
    """Return all tiles in their own order, from the streams (§2.7)."""
    need(max(widths) <= 16, FAULT, "width")
    sizes = [0] * 6
    for width in widths:
        for stream, bits in places(width):
            sizes[stream] += 64 * bits // 8
    streams = [
        values_of(frame(data, size, chunk_size) if size else data, number)
        for number, (data, size) in enumerate(zip(frames, sizes, strict=True))
    ]
    need(all(size or not data for size, data in zip(sizes, frames, strict=True)), FAULT, "stream")
    tiles = [[0] * 64 for _ in widths]
    for number in sorted(range(len(widths)), key=lambda number: widths[number]):
        width = widths[number]
        low = min(width - 7, 8) if width > 8 else 0
        for place, (stream, _) in enumerate(places(width)):
            for line in range(64):
                value = next(streams[stream])
                tiles[number][line] |= value if place else value << low
    return [[value % 65536 for value in tile] for tile in tiles]


def places(width: int) -> list[tuple[int, int]]:
    """Return streams and the bits that a residual takes in them: whole or top, then low."""
    if width <= 4:
        return [[], [(0, 2)], [(0, 2)], [(1, 4)], [(1, 4)]][width]
    if width <= 8:
        return [(2, 8)]
    return [(2, 8), (3, 2) if width == 9 else (4, 4) if width <= 11 else (5, 8)]


def values_of(data: bytes, stream: int) -> Iterator[int]:
    """Yield what a stream holds, two, four or eight bits at a time (§2.7)."""
    bits = (2, 4, 8)[stream % 3]
    for octet in data:
        for shift in range(0, 8, bits):
            yield octet >> shift & ((1 << bits) - 1)
