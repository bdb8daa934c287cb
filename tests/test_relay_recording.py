"""relay.recording: what a relay records, that it comes first, and that no flood fills the disk."""

import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical
from medshare.audit.entries import Act, Detail, Entry, Kind, Outcome
from medshare.errors import StorageError
from medshare.ids import ParcelId
from medshare.record.reader import RecordReader
from medshare.relay.log_key import FILE, log_key
from medshare.relay.recording import SIGN_SECONDS, Meter
from medshare.suites.signatures import Verifier
from medshare.wire import problems, routes
from medshare.wire.routes import Target
from tests.builder import Identity, make_identity
from tests.fault import Killed, killed_at
from tests.relay_case import NOW, Case, Request, open_case, rotated, signed
from tests.suites.transport_suite import ALICE, BOB, CAROL, study
from tests.test_relay_access import RECEIPT, dated, upload

PARCEL = study("recorded", recipients=(BOB, CAROL))
STRANGER = make_identity("stranger")


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    """An open relay at which Alice, Bob and Carol are enrolled."""
    with open_case(tmp_path / "relay") as found:
        yield found


def recorded(case: Case) -> list[Entry]:
    """All that the relay has recorded."""
    return list(RecordReader(case.data / "audit").entries())


def told(case: Case) -> list[str]:
    """What the relay has recorded, in words."""
    names = {bytes(one.station): one.name for one in (ALICE, BOB, CAROL, STRANGER)}
    return [
        " ".join(
            filter(
                None,
                [
                    names.get(one.event.actor.id, str(one.event.actor.kind)),
                    str(one.event.act),
                    one.event.code,
                ],
            )
        )
        for one in recorded(case)
    ]


def fetch(case: Case, by: Identity, parcel: ParcelId = PARCEL.id) -> None:
    """Fetch the manifest and all chunks."""
    case.ask(signed(by, Target(routes.GET_MANIFEST, parcel)))
    for index in range(len(PARCEL.chunks)):
        case.ask(signed(by, Target(routes.GET_CHUNK, parcel, index)))


def test_the_life_of_a_parcel_is_recorded(case: Case) -> None:
    """Announced, sealed, fetched once however many requests, received, removed: by whom."""
    upload(case, PARCEL)
    upload(case, PARCEL)
    for _ in range(2):
        fetch(case, BOB)
    for _ in range(2):
        target = Target(routes.PUT_RECEIPT, PARCEL.id, 0, BOB.station)
        assert case.ask(signed(BOB, target, RECEIPT)).status == 204
    assert case.ask(signed(ALICE, Target(routes.REMOVE, PARCEL.id))).status == 204
    assert told(case) == [
        "operator start",
        "alice announce",
        "alice seal",
        "bob fetch",
        "bob receipt",
        "alice delete",
    ]
    announced = recorded(case)[1].event
    assert announced.object.id == PARCEL.id
    assert announced.parties == tuple(sorted((BOB.station, CAROL.station)))
    assert announced.details == {Detail.CHUNKS: len(PARCEL.chunks)}


def test_a_parcel_that_expires_is_recorded(tmp_path: Path) -> None:
    """What the relay erases by itself is in the record as well."""
    with open_case(tmp_path / "relay") as case:
        parcel = dated("expiring", NOW + 100)
        announce = signed(ALICE, Target(routes.PUT_ENVELOPE, parcel.id), parcel.envelope)
        assert case.ask(announce).status == 200
        case.now += 101
        assert case.service.parcels.sweep() == 1
        assert told(case)[-1] == "operator expire"
        assert recorded(case)[-1].event.object.id == parcel.id


def test_a_new_card_is_recorded(case: Case) -> None:
    """A card that takes the place of another one is an entry, by either of the two ways."""
    newer = rotated(ALICE)
    put = Target(routes.PUT_CARD)
    for _ in range(2):
        assert case.ask(signed(newer, put, newer.card.encoded)).status == 204
    assert told(case) == ["operator start", "alice renew"]
    assert recorded(case)[-1].event.details == {Detail.GENERATION: 1}
    newest = rotated(newer)
    assert case.ask(signed(newer, put, newest.card.encoded)).status == 204
    assert told(case)[-1] == "alice renew"


