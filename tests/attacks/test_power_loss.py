"""The power goes at any moment: no wrong success, no claim that the disk does not back.

Real code is watched once; then the disk is put together as it would be had the power gone
after each of its changes, and the same command runs again, after a boot.
"""

import copy
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from medshare.disk import boot
from medshare.ids import ParcelId, StationId
from medshare.sharing.receive import ReceiveOptions, receive
from medshare.sharing.send import SendOptions, send
from medshare.station import Station
from tests.attacks.power import (
    Disk,
    History,
    Survives,
    but_octets_of,
    everything,
    names_alone,
    nothing,
    octets_alone,
    recorded,
    some,
)
from tests.attacks.stage import CHUNK, noise, tree, visible
from tests.fakes import MemoryStore, MemoryTransport
from tests.people import Person, make_person

pytestmark = pytest.mark.slow

FULL = os.environ.get("FULL_SWEEP") == "1"
EVERY = 1 if FULL else 9
LOTTERIES = 4 if FULL else 1
Record = Callable[[str, Any], None]


class Remembering(MemoryTransport):
    """A far side that has power, and remembers what it held at each moment."""

    def __init__(self, store: MemoryStore, station: StationId, history: History | None) -> None:
        super().__init__(store, station)
        self._history = history
        self.remember("")

    def remember(self, what: str) -> None:
        """Note the state of the far side in the history."""
        if self._history is not None:
            self._history.claim((what, copy.deepcopy(self.store.parcels)))

    def announce(self, parcel: ParcelId, envelope: bytes, manifest: bytes) -> tuple[StationId, ...]:
        absent = super().announce(parcel, envelope, manifest)
        self.remember("announced")
        return absent

    def put_chunk(self, parcel: ParcelId, index: int, sealed: memoryview, **rest: Any) -> None:
        super().put_chunk(parcel, index, sealed, **rest)
        self.remember("chunk")

    def put_seal(self, parcel: ParcelId, seal: bytes) -> None:
        super().put_seal(parcel, seal)
        self.remember("sealed")

    def put_receipt(self, parcel: ParcelId, recipient: StationId, receipt: bytes) -> None:
        super().put_receipt(parcel, recipient, receipt)
        self.remember("receipted")


@dataclass
class Town:
    """Two stations, a study, and a far side; `root` is the folder that loses its power."""

    tmp: Path
    root: Path
    study: Path
    alice: Person
    bob: Person
    store: MemoryStore

    def person(self, name: str) -> Person:
        """Return a station as a new process opens it."""
        if name == "alice":
            return Person(Station.open(self.alice.station.home))
        return Person(Station.open(self.bob.station.home))

    def send(self, transport: MemoryTransport) -> ParcelId:
        """Let Alice send the study."""
        person = self.person("alice")
        return send(
            [self.study],
            to=[person.station.contacts.named("bob")],
            identity=person.identity,
            station=person.station,
            transport=transport,
            options=SendOptions(chunk_size=CHUNK, workers=2, give_up_after=1),
        ).parcel

    def receive(self, parcel: ParcelId, transport: MemoryTransport) -> None:
        """Let Bob receive it."""
        person = self.person("bob")
        receive(
            parcel,
            identity=person.identity,
            station=person.station,
            transport=transport,
            output=self.root / "out",
            options=ReceiveOptions(workers=2, wait=1, give_up_after=1),
        )


@pytest.fixture
def town(tmp_path: Path) -> Town:
    """Two stations below the folder that loses its power, and a study beside it."""
    root = tmp_path / "root"
    root.mkdir()
    alice, bob = make_person(root / "a", "Alice"), make_person(root / "b", "Bob")
    alice.trust(bob, "bob")
    bob.trust(alice, "alice")
    study = tmp_path / "study"
    (study / "deep").mkdir(parents=True)
    (study / "one.dcm").write_bytes(noise("power", 3000))
    (study / "two.dcm").write_bytes(b"abc" * 700)
    (study / "deep/three.txt").write_bytes(b"small")
    return Town(tmp_path, root, study, alice, bob, MemoryStore())


