"""Sealed chunks and payloads: one form, every length checked before it is believed."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.chunk import (
    HEADER_SIZE,
    SIGNATURE_SIZE,
    TRAILER_SIZE,
    ChunkHeader,
    Trailer,
    chunk_signing_input,
    close_payload,
    max_payload_size,
    max_sealed_size,
    padme,
    parse_header,
    parse_payload,
    parse_trailer,
)
from medshare.chunking import MAX_CHUNK_SIZE, MAX_PIECES
from medshare.digest import Digest
from medshare.errors import (
    FormatError,
    IntegrityError,
    LimitError,
    MedshareError,
    UnsupportedVersionError,
)
from medshare.ids import ParcelId
from medshare.suites.base import NONCE_SIZE, TAG_SIZE
from tests.builder import CHUNK_SIZE, octets
from tests.strategies import damaged, flipped

PARCEL = ParcelId(octets("chunk parcel", 16))
SMALLEST = TRAILER_SIZE + TAG_SIZE


def sealed(header: bytes, body_size: int) -> bytes:
    """Return a chunk of the right length under *header*."""
    return header + bytes(body_size + SIGNATURE_SIZE)


headers = st.builds(
    ChunkHeader,
    st.binary(min_size=16, max_size=16).map(ParcelId),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.integers(SMALLEST, 3000),
    st.binary(min_size=NONCE_SIZE, max_size=NONCE_SIZE),
)


@given(headers)
def test_headers_come_back(header: ChunkHeader) -> None:
    """A header has 44 octets, survives them, and ends with its nonce."""
    data = header.encode()
    assert len(data) == HEADER_SIZE
    assert data == header.before_nonce + header.nonce
    assert parse_header(sealed(data, header.body_size), chunk_size=CHUNK_SIZE) == header


@given(st.binary(max_size=400) | headers.flatmap(lambda one: damaged(sealed(one.encode(), 50))))
def test_any_octets_are_a_chunk_or_refused(data: bytes) -> None:
    """Parsing raises FormatError, or returns a header that re-encodes to the same octets."""
    try:
        header = parse_header(data, chunk_size=CHUNK_SIZE)
    except FormatError:
        return
    assert header.encode() == data[:HEADER_SIZE]
    assert header.body_size == len(data) - HEADER_SIZE - SIGNATURE_SIZE


HEADER = ChunkHeader(PARCEL, 7, True, SMALLEST, bytes(NONCE_SIZE)).encode()


@pytest.mark.parametrize("bit", range(33, 64))
def test_reserved_bits_are_refused(bit: int) -> None:
    """Every flag but the last one, and every reserved octet, asks for a newer medshare."""
    changed = flipped(HEADER, bit)
    with pytest.raises(UnsupportedVersionError):
        parse_header(sealed(changed, SMALLEST), chunk_size=CHUNK_SIZE)


def test_versions_and_foreign_octets_differ() -> None:
    """`MSC2` is a newer version; anything else is no chunk."""
    for magic, error in ((b"MSC2", UnsupportedVersionError), (b"MSX1", FormatError)):
        with pytest.raises(FormatError) as caught:
            parse_header(sealed(magic + HEADER[4:], SMALLEST), chunk_size=CHUNK_SIZE)
        assert type(caught.value) is error


@pytest.mark.parametrize("chunk_size", [CHUNK_SIZE, MAX_CHUNK_SIZE])
def test_the_largest_chunk_is_exact(chunk_size: int) -> None:
    """The largest sealed chunk is accepted; one octet more is a LimitError."""
    largest = max_sealed_size(chunk_size)
    for size in (largest, largest + 1):
        body = size - HEADER_SIZE - SIGNATURE_SIZE
        data = sealed(ChunkHeader(PARCEL, 0, True, body, bytes(NONCE_SIZE)).encode(), body)
        if size == largest:
            assert parse_header(data, chunk_size=chunk_size).body_size == body
        else:
            with pytest.raises(LimitError):
                parse_header(data, chunk_size=chunk_size)


@given(st.integers(0, 2**32 - 1), st.binary(min_size=32, max_size=32))
def test_signing_inputs_tell_everything_apart(index: int, digest: bytes) -> None:
    """What is signed has one length and holds label, parcel, index and digest."""
    message = chunk_signing_input(PARCEL, index, Digest(digest))
    assert message == b"medshare/1 chunk\0" + PARCEL + index.to_bytes(4) + digest


# --- payloads -----------------------------------------------------------------------------


def payload(encoded: bytes, pieces: int, padding: int, plain: int, codec: int = 1) -> memoryview:
    """Return a payload as a sender closes it."""
    buffer = memoryview(bytearray(b"\xaa" * max_payload_size(len(encoded) + padding)))
    buffer[: len(encoded)] = encoded
    size = close_payload(
        buffer,
        encoded_size=len(encoded),
        plain_size=plain,
        codec=codec,
        digests=[octets(f"piece {number}") for number in range(pieces)],
        padding=padding,
    )
    return buffer[:size]


@given(st.binary(max_size=200), st.integers(0, 5), st.integers(0, 99), st.integers(0, 255))
def test_payloads_come_back(encoded: bytes, pieces: int, padding: int, codec: int) -> None:
    """Encoded octets, codec and digests come back, whatever was in the buffer before."""
    plain = len(encoded) + 3
    closed = payload(encoded, pieces, padding, plain, codec)
    found = parse_payload(closed, plain_size=plain, pieces=pieces)
    assert bytes(found.encoded) == encoded
    assert found.codec == codec
    assert found.digests == tuple(octets(f"piece {number}") for number in range(pieces))
    assert parse_trailer(closed) == Trailer(plain, len(encoded), pieces, codec)


@given(st.data())
def test_damaged_payloads_are_refused_or_consistent(data: st.DataObject) -> None:
    """Damage raises a coded error, or leaves lengths that add up to what is there."""
    changed = data.draw(damaged(bytes(payload(b"encoded", 2, 5, 9))))
    if len(changed) < TRAILER_SIZE:
        return
    try:
        found = parse_payload(memoryview(changed), plain_size=9, pieces=2)
    except MedshareError:
        return
    assert len(found.encoded) <= 9
    assert len(found.encoded) + 2 * 32 + TRAILER_SIZE <= len(changed)
    assert len(found.digests) == 2


@given(st.binary(min_size=TRAILER_SIZE, max_size=200), st.integers(0, 9), st.integers(0, 9))
def test_any_payload_raises_only_coded_errors(data: bytes, plain: int, pieces: int) -> None:
    """Whatever was encrypted, reading it ends in a coded error or a consistent payload."""
    with suppress(FormatError, IntegrityError):
        found = parse_payload(memoryview(data), plain_size=plain, pieces=pieces)
        assert len(found.digests) == pieces


@pytest.mark.parametrize(("plain", "pieces"), [(8, 2), (10, 2), (9, 1), (9, 3), (0, 0)])
def test_a_payload_must_fit_its_place(plain: int, pieces: int) -> None:
    """Another size or number of pieces than the layout's is an IntegrityError."""
    with pytest.raises(IntegrityError):
        parse_payload(payload(b"encoded", 2, 5, 9), plain_size=plain, pieces=pieces)