def test_who_is_sent_away_is_recorded(case: Case) -> None:
    """No signature, a stranger's, one used twice, and what is not allowed: each with its code."""
    upload(case, PARCEL)
    inbox = Target(routes.INBOX)
    case.ask(signed(ALICE, inbox, query="after=0").without("signature"))
    case.ask(signed(STRANGER, inbox, query="after=0"))
    once = signed(ALICE, Target(routes.REMOVE, PARCEL.id))
    assert case.ask(signed(BOB, Target(routes.REMOVE, PARCEL.id))).code == problems.FORBIDDEN
    assert case.ask(once).status == 204
    assert case.ask(once).code == problems.SIGNATURE
    found = [one.event for one in recorded(case) if one.event.act is Act.REQUEST]
    assert [(one.code, one.actor.kind, one.actor.id) for one in found] == [
        (problems.UNSIGNED, Kind.UNKNOWN, b""),
        (problems.SIGNATURE, Kind.UNKNOWN, STRANGER.station),
        (problems.FORBIDDEN, Kind.STATION, BOB.station),
        (problems.SIGNATURE, Kind.UNKNOWN, ALICE.station),
    ]
    assert {one.outcome for one in found} == {Outcome.REFUSED}
    assert found[2].object.id == PARCEL.id


def test_what_is_merely_not_there_is_no_entry(case: Case) -> None:
    """Asking for what is not here yet happens all the time, and is nobody's fault."""
    assert case.ask(signed(BOB, Target(routes.GET_SEAL, PARCEL.id))).status == 404
    assert told(case) == ["operator start"]


def test_a_flood_of_refusals_is_counted(case: Case) -> None:
    """Of thousands of refused requests a few are entries; the rest is one number, and none lost."""
    request = signed(STRANGER, Target(routes.INBOX), query="after=0")
    for _ in range(500):
        assert case.ask(request).status == 401
    before = len(recorded(case))
    assert before < 40
    case.service.record.tend()
    found = [one.event for one in recorded(case) if one.event.act is Act.REQUEST]
    counted = [one.details[Detail.COUNT] for one in found if one.details]
    assert len(recorded(case)) == before + 1
    assert sum(one for one in counted if isinstance(one, int)) + len(found) - 1 == 500


@given(st.lists(st.floats(0, 1000), max_size=200))
def test_the_meter_is_bounded_and_loses_nothing(times: list[float]) -> None:
    """In any time no more pass than burst and rate allow, and all others are counted."""
    meter = Meter(burst=5, seconds=10)
    passed = sum(meter.admit("x", now) for now in sorted(times))
    span = max(times) - min(times) if times else 0.0
    assert passed <= 5 + span / 10 + 1e-6
    assert passed + meter.counted()["x"] == len(times)
    assert meter.counted() == Counter()


def test_a_clock_that_jumps_back_opens_no_gap() -> None:
    """A meter whose clock is set back lets nobody through for that."""
    meter = Meter(burst=1, seconds=10)
    assert meter.admit("x", 100)
    assert not meter.admit("x", 0)
    assert not meter.admit("x", 9)


# --- recording comes first -----------------------------------------------------------------------


def broken(case: Case, monkeypatch: pytest.MonkeyPatch, act: Act) -> None:
    """Let the record take no entry of this kind."""
    record = case.service.record.log.record

    def refuse(event: Any) -> Any:
        if event.act is act:
            raise StorageError("could not write the record: the disk is full")
        return record(event)

    monkeypatch.setattr(case.service.record.log, "record", refuse)


REQUESTS: dict[Act, Callable[[], Request]] = {
    Act.ANNOUNCE: lambda: signed(ALICE, Target(routes.PUT_ENVELOPE, PARCEL.id), PARCEL.envelope),
    Act.FETCH: lambda: signed(BOB, Target(routes.GET_CHUNK, PARCEL.id, 0)),
    Act.RECEIPT: lambda: signed(
        BOB, Target(routes.PUT_RECEIPT, PARCEL.id, 0, BOB.station), RECEIPT
    ),
    Act.DELETE: lambda: signed(ALICE, Target(routes.REMOVE, PARCEL.id)),
}


@pytest.mark.parametrize("act", REQUESTS)
def test_what_cannot_be_recorded_is_not_done(
    case: Case, monkeypatch: pytest.MonkeyPatch, act: Act
) -> None:
    """Where the entry fails the request fails, nothing has changed, and it can be made again."""
    if act is not Act.ANNOUNCE:
        upload(case, PARCEL)
    files = case.files()
    with monkeypatch.context() as patch:
        broken(case, patch, act)
        assert case.ask(REQUESTS[act]()).status == 500
    assert case.files() == files
    assert case.ask(REQUESTS[act]()).status in {200, 204}


