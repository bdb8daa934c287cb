"""Escape from the receive folder, the largest class of faults in this trade, by name.

Each test cites the advisory that it comes from; T01 to T10 number the attacks.  "Escape"
means: a file outside the folder is made, changed, re-moded or deleted, or read and sent.
T08 (unpacking archives) cannot concern us: nothing received is ever unpacked.
"""

import os
import shutil
import stat
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from medshare.disk import confined, incoming
from medshare.disk.incoming import PartFolder
from medshare.disk.parcels import ParcelFolder
from medshare.disk.readback import FolderReader
from medshare.disk.scan import scan
from medshare.disk.tree import Tree
from medshare.errors import FormatError, IntegrityError, StorageError
from medshare.ids import StationId, parcel_id_from_text, station_id_from_text
from medshare.manifest import FileEntry, Manifest, check_path
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

ROOT = Path(__file__).resolve().parent.parent

# T01: croc CVE-2023-43616, CVE-2023-43619, GHSA-8c8w-f7wp-2jr2, GHSA-ppjh-xp5v-46wc.
ESCAPES = [
    "../x",
    "../../x",
    "a/../../x",
    "a/../b",
    "..",
    ".",
    "./x",
    "/etc/x",
    "//x",
    "a//b",
    "a/",
    "",
    "~/../x",
    ".bashrc",
    ".ssh/authorized_keys",
    "a/.git/hooks/post-checkout",
]
# T03: restic #1445, rclone CVE-2026-71313.
FOREIGN = [
    "..\\x",
    "a\\b",
    "C:\\x",
    "C:x",
    "\\\\?\\C:\\x",
    "\\\\server\\share\\x",
    "a:stream",
    "CON",
    "con.dcm",
    "aux ",
    "COM¹",
    "LPT1.txt",
    "a/NUL/b",
    "\uff0e\uff0e/x",
    "\uff0e\uff0e\uff0fx",
    "a\uff3cb",
    "\u2025/x",
    "trailing.",
    "trailing ",
    "nul\x00byte",
    "line\nbreak",
    "escape\x1b[2J",
    "right\u202eleft",
    "zero\u200bwidth",
    "octets\udcff",
    "x" * 256,
    "/".join(["d"] * 33),
    "/".join(["x" * 250] * 5),
]


def by_check(path: str, _: Path) -> None:
    """The rule itself."""
    check_path(path)


def by_manifest(path: str, _: Path) -> None:
    """A file in the manifest that is sent or parsed."""
    Manifest((FileEntry(path, 1),)).encode()


def by_manifest_folder(path: str, _: Path) -> None:
    """An empty folder in the manifest."""
    Manifest((), (path,)).encode()


def by_tree(path: str, _: Path) -> None:
    """The shape of what is received."""
    Tree((FileEntry(path, 1),))


def by_part_folder(path: str, output: Path) -> None:
    """A file in a fresh part folder."""
    with PartFolder(output, PARCEL) as part:
        part.prepare(Manifest((FileEntry(path, 1),)))


def by_part_folder_folder(path: str, output: Path) -> None:
    """A folder in a fresh part folder."""
    with PartFolder(output, PARCEL) as part:
        part.prepare(Manifest((FileEntry("ok", 1),), (path,)))


def by_resume(path: str, output: Path) -> None:
    """A file of a parcel that an earlier run began."""
    with PartFolder(output, PARCEL) as part:
        part.prepare(manifest_of())
        fill(part)
    by_part_folder(path, output)


def by_verify(path: str, output: Path) -> None:
    """A file in a receipt."""
    output.mkdir(exist_ok=True)
    with FolderReader(output) as reader:
        reader.hash_file(path, INTL.hasher())


