"""The layout: files end to end, cut into chunks, and back."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from medshare.chunking import (
    DEFAULT_CHUNK_SIZE,
    MAX_CHUNK_SIZE,
    MAX_CHUNKS,
    MAX_PIECES,
    MIN_CHUNK_SIZE,
    Layout,
)
from medshare.errors import LimitError
from tests.builder import CHUNK_SIZE
from tests.strategies import sizes


@given(sizes(), st.integers(MIN_CHUNK_SIZE, 5000))
@example([], MIN_CHUNK_SIZE)
@example([0, 0], MIN_CHUNK_SIZE)
@example([CHUNK_SIZE, CHUNK_SIZE], CHUNK_SIZE)
@example([1] * (MAX_PIECES + 1), 8192)
def test_pieces_tile_the_stream(files: list[int], chunk_size: int) -> None:
    """The pieces of all chunks, in order, are every octet of every file, once."""
    layout = Layout(files, chunk_size)
    position = dict.fromkeys(range(len(files)), 0)
    current = 0
    for index in range(layout.chunk_count):
        end = 0
        for piece in layout.pieces(index):
            assert piece.size > 0
            assert piece.file >= current
            assert piece.chunk_offset == end
            assert piece.file_offset == position[piece.file]
            current = piece.file
            position[piece.file] += piece.size
            end += piece.size
        assert end == layout.size(index)
        assert 0 < end <= chunk_size
    assert [position[file] for file in range(len(files))] == files
    assert layout.total_size == sum(files)


@given(sizes(), st.integers(MIN_CHUNK_SIZE, 5000))
def test_chunks_of_a_file_are_those_with_its_pieces(files: list[int], chunk_size: int) -> None:
    """`chunks_of` is the inverse of `pieces`."""
    layout = Layout(files, chunk_size)
    found: dict[int, list[int]] = {file: [] for file in range(len(files))}
    for index in range(layout.chunk_count):
        for piece in layout.pieces(index):
            found[piece.file].append(index)
    for file, chunks in found.items():
        assert list(layout.chunks_of(file)) == chunks
        assert layout.is_single_piece(file) == (len(chunks) == 1)


@given(sizes())
def test_only_the_last_chunk_may_be_short(files: list[int]) -> None:
    """Where the number of pieces does not end a chunk, every chunk but the last is full."""
    layout = Layout(files, CHUNK_SIZE)
    assert all(layout.size(index) == CHUNK_SIZE for index in range(layout.chunk_count - 1))
    assert layout.chunk_count == -(-sum(files) // CHUNK_SIZE)


def test_a_chunk_ends_after_4096_pieces() -> None:
    """However small the files, no chunk holds more than 4096 of them."""
    layout = Layout([1] * (2 * MAX_PIECES + 3), DEFAULT_CHUNK_SIZE)
    assert [layout.size(index) for index in range(layout.chunk_count)] == [
        MAX_PIECES,
        MAX_PIECES,
        3,
    ]
    assert sum(1 for _ in layout.pieces(0)) == MAX_PIECES


def test_empty_files_between_pieces_do_not_count() -> None:
    """Empty files take no piece, so that they do not end a chunk."""
    layout = Layout([1, *[0] * 10_000, 1], MIN_CHUNK_SIZE)
    assert layout.chunk_count == 1
    assert [piece.file for piece in layout.pieces(0)] == [0, 10_001]
    assert list(layout.chunks_of(5)) == []


@pytest.mark.parametrize("size", [0, 1, MIN_CHUNK_SIZE - 1, MAX_CHUNK_SIZE + 1, 1 << 60])
def test_chunk_sizes_are_limited(size: int) -> None:
    """No other chunk size is taken, and nothing divides by it first."""
    with pytest.raises(LimitError):
        Layout([1], size)


def test_chunks_are_limited() -> None:
    """Files of exactly the largest total are laid; one octet, or 2^60, more is refused at once."""
    most = MAX_CHUNKS * MIN_CHUNK_SIZE
    assert Layout([most], MIN_CHUNK_SIZE).chunk_count == MAX_CHUNKS
    for files in ([most + 1], [most, 1], [1 << 60], [1 << 63] * 100):
        with pytest.raises(LimitError):
            Layout(files, MIN_CHUNK_SIZE)


def test_chunks_are_limited_by_pieces_as_well() -> None:
    """The limit holds also where the number of pieces, not of octets, makes the chunks."""
    pattern = ([1] * MAX_PIECES + [MIN_CHUNK_SIZE]) * 2
    assert Layout(pattern, 1 << 20).chunk_count == 3
