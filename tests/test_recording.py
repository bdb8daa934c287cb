"""What a station records of its acts, before it does them, and what it never records."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from medshare.audit.checkpoint import keys_of_card
from medshare.audit.entries import Act, Detail, Entry, Kind, Outcome
from medshare.audit.evidence import Fault, Source
from medshare.envelope import parse_envelope
from medshare.errors import (
    IntegrityError,
    MedshareError,
    RelayUnavailableError,
    StorageError,
    UntrustedSignerError,
)
from medshare.receipt import parse_receipt
from medshare.record.reader import Audit, RecordReader
from medshare.seal import parse_seal
from medshare.sharing.anchors import evidence_about
from medshare.sharing.receive import list_waiting
from medshare.sharing.rotate import rotate_identity
from medshare.station import Station
from tests.fakes import MemoryTransport
from tests.people import CHEAP, PASSPHRASE, SUITES, Person, make_person
from tests.sharing_case import Breaking, Case, Damaging

MARKER = "Mueller^Hans-19511103"


@pytest.fixture(params=SUITES)
def case(tmp_path: Path, request: pytest.FixtureRequest) -> Case:
    """Two stations and a study, in each suite."""
    return Case(tmp_path, request.param)


@pytest.fixture
def pair(tmp_path: Path) -> Case:
    """Two stations and a study, in the usual suite."""
    return Case(tmp_path)


def reader(station: Station) -> RecordReader:
    """The record of a station, as an auditor reads it."""
    return RecordReader(station.record.log.folder)


def recorded(person: Person) -> list[Entry]:
    """All that a station has recorded."""
    return list(reader(person.station).entries())


def acts(person: Person) -> list[str]:
    """What a station has recorded, in words."""
    return [
        str(one.event.act) if one.event.outcome is Outcome.DONE else f"{one.event.act} refused"
        for one in recorded(person)
    ]


def audited(person: Person) -> Audit:
    """What an audit of a station's record finds, with all evidence that it keeps."""
    card = person.station.card
    evidence = evidence_about(card, person.station)
    return reader(person.station).audit(keys_of_card(card), evidence=evidence)


def test_a_whole_transfer_is_in_both_records(case: Case) -> None:
    """Sender and recipient record each act once, signed, with ids, tier and numbers."""
    parcel = case.send().parcel
    case.receive(parcel)
    case.send(wait=0.5)
    assert acts(case.a) == ["init", "trust", "send", "seal", "send", "deliver"]
    assert acts(case.b) == ["init", "trust", "open", "export", "receipt"]
    sent = recorded(case.a)[2].event
    assert (sent.actor.kind, sent.actor.id) == (Kind.STATION, case.a.station.id)
    assert (sent.object.id, sent.tier, sent.parties) == (parcel, "routine", (case.b.station.id,))
    assert sent.details[Detail.FILES] == 4
    assert sent.details[Detail.OCTETS] == 25_005
    opened = recorded(case.b)[2].event
    assert (opened.object.id, opened.parties) == (parcel, (case.a.station.id,))
    for person in (case.a, case.b):
        audit = audited(person)
        assert (audit.findings, audit.report.unsigned) == ((), 0)


def test_one_act_is_one_entry_however_large(pair: Case) -> None:
    """The number of entries does not grow with the number of chunks."""
    pair.write("large.dcm", os.urandom(600_000))
    parcel = pair.send().parcel
    pair.receive(parcel)
    assert len(recorded(pair.a)) == 4
    assert len(recorded(pair.b)) == 5


def test_nothing_of_a_patient_is_in_a_record(pair: Case) -> None:
    """Names of files and folders, notes and content are nowhere in it."""
    pair.write(f"{MARKER}/{MARKER}.dcm", MARKER.encode() * 40)
    output = pair.tmp / MARKER
    parcel = pair.send(note=f"for {MARKER}").parcel
    pair.receive(parcel, output=MARKER)
    assert list(output.rglob(f"{MARKER}.dcm"))
    for person in (pair.a, pair.b):
        files = [path for path in person.station.record.log.folder.rglob("*") if path.is_file()]
        content = b"\n".join(path.read_bytes() for path in files)
        assert len(content) > 1000
        for word in (MARKER, "Mueller", "one.dcm", "three.txt", str(pair.tmp)):
            assert word.encode() not in content


