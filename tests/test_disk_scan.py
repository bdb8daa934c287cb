"""Listing what is sent: everything, in a stable order, and nothing that cannot travel."""

import os
import socket
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.disk.scan import natural_key, scan, shown
from medshare.disk.sources import Sources
from medshare.errors import StorageError, UsageError
from medshare.manifest import MAX_DEPTH, Manifest

HOSTILE_NAMES = [
    "back\\slash",
    "colon:stream",
    "CON",
    "nul.dcm",
    "trailing.",
    "trailing ",
    "question?",
    "new\nline",
    "bell\x07",
    "escape\x1b[31m",
    "right\u202eleft",
    "zero\u200bwidth",
    "\uff0e\uff0e",
    "full\uff0fwidth",
    "line\u2028separator",
    "private\ue000use",
]


def found(*paths: Path, follow: bool = False, skip_hidden: bool = False) -> Sources:
    """Scan with the defaults of the command line."""
    return scan(paths, follow_symlinks=follow, skip_hidden=skip_hidden)


def names(sources: Sources) -> list[str]:
    """Return the paths in the parcel, in order."""
    return [sources.path(index) for index in range(len(sources))]


def make(root: Path, *paths: str) -> None:
    """Make empty files, with the folders that they need."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


def test_files_and_folders_contribute_as_cp_would(tmp_path: Path) -> None:
    """A file gives its name, a folder its name with all below it; sizes and times are true."""
    make(tmp_path, "one.dcm", "study/a/1", "study/b", "other/c")
    sources = found(tmp_path / "one.dcm", tmp_path / "study")
    assert names(sources) == ["one.dcm", "study/b", "study/a/1"]
    assert list(sources.sizes) == [7, 7, 9]
    assert sources.total_size == 23
    entries = list(sources.entries())
    assert entries[0].modified_ns == (tmp_path / "one.dcm").stat().st_mtime_ns
    assert Manifest(tuple(entries)).encode()


def test_order_is_natural_and_stable(tmp_path: Path) -> None:
    """Slice 2 comes before slice 10, files before the folders beside them."""
    make(tmp_path, *(f"s/IM{n}" for n in (1, 10, 2, 100, 20)), "s/10/x", "s/9/x", "s/B", "s/a")
    expected = ["s/a", "s/B", "s/IM1", "s/IM2", "s/IM10", "s/IM20", "s/IM100", "s/9/x", "s/10/x"]
    assert names(found(tmp_path / "s")) == expected


@given(st.lists(st.text(max_size=12), max_size=8, unique=True))
def test_natural_order_is_total(some: list[str]) -> None:
    """Any names can be compared, and different names never compare equal."""
    keys = sorted(natural_key(name) for name in some)
    assert all(a < b for a, b in pairwise(keys))


def test_dots_mean_the_folder_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`send .` and `send ..` use the name that the folder really has."""
    make(tmp_path, "study/series/1")
    monkeypatch.chdir(tmp_path / "study/series")
    assert names(found(Path())) == ["series/1"]
    assert names(found(Path(".."))) == ["study/series/1"]
    assert names(found(Path("1"))) == ["1"]


def test_the_root_folder_has_no_name() -> None:
    """`send /` is refused."""
    with pytest.raises(UsageError, match="the root folder"):
        found(Path("/"))


def test_empty_folders_travel(tmp_path: Path) -> None:
    """A folder without anything in it is listed; one with files or folders is not."""
    make(tmp_path, "s/a/1")
    (tmp_path / "s/b/c").mkdir(parents=True)
    assert found(tmp_path / "s").folders == ("s/b/c",)


def test_nothing_to_send_is_refused(tmp_path: Path) -> None:
    """Junk alone makes no parcel; an empty folder does."""
    (tmp_path / "s").mkdir()
    assert found(tmp_path / "s").folders == ("s",)
    with pytest.raises(UsageError, match="nothing to send"):
        found()


