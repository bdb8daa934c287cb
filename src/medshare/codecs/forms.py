"""Bytes of a chunk to samples of a raster, and back (docs/codecs.md, "Forms")."""

from collections.abc import Sequence

import numpy as np

from medshare.codecs.arrays import Bytes, Samples
from medshare.codecs.shapes import BE16, BYTES, RGB, SAMPLE_BYTES, WORDS
from medshare.codecs.table import Run


def gather(plain: Bytes, runs: Sequence[Run], form: int, into: Samples) -> None:
    """Write the samples that lie in `runs`, one run after the other."""
    if form in (RGB, WORDS):
        _gather_parts(plain, runs, form, into)
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
    if form in (RGB, WORDS):
        _scatter_parts(samples, runs, form, into)
        return
    if form == BE16:
        samples.byteswap(inplace=True)
    done = 0
    source = samples if form == BYTES else samples.view(np.uint8)
    for run in runs:
        size = run.stop - run.start
        np.copyto(into[run.start : run.stop], source[done : done + size], casting="unsafe")
        done += size


def _gather_parts(plain: Bytes, runs: Sequence[Run], form: int, into: Samples) -> None:
    """Write all first bytes of pixels or words, then all second ones, and so on.

    Of pixels, green comes first, then red and blue as they differ from green, modulo 256.
    """
    parts = into.reshape(SAMPLE_BYTES[form], -1)
    done = 0
    for run in runs:
        items = plain[run.start : run.stop].reshape(-1, len(parts))
        part = slice(done, done + len(items))
        if form == RGB:
            parts[0, part] = items[:, 1]
            parts[1, part] = items[:, 0] - items[:, 1]
            parts[2, part] = items[:, 2] - items[:, 1]
        else:
            parts[:, part] = items.T
        done += len(items)


def _scatter_parts(samples: Samples, runs: Sequence[Run], form: int, into: Bytes) -> None:
    parts = samples.reshape(SAMPLE_BYTES[form], -1)
    order: Sequence[int] = range(len(parts))
    if form == RGB:
        np.add(parts[1:], parts[0], out=parts[1:])
        order = (1, 0, 2)
    done = 0
    for run in runs:
        items = into[run.start : run.stop].reshape(-1, len(parts))
        part = slice(done, done + len(items))
        for column, which in enumerate(order):
            np.copyto(items[:, column], parts[which, part], casting="unsafe")
        done += len(items)
