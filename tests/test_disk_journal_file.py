"""The journal: what was recorded is there again, whatever happened to the end of the file."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.disk.journal_file import MAX_RECORD, JournalFile
from medshare.errors import StorageError

START = 24
FRAME = 20


def write(path: Path, payloads: list[bytes]) -> None:
    """Make a journal at *path* with these records, or add them."""
    with JournalFile.open(path) as journal:
        list(journal.records())
        for payload in payloads:
            journal.append(payload)


def read(path: Path) -> list[bytes]:
    """Return all records of the journal at *path*."""
    with JournalFile.open(path) as journal:
        return list(journal.records())


PAYLOADS = st.lists(st.binary(min_size=1, max_size=300), max_size=12)


@given(PAYLOADS, PAYLOADS)
def test_records_come_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, first: list[bytes], second: list[bytes]
) -> None:
    """Whatever was appended, in one run or two, is read back as it was."""
    path = tmp_path_factory.mktemp("journal") / "j"
    write(path, first)
    write(path, second)
    assert read(path) == first + second


def test_a_journal_is_private(tmp_path: Path) -> None:
    """The file has mode 0600: it names the files that are sent."""
    write(tmp_path / "j", [b"x"])
    assert stat.S_IMODE((tmp_path / "j").stat().st_mode) == 0o600


def test_a_file_cut_off_anywhere_keeps_every_whole_record(tmp_path: Path) -> None:
    """Truncated to any length, the journal holds the records before the cut and goes on."""
    path = tmp_path / "j"
    payloads = [bytes([n]) * (n * 7 + 1) for n in range(6)]
    write(path, payloads)
    whole = path.read_bytes()
    ends = [START]
    for payload in payloads:
        ends.append(ends[-1] + FRAME + len(payload))
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        kept = sum(1 for end in ends[1:] if end <= size)
        assert read(path) == payloads[:kept]
        write(path, [b"next"])
        assert read(path) == [*payloads[:kept], b"next"]


def test_a_flipped_bit_ends_the_journal_before_it(tmp_path: Path) -> None:
    """Any single bit flipped in a frame costs that record and those behind, never a lie."""
    path = tmp_path / "j"
    payloads = [b"one", b"two", b"three"]
    write(path, payloads)
    whole = path.read_bytes()
    for bit in range(START * 8, len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert read(path) == payloads[: len(read(path))]
        assert len(read(path)) < 3


@pytest.mark.parametrize(
    "tail",
    [bytes(1), bytes(4096), b"\xff" * 4096, bytes(range(256)) * 2],
    ids=["zero", "zeros", "ones", "all-values"],
)
def test_garbage_behind_the_records_is_cut_away(tmp_path: Path, tail: bytes) -> None:
    """Blocks of zeros or noise, as a power cut leaves them, are no records."""
    path = tmp_path / "j"
    write(path, [b"one", b"two"])
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(tail)
    assert read(path) == [b"one", b"two"]
    assert path.stat().st_size == size


def test_a_frame_of_an_earlier_life_is_no_record(tmp_path: Path) -> None:
    """A sound frame that survived behind a cut is refused: it is bound to what was before it."""
    path = tmp_path / "j"
    write(path, [b"one", b"two"])
    frames = path.read_bytes()
    second = frames[START + FRAME + 3 :]
    path.write_bytes(frames[: START + FRAME + 3])
    write(path, [b"other"])
    with path.open("ab") as file:
        file.write(second)
    assert read(path) == [b"one", b"other"]


def test_a_huge_length_allocates_nothing(tmp_path: Path) -> None:
    """A frame that claims more than a record may have is the end, and is not read."""
    path = tmp_path / "j"
    write(path, [b"one"])
    with path.open("ab") as file:
        file.write((MAX_RECORD + 1).to_bytes(4) + bytes(100))
    assert read(path) == [b"one"]


@pytest.mark.parametrize("payload", [b"", bytes(MAX_RECORD + 1)], ids=["empty", "too large"])
def test_a_record_has_a_size(tmp_path: Path, payload: bytes) -> None:
    """No empty record and none beyond the bound is appended."""
    with JournalFile.open(tmp_path / "j") as journal:
        list(journal.records())
        with pytest.raises(ValueError, match="does not fit"):
            journal.append(payload)


def test_another_file_is_left_alone(tmp_path: Path) -> None:
    """A file that is no journal is refused and keeps its octets."""
    path = tmp_path / "j"
    path.write_bytes(b"somebody's thesis, chapter one")
    with pytest.raises(StorageError, match="not a journal"):
        JournalFile.open(path)
    assert path.read_bytes() == b"somebody's thesis, chapter one"


def test_a_link_or_a_pipe_is_no_journal(tmp_path: Path) -> None:
    """What is not a regular file under its own name is refused."""
    (tmp_path / "real").write_bytes(b"")
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(StorageError):
            JournalFile.open(tmp_path / name)
    assert (tmp_path / "real").read_bytes() == b""


TRY_TO_OPEN = """
import pathlib, sys
from medshare.disk.journal_file import JournalFile
from medshare.errors import StorageError
try:
    JournalFile.open(pathlib.Path(sys.argv[1])).close()
    print("opened")
