"""Keys and data in different places: which folders may not lie in each other."""

from pathlib import Path

import pytest

from medshare.disk import separation
from medshare.disk.separation import (
    VAULT_MARKER,
    filesystem_of,
    require_apart,
    require_local,
    require_no_station_around,
    require_place_for_keys,
)
from medshare.errors import StorageError
from medshare.relay.folder import DataFolder
from medshare.station import Station
from tests.people import CHEAP, PASSPHRASE, make_person
from tests.sharing_case import Case

MOUNTS = r"""
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:20 / /proc rw - proc proc rw
30 22 0:40 / /mnt/share rw - nfs4 server:/export rw
31 22 0:41 / /mnt/with\040space rw - cifs //server/share rw
32 30 0:42 / /mnt/share/local rw shared:1 - ext4 /dev/vdb rw
"""


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of mounts as the kernel writes it, in place of that of this machine."""
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS.lstrip())
    monkeypatch.setattr(separation, "_MOUNTS", path)
    return path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/medshare", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/deep/down", "nfs4"),
        ("/mnt/shared", "ext4"),
        ("/mnt/with space/x", "cifs"),
        ("/mnt/share/local/x", "ext4"),
    ],
)
def test_the_nearest_mount_counts(mounts: Path, path: str, kind: str) -> None:
    """A folder is on the file system of the deepest mount above it."""
    assert filesystem_of(Path(path)) == kind


def test_an_unknown_system_is_no_obstacle(mounts: Path) -> None:
    """Where there is no table of mounts, nothing is known, and nothing refused."""
    mounts.unlink()
    assert filesystem_of(Path("/mnt/share")) == ""
    require_local(Path("/mnt/share"))


def test_a_keystore_on_a_network_share_is_refused(mounts: Path) -> None:
    """Whoever runs the server of the share would hold the keystore: refused with advice."""
    with pytest.raises(StorageError, match=r"on a network share \(nfs4\)") as caught:
        require_local(Path("/mnt/share/me"))
    assert "MEDSHARE_HOME" in (caught.value.hint or "")
    assert caught.value.code == "storage.separation"
    require_local(Path("/srv/me"))


@pytest.mark.parametrize("place", ["home", "home/vault", "home/a/b", ".", "link/x"])
def test_data_in_the_folder_of_the_station_is_refused(tmp_path: Path, place: str) -> None:
    """Inside it, around it, the same, or through a link: refused, and both are named."""
    home = tmp_path / "home"
    (home / "a").mkdir(parents=True)
    (tmp_path / "link").symlink_to(home)
    with pytest.raises(StorageError, match="take the other along") as caught:
        require_apart(tmp_path / place, home, what="the vault")
    assert str(home) in caught.value.message


def test_data_elsewhere_is_accepted(tmp_path: Path) -> None:
    """A neighbour whose name merely begins alike is another place."""
    for place in ("vault", "home2", "homes/home"):
        require_apart(tmp_path / place, tmp_path / "home", what="the vault")


def test_a_relay_in_the_folder_of_a_station_is_refused(tmp_path: Path) -> None:
    """Its data folder may not lie anywhere below a keystore."""
    make_person(tmp_path / "home", "us")
    with pytest.raises(StorageError, match="in the folder of a station"):
        DataFolder(tmp_path / "home" / "relay" / "data")
    DataFolder(tmp_path / "relay")
    require_no_station_around(tmp_path / "elsewhere", what="it")


@pytest.mark.parametrize("place", ["home", "deeper/home"])
def test_a_relay_does_not_start_around_a_station(tmp_path: Path, place: str) -> None:
    """A data folder in which a keystore lies is refused, and nothing is made in it."""
    make_person(tmp_path / "data" / place, "us")
    with pytest.raises(StorageError, match="lies in the data folder of the relay"):
        DataFolder(tmp_path / "data")
    assert not (tmp_path / "data" / "cards").exists()


@pytest.mark.parametrize("marker", [VAULT_MARKER, "relay.lock"])
def test_a_station_among_data_is_refused(tmp_path: Path, marker: str) -> None:
    """No station is made, or opened, in a vault or in the data of a relay."""
    (tmp_path / marker).touch()
    with pytest.raises(StorageError, match=r"the folder of the station .* would lie in"):
        make_person(tmp_path / "deep" / "home", "us")
    assert not (tmp_path / "deep").exists()
    (tmp_path / marker).unlink()
    make_person(tmp_path / "deep" / "home", "us")
    (tmp_path / marker).touch()
    with pytest.raises(StorageError, match="would lie in"):
        Station.open(tmp_path / "deep" / "home")
    with pytest.raises(StorageError):
        require_place_for_keys(tmp_path / "deep")


@pytest.mark.parametrize("output", ["b/out", "b", "."])
def test_what_is_received_does_not_go_where_the_keys_are(tmp_path: Path, output: str) -> None:
    """An output folder that shares a tree with the keystore is refused before anything is kept."""
    case = Case(tmp_path)
    result = case.send()
    with pytest.raises(StorageError) as caught:
        case.receive(result.parcel, output=output)
    assert caught.value.code == "storage.separation"
    assert list((case.b.station.home / "inbox").iterdir()) == []


def test_stations_side_by_side_are_no_obstacle(tmp_path: Path) -> None:
    """Two stations in one folder, as on a test machine, do not get in each other's way."""
    for name in ("a", "b"):
        Station.create(tmp_path / name, name=name, passphrase=PASSPHRASE, now=1, cost=CHEAP)
        Station.open(tmp_path / name)
