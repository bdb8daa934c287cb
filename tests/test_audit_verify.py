"""audit.verify and audit.locate: every way to tamper with a record is found, and its place."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.audit import entries
from medshare.audit.entries import Entry, parse_entry
from medshare.audit.evidence import Fault, Source
from medshare.audit.merkle import EMPTY_ROOT
from tests.audit_case import START, Log, altered, event

SIZE = 40
SIGNED = (1, 10, 11, 25, 40)
"""Sizes after which the record has a checkpoint."""
PLACES = [0, 1, 6, 7, 9, 10, 24, 25, 38, 39]


def alter(log: Log, at: int) -> None:
    """Let entry *at* say something else."""
    log.entries[at] = altered(log.entries[at])


def remove(log: Log, at: int) -> None:
    """Take entry *at* out."""
    del log.entries[at]


def swap(log: Log, at: int) -> None:
    """Let an entry and the next one change places."""
    log.entries[at : at + 2] = reversed(log.entries[at : at + 2])


def insert(log: Log, at: int) -> None:
    """Put an entry in at *at* that fits to the one before it."""
    forged = replace(parse_entry(log.entries[at]), event=event(999))
    log.entries.insert(at, forged.encode())


ATTACKS = {
    Fault.ALTERED: alter,
    Fault.REMOVED: remove,
    Fault.SWAPPED: swap,
    Fault.INSERTED: insert,
}


@pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 300])
def test_a_sound_record_has_no_fault(size: int) -> None:
    """Of a record that nobody touched there is nothing to report."""
    log = Log.of(size, 0, size // 2, size)
    report = log.check()
    assert report.findings == ()
    assert (report.size, report.unsigned, len(report.agreed)) == (size, 0, 3)
    assert report.root == log.evidence[-1].root
    assert size or report.root == EMPTY_ROOT


def test_what_no_evidence_speaks_of_is_counted() -> None:
    """Entries after the newest checkpoint are said to be unsigned."""
    assert Log.of(SIZE, 30).check().unsigned == 10
    assert Log.of(SIZE).check().unsigned == SIZE


@pytest.mark.parametrize("fault", ATTACKS)
@pytest.mark.parametrize("at", PLACES)
def test_a_plain_attack_is_named_and_located(fault: Fault, at: int) -> None:
    """Whoever edits the entries alone is found at the very entry, with or without checkpoints."""
    for log in (Log.of(SIZE, *SIGNED), Log.of(SIZE)):
        if fault is Fault.SWAPPED and at == SIZE - 1:
            return
        ATTACKS[fault](log, at)
        finding = log.check().findings[0]
        expected = fault
        if fault is Fault.REMOVED and at == SIZE - 1:
            expected = Fault.TRUNCATED
        assert (finding.fault, finding.first) == (expected, at)


@pytest.mark.parametrize("fault", ATTACKS)
@pytest.mark.parametrize("at", PLACES)
def test_an_attack_on_the_noted_hashes_as_well_is_located(fault: Fault, at: int) -> None:
    """Whoever edits the noted hashes as well is found by the links between the entries."""
    log = Log.of(SIZE)
    if fault is Fault.SWAPPED and at == SIZE - 1:
        return
    ATTACKS[fault](log, at)
    log.note()
    report = log.check()
    if at == SIZE - 1 and fault in {Fault.ALTERED, Fault.REMOVED}:
        assert report.findings == ()  # nothing follows it and nothing was signed: see below
        return
    assert (report.findings[0].fault, report.findings[0].first) == (fault, at)


@pytest.mark.parametrize("fault", ATTACKS)
@pytest.mark.parametrize("at", PLACES)
def test_a_perfect_forgery_is_located_between_two_checkpoints(fault: Fault, at: int) -> None:
    """Whoever makes all entries and hashes fit again is found at the next signed root."""
    log = Log.of(SIZE, *SIGNED)
    if fault is Fault.SWAPPED and at == SIZE - 1:
        return
    ATTACKS[fault](log, at)
    log.rechain(at)
    finding = log.check().findings[0]
    if fault is Fault.REMOVED and at >= 25:
        # Up to 25 all is well, and there are not the 40 entries that were signed.
        assert (finding.fault, finding.last) == (Fault.TRUNCATED, SIZE - 1)
        return
    good = max((size for size in (0, *SIGNED) if size <= at), default=0)
    bad = min(size for size in SIGNED if size > at)
    assert (finding.fault, finding.first, finding.last) == (Fault.REWRITTEN, good, bad - 1)


@given(st.integers(0, SIZE - 1), st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_octet_is_located(at: int, place: int, change: int) -> None:
    """One octet of one entry, changed in any way, is found at that entry."""
    log = Log.of(SIZE, SIZE)
    data = bytearray(log.entries[at])
    data[place % len(data)] ^= change
    log.entries[at] = bytes(data)
    finding = log.check().findings[0]
    assert (finding.fault, finding.first) == (Fault.ALTERED, at)


@pytest.mark.parametrize("left", [0, 1, 9, 10, 39])
def test_a_cut_end_is_found(left: int) -> None:
    """A record without its end is found by its noted hashes, or else by its checkpoints."""
    log = Log.of(SIZE, *SIGNED)
    del log.entries[left:]
    assert [(f.fault, f.first) for f in log.check().findings] == [(Fault.TRUNCATED, left)]
    log.note()
    assert [(f.fault, f.first, f.last) for f in log.check().findings] == [
        (Fault.TRUNCATED, left, SIZE - 1)
    ]


@pytest.mark.parametrize("source", [Source.RECEIPT, Source.SEAL, Source.WITNESS, Source.GIVEN])
def test_a_record_put_back_to_an_earlier_state_is_found(source: Source) -> None:
    """An old copy, whole in itself, is shorter than what others have seen."""
    log = Log.of(SIZE, 10)
    log.witness(SIZE, source)
    del log.entries[20:]
    log.note()
    finding = log.check().findings[0]
    assert (finding.fault, finding.first, finding.last) == (Fault.ROLLED_BACK, 20, SIZE - 1)


@pytest.mark.parametrize("source", [Source.RECEIPT, Source.SEAL, Source.WITNESS, Source.GIVEN])
def test_a_fork_is_found(source: Source) -> None:
    """Who was shown another history, under a signature, proves that there were two."""
    shown = Log.of(SIZE)
    shown.witness(30, source)
    log = Log.of(SIZE)
    alter(log, 20)
    log.rechain(20)
    for size in (10, 30, 40):
        log.witness(size)
    log.evidence += shown.evidence
    finding = log.check().findings[0]
    assert (finding.fault, finding.first, finding.last) == (Fault.FORKED, 10, 29)


def redate(log: Log, at: int, time: int) -> None:
    """Date entry *at* at *time*, and let all that follows fit."""
    entry: Entry = parse_entry(log.entries[at])
    log.entries[at] = replace(entry, time=time).encode()
    log.rechain(at, times=False)


def test_an_entry_dated_before_its_predecessor_is_found() -> None:
    """Times never go back, so a backdated entry stands out even in an unsigned record."""
    log = Log.of(SIZE)
    redate(log, 20, START + 5)
    finding = log.check().findings[0]
    assert (finding.fault, finding.first) == (Fault.BACKDATED, 20)


def test_an_entry_dated_before_a_witness_saw_the_record_without_it_is_found() -> None:
    """A clock set back for one act is given away by the witness's clock."""
    log = Log.of(20)
    log.witness(20, Source.WITNESS, seen_at=START + 5000)
    more = Log.of(21)
    log.entries.append(more.entries[20])
    log.note()
    finding = log.check().findings[0]
    assert (finding.fault, finding.first) == (Fault.BACKDATED, 20)


