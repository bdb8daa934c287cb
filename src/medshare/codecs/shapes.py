"""How a raster is described, and where its samples, bands and tiles lie.

Values only: nothing here loads NumPy.  Both sides derive the same shapes from the same
few numbers, so that the encoded form carries no offsets that could disagree.
"""

from dataclasses import dataclass
from typing import Final

# How bytes become samples.
LE16: Final = 0
BE16: Final = 1
BYTES: Final = 2
RGB: Final = 3
WORDS: Final = 4
SAMPLE_BYTES: Final = {LE16: 2, BE16: 2, BYTES: 1, RGB: 3, WORDS: 4}
NARROW: Final = (BYTES, RGB, WORDS)

# How a sample is predicted plainly: not, from the one before, from a row above, from both.
RAW: Final = 0
LEFT: Final = 1
UP: Final = 2
PLANE: Final = 3

# How many neighbours share one weight: around the centre of four kept samples, and around
# the middle of an edge between two (docs/codecs.md, "Interpolation").
CENTRE_TAPS: Final = (4, 4, 4, 4)
EDGE_TAPS: Final = (2, 2, 2, 4, 4)
WEIGHTS: Final = len(CENTRE_TAPS) + 2 * len(EDGE_TAPS)
UNITY: Final = 64

TILE: Final = 8
TILE_SAMPLES: Final = TILE * TILE
LEAST_WIDTH: Final = 16
LEAST_ROWS: Final = 32


@dataclass(frozen=True, slots=True)
class Predictor:
    """How the samples of a raster are predicted.

    `pitch` is the number of samples in a row; `offset` is subtracted first, so that signed
    samples become an unbroken range; `weights`, if any, ask for interpolation.
    """

    base: int
    pitch: int
    offset: int = 0
    weights: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """Where the samples of a raster lie: equal bands of rows, then a tail."""

    count: int
    pitch: int
    padded: int  # samples in a row of work: the pitch, made even where rows are halved
    rows: int  # rows that are cut into bands; 0 when the whole raster is one band
    bands: int
    band: int  # samples in a band
    width: int  # samples in a row of a band
    tail: int

    @property
    def residuals(self) -> int:
        """Samples of all bands and the tail; more than `count` where rows are padded."""
        return self.bands * self.band + self.tail

    @property
    def tile_width(self) -> int:
        """The width by which bands are cut into tiles: a narrow band is cut as a line."""
        return self.width if self.width >= LEAST_WIDTH else TILE

    @property
    def tile_grid(self) -> tuple[int, int]:
        """Rows and columns of whole tiles in one band."""
        return self.band // self.tile_width // TILE, self.tile_width // TILE

    @property
    def loose(self) -> int:
        """Samples outside every whole tile; they follow as tiles of their own."""
        down, across = self.tile_grid
        return self.residuals - self.bands * down * across * TILE_SAMPLES

    @property
    def tiles(self) -> int:
        """All tiles, the last one filled up with zeros."""
        down, across = self.tile_grid
        return self.bands * down * across + -(-self.loose // TILE_SAMPLES)


def tiles_for(max_samples: int) -> int:
    """Return how many tiles any raster of at most `max_samples` has at most.

    Rows made even add one sample in 33 to a raster, and the last tile may be partly empty.
    """
    return (max_samples + max_samples // (2 * LEAST_WIDTH)) // TILE_SAMPLES + 2


def can_interpolate(pitch: int, count: int) -> bool:
    """Tell whether rows of `pitch` samples are wide and many enough to be halved."""
    return pitch >= 2 * LEAST_WIDTH and count >= pitch * LEAST_ROWS


def shape_of(predictor: Predictor, count: int) -> Shape:
    """Return the shape of a raster of `count` samples under `predictor`."""
    pitch = predictor.pitch
    if not predictor.weights:
        return Shape(count, pitch, pitch, 0, 1, count, pitch, 0)
    padded = pitch + pitch % 2
    rows = count // pitch // 2 * 2
    band = rows * padded // 4
    return Shape(count, pitch, padded, rows, 4, band, padded // 2, count - rows * pitch)
