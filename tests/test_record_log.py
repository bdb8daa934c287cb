"""record.log: what is recorded is durable, in one order, and nothing follows a damaged record."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from medshare.audit.entries import Act, Detail, parse_entry
from medshare.audit.evidence import Fault
from medshare.errors import AuditError, StorageError
from medshare.record.log import AuditLog
from medshare.record.segments import MAX_SPAN
from tests.audit_case import START, altered, event
from tests.fault import Killed, killed_at
from tests.record_case import ORIGIN, SIGNER, Record

CALLS = ("pwrite", "ftruncate", "truncate", "fdatasync", "open")


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """An empty record with small segments."""
    return Record(tmp_path / "audit")


def test_what_is_recorded_can_be_read(record: Record) -> None:
    """Entries are there in their order, across segments, and the audit finds no fault."""
    record.grow(40, checkpoint=True)
    found = [parse_entry(data) for data in record.entries()]
    assert [entry.event for entry in found] == [event(number) for number in range(40)]
    assert [entry.time for entry in found] == [START + 1 + number for number in range(40)]
    assert len(record.segments) > 2
    audit = record.audit()
    assert (audit.findings, audit.checkpoints, audit.report.unsigned) == ((), 1, 0)
    assert [entry.number for entry in record.reader().entries(17)] == list(range(17, 40))


def test_full_segments_are_read_only_and_apart(record: Record) -> None:
    """Only the segment that is written to can be written to."""
    record.grow(40)
    *full, last = record.segments
    assert all(
        path.parent.name == "archive" and path.stat().st_mode & 0o777 == 0o400 for path in full
    )
    assert last.parent == record.folder
    assert last.stat().st_mode & 0o777 == 0o600


def test_a_segment_is_closed_when_it_is_old(tmp_path: Path) -> None:
    """After ninety days a new segment is begun, however few entries there are."""
    record = Record(tmp_path / "audit", max_segment=1 << 20)
    record.grow(2)
    record.clock.now += MAX_SPAN + 10
    record.grow(2)
    assert len(record.segments) == 2
    assert record.audit().findings == ()


def test_a_clock_that_is_set_back_is_seen(record: Record) -> None:
    """Times never go back; the entry says by how much the clock did."""
    record.grow(2)
    record.clock.now -= 100
    entry = record.log.record(event(2))
    assert entry.time == START + 2
    assert entry.event.details == {Detail.LATE: 100}
    assert record.audit().findings == ()


def test_processes_and_threads_share_one_order(record: Record) -> None:
    """Whoever appends at the same time, each entry follows the one before."""
    logs = [record.log, record.opened(), record.opened()]

    def append(log: AuditLog) -> None:
        for number in range(15):
            log.record(event(number))

    threads = [threading.Thread(target=append, args=(log,)) for log in (*logs, logs[0])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record.sign()
    audit = record.audit()
    assert (audit.findings, audit.report.size) == ((), 60)


PROGRAM = """
import sys
from pathlib import Path
from medshare.record.log import AuditLog
from tests.audit_case import event
log = AuditLog(Path(sys.argv[1]), max_segment=2000)
for number in range(30):
    log.record(event(number))
