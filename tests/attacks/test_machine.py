"""The machine lets people down: full disks, read-only targets, quotas, clocks, two at once."""

import errno
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from medshare.disk import incoming
from medshare.errors import MedshareError, StorageError
from medshare.sharing.outgoing import Outgoing, begin
from medshare.sharing.receive import ReceiveResult
from medshare.sharing.send import SendResult
from medshare.station import Station
from tests.attacks.lying_relay import Exchange, Said, honest
from tests.attacks.stage import CALM, Ended, Stage, opened_stage, tree, visible
from tests.people import Person
from tests.running_relay import running_relay

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Stations, a relay, and a liar who says what the tests want."""
    with opened_stage(tmp_path_factory.mktemp("stage")) as found:
        yield found


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount an empty file system of *size* octets; the test is skipped where that is forbidden."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Use up all room in *folder*; return the file to delete for having it back."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return ballast


def used(folder: Path) -> int:
    """Return the octets that *folder* takes on its disk."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def new_relay(stage: Stage, folder: Path) -> None:
    """Make the folder of a new relay at which the stations of the stage are enrolled."""
    shutil.copytree(stage.relay.data / "cards", folder / "cards")
    folder.chmod(0o700)


def failing(number: int, *, after: int = 0) -> Callable[..., Any]:
    """Return a `pwrite` that fails with errno *number* once *after* calls have been made."""
    original, calls = os.pwrite, iter(range(1 << 30))

    def pwrite(file: int, data: Any, offset: int) -> int:
        if next(calls) >= after:
            raise OSError(number, os.strerror(number))
        return original(file, data, offset)

    return pwrite


# --- disks ---------------------------------------------------------------------------------------


def test_a_full_disk_at_the_receiver(stage: Stage, tmp_path: Path) -> None:
    """T44: refused before the transfer with what is missing; with room, the same run completes."""
    study = stage.study()
    (study / "large.dcm").write_bytes(os.urandom(1 << 16))
    parcel = stage.send(study).parcel
    with small_disk(tmp_path / "disk", 1 << 17) as disk:
        (disk / "ballast").write_bytes(bytes(3 << 15))
        ended = stage.attempt(lambda: stage.receive(parcel, disk / "out"))
        assert (ended.code, ended.answer) == (6, "storage")
        assert ended.error is not None
        assert "missing" in ended.error.message
        assert visible(disk / "out") == {}
        (disk / "ballast").unlink()
        stage.receive(parcel, disk / "out")
        assert visible(disk / "out") == tree(study)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=errno.errorcode.get)
def test_a_disk_that_fails_in_mid_transfer(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """T44: full, over quota or failing at half: exit 6, what is here is kept, the rest follows."""
    study = stage.study()
    parcel = stage.send(study).parcel
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing(number, after=6))
        ended = stage.attempt(lambda: stage.receive(parcel, tmp_path / "out"))
    assert ended.code == 6
    assert visible(tmp_path / "out") == {}
    stage.liar.be(honest)
    done = stage.receive(parcel, tmp_path / "out")
    assert visible(tmp_path / "out") == tree(study)
    assert done.resumed_chunks > 0
    assert stage.liar.asked_for("get-chunk") == done.moved_chunks < 6


def test_a_full_disk_at_the_sender(stage: Stage, tmp_path: Path) -> None:
    """No room in the outbox: exit 6, nothing announced; with room the same command sends."""
    study = stage.study()
    before = stage.alice.station.home  # with all that she has sent until now
    with small_disk(tmp_path / "disk", used(before) + (1 << 20)) as disk:
        home = disk / "home"
        shutil.copytree(before, home)
        person = Person(Station.open(home))
        ballast = fill(disk)
        stage.liar.be(honest)
        ended = stage.attempt(lambda: stage.send(study, by=person))
        assert (ended.code, stage.liar.asked_for("put-envelope")) == (6, 0)
        ballast.unlink()
        parcel = stage.send(study, by=person).parcel
        stage.receive(parcel, tmp_path / "out")
        assert visible(tmp_path / "out") == tree(study)


