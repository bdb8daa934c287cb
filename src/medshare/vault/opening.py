"""Out of the vault: verified files, under their names, in a folder of your choice."""

from dataclasses import dataclass
from pathlib import Path

from medshare.audit import entries
from medshare.audit.entries import Act
from medshare.disk.incoming import PartFolder
from medshare.disk.separation import require_apart
from medshare.grant import Permission
from medshare.ids import ParcelId
from medshare.sharing.access import Access
from medshare.sharing.events import Finished, OnEvent, Phase, Planned, ignore
from medshare.sharing.workers import Meter
from medshare.station import Contact, Identity
from medshare.vault.granted import granting_envelope
from medshare.vault.origin import Origin, read_origin
from medshare.vault.store import Vault
from medshare.vault.stored import StoredParcel, open_stored


@dataclass(frozen=True, slots=True)
class Opened:
    """What came out of the vault; octets are plaintext."""

    parcel: ParcelId
    sender: Contact
    origin: Origin | None
    files: int
    total_bytes: int
    output: Path


def open_from_vault(
    vault: Vault,
    parcel: ParcelId,
    *,
    identity: Identity,
    output: Path,
    on_event: OnEvent = ignore,
) -> Opened:
    """Put the files of *parcel* into the folder *output*; the vault keeps it.

    Files appear under their names only after all of the parcel has been verified again.
    Raises what `open_stored` raises, PolicyError when a rule of `trust.access` refuses to have it
    written to a disk, AccessDeniedError when it was opened as often as the sender allows, and
    StorageError when *output* cannot be written, or lies in one tree with the keystore.
    """
    require_apart(output, vault.station.home, what="the output folder")
    stored = open_stored(vault, parcel, identity)
    meter = Meter(parcel, on_event)
    _plan(stored, meter)
    with PartFolder(output.resolve(), parcel) as part:
        prepared = part.prepare(stored.manifest)
        granting = granting_envelope(stored.folder, stored.envelope)
        access = Access(granting, vault.station, counted=prepared.placing)
        access.begin(Permission.EXPORT)
        if not prepared.placing:
            vault.station.record.note(Act.OPEN, entries.parcel(parcel), tier=stored.envelope.tier)
            _fill(stored, part, meter)
        meter.tell(Phase(parcel, "placing"))
        access.note(Permission.EXPORT)
        part.place()
        part.discard()
    vault.station.record.anchor(identity.signers)
    files, octets = len(stored.manifest.files), stored.layout.total_size
    meter.tell(Finished(parcel, "opened", files, octets))
    return Opened(parcel, stored.sender, read_origin(stored.folder), files, octets, output)


def _fill(stored: StoredParcel, part: PartFolder, meter: Meter) -> None:
    layout = stored.layout

    def write(index: int, plain: memoryview) -> None:
        for piece in layout.pieces(index):
            end = piece.chunk_offset + piece.size
            part.write(piece.file, piece.file_offset, plain[piece.chunk_offset : end])
        meter.moved(plain=len(plain), wire=0)

    stored.read_all(write)
    part.flush()


def _plan(stored: StoredParcel, meter: Meter) -> None:
    layout = stored.layout
    meter.begin(
        total_chunks=layout.chunk_count, total_bytes=layout.total_size, chunks=0, plain_bytes=0
    )
    meter.tell(
        Planned(
            parcel=stored.envelope.parcel,
            direction="open",
            peer=stored.sender.name,
            route="vault",
            files=len(stored.manifest.files),
            total_bytes=layout.total_size,
            total_chunks=layout.chunk_count,
            resumed_chunks=0,
            resumed_bytes=0,
        )
    )
