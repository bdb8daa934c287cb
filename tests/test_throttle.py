"""The rate limit: a schedule, without a clock of its own."""

from hypothesis import given
from hypothesis import strategies as st

from medshare.transfer import Throttle

RATE = 1000
SIZES = st.lists(st.integers(1, 10_000), min_size=1, max_size=50)


@given(SIZES, st.floats(0, 1e6))
def test_no_more_than_the_rate_goes_out(sizes: list[int], begun: float) -> None:
    """Whoever waits as told sends each octet after its turn has come, and not a moment later."""
    throttle, now, sent = Throttle(RATE), begun, 0
    for size in sizes:
        now += throttle.delay(size, now=now)
        assert abs((now - begun) * RATE - sent) <= 1e-3 * (1 + sent)
        sent += size


@given(SIZES)
def test_several_senders_share_it(sizes: list[int]) -> None:
    """Threads that ask at the same moment get turns one after the other."""
    throttle = Throttle(RATE)
    turns = [throttle.delay(size, now=0.0) for size in sizes]
    expected = [sum(sizes[:at]) / RATE for at in range(len(sizes))]
    assert all(abs(a - b) < 1e-6 for a, b in zip(turns, expected, strict=True))


def test_a_pause_is_not_saved_up() -> None:
    """After an idle hour the rate is what it was; the hour does not go out at once."""
    throttle = Throttle(RATE)
    throttle.delay(1000, now=0.0)
    assert throttle.delay(1000, now=3600.0) == 0.0
    assert throttle.delay(1000, now=3600.0) == 1.0


@given(SIZES)
def test_no_limit_never_waits(sizes: list[int]) -> None:
    """Without a rate nobody waits."""
    throttle = Throttle(None)
    assert [throttle.delay(size, now=5.0) for size in sizes] == [0.0] * len(sizes)
