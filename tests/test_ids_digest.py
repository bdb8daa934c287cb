"""Identifiers and digests: one textual form, compared as a whole."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.digest import DIGEST_SIZE, Digest
from medshare.errors import DigestMismatchError, FormatError
from medshare.ids import parcel_id_from_text, station_id_from_text


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32))
def test_ids_come_back_from_their_text(parcel: bytes, station: bytes) -> None:
    """An identifier survives the way into text and back."""
    assert parcel_id_from_text(parcel.hex()) == parcel
    assert station_id_from_text(station.hex()) == station


@pytest.mark.parametrize(
    "change", ["", "upper", "short", "long", "space", "newline", "path", "wide"]
)
@pytest.mark.parametrize("size", [16, 32])
def test_ids_have_no_other_spelling(change: str, size: int) -> None:
    """Upper case, other lengths, white space, paths and full-width digits are refused."""
    text = (bytes(range(0xA0, 0xA0 + size))).hex()
    spelled = {
        "": "", "upper": text.upper(), "short": text[1:], "long": text + "0",
        "space": text[1:] + " ", "newline": text + "\n", "path": "../" + text[3:],
        "wide": text[1:] + "\uff10",
    }[change]  # fmt: skip
    read = parcel_id_from_text if size == 16 else station_id_from_text
    with pytest.raises(FormatError):
        read(spelled)


@given(st.text(max_size=70))
def test_any_text_is_an_id_or_refused(text: str) -> None:
    """Whatever the text, it is refused with FormatError, or is what it stands for."""
    for read in (parcel_id_from_text, station_id_from_text):
        with contextlib.suppress(FormatError):
            assert read(text).hex() == text
    with contextlib.suppress(FormatError):
        assert Digest.from_hex(text).hex == text.lower()


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_a_digest_equals_only_itself(one: bytes, other: bytes) -> None:
    """A digest accepts itself and raises on any other, naming what was compared."""
    Digest(one).require(Digest(one), what="it")
    assert Digest.from_hex(Digest(one).hex) == Digest(one)
    if one != other:
        with pytest.raises(DigestMismatchError, match="chunk 7"):
            Digest(one).require(Digest(other), what="chunk 7")


@pytest.mark.parametrize("size", [0, DIGEST_SIZE - 1, DIGEST_SIZE + 1])
def test_a_digest_has_32_octets(size: int) -> None:
    """No other length makes a digest."""
    with pytest.raises(FormatError):
        Digest(bytes(size))


@pytest.mark.parametrize("text", ["00 " * 32, "0" * 63, "0" * 65, "0" * 64 + "\n", "g" * 64, ""])
def test_a_digest_is_64_digits(text: str) -> None:
    """White space, other letters and other lengths make no digest, though Python reads them."""
    with pytest.raises(FormatError):
        Digest.from_hex(text)


def test_a_digest_is_shown_short() -> None:
    """Messages and representations show ten digits."""
    digest = Digest(bytes(range(32)))
    assert repr(digest) == "Digest(0001020304)"
    assert digest.short == "0001020304"
