"""Parcels through a folder: what is stored is verified, what is damaged is asked for again."""

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from medshare.envelope import encode_envelope
from medshare.errors import (
    IntegrityError,
    NotFoundError,
    RelayRefusedError,
    TransferError,
)
from medshare.ids import ParcelId, StationId
from medshare.transport.base import Stored
from medshare.transport.folder import FolderTransport
from tests.builder import (
    CREATED,
    make_parcel,
    make_receipt,
    make_seal,
)
from tests.folder_case import ALICE, BOB, CAROL, FILES, OTHER, PARCEL, UNKNOWN, Case


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """An empty folder."""
    return Case(tmp_path / "share")


def test_everything_comes_back(case: Case) -> None:
    """Envelope, manifest, chunks, seal and receipt are read as they were stored."""
    case.upload()
    receipt = make_receipt(PARCEL, BOB)
    case.b.put_receipt(PARCEL.id, BOB.station, receipt)
    assert case.b.get_envelope(PARCEL.id) == PARCEL.envelope
    assert case.b.get_manifest(PARCEL.id, size=len(PARCEL.manifest)) == PARCEL.manifest
    assert [case.chunk(n) for n in range(len(PARCEL.chunks))] == PARCEL.chunks
    assert case.b.get_seal(PARCEL.id) == PARCEL.seal
    assert case.a.get_receipt(PARCEL.id, BOB.station) == receipt
    stored = case.b.stored(PARCEL.id)
    assert [record.digest for record in stored.chunks] == list(PARCEL.sealed.chunks)
    assert (stored.sealed, stored.receipts, stored.wanted) == (True, (BOB.station,), ())
    assert case.a.route == f"folder {case.root}"


def test_everything_may_be_stored_again(case: Case) -> None:
    """Announcing, storing and sealing twice is success and changes nothing."""
    case.upload()
    before = case.b.stored(PARCEL.id)
    case.upload()
    assert case.b.stored(PARCEL.id) == before


