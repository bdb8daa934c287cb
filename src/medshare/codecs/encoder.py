"""What to do with one chunk: find rasters, predict each, keep the rest as it is.

The order of questions, cheapest first: what do headers say, what do the bytes resemble,
and is that worth it, by estimates on samples of the same bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from medshare.codecs.arrays import Bytes, Samples
from medshare.codecs.effort import Effort
from medshare.codecs.fitting import WINDOWS, Fitting, spread
from medshare.codecs.frames import Frames
from medshare.codecs.nifti import find_volumes
from medshare.codecs.pixels import LEAST_BYTES, Find, find_pixels, first_file, tail_like
from medshare.codecs.planes import Planes
from medshare.codecs.probe import guess, resembles_rows
from medshare.codecs.shapes import NARROW, SAMPLE_BYTES, Predictor
from medshare.codecs.table import MAX_RASTERS, Raster, Run

_PIECE: Final = 1 << 12
_TAIL: Final = 1 << 17
# A raster is dropped when Zstandard alone promises clearly fewer bytes; the chunk is encoded
# both ways when the promise is close, when many rows are repeated, or when that takes no time.
_HOPELESS: Final = 1.1
_DOUBTFUL: Final = 0.8
_SOON_DONE: Final = 1 << 20
# Of a row, the samples that are compared with other rows, and how many rows are too few.
_TELLING: Final = 8
_FEW: Final = 32


@dataclass(frozen=True, slots=True)
class Plan:
    """Parts of the encoded form, and whether plain Zstandard may well be smaller."""

    parts: list[bytes]
    doubtful: bool


class Encoder:
    """Plans and encodes chunks as PLANES; owns the buffers for samples of them."""

    def __init__(self, planes: Planes, frames: Frames) -> None:
        self._planes = planes
        self._frames = frames
        self._fitting = Fitting()

    def encode(self, plain: memoryview, effort: Effort) -> Plan | None:
        """Return the encoded form, or None where no raster is worth it."""
        chunk = np.frombuffer(plain, np.uint8)
        rasters: list[Raster] = []
        frames: list[list[bytes]] = []
        runs: list[Run] = []
        doubtful = len(plain) <= _SOON_DONE
        for finds in _groups(self._finds(plain, chunk), self._planes.max_samples):
            own = [Run(len(rasters), find.start, find.stop) for find in finds]
            samples = self._planes.gather(chunk, finds[0].form, own)
            predictor, hope = self._examine(plain, finds, samples, effort)
            if hope > _HOPELESS:
                continue
            doubtful |= hope > _DOUBTFUL or _repeats(samples, finds[0].pitch)
            raster = Raster(finds[0].form, predictor)
            frames.append(self._planes.encode_samples(raster, samples))
            rasters.append(raster)
            runs += own
        if not rasters:
            return None
        runs.sort(key=lambda run: run.start)
        parts = self._planes.assemble(plain, rasters, runs, frames, effort.levels[0])
        return Plan(parts, doubtful)

    def _finds(self, plain: memoryview, chunk: Bytes) -> list[Find]:
        """Return what the headers in view tell, or else a guess."""
        start = first_file(plain)
        if start < 0:
            guessed = self._guess(chunk)
            if guessed and guessed[0].pitch > 1:
                return guessed
            return find_volumes(plain) or guessed
        finds = find_pixels(plain, start)
        if finds:
            return [*self._head(chunk, start, finds[0]), *finds]
        return self._guess(chunk)

    def _guess(self, chunk: Bytes) -> list[Find]:
        """Return what all of the chunk resembles, if anything."""
        guessed = guess(chunk, self._rival)
        return [guessed] if guessed else []

    def _rival(self, pieces: bytes) -> float:
        """Return the bits per byte of what Zstandard makes of some bytes."""
        return 8 * len(self._frames.compress(pieces, 1)) / max(1, len(pieces))

    def _head(self, chunk: Bytes, stop: int, first: Find) -> list[Find]:
        """Return the end of the image that the chunk starts in and that ends at `stop`.

        It is as long as the next image, or, if it looks so, all of what is before `stop`.
        """
        tail = tail_like(first, stop)
        if tail.stop - tail.start < LEAST_BYTES:
            return []
        if not self._has_rows(chunk, tail):
            return self._guess(chunk[:stop])
        whole = tail_like(replace(first, length=stop), stop)
        before = replace(whole, stop=tail.start)
        begin = replace(whole, stop=whole.start + (tail.stop - tail.start))
        if before.stop - before.start < LEAST_BYTES or begin.stop >= before.stop:
            return [tail]
        is_whole = self._has_rows(chunk, before) and self._has_rows(chunk, begin)
        return [whole if is_whole else tail]

    def _has_rows(self, chunk: Bytes, find: Find) -> bool:
        """Tell whether the last part of a find looks like what it is said to be."""
        enough = min(_TAIL, self._planes.max_samples) // SAMPLE_BYTES[find.form]
        start = max(find.start, find.stop - enough * SAMPLE_BYTES[find.form])
        samples = self._planes.gather(chunk, find.form, [Run(0, start, find.stop)])
        return resembles_rows(samples, find.pitch)

    def _examine(
        self, plain: memoryview, finds: Sequence[Find], samples: Samples, effort: Effort
    ) -> tuple[Predictor, float]:
        """Return a predictor, and what it promises in proportion to plain Zstandard."""
        form, pitch = finds[0].form, min(finds[0].pitch, samples.size)
        narrow = form in NARROW
        light = effort is Effort.FASTEST
        choose = self._fitting.choose_light if light else self._fitting.choose
        predictor, bits = choose(samples, pitch, narrow=narrow)
        rival = self._rival(b"".join(_pieces(plain, finds)))
        return predictor, bits / (1 if narrow else 2) / rival


def _groups(finds: Sequence[Find], max_samples: int) -> list[list[Find]]:
    """Return finds of one form and pitch together, no group larger than a raster may be."""
    groups: dict[tuple[int, int, int], list[Find]] = {}
    filled: dict[tuple[int, int], int] = {}
    for find in finds:
        per_byte = 1 if find.form in NARROW else 2
        step = find.pitch * SAMPLE_BYTES[find.form]
        most = max_samples * per_byte
        room = most // step * step or most // SAMPLE_BYTES[find.form] * SAMPLE_BYTES[find.form]
        for start in range(find.start, find.stop, room):
            part = replace(find, start=start, stop=min(start + room, find.stop))
            kind, size = (find.form, find.pitch), part.stop - part.start
            used = filled.get(kind, 0)
            if used % room + size > room:  # the next raster of this kind
                used = -(-used // room) * room
            groups.setdefault((*kind, used // room), []).append(part)
            filled[kind] = used + size
    return sorted(groups.values(), key=_size, reverse=True)[:MAX_RASTERS]


def _size(finds: Sequence[Find]) -> int:
    return sum(find.stop - find.start for find in finds)


def _pieces(plain: memoryview, finds: Sequence[Find]) -> Iterator[memoryview]:
    """Yield pieces of the bytes of finds, from the rows that predictors are chosen on.

    They do not overlap, since a repeated piece would flatter Zstandard.
    """
    total, done, free = _size(finds), 0, 0
    wanted = sorted(int(spread(number)[0] * total) for number in range(WINDOWS))
    for find in finds:
        size = find.stop - find.start
        while wanted and wanted[0] < done + size:
            place = wanted.pop(0)
            if place >= free:
                start = find.start + place - done
                yield plain[start : min(start + _PIECE, find.stop)]
                free = place + _PIECE
        done += size


def _repeats(samples: Samples, pitch: int) -> bool:
    """Tell whether many rows occur more than once, which only Zstandard would notice.

    Rows are picked by what they hold, so that both of two equal rows are.
    """
    rows, middle = samples.size // pitch, pitch // 2
    if middle < _TELLING:
        return False
    grid = samples[: rows * pitch].reshape(rows, pitch)
    picked = grid[grid[:, middle] % 8 == 3, middle - _TELLING : middle + _TELLING]
    picked = picked[picked.max(axis=1) != picked.min(axis=1)] if len(picked) else picked
    distinct = {row.tobytes() for row in picked}
    return len(picked) > _FEW and len(distinct) < 0.75 * len(picked)
