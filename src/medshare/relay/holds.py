"""Parcels that must not be destroyed: one file each, as a file outlives a lost database.

DATA/admin/holds/<parcel>    the digest of the proposal that set the hold
"""

from pathlib import Path
from typing import Final

from medshare.disk.atomic import fsync_folder, make_folder, storage_errors, write_file
from medshare.errors import RelayRefusedError
from medshare.ids import ParcelId
from medshare.wire import problems

HOLDS: Final = "holds"


class Holds:
    """The legal holds in *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __contains__(self, parcel: ParcelId) -> bool:
        """Tell whether *parcel* is held; raise StorageError when that cannot be told."""
        with storage_errors("look for a hold"):
            return self._path(parcel).exists()

    def require_none(self, parcel: ParcelId) -> None:
        """Raise RelayRefusedError when *parcel* is held."""
        if parcel in self:
            raise RelayRefusedError(
                "the parcel is under a hold and is not deleted", code=problems.HELD
            )

    def set(self, parcel: ParcelId, proposal: bytes) -> None:
        """Let *parcel* be held, durably, by the proposal with that digest."""
        make_folder(self._folder)
        write_file(self._path(parcel), proposal, what="a hold")

    def release(self, parcel: ParcelId) -> None:
        """Let *parcel* be held no longer."""
        with storage_errors("release a hold"):
            self._path(parcel).unlink(missing_ok=True)
        if self._folder.exists():
            fsync_folder(self._folder)

    def _path(self, parcel: ParcelId) -> Path:
        return self._folder / parcel.hex()
