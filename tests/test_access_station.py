"""sharing.access and sharing.viewing: a station keeps to what was decided, whatever happens."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from medshare.audit.entries import Act, Entry, Outcome
from medshare.errors import (
    AccessDeniedError,
    DigestMismatchError,
    IncompleteError,
    IntegrityError,
    LimitError,
    MedshareError,
    PolicyError,
    SignatureError,
    UsageError,
)
from medshare.grant import Permission
from medshare.ids import ParcelId
from medshare.record.reader import RecordReader
from medshare.sharing import viewing as viewing_module
from medshare.sharing.access import Access, explained
from medshare.sharing.conditions import Conditions, offer_of
from medshare.sharing.incoming import open_parcel
from medshare.sharing.receive import list_waiting
from medshare.sharing.viewing import Viewing, viewing
from medshare.station.emergencies import FOLDER as EMERGENCIES
from medshare.station.openings import openings_of
from medshare.trust.access import Rule
from medshare.trust.roles import ONLY_BUILT_IN
from tests.fakes import MemoryTransport
from tests.people import Person
from tests.sharing_case import CHUNK, Breaking, Case, Damaging
from tests.test_governed import rule

DEPARTMENT = """
version = 1
[[departments]]
parcels = "psychiatry"
open = ["psychiatry"]
"""
LICENSED = """
version = 1
[tiers.routine]
rotate_after = "1y"
"""


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Two stations; nobody has a credential."""
    return Case(tmp_path)


def sent(case: Case, role: str = "attending", *, department: str = "", **terms: int) -> ParcelId:
    """Send the study under *role*."""
    offer = offer_of(role, ONLY_BUILT_IN, **terms)  # type: ignore[arg-type]  # lasts, openings
    conditions = Conditions(everybody=offer, department=department)
    return case.send(conditions=conditions, anew=True).parcel


@contextmanager
def looked(case: Case, parcel: ParcelId, **changes: object) -> Iterator[Viewing]:
    """Let Bob look at *parcel*."""
    given = {"transport": case.transport(case.b), **changes}
    with viewing(parcel, identity=case.b.identity, station=case.b.station, **given) as found:  # type: ignore[arg-type]  # test keywords
        yield found


def entries_of(person: Person, *acts: Act) -> list[Entry]:
    """The entries of *acts* in the record of *person*'s station."""
    found = RecordReader(person.station.record.log.folder).entries()
    return [one for one in found if one.event.act in acts]