# T02: magic-wormhole CVE-2026-32116, CVE-2026-42448: one check was lost, twice, on one of
# several ways in.  Every way by which a name of somebody else's reaches the disk is here.
ENTRIES = [
    by_check,
    by_manifest,
    by_manifest_folder,
    by_tree,
    by_part_folder,
    by_part_folder_folder,
    by_resume,
    by_verify,
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.__name__)
@pytest.mark.parametrize("path", ESCAPES + FOREIGN, ids=ascii)
def test_t01_t02_t03_no_way_in_takes_a_hostile_name(
    tmp_path: Path, entry: Callable[[str, Path], None], path: str
) -> None:
    """Every entry point refuses every name, on every system, and touches nothing outside."""
    (tmp_path / "x").write_bytes(b"outside")
    output = tmp_path / "out"
    with pytest.raises(FormatError):
        entry(path, output)
    assert {p.name for p in tmp_path.iterdir()} <= {"x", "out"}
    assert (tmp_path / "x").read_bytes() == b"outside"
    if output.exists():
        assert {p.name for p in output.iterdir()} <= {PART}


@pytest.mark.parametrize(
    "names",
    [("a", "a"), ("Scan", "scan"), ("é", "e\u0301"), ("ﬀ", "FF"), ("d/a", "D/b"), ("a", "a/b")],
    ids=ascii,
)
def test_t03_names_that_some_system_takes_for_one(names: tuple[str, str]) -> None:
    """Two paths that differ in case, accents or nothing, or a file below a file: refused."""
    with pytest.raises(FormatError):
        Manifest(tuple(FileEntry(name, 1) for name in names)).encode()


def test_t03_a_file_system_that_folds_case_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even past all checks of names, a second file never opens the first one: O_EXCL."""
    monkeypatch.setattr("medshare.disk.tree.check_path", lambda _: None)
    manifest = Manifest((FileEntry("a", 1), FileEntry("b", 1), FileEntry("a", 2)))
    with PartFolder(tmp_path, PARCEL) as part, pytest.raises(StorageError, match="there already"):
        part.prepare(manifest)


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
def test_t04_a_planted_link_is_never_followed(
    tmp_path: Path, outside: Path, place: str, when: str
) -> None:
    """Warpinator CVE-2022-42725, rsync CVE-2024-12087: links in part folder or output.

    The link is refused, or stays what it is; nothing is written, deleted or re-timed
    behind it, neither while receiving nor while cleaning up.
    """
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


def test_t04_a_planted_part_folder_is_not_used(tmp_path: Path, outside: Path) -> None:
    """Rclone CVE-2024-52522: a link under the very name of the part folder is refused."""
    output = tmp_path / "out"
    output.mkdir()
    (output / PART).symlink_to(outside)
    with pytest.raises(StorageError, match="not a folder, or is a link"):
        PartFolder(output, PARCEL)


def test_t04_a_part_folder_of_somebody_else_is_not_used(
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


def test_t04_an_output_link_of_somebody_else_is_not_used(tmp_path: Path, outside: Path) -> None:
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


def test_t04_a_hard_link_is_not_written_through(tmp_path: Path) -> None:
    """CVE-2026-53795 of rsync: a part file that is a second name of another file is refused."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"p" * len(FILES["alone.dcm"]))
    with PartFolder(tmp_path / "out", PARCEL) as part:
        part.prepare(manifest_of())
        there = tmp_path / "out" / PART / "alone.dcm"
        there.unlink()
        os.link(precious, there)
        with pytest.raises(StorageError, match="was replaced"):
            fill(part)
        part.discard()
    assert precious.read_bytes() == b"p" * len(FILES["alone.dcm"])


