"""The predictor for a raster, chosen on a sample of its rows.

Only the encoder looks at this: whatever is chosen here decodes.  Weights of interpolation
come from a least-squares fit in which positions count less the busier their neighbourhood
is, because what is to become small is the logarithm of residuals, not their square.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medshare.codecs.arrays import U16, Floats, Samples, Wide
from medshare.codecs.interpolation import TAPS, Interpolation
from medshare.codecs.predictor import Prediction
from medshare.codecs.shapes import (
    LEAST_WIDTH,
    LEFT,
    PLANE,
    RAW,
    TILE_SAMPLES,
    UNITY,
    UP,
    Predictor,
    can_interpolate,
    shape_of,
    tiles_for,
)

WINDOWS: Final = 16
_WINDOW_WIDTH: Final = 64
_WINDOW_SIZE: Final = 2048
_MAX_SAMPLE: Final = WINDOWS * (_WINDOW_SIZE + _WINDOW_WIDTH)
_BORDER: Final = 2
_ROUNDS: Final = 2
_EASY: Final = 2.0  # activity below which positions count alike
_LARGEST_WEIGHT: Final = 127
_GROUP: Final = 32
_SIGNED: Final = 0x8000


class Fitting:
    """Chooses predictors; owns the buffers for samples of rasters."""

    def __init__(self) -> None:
        self._interpolation = Interpolation(_MAX_SAMPLE)
        room = tiles_for(_MAX_SAMPLE) * TILE_SAMPLES
        self._residuals = np.empty(room, U16)
        self._prediction = Prediction(_MAX_SAMPLE, np.empty(room, U16))

    def choose_light(
        self, samples: Samples, pitch: int, *, narrow: bool
    ) -> tuple[Predictor, float]:
        """Return the predictor that is fastest both ways, and bits per sample it may need."""
        base, cost = self._best_base(_windows(samples, pitch), narrow=narrow, among=(UP,))
        return Predictor(base, pitch), cost

    def choose(self, samples: Samples, pitch: int, *, narrow: bool) -> tuple[Predictor, float]:
        """Return the best predictor for rows of `pitch`, and bits per sample it may need.

        `samples` hold at least one row; `narrow` ones in rows of 1 may be best left alone.
        """
        if narrow and pitch == 1:
            return self._choose_alone(samples)
        windows = _windows(samples, pitch)
        offset = 0 if narrow else _offset_of(windows)
        np.subtract(windows, offset, out=windows)
        base, cost = self._best_base(windows, narrow=narrow)
        plain = Predictor(base, pitch, offset)
        if not can_interpolate(pitch, samples.size) or windows.shape[2] < 2 * LEAST_WIDTH:
            return plain, cost
        weights = self._fit(windows)
        kept = np.ascontiguousarray(windows[:, 0::2, 0::2])
        details = self._details_cost(windows, weights, narrow=narrow)
        base, kept_cost = self._best_base(kept, narrow=narrow)
        smooth_cost = 0.75 * details + 0.25 * kept_cost
        if smooth_cost < cost:
            return Predictor(base, pitch, offset, weights), smooth_cost
        return plain, cost

    def _choose_alone(self, samples: Samples) -> tuple[Predictor, float]:
        """Choose for bytes without rows between their own values and their differences."""
        windows = _windows(samples, 1)
        cost = raw_cost_of(windows)
        base, left_cost = self._best_base(windows, narrow=True)
        return (Predictor(RAW, 1), cost) if cost < left_cost else (Predictor(base, 1), left_cost)

    def _best_base(
        self, windows: Samples, *, narrow: bool, among: tuple[int, ...] = (LEFT, UP, PLANE)
    ) -> tuple[int, float]:
        residuals = self._residuals[: windows.size]
        costs = {}
        for base in among:
            how = Predictor(base, windows.shape[2])
            self._prediction.predict(windows.reshape(-1), how, residuals, narrow=narrow)
            costs[base] = cost_of(
                residuals.reshape(windows.shape)[:, 1:, min(1, windows.shape[2] - 1) :]
            )
        best = min(costs, key=costs.__getitem__)
        return best, costs[best]

    def _details_cost(self, windows: Samples, weights: tuple[int, ...], *, narrow: bool) -> float:
        how = Predictor(LEFT, windows.shape[2], 0, weights)
        shape = shape_of(how, windows.size)
        residuals = self._residuals[: shape.residuals]
        self._prediction.predict(windows.reshape(-1), how, residuals, narrow=narrow)
        details = residuals[: 3 * shape.band].reshape(3 * WINDOWS, -1, shape.width)
        return cost_of(details[:, _BORDER:-_BORDER, _BORDER:-_BORDER])

    def _fit(self, windows: Samples) -> tuple[int, ...]:
        """Return the weights that fit these windows."""
        kept, right = windows[:, 0::2, 0::2], windows[:, 0::2, 1::2]
        below, centre = windows[:, 1::2, 0::2], windows[:, 1::2, 1::2]
        interpolation = self._interpolation
        interpolation.shape(kept.size, kept.shape[2])
        np.copyto(interpolation.kept.reshape(kept.shape), kept)
        np.copyto(interpolation.centre.reshape(kept.shape), centre)
        weights: tuple[int, ...] = ()
        for which, truth in enumerate((centre, right, below)):
            sums = interpolation.neighbours(which, slice(0, kept.size))
            weights += _weights(truth, sums, TAPS[which])
        return weights


def spread(number: int) -> tuple[float, float]:
    """Return a place in the unit square; the places of the first numbers lie far apart."""
    return number * 0.6180339887 % 1, number * 0.7548776662 % 1


def _windows(samples: Samples, pitch: int) -> Samples:
    """Return a copy of windows of the raster, spread so that they beat with no period."""
    rows = samples.size // pitch
    width = min(pitch, _WINDOW_WIDTH) // 2 * 2 or 1
    deep = min(rows // 2 * 2 or 1, max(2 * LEAST_WIDTH, _WINDOW_SIZE // width) // 2 * 2)
    grid = samples[: rows * pitch].reshape(rows, pitch)
    result = np.empty((WINDOWS, deep, width), np.uint16)
    for number in range(WINDOWS):
        down, across = spread(number)
        row, column = int(down * (rows - deep)), int(across * (pitch - width))
        result[number] = grid[row : row + deep, column : column + width]
    return result


def _offset_of(samples: Samples) -> int:
    """Return what makes the range unbroken: 0 for unsigned samples, 2^15 for signed ones.

    Samples that rise from 65,535 to 0 between neighbours are signed ones around zero.
    """
    quarter = samples >> 14
    near_zero = np.count_nonzero(quarter == 0)
    near_top = np.count_nonzero(quarter == 3)
    middle = samples.size - near_zero - near_top
    return _SIGNED if near_top > middle and near_zero > middle else 0


def cost_of(residuals: Samples) -> float:
    """Estimate the bits that a folded residual takes.

    They are those of geometric distributions, one for each few residuals.
    """
    flat = residuals.reshape(-1)
    whole = flat[: flat.size // _GROUP * _GROUP].reshape(-1, _GROUP)
    if not whole.size:
        return 16.0
    mean = np.add.reduce(whole, axis=1, dtype=np.float32) * (1 / _GROUP) + 1e-3
    more = mean + 1
    return float((more * np.log2(more) - mean * np.log2(mean)).mean())


def raw_cost_of(values: NDArray[np.unsignedinteger]) -> float:
    """Return the bits that a byte takes by the frequencies of all values, without context."""
    counts = np.bincount(values.reshape(-1), minlength=1)
    shares = counts[counts > 0] / values.size
    return float(-(shares * np.log2(shares)).sum())


def _weights(truth: Samples, sums: Iterable[Wide], counts: tuple[int, ...]) -> tuple[int, ...]:
    """Return weights in 64ths, of each neighbour, that together make one.

    What lies at the border of a window has neighbours from another one, and does not count.
    """
    inside = (slice(None), slice(_BORDER, -_BORDER), slice(_BORDER, -_BORDER))
    inner = truth[inside]
    table = np.empty((len(counts) + 1, *inner.shape))
    for row, total in zip(table, sums, strict=False):
        row[...] = total.reshape(truth.shape)[inside]
    table[-1] = inner
    table = table.reshape(len(table), -1)
    table[:-1] /= np.array(counts)[:, np.newaxis]
    steps, wanted = table[1:-1], table[-1]
    table[1:] -= table[0]
    busy = np.abs(table[1:]).sum(axis=0) / len(counts)
    trust = 1 / (busy + _EASY)
    shares = np.zeros(len(steps))
    for _ in range(_ROUNDS):
        weighted = steps * trust
        square = weighted @ steps.T
        ridge = 1e-6 * (np.trace(square) + 1)
        shares = np.linalg.solve(square + ridge * np.eye(len(steps)), weighted @ wanted)
        trust = 2 / (np.abs(wanted - shares @ steps) + busy + 2 * _EASY)
    return _rounded(shares, counts)


def _rounded(shares: Floats, counts: tuple[int, ...]) -> tuple[int, ...]:
    """Return weights for these shares of all neighbours but the nearest, which get the rest."""
    rest = [
        min(_LARGEST_WEIGHT, max(-_LARGEST_WEIGHT, round(UNITY * share / count)))
        for share, count in zip(shares.tolist(), counts[1:], strict=True)
    ]
    others = sum(weight * count for weight, count in zip(rest, counts[1:], strict=True))
    first = (UNITY - others) // counts[0]
    return (min(_LARGEST_WEIGHT, max(-_LARGEST_WEIGHT, first)), *rest)
