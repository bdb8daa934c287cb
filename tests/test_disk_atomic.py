"""Small files on disk: whole or not at all, bounded, and one sentence for every failure."""

import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from medshare.disk import atomic
from medshare.disk.atomic import (
    fsync_folder,
    make_folder,
    read_file,
    storage_errors,
    write_at,
    write_file,
)
from medshare.errors import LimitError, StorageError
from tests.fault import Killed, count_changes, killed_at


@pytest.fixture
def no_large_files() -> Iterator[None]:
    """Let the system refuse files beyond 64 KiB, as a full disk would refuse more octets."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 1, 4096, 3 << 20])
def test_what_is_written_can_be_read(tmp_path: Path, size: int) -> None:
    """`read_file` returns the octets of `write_file`, for none, few and many of them."""
    data = os.urandom(size)
    write_file(tmp_path / "f", data)
    assert read_file(tmp_path / "f", limit=size, what="the file") == data


def test_a_file_is_private_unless_asked_otherwise(tmp_path: Path) -> None:
    """The mode is 0600, or the one that was asked for; nothing else is left in the folder."""
    write_file(tmp_path / "secret", b"x")
    write_file(tmp_path / "card", b"x", mode=0o644)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert modes == {"secret": 0o600, "card": 0o644}


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    """Writing where somebody put a link replaces the link; what it points to stays."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "f").symlink_to(victim)
    write_file(tmp_path / "f", b"new")
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "f").is_symlink()


def test_a_crash_at_any_step_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    """Killed at any change of the disk, a reader sees one whole version."""
    path = tmp_path / "f"
    write_file(path, b"old")
    steps = count_changes(lambda: write_file(path, b"old"))
    assert steps >= 4
    for step in range(1, steps + 1):
        with killed_at(step), pytest.raises(Killed):
            write_file(path, b"new" * 100)
        assert path.read_bytes() in {b"old", b"new" * 100}
        write_file(path, b"old")


def test_the_order_is_write_sync_rename_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The octets are durable before the name changes, and the name before the call returns."""
    calls: list[str] = []
    for name in ("write", "fsync", "rename"):
        original = getattr(os, name)

        def record(
            *args: object, _name: str = name, _call: object = original, **kw: object
        ) -> object:
            calls.append(_name)
            return _call(*args, **kw)  # type: ignore[operator]  # one of three calls of os

        monkeypatch.setattr(os, name, record)
    write_file(tmp_path / "f", b"x")
    assert calls == ["write", "fsync", "rename", "fsync"]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, no_large_files: None) -> None:
    """When the disk takes only part of the octets, the old file stays and the temporary goes."""
    write_file(tmp_path / "f", b"old")
    with pytest.raises(StorageError, match="could not write the inbox: the file would be larger"):
        write_file(tmp_path / "f", bytes(100_000), what="the inbox")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


def test_an_existing_file_can_be_left_alone(tmp_path: Path) -> None:
    """Without `replace`, an existing name is refused and nothing is left of the attempt."""
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        write_at(folder, "f", b"first", replace=False)
        with pytest.raises(FileExistsError):
            write_at(folder, "f", b"second", replace=False)
    finally:
        os.close(folder)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"f": b"first"}


def test_reading_is_bounded(tmp_path: Path) -> None:
    """One octet beyond the limit is refused, before the file is read."""
    (tmp_path / "f").write_bytes(b"123456")
    with pytest.raises(LimitError, match="the card is larger than 5 bytes"):
        read_file(tmp_path / "f", limit=5, what="the card")


def test_a_file_that_grows_while_it_is_read_stays_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is appended after the size was looked at does not get past the limit."""
    path = tmp_path / "f"
    path.write_bytes(b"123")
    original = os.fstat

    def grow(file: int) -> os.stat_result:
        found = original(file)
        path.write_bytes(b"1234567")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", grow)
        with pytest.raises(LimitError):
            read_file(path, limit=5, what="the card")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe in the place of a file is refused at once and not waited for; so is a folder."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(StorageError, match="could not read the card"):
            read_file(tmp_path / name, limit=5, what="the card")


def test_links_are_followed_only_when_allowed(tmp_path: Path) -> None:
    """With `follow` off, a link is refused, whatever it points to."""
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "link").symlink_to("f")
    assert read_file(tmp_path / "link", limit=5, what="the card") == b"x"
    with pytest.raises(StorageError, match="it is a symbolic link"):
        read_file(tmp_path / "link", limit=5, what="the card", follow=False)


def test_folders_are_made_private_with_their_parents(tmp_path: Path) -> None:
    """Each folder that had to be made has the mode; an existing one is left as it is."""
    make_folder(tmp_path / "a/b/c")
    make_folder(tmp_path / "a/b/c")
    for name in ("a", "a/b", "a/b/c"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700


def test_a_file_in_the_way_of_a_folder_is_refused(tmp_path: Path) -> None:
    """Where a file has the name of a folder, StorageError is raised, for parents too."""
    (tmp_path / "f").write_bytes(b"")
    for path in (tmp_path / "f", tmp_path / "f/below"):
        with pytest.raises(StorageError, match="could not make a folder"):
            make_folder(path)


@pytest.mark.parametrize("code", sorted(errno.errorcode))
def test_every_error_of_the_system_becomes_one_sentence(code: int) -> None:
    """Each errno is a StorageError in lower case, on one line, that names no path."""
    with pytest.raises(StorageError) as caught, storage_errors("write the journal"):
        raise OSError(code, os.strerror(code), "/secret/patient")
    message = caught.value.message
    assert message.startswith("could not write the journal: ")
    assert "secret" not in message
    assert "\n" not in message
    assert not message.endswith(".")
    assert message[29].islower() or not message[29].isalpha()
    assert isinstance(caught.value.__cause__, OSError)


def test_a_full_disk_says_what_to_do() -> None:
    """ENOSPC and EDQUOT name the cause and that the same command goes on afterwards."""
    for code in (errno.ENOSPC, errno.EDQUOT):
        error = atomic.storage_error(OSError(code, "x"), "write a received file")
        assert "disk" in error.message
        assert error.hint is not None
        assert "run the same command again" in error.hint


def test_a_file_system_without_folder_sync_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EINVAL from fsync of a folder is no failure; EIO is."""
    answers = [errno.EINVAL, errno.EIO]

    def fsync(_: int) -> None:
        code = answers.pop(0)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    fsync_folder(tmp_path)
    with pytest.raises(StorageError, match="input/output error"):
        fsync_folder(tmp_path)