@pytest.mark.parametrize("where", ["part", "output"])
def test_t04_a_folder_swapped_for_a_link_in_the_midst(
    tmp_path: Path, outside: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rclone CVE-2026-54572: while another thread swaps folder and link as fast as it can.

    Each run either completes or is refused; nothing outside changes in any of them.
    """
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


def test_t04_cleaning_up_deletes_what_was_made_and_nothing_else(
    tmp_path: Path, outside: Path
) -> None:
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


def test_t05_a_name_inside_a_file_is_never_followed(tmp_path: Path) -> None:
    """Pydicom CVE-2026-32711: only what the folder really holds is sent, whatever a DICOMDIR says.

    medshare does not read DICOMDIR, and demands a pydicom that is not affected.
    """
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "study").mkdir()
    (tmp_path / "study/DICOMDIR").write_bytes(b"../secret /etc/passwd ..\\secret")
    sources = scan([tmp_path / "study"], follow_symlinks=False, skip_hidden=False)
    assert [sources.path(n) for n in range(len(sources))] == ["study/DICOMDIR"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = [d for group in extras["optional-dependencies"].values() for d in group]
    pins += extras["dependencies"]
    pydicom = [pin for pin in pins if pin.partition(">")[0] == "pydicom"]
    assert pydicom
    assert set(pydicom) == {"pydicom>=3.0.2"}


def test_t06_names_on_disk_come_from_our_own_ids(tmp_path: Path) -> None:
    """DCMTK CVE-2022-2119, CVE-2026-50003: no UID or patient id out of a file names a file."""
    assert incoming.part_name(PARCEL) == PART
    receive(tmp_path, {"a": b"\x00\x08\x18\x00UI../../../etc/x"}, ())
    assert contents(tmp_path) == {"a": b"\x00\x08\x18\x00UI../../../etc/x"}


@pytest.mark.parametrize(
    "text",
    ["..", "../" * 10, "%2e%2e%2f", "A" * 32, "a" * 31, "a" * 33, "a" * 31 + "\n", "a" * 31 + "/"],
    ids=ascii,
)
def test_t07_ids_have_one_spelling(text: str) -> None:
    """Tuspyserver #93, rclone CVE-2026-71309: an id is hexadecimal digits of one length."""
    with pytest.raises(FormatError):
        parcel_id_from_text(text)
    with pytest.raises(FormatError):
        station_id_from_text(text * 2)


def test_t07_t09_ids_are_encoded_in_file_names(tmp_path: Path) -> None:
    """TUF CVE-2021-41131: whatever octets an id has, its file name is hexadecimal digits."""
    folder = ParcelFolder(tmp_path / "p")
    folder.make()
    folder.write_receipt(StationId(b"../../../../../../../../etc/pass"), b"x")
    names = [path.name for path in (tmp_path / "p/receipts").iterdir()]
    assert names == [b"../../../../../../../../etc/pass".hex()]


@pytest.mark.parametrize("place", ["envelope", "manifest", "seal", "chunks", "receipts", "records"])
def test_t04_a_link_in_a_parcel_folder_is_not_followed(
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


def test_t10_special_bits_do_not_exist_on_arrival(tmp_path: Path) -> None:
    """Scp CVE-2026-35385, rclone GHSA-945v-v9p3-v5xw: a setuid file arrives as plain octets."""
    (tmp_path / "study").mkdir()
    (tmp_path / "study/tool").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "study/tool").chmod(0o6777)
    sources = scan([tmp_path / "study"], follow_symlinks=False, skip_hidden=False)
    with PartFolder(tmp_path / "out", PARCEL) as part:
        part.prepare(Manifest(tuple(sources.entries())))
        part.write(0, 0, memoryview(b"#!/bin/sh\n"))
        part.place()
        part.discard()
    assert stat.S_IMODE((tmp_path / "out/study/tool").stat().st_mode) == 0o640


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
    (victim / "IM1").write_bytes(b"0" * 500)
    with PartFolder(tmp_path / "out", PARCEL) as part:
        part.prepare(manifest_of({"study/IM1": b"first" * 100}, ()))
        study = tmp_path / "out" / PART / "study"
        study.rename(tmp_path / "aside")
        study.symlink_to(victim)
        part._close_files()
        part.write(0, 0, memoryview(b"first" * 100))
    assert (victim / "IM1").read_bytes() == b"first" * 100
