"""Samples predicted from neighbours on all sides (docs/codecs.md, "Interpolation").

Of every two by two samples

    kept    right
    below   centre

*kept* comes first, *centre* is predicted from kept ones, and *right* and *below* from
both.  Each prediction is a sum of neighbours with weights in 64ths; neighbours that are
mirror images of each other share a weight.  The sums fit into 32 bits: 16 neighbours of
16 bits with weights of 8.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from medshare.codecs.arrays import Samples, Wide
from medshare.codecs.shapes import CENTRE_TAPS, EDGE_TAPS, LEAST_ROWS, UNITY

CENTRE: Final = 0
RIGHT: Final = 1
BELOW: Final = 2
TAPS: Final = (CENTRE_TAPS, EDGE_TAPS, EDGE_TAPS)

# Parts in which bands are predicted: they pass through the second-level cache, yet are
# long enough that two threads do not queue for the interpreter between array operations.
_STRIPE: Final = 1 << 17


def split_weights(weights: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the weights of centre, right and below."""
    first, second = len(CENTRE_TAPS), len(CENTRE_TAPS) + len(EDGE_TAPS)
    return weights[:first], weights[first:second], weights[second:]


class Interpolation:
    """The kept and the centre samples of one raster, with margins of zeros around them.

    Made for rasters of at most `max_samples`; the buffers are used again for each.
    """

    def __init__(self, max_samples: int) -> None:
        # A row of a band is at most 1/64 of the samples (LEAST_ROWS), and a margin is two
        # rows; an odd pitch adds at most 1/32 to a band.
        row = max_samples // (2 * LEAST_ROWS) + 1
        band = max_samples // 4 + max_samples // 128 + row
        self._kept = np.zeros(band + 4 * row + 8, np.int32)
        self._centre = np.zeros(band + 4 * row + 8, np.int32)
        self._stripe = min(_STRIPE, band)
        spans = [self._stripe + 3 * row] * 2 + [self._stripe] * 3
        self._work = [np.empty(span, np.int32) for span in spans]
        self._result = np.empty(self._stripe, np.uint16)
        self._band = self._width = self._margin = 0

    def shape(self, band: int, width: int) -> None:
        """Make room for bands of `band` samples in rows of `width`."""
        self._band, self._width, self._margin = band, width, 2 * width + 4
        for store in (self._kept, self._centre):
            store[: self._margin] = 0
            store[self._margin + band : 2 * self._margin + band] = 0

    @property
    def kept(self) -> Wide:
        """The kept samples, to be written before anything is predicted."""
        return self._kept[self._margin : self._margin + self._band]

    @property
    def centre(self) -> Wide:
        """The centre samples, to be written before right and below are predicted."""
        return self._centre[self._margin : self._margin + self._band]

    def stripes(self) -> Iterator[slice]:
        """Return the parts in which to predict a band, small enough to stay in cache."""
        for start in range(0, self._band, self._stripe):
            yield slice(start, min(start + self._stripe, self._band))

    def predict(self, which: int, weights: tuple[int, ...], part: slice) -> Samples:
        """Return the predictions for a part of a band; valid until the next call."""
        size = part.stop - part.start
        total, product = self._work[3][:size], self._work[4][:size]
        sums = zip(self.neighbours(which, part), weights, strict=True)
        neighbours, weight = next(sums)
        np.multiply(neighbours, weight, out=total)
        np.add(total, UNITY // 2, out=total)
        for neighbours, weight in sums:
            if weight:
                np.multiply(neighbours, weight, out=product)
                np.add(total, product, out=total)
        np.right_shift(total, 6, out=total)
        result = self._result[:size]
        np.copyto(result, total, casting="unsafe")
        return result

    def neighbours(self, which: int, part: slice) -> Iterator[Wide]:
        """Yield the sum of neighbours for each weight in turn; valid until the next one."""
        if which == CENTRE:
            return self._around_centre(part)
        along, across = (1, self._width) if which == RIGHT else (self._width, 1)
        return self._around_edge(part, along, across)

    def _around_centre(self, part: slice) -> Iterator[Wide]:
        """Between kept samples: the four nearest, then the rings beside, above, at corners."""
        width, size = self._width, part.stop - part.start
        start = part.start - width + self._margin  # of a span from a row above to two below
        span = size + 3 * width
        kept, tap = self._kept, self._work[2][:size]
        near = np.add(
            kept[start : start + span], kept[start + 1 : start + 1 + span], out=self._work[0][:span]
        )
        far = np.add(
            kept[start - 1 : start - 1 + span],
            kept[start + 2 : start + 2 + span],
            out=self._work[1][:span],
        )
        for upper, lower in ((width, 2 * width), (0, 3 * width)):
            for pair in (near, far):
                yield np.add(pair[upper : upper + size], pair[lower : lower + size], out=tap)

    def _around_edge(self, part: slice, along: int, across: int) -> Iterator[Wide]:
        """Between two kept samples, `along` apart, and two centres, `across` apart."""
        size, margin = part.stop - part.start, self._margin
        kept, centre, tap = self._kept, self._centre, self._work[2][:size]
        start = part.start + margin - across
        span = size + 2 * across
        ends = np.add(
            kept[start : start + span],
            kept[start + along : start + along + span],
            out=self._work[0][:span],
        )
        start = part.start + margin - along
        span = size + 2 * along
        sides = np.add(
            centre[start - across : start - across + span],
            centre[start : start + span],
            out=self._work[1][:span],
        )
        yield ends[across : across + size]
        yield sides[along : along + size]
        yield np.add(
            kept[start : start + size], kept[start + 3 * along : start + 3 * along + size], out=tap
        )
        yield np.add(ends[:size], ends[2 * across : 2 * across + size], out=tap)
        yield np.add(sides[:size], sides[2 * along : 2 * along + size], out=tap)
