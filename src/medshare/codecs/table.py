"""The head of a PLANES chunk: what was found where, and how long each part is.

Layout in docs/codecs.md §2.2.  Parsing refuses whatever the encoder would not write,
before anything is allocated for it.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medshare.codecs.shapes import (
    NARROW,
    PLANE,
    SAMPLE_BYTES,
    WEIGHTS,
    Predictor,
    can_interpolate,
)
from medshare.errors import CodecError

MAX_RASTERS: Final = 16
MAX_RUNS: Final = 0xFFFF
FRAMES: Final = 7  # of a raster: tile widths, then the streams

_HEAD: Final = struct.Struct(">BBHII")
_RASTER: Final = struct.Struct(f">BBHI{WEIGHTS}bBx{FRAMES}I")
_RUN: Final = struct.Struct(">BII")
RUN_SIZE: Final = _RUN.size


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes [start, stop) of the chunk belong to raster number `raster`."""

    raster: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Raster:
    """Samples of one form under one predictor, collected from their runs."""

    form: int
    predictor: Predictor

    @property
    def narrow(self) -> bool:
        """Whether samples are single bytes."""
        return self.form in NARROW

    def count(self, size: int) -> int:
        """Return how many samples `size` bytes hold."""
        return size if self.narrow else size // 2


@dataclass(frozen=True, slots=True)
class Head:
    """The parsed head: rasters, the lengths of their frames, and of the rest."""

    rasters: tuple[Raster, ...]
    frame_sizes: tuple[tuple[int, ...], ...]
    run_count: int
    rest_size: int
    rest_frame_size: int
    size: int


def build_head(
    rasters: Sequence[Raster],
    frame_sizes: Sequence[Sequence[int]],
    run_count: int,
    rest_size: int,
    rest_frame_size: int,
) -> bytes:
    """Return the head; the frames follow it, that of the rest first."""
    parts = [_HEAD.pack(len(rasters), 0, run_count, rest_size, rest_frame_size)]
    for raster, sizes in zip(rasters, frame_sizes, strict=True):
        how = raster.predictor
        weights = how.weights or (0,) * WEIGHTS
        parts.append(
            _RASTER.pack(
                raster.form, how.base, how.offset, how.pitch, *weights, bool(how.weights), *sizes
            )
        )
    return b"".join(parts)


def parse_head(encoded: memoryview) -> Head:
    """Return the head of a chunk.

    Raises:
        CodecError: it is cut off, or holds what the encoder would not write.
    """
    if len(encoded) < _HEAD.size:
        raise CodecError("compressed chunk is cut off in its head")
    count, zero, run_count, rest_size, rest_frame_size = _HEAD.unpack_from(encoded)
    size = _HEAD.size + count * _RASTER.size
    if zero or not 1 <= count <= MAX_RASTERS or not run_count or len(encoded) < size:
        raise CodecError("compressed chunk has a malformed head")
    rasters, frame_sizes = [], []
    for position in range(_HEAD.size, size, _RASTER.size):
        fields = _RASTER.unpack_from(encoded, position)
        if _RASTER.pack(*fields) != encoded[position : position + _RASTER.size]:
            raise CodecError("compressed chunk has a malformed raster")
        rasters.append(_raster_of(fields))
        frame_sizes.append(fields[-FRAMES:])
    frames = rest_frame_size + sum(map(sum, frame_sizes))
    if size + frames != len(encoded):
        raise CodecError("compressed chunk does not have the size of its parts")
    return Head(tuple(rasters), tuple(frame_sizes), run_count, rest_size, rest_frame_size, size)


def _raster_of(fields: tuple[int, ...]) -> Raster:
    form, base, offset, pitch = fields[:4]
    weights, interpolated = fields[4 : 4 + WEIGHTS], fields[4 + WEIGHTS]
    raster = Raster(form, Predictor(base, pitch, offset, weights if interpolated else ()))
    if form not in SAMPLE_BYTES or base > PLANE or interpolated > 1:
        raise CodecError("compressed chunk has a raster of an unknown kind")
    if (offset and raster.narrow) or (any(weights) and not interpolated):
        raise CodecError("compressed chunk has a raster with contradicting fields")
    return raster


def build_runs(runs: Sequence[Run]) -> bytes:
    """Return the table of runs, which precedes the rest inside its frame."""
    end, parts = 0, []
    for run in runs:
        parts.append(_RUN.pack(run.raster, run.start - end, run.stop - run.start))
        end = run.stop
    return b"".join(parts)


def parse_runs(table: memoryview, head: Head, plain_size: int) -> list[Run]:
    """Return the runs, in order, disjoint, and inside a chunk of `plain_size` bytes.

    Raises:
        CodecError: they are not, or do not fit their rasters.
    """
    runs, end, sizes = [], 0, [0] * len(head.rasters)
    for raster, gap, size in _RUN.iter_unpack(table):
        start = end + gap
        end = start + size
        if raster >= len(sizes) or not size or end > plain_size:
            raise CodecError("compressed chunk has a run outside the chunk")
        if size % SAMPLE_BYTES[head.rasters[raster].form]:
            raise CodecError("compressed chunk has a run that cuts a sample")
        sizes[raster] += size
        runs.append(Run(raster, start, end))
    if sum(sizes) + head.rest_size != plain_size:
        raise CodecError("compressed chunk has another size than announced")
    for raster_, size in zip(head.rasters, sizes, strict=True):
        _check_fit(raster_, raster_.count(size))
    return runs


def _check_fit(raster: Raster, count: int) -> None:
    """Refuse rows longer than the raster, and interpolation where rows are too few."""
    how = raster.predictor
    if not 1 <= how.pitch <= count:
        raise CodecError("compressed chunk has a raster without a whole row")
    if how.weights and not can_interpolate(how.pitch, count):
        raise CodecError("compressed chunk has a raster too small to interpolate")
