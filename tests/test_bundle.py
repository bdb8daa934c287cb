"""Text files with several things in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import FormatError, LimitError
from medshare.trust.bundle import MAX_BLOCKS, Block, read_blocks, write_blocks

blocks = st.lists(
    st.builds(Block, st.from_regex(r"[A-Z][A-Z0-9 ]{0,20}", fullmatch=True), st.binary()),
    min_size=1,
    max_size=5,
)


@given(blocks, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "subject=CN\n"]))
def test_what_is_written_is_read(made: list[Block], ending: str, remark: str) -> None:
    """Blocks survive, whatever the line endings and remarks between them."""
    text = "".join(remark + block.text() for block in made).replace("\n", ending)
    assert read_blocks(text.encode(), what="it") == tuple(made)
    assert read_blocks(write_blocks(made), what="it") == tuple(made)


@given(st.binary(max_size=200))
def test_any_octets_are_blocks_or_refused(data: bytes) -> None:
    """Other octets are a FormatError and nothing else."""
    with pytest.raises(FormatError):
        read_blocks(data, what="it")


@pytest.mark.parametrize(
    "text",
    ["-----BEGIN X-----\nAAAA", "-----BEGIN X-----\nA\n-----END X-----", "-----BEGIN X-----\né"],
)
def test_what_is_cut_or_damaged_is_refused(text: str) -> None:
    """A block without its end, or that is not Base64, is a FormatError."""
    with pytest.raises(FormatError):
        read_blocks(text.encode(), what="it")


def test_there_is_an_end_to_it() -> None:
    """More things than anybody needs are a LimitError."""
    with pytest.raises(LimitError):
        read_blocks(write_blocks([Block("X", b"")] * (MAX_BLOCKS + 1)), what="it")
