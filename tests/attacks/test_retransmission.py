"""Damage at the relay is mended from the sender, without a new parcel, and told from bad lines."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from medshare.errors import MedshareError
from medshare.sharing import workers
from medshare.sharing.events import Retrying, Waiting
from medshare.sharing.receive import ParcelListing, list_waiting
from tests.attacks.lies import always, changed, flip, on, refusal
from tests.attacks.lying_relay import honest
from tests.attacks.stage import CALM, QUICK, Ended, Stage, opened_stage, tree, visible

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Stations, a relay, and a liar who tells the truth for the most part."""
    with opened_stage(tmp_path_factory.mktemp("stage")) as found:
        yield found


def rot(path: Path) -> None:
    """Let one bit of a stored chunk rot."""
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)


def cut(path: Path) -> None:
    """Let the end of a stored chunk get lost."""
    path.write_bytes(path.read_bytes()[:100])


def swap(path: Path) -> None:
    """Let a stored chunk become another one of the same parcel."""
    path.write_bytes((path.parent / "00000000").read_bytes())


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a bit rots": rot,
    "the end is lost": cut,
    "the file is gone": Path.unlink,
    "it is another chunk": swap,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_waiting_sender_mends_what_the_relay_has_lost(
    stage: Stage, tmp_path: Path, damage: str
) -> None:
    """The receiver asks the relay, the relay the sender, who waits: one chunk moves once more."""
    study = stage.study()
    parcel = stage.send(study).parcel
    for index in (1, 4):
        DAMAGES[damage](stage.relay.chunk(parcel, index))
    stage.liar.be(honest)
    delivered: list[Ended] = []

    def wait() -> None:
        delivered.append(stage.attempt(lambda: stage.send(study, wait=20)))

    sender = threading.Thread(target=wait)
    sender.start()
    stage.receive(parcel, tmp_path / "out", options=replace(CALM, damage_delay=0.01))
    sender.join()
    assert visible(tmp_path / "out") == tree(study)
    assert [(one.answer, one.result and one.result.parcel) for one in delivered] == [
        ("delivered", parcel)
    ]
    assert {one.index for one in stage.liar.seen if one.route == "put-chunk"} == {1, 4}
    assert stage.liar.asked_for("put-chunk") == 2
    assert stage.liar.asked_for("put-seal") == 1


@pytest.mark.parametrize("part", ["manifest", "seal"])
@pytest.mark.parametrize("damage", ["a bit rots", "the file is gone"])
def test_a_waiting_sender_mends_manifest_and_seal(
    stage: Stage, tmp_path: Path, part: str, damage: str
) -> None:
    """What the relay has lost beside chunks is named in the list, and comes again likewise."""
    study = stage.study()
    parcel = stage.send(study).parcel
    DAMAGES[damage](stage.relay.data / "parcels" / parcel.hex() / part)
    stage.liar.be(honest)
    early = stage.attempt(lambda: stage.receive(parcel, tmp_path / "out", options=QUICK))
    assert early.code in {3, 5}
    (listed,) = (one for one in listing(stage) if one.parcel == parcel)
    assert (listed.manifest is None, listed.sealed) == (part == "manifest", part != "seal")
    assert (listed.fault is not None) == (part == "manifest")
    sender = threading.Thread(target=lambda: stage.attempt(lambda: stage.send(study, wait=20)))
    sender.start()
    while part == "manifest" and not stage.transport(stage.bob).stored(parcel).manifest:
        time.sleep(0.01)
    stage.receive(parcel, tmp_path / "out")
    sender.join()
    assert visible(tmp_path / "out") == tree(study)
    assert stage.liar.asked_for("put-chunk") == 0
    assert stage.liar.asked_for(f"put-{part}") >= 1


def listing(stage: Stage) -> tuple[ParcelListing, ...]:
    """Return what Bob sees waiting."""
    bob = stage.bob
    return list_waiting(identity=bob.identity, station=bob.station, transport=stage.transport(bob))


