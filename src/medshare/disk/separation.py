"""Keys and data are never in one place: which folders may not lie in each other.

Whoever copies, backs up, shares or mounts one folder takes all in it along.  So the folder
of a station, which holds its keystore, and every folder that holds data (a vault, a relay's
store, what was received) are disjoint trees; and a keystore is on a disk of this machine.

Known by what is in them: a station by `keys` and `card`, a vault by its marker, the data of a
relay by its lock.  docs/decisions/0010-key-separation.md says what this does not give.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from medshare.errors import StorageError

CODE: Final = "storage.separation"
VAULT_MARKER: Final = ".medshare-vault"
_RELAY_LOCK: Final = "relay.lock"
_RELAY_FOLDERS: Final = frozenset({"cards", "parcels"})
_LOOKED_AT: Final = 100
_MOUNTS: Final = Path("/proc/self/mountinfo")
NETWORK: Final = frozenset(
    {
        "afs", "beegfs", "ceph", "cifs", "davfs", "fuse.davfs2", "fuse.glusterfs", "fuse.rclone",
        "fuse.s3fs", "fuse.sshfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs",
    }
)  # fmt: skip
"""File systems that lie on another machine, as mountinfo(5) names them."""


def require_apart(data: Path, home: Path, *, what: str) -> None:
    """Raise StorageError when *data* (called *what*) and the station in *home* share a tree."""
    inside, outside = _resolved(data), _resolved(home)
    if inside == outside or outside in inside.parents:
        raise _together(f"{what} ({data}) would lie in the folder of the station ({home})")
    if inside in outside.parents:
        raise _together(f"the folder of the station ({home}) would lie in {what} ({data})")


def require_no_station_around(data: Path, *, what: str) -> None:
    """Raise StorageError when *data* (called *what*) lies in the folder of any station."""
    for folder in _upwards(data):
        if is_station(folder):
            raise _together(f"{what} ({data}) would lie in the folder of a station ({folder})")


def require_no_station_inside(data: Path, *, what: str) -> None:
    """Raise StorageError when there is a station in *data* (called *what*), or one folder deeper.

    One that lies deeper is refused when it is opened, by `require_place_for_keys`.
    """
    near = [*_folders(data), *(inside for folder in _folders(data) for inside in _folders(folder))]
    for folder in near:
        if is_station(folder):
            raise _together(f"the folder of a station ({folder}) lies in {what} ({data})")


def _folders(path: Path) -> list[Path]:
    """Return the first folders in *path*, but for those in which a relay keeps parcels."""
    try:
        found = (one for one in path.iterdir() if one.name not in _RELAY_FOLDERS and one.is_dir())
        return list(islice(found, _LOOKED_AT))
    except OSError:
        return []


def require_place_for_keys(home: Path) -> None:
    """Raise StorageError unless *home* may be the folder of a station.

    It lies on this machine, and neither in a vault nor in the data of a relay.
    """
    require_local(home)
    for folder in _upwards(home):
        if (folder / VAULT_MARKER).exists():
            raise _together(f"the folder of the station ({home}) would lie in a vault ({folder})")
        if (folder / _RELAY_LOCK).exists():
            raise _together(
                f"the folder of the station ({home}) would lie in the data of a relay ({folder})"
            )


def require_local(home: Path) -> None:
    """Raise StorageError when *home*, the folder of a station, is on a network file system."""
    kind = filesystem_of(home)
    if kind in NETWORK:
        raise StorageError(
            f"the folder of the station ({home}) is on a network share ({kind}): whoever runs "
            "that server would hold its keystore",
            hint="let MEDSHARE_HOME be a folder on a disk of this machine",
            code=CODE,
        )


def is_station(folder: Path) -> bool:
    """Tell whether *folder* is that of a station."""
    return (folder / "keys").is_dir() and (folder / "card").exists()


def filesystem_of(path: Path) -> str:
    """Return the kind of file system on which *path* is, or would be; empty where unknown."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    kinds = dict(_mount(line) for line in lines if " - " in line)
    for folder in _upwards(path):
        if str(folder) in kinds:
            return kinds[str(folder)]
    return ""


def _mount(line: str) -> tuple[str, str]:
    """Return mount point and kind from a line of mountinfo(5); later lines hide earlier ones."""
    before, _, after = line.partition(" - ")
    point = before.split(" ")[4].encode("utf-8", "surrogateescape")
    for octal, octet in ((rb"\040", b" "), (rb"\011", b"\t"), (rb"\012", b"\n"), (rb"\134", b"\\")):
        point = point.replace(octal, octet)
    return os.fsdecode(point), after.split(" ")[0]


def _upwards(path: Path) -> Iterator[Path]:
    resolved = _resolved(path)
    yield resolved
    yield from resolved.parents


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _together(problem: str) -> StorageError:
    return StorageError(
        f"{problem}: whoever copies the one would take the other along",
        hint="choose a folder elsewhere: keys and data belong into different places",
        code=CODE,
    )
