"""Runs a real relay in a thread of the test's process, on loopback."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from medshare.ids import ParcelId, StationId
from medshare.relay.admission import Names
from medshare.relay.app import RelayApp
from medshare.relay.enrolment import Stations
from medshare.relay.folder import DataFolder
from medshare.relay.guard import ServerLimits
from medshare.relay.service import Service, opened
from medshare.relay.serving import listen, serve_until
from medshare.relay.settings import Limits
from medshare.suites.base import Signer
from medshare.transport.relay import RelayTransport
from medshare.trust.card import Card
from medshare.wire.routes import chunk_name
from tests.builder import Identity
from tests.running_server import Certificate

PATIENCE = 10.0  # seconds, so that a broken test ends
LOOPBACK = Names((), ("127.0.0.1", "localhost"))


@dataclass(frozen=True)
class Requester:
    """The part of an identity that a transport needs."""

    station: StationId
    card: Card
    request_signer: Signer


def requester(identity: Identity) -> Requester:
    """Return *identity* as one that asks a relay."""
    return Requester(identity.station, identity.card, identity.signers[0])


def enroll(data: Path, *identities: Identity) -> None:
    """Enroll stations in the data folder *data*."""
    stations = Stations(DataFolder(data).cards)
    for identity in identities:
        stations.enroll(identity.card)


@dataclass
class Relay:
    """A relay that runs in a thread of this process."""

    url: str
    data: Path
    service: Service
    files: Certificate | None
    transports: ExitStack

    def transport(self, identity: Identity) -> RelayTransport:
        """Return the relay as *identity* sees it, until the relay ends."""
        ca_file = self.files.ca if self.files else None
        made = RelayTransport(self.url, requester(identity), ca_file=ca_file)
        self.transports.callback(made.close)
        return made

    def folder(self, parcel: ParcelId) -> Path:
        """Return where the relay keeps a parcel."""
        return self.data / "parcels" / parcel.hex()

    def chunk(self, parcel: ParcelId, index: int) -> Path:
        """Return where the relay keeps a chunk."""
        return self.folder(parcel) / "chunks" / chunk_name(index)


@contextmanager
def running_relay(
    data: Path,
    *,
    limits: Limits | None = None,
    server: ServerLimits | None = None,
    files: Certificate | None = None,
    clock: Callable[[], float] = time.time,
    names: Names = LOOPBACK,
) -> Iterator[Relay]:
    """Run a relay on the data folder *data* until the block ends."""
    server = server or ServerLimits(grace_seconds=0.2)
    with ExitStack() as stack:
        service = stack.enter_context(opened(data, limits or Limits(), clock=clock))
        endpoint = listen(
            "127.0.0.1",
            0,
            tls_cert=files.cert if files else None,
            tls_key=files.key if files else None,
            limits=server,
        )
        url = endpoint.url
        ready: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        begun = threading.Event()

        async def main() -> None:
            stop = asyncio.Event()
            ready.append((asyncio.get_running_loop(), stop))
            begun.set()
            await serve_until(stop, RelayApp(service, names), endpoint, limits=server)

        thread = threading.Thread(target=asyncio.run, args=(main(),))
        thread.start()
        assert begun.wait(PATIENCE)
        try:
            with ExitStack() as transports:
                yield Relay(url, data, service, files, transports)
        finally:
            loop, stop = ready[0]
            loop.call_soon_threadsafe(stop.set)
            thread.join(2 * PATIENCE)
            assert not thread.is_alive()
