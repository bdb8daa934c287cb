"""A compromised key: the lists of files that it opens in outbox and inbox are destroyed."""

import os
from pathlib import Path

import pytest

from medshare.errors import RelayUnavailableError
from medshare.sealing import open_manifest, unwrap_parcel_key
from medshare.sharing.wrapped import read_envelope
from tests.sharing_case import Breaking
from tests.test_compromise import Case


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A station with a vault, and something sent and received."""
    return Case(tmp_path)


def lists_of(case: Case) -> list[Path]:
    """Return the sealed lists of files in outbox and inbox."""
    boxes = [case.b.station.home / "outbox", case.b.station.home / "inbox"]
    return [path for box in boxes for path in box.glob("*/manifest")]


def test_lists_of_files_under_known_keys_are_destroyed(case: Case) -> None:
    """What a thief's keys open in outbox and inbox before is overwritten and gone after."""
    case.send_back()
    thief, lists = case.thief(), lists_of(case)
    assert len(lists) == 2
    for path in lists:
        key = unwrap_parcel_key(
            envelope := read_envelope(path.parent), thief.identity.station, thief.identity.openers
        )
        assert open_manifest(path.read_bytes(), key, envelope).files
    names = [os.open(path, os.O_RDONLY) for path in lists]
    before = [os.pread(file, 1 << 20, 0) for file in names]
    assert case.report("identity", dry_run=True).manifests == 2
    assert case.report("identity").manifests == 2
    assert lists_of(case) == []
    for file, octets in zip(names, before, strict=True):
        assert os.pread(file, 1 << 20, 0) != octets, "not overwritten"
        os.close(file)
    case.require_all_open()


def test_only_lists_of_the_tiers_concerned_go(case: Case) -> None:
    """A key of another tier leaves those of this one alone."""
    case.send_back()
    assert case.report("sensitive").manifests == 0
    assert len(lists_of(case)) == 2
    assert case.report("routine").manifests == 2


def test_what_is_being_received_goes_on_without_its_list(case: Case) -> None:
    """A receive that the incident interrupts asks the far side for the list again."""
    parcel = case.send(anew=True).parcel
    broken = Breaking(case.store, case.b.station.id, after=3)
    with pytest.raises(RelayUnavailableError):
        case.receive(parcel, transport=broken, output="again")
    assert case.report("routine").manifests == 2
    case.renewed()
    case.receive(parcel, output="again")
    case.assert_arrived("again")
