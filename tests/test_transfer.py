"""The state machine that decides which chunk moves next."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from medshare.transfer import MAX_DELAY, DamageReport, Growth, Patience, WorkList


def test_resume_is_a_set_difference() -> None:
    """What is done already is never offered again, whatever is asked for."""
    work = WorkList(5, done=[0, 3])
    work.offer(range(5))
    assert [work.take() for _ in range(4)] == [1, 2, 4, None]


def test_failed_chunk_is_next_in_line() -> None:
    """A chunk that did not move comes before all that wait."""
    work = WorkList(3)
    work.offer(range(3))
    first = work.take()
    assert first == 0
    work.failed(first)
    assert work.take() == 0


def test_withdrawn_chunk_comes_back_only_when_offered() -> None:
    """A chunk that is not to be had is neither queued nor moving until it is offered anew."""
    work = WorkList(1)
    work.offer([0])
    assert work.take() == 0
    work.withdraw(0)
    assert work.take() is None
    work.offer([0])
    assert work.take() == 0


class WorkListMachine(RuleBasedStateMachine):
    """For every order of events, each chunk is in at most one place and moves once."""

    def __init__(self) -> None:
        super().__init__()
        self.work = WorkList(6)
        self.moving: set[int] = set()
        self.done: set[int] = set()

    @rule(indexes=st.lists(st.integers(0, 5), max_size=8))
    def offer(self, indexes: list[int]) -> None:
        self.work.offer(indexes)

    @rule()
    def take(self) -> None:
        index = self.work.take()
        if index is not None:
            assert index not in self.moving
            assert index not in self.done
            self.moving.add(index)

    @precondition(lambda self: self.moving)
    @rule(data=st.data(), how=st.sampled_from(["done", "failed", "withdraw"]))
    def settle(self, data: st.DataObject, how: str) -> None:
        index = data.draw(st.sampled_from(sorted(self.moving)))
        self.moving.discard(index)
        getattr(self.work, how)(index)
        if how == "done":
            self.done.add(index)

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted(self.done)))
        self.done.discard(index)
        self.work.lost(index)

    @invariant()
    def agrees(self) -> None:
        assert self.work.done_count == len(self.done)
        assert self.work.moving_count == len(self.moving)
        assert self.work.finished == (len(self.done) == 6)
        assert self.work.missing() == [i for i in range(6) if i not in self.done]


TestWorkList = WorkListMachine.TestCase


@given(attempt=st.integers(0, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_delay_is_bounded(attempt: int, jitter: float) -> None:
    """However often something failed, the pause is positive and bounded."""
    delay = Patience().delay(attempt, jitter=jitter)
    assert 0 < delay <= MAX_DELAY + 1


def test_patience_ends() -> None:
    """Giving up depends on the time without success alone."""
    patience = Patience(give_up_after=10)
    assert not patience.exhausted(since_success=9.9)
    assert patience.exhausted(since_success=10)


def test_a_far_side_that_never_answered_is_given_up_sooner() -> None:
    """Before the first answer, patience is short: the address may be wrong."""
    patience = Patience(give_up_after=300, first_contact=30)
    assert patience.exhausted(since_success=30, answered=False)
    assert not patience.exhausted(since_success=30, answered=True)


def test_damage_escalates_and_an_intact_arrival_forgives() -> None:
    """Damaged twice: ask for a replacement; four times: hopeless; intact: forgotten."""
    report = DamageReport()
    counts = [report.damaged(7) for _ in range(4)]
    assert [report.must_be_replaced(count) for count in counts] == [False, True, True, True]
    assert [report.is_hopeless(count) for count in counts] == [False, False, False, True]
    report.intact(7)
    assert report.damaged(7) == 1


def _run(
    growth: Growth, rate_of: dict[int, float], seconds: int, cpu: float = 0.1, since: int = 0
) -> list[int]:
    """Feed *growth* with the octets that a line moves with so many workers; return the sizes."""
    octets, sizes = since * 200.0, []
    for second in range(since, since + seconds):
        sizes.append(growth.next(octets=int(octets), cpu_share=cpu, now=float(second)))
        octets += min(rate_of.get(sizes[-1], 0.0) or 10.0 * sizes[-1], 200.0)
    return sizes


def test_workers_grow_while_that_moves_more() -> None:
    """On a line where each connection adds its share, the number grows to where it stops."""
    sizes = _run(Growth(4, 32), {}, 12)
    assert sizes == sorted(sizes)
    assert max(sizes) >= 20


def test_workers_stay_where_more_does_not_help() -> None:
    """On a line that is full already, one step is tried and no more for a while."""
    flat = dict.fromkeys(range(1, 33), 50.0)
    assert max(_run(Growth(4, 32), flat, 12)) == 8


def test_workers_grow_when_the_line_gets_worse() -> None:
    """A full line needs no more of them, for however long; one that begins to lose does."""
    growth = Growth(4, 32)
    assert max(_run(growth, dict.fromkeys(range(1, 33), 200.0), 200)) == 8
    worse = _run(growth, {}, 60, since=200)
    assert (worse[0], worse[-1]) == (8, 32)


def test_workers_do_not_grow_while_the_cores_are_busy() -> None:
    """When the processor is the limit, more workers would only take memory."""
    assert set(_run(Growth(4, 32), {}, 12, cpu=0.9)) == {4}


def test_a_fixed_number_of_workers_never_grows() -> None:
    """A user who names a number gets it."""
    assert set(_run(Growth(3, 0), {}, 12)) == {3}
