"""Sending and receiving, end to end over the transport in memory."""

from pathlib import Path

import pytest

from medshare.errors import (
    IncompleteError,
    NoIdentityMatchError,
    RelayUnavailableError,
    StorageError,
    UntrustedSignerError,
    UsageError,
)
from medshare.sharing.events import Notice
from medshare.sharing.receipts import find_receipts, receipts_for_folder
from medshare.sharing.receive import list_waiting
from medshare.sharing.send import send
from medshare.sharing.verify import verify_folder
from tests.people import SUITES, make_person
from tests.sharing_case import Breaking, Case


@pytest.fixture(params=SUITES)
def case(tmp_path: Path, request: pytest.FixtureRequest) -> Case:
    """Return two stations that trust each other, with a study to send."""
    return Case(tmp_path, request.param)


def test_a_study_arrives_whole_and_is_receipted(case: Case) -> None:
    """What was sent is what is there, and both ends hold the receipt that says so."""
    sent = case.send()
    got = case.receive(sent.parcel)
    case.assert_arrived()
    assert {(f.path, f.size) for f in got.files} == {
        (f"study/{name}", (case.study / name).stat().st_size)
        for name in ["deep/three.txt", "empty", "one.dcm", "two.dcm"]
    }
    for file in got.files:
        assert file.digest == case.suite.digest((case.tmp / "out" / file.path).read_bytes())
    again = case.send(wait=5)
    assert again.moved_chunks == 0
    assert set(again.receipts) == {case.b.station.id}
    assert find_receipts(case.a.station, sent.parcel) == find_receipts(case.b.station, sent.parcel)


def test_what_was_delivered_is_not_sent_again(case: Case) -> None:
    """The same command says how it ended; changed files, or a wish, make a new parcel."""
    first = case.send().parcel
    case.receive(first)
    case.send(wait=5)
    again = case.send(wait=5)
    assert (again.parcel, again.moved_chunks, set(again.receipts)) == (
        first, 0, {case.b.station.id},
    )  # fmt: skip
    anew = case.send(anew=True).parcel
    assert anew != first
    assert case.send().parcel == anew
    case.receive(anew)
    case.send(wait=5)
    (case.study / "one.dcm").write_bytes(b"another image")
    assert case.send().parcel not in {first, anew}


def test_a_lost_receipt_is_fetched_again(case: Case) -> None:
    """A delivered parcel whose receipt is gone from here is asked for it once more."""
    parcel = case.send().parcel
    case.receive(parcel)
    case.send(wait=5)
    for kept in case.a.station.receipts().glob("*.receipt"):
        kept.unlink()
    again = case.send(wait=5)
    assert (again.parcel, again.moved_chunks, set(again.receipts)) == (
        parcel, 0, {case.b.station.id},
    )  # fmt: skip
    assert find_receipts(case.a.station, parcel) == find_receipts(case.b.station, parcel)


def test_nothing_of_medshare_is_left_in_the_output(case: Case) -> None:
    """After receiving, the output folder holds the study alone."""
    case.receive(case.send().parcel)
    assert [path.name for path in (case.tmp / "out").iterdir()] == ["study"]


def test_received_folder_verifies_and_a_change_is_named(case: Case) -> None:
    """Held against its receipt, a folder is whole until an octet changes; then it is named."""
    case.receive(case.send().parcel)
    out = case.tmp / "out"
    receipt = receipts_for_folder(case.b.station, out)[0]
    assert verify_folder(out, receipt).faults == ()
    victim = out / "study" / "one.dcm"
    data = bytearray(victim.read_bytes())
    data[77] ^= 1
    victim.write_bytes(data)
    (out / "study" / "empty").unlink()
    (out / "study" / "stray").write_bytes(b"x")
    report = verify_folder(out, receipt)
    assert {fault.where for fault in report.faults} == {"study/one.dcm", "study/empty"}
    assert report.extra == ("study/stray",)


def test_a_vanished_source_is_named(case: Case) -> None:
    """A path that does not exist is refused before anything is made."""
    with pytest.raises(StorageError):
        send(
            [case.tmp / "nothing"],
            to=[case.a.station.contacts.named("bob")],
            identity=case.a.identity,
            station=case.a.station,
            transport=case.transport(case.a),
        )
    assert not case.store.parcels


def test_no_recipient_is_a_usage_error(case: Case) -> None:
    """A parcel to nobody is not made."""
    with pytest.raises(UsageError):
        send(
            [case.study],
            to=[],
            identity=case.a.identity,
            station=case.a.station,
            transport=case.transport(case.a),
        )


def test_an_unknown_sender_is_refused_before_anything_is_written(case: Case) -> None:
    """Well sealed, by somebody nobody here trusts: nothing appears on disk."""
    mallory = make_person(case.tmp / "m", "Mallory", case.suite.name)
    mallory.trust(case.b, "bob")
    sent = send(
        [case.study],
        to=[mallory.station.contacts.named("bob")],
        identity=mallory.identity,
        station=mallory.station,
        transport=case.transport(mallory),
    )
    with pytest.raises(UntrustedSignerError):
        case.receive(sent.parcel)
    assert not (case.tmp / "out").exists()
    listing = list_waiting(
        identity=case.b.identity, station=case.b.station, transport=case.transport(case.b)
    )
    assert [(one.sender, one.manifest) for one in listing] == [(None, None)]


