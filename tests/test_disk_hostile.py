"""Escape from the receive folder, the largest class of faults in this trade, by name.

Each test cites the advisory that it comes from; T01 to T10 number the attacks.  "Escape"
means: a file outside the folder is made, changed, re-moded or deleted, or read and sent.
T04, links, has a file of its own: test_disk_links.py.
T08 (unpacking archives) cannot concern us: nothing received is ever unpacked.
"""

import stat
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from medshare.disk import incoming
from medshare.disk.incoming import PartFolder
from medshare.disk.parcels import ParcelFolder
from medshare.disk.readback import FolderReader
from medshare.disk.scan import scan
from medshare.disk.tree import Tree
from medshare.errors import FormatError, StorageError
from medshare.ids import StationId, parcel_id_from_text, station_id_from_text
from medshare.manifest import FileEntry, Manifest, check_path
from medshare.suites.intl import INTL
from tests.incoming_case import (
    PARCEL,
    PART,
    contents,
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
    with PartFolder(tmp_path, PARCEL) as part:
        part.prepare(manifest)
        part.write(0, 0, memoryview(b"1"))
        with pytest.raises(StorageError, match="there already"):
            part.write(2, 0, memoryview(b"22"))
    assert next(tmp_path.rglob("a")).read_bytes() == b"1"


def test_t05_a_name_inside_a_file_is_never_followed(tmp_path: Path) -> None:
    """CVE-2026-32711 of pydicom: what a DICOMDIR names is not followed; the pin is checked."""
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
