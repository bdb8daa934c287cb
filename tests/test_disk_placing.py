"""Final names: all or none at first, nothing overwritten, and completed after any crash."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from medshare.disk import syscalls
from medshare.disk.incoming import PartFolder
from medshare.errors import StorageError
from medshare.ids import ParcelId
from medshare.manifest import MAX_MODIFIED, FileEntry, Manifest
from tests.fault import Killed
from tests.incoming_case import (
    FILES,
    PARCEL,
    PART,
    contents,
    crashing_at,
    expected,
    fill,
    manifest_of,
    receive,
)

# What is in the output folder before, beside the parcel's own files.
Existing = Callable[[Path], dict[str, bytes | None]]


def nothing(_: Path) -> dict[str, bytes | None]:
    """The output folder is empty."""
    return {}


def neighbours(output: Path) -> dict[str, bytes | None]:
    """The study's folder exists, with another file and one of the series."""
    (output / "study/series 1").mkdir(parents=True)
    (output / "study/notes").write_bytes(b"mine")
    return {"study/notes": b"mine"}


def identical(output: Path) -> dict[str, bytes | None]:
    """Some of the files are there already, as an earlier parcel brought them."""
    (output / "study/series 1").mkdir(parents=True)
    (output / "study/series 1/IM2").write_bytes(FILES["study/series 1/IM2"])
    (output / "alone.dcm").write_bytes(FILES["alone.dcm"])
    return {}


def merged(before: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """Return what the output folder holds in the end."""
    return dict(sorted({**expected(), **before}.items()))


@pytest.mark.parametrize("existing", [nothing, neighbours, identical])
@pytest.mark.parametrize("renameat2", [True, False])
def test_a_crash_at_any_step_is_completed_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: Existing, renameat2: bool
) -> None:
    """Killed at each change of the disk in turn, the next run gives the undisturbed result."""
    if not renameat2:
        without_renameat2(monkeypatch)
    step, finished = 0, False
    while not finished:
        step += 1
        output = tmp_path / str(step)
        output.mkdir()
        before = existing(output)
        with crashing_at(step):
            try:
                receive(output)
                finished = True
            except Killed:
                release_locks()
        receive(output)
        assert contents(output) == merged(before)
    assert step > 30


def release_locks() -> None:
    """Let go of what a process that was killed would have let go of."""
    for entry in Path("/proc/self/fd").iterdir():
        try:
            is_part = str(entry.readlink()).endswith(".part")
        except FileNotFoundError:
            continue
        if is_part:
            os.close(int(entry.name))


def without_renameat2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as on a system that cannot rename without replacing."""
    original = syscalls._call

    def call(name: str, *arguments: object) -> bool:
        return name != "renameat2" and original(name, *arguments)

    monkeypatch.setattr(syscalls, "_call", call)


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as FAT does: no hard links."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    without_renameat2(monkeypatch)
    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("existing", [nothing, neighbours, identical])
@pytest.mark.parametrize("limited", [without_renameat2, without_links])
def test_poor_file_systems_do_as_well(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    existing: Existing,
    limited: Callable[[pytest.MonkeyPatch], None],
) -> None:
    """Without renameat2, and without hard links, the result is the same."""
    limited(monkeypatch)
    before = existing(tmp_path)
    receive(tmp_path)
    assert contents(tmp_path) == merged(before)


def without_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as a system that has none of the three calls."""
    monkeypatch.setattr(syscalls, "_call", lambda *_: False)


