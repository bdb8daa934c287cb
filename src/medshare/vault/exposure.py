"""What a compromised key may have laid open: the parcels that it protected, and with whom they are.

Content in a vault can be sealed anew.  What was sent, or received, also lies elsewhere, under
the old key, and nobody can take it back: it can only be listed.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medshare.disk.atomic import read_file, storage_errors
from medshare.envelope import Envelope
from medshare.errors import FormatError, MedshareError
from medshare.ids import ParcelId, StationId, parcel_id_from_text
from medshare.sharing.wrapped import ENVELOPE_FILE, read_envelope
from medshare.station import Station
from medshare.vault.listing import name_of
from medshare.vault.store import Vault

_POINTERS = "pending-*"


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
