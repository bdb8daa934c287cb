"""Parcel folders: the layout, bounded, durable, and safe from what interrupted writing left."""

import os
import stat
import time
from pathlib import Path

import pytest

from medshare.chunk import SIGNATURE_SIZE
from medshare.digest import Digest
from medshare.disk.parcels import ParcelFolder
from medshare.envelope import MAX_ENVELOPE_SIZE, ChunkRecord
from medshare.errors import LimitError, NotFoundError, StorageError, TransferError
from medshare.ids import StationId
from medshare.sharing.verify import verify_parcel
from tests.builder import make_identity, make_parcel, octets, write_folder

STATION = StationId(bytes(range(32)))


def record(index: int, label: str = "") -> ChunkRecord:
    """Return a record that proves nothing."""
    return ChunkRecord(
        index, Digest(octets(f"digest {index}{label}")), octets("signature", SIGNATURE_SIZE)
    )


@pytest.fixture
def folder(tmp_path: Path) -> ParcelFolder:
    """An empty parcel folder."""
    made = ParcelFolder(tmp_path / "parcel")
    made.make()
    return made


def read_chunk(folder: ParcelFolder, index: int, room: int = 100) -> bytes:
    """Return a chunk that fits into *room* octets."""
    view = memoryview(bytearray(room))
    return bytes(view[: folder.read_chunk(index, view)])


def test_parts_come_back(folder: ParcelFolder) -> None:
    """Each part is read as it was written, and listed."""
    assert folder.write_envelope(b"envelope")
    folder.write_manifest(b"manifest")
    folder.write_chunk(record(7), memoryview(b"seven"))
    folder.write_chunk(record(3), memoryview(b"three"))
    folder.write_receipt(STATION, b"receipt")
    assert (folder.has_manifest(), folder.has_seal()) == (True, False)
    assert folder.write_seal(b"seal")
    assert folder.read_envelope() == b"envelope"
    assert folder.read_manifest() == b"manifest"
    assert folder.read_seal() == b"seal"
    assert folder.read_receipt(STATION) == b"receipt"
    assert read_chunk(folder, 7) == b"seven"
    assert folder.chunk_indexes() == [3, 7]
    assert folder.receipts() == (STATION,)
    assert folder.records() == {3: record(3), 7: record(7)}
    assert folder.record(7) == record(7)
    assert folder.has_seal()


def test_envelope_and_seal_are_for_good(folder: ParcelFolder) -> None:
    """A second envelope or seal changes nothing; manifest and receipts can be written again."""
    for write, read in (
        (folder.write_envelope, folder.read_envelope),
        (folder.write_seal, folder.read_seal),
    ):
        assert write(b"first")
        assert not write(b"second")
        assert read() == b"first"
    folder.write_receipt(STATION, b"first")
    folder.write_receipt(STATION, b"second")
    assert folder.read_receipt(STATION) == b"second"


def test_what_is_not_there_is_not_found(folder: ParcelFolder, tmp_path: Path) -> None:
    """Every read says NotFoundError for a part, or a parcel, that does not exist."""
    for one in (folder, ParcelFolder(tmp_path / "nowhere")):
        with pytest.raises(NotFoundError, match="the envelope is not in the parcel folder"):
            one.read_envelope()
        with pytest.raises(NotFoundError):
            one.read_seal()
        with pytest.raises(NotFoundError):
            one.read_receipt(STATION)
        with pytest.raises(NotFoundError):
            read_chunk(one, 0)
    with pytest.raises(NotFoundError):
        ParcelFolder(tmp_path / "nowhere").has_seal()


def test_a_wanted_chunk_is_wanted_until_it_comes(folder: ParcelFolder) -> None:
    """Asking, dropping and storing a chunk again keep list, record and file together."""
    folder.write_chunk(record(1), memoryview(b"damaged"))
    folder.want(1)
    folder.want(1)
    folder.drop_chunk(1)
    folder.drop_chunk(1)
    assert (folder.wanted(), folder.chunk_indexes(), folder.records()) == ((1,), [], {})
    folder.write_chunk(record(1, "new"), memoryview(b"intact"))
    assert (folder.wanted(), folder.records()) == ((), {1: record(1, "new")})


