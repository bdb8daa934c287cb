"""Sender, receiver and relay as processes, forked from one that has everything loaded.

A program, not a test: forking needs a process with one thread.  See tests/attacks/crash.py.
"""

import json
import os
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from medshare import transfer
from medshare.cli import exit_code
from medshare.errors import MedshareError
from medshare.ids import parcel_id_from_text
from medshare.relay.admission import Names
from medshare.relay.app import RelayApp
from medshare.relay.enrolment import Stations
from medshare.relay.folder import DataFolder
from medshare.relay.service import opened
from medshare.relay.serving import serve
from medshare.relay.settings import Limits, server_limits
from medshare.sharing.events import Event, Planned, Retrying
from medshare.sharing.receive import ReceiveOptions, receive
from medshare.sharing.send import SendOptions, send
from medshare.sharing.verify import verify_parcel
from medshare.station import Station
from medshare.transport.relay import RelayTransport
from tests.attacks.faults import EXIT, Faults, Point, counting
from tests.people import Person, make_person

CHUNK: Final = 1024
WORKERS: Final = 2
PATIENCE: Final = 180.0  # seconds, so that a broken run ends
FILES: Final = {
    "one.dcm": bytes(range(256)) * 9,
    "two.dcm": b"pixels" * 300,
    "deep/three.txt": b"small",
    "empty": b"",
}
CHUNKS: Final = 5


