"""Bytes of a chunk to samples of a raster, and back (docs/codecs.md, "Forms")."""

from collections.abc import Sequence

import numpy as np

from medshare.codecs.arrays import Bytes, Samples
from medshare.codecs.shapes import BE16, BYTES, RGB
from medshare.codecs.table import Run


def gather(plain: Bytes, runs: Sequence[Run], form: int, into: Samples) -> None:
    """Write the samples that lie in `runs`, one run after the other."""
    if form == RGB:
        _gather_colours(plain, runs, into)
        return
    done = 0
    target = into if form == BYTES else into.view(np.uint8)
    for run in runs:
        size = run.stop - run.start
        target[done : done + size] = plain[run.start : run.stop]
        done += size
    if form == BE16:
        into.byteswap(inplace=True)


def scatter(samples: Samples, runs: Sequence[Run], form: int, into: Bytes) -> None:
    """Undo `gather`; `samples` are spent."""
    if form == RGB:
        _scatter_colours(samples, runs, into)
        return
    if form == BE16:
        samples.byteswap(inplace=True)
    done = 0
    source = samples if form == BYTES else samples.view(np.uint8)
    for run in runs:
        size = run.stop - run.start
        np.copyto(into[run.start : run.stop], source[done : done + size], casting="unsafe")
        done += size


def _gather_colours(plain: Bytes, runs: Sequence[Run], into: Samples) -> None:
    """Write all greens, then red and blue as they differ from green, modulo 256."""
    green, red, blue = into.reshape(3, -1)
    done = 0
    for run in runs:
        pixels = plain[run.start : run.stop].reshape(-1, 3)
        part = slice(done, done + len(pixels))
        green[part] = pixels[:, 1]
        np.subtract(pixels[:, 0], pixels[:, 1], out=red[part], dtype=np.uint8)
        np.subtract(pixels[:, 2], pixels[:, 1], out=blue[part], dtype=np.uint8)
        done += len(pixels)


def _scatter_colours(samples: Samples, runs: Sequence[Run], into: Bytes) -> None:
    green, red, blue = samples.reshape(3, -1)
    np.add(red, green, out=red)
    np.add(blue, green, out=blue)
    done = 0
    for run in runs:
        pixels = into[run.start : run.stop].reshape(-1, 3)
        part = slice(done, done + len(pixels))
        for column, colour in enumerate((red, green, blue)):
            np.copyto(pixels[:, column], colour[part], casting="unsafe")
        done += len(pixels)
