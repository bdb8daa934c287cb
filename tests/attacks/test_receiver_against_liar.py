"""A receiver and a relay that lies: whatever it says, nothing wrong passes for a study."""

import tracemalloc
from collections.abc import Iterator

import pytest

from tests.attacks.lies import EXCHANGED, Attack, altered
from tests.attacks.lies_of_protocol import FLOODS, HEADS, SILENCE, STATUSES
from tests.attacks.lies_of_state import STATES
from tests.attacks.stage import STALL, TALKATIVE, Stage, opened_stage

pytestmark = pytest.mark.service

MAX_TAKEN = 64 << 20
"""Octets that sockets and their buffers take before a client has closed, all tries together."""
MAX_MEMORY = 32 << 20


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Stations, a relay and a liar."""
    with opened_stage(tmp_path_factory.mktemp("stage")) as found:
        yield found


def by_name(attacks: list[Attack]) -> pytest.MarkDecorator:
    """Try each of *attacks* by its name."""
    return pytest.mark.parametrize("attack", attacks, ids=lambda attack: attack.name)


def hold(stage: Stage, attack: Attack, *, stall: float = STALL) -> None:
    """Carry *attack* out and require one of its answers."""
    stage.stall = stall
    ended = stage.attack_receiver(attack.make)
    assert ended.answer.startswith(attack.answers), (ended.answer, ended.error)


@by_name(altered())
def test_what_is_altered_is_refused_or_fetched_again(stage: Stage, attack: Attack) -> None:
    """Bits flipped, cut, appended: no altered octet gets under a final name."""
    hold(stage, attack, stall=TALKATIVE)


@by_name(EXCHANGED)
def test_what_is_exchanged_is_refused(stage: Stage, attack: Attack) -> None:
    """Genuine octets in another place than their own are refused."""
    hold(stage, attack, stall=TALKATIVE)


@by_name(STATES)
def test_lies_about_what_is_there(stage: Stage, attack: Attack) -> None:
    """Withheld, denied, rolled back or made up: found, or said to be incomplete."""
    hold(stage, attack)


@by_name(STATUSES + HEADS)
def test_lies_in_statuses_and_headers(stage: Stage, attack: Attack) -> None:
    """An answer that the protocol does not have is no answer."""
    hold(stage, attack)


@by_name(SILENCE)
def test_silence_ends(stage: Stage, attack: Attack) -> None:
    """Whoever stops talking, at any point, is given up; nobody waits for ever."""
    hold(stage, attack)


@by_name(FLOODS)
def test_floods_are_not_taken(stage: Stage, attack: Attack) -> None:
    """More than was asked for is neither read, nor kept in memory, nor on disk."""
    tracemalloc.start()
    try:
        hold(stage, attack)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MAX_MEMORY
    used = sum(path.stat().st_blocks * 512 for path in stage.folder.rglob("*") if path.is_file())
    assert used < MAX_MEMORY
