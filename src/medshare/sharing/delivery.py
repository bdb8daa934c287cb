"""The end of receiving: whole files read back from disk, and the receipt handed in."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from medshare.chunking import Layout
from medshare.digest import DIGEST_SIZE, Digest
from medshare.disk.incoming import PartFolder
from medshare.errors import IntegrityError
from medshare.receipt import Receipt, ReceivedFile, encode_receipt
from medshare.resume import FileHashed, History, Reached
from medshare.seal import Seal
from medshare.sealing import seal_receipt
from medshare.sharing.incoming import Incoming
from medshare.sharing.receipts import keep_receipt, receipt_path
from medshare.sharing.workers import Crew
from medshare.station import Identity, Station
from medshare.transport.base import Transport

_DISK: Final = "the disk does not give back what was written to it"
_DISK_HINT: Final = "check the disk, and receive into a folder on another one"


def hash_files(incoming: Incoming, part: PartFolder) -> None:
    """Hash every file that spans chunks as it stands on disk, piece by piece and whole.

    Files within one chunk have the digest of their only piece already.  Raises
    IntegrityError when the disk does not give back what was written to it.
    """
    layout, history = incoming.layout, incoming.history
    suite = incoming.opened.envelope.cipher_suite
    buffer = memoryview(bytearray(layout.chunk_size))
    for number in range(len(incoming.opened.manifest.files)):
        if number in history.files or len(layout.chunks_of(number)) <= 1:
            continue
        whole, offset = suite.hasher(), 0
        for size, expected in _pieces_of(layout, history, number):
            view = buffer[:size]
            part.read(number, offset, view)
            if suite.digest(view).value != expected:
                raise IntegrityError(_DISK, hint=_DISK_HINT)
            whole.update(view)
            offset += size
        digest = Digest(whole.digest())
        incoming.note(FileHashed(number, digest))
        history.files[number] = digest


def _pieces_of(layout: Layout, history: History, file: int) -> Iterator[tuple[int, bytes]]:
    """Yield size and verified digest of each piece of *file*, in order."""
    for index in layout.chunks_of(file):
        for number, piece in enumerate(layout.pieces(index)):
            if piece.file == file:
                at = number * DIGEST_SIZE
                yield piece.size, history.chunks[index].pieces[at : at + DIGEST_SIZE]


class Delivery:
    """Makes the receipt once, keeps it, and hands it in as often as needed."""

    def __init__(
        self,
        incoming: Incoming,
        identity: Identity,
        station: Station,
        transport: Transport,
        line: Crew,
    ) -> None:
        self._in = incoming
        self._identity = identity
        self._station = station
        self._transport = transport
        self._line = line

    def run(self, seal: Seal, files: tuple[ReceivedFile, ...]) -> Path:
        """Return the file in which the receipt is kept, after the far side has it too."""
        opened = self._in.opened
        path = receipt_path(self._station, self._in.parcel, self._identity.station)
        if path.exists():
            octets = path.read_bytes()
        else:
            receipt = self._receipt(seal, files)
            octets = encode_receipt(receipt, self._identity.signers)
            keep_receipt(self._station, receipt, octets)
        sealed = seal_receipt(octets, opened.key, opened.envelope)
        put = partial(
            self._transport.put_receipt, self._in.parcel, self._identity.station, sealed
        )
        self._line.retrying("handing in the receipt", put)
        self._in.note(Reached("receipted"), sync=True)
        return path

    def _receipt(self, seal: Seal, files: tuple[ReceivedFile, ...]) -> Receipt:
        envelope = self._in.opened.envelope
        return Receipt(
            parcel=envelope.parcel,
            suite=envelope.suite,
            seal=seal.digest,
            sender=envelope.sender,
            recipient=self._identity.station,
            recipient_keys=tuple(signer.public for signer in self._identity.signers),
            received=int(time.time()),
            files=files,
        )
