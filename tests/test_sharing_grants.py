"""Parcels that continue others, between stations: what is sent, refused and recorded."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import medshare
from medshare.audit.entries import Act
from medshare.envelope import Envelope, encode_envelope, parse_envelope
from medshare.errors import (
    AccessDeniedError,
    GrantError,
    IntegrityError,
    MedshareError,
    NotFoundError,
    PolicyError,
    UntrustedSignerError,
    UsageError,
)
from medshare.grant import Kind, Lineage
from medshare.ids import ParcelId, StationId
from medshare.record.reader import RecordReader
from medshare.sharing.conditions import Conditions, offer_of
from medshare.sharing.continuing import (
    conditions_after,
    continuation,
    parcels_at,
    received_files,
)
from medshare.sharing.receive import ReceiveOptions, ReceiveResult, list_waiting, receive
from medshare.sharing.send import SendOptions, SendResult, send
from medshare.sharing.verify import verify
from medshare.vault.granted import granting_envelope
from medshare.vault.keeping import KeepingTransport
from medshare.vault.opening import open_from_vault
from medshare.vault.reseal import reseal
from medshare.vault.store import Vault
from tests.fakes import MemoryStore, MemoryTransport
from tests.people import Person, make_person
from tests.test_governed import rule

PSYCHIATRY = """
version = 1
[[departments]]
parcels = "psychiatry"
open = ["psychiatry"]
"""
QUICK = ReceiveOptions(wait=0.2, give_up_after=0.5)


class Ward:
    """Stations a to d and a store between them; all but d trust one another, d trusts b alone."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.people = {name: make_person(tmp / name, name) for name in "abcd"}
        for name, person in self.people.items():
            known = {"d": "b"}.get(name, "abcd")
            for other in set(known) - {name}:
                person.trust(self.people[other], other)
        self.store = MemoryStore()
        self.study = tmp / "study"
        self.study.mkdir()
        (self.study / "one.dcm").write_bytes(bytes(range(256)) * 40)

    def __getitem__(self, name: str) -> Person:
        return self.people[name]

    def line(self, name: str) -> MemoryTransport:
        """Return the store as somebody sees it."""
        return MemoryTransport(self.store, self[name].station.id)

    def send(
        self, by: str, to: str, paths: Sequence[Path] = (), role: str | None = None, **more: Any
    ) -> SendResult:
        """Let *by* send to each letter of *to*."""
        return send(
            paths or [self.study],
            to=[self[by].station.contacts.named(one) for one in to],
            identity=self[by].identity,
            station=self[by].station,
            transport=self.line(by),
            options=SendOptions(chunk_size=4096, workers=1, **more),
            role=role,
        )

    def go_on(
        self, kind: Kind, by: str, to: str, parcel: ParcelId, role: str | None = None
    ) -> SendResult:
        """Let *by* continue a parcel as a person would."""
        station = self[by].station
        before = continuation(parcel, kind, station=station, transport=self.line(by))
        stations = [self[one].station.id for one in to]
        offer = None if role is None else offer_of(role, station.policy.roles)
        asked = Conditions(everybody=offer)
        after = conditions_after(before, station.id, stations, asked=asked)
        paths = received_files(parcel, station) if kind is Kind.SHARE else ()
        return self.send(by, to, paths, conditions=after)

    def receive(self, by: str, parcel: ParcelId) -> ReceiveResult:
        """Let *by* receive into a folder of its own."""
        person = self[by]
        return receive(
            parcel, identity=person.identity, station=person.station, transport=self.line(by),
            output=self.tmp / f"in-{by}", options=QUICK,
        )  # fmt: skip

    def envelope(self, parcel: ParcelId) -> Envelope:
        """Return an envelope that is in the store."""
        return parse_envelope(self.line("a").get_envelope(parcel))

    def faults(self, by: str) -> set[str]:
        """Return why what waits for *by* cannot be opened."""
        person = self[by]
        found = list_waiting(
            identity=person.identity, station=person.station, transport=self.line(by)
        )
        return {one.fault.code for one in found if one.fault is not None}


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    """Four stations."""
    return Ward(tmp_path)


def test_the_api_grants_a_role(ward: Ward) -> None:
    """`medshare.send(…, role=…)` gives every recipient that role, and each act is recorded."""
    assert medshare.send is send
    parcel = ward.send("a", "bc", role="consultant").parcel
    assert {one.role for one in ward.envelope(parcel).grants} == {"consultant"}
    entries = RecordReader(ward["a"].station.home / "audit").entries()
    (grant,) = (one.event for one in entries if one.event.act is Act.GRANT)
    assert grant.role == "consultant"
    assert set(grant.parties) == {ward["b"].station.id, ward["c"].station.id}


