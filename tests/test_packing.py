"""Chunks packed and unpacked: every octet back, every octet the same, nothing else accepted."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.chunk import HEADER_SIZE, SIGNATURE_SIZE, padme
from medshare.chunking import Layout
from medshare.codecs import Effort
from medshare.digest import Digest
from medshare.errors import IntegrityError, MedshareError
from medshare.ids import ParcelId
from medshare.packing import ChunkOpener, ChunkPacker, ChunkSealer, ChunkUnpacker
from medshare.sealing import ParcelKey
from medshare.suites.intl import INTL
from medshare.suites.signatures import ED25519, signer_from_seed
from tests.builder import CHUNK_SIZE, Parcel, make_identity, make_parcel, octets, pack
from tests.forger import Forger
from tests.strategies import contents, damaged, file_sets

A, B = make_identity("a"), make_identity("b")


def parcel_of(files: dict[str, bytes], *, pad: bool = False) -> Parcel:
    """Return a parcel from a to b."""
    return make_parcel(files, sender=A, recipients=[B], pad=pad, label="packing")


def unpack(parcel: Parcel, index: int, sealed: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """Return what *sealed* unpacks to in the place *index* of *parcel*."""
    unpacker = ChunkUnpacker(ChunkOpener(parcel.facts, parcel.key), parcel.layout)
    plain, digests = unpacker.unpack(index, memoryview(sealed))
    return bytes(plain), digests


@given(file_sets(), st.sampled_from(Effort), st.booleans())
def test_what_is_packed_unpacks(files: dict[str, bytes], effort: Effort, pad: bool) -> None:
    """Each chunk gives back its part of the stream, and the digest of each piece."""
    parcel = make_parcel(files, sender=A, recipients=[B], effort=effort, pad=pad, label="packing")
    stream, start = b"".join(files.values()), 0
    unpacker = ChunkUnpacker(ChunkOpener(parcel.facts, parcel.key), parcel.layout)
    for index, chunk in enumerate(parcel.chunks):
        plain, digests = unpacker.unpack(index, memoryview(chunk))
        size = parcel.layout.size(index)
        assert bytes(plain) == stream[start : start + size]
        pieces = [bytes(plain[p.chunk_offset :][: p.size]) for p in parcel.layout.pieces(index)]
        assert digests == tuple(INTL.digest(piece).value for piece in pieces)
        start += size
    assert start == len(stream)


@given(file_sets(), st.booleans())
def test_packing_again_gives_the_same_octets(files: dict[str, bytes], pad: bool) -> None:
    """A chunk that is sent again is the same chunk, signature included, from any packer."""
    parcel = parcel_of(files, pad=pad)
    again, digests = pack(
        parcel.files, parcel.facts, parcel.layout, parcel.key, parcel.chunk_signer, pad=pad
    )
    assert again == parcel.chunks
    assert tuple(digests) == parcel.sealed.chunks


@given(contents().filter(len))
def test_sealed_chunks_say_nothing_of_their_content(content: bytes) -> None:
    """Two chunks of one size differ in nonce, ciphertext and signature only."""
    noise = bytes(byte ^ 0x5A for byte in content)
    one, other = parcel_of({"x": content}).chunks[0], parcel_of({"x": noise}).chunks[0]
    if len(one) == len(other):
        assert one[:32] == other[:32]
    assert one[32:44] != other[32:44]


def test_buffers_are_used_again_without_a_trace() -> None:
    """A packer that held longer and compressible content before packs as a fresh one does."""
    files = {"a": b"compressible " * 200, "b": octets("noise", 1500), "c": b"\xff" * 100}
    parcel = parcel_of(files)
    sealer = parcel.sealer
    used = ChunkPacker(sealer, parcel.layout)
    stream = b"".join(files.values())
    for index in (0, 3, 1, 2, 0, 4, 3):
        start = sum(parcel.layout.size(before) for before in range(index))
        used.plain(index)[:] = stream[start : start + parcel.layout.size(index)]
        packed = used.pack(index)
        assert bytes(packed.sealed) == parcel.chunks[index]
        assert packed.plain_size == parcel.layout.size(index)
        assert packed.record.digest == parcel.sealed.chunks[index]


def test_a_chunk_is_packed_once_for_each_filling() -> None:
    """What lies in the buffer after packing, or for another chunk, is never sealed as plaintext."""
    parcel = parcel_of({"a": b"compressible " * 200})
    packer = ChunkPacker(parcel.sealer, parcel.layout)
    with pytest.raises(RuntimeError):
        packer.pack(0)
    packer.plain(0)[:] = (b"compressible " * 200)[:CHUNK_SIZE]
    with pytest.raises(RuntimeError):
        packer.pack(1)
    assert bytes(packer.pack(0).sealed) == parcel.chunks[0]
    with pytest.raises(RuntimeError):
        packer.pack(0)


@given(st.binary(min_size=1, max_size=CHUNK_SIZE))
def test_padded_payloads_have_padme_sizes(content: bytes) -> None:
    """With padding, the size of a sealed chunk is one of few, and the content is the same."""
    parcel = parcel_of({"x": content}, pad=True)
    size = len(parcel.chunks[0]) - HEADER_SIZE - SIGNATURE_SIZE - 16
    assert padme(size) == size
    assert unpack(parcel, 0, parcel.chunks[0])[0] == content


# --- what must not unpack -----------------------------------------------------------------

TWO = parcel_of({"x": octets("x", 1024), "y": b"compressible " * 70})


@given(st.integers(0, 1).flatmap(lambda n: damaged(TWO.chunks[n][:-64]).map(lambda d: (n, d))))
def test_no_changed_chunk_unpacks(drawn: tuple[int, bytes]) -> None:
    """Even without its signature being checked, no changed chunk decrypts."""
    index, data = drawn
    with pytest.raises(MedshareError):
        unpack(TWO, index, data + TWO.chunks[index][-64:])


def test_a_chunk_unpacks_in_its_place_only() -> None:
    """Another place in the layout, another parcel's key or id: nothing unpacks."""
    with pytest.raises(MedshareError):
        unpack(TWO, 1, TWO.chunks[0])
    with pytest.raises(IntegrityError):
        unpack(replace(TWO, key=ParcelKey(octets("other"))), 0, TWO.chunks[0])
    moved = replace(TWO.facts, parcel=ParcelId(octets("other", 16)))
    with pytest.raises(IntegrityError):
        unpack(replace(TWO, facts=moved), 0, TWO.chunks[0])


