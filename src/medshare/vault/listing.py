"""What is in a vault, told without any key: so without names of files or patients."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from medshare.disk.atomic import storage_errors
from medshare.envelope import Envelope
from medshare.errors import MedshareError
from medshare.ids import ParcelId, StationId
from medshare.sharing.events import OnEvent, ignore
from medshare.sharing.verify import Fault, ParcelReport, verify_parcel
from medshare.sharing.wrapped import parcel_key, read_envelope, read_wrap
from medshare.station import Identity, Station
from medshare.vault.origin import Origin, read_origin
from medshare.vault.store import Vault
from medshare.vault.stored import kept_sender


@dataclass(frozen=True, slots=True)
class VaultEntry:
    """One parcel as it lies in a vault; sizes in octets, times in seconds since 1970 UTC."""

    parcel: ParcelId
    tier: str
    suite: str
    sender: StationId
    """Who sent the content, also where it was sealed anew since."""
    sender_name: str
    """Its local name; empty where nobody here knows it."""
    created: int
    delete_after: int
    chunks: int
    octets: int
    sealed: bool
    label: str
    """The KEK under which its key is wrapped; empty where it is not."""
    origin: Origin | None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something in the vault that cannot be listed, and why."""

    parcel: ParcelId
    error: MedshareError


def list_vault(vault: Vault) -> list[VaultEntry | Unreadable]:
    """Return what is in *vault*, by age; what cannot be read comes last, and is named."""
    found: list[VaultEntry] = []
    bad: list[VaultEntry | Unreadable] = []
    for parcel in vault.parcels():
        try:
            found.append(_entry(vault, parcel))
        except MedshareError as error:
            bad.append(Unreadable(parcel, error))
    return [*sorted(found, key=lambda entry: (entry.created, entry.parcel)), *bad]


def _entry(vault: Vault, parcel: ParcelId) -> VaultEntry:
    folder = vault.folder(parcel)
    envelope, origin = read_envelope(folder), read_origin(folder)
    wrap = read_wrap(folder)
    sender = envelope.sender if origin is None else origin.sender
    return VaultEntry(
        parcel=parcel,
        tier=envelope.tier,
        suite=envelope.suite,
        sender=sender,
        sender_name=name_of(sender, vault.station),
        created=envelope.created if origin is None else origin.created,
        delete_after=envelope.delete_after,
        chunks=envelope.chunk_count,
        octets=_octets(folder, envelope),
        sealed=vault.sealed(parcel).has_seal(),
        label="" if wrap is None else wrap[1].label,
        origin=origin,
    )


def _octets(folder: Path, envelope: Envelope) -> int:
    chunks = folder / "chunks"
    with storage_errors("list the vault"):
        sizes = (one.stat(follow_symlinks=False).st_size for one in os.scandir(chunks))
        return envelope.manifest_size + sum(sizes)


def name_of(sender: StationId, station: Station) -> str:
    """Return the local name of *sender*; empty where nobody here knows it."""
    if sender == station.id:
        return "this station"
    contact = station.contacts.of(sender)
    return "" if contact is None else contact.name


def find_in_vault(vault: Vault, parcel: ParcelId) -> ParcelId:
    """Return the parcel of *vault* that holds the content of *parcel*, under whatever id.

    Content that was sealed anew is found under its first id as well.  Raises NotFoundError.
    """
    if not vault.folder(parcel).is_dir():
        for candidate in vault.parcels():
            origin = read_origin(vault.folder(candidate))
            if origin is not None and parcel in {origin.parcel, origin.replaced}:
                return candidate
    vault.require(parcel)
    return parcel


def verify_in_vault(
    vault: Vault, parcel: ParcelId, identity: Identity | None, *, on_event: OnEvent = ignore
) -> ParcelReport:
    """Check *parcel* of *vault* as `verify_parcel` does and, with *identity*, that it opens.

    Raises what `verify_parcel` raises; every other fault is in the report.
    """
    folder = vault.require(parcel)
    report = verify_parcel(folder, on_event=on_event)
    envelope = read_envelope(folder)
    faults = list(report.faults)
    if envelope.parcel != parcel:
        faults.append(Fault("envelope", "is that of another parcel", "integrity"))
    faults += _faults("sender", lambda: kept_sender(envelope, vault.station))
    if identity is not None:
        faults += _faults("key", lambda: parcel_key(envelope, folder, identity))
    return replace(report, faults=tuple(faults))


def _faults(where: str, check: Callable[[], object]) -> list[Fault]:
    try:
        check()
    except MedshareError as error:
        return [Fault(where, error.message, error.code)]
    return []