def test_each_step_is_recorded_and_received(ward: Ward) -> None:
    """Passed on, answered and amended: recipients see the lineage, records name the act."""
    first = ward.send("a", "b", role="attending").parcel
    ward.receive("b", first)
    shared = ward.go_on(Kind.SHARE, "b", "c", first).parcel
    answer = ward.go_on(Kind.OPINION, "c", "b", shared).parcel
    revision = ward.go_on(Kind.REVISION, "b", "a", first).parcel
    assert ward.receive("c", shared).envelope == ward.envelope(shared)
    for name, parcel in (("b", answer), ("a", revision)):
        ward.receive(name, parcel)
    acts = [
        one.event.act
        for name in "bc"
        for one in RecordReader(ward[name].station.home / "audit").entries()
    ]
    assert {Act.SHARE, Act.OPINION, Act.AMEND} <= set(acts)
    assert {first, shared, answer, revision} == set(parcels_at(ward["b"].station))


def test_what_was_not_granted_does_not_leave(ward: Ward) -> None:
    """A consultant neither passes on nor amends; somebody else has nothing to continue."""
    parcel = ward.send("a", "b", role="consultant").parcel
    for kind in (Kind.SHARE, Kind.REVISION):
        with pytest.raises(AccessDeniedError) as refused:
            ward.go_on(kind, "b", "c", parcel)
        assert refused.value.code == "grant.permission"
    record = RecordReader(ward["b"].station.home / "audit")
    refusals = [one.event for one in record.entries() if one.event.code == "grant.permission"]
    assert [one.act for one in refusals] == [Act.SHARE, Act.AMEND]
    with pytest.raises(MedshareError):
        ward.go_on(Kind.OPINION, "c", "a", ParcelId(bytes(16)))
    with pytest.raises(PolicyError):
        ward.receive("b", parcel)
    with pytest.raises(NotFoundError):
        received_files(parcel, ward["b"].station)


def test_a_share_is_narrowed_to_what_one_has(ward: Ward) -> None:
    """Who passes on under a larger role gives no more than he has."""
    offer = replace(offer_of("attending", ward["a"].station.policy.roles), lasts=3600, openings=2)
    first = ward.send("a", "b", conditions=Conditions(everybody=offer)).parcel
    ward.receive("b", first)
    shared = ward.envelope(ward.go_on(Kind.SHARE, "b", "c", first, "attending").parcel)
    (given,) = shared.grants
    (held,) = ward.envelope(first).grants
    assert (given.expires, given.openings) == (held.expires, held.openings)


def test_a_changed_file_is_not_passed_on(ward: Ward) -> None:
    """What is passed on is what was received, or nothing."""
    first = ward.send("a", "b", role="attending").parcel
    output = ward.receive("b", first).output
    extra = output / "study" / "extra.txt"
    extra.write_text("not received")
    with pytest.raises(UsageError):
        received_files(first, ward["b"].station)
    extra.unlink()
    (output / "study" / "one.dcm").write_bytes(b"changed")
    with pytest.raises(IntegrityError):
        received_files(first, ward["b"].station)


def test_an_origin_that_is_not_trusted_is_refused(ward: Ward) -> None:
    """Whoever does not know the original's sender refuses what was passed on by a friend."""
    first = ward.send("a", "b", role="attending").parcel
    ward.receive("b", first)
    shared = ward.go_on(Kind.SHARE, "b", "d", first, "attending").parcel
    with pytest.raises(UntrustedSignerError) as refused:
        ward.receive("d", shared)
    assert refused.value.code == "grant.origin"
    assert ward.faults("d") == {"grant.origin"}


class Forging(MemoryTransport):
    """Exchanges the lineage and grants of what is announced, as its sender's own program might."""

    def __init__(self, ward: Ward, by: str, lineage: Lineage) -> None:
        super().__init__(ward.store, ward[by].station.id)
        self._forge = lineage
        self._signers = ward[by].identity.signers

    def announce(self, parcel: ParcelId, envelope: bytes, manifest: bytes) -> tuple[StationId, ...]:
        """Announce another envelope, signed as the first was."""
        facts = replace(parse_envelope(envelope), lineage=self._forge)
        return super().announce(parcel, encode_envelope(facts, self._signers)[1], manifest)