"""


@pytest.mark.service
def test_another_process_appends_at_the_same_time(record: Record) -> None:
    """Two processes, each appending, make one record without a fault."""
    root = Path(__file__).resolve().parent.parent
    path = os.pathsep.join([str(root / "src"), str(root)])
    other = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(record.folder)], env={"PYTHONPATH": path}
    )
    for number in range(30):
        record.log.record(event(number))
    assert other.wait(timeout=60) == 0
    record.sign()
    audit = record.audit()
    assert (audit.findings, audit.report.size) == ((), 60)


# --- crashes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 5, 6, 7, 50, 100])
def test_a_torn_frame_is_cut_away(record: Record, cut: int) -> None:
    """What a power cut left of an entry that was never claimed goes, and the record goes on."""
    record.grow(5, checkpoint=True)
    whole = record.segments[-1].read_bytes()
    record.grow(1)
    grown = record.segments[-1].read_bytes()
    record.segments[-1].write_bytes(grown[: len(whole) + cut])
    os.truncate(record.folder / "hashes-0", 5 * 32)
    record.log = record.opened()
    record.grow(2, checkpoint=True)
    audit = record.audit()
    assert (audit.findings, audit.report.size) == ((), 7)


@pytest.mark.parametrize("zeros", [10, 4096])
def test_zeros_at_the_end_are_cut_away(record: Record, zeros: int) -> None:
    """A file that grew without its content does so no longer."""
    record.grow(5)
    with record.segments[-1].open("ab") as file:
        file.write(bytes(zeros))
    record.log = record.opened()
    record.grow(1, checkpoint=True)
    assert record.audit().findings == ()


def test_a_batch_torn_in_the_middle_is_cut_there(tmp_path: Path) -> None:
    """Of entries that were appended together those before the hole stay."""
    record = Record(tmp_path / "audit", max_segment=1 << 20)
    record.grow(2)
    before = record.segments[0].stat().st_size
    record.log.record_all([event(number) for number in range(10)])
    data = bytearray(record.segments[0].read_bytes())
    middle = (before + len(data)) // 2
    data[middle : middle + 20] = bytes(20)
    record.segments[0].write_bytes(data)
    os.truncate(record.folder / "hashes-0", 2 * 32)
    record.log = record.opened()
    assert 2 < record.log.size() < 12
    record.grow(1, checkpoint=True)
    assert record.audit().findings == ()


@pytest.mark.parametrize("left", [0, 1, 4, 5])
@pytest.mark.parametrize("zeros", [False, True])
def test_hashes_that_a_crash_took_are_made_again(record: Record, left: int, zeros: bool) -> None:
    """Noted hashes follow from the entries: fewer, or zeros, are mended."""
    record.grow(5)
    hashes = record.folder / "hashes-0"
    data = hashes.read_bytes()
    hashes.write_bytes(data[: left * 32] + bytes(160 - left * 32) * zeros)
    record.log = record.opened()
    record.sign()
    assert hashes.read_bytes() == data
    assert record.audit().findings == ()


def test_holes_among_the_larger_subtrees_cost_nothing(tmp_path: Path) -> None:
    """Where a kept subtree is missing or zero it is computed from the leaves."""
    record = Record(tmp_path / "audit", max_segment=1 << 20)
    record.log.record_all([event(number) for number in range(1100)])
    record.sign()
    kept = (record.folder / "hashes-8").read_bytes()
    root = record.reader().root(1100)
    assert len(kept) == 4 * 32
    for damaged in (b"", kept[:64], bytes(32) + kept[32:]):
        (record.folder / "hashes-8").write_bytes(damaged)
        assert record.reader().root(1100) == root


def crash(record: Record, at: int) -> bool:
    """Append with a kill at the file system's change number *at*; tell whether it came to it."""
    try:
        with killed_at(at, more=CALLS):
            record.grow(2, checkpoint=True)
    except Killed:
        return True
    return False


