"""A vault: a folder of sealed parcels, apart from every keystore.

    .medshare-vault         empty: says that this is a vault
    <parcel>/               the parcel folder of docs/format.md §11
    <parcel>/wrap           its key under the KEK of its tier (`sharing.wrapped`)
    <parcel>/origin         of content that was sealed anew: what it was before (`vault.origin`)
    .new-<parcel>/          content being sealed anew
    .gone-<parcel>/         being destroyed

Parcels are listed and verified without any key; to open one, `vault.stored`.
"""

import os
import re
from pathlib import Path
from typing import Final

from medshare.audit import entries
from medshare.audit.entries import Act
from medshare.disk.atomic import fsync_folder, storage_errors, write_file
from medshare.disk.erase import erase_folder
from medshare.disk.parcels import ParcelFolder
from medshare.disk.separation import (
    VAULT_MARKER,
    require_apart,
    require_no_station_around,
)
from medshare.errors import NotFoundError, UsageError
from medshare.ids import ParcelId, parcel_id_from_text
from medshare.station import Station
from medshare.station.permissions import private_folder, require_private
from medshare.station.vaults import register_vault
from medshare.transport.folder import FolderTransport

_PARCEL: Final = re.compile(r"[0-9a-f]{32}")
_GONE, _NEW = ".gone-", ".new-"
_WHAT: Final = "the vault"


class Vault:
    """The vault of *station* in the folder *root*; see `make` and `open`."""

    def __init__(self, root: Path, station: Station) -> None:
        self.root = root
        self.station = station

    @classmethod
    def make(cls, root: Path, station: Station) -> "Vault":
        """Return the vault in *root*, made if need be, and remembered by *station*.

        Raises StorageError when it would lie in one tree with a keystore, is open to others,
        or cannot be made; UsageError when *root* holds something else.
        """
        root = Path(os.path.realpath(root))
        require_apart(root, station.home, what=_WHAT)
        require_no_station_around(root, what=_WHAT)
        if root.exists() and not (root / VAULT_MARKER).exists() and any(root.iterdir()):
            raise UsageError(f"{root} is not a vault, and not empty", hint="choose another folder")
        register_vault(station.home, root)
        private_folder(root)
        require_private(root, what=_WHAT)
        if not (root / VAULT_MARKER).exists():
            write_file(root / VAULT_MARKER, b"", what=_WHAT)
        return cls(root, station)

    @classmethod
    def open(cls, root: Path, station: Station) -> "Vault":
        """Return the vault in *root*; raise UsageError when there is none, else as `make`."""
        if not (root / VAULT_MARKER).exists():
            raise UsageError(
                f"there is no vault in {root}",
                hint="medshare receive --keep and medshare vault add make one",
            )
        return cls.make(root, station)

    def folder(self, parcel: ParcelId) -> Path:
        """Return the folder of *parcel*, which need not be there."""
        return self.root / parcel.hex()

    def sealed(self, parcel: ParcelId) -> ParcelFolder:
        """Return what reads the sealed octets of *parcel*."""
        return ParcelFolder(self.folder(parcel), follow=False)

    def parcels(self) -> tuple[ParcelId, ...]:
        """Return the parcels that are here, finished or not, in the order of their ids."""
        with storage_errors("list the vault"):
            names = sorted(entry.name for entry in os.scandir(self.root))
        return tuple(parcel_id_from_text(name) for name in names if _PARCEL.fullmatch(name))

    def require(self, parcel: ParcelId) -> Path:
        """Return the folder of *parcel*; raise NotFoundError when it is not here."""
        if not self.folder(parcel).is_dir():
            raise NotFoundError(f"parcel {parcel.hex()} is not in the vault")
        return self.folder(parcel)

    def transport(self) -> FolderTransport:
        """Return the vault as a way for sealed parcels; what it stores, it has verified."""
        return FolderTransport(self.root, self.station.id, shared=False)

    def destroy(self, parcel: ParcelId) -> None:
        """Let *parcel* be gone, its octets overwritten as well as the disk lets us.

        It disappears at once under its name; what an interruption leaves, `tidy` destroys.
        """
        if self.folder(parcel).exists():
            self.station.record.note(Act.DELETE, entries.parcel(parcel))
        gone = self.root / f"{_GONE}{parcel.hex()}"
        with storage_errors("destroy a sealed parcel"):
            if self.folder(parcel).exists():
                self.folder(parcel).rename(gone)
        fsync_folder(self.root)
        erase_folder(gone)

    def stage(self, parcel: ParcelId) -> Path:
        """Return a new folder in which *parcel* is put together; `commit` gives it its name."""
        staging = self.root / f"{_NEW}{parcel.hex()}"
        ParcelFolder(staging).make()
        return staging

    def commit(self, parcel: ParcelId) -> None:
        """Let what was staged be *parcel*, durably."""
        with storage_errors("put a sealed parcel in its place"):
            (self.root / f"{_NEW}{parcel.hex()}").rename(self.folder(parcel))
        fsync_folder(self.root)

    def tidy(self) -> None:
        """Destroy what an interrupted run has left: half destroyed, or half put together."""
        for leftover in sorted([*self.root.glob(f"{_GONE}*"), *self.root.glob(f"{_NEW}*")]):
            erase_folder(leftover)
