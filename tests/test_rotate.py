"""Rotation of the identity keys: contacts follow, old parcels open, nothing is moved."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from medshare.errors import KeyUnavailableError, NoIdentityMatchError, StorageError, UsageError
from medshare.keys.base import newest_generation, pending_generation
from medshare.sharing.rotate import rotate_identity
from medshare.sharing.wrapped import WRAP_FILE, parcel_key
from medshare.station import Contacts, Station
from tests import builder
from tests.fault import Killed, count_changes, killed_at
from tests.parcels_at_hand import NOW, THEN, WANG, Case
from tests.people import SUITES


@pytest.fixture(params=SUITES)
def case(tmp_path: Path, request: pytest.FixtureRequest) -> Case:
    """A station with parcels at hand."""
    return Case(tmp_path / "home", request.param)


def octets_below(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Return content and time of change of every file below *folder*."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_rotation_makes_new_keys_that_the_old_ones_vouch_for(case: Case) -> None:
    """The new card continues the old one, with other keys, and the station uses them."""
    before = case.identity()
    rotation = case.rotate()
    after = case.identity()
    assert (rotation.generation, rotation.resumed, rotation.failed) == (1, False, ())
    assert after.card == rotation.card
    assert after.card.continues(before.card)
    assert after.station == before.station
    assert after.card.current.created == NOW
    assert after.card.name == before.card.name
    old, new = before.card.current, after.card.current
    assert set(old.sign_keys).isdisjoint(new.sign_keys)
    assert set(old.kem_keys).isdisjoint(new.kem_keys)
    assert after.openers[1].public == before.openers[0].public
    assert pending_generation(case.store()) is None


def test_a_contact_follows_without_ceremony(case: Case, tmp_path: Path) -> None:
    """Whoever trusted the old card accepts the new one, under the same name."""
    contacts = Contacts(tmp_path / "contacts", WANG.station)
    contacts.add(case.station.card, name="them", now=1)
    card = case.rotate().card
    assert contacts.add(card, name=None, now=2).name == "them"


def test_parcels_at_hand_open_with_the_new_key_alone(case: Case) -> None:
    """Received and sent parcels are wrapped to the new key; others are left alone."""
    rotation = case.rotate()
    assert (rotation.rewrapped, rotation.unchanged) == (3, 1)
    case.require_all_open(slice(0, 1))
    assert not (case.foreign / WRAP_FILE).exists()


def test_old_keys_still_open_old_parcels(case: Case) -> None:
    """Where the file `wrap` is lost, the kept old key opens the envelope's own stanza."""
    case.rotate()
    for folder, _, _ in case.parcels:
        (folder / WRAP_FILE).unlink()
    case.require_all_open()
    with pytest.raises(NoIdentityMatchError):
        case.require_all_open(slice(0, 1))


def test_nothing_that_is_sealed_is_touched(case: Case) -> None:
    """No file of any parcel changes, in content or time; `wrap` is all that is new."""
    boxes = [case.home / "inbox", case.home / "outbox"]
    before = [octets_below(box) for box in boxes]
    case.rotate()
    after = [octets_below(box) for box in boxes]
    for old, new in zip(before, after, strict=True):
        assert {path: new[path] for path in old} == old
        assert {path.name for path in new.keys() - old.keys()} == {WRAP_FILE}


def test_a_second_rotation_wraps_anew(case: Case) -> None:
    """After two rotations the newest key alone opens everything, the oldest from scratch too."""
    case.rotate()
    assert case.rotate().generation == 2
    case.require_all_open(slice(0, 1))
    assert len(case.identity().openers) == 3


def test_a_dry_run_changes_nothing(case: Case) -> None:
    """It says what would be done, and every octet of the station stays."""
    before = octets_below(case.home)
    rotation = case.rotate(dry_run=True)
    assert (rotation.generation, rotation.rewrapped, rotation.unchanged) == (1, 3, 1)
    assert octets_below(case.home) == before


def test_parcel_folders_elsewhere_are_included(case: Case, tmp_path: Path) -> None:
    """A folder named by the caller is re-wrapped; named twice, or in a box, it counts once."""
    us = case.as_builder(case.identity())
    parcel = builder.make_parcel({"e": b"5"}, sender=WANG, recipients=[us], label="e")
    elsewhere = tmp_path / "archive"
    builder.write_folder(parcel, elsewhere)
    inside = next(iter(case.parcels))[0]
    rotation = case.rotate([elsewhere, elsewhere / ".." / "archive", inside])
    assert (rotation.rewrapped, rotation.unchanged) == (4, 1)
    identity = case.identity()
    newest = replace(identity, openers=identity.openers[:1])
    assert parcel_key(parcel.facts, elsewhere, newest) == parcel.key


def test_a_folder_that_holds_no_parcel_is_refused_before_anything(
    case: Case, tmp_path: Path
) -> None:
    """A slip in an argument does not cost a generation of keys."""
    before = octets_below(case.home)
    with pytest.raises(UsageError, match="not the folder of a sealed parcel"):
        case.rotate([tmp_path])
    assert octets_below(case.home) == before