def test_links_are_refused_wherever_they_are(tmp_path: Path) -> None:
    """A link as an argument, to a file, to a folder, or dangling: refused, with what to do."""
    make(tmp_path, "real/1")
    (tmp_path / "to-file").symlink_to("real/1")
    (tmp_path / "to-folder").symlink_to("real")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("to-file", "to-folder", "dangling"):
        inside = tmp_path / f"in-{name}"
        inside.mkdir()
        (tmp_path / name).rename(inside / "link")
        for path in (inside, inside / "link"):
            with pytest.raises(UsageError, match="is a symbolic link") as caught:
                found(path)
            assert "--follow-symlinks" in (caught.value.hint or "")


def test_links_can_be_followed(tmp_path: Path) -> None:
    """When asked for, a link counts as what it points to; a dangling one is unreadable."""
    make(tmp_path, "real/1", "s/2")
    (tmp_path / "s/linked").symlink_to("../real")
    (tmp_path / "s/3").symlink_to("../real/1")
    sources = found(tmp_path / "s", follow=True)
    assert names(sources) == ["s/2", "s/3", "s/linked/1"]
    assert list(sources.sizes) == [3, 6, 6]
    (tmp_path / "s/4").symlink_to("nowhere")
    with pytest.raises(StorageError, match="it does not exist"):
        found(tmp_path / "s", follow=True)


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    """Followed links that lead back upwards are refused, not followed for ever."""
    make(tmp_path, "s/a/1")
    (tmp_path / "s/a/back").symlink_to("..")
    with pytest.raises(UsageError, match="leads back"):
        found(tmp_path / "s", follow=True)


def test_one_folder_may_be_linked_twice(tmp_path: Path) -> None:
    """Two links to the same folder side by side are no loop."""
    make(tmp_path, "real/1")
    (tmp_path / "s").mkdir()
    (tmp_path / "s/a").symlink_to("../real")
    (tmp_path / "s/b").symlink_to("../real")
    assert names(found(tmp_path / "s", follow=True)) == ["s/a/1", "s/b/1"]


