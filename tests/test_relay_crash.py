"""The relay dies at any moment: nothing half stored, nothing claimed that is not there."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medshare.chunk import SIGNATURE_SIZE
from medshare.disk.atomic import TEMPORARY_PREFIX, TEMPORARY_SUFFIX
from medshare.errors import StorageError
from medshare.relay.database import Change
from medshare.relay.files import read_back
from medshare.relay.folder import DATABASE
from medshare.suites.intl import INTL
from medshare.wire import bodies, routes
from medshare.wire.bodies import State, decode_state, state_query
from medshare.wire.routes import Target, chunk_name
from tests.builder import make_parcel, octets
from tests.fault import Killed, killed_at
from tests.relay_case import NOW, Case, Request, check_consistency, open_case, signed
from tests.suites.transport_suite import ALICE, BOB, flip

PARCEL = make_parcel({"a": octets("crash", 1500)}, sender=ALICE, recipients=[BOB], label="crash")
OTHER = make_parcel({"b": b"short"}, sender=ALICE, recipients=[BOB], label="crash too")
COUNT = len(PARCEL.chunks)
NAMES = {"envelope", "manifest", "seal", *(f"chunks/{chunk_name(n)}" for n in range(COUNT))}


def requests() -> list[Request]:
    """Return a whole life of a parcel, beside one that is removed."""

    def ask(route: routes.Route, body: bytes | None = None, index: int = -1) -> Request:
        return signed(ALICE, Target(route, PARCEL.id, index), body)

    return [
        signed(ALICE, Target(routes.PUT_ENVELOPE, OTHER.id), OTHER.envelope),
        signed(ALICE, Target(routes.PUT_CHUNK, OTHER.id, 0), OTHER.chunks[0]),
        ask(routes.PUT_ENVELOPE, PARCEL.envelope),
        ask(routes.PUT_MANIFEST, PARCEL.manifest),
        *(ask(routes.PUT_CHUNK, chunk, index) for index, chunk in enumerate(PARCEL.chunks)),
        ask(routes.PUT_SEAL, PARCEL.seal),
        signed(BOB, Target(routes.PUT_RECEIPT, PARCEL.id, station=BOB.station), b"receipt"),
        signed(ALICE, Target(routes.REMOVE, OTHER.id)),
    ]


def live(case: Case) -> int:
    """Make all requests until one fails; return how many were answered with success."""
    for number, request in enumerate(requests()):
        status = case.ask(request).status
        assert status in {200, 204, 410, 500}
        if status == 500:
            return number
    return len(requests())


def state(case: Case) -> State:
    """Return what the relay says of the parcel."""
    target = Target(routes.GET_STATE, PARCEL.id)
    reply = case.ask(signed(ALICE, target, query=state_query()))
    assert reply.status == 200
    return decode_state(reply.body)


def changes(tmp_path: Path) -> int:
    """Return how many changes of the file system an undisturbed life makes."""
    with open_case(tmp_path / "count") as case, killed_at(None) as countdown:
        assert live(case) == len(requests())
    return countdown.seen


@pytest.mark.slow
def test_a_crash_at_any_change_of_the_disk_loses_nothing_that_was_claimed(tmp_path: Path) -> None:
    """Killed at each write, fsync, rename … in turn, the relay comes back whole, and goes on."""
    last = changes(tmp_path)
    assert last > 30
    for number in range(1, last + 1):
        data = tmp_path / "relay"
        done = 0
        with open_case(data) as case, killed_at(number):
            try:
                for request in requests():
                    assert case.ask(request).status in {200, 204}
                    done += 1
            except Killed:
                pass
        with open_case(data) as case:
            check_consistency(case)
            found = case.files()
            claimed = min(max(0, done - 2), len(NAMES))
            assert sum(1 for f in found if f.startswith(PARCEL.id.hex())) >= claimed
            assert live(case) == len(requests())
            check_consistency(case)
            assert {f for f in case.files() if "receipts" not in f} == {
                f"{PARCEL.id.hex()}/{name}" for name in NAMES
            }
        shutil.rmtree(data)


Damage = Callable[[Path], object]


def lose(folder: Path, *names: str) -> None:
    """Delete files."""
    for name in names:
        (folder / name).unlink()


DAMAGES: dict[str, tuple[Damage, set[str]]] = {
    "nothing": (lambda _: None, NAMES),
    "a chunk is gone": (lambda f: lose(f, "chunks/00000001"), NAMES - {"chunks/00000001"}),
    "a chunk is cut": (
        lambda f: os.truncate(f / "chunks/00000001", 100),
        NAMES - {"chunks/00000001"},
    ),
    "the manifest is gone": (lambda f: lose(f, "manifest"), NAMES - {"manifest"}),
    "the manifest is cut": (lambda f: os.truncate(f / "manifest", 5), NAMES - {"manifest"}),
    "the seal is gone": (lambda f: lose(f, "seal"), NAMES - {"seal"}),
    "the seal is damaged": (
        lambda f: (f / "seal").write_bytes(flip(PARCEL.seal, 400)),
        NAMES - {"seal"},
    ),
    "the envelope is gone": (lambda f: lose(f, "envelope"), set()),
    "the envelope is damaged": (
        lambda f: (f / "envelope").write_bytes(flip(PARCEL.envelope, 400)),
        set(),
    ),
    "the folder is gone": (shutil.rmtree, set()),
    "something else is there": (lambda f: (f / "chunks" / "notes").write_text("x"), NAMES),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("without_database", [False, True], ids=["", "and the database is gone"])
def test_database_and_folder_agree_after_a_start(
    tmp_path: Path, damage: str, without_database: bool
) -> None:
    """What was lost while the relay was down is missing, all else is served; it can be mended."""
    damages, left = DAMAGES[damage]
    data = tmp_path / "relay"
    with open_case(data) as case:
        live(case)
    damages(data / "parcels" / PARCEL.id.hex())
    if without_database:
        for path in data.glob(f"{DATABASE}*"):
            path.unlink()
    with open_case(data) as case:
        (data / "parcels" / PARCEL.id.hex() / "chunks" / "notes").unlink(missing_ok=True)
        check_consistency(case)
        prefix = f"{PARCEL.id.hex()}/"
        found = {f.removeprefix(prefix) for f in case.files() if "receipts" not in f}
        assert found == left
        for request in requests()[2:-1]:
            assert case.ask(request).status in {200, 204}
        check_consistency(case)
        found = {f.removeprefix(prefix) for f in case.files() if "receipts" not in f}
        assert found == NAMES


def test_a_sealed_chunk_that_is_gone_is_wanted(tmp_path: Path) -> None:
    """After a loss the parcel stays sealed, and the sender is asked for the chunk again."""
    data = tmp_path / "relay"
    with open_case(data) as case:
        live(case)
        before = state(case)
    lose(data / "parcels" / PARCEL.id.hex(), "chunks/00000001")
    with open_case(data) as case:
        after = state(case)
        assert (after.sealed, after.wanted) == (True, (1,))
        known = state_query(known=before.tag)
        reply = case.ask(signed(ALICE, Target(routes.GET_STATE, PARCEL.id), query=known))
        assert decode_state(reply.body).since == ""
        wrong = flip(PARCEL.chunks[1], 60)
        target = Target(routes.PUT_CHUNK, PARCEL.id, 1)
        assert case.ask(signed(ALICE, target, wrong)).status == 422
        assert case.ask(signed(ALICE, target, PARCEL.chunks[1])).status == 204
        assert state(case).wanted == ()


def test_another_chunk_does_not_slip_in_while_the_relay_is_down(tmp_path: Path) -> None:
    """In the place of a sealed chunk that is wanted, a start takes in no other, though signed."""
    data = tmp_path / "relay"
    files = {"a": octets("other octets", 1500)}
    other = make_parcel(files, sender=ALICE, recipients=[BOB], label="crash")
    with open_case(data) as case:
        live(case)
    place = data / "parcels" / PARCEL.id.hex() / "chunks" / chunk_name(1)
    place.unlink()
    with open_case(data) as case:
        assert state(case).wanted == (1,)
    place.write_bytes(other.chunks[1])
    with open_case(data) as case:
        assert state(case).wanted == (1,)
        assert not place.exists()
    place.write_bytes(PARCEL.chunks[1])
    with open_case(data) as case:
        assert state(case).wanted == ()
        check_consistency(case)


def test_the_order_of_writes_is_the_promise(tmp_path: Path) -> None:
    """A chunk is written, synced, renamed, its folder synced, and only then claimed."""
    steps: list[str] = []

    def noted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            steps.append(name)
            return original(*args, **kwargs)

        return call

    with open_case(tmp_path / "relay") as case:
        for request in requests()[2:4]:
            case.ask(request)
        with pytest.MonkeyPatch.context() as patch:
            for name in ("writev", "fsync", "replace"):
                patch.setattr(os, name, noted(name, getattr(os, name)))
            patch.setattr(Change, "set_chunk", noted("claim", Change.set_chunk))
            assert case.ask(requests()[4]).status == 204
    assert steps == ["writev", "fsync", "replace", "fsync", "claim"]


def test_a_state_from_before_a_lost_database_is_not_built_upon(tmp_path: Path) -> None:
    """Tags of another database are unknown, so that no difference to them can mislead."""
    data = tmp_path / "relay"
    with open_case(data) as case:
        live(case)
    tag = ""
    for number in range(3):
        for path in data.glob(f"{DATABASE}*"):
            path.unlink()
        with open_case(data, now=NOW + number) as case:
            target = Target(routes.GET_STATE, PARCEL.id)
            query = state_query(known=tag)
            told = decode_state(case.ask(signed(ALICE, target, query=query)).body)
        assert (told.since, len(told.chunks)) == ("", COUNT)
        tag = told.tag


def test_temporary_files_are_removed_at_the_start(tmp_path: Path) -> None:
    """What an interrupted upload left is gone, in every folder of a parcel."""
    data = tmp_path / "relay"
    with open_case(data) as case:
        live(case)
    folder = data / "parcels" / PARCEL.id.hex()
    stale = [
        place / f"{TEMPORARY_PREFIX}0123{TEMPORARY_SUFFIX}"
        for place in (folder, folder / "chunks", folder / "receipts")
    ]
    for path in stale:
        path.write_bytes(b"half")
    with open_case(data) as case:
        assert not any(path.exists() for path in stale)
        check_consistency(case)


def test_a_removal_that_was_interrupted_is_completed(tmp_path: Path) -> None:
    """A folder whose parcel is noted as gone is deleted at the start."""
    data = tmp_path / "relay"
    with open_case(data) as case:
        live(case)
        with case.service.parcels.database.writing() as change:
            row = change.parcel(PARCEL.id)
            assert row is not None
            change.set_gone(row.number, now=case.now)
    with open_case(data) as case:
        assert case.files() == set()
        check_consistency(case)


def test_a_folder_that_is_no_parcel_is_left_alone(tmp_path: Path) -> None:
    """What the relay did not put there it does not delete."""
    data = tmp_path / "relay"
    with open_case(data):
        (data / "parcels" / "lost+found").mkdir()
    with open_case(data):
        assert (data / "parcels" / "lost+found").is_dir()


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 100, b"SQLite format 3\x00" + bytes(200)]
)
def test_a_damaged_database_is_said_so(tmp_path: Path, content: bytes) -> None:
    """The relay does not start on a database that it cannot read, and says what helps."""
    data = tmp_path / "relay"
    with open_case(data) as case:
        live(case)
    for path in data.glob(f"{DATABASE}-*"):
        path.unlink()
    (data / DATABASE).write_bytes(content)
    with pytest.raises(StorageError) as caught, open_case(data):
        pass
    assert "rebuilt" in str(caught.value.hint)


def test_a_database_of_a_newer_relay_is_refused(tmp_path: Path) -> None:
    """A schema that this version does not know is not touched."""
    data = tmp_path / "relay"
    with open_case(data):
        pass
    with sqlite3.connect(data / DATABASE) as sqlite:
        sqlite.execute("PRAGMA user_version = 99")
    sqlite.close()
    with pytest.raises(StorageError, match="another version"), open_case(data):
        pass


def test_a_part_that_was_damaged_is_sent_again(tmp_path: Path) -> None:
    """A damaged manifest or seal is never served: it is missing until the sender repeats it."""
    with open_case(tmp_path / "relay") as case:
        live(case)
        folder = case.data / "parcels" / PARCEL.id.hex()
        for name, get, put, octets_ in (
            ("manifest", routes.GET_MANIFEST, routes.PUT_MANIFEST, PARCEL.manifest),
            ("seal", routes.GET_SEAL, routes.PUT_SEAL, PARCEL.seal),
        ):
            (folder / name).write_bytes(flip(octets_, len(octets_) // 2))
            assert case.ask(signed(BOB, Target(get, PARCEL.id))).status == 404
            told = state(case)
            assert (told.manifest, told.sealed) == (name != "manifest", name != "seal")
            assert case.ask(signed(ALICE, Target(put, PARCEL.id), octets_)).status == 204
            assert case.ask(signed(BOB, Target(get, PARCEL.id))).body == octets_
        announced = signed(ALICE, Target(routes.PUT_ENVELOPE, PARCEL.id), PARCEL.envelope)
        (folder / "envelope").write_bytes(b"damaged")
        assert case.ask(signed(BOB, Target(routes.GET_ENVELOPE, PARCEL.id))).status == 404
        assert bodies.decode_announced(case.ask(announced).body).manifest
        assert case.ask(signed(BOB, Target(routes.GET_ENVELOPE, PARCEL.id))).status == 200


def test_what_is_read_back_is_what_was_written(tmp_path: Path) -> None:
    """Both digests, head and tail of a stored file come from one reading of it."""
    path = tmp_path / "chunk"
    path.write_bytes(PARCEL.chunks[0])
    found = read_back(path, INTL, tail=SIGNATURE_SIZE)
    assert found is not None
    assert found.digest == INTL.digest(PARCEL.chunks[0][:-SIGNATURE_SIZE])
    assert found.whole_digest == INTL.digest(PARCEL.chunks[0]).value
    assert (found.size, found.tail) == (len(PARCEL.chunks[0]), PARCEL.chunks[0][-SIGNATURE_SIZE:])
    assert read_back(tmp_path / "nothing", INTL) is None