def files_below(folder: Path) -> dict[Path, bytes]:
    """Every file below *folder*."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- receiving ------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["trainee", "consultant"])
def test_who_may_only_look_gets_nothing_on_the_disk(case: Case, role: str) -> None:
    """Receiving is refused with the rule, recorded, and leaves nothing: no inbox, no output."""
    parcel = sent(case, role)
    with pytest.raises(PolicyError) as caught:
        case.receive(parcel)
    assert caught.value.code == "policy.permission"
    assert "medshare view" in (caught.value.hint or "")
    assert not (case.tmp / "out").exists()
    assert not list((case.b.station.home / "inbox").iterdir())
    (refused,) = entries_of(case.b, Act.EXPORT)
    assert (refused.event.outcome, refused.event.code) == (Outcome.REFUSED, "policy.permission")
    assert openings_of(case.b.station.home, parcel) == 0


def test_an_attending_receives_once_when_once_was_granted(case: Case) -> None:
    """The one opening is counted; it is refused as a view, and the same receive may go on."""
    parcel = sent(case, openings=1)
    case.receive(parcel)
    case.assert_arrived()
    with pytest.raises(PolicyError) as caught, looked(case, parcel):
        pass
    assert caught.value.code == "policy.openings"
    assert case.receive(parcel).moved_chunks == 0


def test_an_interruption_costs_no_opening(case: Case) -> None:
    """A receive that breaks off and goes on is one opening."""
    parcel = sent(case, openings=1)
    with pytest.raises(MedshareError):
        case.receive(parcel, transport=Breaking(case.store, case.b.station.id, 2))
    assert openings_of(case.b.station.home, parcel) == 1
    case.receive(parcel)
    case.assert_arrived()
    assert openings_of(case.b.station.home, parcel) == 1


def test_a_grant_that_ends_meanwhile_ends_the_receiving(case: Case) -> None:
    """Rules are asked again before files get their names: an end that came meanwhile counts."""
    parcel = sent(case, lasts=60)
    opened = open_parcel(
        parcel,
        identity=case.b.identity,
        station=case.b.station,
        transport=case.transport(case.b),
    )
    clock = [time.time()]
    access = Access(opened.envelope, case.b.station, clock=lambda: clock[0])
    access.begin(Permission.EXPORT)
    clock[0] += 61
    with pytest.raises(PolicyError) as caught:
        access.note(Permission.EXPORT)
    assert caught.value.code == "policy.expired"
    assert not entries_of(case.b, Act.EXPORT)


def test_names_of_files_are_not_shown_to_whom_a_rule_keeps_out(case: Case) -> None:
    """`receive --list` says why, and neither note nor names."""
    parcel = sent(case, department="psychiatry")
    rule(case.b, DEPARTMENT)
    (listing,) = list_waiting(
        identity=case.b.identity, station=case.b.station, transport=case.transport(case.b)
    )
    assert (listing.parcel, listing.manifest) == (parcel, None)
    assert listing.fault is not None
    assert listing.fault.code == "policy.department"


def test_names_of_files_are_shown_while_there_is_an_opening_left(case: Case) -> None:
    """Once the last opening is used up, a list says so, and shows no names."""
    parcel = sent(case, "trainee", openings=1)
    for code in (None, "policy.openings"):
        (listing,) = list_waiting(
            identity=case.b.identity, station=case.b.station, transport=case.transport(case.b)
        )
        assert (listing.manifest is None) == (code is not None)
        assert (listing.fault and listing.fault.code) == code
        if code is None:
            with looked(case, parcel):
                pass


def test_the_tier_may_demand_a_sender_with_a_credential(case: Case) -> None:
    """A sender for whom nobody vouches is refused where the tier says so, and only there."""
    parcel = case.send().parcel
    rule(case.b, LICENSED + 'sender = "licensed"\n')
    with pytest.raises(PolicyError) as caught:
        case.receive(parcel)
    assert caught.value.code == "policy.sender"
    assert "there is no credential of this station here" in caught.value.message
    rule(case.b, LICENSED)
    case.receive(parcel)


def test_the_tier_may_demand_a_reader_with_a_credential(case: Case) -> None:
    """A station without a credential opens nothing of such a tier, not even to look at it."""
    parcel = case.send().parcel
    rule(case.b, LICENSED + 'reader = "licensed"\n')
    with pytest.raises(PolicyError) as caught, looked(case, parcel):
        pass
    assert caught.value.code == "policy.reader"


def test_without_a_credential_nobody_breaks_the_glass(case: Case) -> None:
    """The policy names roles, which only a credential states; no emergency is recorded."""
    parcel = sent(case, department="psychiatry")
    rule(case.b, DEPARTMENT + '[break_glass]\nroles = ["specialist"]\n')
    with pytest.raises(PolicyError) as caught, looked(case, parcel, reason="because " * 4):
        pass
    assert caught.value.code == "policy.break-glass"
    assert not entries_of(case.b, Act.EMERGENCY)
    assert not (case.b.station.home / EMERGENCIES).exists()


def test_a_decision_is_explained_for_oneself_and_for_others(case: Case) -> None:
    """The sender may anything; the recipient what was granted; nothing is recorded or counted."""
    parcel = sent(case, "trainee")
    opened = open_parcel(
        parcel, identity=case.b.identity, station=case.b.station, transport=case.transport(case.b)
    )
    before = len(entries_of(case.b, *Act))
    alice = case.b.station.contacts.named("alice")
    for who, allowed in ((None, False), (alice, True)):
        found, standing = explained(
            opened.envelope,
            Permission.EXPORT,
            case.b.station,
            who=who,
            reason=None,
            now=int(time.time()),
        )
        assert found.allowed is allowed
        assert standing.fault is not None
    assert len(entries_of(case.b, *Act)) == before


# --- looking --------------------------------------------------------------------------------


def test_what_is_looked_at_is_what_was_sent(case: Case) -> None:
    """Every file, over chunks and in any order, has its content; an empty one is empty."""
    parcel = sent(case, "trainee")
    with looked(case, parcel) as found:
        for number in reversed(range(len(found.files))):
            path = case.study.parent / found.files[number].path
            assert found.read(number) == path.read_bytes()


def test_looking_leaves_nothing_on_the_disk(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in the home, the output or the temporary folder holds any of the plaintext."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    secret = os.urandom(24).hex()
    case.write("report.txt", f"finding {secret}".encode() * 20)
    parcel = sent(case, "trainee")
    with looked(case, parcel) as found:
        assert secret.encode() in found.read(found.number_of("report.txt"))
        written = files_below(case.b.station.home)
    written |= files_below(case.b.station.home)
    assert written
    assert not [path for path, octets in written.items() if secret.encode() in octets]
    assert not list(temporary.iterdir())
    assert not (tmp_path / "out").exists()


def test_each_look_is_one_opening_and_one_entry(case: Case) -> None:
    """However many files are read: one entry, one opening; the last one granted is the last."""
    parcel = sent(case, "trainee", openings=2)
    for _ in range(2):
        with looked(case, parcel) as found:
            found.read(0)
            found.read(1)
    assert len(entries_of(case.b, Act.VIEW)) == 2
    with pytest.raises(PolicyError) as caught, looked(case, parcel):
        pass
    assert caught.value.code == "policy.openings"
    assert openings_of(case.b.station.home, parcel) == 2


def test_openings_are_counted_once_among_processes(case: Case) -> None:
    """Two that decide at once do not both get the last opening."""
    parcel = sent(case, "trainee", openings=1)
    opened = open_parcel(
        parcel, identity=case.b.identity, station=case.b.station, transport=case.transport(case.b)
    )
    first, second = (Access(opened.envelope, case.b.station) for _ in range(2))
    first.require(Permission.VIEW)
    second.require(Permission.VIEW)
    first.begin(Permission.VIEW)
    with pytest.raises((PolicyError, AccessDeniedError)):
        second.begin(Permission.VIEW)


def test_a_look_that_is_under_way_ends_with_the_grant(case: Case) -> None:
    """Rules are asked before each file: policy that changed counts at once."""
    parcel = sent(case, "trainee", department="psychiatry")
    with looked(case, parcel) as found:
        found.read(0)
        rule(case.b, DEPARTMENT)
        with pytest.raises(PolicyError) as caught:
            found.read(1)
    assert caught.value.code == "policy.department"


def test_nothing_is_shown_of_what_is_not_sealed(case: Case) -> None:
    """A parcel whose sending broke off is not looked at."""
    with pytest.raises(MedshareError):
        case.send(Breaking(case.store, case.a.station.id, 2))
    (parcel,) = case.transport(case.b).inbox()
    with pytest.raises(IncompleteError), looked(case, parcel):
        pass


def test_a_damaged_chunk_is_not_shown(case: Case) -> None:
    """One flipped bit in transit, and the file is refused."""
    parcel = sent(case, "trainee")
    damaging = Damaging(case.store, case.b.station.id, 0, times=1)
    with (
        looked(case, parcel, transport=damaging) as found,
        pytest.raises((DigestMismatchError, IntegrityError, SignatureError)),
    ):
        found.read(found.number_of("one.dcm"))


class Swapping(MemoryTransport):
    """Serves, in the place of chunk 3, the one that follows: both hold one piece, as long."""

    def get_chunk(self, parcel: ParcelId, index: int, into: memoryview) -> int:
        """The chunk that was asked for, or the one after it."""
        return super().get_chunk(parcel, 4 if index == 3 else index, into)


def test_another_chunk_is_not_shown(case: Case) -> None:
    """A chunk that the sender has sealed for another place shows nothing in this one."""
    case.write("two.dcm", os.urandom(5 * CHUNK))
    parcel = sent(case, "trainee")
    swapping = Swapping(case.store, case.b.station.id)
    with (
        looked(case, parcel, transport=swapping) as found,
        pytest.raises(IntegrityError),
    ):
        found.read(found.number_of("two.dcm"))


def test_a_file_beyond_memory_is_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too large is refused before anything of it is fetched."""
    parcel = sent(case, "trainee")
    monkeypatch.setattr(viewing_module, "MAX_FILE", 100)
    with looked(case, parcel) as found, pytest.raises(LimitError):
        found.read(found.number_of("one.dcm"))


