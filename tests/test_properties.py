"""What holds for every parcel: it comes back whole, or not at all; no nonce serves twice."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medshare.chunk import SIGNATURE_SIZE, close_payload, max_payload_size, max_sealed_size
from medshare.chunking import Layout
from medshare.codecs import ZSTD, Effort
from medshare.envelope import ChunkVerifier
from medshare.errors import AuthenticityError, FormatError, IncompleteError, IntegrityError
from medshare.ids import ParcelId
from medshare.manifest import FileEntry, Manifest
from medshare.packing import ChunkOpener, ChunkPacker, ChunkSealer
from medshare.sealing import ParcelKey, open_manifest, seal_manifest
from medshare.suites.base import Aead, Buffer, Suite
from medshare.suites.intl import INTL
from medshare.suites.signatures import ED25519, signer_from_seed
from tests.builder import (
    CHUNK_SIZE,
    Octets,
    make_identity,
    make_parcel,
    octets,
    open_parcel,
    verify_parcel,
)
from tests.forger import Forgery
from tests.strategies import SIZES, contents, damaged_parcels, file_sets, flipped

A, B, C = (make_identity(name) for name in "abc")
FULL = os.environ.get("FULL_SWEEP") == "1"
Record = Callable[[str, object], None]
DETECTED = (IntegrityError, AuthenticityError, FormatError)
"""The families that end with exit code 3."""


@given(file_sets(), st.integers(1024, 6000), st.sampled_from(Effort), st.booleans())
def test_what_is_sealed_opens(
    files: dict[str, bytes], chunk_size: int, effort: Effort, pad: bool
) -> None:
    """For all files and chunk sizes, both ends open exactly what was sealed."""
    parcel = make_parcel(
        files, sender=A, recipients=[B], chunk_size=chunk_size, effort=effort, pad=pad
    )
    assert list(open_parcel(parcel, B, A.card).items()) == list(files.items())
    assert open_parcel(parcel, A, A.card) == files


@pytest.mark.parametrize(("one", "other"), list(product(SIZES, repeat=2)))
def test_files_of_every_awkward_size_come_back(one: int, other: int) -> None:
    """Two files at and around every boundary of a chunk come back, one after the other."""
    files = {"one": octets("one", one), "other": octets("other", other)}
    parcel = make_parcel(files, sender=A, recipients=[B])
    assert open_parcel(parcel, B, A.card) == files


# --- damage -------------------------------------------------------------------------------

PARCEL = make_parcel(
    {"a": octets("a", 1500), "b": b"compressible " * 90, "c": b""},
    sender=A, recipients=[B, C], label="properties",
)  # fmt: skip
HONEST = Forgery(PARCEL.envelope, PARCEL.manifest, list(PARCEL.chunks), PARCEL.seal)


@given(damaged_parcels(PARCEL))
def test_no_damaged_parcel_opens(parcel: Forgery) -> None:
    """Flip, cut, insert or exchange anything: opening and the public check fail, coded."""
    with pytest.raises(DETECTED):
        open_parcel(parcel, B, A.card)
    with pytest.raises(DETECTED):
        verify_parcel(parcel)


def every_object() -> Iterator[tuple[str, bytes]]:
    """Yield each object of the parcel by name."""
    yield from (("envelope", HONEST.envelope), ("manifest", HONEST.manifest), ("seal", HONEST.seal))
    yield from ((f"chunk {index}", chunk) for index, chunk in enumerate(HONEST.chunks))


def with_object(name: str, data: bytes) -> Forgery:
    """Return the parcel with one object exchanged."""
    if not name.startswith("chunk"):
        return replace(HONEST, **{name: data})  # type: ignore[arg-type]  # not a list of chunks
    index = int(name.removeprefix("chunk "))
    return replace(HONEST, chunks=[*HONEST.chunks[:index], data, *HONEST.chunks[index + 1 :]])


@pytest.mark.parametrize(
    ("name", "data"),
    list(every_object()),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_flipped_bit_in_any_octet_is_noticed(
    name: str, data: bytes, record_property: Record
) -> None:
    """One bit of every octet of the parcel in turn, or all: no check passes."""
    every = range(8 * len(data))
    bits = every if FULL else [8 * place + place * 5 % 8 for place in range(len(data))]
    record_property("figures", {f"bits flipped in a parcel: {name}": len(bits)})
    for bit in bits:
        with pytest.raises(DETECTED):
            verify_parcel(with_object(name, flipped(data, bit)))


def test_every_flipped_bit_of_the_manifest_is_noticed(record_property: Record) -> None:
    """Every single bit of the sealed manifest: it does not open."""
    record_property("figures", {"bits flipped: manifest": 8 * len(HONEST.manifest)})
    for bit in range(8 * len(HONEST.manifest)):
        with pytest.raises(DETECTED):
            open_manifest(flipped(HONEST.manifest, bit), PARCEL.key, PARCEL.facts)


@pytest.mark.parametrize("index", range(len(HONEST.chunks)))
def test_every_flipped_bit_of_a_chunk_is_noticed_twice(index: int, record_property: Record) -> None:
    """Every single bit of every chunk: its signature fails, and so does decryption by itself."""
    record_property("figures", {f"bits flipped: chunk {index}": 8 * len(HONEST.chunks[index])})
    verifier, opener = ChunkVerifier(PARCEL.facts), ChunkOpener(PARCEL.facts, PARCEL.key)
    chunk, out = HONEST.chunks[index], memoryview(bytearray(verifier.max_size))
    for bit in range(8 * len(chunk)):
        changed = memoryview(flipped(chunk, bit))
        with pytest.raises(DETECTED):
            verifier.check(index, changed)
        if bit < 8 * (len(chunk) - SIGNATURE_SIZE):
            with pytest.raises(DETECTED):
                opener.open(changed, out)


@pytest.mark.parametrize(
    ("name", "data"),
    list(every_object()),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_truncation_anywhere_is_noticed(name: str, data: bytes) -> None:
    """Each object cut to every length in steps, and at every boundary inside: refused."""
    boundaries = {0, 1, 12, 28, 43, 44, 60, 108, len(data) - 64, len(data) - 16, len(data) - 1}
    for end in sorted(boundaries | set(range(0, len(data), 37))):
        if 0 <= end < len(data):
            with pytest.raises(DETECTED):
                verify_parcel(with_object(name, data[:end]))


@pytest.mark.parametrize("count", range(len(HONEST.chunks)))
def test_truncation_at_every_chunk_is_noticed(count: int) -> None:
    """A parcel that ends after any number of chunks but all is incomplete."""
    with pytest.raises(IncompleteError):
        verify_parcel(replace(HONEST, chunks=HONEST.chunks[:count]))


@given(st.permutations(range(len(HONEST.chunks))))
def test_no_other_order_of_chunks_opens(order: Sequence[int]) -> None:
    """Chunks open in their own order only."""
    parcel = replace(HONEST, chunks=[HONEST.chunks[index] for index in order])
    if list(order) == sorted(order):
        assert open_parcel(parcel, B, A.card) == PARCEL.files
    else:
        with pytest.raises(IntegrityError):
            open_parcel(parcel, B, A.card)


@given(st.lists(st.sampled_from(["envelope", "manifest", "chunks", "seal"]), unique=True))
def test_two_parcels_never_mix(taken: list[str]) -> None:
    """Objects of two parcels of the same sender, recipient, shape and key: all or nothing."""
    mixed: Octets = replace(HONEST, **{name: getattr(TWIN, name) for name in taken})
    if len(taken) in {0, 4}:
        assert open_parcel(mixed, B, A.card)
    else:
        with pytest.raises(DETECTED):
            open_parcel(mixed, B, A.card)


TWIN = replace(
    make_parcel(
        {"a": octets("A", 1500), "b": b"Compressible " * 90, "c": b""},
        sender=A, recipients=[B, C], label="twin",
    )
)  # fmt: skip


# --- nonces -------------------------------------------------------------------------------


@dataclass(slots=True)
class Recorder:
    """What was encrypted under each key and nonce."""

    seen: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = field(default_factory=dict)
    calls: int = 0

    def note(self, key: bytes, nonce: bytes, data: bytes, aad: bytes) -> None:
        """Fail if *key* and *nonce* have served another plaintext or other associated data."""
        self.calls += 1
        before = self.seen.setdefault((key, nonce), (data, aad))
        if before != (data, aad):
            raise AssertionError("one nonce served two messages")


@dataclass(frozen=True, slots=True)
class RecordingAead:
    """An AEAD that tells the recorder before it encrypts."""

    recorder: Recorder
    key: bytes
    inner: Aead

    def encrypt_into(self, nonce: Buffer, data: Buffer, aad: Buffer, out: memoryview, /) -> int:
        """Encrypt after taking a note."""
        self.recorder.note(self.key, bytes(nonce), bytes(data), bytes(aad))
        return self.inner.encrypt_into(nonce, data, aad, out)

    def decrypt_into(self, nonce: Buffer, data: Buffer, aad: Buffer, out: memoryview, /) -> int:
        """Decrypt."""
        return self.inner.decrypt_into(nonce, data, aad, out)


class RecordingSuite:
    """Suite `intl`, with every encryption recorded."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        return getattr(INTL, name)

    def aead(self, key: bytes) -> Aead:
        """Return the AEAD that records."""
        return RecordingAead(self._recorder, key, INTL.aead(key))


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt to send under the same key: with these files, this effort, these chunks."""

    files: dict[str, bytes]
    effort: Effort
    pad: bool
    chunk_size: int
    order: tuple[int, ...]
    """Numbers that choose chunks, in any order and repeatedly; an interrupted run has few."""


runs = st.builds(
    Run,
    st.fixed_dictionaries({"a": contents(), "b": contents()}),
    st.sampled_from(Effort),
    st.booleans(),
    st.sampled_from([CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE]),
    st.lists(st.integers(0, 99), max_size=6).map(tuple),
)


def seal_all(suite: Suite, attempts: Sequence[Run]) -> None:
    """Seal every attempt under one parcel key, with no rule that a change starts anew."""
    parcel, key = ParcelId(octets("nonce parcel", 16)), ParcelKey(octets("nonce key"))
    signer = signer_from_seed(ED25519, octets("nonce signer"))
    for run in attempts:
        entries = tuple(FileEntry(path, len(data)) for path, data in run.files.items())
        seal_manifest(Manifest(entries), key, suite, parcel)
        layout = Layout([entry.size for entry in entries], run.chunk_size)
        sealer = ChunkSealer(suite, parcel, layout.chunk_count, key, signer)
        packer = ChunkPacker(sealer, layout, effort=run.effort, pad=run.pad)
        stream = b"".join(run.files.values())
        for number in run.order:
            if layout.chunk_count:
                index = number % layout.chunk_count
                start = sum(layout.size(before) for before in range(index))
                packer.plain(index)[:] = stream[start : start + layout.size(index)]
                packer.pack(index)


def run_of(*, after: bytes = b"", effort: Effort = Effort.BALANCED) -> Run:
    """Return a run of one chunk that is always the same, and what follows it."""
    files = {"a": octets("first chunk", CHUNK_SIZE), "b": after}
    return Run(files, effort, pad=False, chunk_size=CHUNK_SIZE, order=(0,))


@given(st.lists(runs, min_size=1, max_size=5))
@example([run_of(), run_of(after=b"another chunk, so that the first is not the last")])
@example([run_of(), run_of(effort=Effort.SMALLEST), run_of(effort=Effort.FASTEST)])
@settings(max_examples=100)
def test_no_nonce_serves_two_messages(attempts: list[Run]) -> None:
    """Under one key, no nonce meets two plaintexts or headers, whatever changes between runs."""
    # Runs are interrupted, repeated, reordered, compressed otherwise, padded, cut into other
    # chunks, or made of other files, as after a crash or in two processes at once.
    recorder = Recorder()
    seal_all(RecordingSuite(recorder), attempts)
    assert recorder.calls >= len(attempts)


def test_two_encodings_of_one_plaintext_share_no_nonce() -> None:
    """Another version of a codec may write other octets of the same length: another nonce."""
    recorder = Recorder()
    suite = RecordingSuite(recorder)
    signer = signer_from_seed(ED25519, octets("nonce signer"))
    sealer = ChunkSealer(
        suite, ParcelId(octets("nonce parcel", 16)), 1, ParcelKey(bytes(32)), signer
    )
    for encoded in (b"one encoding!", b"another one!!"):
        payload = memoryview(bytearray(max_payload_size(CHUNK_SIZE)))
        payload[: len(encoded)] = encoded
        size = close_payload(
            payload, encoded_size=len(encoded), plain_size=99, codec=ZSTD, digests=[bytes(32)]
        )
        sealer.seal(0, payload[:size], memoryview(bytearray(max_sealed_size(CHUNK_SIZE))))
    assert len(recorder.seen) == recorder.calls == 2


def test_a_change_of_one_bit_changes_the_nonce() -> None:
    """Two runs that differ in one bit of a file, of either codec, share no nonce for that chunk."""
    for content in (octets("noise", 900), b"compressible " * 70):
        recorder = Recorder()
        for bit in (None, 0, 7, 3999, 7199):
            data = content if bit is None else flipped(content, bit)
            run = Run({"a": data, "b": b""}, Effort.BALANCED, False, CHUNK_SIZE, (0,))
            seal_all(RecordingSuite(recorder), [run])
        assert len(recorder.seen) == 10


def test_the_same_chunk_again_uses_the_same_nonce() -> None:
    """A repeated run encrypts nothing new but its manifest."""
    recorder = Recorder()
    run = Run({"a": octets("a", 3000), "b": b""}, Effort.BALANCED, False, CHUNK_SIZE, (0, 1, 2))
    seal_all(RecordingSuite(recorder), [run, run, run])
    assert recorder.calls == 12
    assert len(recorder.seen) == 3 + 3


def test_the_recorder_notices_a_counter() -> None:
    """With the chunk's number as its nonce, a changed file would be noticed as reuse."""
    recorder = Recorder()
    aead = RecordingSuite(recorder).aead(octets("key"))
    nonce = (0).to_bytes(12)
    for data in (b"before", b"before"):
        aead.encrypt_into(nonce, data, b"", memoryview(bytearray(22)))
    with pytest.raises(AssertionError):
        aead.encrypt_into(nonce, b"after!", b"", memoryview(bytearray(22)))
    with pytest.raises(AssertionError):
        aead.encrypt_into(nonce, b"before", b"other header", memoryview(bytearray(22)))