def test_a_parcel_for_somebody_else_does_not_open(case: Case) -> None:
    """A third station that gets hold of a parcel can open nothing of it."""
    sent = case.send()
    carol = make_person(case.tmp / "c", "Carol", case.suite.name)
    carol.trust(case.a, "alice")
    with pytest.raises(NoIdentityMatchError):
        case.receive(sent.parcel, by=carol)


def test_listing_shows_the_verified_manifest_and_writes_nothing(case: Case) -> None:
    """Before accepting, the recipient sees sender, files and sizes; nothing is on disk."""
    case.send()
    inbox = case.b.station.home / "inbox"
    before = sorted(inbox.rglob("*"))
    (listing,) = list_waiting(
        identity=case.b.identity, station=case.b.station, transport=case.transport(case.b)
    )
    assert listing.sender is not None
    assert listing.sender.name == "alice"
    assert listing.manifest is not None
    assert len(listing.manifest.files) == 4
    assert sorted(inbox.rglob("*")) == before


def test_a_parcel_that_cannot_be_read_does_not_hide_the_others(case: Case) -> None:
    """A listing goes on behind an envelope that is damaged or of a kind unknown here."""
    case.send()
    case.write("one.dcm", b"another study")
    other = case.send().parcel
    case.store.parcels[other].envelope = b"not an envelope"
    listing = list_waiting(
        identity=case.b.identity, station=case.b.station, transport=case.transport(case.b)
    )
    assert {one.parcel == other: one.fault is None for one in listing} == {True: False, False: True}


def test_an_unfinished_parcel_is_not_a_success(case: Case) -> None:
    """While the seal is missing nothing gets a final name, and waiting ends."""
    with pytest.raises(RelayUnavailableError):
        case.send(Breaking(case.store, case.a.station.id, 4))
    parcel = next(iter(case.store.parcels))
    with pytest.raises(IncompleteError):
        case.receive(parcel)
    assert not (case.tmp / "out" / "study").exists()
    case.send()
    case.receive(parcel)
    case.assert_arrived()


def test_all_chunks_without_a_seal_are_not_a_success(case: Case) -> None:
    """Every chunk there, but no seal: the parcel is unfinished."""
    parcel = case.send().parcel
    case.store.parcels[parcel].seal = None
    with pytest.raises(IncompleteError):
        case.receive(parcel)
    assert not (case.tmp / "out" / "study").exists()


def test_receiving_twice_hands_in_the_receipt_again(case: Case) -> None:
    """A receipt that got lost is handed in by running the same command again."""
    parcel = case.send().parcel
    case.receive(parcel)
    case.store.parcels[parcel].receipts.clear()
    case.store.got_chunks.clear()
    case.receive(parcel)
    assert set(case.store.parcels[parcel].receipts) == {case.b.station.id}
    assert case.store.got_chunks == []


def test_another_output_begins_anew_there(case: Case) -> None:
    """A disk that is full or gone is left behind by naming another folder; nothing stays there."""
    parcel = case.send().parcel
    with pytest.raises(RelayUnavailableError):
        case.receive(parcel, transport=Breaking(case.store, case.b.station.id, 2))
    case.receive(parcel, output="elsewhere")
    case.assert_arrived("elsewhere")
    assert list((case.tmp / "out").iterdir()) == []


def test_what_was_received_is_not_received_into_another_folder(case: Case) -> None:
    """A parcel that has its final names somewhere says where, instead of a second copy."""
    parcel = case.send().parcel
    case.receive(parcel)
    with pytest.raises(UsageError, match="out"):
        case.receive(parcel, output="elsewhere")


def test_a_folder_without_any_file_is_not_sent(case: Case) -> None:
    """Whoever picks the wrong folder is told, instead of sending nothing as a success."""
    for path in sorted(case.study.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(UsageError):
        case.send()
    assert not case.store.parcels


def test_an_existing_different_file_is_never_overwritten(case: Case) -> None:
    """What lies at a final name already stays, and nothing is put beside it."""
    parcel = case.send().parcel
    there = case.tmp / "out" / "study" / "one.dcm"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"mine")
    with pytest.raises(StorageError):
        case.receive(parcel)
    assert there.read_bytes() == b"mine"
    assert [path.name for path in there.parent.iterdir()] == ["one.dcm"]
    there.unlink()
    case.receive(parcel)
    case.assert_arrived()


def test_progress_counts_resumed_chunks_apart(case: Case) -> None:
    """The plan of a second run says what need not move again."""
    with pytest.raises(RelayUnavailableError):
        case.send(Breaking(case.store, case.a.station.id, 3))
    sent = case.send()
    assert [plan.resumed_chunks for plan in case.planned()] == [0, 3]
    assert sent.moved_chunks + sent.resumed_chunks == sent.chunks


def test_a_recipient_that_is_not_enrolled_is_named_once(case: Case) -> None:
    """Whoever cannot fetch the parcel yet is a notice by the sender's own name of them."""
    transport = case.transport(case.a)
    transport.absent = (case.b.station.id,)
    case.send(transport)
    assert case.notices() == ["send.not-enrolled"]
    (told,) = [event.message for event in case.events if isinstance(event, Notice)]
    assert "'bob' cannot fetch this yet" in told
