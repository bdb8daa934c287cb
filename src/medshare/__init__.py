"""Moves medical studies between hospitals: sealed end to end, signed, verified, resumable.

    station = medshare.Station.open(home)
    identity = station.unlock(passphrase)
    relay = medshare.RelayTransport("https://relay.example.org", identity)
    result = medshare.send(
        [study],
        to=[station.contacts.named("dr-wang")],
        identity=identity,
        station=station,
        transport=relay,
        on_event=print,
    )

What stands here is the stable surface; everything else is reached by its module and may
change.  Each name is imported when it is first used, so that `import medshare` is quick.
Calls block; `on_event` is called from worker threads.  Every deliberate failure is a
`MedshareError`.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from medshare import errors
    from medshare.errors import MedshareError
    from medshare.receipt import Receipt
    from medshare.sharing.events import Event
    from medshare.sharing.receipts import load_receipt
    from medshare.sharing.receive import (
        ParcelListing,
        ReceiveOptions,
        ReceiveResult,
        list_waiting,
        receive,
    )
    from medshare.sharing.send import SendOptions, SendResult, send
    from medshare.sharing.verify import FolderReport, ParcelReport, verify
    from medshare.station import Contact, Identity, Station
    from medshare.transport.base import Transport
    from medshare.transport.folder import FolderTransport
    from medshare.transport.relay import RelayTransport

__version__: Final = "0.1.0"

FORMAT: Final = "medshare/1"
"""The sealed format that this version writes, and the newest that it reads."""

_PLACES: Final = {
    "Contact": "medshare.station",
    "Event": "medshare.sharing.events",
    "FolderReport": "medshare.sharing.verify",
    "FolderTransport": "medshare.transport.folder",
    "Identity": "medshare.station",
    "MedshareError": "medshare.errors",
    "ParcelListing": "medshare.sharing.receive",
    "ParcelReport": "medshare.sharing.verify",
    "Receipt": "medshare.receipt",
    "ReceiveOptions": "medshare.sharing.receive",
    "ReceiveResult": "medshare.sharing.receive",
    "RelayTransport": "medshare.transport.relay",
    "SendOptions": "medshare.sharing.send",
    "SendResult": "medshare.sharing.send",
    "Station": "medshare.station",
    "Transport": "medshare.transport.base",
    "list_waiting": "medshare.sharing.receive",
    "load_receipt": "medshare.sharing.receipts",
    "receive": "medshare.sharing.receive",
    "send": "medshare.sharing.send",
    "verify": "medshare.sharing.verify",
}

__all__ = [
    "FORMAT",
    "Contact",
    "Event",
    "FolderReport",
    "FolderTransport",
    "Identity",
    "MedshareError",
    "ParcelListing",
    "ParcelReport",
    "Receipt",
    "ReceiveOptions",
    "ReceiveResult",
    "RelayTransport",
    "SendOptions",
    "SendResult",
    "Station",
    "Transport",
    "__version__",
    "errors",
    "list_waiting",
    "load_receipt",
    "receive",
    "send",
    "verify",
]


if not TYPE_CHECKING:  # or checkers would believe in any name

    def __getattr__(name: str) -> Any:
        if name == "errors":
            return importlib.import_module("medshare.errors")
        place = _PLACES.get(name)
        if place is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(place), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
