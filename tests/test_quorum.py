"""When several may do together what none may do alone: the rules, for every set of votes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import UsageError
from medshare.ids import StationId
from medshare.trust.quorum import LEAST, Ballot, Member, Standing, count, require_workable

STATIONS = [StationId(bytes([n]) * 32) for n in range(8)]
PERSONS = [b"", b"", b"p" * 32, b"q" * 32]

members = st.lists(
    st.builds(Member, st.sampled_from(STATIONS), st.sampled_from(PERSONS)),
    min_size=1,
    max_size=8,
    unique_by=lambda one: one.station,
)
ballots = st.lists(st.builds(Ballot, st.sampled_from(STATIONS), st.booleans()), max_size=16)
proposers = st.sampled_from(STATIONS)
needs = st.integers(0, 8)


def voices_for(named: list[Member], cast: list[Ballot], proposer: StationId) -> set[bytes]:
    """Return who approves, counted anew: persons, without those who reject."""
    voice = {one.station: one.person or one.station for one in named}
    approving = {one.station for one in cast if one.approves} | {proposer}
    rejecting = {voice[one.station] for one in cast if not one.approves and one.station in voice}
    return {bytes(voice[one]) for one in approving if one in voice} - rejecting


@given(members, ballots, proposers, needs)
def test_fewer_than_needed_never_carry(
    named: list[Member], cast: list[Ballot], proposer: StationId, need: int
) -> None:
    """Nothing is carried by fewer persons than needed, or by fewer than two."""
    found = count(named, cast, proposer=proposer, need=need)
    persons = voices_for(named, cast, proposer)
    assert found.approvals == len(persons)
    if found.standing is Standing.CARRIED:
        assert len(persons) >= max(need, LEAST)


@given(members, ballots, proposers, needs, st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(
    named: list[Member], cast: list[Ballot], proposer: StationId, need: int, chance: random.Random
) -> None:
    """The same votes in any order, and cast again, come to the same."""
    again = [*cast, *chance.choices(cast, k=3)] if cast else []
    chance.shuffle(again)
    assert count(named, again, proposer=proposer, need=need) == count(
        named, cast, proposer=proposer, need=need
    )


@given(members, ballots, proposers, needs)
def test_strangers_change_nothing(
    named: list[Member], cast: list[Ballot], proposer: StationId, need: int
) -> None:
    """Votes of those who are no administrators count for nothing."""
    inside = {one.station for one in named}
    own = [one for one in cast if one.station in inside or one.station == proposer]
    assert count(named, cast, proposer=proposer, need=need) == count(
        named, own, proposer=proposer, need=need
    )


@given(members, ballots, proposers, needs)
def test_a_further_rejection_never_helps(
    named: list[Member], cast: list[Ballot], proposer: StationId, need: int
) -> None:
    """Who was not carried is not carried by a rejection, and what was rejected stays so."""
    before = count(named, cast, proposer=proposer, need=need)
    for station in STATIONS:
        after = count(named, [*cast, Ballot(station, False)], proposer=proposer, need=need)
        if before.standing is not Standing.CARRIED:
            assert after.standing is not Standing.CARRIED
        if before.standing is Standing.REJECTED:
            assert after.standing is Standing.REJECTED


@given(members, st.permutations(STATIONS), needs)
def test_all_administrators_together_carry_anything(
    named: list[Member], order: list[StationId], need: int
) -> None:
    """When everybody approves and there are enough persons, it is carried."""
    cast = [Ballot(station, True) for station in order]
    found = count(named, cast, proposer=named[0].station, need=need)
    persons = len({one.voice for one in named})
    assert (found.standing is Standing.CARRIED) == (persons >= max(need, LEAST))


def test_one_person_with_two_stations_counts_once() -> None:
    """Both stations of one person are one voice, also as proposer and approver."""
    named = [Member(STATIONS[0], b"p" * 32), Member(STATIONS[1], b"p" * 32), Member(STATIONS[2])]
    cast = [Ballot(STATIONS[1], True)]
    assert count(named, cast, proposer=STATIONS[0], need=2).standing is Standing.PENDING
    cast.append(Ballot(STATIONS[2], True))
    assert count(named, cast, proposer=STATIONS[0], need=2).standing is Standing.CARRIED


def test_what_one_may_do_alone_still_takes_an_administrator() -> None:
    """A hold is carried by its proposer, if he is one, and unless he takes it back."""
    named = [Member(one) for one in STATIONS[:3]]

    def standing(proposer: StationId, *cast: Ballot) -> Standing:
        return count(named, cast, proposer=proposer, need=2, alone=True).standing

    assert standing(STATIONS[0]) is Standing.CARRIED
    assert standing(STATIONS[7]) is not Standing.CARRIED
    assert standing(STATIONS[0], Ballot(STATIONS[0], False)) is Standing.REJECTED


@pytest.mark.parametrize(
    ("named", "need"),
    [
        ([], 2),
        ([Member(STATIONS[0])], 2),
        ([Member(STATIONS[0]), Member(STATIONS[1])], 1),
        ([Member(STATIONS[0]), Member(STATIONS[1])], 3),
        ([Member(STATIONS[0]), Member(STATIONS[0])], 2),
        ([Member(STATIONS[0], b"p" * 32), Member(STATIONS[1], b"p" * 32)], 2),
        ([Member(StationId(bytes([n]) * 32)) for n in range(17)], 2),
    ],
)
def test_what_can_make_no_quorum_is_refused(named: list[Member], need: int) -> None:
    """Too few, too many, somebody twice, or a quorum of one."""
    with pytest.raises(UsageError):
        require_workable(named, need)


@given(members, st.integers(2, 8))
def test_what_is_workable_can_be_carried(named: list[Member], need: int) -> None:
    """Whatever is accepted as a charter can be carried by its members."""
    try:
        require_workable(named, need)
    except UsageError:
        return
    cast = [Ballot(one.station, True) for one in named]
    assert count(named, cast, proposer=named[0].station, need=need).standing is Standing.CARRIED
