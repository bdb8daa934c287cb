"""The list by which an interrupted verification goes on: what it believes, and what it does not."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from medshare.digest import Digest
from medshare.disk import checked as module
from medshare.disk.checked import Checked, Stamp
from medshare.errors import MedshareError, StorageError
from medshare.sharing.receipts import receipts_for_folder
from medshare.sharing.verify import FolderReport, verify_folder
from tests.sharing_case import Case

DIGEST = Digest(bytes(range(32)))


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file count as settled at once."""
    monkeypatch.setattr(module, "_SETTLED", -1)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Return two stations, one of which has received a study."""
    case = Case(tmp_path)
    case.receive(case.send().parcel)
    return case


def verified(case: Case) -> FolderReport:
    """Verify what was received, with one list for all runs."""
    out = case.tmp / "out"
    (receipt,) = receipts_for_folder(case.b.station, out)
    with closing(Checked(case.tmp / "list")) as checked:
        return verify_folder(out, receipt, checked=checked)


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of a file as it is."""
    with path.open("rb") as file:
        return Stamp.of(file.fileno())


def test_what_was_read_is_not_read_again(case: Case) -> None:
    """A second run with the same list reads nothing, and still accounts for every file."""
    first, second = verified(case), verified(case)
    assert (first.earlier, second.earlier) == (0, first.files)
    assert (first.faults, second.faults) == ((), ())
    assert first.total_bytes == second.total_bytes


def test_a_change_since_is_found_even_with_times_put_back(case: Case) -> None:
    """A file that changed is read again, whatever its time of modification claims to be."""
    verified(case)
    victim = case.tmp / "out" / "study" / "one.dcm"
    before = victim.stat()
    data = bytearray(victim.read_bytes())
    data[77] ^= 1
    victim.write_bytes(data)
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    report = verified(case)
    assert [fault.where for fault in report.faults] == ["study/one.dcm"]
    assert report.earlier == report.files - 1


def test_what_was_wrong_is_read_again(case: Case) -> None:
    """A file that was found wrong is not on the list."""
    (case.tmp / "out" / "study" / "two.dcm").write_bytes(b"abd" * 5_000)
    for _ in range(2):
        assert [fault.where for fault in verified(case).faults] == ["study/two.dcm"]


def test_a_file_that_has_just_changed_is_not_noted(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change in the same tick of the clock would not show: such a file is read once more."""
    monkeypatch.setattr(module, "_SETTLED", 3600 * 10**9)
    verified(case)
    assert verified(case).earlier == 0


def test_the_list_names_no_file(case: Case) -> None:
    """Names in a folder may be those of patients; the list has none."""
    verified(case)
    text = (case.tmp / "list").read_text()
    assert text
    assert "dcm" not in text
    assert "study" not in text


def test_a_line_that_broke_off_costs_that_file_alone(tmp_path: Path) -> None:
    """What a kill left half written is skipped, and the next line stands alone."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    path = tmp_path / "list"
    with closing(Checked(path)) as checked:
        checked.note(stamp_of(one), DIGEST)
    path.write_bytes(path.read_bytes()[:-5])
    with closing(Checked(path)) as checked:
        assert not checked.has(stamp_of(one), DIGEST)
        checked.note(stamp_of(two), DIGEST)
    with closing(Checked(path)) as checked:
        assert checked.has(stamp_of(two), DIGEST)
        assert not checked.has(stamp_of(one), DIGEST)
        assert not checked.has(stamp_of(two), Digest(bytes(32)))


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_list_that_others_could_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Whoever could write the list could have any file skipped."""
    path = tmp_path / "list"
    path.touch()
    path.chmod(mode)
    with pytest.raises(StorageError, match="somebody else"):
        Checked(path)


def test_a_link_or_a_fifo_is_no_list(tmp_path: Path) -> None:
    """What only leads somewhere else is not opened, and nothing waits for a writer."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo"):
        with pytest.raises(MedshareError):
            Checked(tmp_path / name)
    assert not (tmp_path / "elsewhere").exists()


def test_rubbish_in_a_list_is_passed_over(tmp_path: Path) -> None:
    """A list of anything else vouches for nothing, however long its lines are."""
    path = tmp_path / "list"
    path.write_bytes(os.urandom(100_000))
    path.chmod(0o600)
    (tmp_path / "one").write_bytes(b"1")
    with closing(Checked(path)) as checked:
        assert not checked.has(stamp_of(tmp_path / "one"), DIGEST)
