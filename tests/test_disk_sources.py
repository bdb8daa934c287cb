"""Reading what is sent: the octets that were listed, or an error that names the file."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from medshare import canonical
from medshare.disk import sources as module
from medshare.disk.scan import scan
from medshare.disk.sources import SourceReader, Sources
from medshare.errors import SourceChangedError, StorageError


def listed(*paths: Path, follow: bool = False) -> Sources:
    """List *paths*."""
    return scan(paths, follow_symlinks=follow, skip_hidden=False)


def read(reader: SourceReader, sources: Sources, index: int) -> bytes:
    """Return the whole file *index*."""
    view = memoryview(bytearray(sources.sizes[index]))
    reader.read_into(index, 0, view)
    return bytes(view)


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def settle(folder: Path) -> None:
    """Wait for the next tick of the file system's clock: older kernels have coarse ones."""
    probe = folder / "probe"
    probe.write_bytes(b"")
    first = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == first:
        probe.write_bytes(b"")
    probe.unlink()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with three files."""
    folder = tmp_path / "study"
    (folder / "deep/er").mkdir(parents=True)
    (folder / "a").write_bytes(b"first" * 100)
    (folder / "b").write_bytes(b"second" * 100)
    (folder / "deep/er/c").write_bytes(b"third" * 100)
    settle(tmp_path)
    return folder


def test_octets_are_those_on_disk(study: Path) -> None:
    """Each file comes back whole, and any part of it as well."""
    sources = listed(study, study / "a")
    with SourceReader(sources) as reader:
        for index in range(len(sources)):
            path = Path(sources.location(sources.path(index)))
            assert read(reader, sources, index) == path.read_bytes()
        part = memoryview(bytearray(7))
        reader.read_into(1, 9, part)
        assert bytes(part) == (b"second" * 100)[9:16]


def grow(path: Path) -> None:
    """Append to the file."""
    path.write_bytes(path.read_bytes() + b"x")


def become_link(path: Path) -> None:
    """Put a link to an identical file in its place."""
    path.unlink()
    path.symlink_to("new")


def become_folder(path: Path) -> None:
    """Put a folder in its place."""
    path.unlink()
    path.mkdir()


def become_pipe(path: Path) -> None:
    """Put a pipe in its place."""
    path.unlink()
    os.mkfifo(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "grown": grow,
    "shrunk": lambda path: os.truncate(path, 5),
    "emptied": lambda path: path.write_bytes(b""),
    "rewritten": lambda path: path.write_bytes(b"other" * 100),
    "vanished": Path.unlink,
    "replaced": lambda path: path.with_name("new").rename(path),
    "link": become_link,
    "folder": become_folder,
    "pipe": become_pipe,
    "its folder gone": lambda path: path.parent.rename(path.parent.with_name("away")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_file_is_noticed_before_it_is_read(
    study: Path, change: Callable[[Path], object]
) -> None:
    """Whatever happened since the listing, the file is refused and named."""
    sources = listed(study)
    with SourceReader(sources) as reader:
        (study / "deep/er/new").write_bytes(b"third" * 100)
        change(study / "deep/er/c")
        with pytest.raises(SourceChangedError, match="study/deep/er/c changed"):
            read(reader, sources, 2)
        with pytest.raises(SourceChangedError, match="study/deep/er/c changed"):
            reader.require_unchanged(2)
        assert read(reader, sources, 0) == b"first" * 100
        reader.require_unchanged(0)


def test_a_rewrite_that_sets_the_time_back_is_noticed(study: Path) -> None:
    """Same size, same mtime, other octets: ctime tells."""
    sources = listed(study)
    status = (study / "a").stat()
    (study / "a").write_bytes(b"FIRST" * 100)
    os.utime(study / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    with SourceReader(sources) as reader, pytest.raises(SourceChangedError):
        read(reader, sources, 0)


def test_a_file_changed_while_it_is_read_is_noticed(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change after the file was opened shows after each read, not only the last one."""
    sources = listed(study)
    with SourceReader(sources) as reader:
        reader.read_into(0, 0, memoryview(bytearray(10)))
        (study / "a").write_bytes(b"FIRST" * 100)
        with pytest.raises(SourceChangedError, match="study/a changed"):
            reader.read_into(0, 10, memoryview(bytearray(10)))


