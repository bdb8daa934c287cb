"""Sending and receiving, end to end over the transport in memory."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from medshare.errors import (
    IncompleteError,
    IntegrityError,
    NoIdentityMatchError,
    RelayUnavailableError,
    SourceChangedError,
    StorageError,
    UntrustedSignerError,
    UsageError,
)
from medshare.ids import ParcelId
from medshare.sharing.events import Event, Notice, Planned
from medshare.sharing.receive import ReceiveOptions, ReceiveResult, list_waiting, receive
from medshare.sharing.receipts import find_receipts, receipts_for_folder
from medshare.sharing.send import SendOptions, SendResult, send
from medshare.sharing.verify import verify_folder
from tests.fakes import MemoryStore, MemoryTransport
from tests.people import Person, make_person

CHUNK = 4096
QUICK = ReceiveOptions(wait=0.2, give_up_after=0.5, damage_delay=0.001)


class Case:
    """Two stations that trust each other, a study, and a store between them."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp = tmp_path
        self.a, self.b = make_person(tmp_path / "a", "Alice"), make_person(tmp_path / "b", "Bob")
        self.a.trust(self.b, "bob")
        self.b.trust(self.a, "alice")
        self.store = MemoryStore()
        self.study = tmp_path / "study"
        self.study.mkdir()
        self.write("one.dcm", os.urandom(10_000))
        self.write("two.dcm", b"abc" * 5_000)
        self.write("deep/three.txt", b"small")
        self.write("empty", b"")
        self.events: list[Event] = []

    def write(self, name: str, data: bytes) -> None:
        path = self.study / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)

    def transport(self, person: Person) -> MemoryTransport:
        return MemoryTransport(self.store, person.station.id)

    def send(self, transport: MemoryTransport | None = None, **options: object) -> SendResult:
        return send(
            [self.study],
            to=[self.a.station.contacts.named("bob")],
            identity=self.a.identity,
            station=self.a.station,
            transport=transport or self.transport(self.a),
            options=SendOptions(chunk_size=CHUNK, workers=2, give_up_after=0.5, **options),  # type: ignore[arg-type]  # test keywords
            on_event=self.events.append,
        )

    def receive(
        self,
        parcel: ParcelId,
        *,
        by: Person | None = None,
        transport: MemoryTransport | None = None,
        output: str = "out",
    ) -> ReceiveResult:
        person = by or self.b
        return receive(
            parcel,
            identity=person.identity,
            station=person.station,
            transport=transport or self.transport(person),
            output=self.tmp / output,
            options=QUICK,
            on_event=self.events.append,
        )

    def assert_arrived(self, output: str = "out") -> None:
        for path in self.study.rglob("*"):
            if path.is_file():
                there = self.tmp / output / "study" / path.relative_to(self.study)
                assert there.read_bytes() == path.read_bytes()

    def planned(self) -> list[Planned]:
        return [event for event in self.events if isinstance(event, Planned)]

    def notices(self) -> list[str]:
        return [event.code for event in self.events if isinstance(event, Notice)]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


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
        assert file.digest.value == blake3((case.tmp / "out" / file.path).read_bytes()).digest()
    again = case.send(wait=5)
    assert again.moved_chunks == 0
    assert set(again.receipts) == {case.b.station.id}
    assert find_receipts(case.a.station, sent.parcel) == find_receipts(case.b.station, sent.parcel)


def test_nothing_of_medshare_is_left_in_the_output(case: Case) -> None:
    """After receiving, the output folder holds the study alone."""
    case.receive(case.send().parcel)
    assert [path.name for path in (case.tmp / "out").iterdir()] == ["study"]


def test_received_folder_verifies_and_a_change_is_named(case: Case) -> None:
    """Held against its receipt, a folder is whole until one octet changes; then that file is named."""
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


class Breaking(MemoryTransport):
    """A line that breaks after so many chunks."""

    def __init__(self, store: MemoryStore, station: bytes, after: int) -> None:
        super().__init__(store, station)  # type: ignore[arg-type]  # a StationId
        self.left = after

    def _spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise RelayUnavailableError("the line is down")

    def put_chunk(self, parcel: ParcelId, index: int, sealed: memoryview) -> None:
        self._spend()
        super().put_chunk(parcel, index, sealed)

    def get_chunk(self, parcel: ParcelId, index: int, into: memoryview) -> int:
        self._spend()
        return super().get_chunk(parcel, index, into)


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


def test_a_lost_journal_costs_no_chunk_and_no_correctness(case: Case) -> None:
    """What the far side has, signed by this station, counts even if the journal does not know it."""
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


class Touching(MemoryTransport):
    """Runs something while a chunk is being stored."""

    def __init__(self, store: MemoryStore, station: bytes, act: Callable[[], None]) -> None:
        super().__init__(store, station)  # type: ignore[arg-type]  # a StationId
        self.act = act

    def put_chunk(self, parcel: ParcelId, index: int, sealed: memoryview) -> None:
        self.act()
        super().put_chunk(parcel, index, sealed)


def test_a_source_that_changes_once_while_read_begins_anew(case: Case) -> None:
    """A file that grows while it is sent makes a new parcel with what it became."""
    acts = iter([lambda: case.write("two.dcm", b"other" * 4_000)])
    act = Touching(case.store, case.a.station.id, lambda: next(acts, lambda: None)())
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
    mallory = make_person(case.tmp / "m", "Mallory")
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
    carol = make_person(case.tmp / "c", "Carol")
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


class Damaging(MemoryTransport):
    """Serves one chunk with a flipped bit, so many times."""

    def __init__(self, store: MemoryStore, station: bytes, index: int, times: int) -> None:
        super().__init__(store, station)  # type: ignore[arg-type]  # a StationId
        self.index = index
        self.times = times

    def get_chunk(self, parcel: ParcelId, index: int, into: memoryview) -> int:
        size = super().get_chunk(parcel, index, into)
        if index == self.index and self.times > 0:
            self.times -= 1
            into[size // 2] ^= 1
        return size


def test_a_chunk_damaged_once_is_fetched_again(case: Case) -> None:
    """One damaged arrival costs one more fetch, and nothing else."""
    parcel = case.send().parcel
    case.receive(parcel, transport=Damaging(case.store, case.b.station.id, 2, 1))
    case.assert_arrived()
    assert not case.store.parcels[parcel].wanted


def test_a_chunk_that_stays_damaged_names_its_files_and_keeps_the_rest(case: Case) -> None:
    """A copy that is bad for good ends in exit-code-3 territory, with the file named; healed,
    the same command fetches that chunk alone."""
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
    assert stored.chunks[1] == original


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


def test_another_output_while_receiving_is_refused(case: Case) -> None:
    """A parcel that is half received into one folder is not begun in another unnoticed."""
    parcel = case.send().parcel
    with pytest.raises(RelayUnavailableError):
        case.receive(parcel, transport=Breaking(case.store, case.b.station.id, 2))
    with pytest.raises(UsageError):
        case.receive(parcel, output="elsewhere")


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
