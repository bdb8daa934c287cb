"""PLANES: the rasters of a chunk predicted, sorted and packed; the rest as it is.

The encoded form is specified in docs/codecs.md.  This module joins the steps: samples
(`forms`), residuals (`predictor`), tiles (`tiles`), Zstandard frames (`frames`), and the
head that says what is where (`table`).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from medshare.codecs.arrays import U16, Bytes, Samples
from medshare.codecs.forms import gather, scatter
from medshare.codecs.frames import Frames
from medshare.codecs.predictor import Prediction
from medshare.codecs.shapes import NARROW, TILE_SAMPLES, shape_of, tiles_for
from medshare.codecs.table import (
    RUN_SIZE,
    Head,
    Raster,
    Run,
    build_head,
    build_runs,
    parse_head,
    parse_runs,
)
from medshare.codecs.tiles import Tiling
from medshare.errors import CodecError

_WIDTHS_LEVEL: Final = 3


class Planes:
    """Encodes and decodes rasters of at most half of `max_plain` samples each."""

    def __init__(self, max_plain: int, frames: Frames) -> None:
        self.max_samples = max(1, max_plain // 2)
        self._frames = frames
        # Three buffers do for all steps: what one step has read, the next one overwrites.
        room = tiles_for(self.max_samples) * TILE_SAMPLES
        first, second, third = (np.empty(room, U16) for _ in range(3))
        self._samples, self._residuals = first[: self.max_samples], second
        self._prediction = Prediction(self.max_samples, third)
        self._tiling = Tiling(first, second, third)

    def gather(self, chunk: Bytes, form: int, runs: Sequence[Run]) -> Samples:
        """Return the samples in `runs`; valid until the next call, of any method."""
        size = sum(run.stop - run.start for run in runs)
        samples = self._samples[: size if form in NARROW else size // 2]
        gather(chunk, runs, form, samples)
        return samples

    def encode_samples(self, raster: Raster, samples: Samples) -> list[bytes]:
        """Return the frames of one raster; `samples` are spent."""
        shape = shape_of(raster.predictor, samples.size)
        residuals = self._residuals[: shape.residuals]
        self._prediction.predict(samples, raster.predictor, residuals, narrow=raster.narrow)
        widths, streams = self._tiling.pack(residuals, shape)
        frames = [self._frames.compress(widths.data, _WIDTHS_LEVEL)]
        for stream in streams:
            frame = self._frames.compress_flat(stream.data) if stream.size else b""
            frames.append(frame)
        return frames

    def assemble(
        self,
        plain: memoryview,
        rasters: Sequence[Raster],
        runs: Sequence[Run],
        frames: Sequence[Sequence[bytes]],
        level: int,
    ) -> list[bytes]:
        """Return the parts of the encoded form; runs are in order and do not overlap."""
        rest = _outside(plain, runs)
        rest_frame = self._frames.compress(b"".join([build_runs(runs), *rest]), level)
        sizes = [[len(frame) for frame in of_raster] for of_raster in frames]
        head = build_head(rasters, sizes, len(runs), sum(map(len, rest)), len(rest_frame))
        return [head, rest_frame, *(frame for of_raster in frames for frame in of_raster)]

    def decode(self, encoded: memoryview, into: memoryview) -> None:
        """Fill `into` exactly.

        Raises:
            CodecError: `encoded` is not the encoded form of `len(into)` bytes.
        """
        head = parse_head(encoded)
        position = head.size + head.rest_frame_size
        runs = self._decode_rest(encoded[head.size : position], head, into)
        target = np.frombuffer(into, np.uint8)
        for number, (raster, sizes) in enumerate(zip(head.rasters, head.frame_sizes, strict=True)):
            frames = []
            for size in sizes:
                frames.append(encoded[position : position + size])
                position += size
            own = [run for run in runs if run.raster == number]
            samples = self._samples[: raster.count(sum(run.stop - run.start for run in own))]
            self._restore(raster, frames, samples)
            scatter(samples, own, raster.form, target)

    def _restore(self, raster: Raster, frames: list[memoryview], into: Samples) -> None:
        """Write the samples of one raster.

        Raises:
            CodecError: the frames do not hold as many.
        """
        if into.size > self.max_samples:
            raise CodecError("compressed chunk has a raster larger than the chunk may be")
        shape = shape_of(raster.predictor, into.size)
        widths = np.empty(shape.tiles, np.uint8)
        self._frames.decompress_into(frames[0], widths.data)
        streams = self._tiling.slots(widths)
        for frame, stream in zip(frames[1:], streams, strict=True):
            if stream.size:
                self._frames.decompress_into(frame, stream.data)
            elif len(frame):
                raise CodecError("compressed chunk has a stream that no tile asks for")
        residuals = self._residuals[: shape.residuals]
        self._tiling.unpack(widths, streams, shape, residuals)
        self._prediction.restore(residuals, raster.predictor, into, narrow=raster.narrow)

    def _decode_rest(self, frame: memoryview, head: Head, into: memoryview) -> list[Run]:
        """Write what lies outside the runs, and return them."""
        if head.rest_size > len(into):
            raise CodecError("compressed chunk has another size than announced")
        table_size = head.run_count * RUN_SIZE
        rest = memoryview(bytearray(table_size + head.rest_size))
        self._frames.decompress_into(frame, rest)
        runs = parse_runs(rest[:table_size], head, len(into))
        done, end = table_size, 0
        for run in [*runs, Run(0, len(into), len(into))]:
            into[end : run.start] = rest[done : done + run.start - end]
            done += run.start - end
            end = run.stop
        return runs


def _outside(plain: memoryview, runs: Sequence[Run]) -> list[memoryview]:
    """Return what lies between, before and after the runs."""
    parts, end = [], 0
    for run in runs:
        parts.append(plain[end : run.start])
        end = run.stop
    return [*parts, plain[end:]]