def test_a_system_without_the_calls_of_linux_does_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No renameat2, no syncfs, no fallocate: everything arrives, each file synced by itself."""
    without_any_call(monkeypatch)
    files = {**FILES, "large": bytes(2 << 20)}
    receive(tmp_path, files)
    assert contents(tmp_path) == expected(files)


CONFLICTS: dict[str, Callable[[Path], object]] = {
    "different file": lambda path: path.write_bytes(b"FIRST" * 100),
    "shorter file": lambda path: path.write_bytes(b"first"),
    "longer file": lambda path: path.write_bytes(b"first" * 101),
    "folder": lambda path: path.mkdir(),
    "link to the same": lambda path: path.symlink_to("/dev/null"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "pipe": os.mkfifo,
}


@pytest.mark.parametrize("make", CONFLICTS.values(), ids=CONFLICTS.keys())
def test_nothing_moves_when_something_is_in_the_way(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    """A different thing under a file's name stops everything before the first move."""
    (tmp_path / "study/series 1").mkdir(parents=True)
    make(tmp_path / "study/series 1/IM1")
    before = names(tmp_path)
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        fill(part)
        with pytest.raises(StorageError, match="series 1/IM1 exists already") as caught:
            part.place()
    assert "--output" in (caught.value.hint or "")
    assert names(tmp_path) == before
    clear(tmp_path / "study/series 1/IM1")
    with PartFolder(tmp_path, PARCEL) as part:
        assert part.prepare(manifest_of()).kept
        part.place()
        part.discard()
    assert contents(tmp_path) == expected()


@pytest.mark.parametrize("make", ["file", "link"])
def test_nothing_moves_into_what_is_no_folder(tmp_path: Path, make: str) -> None:
    """A file or a link where a folder of the parcel goes is refused, and not entered."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    output = tmp_path / "out"
    output.mkdir()
    if make == "link":
        (output / "study").symlink_to(elsewhere)
    else:
        (output / "study").write_bytes(b"mine")
    with PartFolder(output, PARCEL) as part:
        part.prepare(manifest_of())
        fill(part)
        with pytest.raises(StorageError, match="study exists already"):
            part.place()
    assert names(output) == {"study"}
    assert list(elsewhere.iterdir()) == []


def names(folder: Path) -> set[str]:
    """Return every name below *folder*, without the part folder."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return {name for name in found if not name.startswith(PART)}


def clear(path: Path) -> None:
    """Remove a file, link or empty folder."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()


def test_a_file_that_appears_in_the_last_moment_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made by somebody between the look and the move, it stays; ours waits in the part folder."""
    original = syscalls.rename_new

    def appear(source: int, name: str, target: int, new_name: str) -> None:
        if name == "alone.dcm":
            (tmp_path / name).write_bytes(b"theirs")
        original(source, name, target, new_name)

    monkeypatch.setattr("medshare.disk.placing.rename_new", appear)
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        fill(part)
        with pytest.raises(StorageError, match=r"alone\.dcm exists already"):
            part.place()
    assert (tmp_path / "alone.dcm").read_bytes() == b"theirs"
    (tmp_path / "alone.dcm").unlink()
    monkeypatch.undo()
    receive(tmp_path)
    assert contents(tmp_path) == expected()


def test_two_parcels_share_a_folder(tmp_path: Path) -> None:
    """A second parcel adds to the folder that the first one made."""
    receive(tmp_path, {"study/a": b"1", "study/deep/b": b"2"}, ())
    other = ParcelId(bytes(16))
    receive(tmp_path, {"study/deep/c": b"3", "study/a": b"1"}, (), parcel=other)
    assert contents(tmp_path) == expected(
        {"study/a": b"1", "study/deep/b": b"2", "study/deep/c": b"3"}, ()
    )


def test_a_part_folder_with_strange_things_is_not_placed(tmp_path: Path) -> None:
    """What medshare did not write does not get into the output folder, nor is it deleted."""
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        fill(part)
        (tmp_path / PART / "study/extra").write_bytes(b"?")
        with pytest.raises(StorageError, match="changed by somebody else"):
            part.place()
        part.discard()
    assert contents(tmp_path) == {PART: None, f"{PART}/study": None, f"{PART}/study/extra": b"?"}


def test_a_file_lost_while_placing_is_noticed(tmp_path: Path) -> None:
    """A file that somebody took away between two runs of placing is not reported as received."""
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest_of())
        fill(part)
        part.place()
        (tmp_path / "alone.dcm").unlink()
        with pytest.raises(StorageError, match=r"alone\.dcm was changed or removed"):
            part.place()


def test_times_beyond_the_calendar_do_no_harm(tmp_path: Path) -> None:
    """The largest time that a manifest can state is cut to what the file system holds."""
    manifest = Manifest((FileEntry("a", 0, MAX_MODIFIED), FileEntry("b", 0, -(2**70))))
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest)
        part.place()
        part.discard()
    assert contents(tmp_path) == {"a": b"", "b": b""}
