"""Destroying files: what is ours goes, and nothing else."""

import os
from pathlib import Path

import pytest

from medshare.disk import erase
from medshare.disk.erase import erase_folder
from medshare.errors import StorageError


def test_a_folder_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    """Files, folders, links and pipes: nothing is left, and a second time is no fault."""
    folder = tmp_path / "doomed"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "file").write_bytes(b"x" * 5000)
    (folder / "empty").touch()
    os.mkfifo(folder / "pipe")
    (folder / "read-only").write_bytes(b"y")
    (folder / "read-only").chmod(0o400)
    erase_folder(folder)
    erase_folder(folder)
    assert list(tmp_path.iterdir()) == []


def test_no_link_is_followed(tmp_path: Path) -> None:
    """What a link points to stays as it is, be it a file or a folder."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"kept")
    folder = tmp_path / "doomed"
    folder.mkdir()
    (folder / "file").symlink_to(tmp_path / "kept" / "file")
    (folder / "folder").symlink_to(tmp_path / "kept")
    erase_folder(folder)
    assert (tmp_path / "kept" / "file").read_bytes() == b"kept"
    assert not folder.exists()
    folder.symlink_to(tmp_path / "kept")
    erase_folder(folder)
    assert (tmp_path / "kept" / "file").read_bytes() == b"kept"


@pytest.mark.parametrize("size", [0, 1, 4096, (1 << 20) + 1])
def test_every_octet_is_overwritten(tmp_path: Path, size: int) -> None:
    """Through a descriptor that was open before, the old content is not seen any more."""
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_bytes(b"\x00" * size)
    with path.open("rb") as held:
        erase_folder(path.parent)
        left = held.read()
    assert len(left) == size
    assert left.count(0) <= max(1, size // 64)


def test_what_cannot_be_destroyed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails is a storage error; what is left goes the next time."""
    folder = tmp_path / "doomed"
    folder.mkdir()
    (folder / "file").write_bytes(b"x")

    def broken(file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(erase, "sync_data", broken)
        with pytest.raises(StorageError, match="destroy a sealed parcel"):
            erase_folder(folder)
    erase_folder(folder)
    assert not folder.exists()