@pytest.fixture
def another_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what gives the system the identifier of another boot."""
    number = tmp_path / "boot_id"

    def reboot() -> None:
        number.write_text(os.urandom(8).hex())
        monkeypatch.setattr(boot, "_BOOT_ID", number)

    return reboot


def moments(history: History) -> Iterator[tuple[int, str, Survives, random.Random]]:
    """Yield moments at which the power goes, and what survives of the rest."""
    for at in range(history.begun, len(history.ops) + 1):
        last = history.ops[at - 1].kind
        if (at - history.begun) % EVERY and last not in {"syncfs", "claim"}:
            continue
        dice = random.Random(at)
        cases: dict[str, Survives] = {
            "nothing": nothing,
            "names": names_alone,
            "octets": octets_alone,
            "everything": everything,
        }
        journals = {op.node for op in history.ops if op.name == "journal"}
        cases["journal"] = partial(but_octets_of, journals)
        cases |= {f"lottery {n}": some(random.Random(at * 100 + n)) for n in range(LOTTERIES)}
        if not FULL:
            cases = {name: cases[name] for name in ("nothing", "names", "journal", "lottery 0")}
        for name, survives in cases.items():
            yield at, name, survives, dice


def claims(
    history: History, at: int, first: dict[ParcelId, Any]
) -> tuple[set[str], dict[ParcelId, Any]]:
    """Return what was claimed before moment *at*, and what the far side then held."""
    said = [op.what for op in history.ops[:at] if op.kind == "claim"]
    words = {str(what[0]) for what in said if isinstance(what, tuple)}
    held = [what[1] for what in said if isinstance(what, tuple)]
    return words, copy.deepcopy(held[-1] if held else first)


def test_a_receiver_without_power(
    town: Town, another_boot: Callable[[], None], record_property: Record
) -> None:
    """After any loss of power the same receive completes, and no receipt was given too early."""
    parcel = town.send(MemoryTransport(town.store, town.alice.station.id))
    first = copy.deepcopy(town.store.parcels)
    with recorded(town.root) as history:
        town.receive(parcel, Remembering(town.store, town.bob.station.id, history))
    whole, tried = tree(town.study), 0
    assert visible(town.root / "out") == whole
    for at, name, survives, dice in moments(history):
        Disk(history.ops[:at], survives, dice).write(town.root)
        said, town.store.parcels = claims(history, at, first)
        out = town.root / "out"
        there = visible(out) if out.is_dir() else {}
        assert there.items() <= whole.items(), f"a wrong file after {at}, {name}"
        kept = [p for p in (town.root / "b/receipts").glob("*.receipt") if p.stat().st_size]
        if "receipted" in said or kept:
            assert there == whole, f"a receipt for what is not there after {at}, {name}"
        another_boot()
        town.receive(parcel, MemoryTransport(town.store, town.bob.station.id))
        assert visible(out) == whole, f"after {at}, {name}"
        assert town.store.parcels[parcel].receipts
        tried += 1
    assert tried > 60
    record_property("figures", {"moments without power (receiver)": tried})


def test_a_sender_without_power(
    town: Town, another_boot: Callable[[], None], record_property: Record
) -> None:
    """After any loss of power the same send completes; no parcel gets two seals, or two chunks."""
    with recorded(town.root) as history:
        town.send(Remembering(town.store, town.alice.station.id, history))
    tried = 0
    for at, name, survives, dice in moments(history):
        Disk(history.ops[:at], survives, dice).write(town.root)
        _, town.store.parcels = claims(history, at, {})
        before = copy.deepcopy(town.store.parcels)
        another_boot()
        parcel = town.send(MemoryTransport(town.store, town.alice.station.id))
        now = town.store.parcels[parcel]
        assert now.seal is not None
        for known, held in before.items():
            again = town.store.parcels[known]
            assert held.seal in {None, again.seal}, f"a second seal after {at}, {name}"
            assert held.chunks.items() <= again.chunks.items(), f"another chunk after {at}, {name}"
        tried += 1
    assert tried > 40
    record_property("figures", {"moments without power (sender)": tried})
