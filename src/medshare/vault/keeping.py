"""Into the vault: what is received, as it was sealed, and files of this machine.

A received parcel goes into the vault while it arrives: each chunk that is fetched is stored
as well, once it is verified.  The receipt is handed in only when the vault has all of it.
"""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from medshare.chunk import max_sealed_size
from medshare.disk.atomic import storage_errors
from medshare.disk.parcels import ParcelFolder
from medshare.envelope import Envelope, parse_envelope
from medshare.errors import AuthenticityError, FormatError, IntegrityError, RelayRefusedError
from medshare.ids import ParcelId, StationId
from medshare.seal import parse_seal
from medshare.sharing.events import OnEvent, ignore
from medshare.sharing.outgoing import SendOptions
from medshare.sharing.send import SendResult, send
from medshare.sharing.wrapped import keep_key, parcel_key
from medshare.station import Contact, Identity
from medshare.suites.base import Hashed
from medshare.transport.base import Stored, Transport
from medshare.vault.store import Vault


class KeepingTransport:
    """Another transport, with a copy of what is fetched through it in *vault*."""

    def __init__(self, inner: Transport, vault: Vault, identity: Identity) -> None:
        self._inner = inner
        self._vault = vault
        self._identity = identity
        self._into = vault.transport()
        self._known: dict[ParcelId, Envelope] = {}

    @property
    def route(self) -> str:
        """The way taken: that of the other transport."""
        return self._inner.route

    @property
    def traffic(self) -> int | None:
        """Octets that have crossed the line of the other transport."""
        return self._inner.traffic

    def get_chunk(self, parcel: ParcelId, index: int, into: memoryview) -> int:
        """Read one sealed chunk into *into*, and keep it if it is as it should be."""
        self._announced(parcel)
        size = self._inner.get_chunk(parcel, index, into)
        # Whoever asked verifies it as well, and says what is wrong.
        with suppress(IntegrityError, AuthenticityError, FormatError, RelayRefusedError):
            self._into.put_chunk(parcel, index, into[:size])
        return size

    def put_receipt(self, parcel: ParcelId, recipient: StationId, receipt: bytes) -> None:
        """Hand in the receipt once the vault has all of *parcel*."""
        self._complete(parcel)
        self._inner.put_receipt(parcel, recipient, receipt)

    def _announced(self, parcel: ParcelId) -> Envelope:
        """Let the vault know *parcel*; return its envelope."""
        envelope = self._known.get(parcel)
        if envelope is None:
            accepted = ParcelFolder(self._vault.station.inbox(parcel))
            octets = accepted.read_envelope()
            envelope = parse_envelope(octets)
            self._into.announce(parcel, octets, accepted.read_manifest())
            self._known[parcel] = envelope
        return envelope

    def _complete(self, parcel: ParcelId) -> None:
        """Fetch what earlier runs did not keep as it was sealed; then seal and wrapped key."""
        envelope = self._announced(parcel)
        octets = self._inner.get_seal(parcel)
        seal = parse_seal(octets, envelope)
        here = {one.index: one.digest for one in self._into.stored(parcel).chunks}
        buffer = memoryview(bytearray(max_sealed_size(envelope.chunk_size)))
        for index, digest in enumerate(seal.chunks):
            if here.get(index) != digest:
                self._vault.sealed(parcel).drop_chunk(index)
                size = self._inner.get_chunk(parcel, index, buffer)
                self._into.put_chunk(parcel, index, buffer[:size])
        self._into.put_seal(parcel, octets)
        key = parcel_key(envelope, self._vault.station.inbox(parcel), self._identity)
        keep_key(self._vault.folder(parcel), envelope, key, self._identity)

    # --- what goes through unchanged ------------------------------------------------------

    def announce(self, parcel: ParcelId, envelope: bytes, manifest: bytes) -> tuple[StationId, ...]:
        """Make *envelope* and sealed *manifest* known."""
        return self._inner.announce(parcel, envelope, manifest)

    def stored(self, parcel: ParcelId) -> Stored:
        """Return what is there."""
        return self._inner.stored(parcel)

    def put_chunk(
        self, parcel: ParcelId, index: int, sealed: memoryview, *, whole: Hashed | None = None
    ) -> None:
        """Store one sealed chunk."""
        self._inner.put_chunk(parcel, index, sealed, whole=whole)

    def want_chunks(self, parcel: ParcelId, indexes: tuple[int, ...]) -> None:
        """Ask for these chunks again."""
        self._inner.want_chunks(parcel, indexes)

    def put_seal(self, parcel: ParcelId, seal: bytes) -> None:
        """Store the seal."""
        self._inner.put_seal(parcel, seal)

    def get_envelope(self, parcel: ParcelId) -> bytes:
        """Return the envelope."""
        return self._inner.get_envelope(parcel)

    def get_manifest(self, parcel: ParcelId, *, size: int) -> bytes:
        """Return the sealed manifest."""
        return self._inner.get_manifest(parcel, size=size)

    def get_seal(self, parcel: ParcelId) -> bytes:
        """Return the seal."""
        return self._inner.get_seal(parcel)

    def get_receipt(self, parcel: ParcelId, recipient: StationId) -> bytes:
        """Return the sealed receipt of *recipient*."""
        return self._inner.get_receipt(parcel, recipient)

    def inbox(self, *, seconds: float = 0.0) -> tuple[ParcelId, ...]:
        """Return the parcels that wait for this station."""
        return self._inner.inbox(seconds=seconds)

    def wait_for_news(self, parcel: ParcelId, known: Stored, *, seconds: float) -> Stored:
        """Block until something differs from *known*."""
        return self._inner.wait_for_news(parcel, known, seconds=seconds)

    def remove(self, parcel: ParcelId) -> None:
        """Let the far side forget *parcel*."""
        self._inner.remove(parcel)

    def close(self) -> None:
        """Release both transports."""
        self._into.close()
        self._inner.close()


def add_to_vault(
    vault: Vault,
    paths: Sequence[Path],
    *,
    identity: Identity,
    options: SendOptions | None = None,
    on_event: OnEvent = ignore,
) -> SendResult:
    """Seal *paths* to this station itself, in the vault; go on where an earlier run stopped.

    Raises what `send` raises.
    """
    station = vault.station
    oneself = Contact("this station", station.id, station.card, 0)
    options = replace(options or SendOptions(), wait=None, limit_rate=None)
    result = send(
        paths,
        to=[oneself],
        identity=identity,
        station=station,
        transport=vault.transport(),
        options=options,
        on_event=on_event,
    )
    outbox = station.outbox(result.parcel)
    envelope = parse_envelope(vault.sealed(result.parcel).read_envelope())
    key = parcel_key(envelope, outbox, identity)
    keep_key(vault.folder(result.parcel), envelope, key, identity)
    with storage_errors("tidy the outbox"):
        shutil.rmtree(outbox)
    return result
