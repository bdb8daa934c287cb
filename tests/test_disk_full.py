"""A disk that fills up, is too small, or is read-only: said early and clearly, and survived."""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from medshare.disk import incoming, space
from medshare.disk.incoming import PartFolder
from medshare.disk.space import require_space
from medshare.errors import StorageError
from tests.incoming_case import PARCEL, PART, contents, expected, fill, manifest_of, receive


def test_space_is_asked_for_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is too small is refused at once, with how much is missing."""
    free = os.statvfs(tmp_path)
    room = free.f_bavail * free.f_frsize
    require_space(tmp_path / "not/yet/there", 1)
    with pytest.raises(StorageError, match="are missing") as caught:
        require_space(tmp_path, room + (5 << 30))
    assert "GiB" in caught.value.message
    monkeypatch.setattr(
        incoming,
        "require_space_at",
        lambda folder, size: space.require_space_at(folder, size + room + (1 << 40)),
    )
    with PartFolder(tmp_path, PARCEL) as part, pytest.raises(StorageError, match="too full"):
        part.prepare(manifest_of())
    assert list((tmp_path / PART).iterdir()) == []


@pytest.fixture
def file_limit() -> Iterator[None]:
    """Let the system refuse files beyond 2 MiB, as a full disk would refuse more octets."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_too_large_for_the_disk_is_refused_before_the_transfer(
    tmp_path: Path, file_limit: None
) -> None:
    """Preparing finds that a file cannot be held, and leaves nothing behind."""
    with PartFolder(tmp_path, PARCEL) as part:
        with pytest.raises(StorageError, match="the file would be larger"):
            part.prepare(manifest_of({"a/small": b"x", "a/large": bytes(3 << 20)}, ("b",)))
        assert list((tmp_path / PART).iterdir()) == []


@pytest.mark.parametrize("accepted", [0, 1])
def test_a_disk_that_fills_up_stops_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accepted: int
) -> None:
    """ENOSPC in mid-write is one clear error; with room again, the same steps complete."""
    original = os.pwrite
    calls: list[int] = []

    def full(file: int, data: memoryview, offset: int) -> int:
        calls.append(file)
        if len(calls) > 2 * accepted:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(file, data[: max(1, len(data) // 2)], offset)

    monkeypatch.setattr(os, "pwrite", full)
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        with pytest.raises(StorageError, match="the disk is full") as caught:
            fill(part)
        assert "run the same command again" in (caught.value.hint or "")
    assert [p.name for p in tmp_path.iterdir()] == [PART]
    monkeypatch.undo()
    receive(tmp_path)
    assert contents(tmp_path) == expected()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 4.5 MiB; the test is skipped where mounting is not permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=4608k", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, mode: str) -> None:
    """Make a mounted file system read-only (`ro`) or writable (`rw`)."""
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


def test_a_small_disk(small_disk: Path) -> None:
    """On a real full file system: refused before the transfer, nothing kept, fine with room."""
    files = {"study/large": bytes(3 << 20), "study/small": b"x"}
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    with (
        PartFolder(small_disk / "out", PARCEL) as part,
        pytest.raises(StorageError, match="too full"),
    ):
        part.prepare(manifest_of(files, ()))
    ballast.unlink()
    receive(small_disk / "out", files, ())
    assert contents(small_disk / "out") == expected(files, ())


def test_a_disk_that_others_fill_meanwhile(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room that vanished after it was asked for: reserving fails, and gives back what it had."""
    files = {"a": bytes(1 << 20), "b": bytes(1 << 20), "c": bytes(1 << 20), "d": bytes(1 << 20)}
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    monkeypatch.setattr(incoming, "require_space_at", lambda *_: None)
    with PartFolder(small_disk, PARCEL) as part:
        with pytest.raises(StorageError, match="the disk is full"):
            part.prepare(manifest_of(files, ()))
        assert list((small_disk / PART).iterdir()) == []
        ballast.unlink()
        assert not part.prepare(manifest_of(files, ())).kept


def test_a_read_only_target(small_disk: Path) -> None:
    """A read-only file system is said to be one, and nothing is attempted twice."""
    remount(small_disk, "ro")
    with pytest.raises(StorageError, match="read-only"):
        PartFolder(small_disk / "out", PARCEL)
    remount(small_disk, "rw")
    receive(small_disk / "out")
    assert contents(small_disk / "out") == expected()
