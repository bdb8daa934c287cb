"""What an auditor finds in a record of administration, and what a crash leaves of it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from medshare.audit.entries import Act
from medshare.trust.orders import Action
from tests.admin_case import BEN, ENROLL, STRANGER, carried, governed_case
from tests.conftest import ROOT
from tests.test_administration import judged, left_by_alice, removed_by_alice


def test_an_auditor_finds_what_was_done_without_a_quorum(tmp_path: Path) -> None:
    """An act that somebody at the machine slipped into the record lacks its proposal."""
    with governed_case(tmp_path / "relay") as case:
        left_by_alice(case)
        record = case.service.record
        case.service.stations.enroll(
            STRANGER.card,
            before_change=lambda: record.note(Act.ENROL, None),
        )
        record.note(Act.DELETE, BEN.station)
        found = judged(case).objections
        assert [one.act for one in found] == [Act.ENROL, Act.DELETE]


def test_an_auditor_finds_a_lost_or_forged_proposal(tmp_path: Path) -> None:
    """Without the signed objects, or with others in their place, an act had no quorum."""
    with governed_case(tmp_path / "relay") as case:
        carried(case, ENROLL)
        evidence = case.data / "audit" / "administration"
        for path in sorted(evidence.iterdir()):
            octets = path.read_bytes()
            path.chmod(0o600)
            path.write_bytes(octets[:-1] + bytes([octets[-1] ^ 1]))
            assert judged(case).objections
            path.unlink()
            assert judged(case).objections
            path.write_bytes(octets)
        assert not judged(case).objections


def test_a_sender_removes_his_own_parcel_without_a_proposal(tmp_path: Path) -> None:
    """What a sender may always do is no administrative act."""
    with governed_case(tmp_path / "relay") as case:
        left_by_alice(case)
        assert removed_by_alice(case).status == 204
        assert judged(case) == replace(judged(case), approved=0, objections=())


# --- crashes -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "every"),
    [
        (Action.ENROLL, 1),
        (Action.DELETE, 3),
        (Action.SET_ADMINISTRATORS, 4),
        (Action.HOLD, 5),
    ],
)
def test_killed_at_any_change_of_the_disk_it_is_done_once_or_not_yet(
    tmp_path: Path, action: Action, every: int
) -> None:
    """A relay killed at each step of a decision does it at the next start, or at the next vote."""
    words = [sys.executable, "-m", "tests.admin_crash", str(tmp_path), str(action), str(every)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, timeout=300, check=True
    )
    report = json.loads(done.stdout)
    assert report["faults"] == []
    assert report["points"] >= 30 // every
    assert 0 < report["done_by_next_start"] < report["points"] + 1
