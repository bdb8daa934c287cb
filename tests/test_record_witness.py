"""record.witness: one history of each record, never back, and what was shown instead is kept."""

from pathlib import Path

import pytest

from medshare.audit.checkpoint import LogKeys, cosigned_at, witness_name
from medshare.audit.proof import Shown
from medshare.errors import (
    AuditError,
    FormatError,
    SignatureError,
    UntrustedSignerError,
    UsageError,
)
from medshare.ids import StationId
from medshare.record.witness import Witness, read_shown
from medshare.suites.signatures import signer_from_seed
from tests.record_case import KEYS, ORIGIN, SIGNER, Record

OWN = StationId(b"w" * 32)
OWN_SIGNER = signer_from_seed("ed25519", b"w" * 32)
OWN_KEYS = LogKeys(witness_name(OWN), ((OWN_SIGNER.public,),))


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    """A witness that has seen nothing yet."""
    return Witness(tmp_path / "witnessed", witness_name(OWN))


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """The record of somebody else, with five entries."""
    record = Record(tmp_path / "audit")
    record.grow(5, checkpoint=True)
    return record


def see(witness: Witness, shown: Shown, now: int = 7) -> int | None:
    """Let the witness cosign; return the time that it states."""
    return cosigned_at(witness.witness(shown, KEYS, [OWN_SIGNER], now=now), OWN_KEYS)


def test_a_record_that_grows_is_cosigned(witness: Witness, record: Record) -> None:
    """The first checkpoint, the same again, and each that continues the last are cosigned."""
    assert see(witness, record.reader().show(0)) == 7
    assert see(witness, record.reader().show(0), now=8) == 8
    for old, size in ((5, 9), (9, 40)):
        record.grow(size - old, checkpoint=True)
        data = record.reader().show(old).encode()
        assert see(witness, read_shown(data), now=size) == size
    seen = witness.last_seen(ORIGIN)
    assert seen is not None
    assert seen[0].size == 40
    assert witness.last_seen("medshare/log/other") is None


def test_a_checkpoint_alone_will_do_the_first_time(witness: Witness, record: Record) -> None:
    """Without a proof a checkpoint is cosigned when none was seen before."""
    data = record.reader().show(0).note.encode()
    assert see(witness, read_shown(data)) == 7


@pytest.mark.parametrize("old", [0, 4])
def test_a_proof_from_elsewhere_is_sent_back(witness: Witness, record: Record, old: int) -> None:
    """A proof that does not begin where the witness stopped is no accusation: it is asked for."""
    see(witness, record.reader().show(0))
    record.grow(3, checkpoint=True)
    with pytest.raises(UsageError) as caught:
        see(witness, record.reader().show(old))
    assert "--since 5" in str(caught.value.hint)
    assert list((witness._folder).glob("*.forked")) == []


def test_a_record_that_goes_back_is_refused(witness: Witness, record: Record) -> None:
    """A shorter checkpoint than the one seen, though well signed, is refused and kept."""
    early = record.reader().show(0)
    record.grow(3, checkpoint=True)
    see(witness, record.reader().show(0))
    with pytest.raises(AuditError) as caught:
        see(witness, early)
    assert caught.value.code == "audit.rolled-back"
    (kept,) = witness._folder.glob("*.forked")
    assert kept.read_bytes() == early.note.encode()


@pytest.mark.parametrize("size", [5, 6, 9])
def test_a_fork_shown_to_two_readers_is_found(
    witness: Witness, record: Record, tmp_path: Path, size: int
) -> None:
    """Whoever shows the witness another history than before is refused, with the proof of it."""
    see(witness, record.reader().show(0))
    other = Record(tmp_path / "other")
    other.clock.now += 100
    other.grow(size, checkpoint=True)
    with pytest.raises(AuditError) as caught:
        see(witness, other.reader().show(min(5, size)))
    assert caught.value.code == "audit.forked"
    (kept,) = witness._folder.glob("*.forked")
    assert kept.read_bytes() == other.reader().show(0).note.encode()
    seen = witness.last_seen(ORIGIN)
    assert seen is not None
    assert seen[0].root == record.reader().root(5)


def test_only_the_record_itself_is_witnessed(witness: Witness, record: Record) -> None:
    """What is signed by others, or about another record, leaves no trace."""
    shown = record.reader().show(0)
    stranger = signer_from_seed("ed25519", b"x" * 32)
    for keys in (LogKeys(ORIGIN, ((stranger.public,),)), LogKeys("other", KEYS.sets)):
        with pytest.raises(UntrustedSignerError):
            witness.witness(shown, keys, [OWN_SIGNER], now=7)
    data = shown.encode().replace(b"\n5\n", b"\n6\n")
    with pytest.raises(SignatureError):
        witness.witness(read_shown(data), KEYS, [OWN_SIGNER], now=7)
    assert witness.last_seen(ORIGIN) is None


def test_what_is_no_checkpoint_is_not_read() -> None:
    """Octets that are neither a checkpoint nor one with a proof are refused."""
    for data in (b"", b"old 0\n", b"medshare\n"):
        with pytest.raises(FormatError):
            read_shown(data)


def test_an_auditor_with_the_cosignature_sees_the_fork(
    witness: Witness, record: Record, tmp_path: Path
) -> None:
    """A record swapped for another history is exposed by what the witness signed."""
    from medshare.audit.evidence import Evidence, Fault, Source

    record.sign()
    see(witness, record.reader().show(0))
    seen = witness.last_seen(ORIGIN)
    assert seen is not None
    other = Record(tmp_path / "other")
    other.clock.now += 100
    other.grow(9, checkpoint=True)
    evidence = [Evidence(seen[0].size, seen[0].root, Source.WITNESS, "w", 7)]
    finding = other.reader().audit(KEYS, evidence=evidence).findings[0]
    assert (finding.fault, finding.first, finding.last) == (Fault.FORKED, 0, 4)
    assert SIGNER.public in KEYS.sets[0]
