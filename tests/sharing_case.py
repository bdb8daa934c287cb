"""Two stations, a study and a store between them, and transports that break or lie."""

import os
from collections.abc import Callable
from pathlib import Path

from medshare.errors import RelayUnavailableError
from medshare.ids import ParcelId
from medshare.sharing.events import Event, Notice, Planned
from medshare.sharing.receive import ReceiveOptions, ReceiveResult, receive
from medshare.sharing.send import SendOptions, SendResult, send
from medshare.suites import suite_named
from medshare.suites.base import Hashed
from tests.fakes import MemoryStore, MemoryTransport
from tests.people import Person, make_person

CHUNK = 4096
QUICK = ReceiveOptions(wait=0.2, give_up_after=0.5, damage_delay=0.001)


class Case:
    """Two stations that trust each other, a study, and a store between them."""

    def __init__(self, tmp_path: Path, suite: str = "intl") -> None:
        self.tmp = tmp_path
        self.suite = suite_named(suite)
        self.a = make_person(tmp_path / "a", "Alice", suite)
        self.b = make_person(tmp_path / "b", "Bob", suite)
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


class Breaking(MemoryTransport):
    """A line that breaks after so many chunks."""

    def __init__(self, store: MemoryStore, station: bytes, after: int) -> None:
        super().__init__(store, station)  # type: ignore[arg-type]  # a StationId
        self.left = after

    def _spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise RelayUnavailableError("the line is down")

    def put_chunk(
        self, parcel: ParcelId, index: int, sealed: memoryview, *, whole: Hashed | None = None
    ) -> None:
        self._spend()
        super().put_chunk(parcel, index, sealed)

    def get_chunk(self, parcel: ParcelId, index: int, into: memoryview) -> int:
        self._spend()
        return super().get_chunk(parcel, index, into)


class Touching(MemoryTransport):
    """Runs something while a chunk is being stored."""

    def __init__(self, store: MemoryStore, station: bytes, act: Callable[[], None]) -> None:
        super().__init__(store, station)  # type: ignore[arg-type]  # a StationId
        self.act = act

    def put_chunk(
        self, parcel: ParcelId, index: int, sealed: memoryview, *, whole: Hashed | None = None
    ) -> None:
        self.act()
        super().put_chunk(parcel, index, sealed)


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