def test_a_file_that_shrinks_while_it_is_open_is_noticed(study: Path) -> None:
    """The end comes too early: refused, and not an endless wait for more."""
    sources = listed(study)
    with SourceReader(sources) as reader:
        reader.read_into(0, 0, memoryview(bytearray(10)))
        os.truncate(study / "a", 20)
        with pytest.raises(SourceChangedError):
            reader.read_into(0, 10, memoryview(bytearray(100)))


def test_a_parent_exchanged_for_a_link_is_not_followed(study: Path, tmp_path: Path) -> None:
    """CVE-2026-32711 and kin: a folder that became a link is a change, even to the same files."""
    sources = listed(study)
    (study / "deep/er").rename(tmp_path / "moved")
    (study / "deep/er").symlink_to(tmp_path / "moved")
    with SourceReader(sources) as reader, pytest.raises(SourceChangedError):
        read(reader, sources, 2)


def test_followed_links_are_read(study: Path, tmp_path: Path) -> None:
    """With `follow`, files behind links are read like any others."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/link").symlink_to(study)
    sources = listed(tmp_path / "other", follow=True)
    with SourceReader(sources) as reader:
        assert [read(reader, sources, n)[:5] for n in range(3)] == [b"first", b"secon", b"third"]


def test_a_failing_disk_is_a_storage_error(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO is the disk's fault, not a change of the file."""
    sources = listed(study)

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    with SourceReader(sources) as reader, pytest.raises(StorageError, match="input/output") as it:
        read(reader, sources, 0)
    assert not isinstance(it.value, SourceChangedError)


def test_few_files_stay_open(tmp_path: Path) -> None:
    """However many files are read, the number of open descriptors stays bounded."""
    for n in range(300):
        (tmp_path / f"s/{n % 60}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"s/{n % 60}/{n}").write_bytes(b"x")
    sources = listed(tmp_path / "s")
    before = open_descriptors()
    with SourceReader(sources) as reader:
        for index in range(len(sources)):
            read(reader, sources, index)
        assert open_descriptors() - before <= 64 + 40
    assert open_descriptors() == before


def test_threads_read_what_they_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more files than stay open, threads never get each other's octets."""
    monkeypatch.setattr(module, "_OPEN_FILES", 2)
    (tmp_path / "s").mkdir()
    for n in range(20):
        (tmp_path / f"s/{n}").write_bytes(bytes([n]) * 1000)
    sources = listed(tmp_path / "s")
    wrong: list[int] = []
    with SourceReader(sources) as reader:

        def work() -> None:
            for _ in range(20):
                wrong.extend(
                    index
                    for index in range(20)
                    if read(reader, sources, index) != bytes([index]) * 1000
                )

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_description_matches_the_same_files_only(study: Path) -> None:
    """What the journal keeps matches an unchanged listing, and no other."""
    (study / "empty").mkdir()
    described = listed(study).describe()
    assert listed(study).matches(described)
    assert not listed(study).matches(described[:-1])
    (study / "a").write_bytes(b"other" * 100)
    assert not listed(study).matches(described)
    described = listed(study).describe()
    (study / "empty").rmdir()
    assert not listed(study).matches(described)
    described = listed(study).describe()
    (study / "new").write_bytes(b"")
    assert not listed(study).matches(described)


def test_a_description_fits_the_journal(study: Path) -> None:
    """Whatever times files have, before 1970 too, the description can be recorded and read."""
    os.utime(study / "a", ns=(-(10**18), -(10**18)))
    sources = listed(study)
    assert sources.modified_ns[0] == -(10**18)
    recorded = canonical.encode([*sources.describe()])
    read = canonical.decode(recorded, limit=10_000, what="it")
    assert isinstance(read, list)
    assert sources.matches(read)


def test_a_listing_is_lean(tmp_path: Path) -> None:
    """A listing costs two hundred octets a file at most, so that 100,000 files cost 20 MB."""
    import tracemalloc

    for n in range(500):
        (tmp_path / f"s/{n % 10}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"s/{n % 10}/IM-0001-{n:04}.dcm").write_bytes(b"")
    tracemalloc.start()
    try:
        sources = listed(tmp_path / "s")
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(sources) == 500
    assert used / 500 < 200