def test_special_files_are_refused(tmp_path: Path) -> None:
    """A pipe or a socket is refused at once, not opened."""
    (tmp_path / "s").mkdir()
    os.mkfifo(tmp_path / "s/pipe")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        found(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(UsageError, match="neither a file nor a folder"):
            found(tmp_path / "socket")


def test_junk_of_operating_systems_stays_behind(tmp_path: Path) -> None:
    """What Finder and Explorer strew is left out and told; a folder of it counts as empty."""
    make(tmp_path, "s/1", "s/.DS_Store", "s/Thumbs.db", "s/desktop.ini", "s/._1", "s/.directory")
    make(tmp_path, "s/only/.DS_Store")
    sources = found(tmp_path / "s")
    assert names(sources) == ["s/1"]
    assert sources.folders == ("s/only",)
    assert len(sources.skipped) == 6


def test_hidden_files_are_refused_or_left_out_on_request(tmp_path: Path) -> None:
    """A hidden name stops the send, with what to do; with `skip_hidden` it is left out."""
    make(tmp_path, "s/1", "s/.git/config", "s/.hidden")
    with pytest.raises(UsageError) as caught:
        found(tmp_path / "s")
    assert "--skip-hidden" in (caught.value.hint or "")
    assert names(found(tmp_path / "s", skip_hidden=True)) == ["s/1"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_that_cannot_travel_are_refused_up_front(tmp_path: Path, name: str) -> None:
    """CVE-2026-71313 and kin: the sender refuses the name, shows it harmlessly, says what to do."""
    make(tmp_path, f"s/a/{name}")
    with pytest.raises(UsageError, match="cannot be sent") as caught:
        found(tmp_path / "s")
    assert "rename it" in (caught.value.hint or "")
    assert caught.value.message.isprintable()
    (tmp_path / "s/a" / name).unlink()
    (tmp_path / "s" / name).mkdir()
    with pytest.raises(UsageError, match="cannot be sent"):
        found(tmp_path / "s")


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Octets that are not UTF-8 are refused and shown as escapes."""
    (tmp_path / "s").mkdir()
    with open(os.fsencode(tmp_path / "s") + b"/caf\xe9", "wb"):  # noqa: PTH123  (octets)
        pass
    with pytest.raises(UsageError, match=r"caf\\udce9 cannot be sent"):
        found(tmp_path / "s")


def test_names_that_differ_in_case_or_accents_are_refused(tmp_path: Path) -> None:
    """Two files, or two arguments, that some systems take for one: both are named."""
    make(tmp_path, "s/Scan", "s/scan")
    with pytest.raises(UsageError, match=r"Scan and .*scan would arrive under the same name"):
        found(tmp_path / "s")
    composed, apart = (unicodedata.normalize(form, "t/é") for form in ("NFC", "NFD"))
    make(tmp_path, composed, apart)
    with pytest.raises(UsageError, match="same name"):
        found(tmp_path / "t")


def test_two_arguments_with_one_name_are_refused(tmp_path: Path) -> None:
    """Arguments that would arrive under the same name are refused, the same one twice too."""
    make(tmp_path, "a/CT", "b/CT", "c/ct/1")
    for first, second in (("a/CT", "b/CT"), ("a/CT", "a/CT"), ("a/CT", "c/ct")):
        with pytest.raises(UsageError, match="same name"):
            found(tmp_path / first, tmp_path / second)


def test_too_deep_and_too_long_are_refused(tmp_path: Path) -> None:
    """The format's depth and length hold for the whole path, not only for each name."""
    make(tmp_path, "/".join(["d"] * (MAX_DEPTH - 1)) + "/f")
    assert len(found(tmp_path / "d")) == 1
    make(tmp_path, "e/" + "/".join(["d"] * (MAX_DEPTH - 1)) + "/f")
    with pytest.raises(UsageError, match="too deep"):
        found(tmp_path / "e")
    make(tmp_path, "/".join(["x" * 200] * 6))
    with pytest.raises(UsageError, match="too long"):
        found(tmp_path / ("x" * 200))


def test_missing_and_unreadable_sources_are_storage_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not there, and what may not be read, is said before anything moves."""
    with pytest.raises(StorageError, match=r"could not read .*missing: it does not exist"):
        found(tmp_path / "missing")
    make(tmp_path, "s/1")
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # tests may run as root
    with pytest.raises(StorageError, match="s/1: permission denied"):
        found(tmp_path / "s")


def test_bounds_of_the_format_hold_for_what_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More files, or a larger one, than a parcel carries: refused, with what to do."""
    make(tmp_path, "s/1", "s/2", "s/3")
    monkeypatch.setattr("medshare.disk.scan.MAX_FILES", 2)
    with pytest.raises(UsageError, match="more than 2 files"):
        found(tmp_path / "s")
    os.truncate(tmp_path / "s/1", 1000)
    monkeypatch.setattr("medshare.disk.scan.MAX_FILE_SIZE", 999)
    with pytest.raises(UsageError, match="s/1 is larger"):
        found(tmp_path / "s")


def test_a_folder_that_cannot_be_listed_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is named."""
    make(tmp_path, "s/1")

    def refuse(_: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StorageError, match="/s: permission denied"):
        found(tmp_path / "s")


def test_a_folder_exchanged_for_a_link_is_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2026-32711 and kin: swapped between listing and entering, the link is refused."""
    make(tmp_path, "s/a/1", "secret/2")
    original = os.open

    def swap(path: object, *args: object, **kwargs: object) -> int:
        if path == "a":
            (tmp_path / "s/a").rename(tmp_path / "elsewhere")
            (tmp_path / "s/a").symlink_to(tmp_path / "secret")
        return original(path, *args, **kwargs)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(StorageError, match="not a folder, or is a link"):
        found(tmp_path / "s")


@given(st.text(max_size=30))
def test_anything_can_be_shown_harmlessly(text: str) -> None:
    """What is shown is one printable line, whatever characters a name has."""
    assert shown(text).isprintable()