READS: dict[str, Callable[[FolderTransport], object]] = {
    "envelope": lambda t: t.get_envelope(UNKNOWN),
    "manifest": lambda t: t.get_manifest(UNKNOWN, size=10),
    "seal": lambda t: t.get_seal(UNKNOWN),
    "receipt": lambda t: t.get_receipt(UNKNOWN, BOB.station),
    "chunk": lambda t: t.get_chunk(UNKNOWN, 0, memoryview(bytearray(9))),
    "state": lambda t: t.stored(UNKNOWN),
    "want": lambda t: t.want_chunks(UNKNOWN, (0,)),
    "put chunk": lambda t: t.put_chunk(UNKNOWN, 0, memoryview(PARCEL.chunks[0])),
    "put seal": lambda t: t.put_seal(UNKNOWN, PARCEL.seal),
    "put receipt": lambda t: t.put_receipt(UNKNOWN, BOB.station, b"x"),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_an_unknown_parcel_is_not_found(
    case: Case, read: Callable[[FolderTransport], object]
) -> None:
    """Everything about a parcel that was never announced is NotFoundError; nothing is made."""
    case.announce()
    with pytest.raises(NotFoundError):
        read(case.b)
    assert [path.name for path in case.root.iterdir()] == [PARCEL.id.hex()]


def test_what_has_not_come_yet_is_not_found(case: Case) -> None:
    """A chunk, seal or receipt that is not there yet is NotFoundError, not damage."""
    case.announce()
    with pytest.raises(NotFoundError):
        case.chunk(0)
    with pytest.raises(NotFoundError):
        case.b.get_seal(PARCEL.id)
    with pytest.raises(NotFoundError):
        case.a.get_receipt(PARCEL.id, BOB.station)


def test_a_parcel_id_belongs_to_the_first_envelope(case: Case) -> None:
    """Another envelope under the same id is refused, and the first one stays."""
    case.announce()
    twin = make_parcel({"x": b"y"}, sender=CAROL, recipients=[BOB])
    assert twin.id == PARCEL.id
    with pytest.raises(RelayRefusedError, match="another envelope") as caught:
        case.announce(twin)
    assert caught.value.code == "transfer.refused.conflict"
    assert case.b.get_envelope(PARCEL.id) == PARCEL.envelope


def test_an_envelope_is_checked_before_it_is_stored(case: Case) -> None:
    """Malformed: refused; altered, or with another manifest or id: not what was sealed."""
    with pytest.raises(RelayRefusedError):
        case.a.announce(PARCEL.id, b"garbage", PARCEL.manifest)
    altered = bytearray(PARCEL.envelope)
    altered[-1] ^= 1
    for envelope, manifest, parcel in (
        (bytes(altered), PARCEL.manifest, PARCEL.id),
        (PARCEL.envelope, OTHER.manifest, PARCEL.id),
        (PARCEL.envelope, PARCEL.manifest, OTHER.id),
    ):
        with pytest.raises(IntegrityError):
            case.a.announce(parcel, envelope, manifest)
    assert not case.root.exists()


def test_a_chunk_is_checked_before_it_is_stored(case: Case) -> None:
    """Damaged, cut, in the wrong place or of another parcel: refused, and nothing is stored."""
    case.announce()
    good = PARCEL.chunks[1]
    damaged = bytearray(good)
    damaged[60] ^= 1
    for octets_ in (bytes(damaged), good[:-1], good + b"x", b"", PARCEL.chunks[0], OTHER.chunks[1]):
        with pytest.raises(IntegrityError):
            case.a.put_chunk(PARCEL.id, 1, memoryview(octets_))
    assert case.b.stored(PARCEL.id).chunks == ()


def other_chunk(index: int) -> memoryview:
    """Return a good chunk for a place of PARCEL, with other content than PARCEL has there."""
    twin = make_parcel(
        {path: data[::-1] for path, data in FILES.items()}, sender=ALICE, recipients=[BOB]
    )
    return memoryview(twin.chunks[index])


def test_a_good_chunk_is_not_replaced_by_another(case: Case) -> None:
    """Two good chunks for one place: the first stays, unless the folder's copy is damaged."""
    case.announce()
    case.a.put_chunk(PARCEL.id, 0, memoryview(PARCEL.chunks[0]))
    with pytest.raises(RelayRefusedError, match="another chunk 0"):
        case.a.put_chunk(PARCEL.id, 0, other_chunk(0))
    assert case.chunk(0) == PARCEL.chunks[0]
    case.damage(0)
    case.a.put_chunk(PARCEL.id, 0, other_chunk(0))
    assert case.chunk(0) == bytes(other_chunk(0))


def test_a_sealed_place_takes_the_sealed_chunk_only(case: Case) -> None:
    """After the seal, even a damaged chunk is replaced by the sealed one alone."""
    case.upload()
    case.damage(0)
    with pytest.raises(RelayRefusedError, match="not the one that was sealed"):
        case.a.put_chunk(PARCEL.id, 0, other_chunk(0))
    case.a.put_chunk(PARCEL.id, 0, memoryview(PARCEL.chunks[0]))
    assert case.chunk(0) == PARCEL.chunks[0]


def test_a_seal_needs_every_chunk(case: Case) -> None:
    """While chunks are missing, the seal is refused and the parcel is not sealed."""
    case.announce()
    for index, chunk in enumerate(PARCEL.chunks[:-1]):
        case.a.put_chunk(PARCEL.id, index, memoryview(chunk))
    with pytest.raises(RelayRefusedError, match="1 chunks are missing"):
        case.a.put_seal(PARCEL.id, PARCEL.seal)
    assert not case.b.stored(PARCEL.id).sealed


def test_a_seal_is_the_senders_over_these_chunks(case: Case) -> None:
    """A seal of another parcel, another signer or other chunks is refused; a second one too."""
    case.announce()
    for index, chunk in enumerate(PARCEL.chunks):
        case.a.put_chunk(PARCEL.id, index, memoryview(chunk))
    digests = list(PARCEL.sealed.chunks)
    forged = PARCEL.seal[:-1] + bytes([PARCEL.seal[-1] ^ 1])
    _, reordered = make_seal(PARCEL.facts, digests[::-1], ALICE.signers)
    for seal in (OTHER.seal, forged, reordered):
        with pytest.raises(IntegrityError):
            case.a.put_seal(PARCEL.id, seal)
    with pytest.raises(RelayRefusedError):
        case.a.put_seal(PARCEL.id, b"garbage")
    case.a.put_seal(PARCEL.id, PARCEL.seal)
    assert case.b.get_seal(PARCEL.id) == PARCEL.seal


def test_damage_in_the_folder_is_asked_for_again(case: Case) -> None:
    """`want` drops a bad copy and leaves a good one; storing it anew fulfils the wish."""
    case.upload()
    case.damage(2)
    case.chunk_file(3).unlink()
    case.b.want_chunks(PARCEL.id, (1, 2, 3))
    stored = case.a.stored(PARCEL.id)
    assert stored.wanted == (2, 3)
    assert [record.index for record in stored.chunks] == [0, 1, 4]
    for index in stored.wanted:
        case.a.put_chunk(PARCEL.id, index, memoryview(PARCEL.chunks[index]))
    stored = case.b.stored(PARCEL.id)
    assert stored.wanted == ()
    assert len(stored.chunks) == len(PARCEL.chunks)
    with pytest.raises(RelayRefusedError, match="no such chunk"):
        case.b.want_chunks(PARCEL.id, (len(PARCEL.chunks),))


def test_a_chunk_too_large_for_the_buffer_is_refused(case: Case) -> None:
    """Somebody appended to a chunk in the folder: TransferError, and no more octets than room."""
    case.upload()
    with case.chunk_file(0).open("ab") as file:
        file.write(bytes(1 << 20))
    with pytest.raises(TransferError, match="larger"):
        case.chunk(0)


def test_records_may_be_lost(case: Case) -> None:
    """Without the list of records, it is made anew from the chunks; a damaged one is missing."""
    case.upload()
    before = case.b.stored(PARCEL.id)
    (case.root / PARCEL.id.hex() / "records").unlink()
    case.damage(1)
    stored = case.b.stored(PARCEL.id)
    assert stored.chunks == tuple(record for record in before.chunks if record.index != 1)
    assert case.b.stored(PARCEL.id) == stored


def test_a_copied_parcel_is_a_parcel(case: Case, tmp_path: Path) -> None:
    """Envelope, manifest, chunks and seal alone, copied by hand, can be received."""
    case.upload()
    source, target = case.root / PARCEL.id.hex(), tmp_path / "stick" / PARCEL.id.hex()
    for name in ("envelope", "manifest", "seal"):
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, target)
    shutil.copytree(source / "chunks", target / "chunks")
    stick = FolderTransport(tmp_path / "stick", BOB.station)
    assert stick.inbox() == (PARCEL.id,)
    assert len(stick.stored(PARCEL.id).chunks) == len(PARCEL.chunks)
    stick.want_chunks(PARCEL.id, (0,))
    stick.put_receipt(PARCEL.id, BOB.station, b"receipt")
    assert stick.inbox() == ()


