"""A whole transfer, command line to command line, beside the bare floor in the same minutes.

Hospital A sends and hospital B receives at the same time through a relay with TLS on
loopback: three processes of `medshare`, started and timed from outside, as a user would.
Each round runs the floor and then the transfer on the same input, so that the ratios
hold on a machine whose speed drifts.
"""

import argparse
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import floor
from benchmarks.measure import MIB, Program, Usage, machine, wait_for_all
from medshare.commands.stage import Place, hospital, make_certificate

READY_SECONDS = 30.0


class Setting:
    """A relay and two hospitals that trust each other, in one temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place = Place.make("relay", root)
        self.ca_file, self.cert, self.key = make_certificate(self.place.folder)
        self.port = free_port()
        url = f"https://127.0.0.1:{self.port}"
        self.a = hospital("a", root, relay=url, ca_file=self.ca_file)
        self.b = hospital("b", root, relay=url, ca_file=self.ca_file)
        for place in (self.a, self.b):
            medshare(place, "init", "--name", place.name)
            medshare(place, "card", "export", "--output", str(root / f"{place.name}.card"))
        for place, other in ((self.a, "b"), (self.b, "a")):
            medshare(place, "card", "import", str(root / f"{other}.card"), "--name", other, "--yes")
            medshare(
                self.place, "relay", "enroll", str(root / f"{place.name}.card"),
                "--data", "data", "--yes",
            )  # fmt: skip

    def relay(self) -> Program:
        """Return the relay, running and ready."""
        words = ["relay", "serve", "--data", "data", "--listen", f"127.0.0.1:{self.port}"]
        words += ["--tls-cert", self.cert.name, "--tls-key", self.key.name]
        program = start(self.place, "relay", *words)
        wait_for_port(self.port)
        return program

    def parcels(self) -> set[str]:
        """Return the parcels that the relay has heard of."""
        folder = self.place.folder / "data" / "parcels"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()


def free_port() -> int:
    """Return a port of the loopback interface that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for_port(port: int) -> None:
    """Return when somebody listens on *port*; raise TimeoutError after `READY_SECONDS`."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError("the relay did not start")


def medshare(place: Place, *words: str) -> None:
    """Run `medshare` quietly; raise CalledProcessError when it fails."""
    subprocess.run(
        [sys.executable, "-m", "medshare", *words],
        cwd=place.folder,
        env=place.environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def start(place: Place, name: str, *words: str) -> Program:
    """Start `medshare` to be measured."""
    command = [sys.executable, "-m", "medshare", *words]
    return Program(name, command, env=place.environment, cwd=place.folder)


@dataclass(frozen=True, slots=True)
class Transfer:
    """What one transfer cost; `wall` in seconds from the start of send to the end of receive."""

    wall: float
    wire_bytes: int
    plain_bytes: int
    sender: Usage
    receiver: Usage
    relay: Usage

    @property
    def cpu(self) -> float:
        """CPU seconds of all three processes."""
        return self.sender.cpu + self.receiver.cpu + self.relay.cpu

    def as_json(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "wall": self.wall,
            "cpu": self.cpu,
            "wire_bytes": self.wire_bytes,
            "plain_bytes": self.plain_bytes,
            **{one.name: one.as_json() for one in (self.sender, self.receiver, self.relay)},
        }


def transfer(setting: Setting, source: Path, *more: str) -> Transfer:
    """Send *source* and receive it at the same time; everything made is removed again."""
    known, output = setting.parcels(), setting.root / "out"
    with setting.relay() as relay:
        begun = time.perf_counter()
        sender = start(
            setting.a, "sender", "send", str(source), "--to", "b", "--new", "--json", "-q", *more
        )
        while not (new := setting.parcels() - known):
            time.sleep(0.005)
        (parcel,) = new
        receiver = start(
            setting.b, "receiver", "receive", parcel, "--output", str(output), "--json", "-q"
        )
        sent, received = wait_for_all([sender, receiver])
        wall = time.perf_counter() - begun
        served = relay.stop()
    figures = json.loads(sent.output.splitlines()[-1])
    shutil.rmtree(output)
    shutil.rmtree(setting.place.folder / "data" / "parcels" / parcel)
    return Transfer(wall, figures["wire_bytes"], figures["total_bytes"], sent, received, served)


def compare(source: Path | None, size: int, workers: int, runs: int, root: Path) -> dict[str, Any]:
    """Run the floor and the transfer in turn; return every run, and the ratios.

    Without *source*, both move the same random octets.
    """
    setting = Setting(root)
    task = floor.Task(root / "floor", size, workers)
    task.folder.mkdir()
    floor.prepare(task.folder, size)
    source = source or task.folder / "source"
    rounds = []
    for _ in range(runs):
        bare = floor.run_once(task)
        rounds.append({"floor": bare, "medshare": transfer(setting, source).as_json()})
    walls = [one["medshare"]["wall"] / one["floor"]["wall_with_startup"] for one in rounds]
    cpus = [one["medshare"]["cpu"] / one["floor"]["cpu_with_startup"] for one in rounds]
    return {
        "benchmark": "transfer",
        "size": size,
        "ratio_to_floor": {"wall": statistics.median(walls), "cpu": statistics.median(cpus)},
        "runs": rounds,
    }


def main() -> None:
    """Read the command line, run, and print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=floor.size_in_bytes, default=1024 * MIB, help="as in 1GiB")
    parser.add_argument("--workers", type=int, default=2, help="of the floor")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--source", type=Path, help="what to send (default: random octets)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="transfer-") as temporary:
        root = Path(temporary)
        source = given.source.absolute() if given.source else None
        figures = compare(source, given.size, given.workers, given.runs, root)
    print(json.dumps({"machine": machine(), **figures}, indent=2))


if __name__ == "__main__":
    main()