def test_a_changed_program_fools_no_honest_station(ward: Ward) -> None:
    """What a consultant passes on all the same is refused by whoever gets it, and recorded."""
    first = ward.send("a", "b", role="consultant").parcel
    octets = ward.line("b").get_envelope(first)
    before = parse_envelope(octets)
    lineage = Lineage(Kind.SHARE, first, before.digest, first, 0, octets)
    with pytest.raises(MedshareError):
        send(
            [ward.study],
            to=[ward["b"].station.contacts.named("c")],
            identity=ward["b"].identity,
            station=ward["b"].station,
            transport=Forging(ward, "b", lineage),
            options=SendOptions(chunk_size=4096, workers=1),
            role="trainee",
        )
    (waiting,) = ward.line("c").inbox()
    folder = ward.tmp / "as-it-came"
    folder.mkdir()
    for name, octets in (
        ("envelope", ward.line("c").get_envelope(waiting)),
        ("manifest", b""),
    ):
        (folder / name).write_bytes(octets)
    assert "grant.act" in {fault.code for fault in verify(folder).faults}
    with pytest.raises(GrantError) as refused:
        ward.receive("c", waiting)
    assert refused.value.code == "grant.act"
    entries = RecordReader(ward["c"].station.home / "audit").entries()
    assert "grant.act" in {one.event.code for one in entries}


def test_a_department_is_not_left_by_passing_on(ward: Ward) -> None:
    """A changed program that shares without the department gets nobody past its rule."""
    conditions = Conditions(
        everybody=offer_of("attending", ward["a"].station.policy.roles), department="psychiatry"
    )
    parcel = ward.send("a", "b", conditions=conditions).parcel
    ward.receive("b", parcel)
    station = ward["b"].station
    before = continuation(parcel, Kind.SHARE, station=station, transport=ward.line("b"))
    after = conditions_after(before, station.id, [ward["c"].station.id], asked=Conditions())
    paths = received_files(parcel, station)
    passed = ward.send("b", "c", paths, conditions=replace(after, department="")).parcel
    assert ward.envelope(passed).department == ""
    rule(ward["c"], PSYCHIATRY)
    assert ward.faults("c") == {"policy.department"}
    with pytest.raises(PolicyError) as caught:
        ward.receive("c", passed)
    assert caught.value.code == "policy.department"


def test_what_is_sealed_anew_keeps_its_grants(ward: Ward) -> None:
    """A new seal in the vault does not free content from what its sender allowed."""
    roles = ward["a"].station.policy.roles
    once = replace(offer_of("attending", roles), openings=1)
    parcel = ward.send("a", "b", conditions=Conditions(everybody=once)).parcel
    b = ward["b"]
    vault = Vault.make(ward.tmp / "vault", b.station)
    receive(
        parcel, identity=b.identity, station=b.station,
        transport=KeepingTransport(ward.line("b"), vault, b.identity),
        output=ward.tmp / "out", options=QUICK,
    )  # fmt: skip
    anew = reseal(vault, parcel, b.identity, now=2).after
    anew = reseal(vault, anew, b.identity, now=3).after
    folder = vault.folder(anew)
    envelope = parse_envelope((folder / "envelope").read_bytes())
    assert envelope.grants == ()
    assert granting_envelope(folder, envelope).parcel == parcel
    with pytest.raises((PolicyError, AccessDeniedError)) as refused:
        open_from_vault(vault, anew, identity=b.identity, output=ward.tmp / "again")
    assert refused.value.code.endswith("openings")


def test_nobody_waits_for_those_who_only_look(ward: Ward) -> None:
    """A receipt is waited for from those who may keep files, and from nobody else."""
    looks = ward.send("a", "b", role="trainee", wait=1000.0)
    assert looks.only_viewed
    assert looks.missing_receipts == ()
    assert ward.send("a", "b", role="trainee", wait=1000.0).parcel == looks.parcel

    roles = ward["a"].station.policy.roles
    offers = {
        ward["b"].station.id: offer_of("attending", roles),
        ward["c"].station.id: offer_of("consultant", roles),
    }
    first = ward.send("a", "bc", conditions=Conditions(offers))
    assert first.missing_receipts == (ward["b"].station.id,)
    assert not first.only_viewed
    ward.receive("b", first.parcel)
    done = ward.send("a", "bc", conditions=Conditions(offers), wait=1000.0)
    assert (done.parcel, done.missing_receipts) == (first.parcel, ())
    assert set(done.receipts) == {ward["b"].station.id}


def test_what_nobody_restricted_can_be_continued(ward: Ward) -> None:
    """Where nothing was granted, nothing is restricted: it is passed on, amended and answered."""
    first = ward.send("a", "b").parcel
    ward.receive("b", first)
    with pytest.raises(UsageError):
        ward.go_on(Kind.SHARE, "b", "c", first)
    shared = ward.go_on(Kind.SHARE, "b", "c", first, "consultant").parcel
    revision = ward.go_on(Kind.REVISION, "b", "a", first).parcel
    assert ward.envelope(shared).grants[0].role == "consultant"
    ward.receive("a", revision)
    assert ward.faults("c") == set()
