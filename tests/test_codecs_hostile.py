"""Whatever a decoder is fed, it refuses or returns, in bounds and in little memory."""

import struct
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from medshare.codecs import PLANES, ZSTD, Codec
from medshare.codecs.frames import Frames
from medshare.codecs.planes import Planes
from medshare.codecs.shapes import BYTES, LE16, RGB, WEIGHTS, Predictor
from medshare.codecs.table import (
    MAX_RASTERS,
    Raster,
    Run,
    build_head,
    build_runs,
    parse_head,
    parse_runs,
)
from medshare.errors import CodecError
from tests.pictures import Image

LARGEST = 1 << 16
CODEC = Codec(LARGEST)
PLAIN = Image(64, 80, header=4000, noise=40).file() + Image(90, 70, bits=8, noise=60).file()
CODEC_ID, VIEW = CODEC.encode(memoryview(PLAIN))
ENCODED = bytes(VIEW)
HEAD = parse_head(memoryview(ENCODED))
GUARD = b"\xa5" * 32


def decode(encoded: bytes, size: int = len(PLAIN), codec_id: int = PLANES) -> bytes:
    """Decode into guarded memory; the guards must survive whatever happens."""
    memory = bytearray(GUARD + bytes(size) + GUARD)
    try:
        CODEC.decode(codec_id, memoryview(encoded), memoryview(memory)[32 : 32 + size])
    finally:
        assert memory[:32] == memory[32 + size :] == GUARD
    return bytes(memory[32 : 32 + size])


def test_the_example_is_worth_damaging() -> None:
    """The chunk that is damaged below has two rasters and decodes when it is whole."""
    assert CODEC_ID == PLANES
    assert len(HEAD.rasters) == 2
    assert decode(ENCODED) == PLAIN


@given(st.integers(0, len(ENCODED) - 1), st.integers(1, 255))
def test_one_changed_octet_is_refused_or_decodes(position: int, change: int) -> None:
    """Damage raises CodecError, or gives other octets: never another error, never a crash."""
    damaged = bytearray(ENCODED)
    damaged[position] ^= change
    with suppress(CodecError):
        decode(bytes(damaged))


@given(st.integers(0, HEAD.size - 1), st.integers(0, 255))
def test_one_changed_octet_of_the_head_is_refused_or_decodes(position: int, value: int) -> None:
    """The same, where sizes and counts are."""
    damaged = bytearray(ENCODED)
    damaged[position] = value
    with suppress(CodecError):
        decode(bytes(damaged))


@given(st.binary(max_size=300), st.sampled_from([ZSTD, PLANES]), st.integers(0, 5000))
def test_noise_is_refused(encoded: bytes, codec_id: int, size: int) -> None:
    """Random octets are no frame and no planes."""
    with pytest.raises(CodecError):
        decode(encoded, size, codec_id)


@given(st.integers(0, len(ENCODED) - 1))
def test_a_cut_is_refused(size: int) -> None:
    """Every proper beginning of an encoded chunk is refused."""
    with pytest.raises(CodecError):
        decode(ENCODED[:size])


@pytest.mark.parametrize("size", [0, 1, len(PLAIN) - 1, len(PLAIN) + 1, LARGEST])
def test_another_size_is_refused(size: int) -> None:
    """An encoded chunk decodes to its own size only."""
    with pytest.raises(CodecError):
        decode(ENCODED, size)


@pytest.mark.parametrize("codec_id", [ZSTD, PLANES])
def test_octets_after_the_end_are_refused(codec_id: int) -> None:
    """Nothing may follow an encoded chunk."""
    encoded = ENCODED if codec_id == PLANES else zstandard.compress(PLAIN)
    with pytest.raises(CodecError):
        decode(encoded + b"\0", codec_id=codec_id)


def rebuilt(rasters: Sequence[Raster], **changes: int) -> bytes:
    """The example with other rasters, or other numbers in its head."""
    numbers = {
        "run_count": HEAD.run_count,
        "rest_size": HEAD.rest_size,
        "rest_frame_size": HEAD.rest_frame_size,
        **changes,
    }
    return build_head(rasters, HEAD.frame_sizes, **numbers) + ENCODED[HEAD.size :]


