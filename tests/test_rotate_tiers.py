"""Rotation of tier keys: parcels open with the new key, nothing is moved, old keys go."""

import os
import shutil
from pathlib import Path

import pytest

from medshare.envelope import Envelope
from medshare.errors import (
    KeyUnavailableError,
    PolicyError,
    StorageError,
    UsageError,
)
from medshare.keys.base import KeyStore
from medshare.sealing import ParcelKey
from medshare.sharing.rotate_tiers import TierRotations, rotate_tiers
from medshare.sharing.wrapped import WRAP_FILE, keep_key, parcel_key, read_wrap
from medshare.station import Identity, Station
from medshare.station.identity import identity_of
from medshare.station.key_book import Happened, KeyBook
from medshare.station.tier_keys import TierKeys
from medshare.station.vaults import register_vault
from tests import builder
from tests.fault import Killed, count_changes, killed_at
from tests.parcels_at_hand import NOW, THEN, WANG, Case
from tests.test_rotate import octets_below
from tests.test_wrapped import without_identity_keys


class Tiers(Case):
    """A station whose parcels are wrapped under the first KEK of their tier."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        identity = self.identity()
        for folder, envelope, key in self.parcels:
            keep_key(folder, envelope, key, identity)

    def identity(self) -> Identity:
        """Return the identity, opened anew, at a time before any rotation."""
        station, store = Station.open(self.home), self.store()
        tiers = TierKeys(store, station.policy, self.home, clock=lambda: THEN)
        return identity_of(station.card, store, tiers)

    def rotate_tiers(self, *tiers: str, now: int = NOW, dry_run: bool = False) -> TierRotations:
        """Rotate, as another process would."""
        station = Station.open(self.home)
        return rotate_tiers(station, self.store(), tiers or ("routine",), now=now, dry_run=dry_run)

    def labels(self, store: KeyStore | None = None) -> list[str]:
        """Return the KEKs that are in the keystore."""
        return [kek.label for kek in (store or self.store()).keks()]

    def require_wrapped(self, label: str) -> None:
        """Fail unless each parcel opens, under the KEK called *label*, without identity keys."""
        identity = without_identity_keys(self.identity())
        for folder, envelope, key in self.parcels:
            found = read_wrap(folder)
            assert found is not None
            assert found[1].label == label
            assert parcel_key(envelope, folder, identity) == key

    def history(self) -> list[tuple[str, str]]:
        """Return what happened to which key, oldest first."""
        return [(one.what, one.key) for one in KeyBook(self.home).entries()]

    def first(self) -> tuple[Path, Envelope, ParcelKey]:
        """Return the first parcel."""
        return min(self.parcels, key=lambda one: one[0])


@pytest.fixture
def case(tmp_path: Path) -> Tiers:
    """A station with parcels at hand."""
    return Tiers(tmp_path / "home")


def test_a_rotation_wraps_anew_and_destroys_the_old_key(case: Tiers) -> None:
    """Every parcel of the tier is under the new KEK; the old one is gone, with a record."""
    result = case.rotate_tiers()
    (tier,) = result.tiers
    assert (tier.label, tier.resumed, tier.kept) == ("routine/1", False, ())
    assert tier.destroyed == ("routine/0",)
    assert (result.rewrapped, result.unchanged, result.failed) == (3, 1, ())
    case.require_wrapped("routine/1")
    assert case.labels() == ["routine/1"]
    assert case.history() == [
        (Happened.MADE, "routine/0"),
        (Happened.ROTATION_BEGUN, "routine/1"),
        (Happened.MADE, "routine/1"),
        (Happened.DESTROYED, "routine/0"),
        (Happened.ROTATION_DONE, "routine/1"),
    ]
    assert (
        KeyBook(case.home).uses()["routine/1"] == 4
    )  # at most: counted before the parcels were read


def test_nothing_but_the_wrapped_keys_is_written(case: Tiers) -> None:
    """No file of any parcel but `wrap` changes, in content or time."""
    boxes = [case.home / "inbox", case.home / "outbox"]
    before = [octets_below(box) for box in boxes]
    case.rotate_tiers()
    for old, new in zip(before, [octets_below(box) for box in boxes], strict=True):
        assert old.keys() == new.keys()
        changed = {path for path in old if old[path] != new[path]}
        assert {path.name for path in changed} == {WRAP_FILE}


def test_another_tier_is_left_alone(case: Tiers) -> None:
    """Rotating one tier touches neither key nor parcel of another."""
    result = case.rotate_tiers("restricted")
    assert (result.rewrapped, result.unchanged) == (0, 4)
    case.require_wrapped("routine/0")
    assert case.labels() == ["restricted/0", "routine/0"]


def test_several_tiers_at_once(case: Tiers) -> None:
    """Each tier that is named gets a key of its own."""
    result = case.rotate_tiers("routine", "sensitive")
    assert [tier.label for tier in result.tiers] == ["routine/1", "sensitive/0"]
    case.require_wrapped("routine/1")


def test_parcels_that_were_never_wrapped_are_taken_in(case: Tiers) -> None:
    """Where `wrap` is missing or damaged, the stanza of the envelope serves."""
    folders = sorted(folder for folder, _, _ in case.parcels)
    (folders[0] / WRAP_FILE).unlink()
    (folders[1] / WRAP_FILE).write_bytes(b"damaged")
    assert case.rotate_tiers().rewrapped == 3
    case.require_wrapped("routine/1")


def test_a_dry_run_changes_nothing(case: Tiers) -> None:
    """It says what would be done, and every octet of the station stays."""
    before = octets_below(case.home)
    result = case.rotate_tiers(dry_run=True)
    assert (result.rewrapped, result.tiers[0].label) == (3, "routine/1")
    assert octets_below(case.home) == before


def test_killed_at_any_step_the_next_run_completes_it(tmp_path: Path) -> None:
    """At every step each parcel opens, and a second run makes no further key."""
    template = Tiers(tmp_path / "template")
    parcels = template.parcels
    counted = Tiers(tmp_path / "counted")
    steps = count_changes(counted.rotate_tiers)
    assert steps > 30
    case, interrupted = template, set()
    for step in range(1, steps + 1):
        case.home = tmp_path / str(step)
        shutil.copytree(tmp_path / "template", case.home, symlinks=True)
        case.parcels = {
            (case.home / folder.parent.name / folder.name, envelope, key)
            for folder, envelope, key in parcels
        }
        with pytest.raises(Killed), killed_at(step):
            case.rotate_tiers()
        identity = without_identity_keys(case.identity())
        for folder, envelope, key in case.parcels:
            assert parcel_key(envelope, folder, identity) == key
        done = (Happened.ROTATION_DONE, "routine/1") in case.history()
        interrupted.add(case.rotate_tiers(dry_run=True).tiers[0].resumed)
        if not done:
            case.rotate_tiers()
        case.require_wrapped("routine/1")
        assert case.labels() == ["routine/1"]
        assert case.history().count((Happened.ROTATION_BEGUN, "routine/1")) == 1
        assert (Happened.DESTROYED, "routine/0") in case.history()
    assert interrupted == {True, False}


@pytest.mark.parametrize("damaged", [False, True], ids=["of others", "damaged"])
def test_a_kek_missing_for_one_parcel_is_named_and_the_rest_goes_on(
    case: Tiers, damaged: bool
) -> None:
    """The one whose key nothing opens is in the result; all others are done, old keys go."""
    folder, _, _ = case.first()
    octets = (folder / WRAP_FILE).read_bytes().replace(b"routine/0", b"routine/7")
    (folder / WRAP_FILE).write_bytes(octets)
    foreign = builder.make_parcel({"x": b"1"}, sender=WANG, recipients=[], label="x")
    (folder / "envelope").write_bytes(foreign.envelope[: -1 if damaged else None])
    result = case.rotate_tiers()
    assert [failed.folder for failed in result.failed] == [folder]
    assert isinstance(result.failed[0].error, KeyUnavailableError)
    assert "routine/7" in result.failed[0].error.message
    assert (result.rewrapped, result.tiers[0].destroyed) == (2, ("routine/0",))
    case.parcels = {one for one in case.parcels if one[0] != folder}
    case.require_wrapped("routine/1")


def test_a_key_that_a_parcel_still_needs_is_kept(case: Tiers) -> None:
    """Where `wrap` is damaged and nothing else opens, its KEK stays, and is named each time."""
    folder, _, _ = case.first()
    octets = bytearray((folder / WRAP_FILE).read_bytes())
    octets[-1] ^= 1
    (folder / WRAP_FILE).write_bytes(octets)
    foreign = builder.make_parcel({"x": b"1"}, sender=WANG, recipients=[], label="x")
    (folder / "envelope").write_bytes(foreign.envelope)
    for number, kept in ((1, ("routine/0",)), (2, ("routine/0",))):
        result = case.rotate_tiers()
        assert [failed.folder for failed in result.failed] == [folder]
        assert (result.tiers[0].label, result.tiers[0].kept) == (f"routine/{number}", kept)
    assert case.labels() == ["routine/0", "routine/2"]


def test_a_clock_that_is_behind_is_refused(case: Tiers) -> None:
    """No key is made at a time before the key that it replaces."""
    case.rotate_tiers(now=NOW)
    with pytest.raises(UsageError, match="clock"):
        case.rotate_tiers(now=THEN)
    assert case.labels() == ["routine/1"]


def test_a_key_that_is_used_up_is_refused(case: Tiers) -> None:
    """A rotation that would wrap more keys than the tier allows stops, and can go on later."""
    path = case.home / "policy.toml"
    path.write_text('version = 1\n[tiers.routine]\nrotate_after = "1y"\nmax_uses = 2\n')
    path.chmod(0o600)
    with pytest.raises(PolicyError, match="used up"):
        case.rotate_tiers()
    path.unlink()
    assert case.rotate_tiers().tiers[0].resumed
    case.require_wrapped("routine/1")


def test_a_vault_that_is_not_mounted_stops_it(case: Tiers, tmp_path: Path) -> None:
    """No key is destroyed while a vault that may need it is not there."""
    register_vault(case.home, tmp_path / "vault")
    with pytest.raises(StorageError, match=r"the vault .* is not there"):
        case.rotate_tiers()
    assert case.labels() == ["routine/0"]
    (tmp_path / "vault").mkdir()
    assert case.rotate_tiers().tiers[0].destroyed == ("routine/0",)


def test_a_full_disk_stops_it_and_it_goes_on_later(
    case: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a wrapped key cannot be written, no old key goes; the next run completes it."""
    rename = os.rename

    def full(source: str, target: str, **keywords: int) -> None:
        if target == WRAP_FILE:
            raise OSError(28, "No space left on device")
        rename(source, target, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        with pytest.raises(StorageError, match="disk is full"):
            case.rotate_tiers()
    assert case.labels() == ["routine/0", "routine/1"]
    case.require_wrapped("routine/0")
    assert case.rotate_tiers().tiers[0].resumed
    case.require_wrapped("routine/1")


def test_two_rotations_at_once_are_refused(case: Tiers) -> None:
    """While one goes on, another neither waits nor makes keys of its own."""
    with case.station.changing(), pytest.raises(StorageError, match="by another process"):
        case.rotate_tiers()
    assert case.labels() == ["routine/0"]


def test_what_is_sent_meanwhile_is_under_the_new_key(case: Tiers) -> None:
    """From its first step a rotation gives new parcels the new key, in every process."""
    identity = case.identity()
    folder, envelope, key = case.first()
    with pytest.raises(Killed), killed_at(20):
        case.rotate_tiers()
    assert case.labels() == ["routine/0", "routine/1"]
    keep_key(folder, envelope, key, case.identity())
    found = read_wrap(folder)
    assert found is not None
    assert found[1].label == "routine/1"
    keep_key(folder, envelope, key, identity)  # one that opened its keystore before
    assert parcel_key(envelope, folder, without_identity_keys(case.identity())) == key
    case.rotate_tiers()
    case.require_wrapped("routine/1")


def test_what_a_killed_run_left_half_written_goes(case: Tiers) -> None:
    """A temporary file that nobody can be writing any more is removed; a fresh one stays."""
    folder, _, _ = case.first()
    old, fresh = (folder / f".medshare-{name * 16}.tmp" for name in "ab")
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (THEN, THEN))
    case.rotate_tiers()
    assert (old.exists(), fresh.exists()) == (False, True)