def test_an_entry_without_a_time_is_found() -> None:
    """An entry cut off before its time, all hashes fitting, counts as dated before all others."""
    log = Log.of(SIZE)
    entry = parse_entry(log.entries[-1])
    log.entries[-1] = entries.head(entry.number, entry.before)
    log.note()
    finding = log.check().findings[0]
    assert (finding.fault, finding.first) == (Fault.BACKDATED, SIZE - 1)


def test_clocks_may_differ_a_little() -> None:
    """A witness whose clock is minutes ahead accuses nobody."""
    log = Log.of(SIZE)
    log.witness(20, Source.WITNESS, seen_at=START + 20 + 299)
    assert log.check().findings == ()


@pytest.mark.parametrize("kept_from", [1, 9, 10, 11, 39, 40])
def test_old_entries_may_be_gone(kept_from: int) -> None:
    """Where the first entries are no longer kept, their hashes stand for them."""
    log = Log.of(SIZE, *SIGNED)
    report = log.check(kept_from=kept_from)
    assert (report.findings, report.first, report.size) == ((), kept_from, SIZE)
    alter(log, SIZE - 1)
    if kept_from < SIZE:
        assert log.check(kept_from=kept_from).findings[0].first == SIZE - 1


def test_old_entries_may_not_be_gone_with_their_hashes() -> None:
    """Entries of which not even a hash is left are missing."""
    log = Log.of(SIZE, *SIGNED)
    log.noted = b""
    finding = log.check(kept_from=10).findings[0]
    assert (finding.fault, finding.first, finding.last) == (Fault.REMOVED, 0, 9)


def gap(log: Log) -> list[tuple[int, list[bytes]]]:
    """Leave ten entries out."""
    return [(0, log.entries[:10]), (20, log.entries[20:])]


def twice(log: Log) -> list[tuple[int, list[bytes]]]:
    """Hand ten entries out twice."""
    return [(0, log.entries[:20]), (10, log.entries[10:])]


@pytest.mark.parametrize(("batches", "fault"), [(gap, Fault.REMOVED), (twice, Fault.INSERTED)])
def test_a_segment_that_is_gone_or_doubled_is_found(
    batches: Callable[[Log], list[tuple[int, list[bytes]]]], fault: Fault
) -> None:
    """A gap between two files of a record, or an overlap, is a fault with its extent."""
    from medshare.audit.verify import check

    log = Log.of(SIZE, *SIGNED)
    report = check(
        batches(log),
        evidence=log.evidence,
        noted=lambda at, count: log.noted[at * 32 : (at + count) * 32],
    )
    finding = report.findings[0]
    assert (finding.fault, finding.first, finding.last) == (fault, 10, 19)


def test_an_entry_moved_far_and_one_doubled_are_told_apart() -> None:
    """An entry that was moved and one that was copied to another place are both located."""
    log = Log.of(SIZE)
    log.entries.insert(3, log.entries.pop(30))
    finding = log.check(batch=SIZE).findings[0]
    assert (finding.fault, finding.first, finding.last) == (Fault.SWAPPED, 3, 30)
    log = Log.of(SIZE)
    log.entries.insert(3, log.entries[30])
    finding = log.check(batch=SIZE + 1).findings[0]
    assert (finding.fault, finding.first) == (Fault.INSERTED, 3)
    assert entries.number_in(log.entries[3]) == 30
