"""Interruptions, changed sources and damaged chunks: what moves again, and what does not."""

import os
from pathlib import Path

import pytest

from medshare.chunk import SIGNATURE_SIZE
from medshare.errors import IntegrityError, RelayUnavailableError, SourceChangedError
from medshare.sharing import hashing
from tests.people import SUITES
from tests.sharing_case import Breaking, Case, Damaging, Touching


@pytest.fixture(params=SUITES)
def case(tmp_path: Path, request: pytest.FixtureRequest) -> Case:
    """Return two stations that trust each other, with a study to send."""
    return Case(tmp_path, request.param)


@pytest.mark.parametrize("after", [0, 1, 3, 6])
def test_an_interrupted_send_moves_each_chunk_once(case: Case, after: int) -> None:
    """After a break the same command goes on; no chunk that was confirmed moves again."""
    with pytest.raises(RelayUnavailableError):
        case.send(Breaking(case.store, case.a.station.id, after))
    case.send()
    assert len(case.store.parcels) == 1
    assert sorted(case.store.put_chunks) == sorted(set(case.store.put_chunks))
    case.receive(next(iter(case.store.parcels)))
    case.assert_arrived()


@pytest.mark.parametrize("after", [0, 1, 3, 6])
def test_an_interrupted_receive_fetches_each_chunk_once(case: Case, after: int) -> None:
    """After a break the same command goes on; no chunk that was written is fetched again."""
    parcel = case.send().parcel
    with pytest.raises(RelayUnavailableError):
        case.receive(parcel, transport=Breaking(case.store, case.b.station.id, after))
    assert not (case.tmp / "out" / "study").exists()
    case.receive(parcel)
    case.assert_arrived()
    assert sorted(case.store.got_chunks) == sorted(set(case.store.got_chunks))


def test_what_is_read_back_gives_the_digest_of_the_whole_file(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that an earlier run wrote in part are named with the digest of all their octets."""
    monkeypatch.setattr(hashing, "BLOCK", 1000)  # so that a chunk takes several
    parcel = case.send().parcel
    with pytest.raises(RelayUnavailableError):
        case.receive(parcel, transport=Breaking(case.store, case.b.station.id, 3))
    files = case.receive(parcel).files
    content = {file.path: (case.tmp / "out" / file.path).read_bytes() for file in files}
    assert [file.digest for file in files] == [case.suite.digest(d) for d in content.values()]


def test_a_lost_journal_costs_no_chunk_and_no_correctness(case: Case) -> None:
    """What the far side has, signed by this station, counts without the journal."""
    with pytest.raises(RelayUnavailableError):
        case.send(Breaking(case.store, case.a.station.id, 3))
    journal = next((case.a.station.home / "outbox").glob("*/journal"))
    octets = journal.read_bytes()
    journal.write_bytes(octets[: len(octets) - 40])
    case.send()
    assert sorted(case.store.put_chunks) == sorted(set(case.store.put_chunks))


def test_a_changed_source_begins_a_new_parcel(case: Case) -> None:
    """A source that changed between two runs is sent as a new parcel, and the user is told."""
    with pytest.raises(RelayUnavailableError):
        case.send(Breaking(case.store, case.a.station.id, 3))
    first = set(case.store.parcels)
    case.write("one.dcm", os.urandom(10_001))
    sent = case.send()
    assert sent.parcel not in first
    assert case.notices() == ["send.changed"]
    case.receive(sent.parcel)
    case.assert_arrived()


def test_a_source_that_changes_once_while_read_begins_anew(case: Case) -> None:
    """A file that grows while it is sent makes a new parcel with what it became."""
    left = [b"other" * 4_000]

    def change_once() -> None:
        if left:
            case.write("two.dcm", left.pop())

    act = Touching(case.store, case.a.station.id, change_once)
    sent = case.send(act)
    assert "send.changed" in case.notices()
    case.receive(sent.parcel)
    case.assert_arrived()


def test_a_source_that_keeps_changing_is_given_up(case: Case) -> None:
    """After some restarts, a file that never stays as it is ends the send; nothing is sealed."""
    act = Touching(case.store, case.a.station.id, lambda: case.write("two.dcm", os.urandom(9_000)))
    with pytest.raises(SourceChangedError):
        case.send(act)
    assert all(parcel.seal is None for parcel in case.store.parcels.values())


def test_a_chunk_damaged_once_is_fetched_again(case: Case) -> None:
    """One damaged arrival costs one more fetch, and nothing else."""
    parcel = case.send().parcel
    case.receive(parcel, transport=Damaging(case.store, case.b.station.id, 2, 1))
    case.assert_arrived()
    assert not case.store.parcels[parcel].wanted


def test_a_chunk_that_stays_damaged_names_its_files_and_keeps_the_rest(case: Case) -> None:
    """A copy that is bad for good is an integrity error; mended, that chunk alone is fetched."""
    parcel = case.send().parcel
    with pytest.raises(IntegrityError, match=r"study/one\.dcm"):
        case.receive(parcel, transport=Damaging(case.store, case.b.station.id, 1, 99))
    assert not (case.tmp / "out" / "study").exists()
    assert case.store.parcels[parcel].wanted == {1}
    case.store.got_chunks.clear()
    case.receive(parcel)
    assert case.store.got_chunks == [1]
    case.assert_arrived()


def test_a_wanted_chunk_is_sent_again_without_a_new_parcel(case: Case) -> None:
    """Asked for a chunk again, the sender makes the same octets from the same file."""
    parcel = case.send().parcel
    stored = case.store.parcels[parcel]
    original = stored.chunks[1]
    stored.chunks[1] = b"rotten"
    stored.wanted.add(1)
    case.store.put_chunks.clear()
    sent = case.send()
    assert sent.parcel == parcel
    assert case.store.put_chunks == [1]
    signed = len(original) - SIGNATURE_SIZE  # SM2 never signs twice alike
    assert stored.chunks[1][:signed] == original[:signed]


def test_a_parcel_given_up_is_forgotten_by_the_far_side(case: Case) -> None:
    """When a changed source makes a new parcel, the unfinished one does not stay behind."""
    with pytest.raises(RelayUnavailableError):
        case.send(Breaking(case.store, case.a.station.id, 3))
    case.write("one.dcm", b"changed")
    sent = case.send()
    assert set(case.store.parcels) == {sent.parcel}
