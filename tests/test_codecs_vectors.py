"""The vectors of the codecs: every reader agrees on every file."""

from pathlib import Path

import pytest
from blake3 import blake3

from medshare.codecs import Codec
from medshare.errors import CodecError
from tests.independent_planes import plain_of
from tests.independent_values import RefusedError

FOLDER = Path(__file__).parent / "vectors" / "codecs"
FILES = sorted(FOLDER.glob("*.vector"))
GOOD = {"base": 4, "form": 5, "interpolated": 5}


def parse(file: Path) -> tuple[dict[str, str], bytes]:
    """Return the head of a vector and its octets."""
    text, _, encoded = file.read_bytes().partition(b"\n\n")
    return dict(line.split(": ", 1) for line in text.decode().splitlines()), encoded


def test_no_vector_is_missing() -> None:
    """The folder holds as many vectors as there were when it was written."""
    expectations = [parse(file)[0]["expect"] for file in FILES]
    assert (len(FILES), expectations.count("integrity.codec")) == (40, 17)
    for start, count in GOOD.items():
        assert sum(file.name.startswith(f"{start}-") for file in FILES) == count


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_codec_reads_the_vector(file: Path) -> None:
    """The decoder gives the plaintext that the vector names, or refuses."""
    head, encoded = parse(file)
    into = bytearray(int(head["plain-size"]))
    codec = Codec(int(head["chunk-size"]))
    if head["expect"] == "success":
        codec.decode(int(head["codec"]), memoryview(encoded), memoryview(into))
        assert blake3(into).hexdigest() == head["blake3"]
        return
    with pytest.raises(CodecError) as caught:
        codec.decode(int(head["codec"]), memoryview(encoded), memoryview(into))
    assert caught.value.code == head["expect"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_second_implementation_reads_the_vector(file: Path) -> None:
    """A decoder written from docs/codecs.md alone ends in the same."""
    head, encoded = parse(file)
    numbers = [int(head[key]) for key in ("plain-size", "chunk-size")]
    if head["expect"] == "success":
        plain = plain_of(int(head["codec"]), encoded, *numbers)
        assert blake3(plain).hexdigest() == head["blake3"]
        return
    with pytest.raises(RefusedError) as caught:
        plain_of(int(head["codec"]), encoded, *numbers)
    assert str(caught.value).startswith(head["expect"])