# --- inbox and receipts -----------------------------------------------------------------


def test_the_inbox_lists_what_waits_for_this_station(case: Case) -> None:
    """Addressed to it, announced with manifest, not receipted; oldest first."""
    assert case.b.inbox() == ()
    case.upload()
    case.announce(OTHER)
    assert set(case.b.inbox()) == {PARCEL.id, OTHER.id}
    assert case.a.inbox() == ()
    assert FolderTransport(case.root, CAROL.station).inbox() == ()
    case.b.put_receipt(PARCEL.id, BOB.station, b"receipt")
    assert case.b.inbox() == (OTHER.id,)
    (case.root / OTHER.id.hex() / "manifest").unlink()
    assert case.b.inbox() == ()


def test_a_sender_who_is_the_only_recipient_receives(case: Case) -> None:
    """A parcel to oneself is in one's own inbox."""
    own = make_parcel(FILES, sender=ALICE, recipients=[], label="own")
    case.announce(own)
    assert case.a.inbox() == (own.id,)


def test_a_damaged_parcel_does_not_hide_the_others(case: Case) -> None:
    """Garbage, strangers and links beside a parcel are overlooked by the inbox."""
    case.upload()
    (case.root / ("ab" * 16)).mkdir()
    (case.root / ("cd" * 16)).mkdir()
    (case.root / ("cd" * 16) / "envelope").write_bytes(b"garbage")
    (case.root / ("ef" * 16)).symlink_to(case.root / PARCEL.id.hex())
    (case.root / "holiday.jpg").write_bytes(b"x")
    shutil.copytree(case.root / PARCEL.id.hex(), case.root / ("01" * 16))
    assert case.b.inbox() == (PARCEL.id,)
    with pytest.raises(IntegrityError, match="another parcel"):
        case.b.stored(ParcelId(bytes.fromhex("01" * 16)))


def test_what_has_expired_waits_no_more(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `delete_after` a parcel has left the inbox."""
    facts, envelope = encode_envelope(
        replace(PARCEL.facts, delete_after=CREATED + 9), ALICE.signers
    )
    case.a.announce(facts.parcel, envelope, PARCEL.manifest)
    now = [float(CREATED)]
    bob = FolderTransport(case.root, BOB.station, clock=lambda: now[0])
    assert bob.inbox() == (PARCEL.id,)
    now[0] += 9
    assert bob.inbox() == ()


def test_receipts_are_for_recipients_of_sealed_parcels(case: Case) -> None:
    """No receipt before the seal, none of a stranger or the sender, none beyond the bound."""
    case.announce()
    with pytest.raises(RelayRefusedError, match="no seal"):
        case.b.put_receipt(PARCEL.id, BOB.station, b"early")
    case.upload()
    for station in (CAROL.station, ALICE.station):
        with pytest.raises(RelayRefusedError, match="not addressed"):
            case.b.put_receipt(PARCEL.id, station, b"x")
    with pytest.raises(RelayRefusedError, match="too large"):
        case.b.put_receipt(PARCEL.id, BOB.station, bytes((16 << 20) + 1))
    assert case.a.stored(PARCEL.id).receipts == ()


# --- waiting ----------------------------------------------------------------------------


def test_news_ends_the_wait(case: Case) -> None:
    """A waiting side wakes up soon after the other one has stored something."""
    case.announce()
    known = case.b.stored(PARCEL.id)
    thread = threading.Timer(0.1, case.a.put_chunk, (PARCEL.id, 0, memoryview(PARCEL.chunks[0])))
    thread.start()
    found = case.b.wait_for_news(PARCEL.id, known, seconds=60)
    thread.join()
    assert [record.index for record in found.chunks] == [0]


def test_without_news_the_wait_ends(case: Case) -> None:
    """When nothing changes, what is there is returned after the time asked for."""
    case.announce()
    known = case.b.stored(PARCEL.id)
    began = time.monotonic()
    assert case.b.wait_for_news(PARCEL.id, known, seconds=0.2) == known
    assert time.monotonic() - began >= 0.2
    other = Stored((), sealed=True, receipts=(StationId(bytes(32)),), wanted=())
    assert case.b.wait_for_news(PARCEL.id, other, seconds=60) == known