def test_a_stranger_who_is_refused_is_recorded(pair: Case) -> None:
    """A parcel of somebody unknown is refused, and the record says so with its code."""
    stranger = make_person(pair.tmp / "c", "Carol")
    parcel = pair.send().parcel
    with pytest.raises(UntrustedSignerError):
        pair.receive(parcel, by=stranger)
    last = recorded(stranger)[-1].event
    assert (last.act, last.outcome) == (Act.OPEN, Outcome.REFUSED)
    assert (last.code, last.object.id) == ("authenticity.untrusted", parcel)
    assert audited(stranger).report.unsigned == 0


def test_a_damaged_parcel_is_recorded_as_refused(pair: Case) -> None:
    """Chunks that stay damaged end in a refused export, and no receipt."""
    parcel = pair.send().parcel
    broken = Damaging(pair.store, pair.b.station.id, 1, 10_000)
    with pytest.raises(IntegrityError):
        pair.receive(parcel, transport=broken)
    assert acts(pair.b) == ["init", "trust", "open", "export refused"]
    assert recorded(pair.b)[-1].event.code.startswith("integrity")


def test_a_line_that_breaks_is_no_refusal(pair: Case) -> None:
    """What did not get through is not recorded as refused; going on is recorded with it."""
    with pytest.raises(RelayUnavailableError):
        pair.send(Breaking(pair.store, pair.a.station.id, 2))
    assert acts(pair.a) == ["init", "trust", "send"]
    pair.send()
    assert acts(pair.a) == ["init", "trust", "send", "send", "seal"]
    assert recorded(pair.a)[3].event.details[Detail.RESUMED] == 2
    assert audited(pair.a).findings == ()


def test_looking_at_what_waits_is_recorded(pair: Case) -> None:
    """Who lists names of files has an entry for each parcel, signed; an empty list has none."""
    transport = pair.transport(pair.b)
    list_waiting(identity=pair.b.identity, station=pair.b.station, transport=transport)
    assert acts(pair.b) == ["init", "trust"]
    parcel = pair.send().parcel
    list_waiting(identity=pair.b.identity, station=pair.b.station, transport=transport)
    assert acts(pair.b) == ["init", "trust", "list"]
    assert recorded(pair.b)[-1].event.object.id == parcel
    assert audited(pair.b).report.unsigned == 0


def test_trust_and_keys_are_recorded(pair: Case) -> None:
    """Giving and taking trust, and new keys, are in the record under the ids concerned."""
    pair.a.station.contacts.distrust("bob", now=5)
    pair.a.station.contacts.trust_again("bob")
    store = pair.a.station.keystore(PASSPHRASE, cost=CHEAP)
    rotate_identity(pair.a.station, store, now=10)
    found = recorded(pair.a)
    assert [str(one.event.act) for one in found[1:]] == ["trust", "distrust", "trust", "rotate"]
    assert found[2].event.object.id == pair.b.station.id
    assert found[4].event.details[Detail.GENERATION] == 1
    audit = audited(pair.a)
    assert (audit.findings, audit.report.unsigned, audit.checkpoints) == ((), 0, 2)


# --- recording comes first -----------------------------------------------------------------------


def fail_at(monkeypatch: pytest.MonkeyPatch, person: Person, act: Act) -> None:
    """Let the record of a station take no entry of this kind."""
    log = person.station.record.log
    record = log.record

    def refuse(event: Any) -> Any:
        if event.act is act:
            raise StorageError("could not write the record: the disk is full")
        return record(event)

    monkeypatch.setattr(log, "record", refuse)


def nothing_sent(case: Case) -> bool:
    """Tell whether the far side knows of nothing."""
    return MemoryTransport(case.store, case.b.station.id).inbox() == ()


