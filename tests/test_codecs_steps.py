"""Each step of the planes codec undoes itself, and finds what it is meant to find."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medshare.codecs.fitting import Fitting
from medshare.codecs.forms import gather, scatter
from medshare.codecs.nifti import find_volumes
from medshare.codecs.pixels import find_pixels, first_file, tail_like
from medshare.codecs.predictor import Prediction
from medshare.codecs.probe import guess, resembles_rows
from medshare.codecs.shapes import (
    BE16,
    BYTES,
    LE16,
    NARROW,
    PLANE,
    RGB,
    SAMPLE_BYTES,
    TILE_SAMPLES,
    WEIGHTS,
    WORDS,
    Predictor,
    can_interpolate,
    shape_of,
    tiles_for,
)
from medshare.codecs.table import Run
from medshare.codecs.tiles import Tiling, stream_sizes
from tests.pictures import Image, images, picture

MOST = 1 << 14
FIRST, SECOND, THIRD = np.empty((3, tiles_for(MOST) * TILE_SAMPLES), np.dtype("<u2"))
PREDICTION = Prediction(MOST, THIRD)
TILING = Tiling(FIRST, SECOND, THIRD)


@st.composite
def rasters(draw: st.DrawFn) -> tuple[NDArray[np.uint16], Predictor, bool]:
    """Draw samples, how to predict them, and whether they are bytes."""
    narrow = draw(st.booleans())
    count = draw(st.integers(1, MOST))
    pitch = draw(st.integers(1, min(count, 600)))
    seed, shift = draw(st.integers(0, 99)), draw(st.integers(0, 15))
    samples = np.random.default_rng(seed).integers(0, 1 << 16, count) >> shift
    weights: tuple[int, ...] = ()
    if can_interpolate(pitch, count) and draw(st.booleans()):
        weights = tuple(draw(st.lists(st.integers(-128, 127), min_size=WEIGHTS, max_size=WEIGHTS)))
    offset = 0 if narrow else draw(st.integers(0, 0xFFFF))
    predictor = Predictor(draw(st.integers(0, PLANE)), pitch, offset, weights)
    return (samples & (0xFF if narrow else 0xFFFF)).astype(np.uint16), predictor, narrow


@given(rasters())
def test_prediction_undoes_itself(raster: tuple[NDArray[np.uint16], Predictor, bool]) -> None:
    """Residuals give back the samples, whatever the predictor, and bytes stay small."""
    samples, predictor, narrow = raster
    residuals = np.full(shape_of(predictor, samples.size).residuals, 7, np.uint16)
    PREDICTION.predict(samples.copy(), predictor, residuals, narrow=narrow)
    assert not narrow or residuals.max() < 256
    restored = np.full_like(samples, 9)
    PREDICTION.restore(residuals, predictor, restored, narrow=narrow)
    assert (restored == samples).all()


@given(rasters(), st.integers(0, 99))
def test_tiles_undo_themselves(
    raster: tuple[NDArray[np.uint16], Predictor, bool], seed: int
) -> None:
    """Sorted and packed residuals come back, and the streams have the sizes foretold."""
    shape = shape_of(raster[1], raster[0].size)
    random = np.random.default_rng(seed)
    shifts = np.repeat(random.integers(0, 17, shape.residuals // 200 + 1), 200)
    residuals = (random.integers(0, 1 << 16, shape.residuals) >> shifts[: shape.residuals]).astype(
        np.uint16
    )
    widths, streams = TILING.pack(residuals, shape)
    widths, streams = widths.copy(), [stream.copy() for stream in streams]
    assert widths.size == shape.tiles
    assert [stream.size for stream in streams] == stream_sizes(widths)
    for slot, stream in zip(TILING.slots(widths), streams, strict=True):
        slot[:] = stream
    restored = np.full_like(residuals, 5)
    TILING.unpack(widths, TILING.slots(widths), shape, restored)
    assert (restored == residuals).all()


@pytest.mark.parametrize("width", range(17))
def test_every_width_of_tile_comes_back(width: int) -> None:
    """A tile of the largest values of each width is packed and unpacked without loss."""
    shape = shape_of(Predictor(0, 1), TILE_SAMPLES)
    largest = (1 << width) - 1
    residuals = np.array([0, largest] * (TILE_SAMPLES // 2), np.uint16)
    widths, streams = TILING.pack(residuals, shape)
    assert widths.tolist() == [width]
    restored = np.empty_like(residuals)
    TILING.unpack(widths, streams, shape, restored)
    assert (restored == residuals).all()


@given(
    st.sampled_from(sorted(SAMPLE_BYTES)),
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 200)), min_size=1, max_size=5),
    st.integers(0, 99),
)
def test_forms_undo_themselves(form: int, spans: list[tuple[int, int]], seed: int) -> None:
    """Samples of several runs go back to where they came from, and nothing else changes."""
    runs, end = [], 0
    for gap, count in spans:
        runs.append(Run(0, end + gap, end + gap + count * SAMPLE_BYTES[form]))
        end = runs[-1].stop
    chunk = np.frombuffer(np.random.default_rng(seed).bytes(end + 7), np.uint8)
    size = sum(run.stop - run.start for run in runs)
    samples = np.empty(size if form in NARROW else size // 2, np.dtype("<u2"))
    gather(chunk, runs, form, samples)
    target = np.zeros_like(chunk)
    scatter(samples, runs, form, target)
    inside = np.zeros(chunk.size, bool)
    for run in runs:
        inside[run.start : run.stop] = True
    assert (target == np.where(inside, chunk, 0)).all()


def test_interpolation_is_chosen_where_it_pays() -> None:
    """A smooth image with little noise is interpolated, and one without any noise may not be."""
    samples = picture(256, 256, noise=6).reshape(-1)
    predictor, bits = Fitting().choose(samples, 256, narrow=False)
    assert len(predictor.weights) == WEIGHTS
    assert 3 < bits < 6


def test_signed_samples_get_an_offset() -> None:
    """Samples around zero, two's complement, are shifted into one range before prediction."""
    samples = (picture(128, 128).astype(np.int32) - 900).astype(np.int16).view(np.uint16)
    predictor, bits = Fitting().choose(samples.reshape(-1), 128, narrow=False)
    assert predictor.offset == 0x8000
    plain, plain_bits = Fitting().choose(picture(128, 128).reshape(-1), 128, narrow=False)
    assert plain.offset == 0
    assert abs(bits - plain_bits) < 0.2


