"""What a compromised key may have laid open: the parcels that it protected, and with whom they are.

Content in a vault can be sealed anew.  What was sent, or received, also lies elsewhere, under
the old key, and nobody can take it back: it can only be listed.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medshare.disk.atomic import read_file, storage_errors
from medshare.disk.erase import erase_folder
from medshare.envelope import Envelope
from medshare.errors import FormatError, MedshareError
from medshare.ids import ParcelId, StationId, parcel_id_from_text
from medshare.sharing.wrapped import ENVELOPE_FILE, read_envelope
from medshare.station import Station
from medshare.vault.listing import name_of
from medshare.vault.store import Vault

_POINTERS = "pending-*"
_MANIFEST = "manifest"


@dataclass(frozen=True, slots=True)
class Exposure:
    """One parcel that a key protected; *created* in seconds since 1970 UTC."""

    parcel: ParcelId
    where: str
    """`sent`, `received`, or `vault`."""
    tier: str
    created: int
    parties: tuple[str, ...]
    """Names of the other stations that hold its key, or their ids where nobody knows them."""


def exposures(
    station: Station, vaults: Sequence[Vault], tiers: Collection[str] | None
) -> list[Exposure]:
    """Return what was sent, received or kept in *tiers*, or in any tier for None, by age.

    A parcel whose envelope cannot be read any more is left out.
    """
    boxes = [("sent", station.home / "outbox"), ("received", station.home / "inbox")]
    boxes += [("vault", vault.root) for vault in vaults]
    found = [
        Exposure(
            envelope.parcel,
            where,
            envelope.tier,
            envelope.created,
            _parties(envelope, station),
        )
        for where, box in boxes
        for envelope in _envelopes(box)
        if tiers is None or envelope.tier in tiers
    ]
    return sorted(found, key=lambda one: (one.created, one.parcel, one.where))


def _envelopes(box: Path) -> Iterator[Envelope]:
    with storage_errors("list the parcels at hand"):
        inside = sorted(box.iterdir()) if box.is_dir() else []
    for folder in inside:
        if (folder / ENVELOPE_FILE).is_file():
            try:
                yield read_envelope(folder)
            except MedshareError:
                continue


def _parties(envelope: Envelope, station: Station) -> tuple[str, ...]:
    stations: dict[StationId, None] = {envelope.sender: None}
    stations.update(dict.fromkeys(stanza.station for stanza in envelope.recipients))
    stations.pop(station.id, None)
    return tuple(name_of(one, station) or one.hex() for one in stations)


def abandon_unfinished(station: Station, tiers: Collection[str] | None) -> list[ParcelId]:
    """Let no interrupted send in *tiers* be taken up again: the same command begins anew.

    Returns the parcels that were under way.
    """
    abandoned = []
    for pointer in sorted((station.home / "outbox").glob(_POINTERS)):
        try:
            text = read_file(pointer, limit=64, what="the outbox").decode("ascii", "replace")
            parcel = parcel_id_from_text(text.strip())
            envelope = read_envelope(station.home / "outbox" / parcel.hex())
        except (FormatError, MedshareError):
            continue
        if tiers is None or envelope.tier in tiers:
            with storage_errors("give up an unfinished parcel"):
                pointer.unlink(missing_ok=True)
            abandoned.append(parcel)
    return abandoned


def exposed_manifests(station: Station, tiers: Collection[str] | None) -> list[Path]:
    """Return the lists of files, sealed under keys that are known, in outbox and inbox.

    They are those of parcels in *tiers*, in any tier for None, and of those whose envelope
    cannot be read.  No vault is meant: there, content and list are sealed anew.
    """
    found = []
    for box in (station.home / "outbox", station.home / "inbox"):
        for path in sorted(box.glob(f"*/{_MANIFEST}")):
            try:
                exposed = tiers is None or read_envelope(path.parent).tier in tiers
            except MedshareError:
                exposed = True
            if exposed:
                found.append(path)
    return found


def destroy_manifests(station: Station, tiers: Collection[str] | None) -> int:
    """Destroy what `exposed_manifests` finds; return how many there were.

    Nothing at this station needs them any more: a send that was under way is given up, and
    what is still being received asks the far side for the list again.
    """
    found = exposed_manifests(station, tiers)
    for path in found:
        erase_folder(path)
    return len(found)