def test_encoded_is_never_longer_than_plain() -> None:
    """A form that is longer than what it stands for is refused."""
    with pytest.raises(FormatError):
        parse_payload(payload(b"encoded", 1, 0, 6), plain_size=6, pieces=1)


# --- padding ------------------------------------------------------------------------------


@given(st.integers(0, max_payload_size(MAX_CHUNK_SIZE)))
def test_padding_grows_little_and_settles(size: int) -> None:
    """Padmé never shrinks, adds at most 12 per cent, and is a fixed point of itself."""
    padded = padme(size)
    assert size <= padded <= size * 1.12 + 1
    assert padme(padded) == padded


def test_padded_sizes_are_few() -> None:
    """A million sizes fall together into at most a few hundred."""
    assert len({padme(size) for size in range(1, 1 << 20, 7)}) < 400
    assert [padme(size) for size in (0, 1, 2, 9, 100, 1000)] == [0, 1, 2, 10, 104, 1024]


def test_limits_follow_from_each_other() -> None:
    """A sealed chunk is header, payload, tag and signature, and nothing else."""
    assert max_payload_size(CHUNK_SIZE) == CHUNK_SIZE + MAX_PIECES * 32 + 16
    assert max_sealed_size(CHUNK_SIZE) == max_payload_size(CHUNK_SIZE) + 44 + 16 + 64


@pytest.mark.parametrize("size", range(16))
def test_a_payload_without_room_for_its_trailer_is_refused(size: int) -> None:
    """Fewer octets than a trailer has are malformed, not a crash."""
    with pytest.raises(FormatError, match="too short"):
        parse_payload(memoryview(bytes(size)), plain_size=0, pieces=0)