def test_killed_anywhere_nothing_that_was_claimed_is_lost(tmp_path: Path) -> None:
    """At each step of appending, rolling and signing a kill leaves a record that goes on."""
    at, going = 1, True
    while going:
        record = Record(tmp_path / str(at), max_segment=1000)
        record.grow(7, checkpoint=True)
        claimed = record.entries()
        going = crash(record, at)
        record.log = record.opened()
        record.grow(1, checkpoint=True)
        audit = record.audit()
        assert audit.findings == ()
        assert record.entries()[:7] == claimed
        assert 8 <= audit.report.size <= 10
        at += 1
    assert at > 20


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_full_disk_refuses_the_act(
    record: Record, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """What cannot be recorded durably raises, leaves no trace, and can be tried again."""
    record.grow(3, checkpoint=True)
    before = record.entries()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(StorageError, match="could not write the record"):
            record.log.record(event(3))
    assert record.entries() == before
    record.grow(1, checkpoint=True)
    assert record.audit().findings == ()


def test_half_a_write_is_taken_back(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk takes only a part of an entry, none of it stays."""
    record.grow(3)
    size = record.segments[-1].stat().st_size
    pwrite = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[:50], at))
        with pytest.raises(StorageError, match="full"):
            record.log.record(event(3))
    assert record.segments[-1].stat().st_size == size
    with pytest.raises(ValueError, match="at once"):
        record.log.record_all([event(1)] * 9000)


# --- a record that was tampered with ------------------------------------------------------------


def test_nothing_is_appended_to_a_record_that_lost_its_end(record: Record) -> None:
    """Entries that were noted, or signed, and are not there, stop whatever would be recorded."""
    record.grow(6, checkpoint=True)
    path = record.segments[-1]
    data, hashes = path.read_bytes(), (record.folder / "hashes-0").read_bytes()
    path.write_bytes(data[:-150])
    with pytest.raises(AuditError) as caught:
        record.opened().record(event(6))
    assert caught.value.code == "audit.truncated"
    (record.folder / "hashes-0").write_bytes(hashes[:-32])
    with pytest.raises(AuditError) as caught:
        record.opened().record(event(6))
    assert caught.value.code == "audit.truncated"
    assert path.read_bytes() == data[:-150]


def test_nothing_is_appended_where_all_entries_are_gone(record: Record) -> None:
    """An empty folder with a checkpoint, or with hashes, is not a new record."""
    record.grow(3, checkpoint=True)
    record.segments[0].unlink()
    with pytest.raises(AuditError) as caught:
        record.opened().record(event(3))
    assert caught.value.code == "audit.truncated"


def replaced(path: Path, old: bytes, new: bytes) -> None:
    """Change octets of a file."""
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize("at", [4, 5])
def test_nothing_is_appended_after_an_altered_entry(record: Record, at: int) -> None:
    """An entry that no checkpoint covers yet, changed in place, is noticed at the next act."""
    record.grow(6)
    entry = record.entries()[at]
    new = altered(entry)[: len(entry)]
    replaced(record.segments[-1], entry, new + entry[len(new) :])
    with pytest.raises(AuditError) as caught:
        record.opened().record(event(6))
    assert caught.value.code == "audit.altered"


def test_two_histories_are_never_signed(record: Record) -> None:
    """A record that was rewritten, hashes and all, gets no checkpoint beside the earlier one."""
    record.grow(4, checkpoint=True)
    other = Record(record.folder.parent / "other")
    other.clock.now += 50
    other.grow(5)
    for path in (*record.folder.glob("entries-*"), record.folder / "hashes-0"):
        path.write_bytes((other.folder / path.name).read_bytes())
    with pytest.raises(AuditError) as caught:
        record.opened().checkpoint(ORIGIN, [SIGNER])
    assert caught.value.code == "audit.rewritten"
    assert record.audit().findings[0].fault is Fault.REWRITTEN


def test_another_record_is_not_continued(record: Record) -> None:
    """A checkpoint is made for the origin of the one before, and no other."""
    record.grow(1, checkpoint=True)
    with pytest.raises(AuditError):
        record.log.checkpoint("medshare/log/other", [SIGNER])


def test_a_checkpoint_of_nothing_new_is_the_old_one(record: Record) -> None:
    """Signing twice makes one file, which is not written again."""
    record.grow(3, checkpoint=True)
    path = record.log.checkpoints.path(3)
    before = path.stat()
    again = record.log.checkpoint(ORIGIN, [SIGNER])
    assert again.size == 3
    assert path.stat().st_ino == before.st_ino


# --- old parts ----------------------------------------------------------------------------------


def test_old_segments_go_and_proofs_stay(record: Record) -> None:
    """Entries past their time are deleted whole segments at a time, recorded, and still proved."""
    record.grow(40, checkpoint=True)
    before = record.segments
    assert record.log.prune(before=START + 1) == 0
    count = record.log.prune(before=START + 20)
    assert 0 < count < 20
    assert not before[0].exists()
    entry = parse_entry(record.entries()[-1])
    assert entry.event.act is Act.PRUNE_RECORD
    assert entry.event.details == {Detail.FIRST: 0, Detail.LAST: count - 1}
    record.grow(5, checkpoint=True)
    audit = record.audit()
    assert (audit.findings, audit.report.first, audit.report.size) == ((), count, 46)
    assert record.reader().prove(30).index == 30


def test_old_segments_that_go_without_a_word_are_missed(record: Record) -> None:
    """A first segment that somebody deleted is a fault, whatever its age."""
    record.grow(40, checkpoint=True)
    size = len(record.reader().segments[0].read().entries)
    record.segments[0].unlink()
    finding = record.audit().findings[0]
    assert (finding.fault, finding.first, finding.last) == (Fault.REMOVED, 0, size - 1)


def test_a_segment_in_the_middle_that_is_gone_is_missed(record: Record) -> None:
    """A file of entries that is not there is named with its extent, and the rest is checked."""
    record.grow(40, checkpoint=True)
    gone = record.reader().segments[1]
    content = gone.read()
    gone.archived.unlink()
    findings = record.audit().findings
    assert [(f.fault, f.first, f.last) for f in findings] == [
        (Fault.REMOVED, content.first, content.number - 1)
    ]