def test_records_that_are_torn_or_misplaced_are_ignored(folder: ParcelFolder) -> None:
    """A record that a crash cut, or that stands in another's place, is no record."""
    for index in range(3):
        folder.write_chunk(record(index), memoryview(b"x"))
    path = folder.path / "records"
    whole = path.read_bytes()
    size = len(whole) // 3
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert set(folder.records()) == set(range(length // size))
    path.write_bytes(whole[size : 2 * size] + whole[:size] + whole[2 * size :])
    assert set(folder.records()) == {2}
    path.unlink()
    assert folder.records() == {}
    assert folder.record(2) is None


def test_reading_is_bounded(folder: ParcelFolder) -> None:
    """More octets than the format or the buffer allows are refused, not read."""
    (folder.path / "envelope").touch()
    os.truncate(folder.path / "envelope", MAX_ENVELOPE_SIZE + 1)
    with pytest.raises(LimitError):
        folder.read_envelope()
    folder.write_manifest(b"12345")
    with pytest.raises(LimitError):
        folder.read_manifest(limit=4)
    folder.write_chunk(record(0), memoryview(b"12345"))
    assert read_chunk(folder, 0, 5) == b"12345"
    with pytest.raises(TransferError, match="larger than its parcel allows"):
        read_chunk(folder, 0, 4)


def test_other_names_are_overlooked(folder: ParcelFolder) -> None:
    """What does not have the name of a chunk or receipt is neither listed nor in the way."""
    for name in ("0000000", "000000001", "0000000x", "99999999", ".medshare-0.tmp", "..."):
        (folder.path / "chunks" / name).write_bytes(b"x")
        (folder.path / "receipts" / name).write_bytes(b"x")
    assert folder.chunk_indexes() == []
    assert folder.receipts() == ()


def test_unfinished_files_are_removed_when_they_are_old(folder: ParcelFolder) -> None:
    """`make` clears what crashes left, an hour later, and leaves what is being written."""
    old = time.time() - 7200
    for place in ("", "chunks", "receipts"):
        for name in ("old", "new"):
            path = folder.path / place / f".medshare-{name}.tmp"
            path.write_bytes(b"x")
            if name == "old":
                os.utime(path, (old, old))
    os.utime(folder.path / "chunks", (old, old))
    folder.make()
    found = sorted(str(p.relative_to(folder.path)) for p in folder.path.rglob("*.tmp"))
    assert found == [
        ".medshare-new.tmp", "chunks/.medshare-new.tmp", "receipts/.medshare-new.tmp",
    ]  # fmt: skip


@pytest.mark.parametrize(("shared", "file", "inner"), [(False, 0o600, 0o700), (True, 0o644, 0o755)])
def test_modes(tmp_path: Path, shared: bool, file: int, inner: int) -> None:
    """A parcel folder is private, or as open as the umask says."""
    folder = ParcelFolder(tmp_path / "parcel", shared=shared)
    folder.make()
    folder.write_envelope(b"x")
    folder.write_chunk(record(0), memoryview(b"x"))
    for path in [folder.path, *folder.path.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (inner if path.is_dir() else file)


def test_a_parcel_that_is_a_link_is_refused_where_links_are_not_followed(tmp_path: Path) -> None:
    """`follow` decides about the parcel's own name."""
    write_folder(
        make_parcel({"a": b"x"}, sender=make_identity("a"), recipients=[]), tmp_path / "real"
    )
    (tmp_path / "link").symlink_to("real")
    assert ParcelFolder(tmp_path / "link").has_seal()
    with pytest.raises(StorageError, match="not a folder, or is a link"):
        ParcelFolder(tmp_path / "link", follow=False).has_seal()


def test_a_parcel_folder_verifies(tmp_path: Path) -> None:
    """A folder written part by part through here is a parcel that `verify` finds whole."""
    parcel = make_parcel({"a": octets("a", 5000)}, sender=make_identity("a"), recipients=[])
    folder = ParcelFolder(tmp_path / "parcel")
    folder.make()
    folder.write_envelope(parcel.envelope)
    folder.write_manifest(parcel.manifest)
    for index, chunk in enumerate(parcel.chunks):
        folder.write_chunk(record(index), memoryview(chunk))
    folder.write_seal(parcel.seal)
    report = verify_parcel(tmp_path / "parcel")
    assert (report.faults, report.sealed) == ((), True)
