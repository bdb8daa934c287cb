"""The manifest: what may be written can be read, and no path leads astray."""

import unicodedata
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical
from medshare.errors import FormatError, LimitError, MedshareError, UnsupportedVersionError
from medshare.manifest import (
    MAX_FILE_SIZE,
    MAX_FILES,
    MAX_MODIFIED,
    MAX_NOTE,
    FileEntry,
    Manifest,
    check_label,
    check_path,
    collision_key,
    parse_manifest,
)
from tests.forger import cbor
from tests.strategies import any_paths, damaged, file_sets, is_allowed, paths


def of(*listed: str, folders: tuple[str, ...] = ()) -> Manifest:
    """Return a manifest of empty files."""
    return Manifest(tuple(FileEntry(path, 0) for path in listed), folders)


@given(file_sets(), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_what_is_written_is_read(files: dict[str, bytes], note: str) -> None:
    """A manifest survives its encoding, and the same octets come out again."""
    manifest = Manifest(
        tuple(FileEntry(path, len(data), 7) for path, data in files.items()), (), note
    )
    data = manifest.encode()
    assert parse_manifest(data) == manifest
    assert parse_manifest(data).encode() == data
    assert manifest.sizes == [len(content) for content in files.values()]


@given(st.lists(any_paths(), min_size=1, max_size=4), st.lists(any_paths(), max_size=2))
def test_writer_and_reader_agree_on_paths(listed: list[str], folders: list[str]) -> None:
    """What the writer refuses the reader refuses too, and what it writes the reader accepts."""
    try:
        data = of(*listed, folders=tuple(folders)).encode()
    except FormatError:
        files = [[path, 0, 0] for path in listed]
        raw = {"critical": {}, "extra": {}, "files": files, "folders": folders, "note": ""}
        with suppress(UnicodeEncodeError):
            data = cbor(raw)
            refused(data)
        return
    assert [entry.path for entry in parse_manifest(data).files] == listed


def refused(data: bytes) -> None:
    """Fail unless *data* is refused as a manifest."""
    try:
        parse_manifest(data)
    except FormatError:
        return
    except UnicodeError as error:
        raise AssertionError from error
    pytest.fail("accepted")


@given(st.binary(max_size=200) | damaged(of("ct/0001.dcm", "ct/0002.dcm").encode()))
def test_any_octets_are_a_manifest_or_refused(data: bytes) -> None:
    """Parsing raises FormatError, or returns what re-encodes to the same octets."""
    try:
        manifest = parse_manifest(data)
    except FormatError:
        return
    assert manifest.encode() == data


ENTRY = ["x", 1, 0]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"files": []}, FormatError),
        ({"files": {}}, FormatError),
        ({"files": [["x", 1]]}, FormatError),
        ({"files": [["x", 1, 0, 0]]}, FormatError),
        ({"files": [["x", True, 0]]}, FormatError),
        ({"files": [["x", 0, False]]}, FormatError),
        ({"files": [[b"x", 1, 0]]}, FormatError),
        ({"files": ["x"]}, FormatError),
        ({"files": [["x", MAX_FILE_SIZE + 1, 0]]}, LimitError),
        ({"files": [["x", 1, MAX_MODIFIED + 1]]}, LimitError),
        ({"files": [ENTRY] * (MAX_FILES + 1)}, LimitError),
        ({"folders": [b"x"]}, FormatError),
        ({"folders": ["x"]}, FormatError),
        ({"folders": ["y", "y"]}, FormatError),
        ({"note": "n" * (MAX_NOTE + 1)}, LimitError),
        ({"note": None}, FormatError),
        ({"extra": []}, FormatError),
        ({"extra": {f"{i}": 0 for i in range(65)}}, LimitError),
        ({"critical": {"links": 1}}, UnsupportedVersionError),
        ({"unknown": 1}, FormatError),
    ],
    ids=repr,
)
def test_other_forms_are_refused(changes: dict[str, object], error: type[MedshareError]) -> None:
    """Each field has one type and its bounds; the kind of fault is told."""
    raw = {"critical": {}, "extra": {}, "files": [ENTRY], "folders": [], "note": ""} | changes
    with pytest.raises(FormatError) as caught:
        parse_manifest(cbor(raw))
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "manifest",
    [
        Manifest(()),
        Manifest((FileEntry("x", -1),)),
        Manifest((FileEntry("x", MAX_FILE_SIZE + 1),)),
        Manifest((FileEntry("x", 1, -1),)),
        Manifest((FileEntry("x", 1, MAX_MODIFIED + 1),)),
        Manifest((FileEntry("x", 1),), (), "n" * (MAX_NOTE + 1)),
        Manifest((FileEntry("x", 1),), (), "lone \udc80"),
        Manifest((FileEntry("lone \udc80", 1),)),
        of("a", "A"),
        of("a/b", folders=("a",)),
    ],
    ids=lambda manifest: repr(manifest)[:60],
)
def test_a_writer_refuses_what_no_reader_accepts(manifest: Manifest) -> None:
    """A sender learns at once, not from the recipient, that its files cannot travel."""
    with pytest.raises(FormatError):
        manifest.encode()