def test_a_cache_that_is_full_forgets_the_oldest(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for one chunk alone, everything can still be looked at."""
    monkeypatch.setattr(viewing_module, "MAX_CACHE", 1)
    parcel = sent(case, "trainee")
    with looked(case, parcel) as found:
        for number in (0, 1, 0):
            path = case.study.parent / found.files[number].path
            assert found.read(number) == path.read_bytes()


def test_files_are_named_by_path_or_by_its_end(case: Case) -> None:
    """A name that fits no file, or several, is refused."""
    case.write("deep/one.dcm", b"other")
    parcel = sent(case, "trainee")
    with looked(case, parcel) as found:
        assert found.files[found.number_of("two.dcm")].path == "study/two.dcm"
        assert found.files[found.number_of("study/one.dcm")].path == "study/one.dcm"
        for name in ("one.dcm", "none", "wo.dcm"):
            with pytest.raises(UsageError):
                found.number_of(name)


def test_the_sender_opens_what_it_has_sent(case: Case) -> None:
    """No rule keeps anybody from what is their own."""
    parcel = sent(case, "trainee", department="psychiatry")
    rule(case.a, DEPARTMENT)
    opened = open_parcel(
        parcel, identity=case.a.identity, station=case.a.station, transport=case.transport(case.a)
    )
    found = Access(opened.envelope, case.a.station).decision(Permission.EXPORT)
    assert found.allowed
    stranger = replace(opened.envelope, sender=case.b.station.id)
    assert Access(stranger, case.a.station).decision(Permission.EXPORT).rule is Rule.GRANT