def test_what_cannot_be_recorded_is_not_sent(pair: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an entry nothing leaves the station: no announcement, and later no seal."""
    with monkeypatch.context() as patch:
        fail_at(patch, pair.a, Act.SEND)
        with pytest.raises(StorageError, match="record"):
            pair.send()
    assert nothing_sent(pair)
    with monkeypatch.context() as patch:
        fail_at(patch, pair.a, Act.SEAL)
        with pytest.raises(StorageError, match="record"):
            pair.send()
    (parcel,) = pair.transport(pair.b).inbox()
    assert not pair.transport(pair.b).stored(parcel).sealed
    pair.send()
    assert pair.transport(pair.b).stored(parcel).sealed
    assert acts(pair.a)[-1] == "seal"


@pytest.mark.parametrize("act", [Act.OPEN, Act.EXPORT, Act.RECEIPT])
def test_what_cannot_be_recorded_is_not_handed_out(
    pair: Case, monkeypatch: pytest.MonkeyPatch, act: Act
) -> None:
    """Without an entry nothing is opened, no file gets its name, and no receipt is made."""
    parcel = pair.send().parcel
    with monkeypatch.context() as patch:
        fail_at(patch, pair.b, act)
        with pytest.raises(StorageError, match="record"):
            pair.receive(parcel)
    assert (pair.tmp / "out" / "study").exists() == (act is Act.RECEIPT)
    assert list(pair.b.station.receipts().iterdir()) == []
    pair.receive(parcel)
    pair.assert_arrived()
    assert audited(pair.b).findings == ()


def test_a_disk_that_is_full_stops_the_act(pair: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal of the disk itself reaches whoever wanted to act."""
    pwrite = os.pwrite
    folder = str(pair.a.station.record.log.folder)

    def full(file: int, *rest: Any) -> int:
        if str(Path(f"/proc/self/fd/{file}").readlink()).startswith(folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(file, *rest)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match="could not write the record: the disk is full"):
        pair.send()
    assert nothing_sent(pair)


def test_a_record_that_was_cut_stops_every_act(pair: Case) -> None:
    """A station whose record lost its end neither sends nor opens anything."""
    pair.send()
    log = pair.a.station.record.log
    (segment,) = log.folder.glob("entries-*")
    segment.write_bytes(segment.read_bytes()[:-100])
    with pytest.raises(MedshareError) as caught:
        pair.send(anew=True)
    assert caught.value.code == "audit.truncated"


# --- anchors -------------------------------------------------------------------------------------


def test_each_side_holds_an_anchor_of_the_other(case: Case) -> None:
    """Seal and receipt say what the signer's record was, and later records continue that."""
    parcel = case.send().parcel
    case.receive(parcel)
    case.send(wait=0.5)
    envelope_octets = (case.a.station.outbox(parcel) / "envelope").read_bytes()
    seal = parse_seal(
        (case.a.station.outbox(parcel) / "seal").read_bytes(), parse_envelope(envelope_octets)
    )
    assert seal.anchor is not None
    assert seal.anchor.root == reader(case.a.station).root(seal.anchor.size)
    (path,) = case.a.station.receipts().iterdir()
    receipt = parse_receipt(path.read_bytes())
    assert receipt.anchor is not None
    assert receipt.anchor.size == 5
    assert receipt.anchor.root == reader(case.b.station).root(5)
    for person, source in ((case.a, Source.SEAL), (case.b, Source.RECEIPT)):
        audit = audited(person)
        assert source in {one.source for one in audit.report.agreed}
    about_b = evidence_about(case.b.station.card, case.a.station)
    assert [one.size for one in about_b] == [5]


def put_back(station: Station, folder: Path, earlier: Path) -> None:
    """Replace a record by an earlier copy of it, and forget what is kept beside it."""
    shutil.rmtree(folder)
    shutil.copytree(earlier, folder)
    for path in station.receipts().iterdir():
        path.unlink()


def test_the_other_side_finds_a_record_that_was_put_back(pair: Case) -> None:
    """An administrator who restores an old record, and all that speaks of it, is found."""
    log = pair.b.station.record.log
    earlier = pair.tmp / "earlier"
    shutil.copytree(log.folder, earlier)
    parcel = pair.send().parcel
    pair.receive(parcel)
    pair.send(wait=0.5)
    put_back(pair.b.station, log.folder, earlier)
    card = pair.b.station.card
    alone = reader(pair.b.station).audit(
        keys_of_card(card), evidence=evidence_about(card, pair.b.station)
    )
    assert alone.findings == ()
    with_sender = reader(pair.b.station).audit(
        keys_of_card(card), evidence=evidence_about(card, pair.a.station)
    )
    finding = with_sender.findings[0]
    assert (finding.fault, finding.first, finding.last) == (Fault.ROLLED_BACK, 2, 4)


def test_what_is_damaged_or_by_others_is_no_evidence(pair: Case) -> None:
    """Receipts that cannot be read, and those of other stations, say nothing about a record."""
    parcel = pair.send().parcel
    pair.receive(parcel)
    (path,) = pair.b.station.receipts().iterdir()
    path.with_name("0" * 32 + "-x.receipt").write_bytes(b"damaged")
    (pair.a.station.outbox(parcel) / "seal").write_bytes(b"damaged")
    assert len(evidence_about(pair.b.station.card, pair.b.station)) == 1
    assert evidence_about(pair.a.station.card, pair.b.station) == []
    assert evidence_about(pair.a.station.card, pair.a.station) == []
