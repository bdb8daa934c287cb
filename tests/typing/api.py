"""Code as an integrator writes it.  mypy checks it; nothing runs it."""

import sys
from pathlib import Path

import medshare


def send_study(home: Path, passphrase: bytes, study: Path, relay: str) -> str:
    """Send a study and wait for the receipt; say what became of it."""
    station = medshare.Station.open(home)
    identity: medshare.Identity = station.unlock(passphrase)
    contact: medshare.Contact = station.contacts.named("dr-wang")
    transport = medshare.RelayTransport(relay, identity, ca_file=home / "ca.pem")
    try:
        result: medshare.SendResult = medshare.send(
            [study],
            to=[contact],
            identity=identity,
            station=station,
            transport=transport,
            options=medshare.SendOptions(note="second opinion, please", wait=600.0),
            on_event=show,
        )
    except medshare.errors.RelayUnavailableError as error:
        return f"later: {error.code}"
    except medshare.MedshareError as error:
        return error.hint or error.message
    finally:
        transport.close()
    receipt: medshare.Receipt | None = result.receipts.get(contact.station)
    return "on its way" if receipt is None else f"{len(receipt.files)} files arrived"


def show(event: medshare.Event) -> None:
    """Print how far a transfer is."""
    from medshare.sharing.events import Progress

    if isinstance(event, Progress):
        sys.stderr.write(f"{event.plain_bytes} of {event.total_bytes}\n")


def receive_all(
    station: medshare.Station, identity: medshare.Identity, stick: Path, output: Path
) -> list[medshare.ReceiveResult]:
    """Receive what waits on a USB stick, from whom we know."""
    transport: medshare.Transport = medshare.FolderTransport(stick, station.id)
    waiting: tuple[medshare.ParcelListing, ...] = medshare.list_waiting(
        identity=identity, station=station, transport=transport
    )
    return [
        medshare.receive(
            listing.parcel,
            identity=identity,
            station=station,
            transport=transport,
            output=output,
            options=medshare.ReceiveOptions(wait=60.0),
        )
        for listing in waiting
        if listing.fault is None
    ]


def check(parcel: Path, folder: Path, receipt_file: Path) -> bool:
    """Check a sealed parcel without a key, and a folder against its receipt."""
    sealed: medshare.ParcelReport = medshare.verify(parcel)
    received: medshare.FolderReport = medshare.verify(folder, medshare.load_receipt(receipt_file))
    faults = [f"{fault.where}: {fault.problem}" for fault in sealed.faults + received.faults]
    return not faults


FORMAT: str = medshare.FORMAT
VERSION: str = medshare.__version__