def test_a_clock_that_is_behind_is_refused(case: Case) -> None:
    """Keys are not made at a time before the keys that they replace."""
    with pytest.raises(UsageError, match="clock"):
        rotate_identity(Station.open(case.home), case.store(), now=THEN - 1)
    assert newest_generation(case.store()) == 0


def test_one_damaged_parcel_is_named_and_the_rest_goes_on(case: Case) -> None:
    """A parcel that cannot be re-wrapped is in the result; all others are done."""
    damaged, intact = sorted(case.parcels, key=lambda one: one[0])[:2]
    octets = bytearray((damaged[0] / "envelope").read_bytes())
    octets[100] ^= 1
    (damaged[0] / "envelope").write_bytes(octets)
    rotation = case.rotate()
    assert [failed.folder for failed in rotation.failed] == [damaged[0]]
    assert (rotation.rewrapped, rotation.unchanged) == (2, 1)
    identity = case.identity()
    assert parcel_key(intact[1], intact[0], identity) == intact[2]
    assert pending_generation(case.store()) is None


def test_killed_at_any_step_the_next_run_completes_it(tmp_path: Path) -> None:
    """At every step the station works, and a second run makes no further generation."""
    template = Case(tmp_path / "template")
    counted = tmp_path / "counted"
    shutil.copytree(template.home, counted, symlinks=True)
    old = template.identity()
    case = template
    case.home = counted
    steps = count_changes(case.rotate)
    assert steps > 30
    seen = set()
    for step in range(1, steps + 1):
        case.home = tmp_path / str(step)
        shutil.copytree(tmp_path / "template", case.home, symlinks=True)
        case.parcels = {
            (case.home / folder.parent.name / folder.name, envelope, key)
            for folder, envelope, key in case.parcels
        }
        with pytest.raises(Killed), killed_at(step):
            case.rotate()
        case.require_all_open()
        between = case.identity().card
        assert between.continues(old.card)
        settled = newest_generation(case.store()) == 1 and pending_generation(case.store()) is None
        seen.add((between.current.number, pending_generation(case.store())))
        if settled:
            case.require_all_open(slice(0, 1))
            continue
        rotation = case.rotate()
        assert (rotation.generation, newest_generation(case.store())) == (1, 1)
        assert rotation.card.continues(between)
        assert rotation.rewrapped + rotation.unchanged == 4
        case.require_all_open(slice(0, 1))
        assert pending_generation(case.store()) is None
    assert seen == {(0, None), (0, 1), (1, 1), (1, None)}


def test_a_dry_run_tells_of_an_interrupted_rotation(case: Case) -> None:
    """It names the generation that is half made, not a further one."""
    case.store().prepare(created=NOW)
    rotation = case.rotate(dry_run=True)
    assert (rotation.generation, rotation.resumed) == (1, True)
    assert case.rotate().resumed


def test_a_full_disk_stops_a_rotation_that_goes_on_later(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a re-wrapped key cannot be written, the error says so; the next run completes it."""
    rename = os.rename

    def full(source: str, target: str, **keywords: int) -> None:
        if target == WRAP_FILE:
            raise OSError(28, "No space left on device")
        rename(source, target, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        with pytest.raises(StorageError, match="disk is full"):
            case.rotate()
    case.require_all_open()
    rotation = case.rotate()
    assert (rotation.generation, rotation.resumed, rotation.rewrapped) == (1, True, 3)


def test_two_rotations_at_once_are_refused(case: Case) -> None:
    """While one goes on, another neither waits nor makes keys of its own."""
    with case.station.changing(), pytest.raises(StorageError, match="by another process"):
        case.rotate()
    assert newest_generation(case.store()) == 0


def test_an_old_card_catches_up_with_the_keystore(case: Case) -> None:
    """Where the card came back from a backup, the next rotation signs all that is missing."""
    old = case.station.card.encoded
    case.rotate()
    (case.home / "card").write_bytes(old)
    rotation = case.rotate()
    assert rotation.card.current.number == rotation.generation == 2
    case.require_all_open(slice(0, 1))


def test_an_old_keystore_is_noticed(case: Case) -> None:
    """Where the keystore came back from a backup, nothing is made and the hint says why."""
    old = (case.home / "keys" / "keystore").read_bytes()
    case.rotate()
    (case.home / "keys" / "keystore").write_bytes(old)
    with pytest.raises(KeyUnavailableError) as caught:
        case.rotate()
    assert "backup" in (caught.value.hint or "")
    assert newest_generation(case.store()) == 0


def test_progress_counts_every_parcel(case: Case) -> None:
    """The listener hears each parcel once, and at the end that all are done."""
    heard: list[tuple[int, int]] = []
    rotate_identity(
        Station.open(case.home),
        case.store(),
        now=NOW,
        on_progress=lambda done, total: heard.append((done, total)),
    )
    assert heard == [(done, 4) for done in range(5)]