def test_a_full_disk_at_the_relay(stage: Stage, tmp_path: Path) -> None:
    """507 ends the send with exit 4 and leaves nothing half stored; with room it goes on."""
    study = stage.study()
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        new_relay(stage, disk / "relay")
        behind = stage.liar.behind
        with running_relay(disk / "relay", names=stage.names) as relay:
            stage.liar.behind = stage.address(relay.url)
            try:
                ballast = fill(disk)
                ended = stage.attempt(lambda: stage.send(study))
                assert (ended.code, ended.answer) == (4, "transfer.refused.full")
                assert [p for p in disk.rglob(".medshare-*") if p.stat().st_size] == []
                ballast.unlink()
                parcel = stage.send(study).parcel
                stage.receive(parcel, tmp_path / "out")
            finally:
                stage.liar.behind = behind
    assert visible(tmp_path / "out") == tree(study)


def test_a_read_only_target(stage: Stage, tmp_path: Path) -> None:
    """T44: a target that cannot be written is said to be so; no chunk is fetched in vain."""
    parcel = stage.send(stage.study()).parcel
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        stage.liar.be(honest)
        ended = stage.attempt(lambda: stage.receive(parcel, disk / "out"))
        assert (ended.code, stage.liar.asked_for("get-chunk")) == (6, 0)
        assert ended.error is not None
        assert "read-only" in ended.error.message