except StorageError as error:
    print(error.message)
"""


def open_elsewhere(path: Path) -> str:
    """Return what another process says that opens the journal at *path*."""
    return subprocess.run(
        [sys.executable, "-c", TRY_TO_OPEN, str(path)],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_journal_is_used_by_one_process_at_a_time(tmp_path: Path) -> None:
    """Another process is refused while the journal is open, and not afterwards."""
    with JournalFile.open(tmp_path / "j"):
        assert "worked on by another medshare" in open_elsewhere(tmp_path / "j")
    assert open_elsewhere(tmp_path / "j") == "opened\n"


def test_a_journal_open_twice_in_one_process_is_refused(tmp_path: Path) -> None:
    """The lock holds within a process, too."""
    with JournalFile.open(tmp_path / "j"), pytest.raises(StorageError, match="another medshare"):
        JournalFile.open(tmp_path / "j")


def test_the_lock_is_on_the_file_that_has_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal removed between opening and locking is not used: the next one is."""
    path = tmp_path / "j"
    write(path, [b"old"])
    original = os.open
    removed: list[Path] = []

    def remove_after_opening(name: object, *args: object, **kwargs: object) -> int:
        file = original(name, *args, **kwargs)  # type: ignore[arg-type]  # passed on as it came
        if name == path and not removed:
            removed.append(path)
            path.unlink()
        return file

    monkeypatch.setattr(os, "open", remove_after_opening)
    assert read(path) == []
    monkeypatch.undo()
    assert path.exists()
    write(path, [b"new"])
    assert read(path) == [b"new"]


def test_records_are_read_before_the_first_append(tmp_path: Path) -> None:
    """Appending without knowing where the sound part ends is a fault of the caller."""
    write(tmp_path / "j", [b"one"])
    with (
        JournalFile.open(tmp_path / "j") as journal,
        pytest.raises(RuntimeError, match="read before"),
    ):
        journal.append(b"two")


def test_a_full_disk_tears_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of which the disk took only a part is undone; later ones find their place."""
    original = os.pwrite
    with JournalFile.open(tmp_path / "j") as journal:
        list(journal.records())
        journal.append(b"one")
        monkeypatch.setattr(
            os, "pwrite", lambda f, data, at: original(f, data[: len(data) // 2], at)
        )
        with pytest.raises(StorageError, match="could not write the journal: the disk is full"):
            journal.append(b"two")
        monkeypatch.undo()
        journal.append(b"three", sync=True)
    assert read(tmp_path / "j") == [b"one", b"three"]


def test_after_a_failed_sync_nothing_more_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk failed to make records durable, the journal takes no more of them."""
    with JournalFile.open(tmp_path / "j") as journal:
        list(journal.records())

        def fail(_: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "fdatasync", fail)
        with pytest.raises(StorageError, match="input/output error"):
            journal.append(b"one", sync=True)
        monkeypatch.undo()
        with pytest.raises(StorageError, match="failed before"):
            journal.append(b"two")


def test_sync_happens_once_for_what_is_durable_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sync` reaches the disk when there is something new, and not otherwise."""
    calls: list[int] = []
    original = os.fdatasync

    def counted(file: int) -> None:
        calls.append(file)
        original(file)

    monkeypatch.setattr(os, "fdatasync", counted)
    with JournalFile.open(tmp_path / "j") as journal:
        list(journal.records())
        journal.append(b"one", sync=True)
        journal.sync()
        assert len(calls) == 1
        journal.append(b"two")
        journal.sync()
        assert len(calls) == 2


def test_threads_append_whole_records(tmp_path: Path) -> None:
    """Records of several threads are all there, each whole, each thread's in its order."""
    with JournalFile.open(tmp_path / "j") as journal:
        list(journal.records())

        def work(name: int) -> None:
            for n in range(100):
                journal.append(bytes([name]) * 50 + n.to_bytes(2), sync=n % 25 == 0)

        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = read(tmp_path / "j")
    for name in range(4):
        mine = [record for record in found if record[0] == name]
        assert mine == [bytes([name]) * 50 + n.to_bytes(2) for n in range(100)]
    assert len(found) == 400


def test_a_removed_journal_is_gone(tmp_path: Path) -> None:
    """`remove` deletes the file, and a new journal begins empty."""
    journal = JournalFile.open(tmp_path / "j")
    list(journal.records())
    journal.append(b"one")
    journal.remove()
    assert not (tmp_path / "j").exists()
    assert read(tmp_path / "j") == []
