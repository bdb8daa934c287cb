"""Rate limits, timetables and the choice of effort: decisions without a clock of their own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.codecs import Effort
from medshare.errors import UsageError
from medshare.pace import DAY, Balance, Stage, Throttle, Timetable

RATE = 1000
SIZES = st.lists(st.integers(1, 10_000), min_size=1, max_size=50)
MINUTES = st.integers(0, DAY - 1)
ENTRIES = st.dictionaries(MINUTES, st.none() | st.integers(1, 10**9), min_size=1, max_size=8)


def waited(throttle: Throttle, size: int, now: float, rate: int | None) -> float:
    """Return the moment at which somebody who asks at *now* may send."""
    ticket = throttle.ask(size, now=now, rate=rate)
    return now + throttle.wait(ticket, now=now, rate=rate)


@given(SIZES, st.floats(0, 1e6))
def test_no_more_than_the_rate_goes_out(sizes: list[int], begun: float) -> None:
    """Whoever waits as told sends each octet after its turn has come, and not a moment later."""
    throttle, now, sent = Throttle(), begun, 0
    for size in sizes:
        now = waited(throttle, size, now, RATE)
        assert abs((now - begun) * RATE - sent) <= 1e-3 * (1 + sent)
        sent += size


@given(SIZES)
def test_several_senders_share_it(sizes: list[int]) -> None:
    """Threads that ask at the same moment get turns one after the other."""
    throttle = Throttle()
    turns = [waited(throttle, size, 0.0, RATE) for size in sizes]
    expected = [sum(sizes[:at]) / RATE for at in range(len(sizes))]
    assert all(abs(a - b) < 1e-6 for a, b in zip(turns, expected, strict=True))


def test_a_pause_is_not_saved_up() -> None:
    """After an idle hour the rate is what it was; the hour does not go out at once."""
    throttle = Throttle()
    waited(throttle, 1000, 0.0, RATE)
    assert waited(throttle, 1000, 3600.0, RATE) == 3600.0
    assert waited(throttle, 1000, 3600.0, RATE) == 3601.0


@given(SIZES)
def test_no_limit_never_waits(sizes: list[int]) -> None:
    """Without a rate nobody waits."""
    throttle = Throttle()
    assert [waited(throttle, size, 5.0, None) for size in sizes] == [5.0] * len(sizes)


def test_a_rate_that_changes_holds_from_then_on() -> None:
    """Who waits under one rate goes on under the next, and at once when there is none any more."""
    throttle = Throttle()
    throttle.ask(10_000, now=0.0, rate=RATE)
    ticket = throttle.ask(1, now=0.0, rate=RATE)
    assert throttle.wait(ticket, now=0.0, rate=RATE) == 10.0
    assert throttle.wait(ticket, now=5.0, rate=10 * RATE) == 0.0  # the last five at ten times
    throttle.ask(1, now=5.0, rate=1)
    ticket = throttle.ask(1, now=5.0, rate=1)
    assert throttle.wait(ticket, now=5.0, rate=1) == 1.0
    assert throttle.wait(ticket, now=5.0, rate=None) == 0.0


@given(ENTRIES, MINUTES)
def test_an_entry_holds_until_the_next(entries: dict[int, int | None], minute: int) -> None:
    """The rate of a minute is that of the last entry before it, be it on the day before."""
    table = Timetable(tuple(sorted(entries.items())))
    back = next(ago for ago in range(DAY) if (minute - ago) % DAY in entries)
    assert table.rate(minute) == entries[(minute - back) % DAY]


@given(MINUTES, st.none() | st.integers(1, 10**9))
def test_one_rate_holds_all_day(minute: int, rate: int | None) -> None:
    """A limit without times, or none, is the same at every minute."""
    assert Timetable.of(rate).rate(minute) == rate
    assert Timetable.of(Timetable.of(rate)).rate(minute) == rate


@pytest.mark.parametrize(
    "entries",
    [(), ((5, 1), (5, 2)), ((6, 1), (5, 2)), ((DAY, 1),), ((-1, 1),), ((0, 0),)],
    ids=["none", "twice", "backwards", "tomorrow", "yesterday", "nothing"],
)
def test_a_timetable_that_makes_no_sense_is_refused(
    entries: tuple[tuple[int, int | None], ...],
) -> None:
    """Times ascend within one day, and a rate lets something pass."""
    with pytest.raises(UsageError):
        Timetable(entries)


@given(st.lists(st.tuples(st.floats(0.01, 1), st.integers(1, 1000)), min_size=1, max_size=40))
def test_idle_time_does_not_count(steps: list[tuple[float, int]]) -> None:
    """What is done in a second is that of the seconds in which somebody was at it."""
    stage, now = Stage(), 0.0
    for seconds, _ in steps:
        stage.begin(now=now)
        stage.end(int(1e6 * seconds), now=now + seconds)
        now += seconds + 100.0
    assert stage.rate == pytest.approx(1e6, rel=1e-3)


def test_those_who_work_at_once_share_the_time() -> None:
    """Two that do as much each in the same second do twice as much a second."""
    stage = Stage()
    assert stage.rate is None
    for _ in range(2):
        stage.begin(now=0.0)
    for _ in range(2):
        stage.end(500, now=1.0)
    assert stage.rate == 1000.0


def efforts(balance: Balance, packs: float, carries: float, most: float | None = None) -> set[str]:
    """Return what is chosen, in the long run, where packing and line move so much a second."""
    chosen = []
    for at in range(60):
        effort = balance.choose(most)
        chosen.append(effort.value)
        speed = {Effort.FASTEST: 1.8, Effort.BALANCED: 1.0, Effort.SMALLEST: 0.8}[effort]
        size = {Effort.FASTEST: 1.2, Effort.BALANCED: 1.0, Effort.SMALLEST: 1.0}[effort]
        for stage, rate in ((balance.packing, packs * speed), (balance.line, carries / size)):
            stage.begin(now=10.0 * at)
            stage.end(int(rate), now=10.0 * at + 1)
    return set(chosen[10:])


@pytest.mark.parametrize(
    ("packs", "carries", "effort"),
    [
        (300e6, 2000e6, "fastest"),
        (300e6, 320e6, "fastest"),
        (300e6, 250e6, "balanced"),
        (300e6, 60e6, "balanced"),
        (300e6, 30e6, "smallest"),
    ],
)
def test_effort_is_what_the_line_leaves_time_for(packs: float, carries: float, effort: str) -> None:
    """A line faster than packing gets the least effort, a slow one the most; neither flutters."""
    assert efforts(Balance(), packs, carries) == {effort}


def test_a_rate_limit_counts_as_a_slow_line() -> None:
    """Where the user wants little to go out, there is time to make it little."""
    assert efforts(Balance(), 300e6, 2000e6, most=10e6) == {"smallest"}
