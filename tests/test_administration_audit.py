"""What an auditor finds in a record of administration, and what a crash leaves of it."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from medshare.audit import entries
from medshare.audit.entries import Act
from medshare.errors import RelayRefusedError
from medshare.relay.admin_store import AdminStore
from medshare.relay.founding import require_unadministered
from medshare.relay.recording import RelayRecord
from medshare.trust.charter import Charter
from medshare.trust.orders import Action, Administrator
from medshare.trust.proposal import SignedVote
from medshare.wire import problems, routes
from medshare.wire.admin_bodies import State
from medshare.wire.routes import Target
from tests.admin_case import (
    ANNA,
    BEN,
    CLEO,
    ENROLL,
    STRANGER,
    carried,
    charter_at,
    governed_case,
    name_administrators,
    proposed,
    vote_of,
)
from tests.builder import make_identity
from tests.conftest import ROOT
from tests.relay_case import NOW, Case, signed
from tests.running_relay import enroll
from tests.suites.transport_suite import BOB
from tests.test_administration import PARCEL, judged, left_by_alice, removed_by_alice


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


def test_an_auditor_finds_a_charter_that_nobody_voted_for(tmp_path: Path) -> None:
    """Whoever puts his own charter into the folder rules the relay, and shows it by each act."""
    data, mallory, friend = tmp_path / "relay", make_identity("mallory"), make_identity("friend")
    with governed_case(data):
        forged = Charter(
            charter_at(data).relay, 0, 2, tuple(Administrator(o.card) for o in (mallory, friend))
        )
    AdminStore(data, data / "audit").put_charter(forged)
    enroll(data, mallory, friend)
    with governed_case(data) as case:
        assert carried(case, ENROLL, by=(mallory, friend)).state is State.DONE
        found = judged(case).objections
        assert [one.act for one in found] == [Act.PROPOSE, Act.APPROVE, Act.ENROL]


def test_taking_the_charter_away_hides_nothing_that_follows(tmp_path: Path) -> None:
    """Without its folder the relay obeys the command line again; the record still speaks."""
    data = tmp_path / "relay"
    with governed_case(data):
        pass
    shutil.rmtree(data / "admin")
    require_unadministered(data, "enroll CARD")
    record = RelayRecord(data, lambda: NOW)
    record.note(Act.ENROL, None, entries.station(STRANGER.station))
    with Case(data).open() as case:
        assert [one.act for one in judged(case).objections] == [Act.ENROL]


def test_naming_others_again_after_the_charter_was_taken_away_is_found(tmp_path: Path) -> None:
    """A second first charter is in the record, and no quorum of the old one stands behind it."""
    data = tmp_path / "relay"
    with governed_case(data):
        pass
    shutil.rmtree(data / "admin")
    name_administrators(data, make_identity("mallory"), make_identity("friend"))
    with Case(data).open() as case:
        found = judged(case).objections
        assert {one.act for one in found} == {Act.ENROL, Act.ADMINISTER}


def test_a_crash_while_naming_administrators_is_no_fault(tmp_path: Path) -> None:
    """Named once in the record and not yet in force, the same administrators are named again."""
    data = tmp_path / "relay"
    with governed_case(data):
        pass
    (data / "admin" / "charter").unlink()
    name_administrators(data, ANNA, BEN, CLEO)
    with Case(data).open() as case:
        assert judged(case).objections == ()


def test_votes_at_the_same_moment_carry_it_once(tmp_path: Path) -> None:
    """Two approvals that arrive together are one after the other: one act, one entry."""
    with governed_case(tmp_path / "relay") as case:
        proposal = proposed(case, ANNA, ENROLL)
        votes = [vote_of(case, one, proposal) for one in (BEN, CLEO)]
        administration = case.service.administration

        def cast(vote: SignedVote) -> str:
            asker = case.service.stations.find(vote.content.voter.hex())
            assert asker is not None
            try:
                return administration.vote(asker, proposal.digest, vote.encoded).state
            except RelayRefusedError as error:
                return error.code

        with ThreadPoolExecutor(2) as pool:
            ended = sorted(pool.map(cast, votes))
        assert ended == [State.DONE, problems.CLOSED]
        assert judged(case).approved == 1
        assert judged(case).objections == ()


def test_an_administrator_reads_nothing_of_a_parcel(tmp_path: Path) -> None:
    """To the relay he is no party: not even ciphertext, state or receipts are shown to him."""
    with governed_case(tmp_path / "relay") as case:
        left_by_alice(case)
        for route in routes.ROUTES:
            if route.method == "GET" and "{parcel}" in route.template:
                target = Target(route, PARCEL.id, 0, BOB.station)
                query = "wait=0" if route.query else ""
                assert case.ask(signed(ANNA, target, query=query)).code == problems.NOT_FOUND


# --- crashes -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "every"),
    [
        (Action.ENROLL, 1),
        (Action.DELETE, 3),
        (Action.SET_ADMINISTRATORS, 4),
        (Action.HOLD, 5),
        (Action.WITHDRAW_GRANT, 7),
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
