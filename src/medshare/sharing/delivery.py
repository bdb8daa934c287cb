"""The end of receiving: the receipt, made once and handed in as often as needed."""

import time
from functools import partial
from pathlib import Path

from medshare.audit import entries
from medshare.audit.entries import Act
from medshare.receipt import Receipt, ReceivedFile, encode_receipt
from medshare.resume import Reached
from medshare.seal import Seal
from medshare.sealing import seal_receipt
from medshare.sharing.incoming import Incoming
from medshare.sharing.receipts import keep_receipt, receipt_path
from medshare.sharing.workers import Crew
from medshare.station import Identity, Station
from medshare.transport.base import Transport


class Delivery:
    """Makes the receipt once, keeps it, and hands it in as often as needed."""

    def __init__(
        self,
        incoming: Incoming,
        identity: Identity,
        station: Station,
        transport: Transport,
        line: Crew,
        *,
        emergency: bytes | None = None,
    ) -> None:
        self._emergency = emergency
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
            about = entries.parcel(self._in.parcel)
            self._station.record.note(Act.RECEIPT, about, tier=opened.envelope.tier)
            receipt = self._receipt(seal, files)
            octets = encode_receipt(receipt, self._identity.signers)
            keep_receipt(self._station, receipt, octets)
        sealed = seal_receipt(octets, opened.key, opened.envelope)
        put = partial(self._transport.put_receipt, self._in.parcel, self._identity.station, sealed)
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
            anchor=self._station.record.anchor(self._identity.signers),
            emergency=self._emergency,
        )
