"""Three stations, a relay and a liar before it: where attacks on the engine are played.

Whatever the liar says, a transfer ends by itself, in one of the documented ways; nothing
appears under a final name that is not the sender's; and the honest relay, asked afterwards,
completes it.  `Stage.attack_receiver` and `Stage.attack_sender` hold every attack to that.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from medshare import transfer
from medshare.cli import exit_code
from medshare.errors import MedshareError
from medshare.ids import ParcelId
from medshare.relay.admission import Names
from medshare.relay.enrolment import Stations
from medshare.relay.folder import DataFolder
from medshare.sharing.events import Event
from medshare.sharing.receive import ReceiveOptions, ReceiveResult, receive
from medshare.sharing.send import SendOptions, SendResult, send
from medshare.transport.relay import RelayTransport
from tests.attacks.lying_relay import Lie, LyingRelay, honest, lying_relay
from tests.people import Person, make_person
from tests.running_relay import Relay

CHUNK: Final = 1024
STALL: Final = 0.3  # seconds: some liars fall silent
TALKATIVE: Final = 20.0  # seconds: those who always answer may take a while on a busy machine
QUICK: Final = ReceiveOptions(
    workers=2, wait=0.3, give_up_after=0.2, damage_delay=0.001, damage_wait=0.3
)
CALM: Final = ReceiveOptions(workers=2, wait=20, give_up_after=20)

_numbers = count()


def noise(label: str, size: int) -> bytes:
    """Return octets that look random and follow from *label*."""
    return hashlib.shake_128(label.encode()).digest(size)


@dataclass(frozen=True)
class Ended:
    """How a transfer ended: with a result, or with an error and its exit code."""

    result: ReceiveResult | SendResult | None = None
    error: MedshareError | None = None

    @property
    def code(self) -> int:
        """The number with which the command would end."""
        return 0 if self.error is None else exit_code(self.error)

    @property
    def answer(self) -> str:
        """What medshare said, in a word that is stable."""
        if self.error is not None:
            return self.error.code
        unsure = isinstance(self.result, SendResult) and self.result.missing_receipts
        return "sealed, not delivered" if unsure else "delivered"


@dataclass
class Stage:
    """Alice sends; Bob and Carol receive; the liar stands before the relay that all use."""

    folder: Path
    liar: LyingRelay
    relay: Relay
    people: dict[str, Person]
    transports: ExitStack
    events: list[Event] = field(default_factory=list)
    stall: float = STALL
    """Seconds without an octet, after which a request to a liar has failed."""

    @property
    def alice(self) -> Person:
        """Who sends."""
        return self.people["alice"]

    @property
    def bob(self) -> Person:
        """Who receives."""
        return self.people["bob"]

    @property
    def carol(self) -> Person:
        """Who receives, too."""
        return self.people["carol"]

    @property
    def names(self) -> Names:
        """What a relay behind the liar is called."""
        host, port = self.address(self.liar.url)
        return Names((f"{host}:{port}",), ("127.0.0.1",))

    @staticmethod
    def address(url: str) -> tuple[str, int]:
        """Return host and port of *url*."""
        host, _, port = url.removeprefix("http://").partition(":")
        return host, int(port)

    @property
    def calm(self) -> bool:
        """Whether nobody lies: then there is time."""
        return self.liar.lie is honest

    def transport(self, person: Person) -> RelayTransport:
        """Return the liar's relay as *person* sees it."""
        stall = 20.0 if self.calm else self.stall
        made = RelayTransport(self.liar.url, person.identity, stall_seconds=stall)
        self.transports.callback(made.close)
        return made

    def study(self, label: str = "") -> Path:
        """Return a new folder with a study of seven chunks."""
        number = next(_numbers)
        folder = self.folder / f"study-{number}"
        (folder / "deep").mkdir(parents=True)
        (folder / "one.dcm").write_bytes(noise(f"{label}{number}", 4000))
        (folder / "two.dcm").write_bytes(b"abc" * 700)
        (folder / "deep/three.txt").write_bytes(b"small")
        (folder / "empty").write_bytes(b"")
        return folder

    def send(
        self,
        study: Path,
        *,
        to: tuple[str, ...] = ("bob",),
        by: Person | None = None,
        **options: object,
    ) -> SendResult:
        """Send *study* as Alice."""
        person = by or self.alice
        return send(
            [study],
            to=[person.station.contacts.named(name) for name in to],
            identity=person.identity,
            station=person.station,
            transport=self.transport(person),
            options=SendOptions(
                chunk_size=CHUNK,
                workers=2,
                give_up_after=20 if self.calm else 0.2,
                **options,  # type: ignore[arg-type]  # test keywords
            ),
            on_event=self.events.append,
        )

    def receive(
        self,
        parcel: ParcelId,
        output: Path,
        *,
        by: Person | None = None,
        options: ReceiveOptions | None = None,
    ) -> ReceiveResult:
        """Receive *parcel* as Bob."""
        person = by or self.bob
        return receive(
            parcel,
            identity=person.identity,
            station=person.station,
            transport=self.transport(person),
            output=output,
            options=options or (CALM if self.calm else QUICK),
            on_event=self.events.append,
        )

    def attempt(self, act: Callable[[], ReceiveResult | SendResult]) -> Ended:
        """Return how *act* ended; anything but an error of ours is a bug, and raised."""
        try:
            return Ended(result=act())
        except MedshareError as error:
            return Ended(error=error)

    # --- the two kinds of attack ---------------------------------------------------------

    def attack_receiver(self, make: Callable[["Stage", ParcelId], Lie]) -> Ended:
        """Let Bob receive from the liar, then from the honest relay; return how the first ended."""
        study = self.study()
        parcel = self.send(study).parcel
        output = self.folder / f"out-{study.name}"
        self.liar.be(make(self, parcel))
        try:
            ended = self.attempt(lambda: self.receive(parcel, output))
        finally:
            self.liar.lie = honest
        placed = self.liar.asked_for("put-receipt") > 0
        assert visible(output) == (tree(study) if placed else {})
        assert placed or ended.error is not None
        self.liar.be(honest)
        self.receive(parcel, output)
        assert visible(output) == tree(study)
        return ended

    def attack_sender(
        self, make: Callable[["Stage"], Lie], *, to: tuple[str, ...] = ("bob",), wait: float = 0
    ) -> Ended:
        """Let Alice send through the liar, then honestly, and Bob receive."""
        study = self.study()
        self.liar.be(make(self))
        try:
            ended = self.attempt(lambda: self.send(study, to=to, wait=wait))
        finally:
            self.liar.lie = honest
        assert ended.answer != "delivered", "a receipt of nobody was believed"
        self.liar.be(honest)
        parcel = self.send(study, to=to).parcel
        for name in to:
            output = self.folder / f"out-{study.name}-{name}"
            self.receive(parcel, output, by=self.people[name])
            assert visible(output) == tree(study)
        again = self.send(study, to=to)
        assert (again.parcel, again.missing_receipts) == (parcel, ())
        return ended


def tree(study: Path) -> dict[str, bytes]:
    """Return every file of a study as it should arrive."""
    return {
        f"{study.name}/{path.relative_to(study)}": path.read_bytes()
        for path in study.rglob("*")
        if path.is_file()
    }


def visible(output: Path) -> dict[str, bytes]:
    """Return every file below *output* that has its final name."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file() and not path.relative_to(output).parts[0].startswith(".")
    }


@contextmanager
def opened_stage(folder: Path) -> Iterator[Stage]:
    """Set the stage in *folder* until the block ends; on it, nobody pauses for long."""
    people = {name: make_person(folder / name, name.title()) for name in ("alice", "bob", "carol")}
    stations = Stations(DataFolder(folder / "relay").cards)
    for person in people.values():
        stations.enroll(person.station.card)
        for name, other in people.items():
            if other is not person:
                person.trust(other, name)
    with (
        pytest.MonkeyPatch.context() as patch,
        lying_relay(folder / "relay") as (liar, relay),
        ExitStack() as transports,
    ):
        patch.setattr(transfer, "BASE_DELAY", 0.05)
        patch.setattr(transfer, "MAX_DELAY", 0.1)
        yield Stage(folder, liar, relay, people, transports)
