"""The measuring program compares what it decodes, and its tables say what was measured."""

import pytest

from benchmarks.codecs import Coder, markdown, means, measure, ours, zstd
from medshare.codecs import Effort
from tests.pictures import Image

CHUNKS = [Image(96, 96, seed=seed).file() for seed in range(2)]
SIZE = sum(map(len, CHUNKS))


def test_octets_are_those_of_all_chunks() -> None:
    """The figures of a coder add up over chunks, and ours leaves fewer than Zstandard."""
    alone, balanced = (measure(coder, CHUNKS, 1) for coder in (zstd(3), ours(Effort.BALANCED)))
    assert alone.octets == sum(len(zstd(3).encode(chunk)) for chunk in CHUNKS)
    assert balanced.octets < alone.octets < SIZE
    assert balanced.against(SIZE)["ratio"] == round(SIZE / balanced.octets, 4)


def test_a_coder_that_loses_octets_is_no_figure() -> None:
    """A coder whose decoding differs from the input ends the measurement."""
    lossy = Coder("lossy", lambda chunk: chunk[:-1], lambda encoded, _: encoded)
    with pytest.raises(RuntimeError, match="lossy lost a chunk"):
        measure(lossy, CHUNKS, 1)


def test_tables_show_every_kind_and_the_mean() -> None:
    """Kinds are rows, coders columns; a coder that did not run leaves its place empty."""
    figures = {"octets": 1, "encode_mb_s": 400.0, "decode_mb_s": 500.0}
    results = {
        "cr": {"octets": 4_000_000, "coders": {"a": {**figures, "ratio": 2.0}}},
        "ct_head": {
            "octets": 8_000_000,
            "coders": {"a": {**figures, "ratio": 8.0}, "b": {**figures, "ratio": 4.0}},
        },
        "text": {"octets": 1_000_000, "coders": {"a": {**figures, "ratio": 100.0}}},
    }
    assert means(results) == {"a": 25.0, "b": 25.0}
    tables = markdown(results)
    assert "| kind | MB | a | b |" in tables
    assert "| cr | 4.0 | 2.00 |  |" in tables
    assert "| ct_head | 400 / 500 | 400 / 500 |" in tables
    assert "| left of 16-bit kinds |  | 25.0 % | 25.0 % |" in tables