FIRST, SECOND = HEAD.rasters


def head(base: int = 3, pitch: int = 80, weights: tuple[int, ...] = ()) -> bytes:
    """The example with another predictor for its first raster."""
    return rebuilt([replace(FIRST, predictor=Predictor(base, pitch, 0, weights)), SECOND])


@pytest.mark.parametrize(
    "encoded",
    [
        rebuilt([replace(FIRST, form=5), SECOND]),
        rebuilt([replace(FIRST, form=255), SECOND]),
        rebuilt([replace(FIRST, form=BYTES), SECOND]),
        rebuilt([FIRST, replace(SECOND, form=LE16)]),
        rebuilt([FIRST, replace(SECOND, predictor=replace(SECOND.predictor, offset=1))]),
        head(base=4),
        head(pitch=0),
        head(pitch=64 * 80 + 1),
        head(pitch=0xFFFF_FFFF),
        head(pitch=31, weights=(1,) * WEIGHTS),
        head(pitch=64 * 80 // 32 + 1, weights=(1,) * WEIGHTS),
        rebuilt(HEAD.rasters, run_count=0),
        rebuilt(HEAD.rasters, run_count=3),
        rebuilt(HEAD.rasters, rest_size=HEAD.rest_size + 1),
        rebuilt(HEAD.rasters, rest_size=HEAD.rest_size - 9, run_count=HEAD.run_count + 1),
        rebuilt(HEAD.rasters, rest_size=0xFFFF_FFFF),
        rebuilt(HEAD.rasters, rest_frame_size=0),
        rebuilt(HEAD.rasters, rest_frame_size=HEAD.rest_frame_size + 1),
        ENCODED[:1] + b"\1" + ENCODED[2:],  # a reserved octet
        ENCODED[:63] + b"\1" + ENCODED[64:],  # another, in the first raster
    ],
)
def test_a_head_that_contradicts_its_content_is_refused(encoded: bytes) -> None:
    """Unknown kinds, impossible shapes and sizes that do not add up are errors."""
    with pytest.raises(CodecError):
        decode(encoded)


def test_too_many_rasters_are_refused() -> None:
    """A head may not ask for more than 16 rasters."""
    count = MAX_RASTERS + 1
    data = build_head([FIRST] * count, [[0] * 7] * count, 1, 0, 0)
    with pytest.raises(CodecError):
        parse_head(memoryview(data))


@pytest.mark.parametrize(
    "runs",
    [
        [Run(0, 0, 10_241), Run(1, 10_241, 16_541)],  # cuts a sample
        [Run(0, 0, 10_240), Run(2, 10_240, 16_540)],  # a raster that is not there
        [Run(0, 0, 10_240), Run(1, 10_240, 10_240)],  # nothing
        [Run(0, 0, 10_240), Run(1, LARGEST - 5, LARGEST + 5)],  # beyond the chunk
        [Run(0, 0, 10_240), Run(1, 0xFFFF_0000, 0xFFFF_FFF0)],
    ],
)
def test_runs_that_do_not_fit_are_refused(runs: list[Run]) -> None:
    """Runs are whole samples of known rasters inside the chunk."""
    with pytest.raises(CodecError):
        parse_runs(memoryview(build_runs(runs)), HEAD, LARGEST)


def crafted(raster: Raster, frames: list[bytes], size: int) -> bytes:
    """A chunk of one raster that covers all of it, with any frames."""
    table = zstandard.ZstdCompressor(write_checksum=False).compress(build_runs([Run(0, 0, size)]))
    return b"".join(
        [build_head([raster], [list(map(len, frames))], 1, 0, len(table)), table, *frames]
    )


PLAIN_RASTER = Raster(BYTES, Predictor(0, 1))
ZEROS = zstandard.compress(bytes(64))


@pytest.mark.parametrize(
    "frames",
    [
        [zstandard.compress(bytes([17]) + bytes(63)), *[b""] * 6],  # wider than 16 bits
        [zstandard.compress(bytes([255]) * 64), *[b""] * 6],
        [zstandard.compress(bytes(63)), *[b""] * 6],  # too few widths
        [ZEROS, ZEROS, *[b""] * 5],  # a stream without tiles
        [zstandard.compress(bytes([1]) + bytes(63)), *[b""] * 6],  # a tile without stream
        [zstandard.compress(bytes([1]) + bytes(63)), zstandard.compress(bytes(17)), *[b""] * 5],
        [b"", *[b""] * 6],
    ],
)
def test_frames_that_do_not_fit_each_other_are_refused(frames: list[bytes]) -> None:
    """Widths say which streams there are and how long each is."""
    with pytest.raises(CodecError):
        decode(crafted(PLAIN_RASTER, frames, 4096), 4096)


def test_a_raster_of_zeros_needs_no_stream() -> None:
    """Tiles of width 0 alone are a raster of zeros."""
    assert decode(crafted(PLAIN_RASTER, [ZEROS, *[b""] * 6], 4096), 4096) == bytes(4096)


def test_a_raster_larger_than_the_buffers_is_refused() -> None:
    """One raster holds at most half as many samples as a chunk has octets."""
    most = LARGEST // 2
    frames = [zstandard.compress(bytes(most // 64)), *[b""] * 6]
    assert decode(crafted(PLAIN_RASTER, frames, most), most) == bytes(most)
    frames[0] = zstandard.compress(bytes(most // 64 + 1))
    with pytest.raises(CodecError):
        decode(crafted(PLAIN_RASTER, frames, most + 64), most + 64)


def bomb(claimed: int) -> bytes:
    """A frame that claims a size, in a few octets."""
    block = struct.pack("<I", (0xFFFF << 3) | 0b010 | 1)[:3] + b"\0"  # last block, run-length
    return b"\x28\xb5\x2f\xfd" + b"\xe0" + struct.pack("<Q", claimed) + block


@pytest.mark.parametrize(
    "encoded",
    [
        lambda: (ZSTD, bomb(1 << 60)),
        lambda: (ZSTD, bomb(len(PLAIN) + 1)),
        lambda: (ZSTD, bomb(len(PLAIN))),
        lambda: (PLANES, crafted(PLAIN_RASTER, [bomb(1 << 40), *[b""] * 6], len(PLAIN))),
        lambda: (PLANES, rebuilt(HEAD.rasters, rest_size=0xFFFF_FFFF, run_count=0xFFFF)),
        lambda: (PLANES, head(pitch=0xFFFF_FFFF, weights=(1,) * WEIGHTS)),
    ],
)
def test_what_claims_much_gets_little(encoded: Callable[[], tuple[int, bytes]]) -> None:
    """A claim of gigabytes is refused before memory is taken for it."""
    codec_id, data = encoded()
    decode(ENCODED)  # the codec's own buffers exist by now
    tracemalloc.start()
    try:
        with pytest.raises(CodecError):
            decode(data, codec_id=codec_id)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_memory_is_bounded_by_the_chunk() -> None:
    """All buffers of a codec together stay below eight times the largest chunk and 4 MB."""
    size = 1 << 20
    plain = b"".join(Image(256, 256, seed=seed).file() for seed in range(8))[:size]
    tracemalloc.start()
    try:
        codec = Codec(size)
        codec_id, encoded = codec.encode(memoryview(plain))
        codec.decode(codec_id, memoryview(encoded), memoryview(bytearray(len(plain))))
        assert codec_id == PLANES
        assert tracemalloc.get_traced_memory()[1] < 8 * size + 4_000_000
    finally:
        tracemalloc.stop()


def test_any_predictor_survives_any_content() -> None:
    """A decoder that is given random streams for every kind of raster stays in bounds."""
    random = np.random.default_rng(7)
    planes = Planes(LARGEST, Frames(LARGEST))
    for form in (LE16, BYTES, RGB):
        for weights in ((), (127,) * WEIGHTS, (-128,) * WEIGHTS):
            raster = Raster(form, Predictor(3, 48, 0, weights))
            samples = random.integers(0, 256, 48 * 96).astype(np.uint16)
            frames = planes.encode_samples(raster, samples)
            size = 48 * 96 * (2 if form == LE16 else 1)
            assert len(decode(crafted(raster, frames, size), size)) == size