def test_a_seal_that_cannot_be_recorded_is_not_taken(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parcel does not count as sealed before the record says so."""
    with monkeypatch.context() as patch:
        broken(case, patch, Act.SEAL)
        with pytest.raises(AssertionError):
            upload(case, PARCEL)
    assert not any(name.endswith("/seal") for name in case.files())
    upload(case, PARCEL)
    assert told(case) == ["operator start", "alice announce", "alice seal"]


# --- the log key ---------------------------------------------------------------------------------


def test_the_record_is_signed_by_the_relay_itself(case: Case, tmp_path: Path) -> None:
    """At its start, every five minutes when there is something new, and at its end."""
    checkpoints = case.service.record.log.checkpoints
    assert list(checkpoints.sizes()) == [1]
    upload(case, PARCEL)
    case.service.record.tend()
    assert list(checkpoints.sizes()) == [1]
    case.now += int(SIGN_SECONDS)
    case.service.record.tend()
    assert list(checkpoints.sizes()) == [1, 3]


def test_a_relay_that_was_stopped_has_signed_all(tmp_path: Path) -> None:
    """After a regular end the audit finds no fault and nothing that is not signed."""
    with open_case(tmp_path / "relay") as case:
        upload(case, PARCEL)
    key = log_key(tmp_path / "relay", now=0)
    audit = RecordReader(tmp_path / "relay" / "audit").audit(key.keys)
    assert (audit.findings, audit.report.unsigned) == ((), 0)
    assert told(case)[-1] == "operator stop"


def test_the_log_key_is_made_once_and_private(tmp_path: Path) -> None:
    """It is kept, for its owner alone, shows nothing of itself, and names the record."""
    first = log_key(tmp_path, now=5)
    again = log_key(tmp_path, now=9)
    assert again.origin == first.origin
    assert again.vkeys() == first.vkeys()
    path = tmp_path / FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secrets = canonical.decode(path.read_bytes(), limit=4096, what="a test")
    assert isinstance(secrets, dict)
    for _, secret in secrets["secrets"]:
        assert secret.hex() not in repr(first)
    for one in first.signers:
        Verifier(one.public).verify(one.sign(b"x"), b"x", what="a test")


@pytest.mark.parametrize(
    "change",
    [
        {"label": "another"},
        {"secrets": []},
        {"secrets": [["ed25519", bytes(31)], ["ml-dsa-65", bytes(32)]]},
        {"secrets": [["ml-dsa-65", bytes(32)], ["ed25519", bytes(32)]]},
        {"extra": 1},
    ],
)
def test_a_damaged_log_key_is_said(tmp_path: Path, change: dict[str, Any]) -> None:
    """A key file that is not whole stops the relay, and says what to restore."""
    log_key(tmp_path, now=5)
    path = tmp_path / FILE
    value = canonical.decode(path.read_bytes(), limit=4096, what="a test")
    assert isinstance(value, dict)
    path.write_bytes(canonical.encode(value | change))
    with pytest.raises(StorageError, match="damaged"):
        log_key(tmp_path, now=5)


# --- crashes -------------------------------------------------------------------------------------

LIFE: tuple[Callable[[], Request], ...] = (
    lambda: signed(ALICE, Target(routes.PUT_ENVELOPE, PARCEL.id), PARCEL.envelope),
    lambda: signed(STRANGER, Target(routes.INBOX), query="after=0"),
    lambda: signed(ALICE, Target(routes.REMOVE, PARCEL.id)),
)


def crashed(data: Path, at: int, into: Path) -> tuple[bool, list[bytes]]:
    """Live until change *at* of the disk; leave in *into* what a crash would leave.

    Return whether it came to that, and the entries that were there before.
    """
    with open_case(data) as case:
        reader = RecordReader(data / "audit")
        claimed = [one for _, batch in reader.batches() for one in batch]
        killed = False
        with killed_at(at, more=("pwrite", "fdatasync", "ftruncate")):
            try:
                for request in LIFE:
                    case.ask(request())
            except Killed:
                killed = True
        shutil.copytree(data, into)
    return killed, claimed


@pytest.mark.slow
def test_a_relay_that_is_killed_goes_on_with_its_record(tmp_path: Path) -> None:
    """Killed at each change of the disk in turn, nothing that was recorded is lost or in doubt."""
    at, killed = 1, True
    while killed:
        place = tmp_path / str(at)
        killed, claimed = crashed(place / "before", at, place / "after")
        with open_case(place / "after"):
            pass
        reader = RecordReader(place / "after" / "audit")
        key = log_key(place / "after", now=0)
        audit = reader.audit(key.keys)
        assert (audit.findings, audit.report.unsigned) == ((), 0)
        entries = [one for _, batch in reader.batches() for one in batch]
        assert entries[: len(claimed)] == claimed
        shutil.rmtree(place)
        at += 1
    assert at > 10
