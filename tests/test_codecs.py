"""Codecs: exact round trips, never more octets, and never more than Zstandard makes."""

import os
import re
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from medshare.codecs import PLANES, STORE, ZSTD, Codec, Effort
from medshare.errors import CodecError
from tests.independent_planes import plain_of
from tests.pictures import Image, studies

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 1 << 18
CORPUS = Path(os.environ.get("MEDSHARE_CORPUS", ROOT.parent / "shared" / "corpus"))
KINDS = ("cr", "ct_head", "ecg", "mr_t1", "us", "wsi")
CODEC = Codec(LARGEST)


def round_trip(plain: bytes, effort: Effort = Effort.BALANCED, codec: Codec = CODEC) -> int:
    """Encode and decode *plain*; return the codec's number."""
    codec_id, encoded = codec.encode(memoryview(plain), effort)
    encoded = bytes(encoded)
    assert len(encoded) <= len(plain)
    guarded = bytearray(b"\xa5" * (len(plain) + 16))
    codec.decode(codec_id, memoryview(encoded), memoryview(guarded)[8:-8])
    assert bytes(guarded[8:-8]) == plain
    assert guarded[:8] == guarded[-8:] == b"\xa5" * 8
    return codec_id


@given(st.binary(max_size=3000), st.sampled_from(Effort))
def test_any_octets_come_back(plain: bytes, effort: Effort) -> None:
    """Whatever is encoded decodes to the same octets, and is not longer than before."""
    round_trip(plain, effort)


@given(studies(), st.sampled_from(Effort))
def test_any_window_over_images_comes_back(plain: bytes, effort: Effort) -> None:
    """A chunk may start and end anywhere in files laid end to end."""
    round_trip(plain[:LARGEST], effort)


@given(studies(), st.sampled_from(Effort))
def test_a_chunk_may_be_as_large_as_the_codec_was_made_for(plain: bytes, effort: Effort) -> None:
    """Buffers made for exactly this chunk suffice."""
    round_trip(plain, effort, Codec(len(plain)))


