"""Samples to residuals and back (docs/codecs.md, "Prediction").

A *plain* predictor subtracts from each sample the one before it, the one a row above, or
both.  With weights, every second sample of every second row is kept, the other three
quarters are interpolated from their neighbours on all sides, and only the kept quarter is
predicted plainly.  No sample depends on one of its own quarter, so whole arrays are
computed at a time, and decoding costs no more than encoding.

Rows are laid end to end: left of a first column is the last column of the row before.
That costs nothing measurable on images, and a chunk that starts in the middle of a row
needs no special case.  Arithmetic on samples is modulo 2^16; where samples are bytes
(*narrow*), it is modulo 2^8.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medshare.codecs.arrays import U16, U32, Samples
from medshare.codecs.interpolation import BELOW, CENTRE, RIGHT, Interpolation, split_weights
from medshare.codecs.shapes import LEFT, PLANE, RAW, UP, Predictor, Shape, shape_of

_NARROW_ROW: Final = 32


class Prediction:
    """Turns rasters of at most `max_samples` into residuals and back.

    `work` is as large as the residuals can be, and is written by every call.
    """

    def __init__(self, max_samples: int, work: Samples) -> None:
        self._interpolation = Interpolation(max_samples)
        self._work = work
        self._kept = np.empty(work.size // 4 + 1, U16)
        self._wide = np.empty(work.size // 4 + 1, U32)

    def predict(
        self, samples: Samples, predictor: Predictor, into: Samples, *, narrow: bool
    ) -> None:
        """Write the residuals of `samples`, folded to small numbers; `samples` are spent."""
        shape = shape_of(predictor, samples.size)
        if predictor.offset:
            np.subtract(samples, predictor.offset, out=samples)
        if shape.bands == 1:
            self._difference(samples, predictor.base, predictor.pitch, into)
        else:
            self._interpolate(samples, predictor, shape, into)
        _fold(into, self._work[: into.size], narrow=narrow)

    def restore(
        self, residuals: Samples, predictor: Predictor, into: Samples, *, narrow: bool
    ) -> None:
        """Write the samples that have these residuals; `residuals` are spent."""
        shape = shape_of(predictor, into.size)
        _unfold(residuals, self._work[: residuals.size])
        if shape.bands == 1:
            _accumulate(residuals, predictor.base, predictor.pitch, into)
        else:
            self._reassemble(residuals, predictor, shape, into, narrow=narrow)
        if predictor.offset:
            np.add(into, predictor.offset, out=into)
        if narrow:
            np.bitwise_and(into, 0xFF, out=into)

    def _interpolate(
        self, samples: Samples, predictor: Predictor, shape: Shape, into: Samples
    ) -> None:
        band, interpolation, kept = shape.band, self._interpolation, self._kept[: shape.band]
        interpolation.shape(band, shape.width)
        bands = [into[which * band : (which + 1) * band] for which in range(3)]
        self._part(self._padded(samples, shape), shape, kept, bands)
        weights = split_weights(predictor.weights)
        for part in interpolation.stripes():
            for which, whole in enumerate(bands):
                guess = interpolation.predict(which, weights[which], part)
                np.subtract(whole[part], guess, out=whole[part])
        self._difference(kept, predictor.base, shape.width, into[3 * band : 4 * band])
        self._difference(samples[samples.size - shape.tail :], LEFT, 1, into[4 * band :])

    def _reassemble(
        self,
        residuals: Samples,
        predictor: Predictor,
        shape: Shape,
        into: Samples,
        *,
        narrow: bool,
    ) -> None:
        band, interpolation, kept = shape.band, self._interpolation, self._kept[: shape.band]
        interpolation.shape(band, shape.width)
        bands = [residuals[which * band : (which + 1) * band] for which in range(3)]
        _accumulate(residuals[3 * band : 4 * band], predictor.base, shape.width, kept)
        if narrow:
            np.bitwise_and(kept, 0xFF, out=kept)
        np.copyto(interpolation.kept, kept)
        weights = split_weights(predictor.weights)
        # Right and below need the centre of the row after them.
        for group in ((CENTRE,), (RIGHT, BELOW)):
            for part in interpolation.stripes():
                for which in group:
                    out = bands[which][part]
                    np.add(out, interpolation.predict(which, weights[which], part), out=out)
                    if narrow:
                        np.bitwise_and(out, 0xFF, out=out)
                    if which == CENTRE:
                        np.copyto(interpolation.centre[part], out)
        padded = into if shape.padded == shape.pitch else self._work
        self._unite(bands, padded, shape)
        if shape.padded != shape.pitch:
            rows = padded[: shape.rows * shape.padded].reshape(shape.rows, shape.padded)
            whole = into[: shape.rows * shape.pitch].reshape(shape.rows, shape.pitch)
            np.copyto(whole, rows[:, : shape.pitch])
        _accumulate(residuals[4 * band :], LEFT, 1, into[into.size - shape.tail :])

    def _part(self, rows: Samples, shape: Shape, kept: Samples, bands: list[Samples]) -> None:
        """Copy each quarter of the rows to where it is wanted, two samples in one word."""
        words = rows.view(U32).reshape(-1, 2, shape.width)
        upper, lower = words[:, 0], words[:, 1]
        wide = self._wide[: shape.band].reshape(upper.shape)
        kept_wide, centre_wide = self._wide_views(shape)
        np.bitwise_and(upper, 0xFFFF, out=kept_wide)
        np.right_shift(upper, 16, out=wide)
        np.right_shift(lower, 16, out=centre_wide)
        sources = {CENTRE: centre_wide, RIGHT: wide, BELOW: lower}
        for which, source in sources.items():
            np.copyto(bands[which].reshape(upper.shape), source, casting="unsafe")
        np.copyto(kept.reshape(upper.shape), kept_wide, casting="unsafe")

    def _unite(self, bands: list[Samples], into: Samples, shape: Shape) -> None:
        """Undo `_part`; kept and centre samples are taken from the interpolation."""
        words = into[: shape.rows * shape.padded].view(U32).reshape(-1, 2, shape.width)
        upper, lower = words[:, 0], words[:, 1]
        wide = self._wide[: shape.band].reshape(upper.shape)
        kept_wide, centre_wide = self._wide_views(shape)
        np.copyto(wide, bands[RIGHT].reshape(upper.shape))
        np.left_shift(wide, 16, out=upper)
        np.bitwise_or(upper, kept_wide, out=upper)
        np.copyto(wide, bands[BELOW].reshape(upper.shape))
        np.left_shift(centre_wide, 16, out=lower)
        np.bitwise_or(lower, wide, out=lower)

    def _wide_views(self, shape: Shape) -> list[NDArray[np.uint32]]:
        """Return kept and centre samples of the interpolation as rows of words."""
        arrays = (self._interpolation.kept, self._interpolation.centre)
        return [array.view(U32).reshape(-1, shape.width) for array in arrays]

    def _padded(self, samples: Samples, shape: Shape) -> Samples:
        """Return the rows that are cut into bands, the last sample of each doubled if odd."""
        whole = samples[: shape.rows * shape.pitch]
        if shape.padded == shape.pitch:
            return whole
        rows = self._work[: shape.rows * shape.padded].reshape(shape.rows, shape.padded)
        rows[:, :-1] = whole.reshape(shape.rows, shape.pitch)
        rows[:, -1] = rows[:, -2]
        return rows.reshape(-1)

    def _difference(self, samples: Samples, base: int, pitch: int, into: Samples) -> None:
        """Write plain residuals, before folding."""
        left = self._work[: samples.size] if base == PLANE else into
        if base in (LEFT, PLANE):
            left[:1] = samples[:1]
            np.subtract(samples[1:], samples[:-1], out=left[1:])
        if base in (UP, PLANE):
            source = left if base == PLANE else samples
            into[:pitch] = source[:pitch]
            np.subtract(source[pitch:], source[: max(0, source.size - pitch)], out=into[pitch:])
        if base == RAW:
            np.copyto(into, samples)


def _accumulate(residuals: Samples, base: int, pitch: int, into: Samples) -> None:
    """Undo `_difference`; `residuals` are spent."""
    if base in (UP, PLANE):
        _accumulate_rows(residuals, pitch)
    if base in (LEFT, PLANE):
        np.add.accumulate(residuals, out=into)
    else:
        np.copyto(into, residuals)


def _accumulate_rows(samples: Samples, pitch: int) -> None:
    """Add to each row all rows above it, in place.

    Down many blocks of rows at once, then from block to block: 2 * sqrt(rows) calls in
    place of one call a row, and thrice as fast as `accumulate` along that axis.
    """
    rows = samples.size // pitch
    if pitch < _NARROW_ROW:
        whole = samples[: rows * pitch].reshape(rows, pitch)
        np.add.accumulate(whole, axis=0, out=whole)
        done = rows
    else:
        deep = math.isqrt(rows)
        blocks = samples[: deep * deep * pitch].reshape(deep, deep, pitch)
        for row in range(1, deep):
            np.add(blocks[:, row], blocks[:, row - 1], out=blocks[:, row])
        for block in range(1, deep):
            np.add(blocks[block], blocks[block - 1, -1], out=blocks[block])
        done = max(1, deep * deep)
    for start in range(done * pitch, samples.size, pitch):
        row_of = samples[start : start + pitch]
        np.add(row_of, samples[start - pitch : start - pitch + row_of.size], out=row_of)


def _fold(values: Samples, work: Samples, *, narrow: bool) -> None:
    """Map 0, -1, 1, -2, 2 … to 0, 1, 2, 3, 4 …, reading values as signed, in place."""
    signed, spare = values.view(np.int16), work.view(np.int16)
    if narrow:
        np.left_shift(signed, 8, out=signed)
        np.right_shift(signed, 8, out=signed)
    np.right_shift(signed, 15, out=spare)
    np.left_shift(signed, 1, out=signed)
    np.bitwise_xor(signed, spare, out=signed)


def _unfold(values: Samples, work: Samples) -> None:
    """Undo `_fold`, in place; the result is right modulo 2^16 and modulo 2^8."""
    np.bitwise_and(values, 1, out=work)
    np.negative(work, out=work)
    np.right_shift(values, 1, out=values)
    np.bitwise_xor(values, work, out=values)
