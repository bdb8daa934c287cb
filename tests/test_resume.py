"""Journal records: what they add up to, and what malformed ones do."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical
from medshare.digest import Digest
from medshare.errors import FormatError, MedshareError
from medshare.resume import (
    Accepted,
    Begun,
    ChunkDone,
    ChunkLost,
    FileHashed,
    Reached,
    Record,
    Synced,
    parse_record,
    replay,
)

digests = st.binary(min_size=32, max_size=32).map(Digest)
small = st.integers(0, 1000)
records: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        Begun,
        request=digests,
        sources=st.lists(st.one_of(st.text(max_size=20), st.integers(0, 2**64 - 1))),
        chunk_seed=st.binary(max_size=64),
    ),
    st.builds(Accepted, output=st.text(max_size=50), envelope=digests, boot=st.text(max_size=10)),
    st.builds(
        ChunkDone,
        index=small,
        digest=digests,
        pieces=st.integers(0, 3).flatmap(lambda n: st.binary(min_size=32 * n, max_size=32 * n)),
    ),
    st.builds(FileHashed, index=small, digest=digests),
    st.builds(ChunkLost, index=small),
    st.builds(Synced, boot=st.text(max_size=10), records=small),
    st.builds(
        Reached,
        milestone=st.sampled_from(["sealed", "placing", "placed", "receipted", "abandoned"]),
    ),
)
ONE = Digest(b"1" * 32)


@given(records)
def test_records_round_trip(record: Record) -> None:
    """Every record reads back as it was written."""
    assert parse_record(record.encode()) == record


@given(st.binary(max_size=200))
def test_only_format_errors_escape(data: bytes) -> None:
    """Whatever a damaged journal holds, reading it raises nothing but our own errors."""
    with suppress(MedshareError):
        parse_record(data)


@given(record=records, at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_mutated_records_never_crash(record: Record, at: int, bit: int) -> None:
    """A flipped bit in a record gives another record or a coded refusal."""
    data = bytearray(record.encode())
    data[at % len(data)] ^= 1 << bit
    with suppress(MedshareError):
        parse_record(bytes(data))


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "unheard-of"},
        {"kind": "chunk", "index": 1, "digest": b"x", "pieces": b""},
        {"kind": "chunk", "index": 1, "digest": bytes(32), "pieces": b"cut"},
        {"kind": "chunk", "index": 1 << 40, "digest": bytes(32), "pieces": b""},
        {"kind": "reached", "milestone": "sealed", "more": 1},
        {"kind": "synced"},
        [],
    ],
)
def test_malformed_records_are_refused(value: canonical.Value) -> None:
    """Each way in which a record can be wrong is a FormatError."""
    with pytest.raises(FormatError):
        parse_record(canonical.encode(value))


def _replay(*items: Record, boot: str | None = None) -> set[int]:
    return set(replay((item.encode() for item in items), boot=boot).chunks)


def test_chunks_written_in_this_boot_are_trusted() -> None:
    """Without a loss of power, the page cache still has what the journal claims."""
    begun = Accepted("out", ONE, "boot-1")
    assert _replay(begun, ChunkDone(0, ONE, b""), boot="boot-1") == {0}


def test_after_a_reboot_only_synced_chunks_are_trusted() -> None:
    """A loss of power may have taken what was written but not made durable."""
    items = (
        Accepted("out", ONE, "boot-1"),
        ChunkDone(0, ONE, b""),
        ChunkDone(1, ONE, b""),
        Synced("boot-1", 1),
        ChunkDone(2, ONE, b""),
    )
    assert _replay(*items, boot="boot-2") == {0}


def test_without_a_boot_id_only_synced_chunks_are_trusted() -> None:
    """A system that cannot tell its boots apart gets no benefit of the doubt."""
    items = (
        Accepted("out", ONE, ""),
        ChunkDone(0, ONE, b""),
        Synced("", 1),
        ChunkDone(1, ONE, b""),
    )
    assert _replay(*items, boot="") == {0}


def test_a_sender_trusts_its_records_in_any_boot() -> None:
    """What the far side confirmed does not depend on this machine's disk cache."""
    begun = Begun(ONE, [], b"seed")
    assert _replay(begun, ChunkDone(0, ONE, b"")) == {0}


def test_a_lost_chunk_takes_file_digests_with_it() -> None:
    """When a chunk must come again, no file counts as read back."""
    items = (Accepted("out", ONE, "b"), ChunkDone(0, ONE, b""), FileHashed(0, ONE), ChunkLost(0))
    history = replay((item.encode() for item in items), boot="b")
    assert not history.chunks
    assert not history.files
    assert history.recorded == 1