@dataclass
class Child:
    """A forked process; what it has to say comes through a file."""

    pid: int
    said: Path
    status: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self) -> int:
        """Return the exit code once it has ended."""
        end = time.monotonic() + PATIENCE
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(f"a process hangs, having said {self.lines()}")
            time.sleep(0.002)
        return status

    def kill(self) -> None:
        """Let it die at once."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
            self.status = os.waitstatus_to_exitcode(status)

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has said so far."""
        if not self.said.exists():
            return []
        return [json.loads(line) for line in self.said.read_text().splitlines()]

    def hear(self, name: str) -> Any:
        """Return the value of *name* once it was said; None if the process ends before."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            ended = self.poll() is not None
            for line in self.lines():
                if name in line:
                    return line[name]
            if ended:
                return None
            time.sleep(0.002)
        raise TimeoutError(f"a process never said {name}")


Say = Callable[..., None]


def tell_retries(say: Say, event: Event) -> None:
    """Say what is tried again, and why."""
    if isinstance(event, Retrying):
        say(retried=f"{event.what}: {event.reason}")


@dataclass
class World:
    """A folder with homes, a study and a relay's data, fresh for each run."""

    root: Path
    port: int = 0
    number: int = 0
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        people = {name: make_person(self.root / "homes" / name, name) for name in ("a", "b")}
        people["a"].trust(people["b"], "bob")
        people["b"].trust(people["a"], "alice")
        stations = Stations(DataFolder(self.root / "homes/relay").cards)
        for person in people.values():
            stations.enroll(person.station.card)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.folder = self.root / "none"

    @property
    def url(self) -> str:
        """Where the relay listens, whenever it runs."""
        return f"http://127.0.0.1:{self.port}"

    def renew(self, *, keep: tuple[str, ...] = ()) -> None:
        """Begin anew in a folder of its own; *keep* parts of the one before."""
        before, self.number = self.folder, self.number + 1
        self.folder = self.root / f"run-{self.number}"
        self.folder.mkdir()
        for name in ("a", "b", "relay"):
            source = before / name if name in keep else self.root / "homes" / name
            shutil.copytree(source, self.folder / name)
        for name, octets in FILES.items():
            path = self.folder / "study" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(octets)

    def forget(self) -> None:
        """Remove the folder of a run."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- the roles -------------------------------------------------------------------------

    def fork(
        self,
        job: Callable[[Say, Faults], None],
        *,
        kill_at: Point = None,
        sockets: bool = True,
    ) -> Child:
        """Run *job* in a process of its own, which dies before its call number *kill_at*."""
        said = self.folder / f"said-{time.monotonic_ns()}"
        pid = os.fork()
        if pid:
            return Child(pid, said)
        try:
            os._exit(_run(job, said, kill_at, sockets=sockets))
        finally:
            os._exit(99)

    def send(self, *, wait: float = 0, kill_at: Point = None) -> Child:
        """Let Alice send the study."""

        def job(say: Say, _: Faults) -> None:
            person = Person(Station.open(self.folder / "a"))

            def heard(event: Event) -> None:
                if isinstance(event, Planned):
                    say(parcel=event.parcel.hex())
                tell_retries(say, event)

            with closing(RelayTransport(self.url, person.identity)) as transport:
                done = send(
                    [self.folder / "study"],
                    to=[person.station.contacts.named("bob")],
                    identity=person.identity,
                    station=person.station,
                    transport=transport,
                    options=SendOptions(
                        chunk_size=CHUNK, workers=WORKERS, wait=wait, give_up_after=PATIENCE
                    ),
                    on_event=heard,
                )
            say(sealed=done.parcel.hex(), missing=len(done.missing_receipts))

        return self.fork(job, kill_at=kill_at)

    def receive(self, parcel: str, *, kill_at: Point = None) -> Child:
        """Let Bob receive the parcel."""

        def job(say: Say, _: Faults) -> None:
            person = Person(Station.open(self.folder / "b"))
            with closing(RelayTransport(self.url, person.identity)) as transport:
                done = receive(
                    parcel_id_from_text(parcel),
                    identity=person.identity,
                    station=person.station,
                    transport=transport,
                    output=self.folder / "out",
                    options=ReceiveOptions(workers=WORKERS, give_up_after=PATIENCE),
                    on_event=partial(tell_retries, say),
                )
            say(received=len(done.files), moved=done.moved_chunks)

        return self.fork(job, kill_at=kill_at)

    def relay(self, *, kill_at: Point = None) -> Child:
        """Start the relay; it says `ready` when it takes connections."""

        def job(say: Say, faults: Faults) -> None:
            with opened(self.folder / "relay", Limits()) as service:
                app = RelayApp(service, Names((), ("127.0.0.1",)))
                serve(
                    counting(app, faults, self.folder / "requests"),
                    "127.0.0.1",
                    self.port,
                    on_ready=lambda url: say(ready=url),
                    limits=server_limits(),
                )

        return self.fork(job, kill_at=kill_at, sockets=False)

    # --- what was done ---------------------------------------------------------------------

    def said(self, name: str) -> list[str]:
        """Return every value of *name* that any process has said in this run."""
        lines = [line for path in self.folder.glob("said-*") for line in Child(0, path).lines()]
        return [str(line[name]) for line in lines if name in line]

    def moved(self, method: str) -> list[str]:
        """Return the chunks that were put (`PUT`) or fetched (`GET`), one entry a request."""
        path = self.folder / "requests"
        lines = path.read_text().splitlines() if path.exists() else []
        return [
            line.rpartition("/")[2]
            for line in lines
            if line.startswith(f"{method} ") and "/chunks/" in line
        ]

    def faults_of_result(self) -> list[str]:
        """Return in what the result differs from that of an undisturbed run."""
        found = []
        out = self.folder / "out"
        arrived = {
            str(path.relative_to(out)): path.read_bytes()
            for path in out.rglob("*")
            if path.is_file()
        }
        if arrived != {f"study/{name}": octets for name, octets in FILES.items()}:
            found.append(f"the output holds {sorted(arrived)}, or other octets")
        parcels = list((self.folder / "relay/parcels").iterdir())
        if len(parcels) != 1:
            found.append(f"the relay holds {len(parcels)} parcels")
        for parcel in parcels:
            report = verify_parcel(parcel)
            if report.faults or not report.sealed:
                found.append(f"the parcel at the relay is not whole: {report.faults}")
            if len(list((parcel / "receipts").iterdir())) != 1:
                found.append("the relay does not hold one receipt")
        receipts = [sorted((self.folder / who / "receipts").glob("*.receipt")) for who in "ab"]
        if [len(kept) for kept in receipts] != [1, 1]:
            found.append("sender and receiver do not both keep one receipt")
        elif receipts[0][0].read_bytes() != receipts[1][0].read_bytes():
            found.append("sender and receiver keep different receipts")
        return found


def _run(job: Callable[[Say, Faults], None], said: Path, kill_at: Point, *, sockets: bool) -> int:
    """Do *job* with faults installed; return the exit code."""
    log = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    write = os.write

    def say(**values: object) -> None:
        write(log, json.dumps(values).encode() + b"\n")

    transfer.BASE_DELAY, transfer.MAX_DELAY = 0.02, 0.1  # type: ignore[misc]  # constants
    faults = Faults(kill_at)
    faults.install(sockets=sockets)
    try:
        job(say, faults)
        faults.tick(EXIT)  # all is done, and whoever started this has not heard of it
    except MedshareError as error:
        say(error=error.code, message=error.message)
        return exit_code(error)
    except BaseException:  # noqa: BLE001  (a forked process ends here, whatever happened)
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
        return 98
    say(calls=faults.calls)
    return 0
