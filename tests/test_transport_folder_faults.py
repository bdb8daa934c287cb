"""Parcels through a folder: crashes, full and write-protected sticks, links, a whole journey."""

import os
from pathlib import Path

import pytest

from medshare.errors import MedshareError, NotFoundError, StorageError
from medshare.sharing.receive import receive
from medshare.sharing.send import SendOptions, send
from medshare.transport.folder import FolderTransport
from tests.builder import CHUNK_SIZE
from tests.fault import Killed, count_changes, killed_at
from tests.folder_case import BOB, FILES, PARCEL, Case
from tests.people import make_person


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """An empty folder."""
    return Case(tmp_path / "share")


def test_a_crash_at_any_step_is_repaired_by_storing_again(tmp_path: Path) -> None:
    """Killed at any change of the folder, nothing half is readable, and a second run completes."""
    steps = count_changes(lambda: Case(tmp_path / "count").upload())
    assert steps > 40
    for step in range(1, steps + 1, 3):
        case = Case(tmp_path / str(step))
        with killed_at(step), pytest.raises(Killed):
            case.upload()
        case = Case(tmp_path / str(step))
        for index in range(len(PARCEL.chunks)):
            try:
                assert case.chunk(index) == PARCEL.chunks[index]
            except NotFoundError:
                continue
        case.upload()
        assert case.b.inbox() == (PARCEL.id,)
        assert len(case.b.stored(PARCEL.id).chunks) == len(PARCEL.chunks)


def test_a_full_stick_is_a_storage_error(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC is told as such, nothing half is there, and the same step works with room again."""
    case.announce()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageError, match="the disk is full"):
            case.a.put_chunk(PARCEL.id, 0, memoryview(PARCEL.chunks[0]))
    assert case.b.stored(PARCEL.id).chunks == ()
    case.a.put_chunk(PARCEL.id, 0, memoryview(PARCEL.chunks[0]))
    assert len(case.b.stored(PARCEL.id).chunks) == 1


def test_reading_needs_no_writing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write-protected stick can be read, even when it has no list of records."""
    case.upload()
    (case.root / PARCEL.id.hex() / "records").unlink()

    def refuse(*_: object, **__: object) -> int:
        raise OSError(30, "Read-only file system")

    for name in ("write", "pwrite", "mkdir", "rename", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    assert len(case.b.stored(PARCEL.id).chunks) == len(PARCEL.chunks)
    assert case.chunk(0) == PARCEL.chunks[0]
    with pytest.raises(StorageError, match="read-only"):
        case.b.put_receipt(PARCEL.id, BOB.station, b"receipt")


def test_links_in_the_shared_folder_are_not_followed(case: Case, tmp_path: Path) -> None:
    """A parcel, or its parts, exchanged for links by others at the share: refused."""
    case.upload()
    (tmp_path / "secret").write_bytes(b"secret")
    case.chunk_file(0).unlink()
    case.chunk_file(0).symlink_to(tmp_path / "secret")
    with pytest.raises(StorageError, match="symbolic link"):
        case.chunk(0)
    (case.root / PARCEL.id.hex()).rename(tmp_path / "moved")
    (case.root / PARCEL.id.hex()).symlink_to(tmp_path / "moved")
    with pytest.raises(MedshareError):
        case.b.get_envelope(PARCEL.id)


@pytest.mark.parametrize("part", ["envelope", "manifest", "seal"])
@pytest.mark.parametrize("damage", ["a bit rots", "the end is lost", "the file is gone"])
def test_what_a_stick_damages_is_mended_by_sending_again(
    case: Case, part: str, damage: str
) -> None:
    """A damaged envelope, manifest or seal gives way to the sender's own."""
    case.upload()
    path = case.root / PARCEL.id.hex() / part
    whole = path.read_bytes()
    if damage == "the file is gone":
        path.unlink()
    else:
        half = len(whole) // 2
        path.write_bytes(
            whole[:half]
            if damage == "the end is lost"
            else whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]
        )
    case.upload()
    assert path.read_bytes() == whole


def test_a_study_travels_on_a_stick(tmp_path: Path) -> None:
    """Sent into the folder by one station, received from it by another, receipt and all."""
    alice, bob = make_person(tmp_path / "a", "Alice"), make_person(tmp_path / "b", "Bob")
    alice.trust(bob, "bob")
    bob.trust(alice, "alice")
    study = tmp_path / "study"
    study.mkdir()
    for name, data in FILES.items():
        (study / name.rpartition("/")[2]).write_bytes(data)
    stick = tmp_path / "stick"

    def deliver(wait: float) -> int:
        sent = send(
            [study],
            to=[alice.station.contacts.named("bob")],
            identity=alice.identity,
            station=alice.station,
            transport=FolderTransport(stick, alice.station.id),
            options=SendOptions(chunk_size=CHUNK_SIZE, wait=wait),
        )
        return len(sent.receipts)

    assert deliver(0) == 0
    reader = FolderTransport(stick, bob.station.id)
    (parcel,) = reader.inbox()
    receive(
        parcel,
        identity=bob.identity,
        station=bob.station,
        transport=reader,
        output=tmp_path / "out",
    )
    assert {p.name: p.read_bytes() for p in (tmp_path / "out/study").iterdir()} == {
        "1": FILES["study/1"],
        "2": FILES["study/2"],
    }
    assert deliver(5) == 1
