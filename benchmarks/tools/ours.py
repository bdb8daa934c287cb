"""medshare: through a relay with TLS, or through a folder and no network at all."""

import compileall
import shutil
import subprocess
import sys
from pathlib import Path

import trustme

import medshare as medshare_package
from benchmarks.carrying import Carrying, empty
from benchmarks.hosts import HERE, Host, free_port
from benchmarks.measure import Program
from benchmarks.tools.base import Tool
from medshare.commands.stage import Place, hospital


class Hospitals:
    """Stations `a` and `b` that trust each other, and the place of a relay that knows both."""

    def __init__(self, root: Path, host: Host = HERE) -> None:
        as_installed()
        self.root, self.host, self.port = root, host, free_port()
        self.relay = Place.make("relay", root)
        self._certify()
        url = f"https://{host.address}:{self.port}"
        self.a = hospital("a", root, relay=url, ca_file=self.relay.folder / "ca.pem")
        self.b = hospital("b", root, relay=url, ca_file=self.relay.folder / "ca.pem")
        for place in (self.a, self.b):
            medshare(place, "init", "--name", place.name)
            medshare(place, "card", "export", "--output", str(root / f"{place.name}.card"))
        for place, other in ((self.a, "b"), (self.b, "a")):
            card = str(root / f"{other}.card")
            medshare(place, "card", "import", card, "--name", other, "--yes")
            medshare(self.relay, "relay", "enroll", card, "--data", "enrolled", "--yes")

    def _certify(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.relay.folder / "ca.pem")
        certificate = authority.issue_cert(self.host.address)
        certificate.cert_chain_pems[0].write_to_path(self.relay.folder / "relay.pem")
        certificate.private_key_pem.write_to_path(self.relay.folder / "relay.key")

    @property
    def data(self) -> Path:
        """Where the relay keeps what it has."""
        return self.relay.folder / "data"

    def forget(self) -> None:
        """Let the relay be as it was before anybody sent anything."""
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.copytree(self.relay.folder / "enrolled", self.data)

    def serve(self, trip: Carrying) -> Program:
        """Start a relay that has nothing."""
        self.forget()
        words = ["relay", "serve", "--data", "data"]
        words += ["--listen", f"{self.host.address}:{self.port}"]
        words += ["--tls-cert", "relay.pem", "--tls-key", "relay.key"]
        place = self.relay
        return trip.serve(
            "relay", command(*words), self.host, port=self.port,
            env=place.environment, cwd=place.folder,
        )  # fmt: skip


class Medshare(Tool):
    """send and receive at the same time through a relay that keeps what passes."""

    name = "medshare"
    way = "medshare send and receive through a relay with TLS"
    legs = 2
    seals = True
    options: tuple[str, ...] = ()
    """What else `send` is told."""

    def set_up(self) -> None:
        self.hospitals = Hospitals(self.place, self.far)

    def carry(self, trip: Carrying, source: Path, target: Path) -> None:
        hospitals = self.hospitals
        hospitals.serve(trip)
        words = ["send", str(source), "--to", "b", "--new", "--json", "-q", *self.options]
        a, b = hospitals.a, hospitals.b
        trip.begin()
        trip.start("sender", command(*words), self.near, env=a.environment, cwd=a.folder, log=False)
        words = ["receive", "--await", "1m", "--output", str(target), "--json", "-q"]
        trip.start(
            "receiver", command(*words), self.far, env=b.environment, cwd=b.folder, log=False
        )
        trip.join()

    def clean(self) -> None:
        shutil.rmtree(self.hospitals.data, ignore_errors=True)


class MedshareFolder(Tool):
    """Sealed into a folder, and opened from it when that is done: what a courier carries."""

    name = "medshare, folder"
    way = "medshare send --folder, then receive --folder"
    seals = True

    def set_up(self) -> None:
        self.hospitals = Hospitals(self.place, self.far)

    def carry(self, trip: Carrying, source: Path, target: Path) -> None:
        store = empty(self.place / "courier")
        a, b = self.hospitals.a, self.hospitals.b
        words = ["send", str(source), "--to", "b", "--new", "--folder", str(store), "--json", "-q"]
        trip.begin()
        trip.run("seal", command(*words), self.near, env=a.environment, cwd=a.folder, log=False)
        words = ["receive", "--folder", str(store), "--output", str(target), "--json", "-q"]
        trip.run("open", command(*words), self.far, env=b.environment, cwd=b.folder, log=False)

    def clean(self) -> None:
        shutil.rmtree(self.place / "courier", ignore_errors=True)


def as_installed() -> None:
    """Compile the package, as pip does for everybody who installs it."""
    compileall.compile_dir(Path(medshare_package.__file__).parent, quiet=2)


def command(*words: str) -> list[str]:
    """Return the command that runs `medshare` with *words*."""
    return [sys.executable, "-m", "medshare", *words]


def medshare(place: Place, *words: str) -> None:
    """Run `medshare` quietly; raise CalledProcessError when it fails."""
    subprocess.run(
        command(*words),
        cwd=place.folder,
        env=place.environment,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
