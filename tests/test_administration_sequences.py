"""Any sequence of votes, replays, restarts and delays: an act happens with a quorum, and once."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medshare.audit.administration import judge
from medshare.audit.entries import Act, Detail
from medshare.errors import MedshareError
from medshare.record.administration import judge_record
from medshare.record.reader import RecordReader
from medshare.relay.administration import Administration
from medshare.trust.proposal import SignedProposal, SignedVote
from tests.admin_case import ANNA, BEN, CLEO, ENROLL, STRANGER, governed_case, proposal_of, vote_of
from tests.builder import Identity
from tests.relay_case import NOW, Case
from tests.suites.transport_suite import ALICE

PEOPLE = (ANNA, BEN, CLEO, ALICE)
VALID = 1000

Step = tuple[str, int, bool]
World = tuple[Path, SignedProposal, dict[object, SignedVote]]
ENOUGH: list[Step] = [
    ("propose", 0, True),
    ("vote", 3, True),
    ("restart", 0, True),
    ("vote", 1, True),
    ("propose", 0, True),
    ("restart", 0, True),
    ("vote", 2, True),
]
TOO_LATE: list[Step] = [("propose", 0, True), ("wait", 5, True), ("vote", 1, True)]
REJECTED: list[Step] = [("propose", 0, True), ("vote", 1, False), ("vote", 1, True)]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("propose"), st.sampled_from(range(4)), st.just(True)),
        st.tuples(st.just("vote"), st.sampled_from(range(4)), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([1, 2, 5]), st.just(True)),
        st.tuples(st.just("restart"), st.just(0), st.just(True)),
    ),
    min_size=2,
    max_size=10,
)


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
) -> World:
    """A governed relay, one proposal of Anna's for it, and every vote that can be cast on it."""
    base = tmp_path_factory.mktemp("sequences") / "relay"
    with governed_case(base) as case:
        proposal = proposal_of(case, ANNA, ENROLL, valid=VALID)
        votes: dict[object, SignedVote] = {
            (number, approves): vote_of(case, who, proposal, approves=approves)
            for number, who in enumerate(PEOPLE)
            for approves in (True, False)
        }
    return base, proposal, votes


def hand_in(case: Case, who: Identity, proposal: SignedProposal, cast: SignedVote | None) -> bool:
    """Let *who* hand in the proposal, or a vote on it; tell whether it was accepted."""
    administration: Administration = case.service.administration
    asker = case.service.stations.find(who.station.hex())
    assert asker is not None
    try:
        if cast is None:
            administration.propose(asker, proposal.digest, proposal.encoded)
        else:
            administration.vote(asker, proposal.digest, cast.encoded)
    except MedshareError:
        return False
    return True


@settings(max_examples=25, deadline=None)
@given(steps)
@example(ENOUGH)
@example(TOO_LATE)
@example(REJECTED)
def test_no_sequence_does_it_without_a_quorum_or_twice(world: World, sequence: list[Step]) -> None:
    """Whatever comes in what order, nobody is enrolled whom not two have approved in time; once."""
    base, proposal, votes = world
    left, enrolled = list(sequence), False
    approved: set[int] = set()
    rejected: set[int] = set()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "relay"
        shutil.copytree(base, data)
        now = NOW
        while left:
            with governed_case(data, now=now) as case:
                while left and (step := left.pop(0))[0] != "restart":
                    kind, number, approves = step
                    if kind == "wait":
                        case.now += number * VALID // 4
                        continue
                    cast = votes[number, approves] if kind == "vote" else None
                    if hand_in(case, PEOPLE[number], proposal, cast):
                        assert number < 3, "a stranger was heard"
                        (approved if approves else rejected).add(0 if cast is None else number)
                now = case.now
                enrolled = case.service.stations.find(STRANGER.station.hex()) is not None
                assert not enrolled or len(approved) >= 2
        entries = list(RecordReader(data / "audit").entries())
        done = [
            one
            for one in entries
            if one.event.act is Act.ENROL
            and one.event.details.get(Detail.DIGEST) == proposal.digest
        ]
        assert len(done) == enrolled
        if sequence in (ENOUGH, TOO_LATE, REJECTED):
            assert enrolled == (sequence == ENOUGH)
        assert not judge_record(RecordReader(data / "audit")).objections
        assert bool(judge(entries, lambda _: None).objections)
