"""T04, links: whoever can write to the folders plants links, at any place and any moment.

Warpinator CVE-2022-42725 and CVE-2023-29380, rsync CVE-2024-12087 and CVE-2026-53795,
rclone CVE-2024-52522, CVE-2026-54572 and CVE-2026-59733.  What must hold: nothing outside
the folder is made, changed, re-moded, read or deleted.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from medshare.disk import confined, incoming
from medshare.disk.incoming import PartFolder
from medshare.disk.parcels import ParcelFolder
from medshare.disk.readback import FolderReader
from medshare.errors import IntegrityError, StorageError
from medshare.ids import StationId
from medshare.receipt import ReceivedFile
from medshare.suites.intl import INTL
from tests.incoming_case import (
    FILES,
    PARCEL,
    PART,
    contents,
    expected,
    fill,
    manifest_of,
    receive,
)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder that nothing may touch; looked at again after the test."""
    folder = tmp_path / "outside"
    (folder / "study/series 1").mkdir(parents=True)
    for name in ("study/series 1/IM1", "study/report.txt", "alone.dcm", "precious"):
        (folder / name).write_bytes(b"precious")
        (folder / name).chmod(0o604)
    before = fingerprint(folder)
    yield folder
    assert fingerprint(folder) == before


def fingerprint(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mode, time and octets of everything below *folder*."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        octets = b"" if path.is_dir() else path.read_bytes()
        found[str(path)] = (status.st_mode, status.st_mtime_ns, octets)
    return found


PLANTED = ["study", "study/series 1", "study/series 1/IM1", "study/report.txt", "alone.dcm", "void"]


@pytest.mark.parametrize("place", PLANTED)
@pytest.mark.parametrize("when", ["before", "between", "placing"])
def test_a_planted_link_is_never_followed(
    tmp_path: Path, outside: Path, place: str, when: str
) -> None:
    """CVE-2022-42725 of Warpinator, CVE-2024-12087 of rsync: a link is refused or replaced."""
    output = tmp_path / "out"
    with PartFolder(output, PARCEL) as part:
        if when == "between":
            part.prepare(manifest_of())
            fill(part)
            plant(output / PART / place, outside / place)
        elif when == "before":
            plant(output / PART / place, outside / place)
        else:
            part.prepare(manifest_of())
            fill(part)
            plant(output / place, outside / place)
    healed = when != "placing" and place in FILES
    with PartFolder(output, PARCEL) as part:
        if healed:
            prepare_fill_place(part)
            assert contents(output) == {**expected(), PART: None, **notes(output)}
        else:
            with pytest.raises(StorageError):
                prepare_fill_place(part)
        part.discard()


def prepare_fill_place(part: PartFolder) -> None:
    """Receive everything, up to the final names."""
    part.prepare(manifest_of())
    fill(part)
    part.place()


def notes(output: Path) -> dict[str, bytes]:
    """Return medshare's own notes in the part folder."""
    return {f"{PART}/{p.name}": p.read_bytes() for p in (output / PART).iterdir() if p.is_file()}


def plant(path: Path, target: Path) -> None:
    """Put a link to *target* where *path* is or would be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        path.rename(path.with_name("was there"))
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def test_a_planted_part_folder_is_not_used(tmp_path: Path, outside: Path) -> None:
    """Rclone CVE-2024-52522: a link under the very name of the part folder is refused."""
    output = tmp_path / "out"
    output.mkdir()
    (output / PART).symlink_to(outside)
    with pytest.raises(StorageError, match="not a folder, or is a link"):
        PartFolder(output, PARCEL)


def test_a_part_folder_of_somebody_else_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder open to all, a part folder that another user made is refused."""
    if os.geteuid() != 0:
        pytest.skip("making a folder of another user needs root")
    (tmp_path / PART).mkdir()
    os.chown(tmp_path / PART, 12345, 12345)
    with pytest.raises(StorageError, match="belongs to somebody else"):
        PartFolder(tmp_path, PARCEL)
    assert list((tmp_path / PART).iterdir()) == []


def test_an_output_link_of_somebody_else_is_not_used(tmp_path: Path, outside: Path) -> None:
    """The user's own link may name the output folder; one that another user planted may not."""
    link = tmp_path / "out"
    (tmp_path / "big disk").mkdir()
    link.symlink_to(tmp_path / "big disk")
    receive(link)
    assert contents(tmp_path / "big disk") == expected()
    if os.geteuid() != 0:
        pytest.skip("making a link of another user needs root")
    link.unlink()
    link.symlink_to(outside)
    os.chown(link, 12345, 12345, follow_symlinks=False)
    with pytest.raises(StorageError, match="a link that somebody else made"):
        receive(link)


def test_a_hard_link_is_not_written_through(tmp_path: Path) -> None:
    """CVE-2026-53795 of rsync: a part file that is a second name of another file is refused."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"p" * len(FILES["alone.dcm"]))
    there = tmp_path / "out" / PART / "alone.dcm"
    with PartFolder(tmp_path / "out", PARCEL) as part:
        part.prepare(manifest_of())
        os.link(precious, there)
        with pytest.raises(StorageError, match="there already"):
            fill(part)
        there.unlink()
        fill(part)
        there.unlink()
        os.link(precious, there)
        with pytest.raises(StorageError, match="was replaced"):
            fill(part)
        part.discard()
    assert precious.read_bytes() == b"p" * len(FILES["alone.dcm"])


@pytest.mark.parametrize("where", ["part", "output"])
def test_a_folder_swapped_for_a_link_in_the_midst(
    tmp_path: Path, outside: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2026-54572 of rclone: swapped as fast as can be, each run completes or is refused."""
    monkeypatch.setattr(incoming, "_OPEN_FOLDERS", 0)
    monkeypatch.setattr(incoming, "_OPEN_FILES", 0)
    output = tmp_path / "out"
    stop = threading.Event()
    outcomes = {"completed": 0, "refused": 0}
    target = output / PART / "study" if where == "part" else output / "study"
    target.mkdir(parents=True)

    def swap() -> None:
        aside = tmp_path / "aside"
        while not stop.is_set():
            shutil.rmtree(aside, ignore_errors=True)
            with suppress(OSError):
                target.rename(aside)
                target.symlink_to(outside / "study")
                target.unlink()
                aside.rename(target)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(150):
            try:
                attempt(output)
                outcomes["completed"] += 1
            except StorageError:
                outcomes["refused"] += 1
    finally:
        stop.set()
        thread.join()
    assert sum(outcomes.values()) == 150


def attempt(output: Path) -> None:
    """Receive everything, and clean up whatever came of it."""
    with PartFolder(output, PARCEL) as part:
        try:
            part.prepare(manifest_of())
            fill(part)
            part.place()
        finally:
            part.discard()


def test_cleaning_up_deletes_what_was_made_and_nothing_else(tmp_path: Path, outside: Path) -> None:
    """Foreign files, folders and links in the part folder survive `discard`."""
    part = PartFolder(tmp_path / "out", PARCEL)
    part.prepare(manifest_of())
    folder = tmp_path / "out" / PART
    (folder / "study/foreign").write_bytes(b"?")
    (folder / "link").symlink_to(outside)
    (folder / "void").rmdir()
    (folder / "void").symlink_to(outside)
    part.discard()
    part.close()
    assert sorted(contents(folder)) == ["link", "study", "study/foreign", "void"]


@pytest.mark.parametrize("place", ["envelope", "manifest", "seal", "chunks", "receipts", "records"])
def test_a_link_in_a_parcel_folder_is_not_followed(
    tmp_path: Path, outside: Path, place: str
) -> None:
    """CVE-2026-59733 of rclone: a store neither serves nor writes what a planted link names."""
    folder = ParcelFolder(tmp_path / "p")
    folder.make()
    path = tmp_path / "p" / place
    if path.exists():
        path.rmdir()
    path.symlink_to(outside if place in {"chunks", "receipts"} else outside / "precious")
    station = StationId(bytes(32))
    reads: dict[str, Callable[[], object]] = {
        "envelope": folder.read_envelope,
        "manifest": folder.read_manifest,
        "seal": folder.read_seal,
        "chunks": lambda: folder.read_chunk(0, memoryview(bytearray(10))),
        "receipts": lambda: folder.read_receipt(station),
        "records": folder.records,
    }
    with pytest.raises(StorageError):
        reads[place]()
    writes: dict[str, Callable[[], object]] = {
        "envelope": lambda: folder.write_envelope(b"x"),
        "manifest": lambda: folder.write_manifest(b"x"),
        "seal": lambda: folder.write_seal(b"x"),
        "chunks": lambda: folder.drop_chunk(0),
        "receipts": lambda: folder.write_receipt(station, b"x"),
        "records": lambda: folder.drop_chunk(0),
    }
    with suppress(StorageError):  # a link is refused, or replaced; see `outside`
        writes[place]()


def test_verify_follows_no_link(tmp_path: Path, outside: Path) -> None:
    """A link in a received folder does not stand in for a file, even one with the same octets."""
    receive(tmp_path / "out")
    file = ReceivedFile("alone.dcm", 250, INTL.digest(FILES["alone.dcm"]))
    (tmp_path / "out/alone.dcm").rename(tmp_path / "moved")
    (tmp_path / "out/alone.dcm").symlink_to(tmp_path / "moved")
    with FolderReader(tmp_path / "out") as reader, pytest.raises(IntegrityError):
        reader.hash_file(file.path, INTL.hasher())


def test_the_defence_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without O_NOFOLLOW, the planted link of T04 is followed: the tests above can fail."""
    monkeypatch.setattr(incoming, "FOLDER_FLAGS", os.O_RDONLY)
    monkeypatch.setattr(os, "O_NOFOLLOW", 0)
    monkeypatch.setattr(confined, "is_plain", lambda *_: True)
    victim = tmp_path / "victim"
    victim.mkdir()
    with PartFolder(tmp_path / "out", PARCEL) as part:
        part.prepare(manifest_of({"study/IM1": b"first" * 100}, ()))
        study = tmp_path / "out" / PART / "study"
        study.rename(tmp_path / "aside")
        study.symlink_to(victim)
        part._close_files()
        part.write(0, 0, memoryview(b"first" * 100))
    assert (victim / "IM1").read_bytes() == b"first" * 100