def test_a_file_larger_than_the_session_allows(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system refuses the size of a file, that is said before the transfer."""

    def refused(file: int, size: int) -> None:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    study = stage.study()
    parcel = stage.send(study).parcel
    with monkeypatch.context() as patch:
        patch.setattr(incoming, "_RESERVED_FROM", 1000)
        patch.setattr(incoming, "allocate", refused)
        stage.liar.be(honest)
        ended = stage.attempt(lambda: stage.receive(parcel, tmp_path / "out"))
    assert (ended.code, stage.liar.asked_for("get-chunk")) == (6, 0)
    stage.receive(parcel, tmp_path / "out")
    assert visible(tmp_path / "out") == tree(study)


# --- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-10 * 365 * 86400, -3600, 3600, 10 * 365 * 86400])
def test_a_clock_that_jumps_at_the_station(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    """A wrong clock is refused by the relay as such; set right, everything is resumed."""
    study = stage.study()
    seen: list[Exchange] = []

    def jumping(x: Exchange) -> Said:
        seen.append(x)
        if len(seen) == 6:
            monkeypatch.setattr(time, "time", wrong)
        return x.honest()

    right = time.time

    def wrong() -> float:
        # The relay runs in this process too, and its clock is right.
        inside = threading.current_thread().name
        return right() + (0 if inside.startswith(("relay", "Thread")) else jump)

    stage.liar.be(jumping)
    try:
        ended = stage.attempt(lambda: stage.send(study))
    finally:
        monkeypatch.setattr(time, "time", right)
        stage.liar.be(honest)
    assert ended.answer in {"sealed, not delivered", "access.denied.signature"}
    parcel = stage.send(study).parcel
    stage.receive(parcel, tmp_path / "out")
    assert visible(tmp_path / "out") == tree(study)


def test_a_clock_that_jumps_at_the_relay(stage: Stage, tmp_path: Path) -> None:
    """A relay an hour off refuses every station, stores nothing, and loses nothing."""
    study = stage.study()
    new_relay(stage, tmp_path / "relay")
    off = [0.0]
    behind = stage.liar.behind
    with running_relay(
        tmp_path / "relay", names=stage.names, clock=lambda: time.time() + off[0]
    ) as relay:
        stage.liar.behind = stage.address(relay.url)
        try:
            parcel = stage.send(study).parcel
            for jump in (3600, -3600):
                off[0] = jump
                ended = stage.attempt(lambda: stage.receive(parcel, tmp_path / "out"))
                assert (ended.code, ended.answer) == (4, "access.denied.signature")
            off[0] = 0
            stage.receive(parcel, tmp_path / "out")
        finally:
            stage.liar.behind = behind
    assert visible(tmp_path / "out") == tree(study)


# --- two at once --------------------------------------------------------------------------------


def at_once(*acts: Callable[[], ReceiveResult | SendResult]) -> list[Ended]:
    """Begin all of *acts* at the same moment; return how they ended."""
    barrier, ended = threading.Barrier(len(acts)), [Ended() for _ in acts]

    def run(number: int) -> None:
        barrier.wait()
        try:
            ended[number] = Ended(result=acts[number]())
        except MedshareError as error:
            ended[number] = Ended(error=error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended


def slowly(x: Exchange) -> Said:
    """Take a moment for each chunk, so that two at once really meet."""
    if x.asked.route.endswith("chunk"):
        time.sleep(0.05)
    return x.honest()


def hesitating(*args: Any, **kwargs: Any) -> Outgoing:
    """Begin a parcel, but not before the others have looked whether there is one."""
    time.sleep(0.3)
    return begin(*args, **kwargs)


@pytest.mark.parametrize("begun", [False, True], ids=["the first time", "of one begun before"])
def test_two_sends_of_one_study_at_once(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """One of them sends, the others are told that it does: one parcel, no chunk sent twice."""
    study = stage.study()
    monkeypatch.setattr("medshare.sharing.send.begin", hesitating)
    if begun:
        stage.liar.be(lambda x: None if x.asked.route == "put-chunk" else x.honest())
        stage.attempt(lambda: stage.send(study))
    before = {path.name for path in (stage.relay.data / "parcels").iterdir()}
    stage.liar.be(slowly)
    ended = at_once(*[lambda: stage.send(study)] * 3)
    chunks = stage.liar.asked_for("put-chunk")
    stage.liar.be(honest)
    assert sorted(one.code for one in ended) == [0, 6, 6]
    assert all(isinstance(one.error, StorageError) for one in ended if one.code)
    made = {path.name for path in (stage.relay.data / "parcels").iterdir()} - before
    assert len(made) == (0 if begun else 1)
    assert chunks == 6
    parcel = stage.send(study).parcel
    stage.receive(parcel, tmp_path / "out")
    assert visible(tmp_path / "out") == tree(study)


def test_two_receives_of_one_parcel_at_once(stage: Stage, tmp_path: Path) -> None:
    """One of them receives, the others are told that it does; no chunk is fetched twice."""
    study = stage.study()
    parcel = stage.send(study).parcel
    stage.liar.be(slowly)
    ended = at_once(*[lambda: stage.receive(parcel, tmp_path / "out", options=CALM)] * 3)
    chunks = stage.liar.asked_for("get-chunk")
    stage.liar.be(honest)
    assert sorted(one.code for one in ended) == [0, 6, 6]
    assert chunks == 6
    assert visible(tmp_path / "out") == tree(study)


def test_one_parcel_into_two_folders_at_once(stage: Stage, tmp_path: Path) -> None:
    """A second receive into another folder is refused, and makes no file there."""
    study = stage.study()
    parcel = stage.send(study).parcel
    stage.liar.be(slowly)
    ended = at_once(
        lambda: stage.receive(parcel, tmp_path / "one", options=CALM),
        lambda: stage.receive(parcel, tmp_path / "two", options=CALM),
    )
    stage.liar.be(honest)
    assert min(one.code for one in ended) == 0
    assert max(one.code for one in ended) in {2, 6}
    arrived = [visible(tmp_path / name) for name in ("one", "two") if (tmp_path / name).is_dir()]
    assert [found for found in arrived if found] == [tree(study)]
