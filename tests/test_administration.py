"""A relay under four eyes: what a quorum carries is done once, and nothing else is."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from medshare.audit.administration import Judgement
from medshare.audit.entries import Act, Outcome
from medshare.envelope import encode_envelope
from medshare.errors import AccessDeniedError, UsageError
from medshare.record.administration import judge_record
from medshare.record.reader import RecordReader
from medshare.relay.founding import require_unadministered
from medshare.relay.profiles import OPEN, PERSON, Profile, person
from medshare.trust.orders import SETTINGS, Action, Administrator, Order
from medshare.trust.proposal import vote
from medshare.wire import admin_bodies, problems, routes
from medshare.wire.admin_bodies import State
from medshare.wire.routes import Target
from tests.admin_case import (
    ANNA,
    BEN,
    CLEO,
    ENROLL,
    STRANGER,
    approve,
    carried,
    charter_at,
    governed_case,
    name_administrators,
    proposal_of,
    proposed,
    put_proposal,
    put_vote,
    result_of,
    vote_of,
)
from tests.builder import Identity, make_identity, make_parcel
from tests.relay_case import NOW, Case, Reply, rotated, signed
from tests.suites.transport_suite import ALICE, BOB

PARCEL = make_parcel({"a": b"sealed"}, sender=ALICE, recipients=[BOB], label="four eyes")
DELETE = Order(Action.DELETE, parcel=PARCEL.id)
HOLD = Order(Action.HOLD, parcel=PARCEL.id)
RELEASE = Order(Action.RELEASE_HOLD, parcel=PARCEL.id)


def left_by_alice(case: Case) -> None:
    """Let Alice leave a parcel."""
    envelope = signed(ALICE, Target(routes.PUT_ENVELOPE, PARCEL.id), PARCEL.envelope)
    assert case.ask(envelope).status == 200
    manifest = signed(ALICE, Target(routes.PUT_MANIFEST, PARCEL.id), PARCEL.manifest)
    assert case.ask(manifest).status == 204


def removed_by_alice(case: Case) -> Reply:
    """Let Alice ask for her parcel to be removed."""
    return case.ask(signed(ALICE, Target(routes.REMOVE, PARCEL.id), created=case.now))


def judged(case: Case) -> Judgement:
    """Return what an auditor says who has nothing but a copy of the folder `audit`."""
    copy = case.data.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(case.data / "audit", copy)
    return judge_record(RecordReader(copy))


def acts(case: Case, act: Act) -> int:
    """Return how often *act* was recorded as done."""
    entries = RecordReader(case.data / "audit").entries()
    return sum(1 for e in entries if e.event.act is act and e.event.outcome is Outcome.DONE)


def is_enrolled(case: Case, who: Identity = STRANGER) -> bool:
    """Tell whether *who* may use the relay."""
    return case.service.stations.find(who.station.hex()) is not None


# --- what a quorum can do ------------------------------------------------------------------


def test_two_administrators_enroll_a_station_and_an_auditor_can_see_it(tmp_path: Path) -> None:
    """Nothing happens at the proposal; at the second approval it is done, and provable."""
    with governed_case(tmp_path / "relay") as case:
        proposal = proposed(case, ANNA, ENROLL)
        assert not is_enrolled(case)
        result = result_of(approve(case, BEN, proposal))
        assert (result.state, result.approvals, result.needed) == (State.DONE, 2, 2)
        assert is_enrolled(case)
        judgement = judged(case)
        assert judgement.approved == 1
        assert judgement.objections == ()


def test_the_proposer_alone_is_no_quorum(tmp_path: Path) -> None:
    """Whoever proposes may approve as often as he likes: his is one voice."""
    with governed_case(tmp_path / "relay") as case:
        proposal = proposed(case, ANNA, ENROLL)
        for _ in range(2):
            result = result_of(approve(case, ANNA, proposal))
            assert (result.state, result.approvals) == (State.PENDING, 1)
        assert not is_enrolled(case)


def test_a_station_is_removed_but_no_administrator(tmp_path: Path) -> None:
    """A quorum removes a station; who administers is removed from the administrators first."""
    with governed_case(tmp_path / "relay") as case:
        assert carried(case, Order(Action.REMOVE, station=BOB.station)).state is State.DONE
        assert not is_enrolled(case, BOB)
        order = Order(Action.REMOVE, station=CLEO.station)
        assert put_proposal(case, ANNA, proposal_of(case, ANNA, order)).code == problems.ORDER
        assert is_enrolled(case, CLEO)


def test_a_parcel_is_destroyed_early_and_leaves_a_tombstone(tmp_path: Path) -> None:
    """The ciphertext is gone, its parties hear so, the id stays taken, the record proves it."""
    with governed_case(tmp_path / "relay") as case:
        left_by_alice(case)
        assert carried(case, DELETE).state is State.DONE
        assert case.files() == set()
        answer = case.ask(signed(BOB, Target(routes.GET_MANIFEST, PARCEL.id)))
        assert answer.code == problems.GONE
        again = case.ask(signed(ALICE, Target(routes.PUT_ENVELOPE, PARCEL.id), PARCEL.envelope))
        assert again.code == problems.GONE
        assert acts(case, Act.DELETE) == 1
        assert judged(case).objections == ()


def test_one_administrator_holds_a_parcel_and_only_a_quorum_releases_it(tmp_path: Path) -> None:
    """Under a hold neither the sender, nor a quorum, nor time destroys; after it each may."""
    with governed_case(tmp_path / "relay") as case:
        left_by_alice(case)
        held = result_of(put_proposal(case, ANNA, proposal_of(case, ANNA, HOLD)))
        assert (held.state, held.needed) == (State.DONE, 1)
        assert removed_by_alice(case).code == problems.HELD
        assert put_proposal(case, BEN, proposal_of(case, BEN, DELETE)).code == problems.HELD
        proposal = proposed(case, ANNA, RELEASE)
        assert removed_by_alice(case).code == problems.HELD
        assert result_of(approve(case, CLEO, proposal)).state is State.DONE
        assert removed_by_alice(case).status == 204
        assert judged(case).objections == ()


def test_a_hold_stops_expiry_also_across_a_restart_and_a_lost_database(tmp_path: Path) -> None:
    """A parcel whose time is over stays while it is held, and goes at the next sweep after."""
    data = tmp_path / "relay"
    with governed_case(data) as case:
        _, envelope = encode_envelope(replace(PARCEL.facts, delete_after=NOW + 100), ALICE.signers)
        ask = signed(ALICE, Target(routes.PUT_ENVELOPE, PARCEL.id), envelope)
        assert case.ask(ask).status == 200
        result_of(put_proposal(case, ANNA, proposal_of(case, ANNA, HOLD)))
        case.now += 1000
        assert case.service.parcels.sweep() == 0
        now = case.now
    for name in ("relay.sqlite3", "relay.sqlite3-wal", "relay.sqlite3-shm"):
        (data / name).unlink(missing_ok=True)
    with governed_case(data, now=now) as case:
        assert case.service.parcels.sweep() == 0
        assert case.files() == {f"{PARCEL.id.hex()}/envelope"}
        assert carried(case, RELEASE).state is State.DONE
        assert case.service.parcels.sweep() == 1
        assert acts(case, Act.EXPIRE) == 1


def test_a_policy_holds_at_once_and_after_a_restart(tmp_path: Path) -> None:
    """A quota that the administrators set refuses what goes beyond it."""
    data = tmp_path / "relay"
    order = Order(Action.SET_POLICY, settings={"station_bytes": 10})
    brief = Order(Action.SET_POLICY, settings={"keep_seconds": 86400})
    with governed_case(data) as case:
        assert carried(case, brief).state is State.DONE
        ask = signed(ALICE, Target(routes.PUT_ENVELOPE, PARCEL.id), PARCEL.envelope)
        assert case.ask(ask).code == problems.RETENTION
        assert carried(case, order).state is State.DONE
        ask = signed(ALICE, Target(routes.PUT_ENVELOPE, PARCEL.id), PARCEL.envelope)
        assert case.ask(ask).code == problems.QUOTA
    with governed_case(data) as case:
        ask = signed(ALICE, Target(routes.PUT_ENVELOPE, PARCEL.id), PARCEL.envelope)
        assert case.ask(ask).code == problems.QUOTA
        overview = admin_bodies.decode_overview(case.ask(signed(ANNA, Target(routes.ADMIN))).body)
        assert overview.settings == {"station_bytes": 10}
        assert set(SETTINGS) >= set(overview.settings)


def test_the_administrators_replace_themselves_by_their_old_quorum(tmp_path: Path) -> None:
    """New administrators take over at once; open proposals of the old ones are void."""
    dora = make_identity("dora")
    order = Order(
        Action.SET_ADMINISTRATORS,
        administrators=tuple(Administrator(one.card) for one in (ANNA, dora)),
        need=2,
    )
    with governed_case(tmp_path / "relay") as case:
        waiting = proposed(case, CLEO, ENROLL)
        assert carried(case, order).state is State.DONE
        assert charter_at(case.data).number == 1
        assert approve(case, BEN, waiting).code == problems.FORBIDDEN
        assert approve(case, ANNA, waiting).code == problems.CLOSED
        assert not is_enrolled(case)
        assert carried(case, ENROLL, by=(dora, ANNA)).state is State.DONE
        judgement = judged(case)
        assert (judgement.approved, judgement.objections) == (2, ())


def test_a_quorum_withdraws_a_grant_from_one_recipient(tmp_path: Path) -> None:
    """He fetches nothing more, others do; the record shows by whose decision."""
    order = Order(Action.WITHDRAW_GRANT, parcel=PARCEL.id, station=BOB.station)
    target = Target(routes.GET_MANIFEST, PARCEL.id)
    with governed_case(tmp_path / "relay") as case:
        left_by_alice(case)
        assert case.ask(signed(BOB, target)).status == 200
        assert carried(case, order).state is State.DONE
        assert case.ask(signed(BOB, target)).code == "grant.withdrawn"
        assert case.ask(signed(ALICE, target)).status == 200
        assert judged(case).objections == ()


def test_what_is_demanded_of_a_station_is_set_by_a_quorum(tmp_path: Path) -> None:
    """A profile comes with enrolling, or later; one that is none is refused at the proposal."""
    with governed_case(tmp_path / "relay") as case:
        demanding = replace(ENROLL, profile=person().encode())
        assert carried(case, demanding).state is State.DONE
        assert case.service.access.profile(STRANGER.station).kind == PERSON
        relaxed = Order(Action.SET_PROFILE, station=STRANGER.station, profile=Profile().encode())
        assert carried(case, relaxed).state is State.DONE
        assert case.service.access.profile(STRANGER.station).kind == OPEN
        bad = replace(relaxed, profile=b"no profile")
        assert put_proposal(case, ANNA, proposal_of(case, ANNA, bad)).code == problems.ORDER
        assert judged(case).objections == ()


# --- what is refused -----------------------------------------------------------------------


def test_nobody_but_an_administrator_is_heard(tmp_path: Path) -> None:
    """An enrolled station can neither propose, vote, nor look."""
    with governed_case(tmp_path / "relay") as case:
        proposal = proposed(case, ANNA, ENROLL)
        replies = [
            put_proposal(case, ALICE, proposal_of(case, ALICE, ENROLL)),
            approve(case, ALICE, proposal),
            case.ask(signed(ALICE, Target(routes.ADMIN))),
            case.ask(signed(ALICE, Target(routes.PROPOSALS))),
            case.ask(signed(ALICE, Target(routes.GET_PROPOSAL, proposal=proposal.digest))),
        ]
        assert {reply.code for reply in replies} == {problems.FORBIDDEN}
        assert replies[0].messages_read == 0  # nothing of what a stranger hands in is looked at
        assert not is_enrolled(case)


def test_a_relay_without_administrators_says_so(tmp_path: Path) -> None:
    """There is nothing to administer before somebody was named."""
    with Case(tmp_path / "relay").open() as case:
        case.service.stations.enroll(ANNA.card)
        assert case.ask(signed(ANNA, Target(routes.ADMIN))).code == problems.NOT_FOUND


def test_a_proposal_for_another_relay_or_charter_is_refused(tmp_path: Path) -> None:
    """What was signed for one relay, or for other administrators, serves for no other."""
    with governed_case(tmp_path / "relay") as case:
        for changes in ({"relay": "medshare/log/relay/" + "0" * 32}, {"need": 3}):
            foreign = proposal_of(case, ANNA, ENROLL, **changes)
            assert put_proposal(case, ANNA, foreign).code == problems.FOREIGN


def test_an_approval_of_a_stranger_does_not_travel_under_another_name(tmp_path: Path) -> None:
    """A vote is handed in by the one who signed it, and by nobody for him."""
    with governed_case(tmp_path / "relay") as case:
        proposal = proposed(case, ANNA, ENROLL)
        theirs = vote_of(case, BEN, proposal)
        target = Target(routes.PUT_VOTE, station=BEN.station, proposal=proposal.digest)
        assert case.ask(signed(CLEO, target, theirs.encoded)).code == problems.FORBIDDEN
        own = Target(routes.PUT_VOTE, station=CLEO.station, proposal=proposal.digest)
        assert case.ask(signed(CLEO, own, theirs.encoded)).code == problems.FORBIDDEN
        assert not is_enrolled(case)


def test_a_vote_for_one_proposal_serves_for_no_other(tmp_path: Path) -> None:
    """An approval names the digest of what it approves: changed arguments are not approved."""
    with governed_case(tmp_path / "relay") as case:
        first = proposed(case, ANNA, ENROLL)
        other = proposed(case, ANNA, Order(Action.REMOVE, station=BOB.station))
        cast = vote_of(case, BEN, first)
        target = Target(routes.PUT_VOTE, station=BEN.station, proposal=other.digest)
        assert case.ask(signed(BEN, target, cast.encoded)).code == "format"
        assert is_enrolled(case, BOB)


def test_a_carried_proposal_is_not_carried_out_again(tmp_path: Path) -> None:
    """Neither a replayed proposal nor a replayed or further vote does it twice."""
    with governed_case(tmp_path / "relay") as case:
        proposal = proposed(case, ANNA, ENROLL)
        cast = vote_of(case, BEN, proposal)
        assert result_of(put_vote(case, BEN, cast)).state is State.DONE
        assert carried(case, Order(Action.REMOVE, station=STRANGER.station)).state is State.DONE
        assert result_of(put_proposal(case, ANNA, proposal)).state is State.DONE
        assert result_of(put_vote(case, BEN, cast)).state is State.DONE
        assert approve(case, CLEO, proposal).code == problems.CLOSED
        assert not is_enrolled(case)
        assert acts(case, Act.ENROL) == 4  # three administrators, and once the newcomer


def test_approvals_expire_with_the_proposal(tmp_path: Path) -> None:
    """What was not carried in time never is."""
    with governed_case(tmp_path / "relay") as case:
        proposal = proposal_of(case, ANNA, ENROLL, valid=100)
        result_of(put_proposal(case, ANNA, proposal))
        case.now += 100
        assert approve(case, BEN, proposal).code == problems.CLOSED
        late = proposal_of(case, ANNA, ENROLL, valid=100)
        case.now += 200
        assert put_proposal(case, ANNA, late).code == problems.CLOSED
        assert not is_enrolled(case)


def test_a_rejection_is_final_and_too_many_end_it(tmp_path: Path) -> None:
    """Who rejected cannot approve any more; when too few are left, it is over."""
    with governed_case(tmp_path / "relay") as case:
        proposal = proposed(case, ANNA, ENROLL)
        no = vote_of(case, BEN, proposal, approves=False)
        assert result_of(put_vote(case, BEN, no)).state is State.PENDING
        assert approve(case, BEN, proposal).code == problems.CLOSED
        no = vote_of(case, CLEO, proposal, approves=False)
        assert result_of(put_vote(case, CLEO, no)).state is State.REJECTED
        assert acts(case, Act.REJECT) == 2
        own = proposed(case, ANNA, ENROLL)
        no = vote_of(case, ANNA, own, approves=False)
        assert result_of(put_vote(case, ANNA, no)).state is State.REJECTED


def test_an_old_key_of_an_administrator_approves_nothing(tmp_path: Path) -> None:
    """After a rotation the newest keys sign, or it does not count."""
    newer = rotated(BEN)
    with governed_case(tmp_path / "relay") as case:
        proposal = proposed(case, ANNA, ENROLL)
        assert case.ask(signed(newer, Target(routes.PUT_CARD), newer.card.encoded)).status == 204
        old = vote(proposal, BEN.card, BEN.signers, approves=True, now=case.now)
        target = Target(routes.PUT_VOTE, station=BEN.station, proposal=proposal.digest)
        assert case.ask(signed(newer, target, old.encoded)).code == problems.FORBIDDEN
        assert result_of(approve(case, newer, proposal)).state is State.DONE
        assert judged(case).objections == ()


def test_what_cannot_be_done_is_not_decided(tmp_path: Path) -> None:
    """A vote that would carry what is impossible just now is refused, and may come again."""
    with governed_case(tmp_path / "relay") as case:
        left_by_alice(case)
        proposal = proposed(case, ANNA, DELETE)
        result_of(put_proposal(case, CLEO, proposal_of(case, CLEO, HOLD)))
        assert approve(case, BEN, proposal).code == problems.HELD
        carried(case, RELEASE)
        assert result_of(approve(case, BEN, proposal)).state is State.DONE


def test_unworkable_orders_are_refused_at_once(tmp_path: Path) -> None:
    """A quorum of one, of more than there are, of one person twice, or of nobody is none."""
    twice = tuple(Administrator(one.card, b"p" * 32) for one in (ANNA, BEN))
    plain = tuple(Administrator(one.card) for one in (ANNA, BEN))
    with governed_case(tmp_path / "relay") as case:
        for administrators, need in ((plain, 1), (plain, 3), (twice, 2), ((), 2)):
            order = Order(Action.SET_ADMINISTRATORS, administrators=administrators, need=need)
            reply = put_proposal(case, ANNA, proposal_of(case, ANNA, order))
            assert reply.code == problems.ORDER
        for order in (DELETE, HOLD, RELEASE, Order(Action.REMOVE, station=STRANGER.station)):
            reply = put_proposal(case, ANNA, proposal_of(case, ANNA, order))
            assert reply.code == problems.NOT_FOUND


def test_nobody_acts_alone_at_the_machine_any_more(tmp_path: Path) -> None:
    """Once administrators are named, neither they nor stations are changed on the command line."""
    data = tmp_path / "relay"
    require_unadministered(data, "enroll CARD")
    name_administrators(data, ANNA, BEN)
    with pytest.raises(AccessDeniedError):
        require_unadministered(data, "enroll CARD")
    with pytest.raises(UsageError):
        name_administrators(data, ANNA, CLEO)
