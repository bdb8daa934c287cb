"""Properties of the codecs: exact round trips, and refusal of everything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.codecs import STORE, ZSTD, Codec, Effort
from medshare.errors import CodecError

LARGEST = 1 << 20


@given(st.binary(max_size=4096), st.sampled_from(Effort))
def test_any_bytes_come_back(plain: bytes, effort: Effort) -> None:
    """Whatever is encoded decodes to the same bytes and is not longer than before."""
    codec = Codec(LARGEST)
    codec_id, encoded = codec.encode(memoryview(plain), effort)
    into = bytearray(len(plain))
    codec.decode(codec_id, memoryview(bytes(encoded)), memoryview(into))
    assert bytes(into) == plain
    assert len(encoded) <= len(plain)


def test_stored_chunk_is_not_copied() -> None:
    """Storing returns the very view that was handed in."""
    plain = memoryview(b"\x07")
    assert Codec(LARGEST).encode(plain) == (STORE, plain)


@pytest.mark.parametrize("size", [0, 999, 1001])
def test_wrong_announced_size_is_refused(size: int) -> None:
    """A frame of 1,000 bytes does not decode into a buffer of another size."""
    codec = Codec(LARGEST)
    codec_id, encoded = codec.encode(memoryview(bytes(1000)))
    assert codec_id == ZSTD
    with pytest.raises(CodecError):
        codec.decode(codec_id, memoryview(bytes(encoded)), memoryview(bytearray(size)))


def test_trailing_bytes_are_refused() -> None:
    """Bytes after the frame are an error, not ignored."""
    codec = Codec(LARGEST)
    codec_id, encoded = codec.encode(memoryview(bytes(1000)))
    with pytest.raises(CodecError):
        codec.decode(codec_id, memoryview(bytes(encoded) + b"\0"), memoryview(bytearray(1000)))


@pytest.mark.parametrize("codec_id", [3, 127, 255])
def test_unknown_codec_is_refused(codec_id: int) -> None:
    """A codec number that this version does not know is an error."""
    with pytest.raises(CodecError):
        Codec(LARGEST).decode(codec_id, memoryview(b""), memoryview(bytearray(0)))