def test_limits_themselves_are_allowed() -> None:
    """The largest file, the latest time and the longest note are within bounds."""
    manifest = Manifest((FileEntry("x", MAX_FILE_SIZE, MAX_MODIFIED),), (), "n" * MAX_NOTE)
    assert parse_manifest(manifest.encode()) == manifest


def test_extensions_are_kept() -> None:
    """What a newer sender adds to `extra` survives reading and writing."""
    manifest = Manifest((FileEntry("x", 1),), (), "", {"later": [1, {"a": None}]})
    assert parse_manifest(manifest.encode()) == manifest


# --- paths --------------------------------------------------------------------------------


@given(any_paths())
def test_an_allowed_path_stays_below_its_folder(path: str) -> None:
    """Whatever is allowed has only plain parts, also after any normalisation or folding."""
    if not is_allowed(path):
        return
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        for name in unicodedata.normalize(form, path).replace("\u200d", "").split("/"):
            assert name not in {"", ".", ".."}
            assert not name.startswith(".")
            assert "\\" not in name
            assert not {unicodedata.category(c) for c in name} & {"Cc", "Cs", "Co", "Zl", "Zp"}


@given(paths())
def test_a_path_is_allowed_with_all_its_beginnings(path: str) -> None:
    """The folders of an allowed path are allowed as well."""
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        check_path("/".join(parts[:count]))


@given(paths(), paths())
def test_paths_that_look_alike_collide(one: str, other: str) -> None:
    """Normalising, changing case or dropping joiners never makes two keys of one."""
    for changed in (
        unicodedata.normalize("NFC", one),
        unicodedata.normalize("NFD", one),
        one.upper().lower() if one.isascii() else one,
        one.replace("\u200c", "").replace("\ufe0f", ""),
    ):
        assert collision_key(changed) == collision_key(one)
    if collision_key(one) == collision_key(other) and one != other:
        with pytest.raises(FormatError):
            of(one, other).encode()


@pytest.mark.parametrize("name", ["con", "Aux", "NUL", "com1", "LPT9", "CONIN$", "prn"])
@pytest.mark.parametrize("suffix", ["", ".txt", ".tar.gz", " .x", "   .x"])
@pytest.mark.parametrize("folder", ["", "a/"])
def test_devices_of_windows_are_refused(name: str, suffix: str, folder: str) -> None:
    """No part of a path opens a device on Windows, whatever follows the name."""
    with pytest.raises(FormatError):
        check_path(folder + name + suffix)
    check_path(f"{folder}{name}x{suffix}")


@pytest.mark.parametrize("code", [*range(32), 127, *range(128, 160), 0x202E, 0x2066, 0xFEFF])
def test_control_characters_are_refused(code: int) -> None:
    """No control, bidi or invisible character reaches a terminal through a name."""
    for path in (f"a{chr(code)}b", f"{chr(code)}b", f"a/b{chr(code)}"):
        with pytest.raises(FormatError):
            check_path(path)


@pytest.mark.parametrize("code", range(0xD800, 0xE000, 97))
def test_surrogates_are_refused(code: int) -> None:
    """A name that is no Unicode text is refused, not written with question marks."""
    with pytest.raises(FormatError):
        check_path(f"a{chr(code)}")


def test_a_hundred_thousand_files_are_listed() -> None:
    """A manifest of 100,000 files in one folder is written and read."""
    manifest = of(*(f"study/series/{number:06d}.dcm" for number in range(100_000)))
    assert parse_manifest(manifest.encode()) == manifest


@given(st.text(max_size=30))
def test_a_label_is_visible(text: str) -> None:
    """A name shown to people is refused, or holds something to see and nothing that hides."""
    try:
        check_label(text)
    except FormatError:
        return
    assert text.strip()
    assert not {unicodedata.category(c) for c in text} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def test_a_manifest_is_deterministic_cbor() -> None:
    """The encoding is that of §2: five fields in order, nothing else."""
    value = canonical.decode(of("x").encode(), limit=1 << 20, what="it")
    assert isinstance(value, dict)
    assert list(value) == ["note", "extra", "files", "folders", "critical"]