@given(images(), st.integers(0, 3))
def test_pixels_are_found_where_they_are(image: Image, before: int) -> None:
    """The span, form and pitch of native pixels follow from the file's own attributes."""
    file = image.file()
    [find] = find_pixels(memoryview(bytes(before) + file), before)
    pixels = len(image.pixels())
    assert find.start == before + len(file) - pixels
    assert 0 <= pixels - (find.stop - find.start) <= 2
    assert find.length == pixels
    colours = image.samples == 3 and not image.planar
    wide = BE16 if image.order == "big" else LE16
    assert find.form == (wide if image.bits == 16 else RGB if colours else BYTES)
    assert find.pitch == image.columns


def test_every_file_in_a_chunk_is_found() -> None:
    """Native pixels of one file after the other are found, the last one cut by the chunk."""
    files = [image.file() for image in (Image(64, 80), Image(64, 80, seed=1), Image(64, 80))]
    data = b"".join(files)[: -len(files[2]) // 4]
    finds = find_pixels(memoryview(data), 0)
    assert [find.stop for find in finds] == [len(files[0]), len(files[0] + files[1]), len(data)]


def test_finds_do_not_overlap() -> None:
    """A waveform that claims the octets of the image after it does not get them."""
    image, other = Image(64, 80), Image(64, 80, order="big")
    channels = image.element(0x003A, 0x0005, b"US", image.number(2))
    wave = image.element(0x5400, 0x1010, b"OW", bytes(6000))
    long_wave = wave[:8] + (40_000).to_bytes(4, "little") + wave[12:]
    for middle in (wave, long_wave):
        start = bytes(128) + b"DICM" + channels + middle
        for data in (start + image.file(), start + other.file(), start + channels + middle):
            finds = find_pixels(memoryview(data), 0)
            assert finds
            edges = [edge for find in finds for edge in (find.start, find.stop)]
            assert edges == sorted(edges)
            assert edges[-1] <= len(data)


@pytest.mark.parametrize("cut", [1, 2, 700, 5001])
def test_the_end_of_an_image_is_taken_up(cut: int) -> None:
    """A chunk that starts inside an image knows its end by the image after it."""
    first, second = Image(64, 80).file(), Image(64, 80, seed=1).file()
    chunk = memoryview(first[-64 * 80 * 2 + cut :] + second)
    [find] = find_pixels(chunk, first_file(chunk))
    tail = tail_like(find, first_file(chunk))
    assert tail.stop == 64 * 80 * 2 - cut
    assert tail.start == cut % 2


@pytest.mark.parametrize(
    "change",
    [
        (b"US\x02\x00\x50\x00", b"US\x02\x00\x51\x00"),  # a width that does not fit
        (b"OW\x00\x00", b"UN\x00\x00"),
        (struct.pack("<I", 64 * 80 * 2), b"\xff\xff\xff\xff"),  # encapsulated
    ],
    ids=["width", "representation", "undefined length"],
)
def test_what_does_not_fit_is_not_found(change: tuple[bytes, bytes]) -> None:
    """An element whose length, attributes or kind contradict each other is left alone."""
    file = Image(64, 80).file()
    assert change[0] in file
    assert find_pixels(memoryview(file.replace(*change)), 0) == []


@pytest.mark.parametrize("second", [False, True], ids=["NIfTI-1", "NIfTI-2"])
@pytest.mark.parametrize(("kind", "form"), [(4, LE16), (2, BYTES), (16, WORDS), (64, None)])
def test_volumes_are_found(kind: int, form: int | None, *, second: bool) -> None:
    """A volume of a known data type is found by its header, with its row length."""
    size = 540 if second else 348
    header = bytearray(size)
    struct.pack_into("<i", header, 0, size)
    if second:
        struct.pack_into("<h", header, 12, kind)
        struct.pack_into("<8q", header, 16, 3, 40, 30, 20, 1, 1, 1, 1)
        struct.pack_into("<q", header, 168, 544)
        header[4:8] = b"n+2\0"
    else:
        struct.pack_into("<8h", header, 40, 3, 40, 30, 20, 1, 1, 1, 1)
        struct.pack_into("<h", header, 70, kind)
        struct.pack_into("<f", header, 108, 352.0)
        header[344:348] = b"n+1\0"
    content = bytes(40 * 30 * 20 * 4)
    finds = find_volumes(memoryview(bytes(3) + header + bytes(4) + content))
    if form is None:
        assert finds == []
        return
    [find] = finds
    assert (find.form, find.start) == (form, 3 + size + 4)
    assert find.stop - find.start == 40 * 30 * 20 * {LE16: 2, BYTES: 1, WORDS: 4}[form]
    assert find.pitch == (1 if form == WORDS else 40)


@pytest.mark.parametrize(
    ("form", "pitch", "phase"),
    [(LE16, 200, 0), (LE16, 333, 1), (BE16, 200, 0), (BYTES, 240, 0), (RGB, 160, 0)],
)
def test_the_shape_of_headerless_pixels_is_guessed(form: int, pitch: int, phase: int) -> None:
    """Form, phase and row length of the middle of an image show without any header."""
    values = picture(400, pitch, noise=8)
    if form == RGB:
        grey = (values >> 4).astype(np.uint8)
        octets = np.stack([grey, grey ^ 1, grey + 3], axis=2).tobytes()
    elif form == BYTES:
        octets = (values >> 4).astype(np.uint8).tobytes()
    else:
        octets = values.astype("<u2" if form == LE16 else ">u2").tobytes()
    chunk = np.frombuffer(bytes(phase) + octets, np.uint8)
    find = guess(chunk, lambda _: 8.0)
    assert find is not None
    assert (find.form, find.pitch) == (form, pitch)
    assert form != LE16 or find.start == phase


def test_noise_resembles_nothing() -> None:
    """No form is guessed for random octets, nor for what another coder does far better."""
    chunk = np.frombuffer(np.random.default_rng(3).bytes(100_000), np.uint8)
    assert guess(chunk, lambda _: 8.0) is None
    pixels = np.frombuffer(picture(200, 200).tobytes(), np.uint8)
    assert guess(pixels, lambda _: 0.1) is None


def test_rows_are_recognized_by_their_length() -> None:
    """Samples resemble rows of the right length, and not of others."""
    samples = picture(200, 300).reshape(-1)
    assert resembles_rows(samples, 300)
    assert not any(resembles_rows(samples, pitch) for pitch in (250, 290, 310, 350))