def test_without_the_sender_the_files_are_named_and_the_rest_is_kept(
    stage: Stage, tmp_path: Path
) -> None:
    """Exit 3 names the files of the damage; the sender's next run mends it, one chunk follows."""
    study = stage.study()
    parcel = stage.send(study).parcel
    rot(stage.relay.chunk(parcel, 1))
    ended = stage.attempt(lambda: stage.receive(parcel, tmp_path / "out", options=QUICK))
    assert ended.code == 3
    assert ended.error is not None
    assert f"{study.name}/one.dcm" in ended.error.message
    assert visible(tmp_path / "out") == {}
    again = stage.send(study)
    assert (again.parcel, again.moved_chunks) == (parcel, 1)
    stage.liar.be(honest)
    done = stage.receive(parcel, tmp_path / "out")
    assert (done.moved_chunks, stage.liar.asked_for("get-chunk")) == (1, 1)
    assert visible(tmp_path / "out") == tree(study)


def test_the_relay_is_asked_before_the_sender(stage: Stage, tmp_path: Path) -> None:
    """Damage on the way alone is mended from the relay: the sender is not troubled."""
    study = stage.study()
    parcel = stage.send(study).parcel
    stage.liar.be(on("get-chunk", changed(flip(0.4)), index=2, times=2))
    stage.receive(parcel, tmp_path / "out", options=replace(CALM, damage_delay=0.01))
    assert visible(tmp_path / "out") == tree(study)
    assert stage.relay.service.parcels.database is not None
    assert stage.transport(stage.alice).stored(parcel).wanted == ()
    stage.liar.be(honest)


def test_a_sender_whose_file_has_changed_mends_nothing_with_it(
    stage: Stage, tmp_path: Path
) -> None:
    """A chunk is sent again only as it was sealed; a changed study is a new parcel."""
    study = stage.study()
    parcel = stage.send(study).parcel
    rot(stage.relay.chunk(parcel, 1))
    with suppress(MedshareError):
        stage.receive(parcel, tmp_path / "out", options=QUICK)
    (study / "one.dcm").write_bytes(b"changed" * 600)
    again = stage.send(study)
    assert again.parcel != parcel
    with suppress(MedshareError):
        stage.receive(parcel, tmp_path / "out", options=QUICK)
    assert visible(tmp_path / "out") == {}
    stage.receive(again.parcel, tmp_path / "again")
    assert visible(tmp_path / "again") == tree(study)


def test_damage_and_bad_lines_are_told_apart(stage: Stage, tmp_path: Path) -> None:
    """The same receive says integrity (3) for one and network (5) for the other."""
    study = stage.study()
    parcel = stage.send(study).parcel
    told = {}
    for name, lie in {
        "damage": on("get-chunk", changed(flip(0.4)), index=2),
        "network": on("get-chunk", always(refusal(503, "transfer.unavailable"))),
    }.items():
        stage.liar.be(lie)
        stage.events.clear()
        ended = stage.attempt(lambda: stage.receive(parcel, tmp_path / "out"))
        retried = {event.reason for event in stage.events if isinstance(event, Retrying)}
        waited = [event.what for event in stage.events if isinstance(event, Waiting)]
        told[name] = (ended.code, retried, any("intact copy" in what for what in waited))
    stage.liar.be(honest)
    assert told == {
        "damage": (3, set(), True),
        "network": (5, {"transfer.unavailable"}, False),
    }
    stage.receive(parcel, tmp_path / "out")
    assert visible(tmp_path / "out") == tree(study)


def test_a_stall_says_what_it_waits_for(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing moves, the watchdog says for what, and for how long already."""
    monkeypatch.setattr(workers, "SILENCE", 0.1)
    study = stage.study()
    stage.liar.be(on("put-chunk", lambda _: None, index=5))
    with suppress(MedshareError):
        stage.send(study)
    parcel = next(iter(stage.events[-1:])).parcel  # type: ignore[union-attr]  # not a notice
    stage.liar.be(honest)
    stage.events.clear()
    ended = stage.attempt(
        lambda: stage.receive(parcel, tmp_path / "out", options=replace(CALM, wait=1.0))
    )
    assert (ended.code, ended.answer) == (3, "integrity.incomplete")
    waits = [event for event in stage.events if isinstance(event, Waiting)]
    assert {event.what for event in waits} == {"the sender"}
    assert max(event.seconds for event in waits) >= 0.1
