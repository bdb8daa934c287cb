"""The confined writer: files are made, filled, kept across runs, and never half there."""

import errno
import fcntl
import os
import stat
import threading
from pathlib import Path

import pytest

from medshare.disk import incoming
from medshare.disk.incoming import PartFolder, Prepared, part_name
from medshare.errors import StorageError
from medshare.ids import ParcelId
from tests.incoming_case import (
    FILES,
    MODIFIED,
    PARCEL,
    PART,
    contents,
    expected,
    fill,
    manifest_of,
    receive,
)

ORDER = list(FILES)


def test_everything_arrives_under_its_name(tmp_path: Path) -> None:
    """Files, empty files and empty folders are there, with their time, and nothing else is."""
    receive(tmp_path / "new/out")
    assert contents(tmp_path / "new/out") == expected()
    assert (tmp_path / "new/out/alone.dcm").stat().st_mtime_ns == MODIFIED


def test_nothing_has_its_final_name_before_it_is_placed(tmp_path: Path) -> None:
    """Until `place`, there is only the hidden part folder, which nobody else can enter."""
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        fill(part)
        assert [p.name for p in tmp_path.iterdir()] == [PART] == [part_name(PARCEL)]
        assert stat.S_IMODE((tmp_path / PART).stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o640, 0o750), (0o077, 0o600, 0o700)]
)
def test_files_are_not_for_everybody(tmp_path: Path, umask: int, file: int, folder: int) -> None:
    """T10, CVE-2026-35385 of scp: no mode comes from the sender; 0640 and 0750 less the umask."""
    os.umask(umask)  # set back after each test
    receive(tmp_path)
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (folder if path.is_dir() else file)


def test_a_later_run_keeps_what_was_written(tmp_path: Path) -> None:
    """What one run wrote, the next one finds, and fills the rest."""
    with PartFolder(tmp_path, PARCEL) as part:
        assert part.prepare(manifest_of()) == Prepared(kept=False)
        part.write(0, 5, memoryview(b"kept"))
        part.flush()
    with PartFolder(tmp_path, PARCEL) as part:
        assert part.prepare(manifest_of()) == Prepared(kept=True, renewed=(1, 3, 4))
        view = memoryview(bytearray(9))
        part.read(0, 0, view)
        assert bytes(view) == bytes(5) + b"kept"


def test_a_small_file_is_made_with_its_octets(tmp_path: Path) -> None:
    """Of 20,000 slices none is made twice over: folders and large files alone come first."""
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        made = {name for name, data in contents(tmp_path / PART).items() if data is not None}
        assert made == {"study/series 2/IM1"}  # which has no octets
        fill(part)
        part.place()
        part.discard()
    assert contents(tmp_path) == expected()


def test_a_small_file_that_cannot_be_written_is_not_left_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk is full nothing of it stays, and the same write works once there is room."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(StorageError, match="full"):
                part.write(0, 0, memoryview(FILES[ORDER[0]]))
        assert not (tmp_path / PART / ORDER[0]).exists()
        fill(part)
        part.place()
        part.discard()
    assert contents(tmp_path) == expected()


def test_nothing_counts_as_kept_before_the_first_write(tmp_path: Path) -> None:
    """A run that died before it wrote leaves nothing that a later one would rely on."""
    for _ in range(2):
        with PartFolder(tmp_path, PARCEL) as part:
            assert part.prepare(manifest_of()) == Prepared(kept=False)


def test_a_file_that_has_gone_is_told_until_it_is_written(tmp_path: Path) -> None:
    """Deleted, cut off or exchanged files are named in each run until their octets come."""
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        fill(part)
    series = tmp_path / PART / "study/series 1"
    (series / "IM1").unlink()
    os.truncate(series / "IM2", 3)
    (tmp_path / PART / "alone.dcm").unlink()
    (tmp_path / PART / "alone.dcm").symlink_to("/etc/passwd")
    (tmp_path / PART / "study/series 2/IM1").unlink()
    gone = tuple(map(ORDER.index, ("study/series 1/IM1", "study/series 1/IM2", "alone.dcm")))
    for _ in range(2):
        with PartFolder(tmp_path, PARCEL) as part:
            assert part.prepare(manifest_of()) == Prepared(kept=True, renewed=gone)
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        fill(part)
        part.place()
        part.discard()
    assert contents(tmp_path) == expected()


def test_a_part_folder_that_has_gone_is_told(tmp_path: Path) -> None:
    """When the user deleted it, nothing is kept, and the parcel begins anew."""
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        fill(part)
        part.discard()
    assert list(tmp_path.iterdir()) == []
    with PartFolder(tmp_path, PARCEL) as part:
        assert not part.prepare(manifest_of()).kept


def test_the_part_folder_of_other_files_is_not_used(tmp_path: Path) -> None:
    """A parcel whose id begins alike does not mix with, or delete, what another one wrote."""
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        fill(part)
    before = contents(tmp_path)
    twin = ParcelId(PARCEL[:8] + bytes(8))
    with (
        PartFolder(tmp_path, twin) as part,
        pytest.raises(StorageError, match="another parcel's part folder"),
    ):
        part.prepare(manifest_of())
    assert contents(tmp_path) == before


