"""Parcels through a folder: what is stored is verified, what is damaged is asked for again."""

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from medshare.envelope import encode_envelope
from medshare.errors import (
    IntegrityError,
    RelayRefusedError,
    TransferError,
)
from medshare.ids import ParcelId, StationId
from medshare.transport.base import Stored, Transport
from medshare.transport.folder import FolderTransport
from tests.builder import (
    CREATED,
    Identity,
    make_parcel,
)
from tests.folder_case import ALICE, BOB, CAROL, FILES, OTHER, PARCEL, Case
from tests.suites.transport_suite import TransportSuite


class Far:
    """A folder that the contract's stations share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def transport(self, identity: Identity) -> Transport:
        """Return the folder as *identity* sees it."""
        return FolderTransport(self.root, identity.station)

    def chunk(self, parcel: ParcelId, index: int) -> Path:
        """Return the file that holds a chunk."""
        return self.root / parcel.hex() / "chunks" / f"{index:08d}"


class TestFolderTransport(TransportSuite):
    """A plain folder keeps the contract of all transports."""

    @pytest.fixture
    def far(self, tmp_path: Path) -> Far:
        """An empty folder."""
        return Far(tmp_path / "share")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """An empty folder."""
    return Case(tmp_path / "share")


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


def test_an_empty_inbox_can_be_stayed_at(case: Case) -> None:
    """Waiting ends with the first parcel, or with the time."""
    assert case.b.inbox(seconds=0.1) == ()
    later = threading.Timer(0.2, case.upload)
    later.start()
    assert case.b.inbox(seconds=10.0) == (PARCEL.id,)
    later.join()


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


def test_without_news_the_wait_ends(case: Case) -> None:
    """When nothing changes, what is there is returned after the time asked for."""
    case.announce()
    known = case.b.stored(PARCEL.id)
    began = time.monotonic()
    assert case.b.wait_for_news(PARCEL.id, known, seconds=0.2) == known
    assert time.monotonic() - began >= 0.2
    other = Stored((), sealed=True, receipts=(StationId(bytes(32)),), wanted=())
    assert case.b.wait_for_news(PARCEL.id, other, seconds=60) == known
