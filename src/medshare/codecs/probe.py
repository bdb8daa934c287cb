"""What headerless bytes may be: the middle of a large image, a signal, a raw volume.

Guesses only.  Each is measured against Zstandard on the same bytes before it is used, and
a wrong one costs bytes, never correctness.
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medshare.codecs.arrays import Bytes, Samples
from medshare.codecs.fitting import cost_of, raw_cost_of, spread
from medshare.codecs.pixels import Find
from medshare.codecs.shapes import BE16, BYTES, LE16, NARROW, RGB, SAMPLE_BYTES, WORDS

LEAST_BYTES: Final = 1 << 14

_WINDOWS: Final = 16
_WINDOW: Final = 2048
_ALIGNMENT: Final = 24  # a multiple of every stride in bytes
# Forms and distances, in samples, to the value that resembles one most: an image or a
# single channel, two and twelve interleaved channels, pixels of three and four bytes;
# words of four bytes resemble nothing, but their first bytes are often alike.
_GUESSES: Final = (
    *((LE16, 1), (LE16, 2), (LE16, 12), (BE16, 1)),
    *((BYTES, 1), (BYTES, 4), (RGB, 1), (WORDS, 1)),
)
_PLENTY: Final = 1 << 16
_NOISE: Final = 7.9
_WORTH_A_LOOK: Final = 1.4
_STRETCH: Final = 1 << 14
_LEAST_PITCH: Final = 32
_LARGEST_PITCH: Final = 1 << 13
_STRETCHES: Final = 4
_PEAKS: Final = 10
_BESIDE: Final = 3


def guess(chunk: Bytes, rival: Callable[[bytes], float]) -> Find | None:
    """Return the likeliest form and pitch of all bytes.

    There is none when differences of neighbours promise far less than `rival`, which tells
    what another coder makes of some bytes, in bits a byte.
    """
    if chunk.size < LEAST_BYTES:
        return None
    windows = _windows(chunk)
    # Windows of a small chunk overlap, which would flatter the other coder.
    judged = windows if chunk.size > _PLENTY else chunk
    limit = min(rival(judged.tobytes()), _NOISE)
    best, cost = None, min(limit * _WORTH_A_LOOK, _NOISE)
    for form, stride in _GUESSES:
        for phase in range(SAMPLE_BYTES[form]):
            found = _cost(windows[:, phase:], form, stride)
            # Where there are no rows to be found, nothing is gained later.
            if found < (min(cost, limit) if form == WORDS else cost):
                best, cost = (form, stride, phase), found
    if best is None:
        return None
    form, stride, phase = best
    size = chunk.size - phase
    stop = chunk.size - size % SAMPLE_BYTES[form]
    if stride == 1 and form != WORDS:
        stride = pitch_of(_stretches(chunk[phase:stop], form)) or 1
    return Find(form, stride, phase, stop)


def pitch_of(stretches: Samples) -> int:
    """Return the row length that stretches of samples repeat with most closely, or 0.

    Of the highest peaks of the autocorrelation of differences, the one at whose distance
    samples differ least; at equal distance the shortest, since twice a pitch repeats too.
    """
    signed = stretches.astype(np.int32)
    steps = np.diff(signed).astype(np.float32)
    size = 1 << (2 * steps.shape[1] - 1).bit_length()
    spectrum = np.fft.rfft(steps - steps.mean(axis=1, keepdims=True), size)
    power = (spectrum.real**2 + spectrum.imag**2).sum(axis=0)
    peaks = np.fft.irfft(power, size)[: min(_LARGEST_PITCH, steps.shape[1] // 2)]
    inner = peaks[_LEAST_PITCH:-1]
    is_peak = (inner > peaks[_LEAST_PITCH - 1 : -2]) & (inner >= peaks[_LEAST_PITCH + 1 :])
    lags = np.flatnonzero(is_peak) + _LEAST_PITCH
    lags = lags[np.argsort(peaks[lags])[::-1][:_PEAKS]]
    best, least = 0, math.inf
    for lag in sorted(lags.tolist()):
        step = _row_step(signed, lag)
        if step < 0.97 * least:
            best, least = lag, step
    if best and least < 0.9 * _step_beside(signed, best):
        return best
    return 0


def resembles_rows(samples: Samples, pitch: int) -> bool:
    """Tell whether samples resemble those a row above more than those a little beside."""
    if pitch <= 2 * _BESIDE or samples.size < 2 * pitch:
        return pitch <= samples.size
    signed = samples[-max(_STRETCH * _STRETCHES, 2 * pitch) :].astype(np.int32)
    return _row_step(signed, pitch) <= _step_beside(signed, pitch)


def _step_beside(signed: NDArray[np.int32], lag: int) -> float:
    return min(_row_step(signed, lag - _BESIDE), _row_step(signed, lag + _BESIDE))


def _row_step(signed: NDArray[np.int32], lag: int) -> float:
    return float(np.abs(signed[..., lag:] - signed[..., :-lag]).mean())


def _windows(chunk: Bytes) -> Bytes:
    """Return a copy of windows at offsets that beat with no row length."""
    room = chunk.size - _WINDOW
    starts = [
        int(spread(number)[0] * room) // _ALIGNMENT * _ALIGNMENT for number in range(_WINDOWS)
    ]
    return np.stack([chunk[start : start + _WINDOW] for start in starts])


def _cost(windows: Bytes, form: int, stride: int) -> float:
    """Estimate the bits per byte of windows whose samples are predicted `stride` ahead."""
    if form == RGB:
        pixels = windows[:, : windows.shape[1] // 3 * 3].reshape(len(windows), -1, 3)
        green = pixels[:, :, 1]
        planes = (green, pixels[:, :, 0] - green, pixels[:, :, 2] - green)
        return sum(_cost(plane, BYTES, 1) for plane in planes) / 3
    if form == WORDS:
        words = windows[:, : windows.shape[1] // 4 * 4].reshape(-1, 4)
        return sum(raw_cost_of(words[:, place]) for place in range(4)) / 4
    if form == BYTES:
        signed = (windows[:, stride:] - windows[:, :-stride]).view(np.int8).astype(np.int16)
        return cost_of(_folded(signed))
    even = np.ascontiguousarray(windows[:, : windows.shape[1] // 2 * 2])
    samples = even.view("<u2" if form == LE16 else ">u2").astype(np.uint16)
    return cost_of(_folded((samples[:, stride:] - samples[:, :-stride]).view(np.int16))) / 2


def _folded(signed: NDArray[np.int16]) -> Samples:
    return ((signed << 1) ^ (signed >> 15)).view(np.uint16)


def _stretches(chunk: Bytes, form: int) -> Samples:
    """Return some long stretches of samples, of one colour if there are three."""
    step = SAMPLE_BYTES[form]
    size = min(_STRETCH * step, chunk.size // step * step)
    gap = (chunk.size - size) // (_STRETCHES + 1) // step * step
    starts = [gap * number for number in range(1, _STRETCHES + 1)]
    return np.stack([_samples(chunk[start : start + size], form) for start in starts])


def _samples(part: Bytes, form: int) -> Samples:
    if form in NARROW:
        step = SAMPLE_BYTES[form]
        return part[step // 2 :: step].astype(np.uint16)
    return np.frombuffer(part.tobytes(), "<u2" if form == LE16 else ">u2").astype(np.uint16)