@given(
    st.integers(0, 1).flatmap(
        lambda n: damaged(bytes(Forger(TWO).payload(n))).map(lambda d: (n, d))
    )
)
def test_any_payload_ends_in_a_coded_error_or_the_content(drawn: tuple[int, bytes]) -> None:
    """Whatever the sender encrypted, unpacking gives the digested content or a coded error."""
    index, payload = drawn
    if not 16 <= len(payload) <= CHUNK_SIZE + 131088:
        return
    forger = Forger(TWO)
    forger.set_payload(index, payload)
    try:
        plain, digests = unpack(TWO, index, forger.chunks[index])
    except MedshareError:
        return
    assert digests == (INTL.digest(plain).value,)


@given(st.integers(0, 255), st.binary(max_size=900))
def test_any_encoded_octets_end_in_a_coded_error(codec: int, encoded: bytes) -> None:
    """Each codec refuses what it did not write; none raises anything else."""
    digest = INTL.digest(b"content").value
    numbers = (910, len(encoded), 1)
    trailer = b"".join(number.to_bytes(4) for number in numbers) + bytes([codec]) + bytes(3)
    forger = Forger(TWO)
    forger.set_payload(1, encoded + digest + trailer)
    with pytest.raises(MedshareError):
        unpack(TWO, 1, forger.chunks[1])


# --- the sealer ---------------------------------------------------------------------------


def test_nonces_follow_from_header_and_payload() -> None:
    """The nonce is the pseudo-random function of docs/format.md §6.4, for both kinds of payload."""
    for index, chunk in enumerate(TWO.chunks):
        payload = bytes(Forger(TWO).payload(index))
        encoded_size = int.from_bytes(payload[-12:-8])
        info = b"medshare/1 nonce\0" + chunk[:32] + INTL.digest(payload[encoded_size:]).value
        if payload[-4]:
            info += INTL.digest(payload[:encoded_size]).value
        key = TWO.key.derive(INTL, "nonce", TWO.id)
        assert chunk[32:44] == INTL.derive(key, info=info)[:12]
    assert Forger(TWO).payload(0)[-4] == 0
    assert Forger(TWO).payload(1)[-4] != 0


def test_a_nonce_depends_on_the_number_of_chunks() -> None:
    """The flag of the last chunk is authenticated, so the same payload gets another nonce there."""
    signer = signer_from_seed(ED25519, octets("signer"))
    layout = Layout([100], CHUNK_SIZE)
    nonces = set()
    for count in (1, 2):
        sealer = ChunkSealer(INTL, TWO.id, count, TWO.key, signer)
        packer = ChunkPacker(sealer, layout)
        packer.plain(0)[:] = octets("same", 100)
        packed = packer.pack(0)
        nonces.add(bytes(packed.sealed[32:44]))
        assert Digest(INTL.digest(packed.sealed[:-64]).value) == packed.record.digest
    assert len(nonces) == 2
