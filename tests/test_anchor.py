"""anchor: the word of a seal or a receipt about its signer's record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import anchor
from medshare.anchor import MAX_SIZE, Anchor
from medshare.errors import FormatError

ANCHORS = st.builds(Anchor, st.integers(1, MAX_SIZE), st.binary(min_size=32, max_size=32))


@given(st.none() | ANCHORS)
def test_an_anchor_survives_the_extra_map(one: Anchor | None) -> None:
    """What was put into `extra` is what is found there, beside whatever else there is."""
    extra = anchor.to_extra(one)
    assert anchor.from_extra({**extra, "later": 1}, what="the seal") == one
    assert len(extra) == (one is not None)


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        [],
        [1],
        [0, bytes(32)],
        [True, bytes(32)],
        [MAX_SIZE + 1, bytes(32)],
        [1, bytes(31)],
        [1, "x" * 32],
        [1, bytes(32), 1],
        {"size": 1},
    ],
)
def test_a_malformed_anchor_is_refused(value: object) -> None:
    """What stands under `log` and is no anchor makes the object malformed."""
    with pytest.raises(FormatError):
        anchor.from_extra({"log": value}, what="the seal")
