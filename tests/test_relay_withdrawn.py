"""A grant that is withdrawn, ends, or is used up while a station fetches from a real relay."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medshare.envelope import parse_envelope
from medshare.errors import AccessDeniedError, PolicyError
from medshare.grant import Permission
from medshare.ids import ParcelId
from medshare.relay.enrolment import Stations
from medshare.relay.folder import DataFolder
from medshare.relay.grants import SAME_OPENING
from medshare.sharing.access import Access
from medshare.sharing.conditions import Conditions, Offer, offer_of
from medshare.sharing.receive import ReceiveOptions, receive
from medshare.sharing.send import SendOptions, send
from medshare.sharing.withdrawing import withdraw
from medshare.transport.relay import RelayTransport
from tests.people import Person, make_person
from tests.running_relay import Relay, running_relay

pytestmark = [pytest.mark.service]
QUICK = ReceiveOptions(wait=0.2, give_up_after=0.5, workers=1)


class Clock:
    """The relay's clock, which a test can set forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Meddling(RelayTransport):
    """Does something after the second chunk has come."""

    def __init__(self, url: str, person: Person, then: Callable[[], object]) -> None:
        super().__init__(url, person.identity)
        self._then = then
        self.fetched = 0

    def get_chunk(self, parcel: ParcelId, index: int, into: memoryview) -> int:
        """Fetch a chunk, and meddle."""
        size = super().get_chunk(parcel, index, into)
        self.fetched += 1
        if self.fetched == 2:
            self._then()
        return size


class Ward:
    """Two stations, and a relay with a clock of its own."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.a, self.b = make_person(tmp / "a", "a"), make_person(tmp / "b", "b")
        self.a.trust(self.b, "b")
        self.b.trust(self.a, "a")
        self.clock = Clock()
        self.fetched = 0
        stations = Stations(DataFolder(tmp / "relay").cards)
        for person in (self.a, self.b):
            stations.enroll(person.station.card)
        self.file = tmp / "volume.nii"
        self.file.write_bytes(bytes(range(256)) * 200)

    def send(self, relay: Relay, offer: Offer) -> ParcelId:
        """Let a send twelve chunks and more to b."""
        line = RelayTransport(relay.url, self.a.identity)
        relay.transports.callback(line.close)
        options = SendOptions(chunk_size=4096, conditions=Conditions(everybody=offer))
        return send(
            [self.file], to=[self.a.station.contacts.named("b")], identity=self.a.identity,
            station=self.a.station, transport=line, options=options,
        ).parcel  # fmt: skip

    def withdraw(self, relay: Relay, parcel: ParcelId) -> None:
        """Let a withdraw what it granted b."""
        line = RelayTransport(relay.url, self.a.identity)
        relay.transports.callback(line.close)
        withdraw(
            parse_envelope(line.get_envelope(parcel)),
            self.a.station.contacts.named("b"),
            identity=self.a.identity, station=self.a.station, store=line, now=int(time.time()),
        )  # fmt: skip

    def receive(self, relay: Relay, parcel: ParcelId, then: Callable[[], object]) -> int:
        """Let b receive, while *then* happens; return how many chunks came."""
        line = Meddling(relay.url, self.b, then)
        relay.transports.callback(line.close)
        try:
            receive(
                parcel, identity=self.b.identity, station=self.b.station, transport=line,
                output=self.tmp / "out", options=QUICK,
            )  # fmt: skip
        finally:
            self.fetched = line.fetched
        return line.fetched


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    """Two stations and a relay's folder."""
    return Ward(tmp_path)


@pytest.fixture
def relay(ward: Ward) -> Iterator[Relay]:
    """The relay."""
    with running_relay(ward.tmp / "relay", clock=ward.clock) as found:
        yield found


def offer(ward: Ward, *, lasts: int = 0, openings: int = 0) -> Offer:
    """Return what an attending is offered."""
    roles = ward.a.station.policy.roles
    return offer_of("attending", roles, lasts=lasts, openings=openings)


def test_a_download_ends_when_the_grant_is_withdrawn(ward: Ward, relay: Relay) -> None:
    """Chunks stop at once, no file gets its name, and the station opens it no more."""
    parcel = ward.send(relay, offer(ward))
    with pytest.raises(AccessDeniedError) as refused:
        ward.receive(relay, parcel, lambda: ward.withdraw(relay, parcel))
    assert refused.value.code == "grant.withdrawn"
    assert ward.fetched <= 4
    assert not list(ward.tmp.glob("out/*.nii"))
    line = RelayTransport(relay.url, ward.a.identity)
    relay.transports.callback(line.close)
    envelope = parse_envelope(line.get_envelope(parcel))
    with pytest.raises(PolicyError) as decided:
        Access(envelope, ward.b.station).decision(Permission.VIEW).require()
    assert decided.value.code == "policy.withdrawn"


def test_a_download_ends_with_the_grant(ward: Ward, relay: Relay) -> None:
    """A grant that ends while chunks come lets no further one through."""
    parcel = ward.send(relay, offer(ward, lasts=200))

    def later() -> None:
        ward.clock.ahead = 201.0

    with pytest.raises(AccessDeniedError) as refused:
        ward.receive(relay, parcel, later)
    assert refused.value.code == "grant.expired"
    assert not list(ward.tmp.glob("out/*.nii"))


def test_an_opening_is_enough_for_one_download(ward: Ward, relay: Relay) -> None:
    """With one opening, a download comes to its end, and there is no second one."""
    parcel = ward.send(relay, offer(ward, openings=1))
    assert ward.receive(relay, parcel, lambda: None) == 13
    assert (ward.tmp / "out" / "volume.nii").read_bytes() == ward.file.read_bytes()
    ward.clock.ahead = SAME_OPENING / 2
    line = RelayTransport(relay.url, ward.b.identity, clock=ward.clock)
    relay.transports.callback(line.close)
    assert line.get_seal(parcel)
    ward.clock.ahead = SAME_OPENING + 1
    with pytest.raises(AccessDeniedError) as refused:
        line.get_seal(parcel)
    assert refused.value.code == "grant.openings"