@given(st.binary(min_size=1, max_size=40), st.integers(8000, 60000), st.integers(0, 3))
def test_repetitive_octets_come_back(unit: bytes, size: int, kind: int) -> None:
    """Data with a period, a drift or a step, as a probe might mistake for rows, comes back."""
    repeated = np.frombuffer((unit * (size // len(unit) + 1))[:size], np.uint8)
    drift = np.arange(size, dtype=np.int64) >> (kind * 3)
    round_trip((repeated + drift).astype(np.uint8).tobytes())


@given(studies())
@settings(max_examples=8)
def test_a_second_implementation_agrees(plain: bytes) -> None:
    """What the encoder writes is what docs/codecs.md says."""
    plain = plain[: 1 << 16]
    codec_id, encoded = CODEC.encode(memoryview(plain))
    assert plain_of(codec_id, bytes(encoded), len(plain), LARGEST) == plain


@given(studies(), st.sampled_from(Effort))
def test_equal_chunks_encode_equally(plain: bytes, effort: Effort) -> None:
    """What a codec has seen before leaves no trace in what it writes."""
    plain = plain[:LARGEST]
    codec_id, encoded = CODEC.encode(memoryview(plain), effort)
    assert Codec(LARGEST).encode(memoryview(plain), effort) == (codec_id, bytes(encoded))


@given(studies())
def test_images_are_never_larger_than_with_zstandard_alone(plain: bytes) -> None:
    """Wherever planes are chosen they are no longer than a frame of level 3, give or take 1 %."""
    plain = plain[:LARGEST]
    _, encoded = CODEC.encode(memoryview(plain))
    assert len(encoded) <= 1.01 * len(zstandard.ZstdCompressor(3).compress(plain)) + 16


def test_a_stored_chunk_is_not_copied() -> None:
    """Storing returns the very view that was handed in."""
    plain = memoryview(b"\x07")
    codec_id, encoded = CODEC.encode(plain)
    assert codec_id == STORE
    assert encoded is plain


def test_images_take_planes_and_beat_the_hardest_zstandard() -> None:
    """A slice with its header takes fewer octets than level 19 makes of it."""
    plain = b"".join(Image(128, 128, seed=seed).file() for seed in range(6))
    codec_id, encoded = CODEC.encode(memoryview(plain))
    assert codec_id == PLANES
    assert len(encoded) < 0.85 * len(zstandard.ZstdCompressor(19).compress(plain))


@pytest.mark.parametrize(
    ("plain", "codec_id"),
    [
        (b"", STORE),
        (np.random.default_rng(0).bytes(100_000), STORE),
        (bytes(100_000), ZSTD),
        (b"a rose is a rose is a rose, " * 3000, ZSTD),
    ],
    ids=["nothing", "noise", "zeros", "text"],
)
def test_what_is_no_image_is_left_to_zstandard(plain: bytes, codec_id: int) -> None:
    """Nothing and noise are stored, the rest is one frame."""
    assert round_trip(plain) == codec_id


@pytest.mark.parametrize("codec_id", [3, 127, 255])
def test_an_unknown_codec_is_refused(codec_id: int) -> None:
    """A codec number that this version does not know is an error."""
    with pytest.raises(CodecError):
        CODEC.decode(codec_id, memoryview(b""), memoryview(bytearray(0)))


def test_a_chunk_over_the_limit_is_refused() -> None:
    """Neither direction takes more than the codec was made for."""
    codec = Codec(1000)
    with pytest.raises(ValueError, match="larger"):
        codec.encode(memoryview(bytes(1001)))
    with pytest.raises(CodecError):
        codec.decode(STORE, memoryview(bytes(1001)), memoryview(bytearray(1001)))


def test_the_surface_loads_neither_numpy_nor_zstandard() -> None:
    """Importing the package costs nothing until a codec is made."""
    program = "import medshare.codecs, sys; print({'numpy', 'zstandard'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"


def test_threads_with_a_codec_each_do_not_disturb_each_other() -> None:
    """Codecs share nothing: four at once write what one alone writes."""
    plains = [b"".join(Image(96, 96, seed=s).file() for s in range(n, n + 3)) for n in range(4)]
    wanted = [CODEC.encode(memoryview(plain)) for plain in plains]
    found: dict[int, list[tuple[int, bytes | memoryview]]] = {}

    def work(number: int) -> None:
        codec = Codec(LARGEST)
        found[number] = [codec.encode(memoryview(plains[number])) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [wanted[number]] * 5 for number in range(4)}


def corpus_of(kind: str, most: int) -> bytes:
    """The first files of a kind, laid end to end, at most about *most* octets."""
    folder = CORPUS / kind
    if not folder.is_dir():
        pytest.skip(f"no real images at {CORPUS} (MEDSHARE_CORPUS)")
    data = b""
    for file in sorted(folder.iterdir(), key=lambda f: (len(f.name), f.name)):
        data += file.read_bytes()
        if len(data) >= most:
            break
    return data[:most]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk_size", [1 << 20, 1_000_003, 3 << 19])
def test_real_images_come_back(kind: str, chunk_size: int) -> None:
    """Real files survive chunks of even and odd sizes."""
    codec = Codec(chunk_size)
    data = corpus_of(kind, 5 << 19)
    ends = [*range(0, len(data), chunk_size), len(data)]
    for start, stop in pairwise(ends):
        round_trip(data[start:stop], codec=codec)


@pytest.mark.parametrize("size", [1, 2, 3, 4095, 4097, 8191, 8193, 20_011, 65_537])
def test_small_windows_over_real_images_come_back(size: int) -> None:
    """A short last chunk survives, wherever in a study it begins."""
    data = corpus_of("ct_head", 3 << 19)
    for start in range(0, len(data) - size, len(data) // 7):
        round_trip(data[start : start + size])


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_is_behind_zstandard(kind: str) -> None:
    """On no real kind are more octets sent than level 3 of Zstandard would send."""
    data = corpus_of(kind, 6 << 20)
    ours = alone = 0
    codec, rival = Codec(4 << 20), zstandard.ZstdCompressor(3)
    for start in range(0, len(data), 4 << 20):
        chunk = memoryview(data)[start : start + (4 << 20)]
        ours += len(codec.encode(chunk)[1])
        alone += len(rival.compress(chunk))
    assert ours <= alone


@pytest.mark.parametrize(
    ("kind", "ratio"), [("ct_head", 4.5), ("mr_t1", 6.0), ("cr", 1.65), ("ecg", 4.0)]
)
def test_real_kinds_reach_their_ratio(kind: str, ratio: float) -> None:
    """Compression of real kinds does not quietly get worse."""
    data = corpus_of(kind, 16 << 20)
    codec = Codec(4 << 20)
    chunks = [memoryview(data)[at : at + (4 << 20)] for at in range(0, len(data), 4 << 20)]
    assert len(data) / sum(len(codec.encode(chunk)[1]) for chunk in chunks) > ratio


def test_the_numbers_of_the_codecs_are_those_of_the_specification() -> None:
    """docs/format.md §13.4 and the code name the same numbers."""
    table = (ROOT / "docs" / "format.md").read_text(encoding="utf-8").partition("**13.4")[2]
    rows = re.findall(r"^\| (\d) \| (\w+) \|", table, re.MULTILINE)
    assert rows[:3] == [(str(STORE), "store"), (str(ZSTD), "zstd"), (str(PLANES), "planes")]


def test_the_end_of_a_large_film_of_bytes_is_taken_up() -> None:
    """A chunk may begin in an image of more narrow samples than a raster may have."""
    film = Image(128, 160, bits=8, frames=12, noise=60).file()
    plain = (film + Image(128, 160, bits=8, seed=1, noise=60).file())[-LARGEST:]
    assert len(plain) - len(film) < LARGEST // 2
    assert round_trip(plain) == PLANES
