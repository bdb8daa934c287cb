"""Stations of every kind send to each other: in a file, keyring or token, of either suite."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import pytest

from medshare.ids import ParcelId
from medshare.keys.base import Backend
from medshare.keys.file import FileBackend
from medshare.keys.os_keyring import KeyringBackend
from medshare.relay.enrolment import Stations
from medshare.relay.folder import DataFolder
from medshare.sharing.receive import ReceiveOptions, receive
from medshare.sharing.rotate import rotate_identity
from medshare.sharing.send import SendOptions, send
from medshare.suites import SUITE_NAMES
from medshare.transport.base import Transport
from medshare.transport.relay import RelayTransport
from tests import softhsm
from tests.fakes import MemoryStore, MemoryTransport
from tests.people import CHEAP, PASSPHRASE, Person, make_person_with
from tests.rings import ring_in_place
from tests.running_relay import running_relay

pytestmark = pytest.mark.service

KINDS = {
    "file": ("file", "intl"),
    "keyring": ("keyring", "intl"),
    "pkcs11": ("pkcs11", "intl"),
    "gm": ("file", "gm"),
    "gm+intl": ("keyring", "gm+intl"),
}
"""The rows and columns of the matrix: where the keys live, and of which suites they are."""
PAIRS = list(permutations(KINDS, 2))
CHUNK = 4096
STUDY = {"ct/one.dcm": bytes(range(256)) * 40, "ct/two.dcm": b"\x00" * 9000, "note": b"short"}


def backend_named(kind: str) -> Backend:
    """Return a backend of *kind*."""
    place, suite = KINDS[kind]
    if place == "pkcs11":
        return softhsm.backend()
    return KeyringBackend(suite) if place == "keyring" else FileBackend(PASSPHRASE, suite, CHEAP)


@dataclass
class Hospitals:
    """One station of each kind, all of which trust each other, with a store between them.

    Their policies let suites be mixed when that is asked for, which it is.
    """

    folder: Path
    people: dict[str, Person]
    store: MemoryStore = field(default_factory=MemoryStore)

    def trust(self) -> None:
        """Let each station take in the newest card of each other one."""
        for ours, theirs in permutations(self.people, 2):
            self.people[ours].trust(self.people[theirs], theirs)

    def rotate(self, kind: str) -> None:
        """Give the station of *kind* new keys."""
        person = self.people[kind]
        store = person.station.keystore_with(person.backend)
        rotation = rotate_identity(person.station, store, now=person.station.card.current.created)
        assert rotation.failed == ()
        self.people[kind] = Person(person.station, person.backend)

    def send(self, sender: str, receiver: str, transport: Transport | None = None) -> ParcelId:
        """Send the study."""
        person = self.people[sender]
        return send(
            [self.folder / "study"],
            to=[person.station.contacts.named(receiver)],
            identity=person.identity,
            station=person.station,
            transport=transport or MemoryTransport(self.store, person.station.id),
            options=SendOptions(
                chunk_size=CHUNK, workers=2, give_up_after=1, anew=True, mixed=True
            ),
        ).parcel

    def receive(
        self, parcel: ParcelId, receiver: str, out: Path, transport: Transport | None = None
    ) -> None:
        """Receive the study, and compare every octet of it."""
        person = self.people[receiver]
        receive(
            parcel,
            identity=person.identity,
            station=person.station,
            transport=transport or MemoryTransport(self.store, person.station.id),
            output=out,
            options=ReceiveOptions(
                wait=0.2, give_up_after=1, mixed=True, suites=frozenset(SUITE_NAMES)
            ),
        )
        found = {str(p.relative_to(out / "study")): p for p in out.rglob("*") if p.is_file()}
        assert {name: path.read_bytes() for name, path in found.items()} == STUDY


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospitals]:
    """One station of each kind."""
    folder = tmp_path_factory.mktemp("matrix")
    for name, content in STUDY.items():
        path = folder / "study" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with ring_in_place():
        people = {
            kind: make_person_with(backend_named(kind), folder / kind, kind) for kind in KINDS
        }
        made = Hospitals(folder, people)
        made.trust()
        yield made


@pytest.mark.parametrize(("sender", "receiver"), PAIRS)
def test_every_kind_sends_to_every_other(
    hospitals: Hospitals, tmp_path: Path, sender: str, receiver: str
) -> None:
    """A study arrives whole, whatever holds the keys of both ends, and of whichever suite."""
    places = {kind: person.station.backend for kind, person in hospitals.people.items()}
    assert places == {kind: place for kind, (place, _) in KINDS.items()}
    parcel = hospitals.send(sender, receiver)
    hospitals.receive(parcel, receiver, tmp_path / "out")


@pytest.mark.parametrize("kind", KINDS)
def test_a_rotation_of_either_kind_leaves_nothing_behind(
    hospitals: Hospitals, tmp_path: Path, kind: str
) -> None:
    """What was sent before a rotation opens after it, and cards follow without meeting again."""
    other = "keyring" if kind == "file" else "file"
    under_way = hospitals.send(other, kind)
    before = hospitals.people[kind].station.card
    hospitals.rotate(kind)
    hospitals.trust()
    assert hospitals.people[kind].station.card.continues(before)
    hospitals.receive(under_way, kind, tmp_path / "old")
    hospitals.receive(hospitals.send(other, kind), kind, tmp_path / "new")
    hospitals.receive(hospitals.send(kind, other), other, tmp_path / "answer")


def test_a_token_signs_its_requests_to_a_relay(hospitals: Hospitals, tmp_path: Path) -> None:
    """Through a real relay, in both directions, and on after a rotation of the token's keys."""
    data = tmp_path / "relay"
    stations = Stations(DataFolder(data).cards)
    for person in hospitals.people.values():
        stations.enroll(person.station.card)
    with running_relay(data) as relay:

        def connected(kind: str) -> RelayTransport:
            transport = RelayTransport(relay.url, hospitals.people[kind].identity)
            relay.transports.callback(transport.close)
            return transport

        parcel = hospitals.send("pkcs11", "keyring", connected("pkcs11"))
        hospitals.receive(parcel, "keyring", tmp_path / "there", connected("keyring"))
        hospitals.rotate("pkcs11")
        hospitals.trust()
        parcel = hospitals.send("file", "pkcs11", connected("file"))
        hospitals.receive(parcel, "pkcs11", tmp_path / "back", connected("pkcs11"))
