"""record.reader: auditing records as they lie on disk, and proving what is in them."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.audit.checkpoint import LogKeys
from medshare.audit.evidence import Evidence, Fault, Source
from medshare.audit.proof import parse_proof, verified_proof
from medshare.errors import AuditError, NotFoundError, UsageError
from medshare.record.reader import RecordReader
from medshare.suites.signatures import signer_from_seed
from tests.record_case import KEYS, Record

STRANGER = signer_from_seed("ed25519", b"x" * 32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A record of 45 entries in three segments, with four checkpoints; nobody changes it."""
    record = Record(tmp_path_factory.mktemp("record") / "audit")
    for count in (4, 1, 20, 20):
        record.grow(count, checkpoint=True)
    return record


@pytest.fixture
def copy(made: Record, tmp_path: Path) -> Record:
    """A copy of it, to tamper with."""
    shutil.copytree(made.folder, tmp_path / "audit")
    for path in (tmp_path / "audit").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return Record(tmp_path / "audit")


@given(st.integers(0), st.integers(1, 255))
def test_any_changed_octet_of_an_entry_is_located(made: Record, place: int, change: int) -> None:
    """One octet of any entry on disk, changed in any way, is found at its very entry."""
    entries = made.entries()
    number = place % len(entries)
    segment = [one for one in made.reader().segments if one.first <= number][-1]
    path = segment.path if segment.path.exists() else segment.archived
    data = bytearray(path.read_bytes())
    at = data.index(entries[number]) + place // len(entries) % len(entries[number])
    data[at] ^= change
    mode = path.stat().st_mode
    before = path.read_bytes()
    path.chmod(0o600)
    try:
        path.write_bytes(data)
        finding = made.audit().findings[0]
    finally:
        path.write_bytes(before)
        path.chmod(mode)
    assert (finding.fault, finding.first) == (Fault.ALTERED, number)


def test_each_entry_is_proved_to_whoever_has_the_keys(made: Record) -> None:
    """The file of each entry is verified with the keys alone."""
    for number, data in enumerate(made.entries()):
        proof = parse_proof(made.reader().prove(number).encode())
        entry, point = verified_proof(proof, KEYS)
        assert (entry.encode(), point.size) == (data, 45)


def test_what_is_not_there_is_not_proved(made: Record, copy: Record) -> None:
    """No proof is made for an entry that no checkpoint covers, or that is not there."""
    copy.grow(1)
    for number in (45, 46, 10_000):
        with pytest.raises(NotFoundError):
            copy.reader().prove(number)
    with pytest.raises(UsageError, match="45"):
        made.reader().show(46)
    with pytest.raises(AuditError, match="shorter"):
        made.reader().root(46)


def test_an_altered_entry_is_not_proved(copy: Record) -> None:
    """What the record does not bear out is not handed out as a proof."""
    path = copy.segments[0]
    entry = copy.entries()[3]
    path.write_bytes(path.read_bytes().replace(entry, entry[:-1] + b"\x00"))
    with pytest.raises(AuditError) as caught:
        copy.reader().prove(3)
    assert caught.value.code == "audit.inclusion"
    (copy.folder / "hashes-0").write_bytes(b"")
    with pytest.raises(AuditError) as caught:
        copy.reader().prove(4)
    assert caught.value.code == "audit.truncated"


def test_a_record_without_anything_is_none(tmp_path: Path) -> None:
    """A folder in which nothing was recorded is not a record."""
    with pytest.raises(NotFoundError):
        RecordReader(tmp_path)


# --- tampering with what speaks about the entries ------------------------------------------------


def test_a_checkpoint_signed_by_a_stranger_is_a_fault(made: Record) -> None:
    """An auditor with other keys than those that signed believes none of the checkpoints."""
    audit = made.reader().audit(LogKeys(KEYS.name, ((STRANGER.public,),)))
    assert [one.fault for one in audit.findings] == [Fault.FORGED] * 4
    assert audit.report.unsigned == 45


def test_a_checkpoint_of_another_record_is_a_fault(made: Record) -> None:
    """Checkpoints under another name than that of the record are none of its own."""
    audit = made.reader().audit(LogKeys("medshare/log/other", KEYS.sets))
    assert {one.fault for one in audit.findings} == {Fault.FORGED}


def test_checkpoints_by_revoked_keys_count_for_nothing(made: Record) -> None:
    """They neither prove nor accuse, and are counted."""
    keys = LogKeys(KEYS.name, ((STRANGER.public,),), KEYS.sets)
    audit = made.reader().audit(keys)
    assert (audit.findings, audit.checkpoints, audit.revoked) == ((), 0, 4)


@pytest.mark.parametrize("change", [b"", b"nothing", b"\xff"])
def test_a_damaged_checkpoint_is_a_fault(copy: Record, change: bytes) -> None:
    """A checkpoint that was overwritten is named; the others still speak."""
    copy.log.checkpoints.path(5).write_bytes(change)
    audit = copy.audit()
    assert [(one.fault, one.first) for one in audit.findings] == [(Fault.FORGED, 4)]
    assert audit.checkpoints == 3


def test_a_checkpoint_in_the_place_of_another_is_a_fault(copy: Record) -> None:
    """A checkpoint under the size of another one is not taken for it."""
    copy.log.checkpoints.path(5).write_bytes(copy.log.checkpoints.path(25).read_bytes())
    assert copy.audit().findings[0].fault is Fault.FORGED


def test_a_checkpoint_with_another_root_is_a_fault(copy: Record) -> None:
    """A root that nobody signed is found by the signature."""
    path = copy.log.checkpoints.path(5)
    lines = path.read_bytes().split(b"\n")
    lines[2] = copy.log.checkpoints.path(25).read_bytes().split(b"\n")[2]
    path.write_bytes(b"\n".join(lines))
    assert copy.audit().findings[0].fault is Fault.FORGED


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_file_that_is_no_segment_any_more_is_a_gap(copy: Record, at: int) -> None:
    """A file of entries whose beginning was overwritten is missing, with its extent."""
    firsts = [segment.first for segment in copy.reader().segments] + [45]
    path = copy.segments[at]
    path.write_bytes(b"X" + path.read_bytes()[1:])
    finding = copy.audit().findings[0]
    expected = Fault.TRUNCATED if at == 2 else Fault.REMOVED
    assert (finding.fault, finding.first) == (expected, firsts[at])
    with pytest.raises(AuditError, match="damaged"):
        list(copy.reader().entries())


@pytest.mark.parametrize("source", [Source.RECEIPT, Source.SEAL, Source.WITNESS, Source.GIVEN])
def test_a_record_restored_from_an_old_copy_is_found(
    made: Record, tmp_path: Path, source: Source
) -> None:
    """A whole folder put back to an earlier state is found by what others keep."""
    old = Record(tmp_path / "old")
    old.grow(4, checkpoint=True)
    evidence = [Evidence(45, made.reader().root(45), source, "one")]
    finding = old.reader().audit(KEYS, evidence=evidence).findings[0]
    assert (finding.fault, finding.first, finding.last) == (Fault.ROLLED_BACK, 4, 44)
    assert old.audit().findings == ()


def test_what_is_appended_during_an_audit_is_no_fault(copy: Record) -> None:
    """An auditor who reads while others write sees a sound record."""
    reader = copy.reader()
    _ = reader.segments
    noted = reader.hashes.count()
    copy.grow(10, checkpoint=True)
    assert reader.audit(KEYS).findings == ()
    assert reader.hashes.count() > noted