def test_two_receivers_at_once_are_refused(tmp_path: Path) -> None:
    """The part folder is locked while one medshare uses it."""
    with PartFolder(tmp_path, PARCEL):
        with pytest.raises(StorageError, match="received into this folder by another medshare"):
            PartFolder(tmp_path, PARCEL)
        PartFolder(tmp_path, ParcelId(bytes(16))).close()


def test_a_piece_outside_its_file_is_a_fault(tmp_path: Path) -> None:
    """No write reaches beyond the size that the manifest states, or before the file."""
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        for offset in (-1, 499):
            with pytest.raises(ValueError, match="outside its file"):
                part.write(0, offset, memoryview(b"xx"))


def test_placing_needs_preparing(tmp_path: Path) -> None:
    """`place` before `prepare` is a fault of the caller."""
    with PartFolder(tmp_path, PARCEL) as part, pytest.raises(RuntimeError):
        part.place()


def test_threads_write_where_they_mean_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more files than stay open, octets of several threads never meet."""
    monkeypatch.setattr(incoming, "_OPEN_FILES", 2)
    monkeypatch.setattr(incoming, "_OPEN_FOLDERS", 1)
    files = {f"s/{n % 5}/{n}": bytes([n]) * 1000 for n in range(30)}
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of(files, ()))

        def work(start: int) -> None:
            for at in range(start, 1000, 400):
                for index, data in enumerate(files.values()):
                    part.write(index, at, memoryview(data[at : at + 100]))
                part.flush()

        threads = [threading.Thread(target=work, args=(start,)) for start in (0, 100, 200, 300)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        part.place()
        part.discard()
    assert contents(tmp_path) == expected(files, ())


@pytest.mark.parametrize("count", [3, 40])
def test_flush_reaches_every_file_written_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Few files are synced one by one, many by one call for the file system, each only once."""
    synced: list[int] = []
    monkeypatch.setattr(incoming, "sync_data", synced.append)
    files = {f"{n}": b"x" for n in range(count)}
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of(files, ()))
        calls: list[int] = []

        def sync_filesystem(folder: int) -> bool:
            calls.append(folder)
            return True

        monkeypatch.setattr(incoming, "sync_filesystem", sync_filesystem)
        fill(part, files)
        part.flush()
        part.flush()
    assert (len(synced), len(calls)) == ((3, 0) if count == 3 else (0, 1))


def test_a_failed_flush_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be made durable is tried again by the next flush, and not forgotten."""
    answers: list[int | None] = [errno.EIO, None]
    seen: list[int] = []

    def sync(file: int) -> None:
        seen.append(file)
        code = answers.pop(0)
        if code:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(incoming, "sync_data", sync)
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        part.write(0, 0, memoryview(b"x"))
        with pytest.raises(StorageError, match="make the received files durable"):
            part.flush()
        part.flush()
    assert len(seen) == 2


def test_few_files_stay_open(tmp_path: Path) -> None:
    """However many files arrive, the number of open descriptors stays bounded."""
    files = {f"s/{n % 70}/{n}": b"x" for n in range(400)}
    before = len(list(Path("/proc/self/fd").iterdir()))
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of(files, ()))
        fill(part, files)
        assert len(list(Path("/proc/self/fd").iterdir())) - before <= 2 + 64 + 40
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_part_folder_removed_under_the_lock_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that finished between our opening and locking leaves no lock on nothing."""
    original = fcntl.flock
    removed: list[int] = []

    def lock(folder: int, how: int) -> None:
        if not removed:
            (tmp_path / PART).rmdir()
            removed.append(folder)
        original(folder, how)

    monkeypatch.setattr(fcntl, "flock", lock)
    receive(tmp_path)
    assert removed
    assert contents(tmp_path) == expected()


def test_a_share_without_locks_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOLCK does not stop the transfer (the journal is locked as well); EIO does."""
    answers = [errno.ENOLCK, errno.EIO]

    def lock(*_: object) -> None:
        code = answers.pop(0)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", lock)
    receive(tmp_path)
    assert contents(tmp_path) == expected()
    with pytest.raises(StorageError, match="input/output error"):
        PartFolder(tmp_path, PARCEL)


def test_a_mount_that_shows_one_owner_for_all_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On FAT or SMB every file may seem to be somebody else's, new ones too: no reason to stop."""
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    receive(tmp_path)
    assert contents(tmp_path) == expected()


def test_a_note_that_is_none_is_not_believed(tmp_path: Path) -> None:
    """A part folder whose own notes were replaced is refused."""
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        fill(part)
        (tmp_path / PART / ".prepared").write_bytes(bytes(1000))
        with pytest.raises(StorageError, match="another parcel"):
            part.prepare(manifest_of())


def test_reading_back_notices_a_file_that_was_cut(tmp_path: Path) -> None:
    """A part file truncated while it is open is an error and not an endless wait."""
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        fill(part)
        alone, view = ORDER.index("alone.dcm"), memoryview(bytearray(250))
        part.read(alone, 0, view)  # so that it is open
        os.truncate(tmp_path / PART / "alone.dcm", 10)
        with pytest.raises(StorageError, match="cut off"):
            part.read(alone, 0, view)
