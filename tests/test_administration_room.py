"""No administrator takes the room of the others, nor fills the disk of the relay."""

from pathlib import Path

import pytest

from medshare.relay import administration
from medshare.relay.administration import MAX_OPEN, room_for
from medshare.trust.charter import Charter
from medshare.trust.orders import Action, Administrator, Order
from medshare.trust.quorum import MAX_ADMINISTRATORS
from medshare.wire import problems
from medshare.wire.admin_bodies import MAX_LISTED, State
from tests.admin_case import (
    ANNA,
    BEN,
    CLEO,
    ENROLL,
    carried,
    charter_at,
    governed_case,
    proposal_of,
    proposed,
    put_proposal,
    put_vote,
    vote_of,
)

OTHERS = (Administrator(BEN.card), Administrator(CLEO.card))


def test_one_administrator_cannot_keep_the_others_from_proposing(tmp_path: Path) -> None:
    """Whoever fills all of his own room with proposals can still be voted out."""
    with governed_case(tmp_path / "relay") as case:
        for _ in range(room_for(charter_at(case.data))):
            proposed(case, ANNA, ENROLL)
        assert put_proposal(case, ANNA, proposal_of(case, ANNA, ENROLL)).code == problems.QUOTA
        without_anna = Order(Action.SET_ADMINISTRATORS, administrators=OTHERS, need=2)
        assert carried(case, without_anna, by=(BEN, CLEO)).state is State.DONE


def test_all_administrators_together_fit_into_one_list() -> None:
    """However many there are, each has room, and what they may have open is listed whole."""
    for number in range(2, MAX_ADMINISTRATORS + 1):
        room = room_for(Charter("relay", 0, 2, OTHERS[:1] * number))
        assert 1 <= room <= MAX_OPEN
        assert room * number <= MAX_LISTED


def test_an_administrator_cannot_fill_the_disk_with_proposals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that he rejects at once is kept all the same, so they are counted by the day."""
    monkeypatch.setattr(administration, "MAX_A_DAY", 4)
    with governed_case(tmp_path / "relay") as case:
        for _ in range(4):
            proposal = proposed(case, ANNA, ENROLL)
            put_vote(case, ANNA, vote_of(case, ANNA, proposal, approves=False))
        assert put_proposal(case, ANNA, proposal_of(case, ANNA, ENROLL)).code == problems.QUOTA
        proposed(case, BEN, ENROLL)
        case.now += 86400
        proposed(case, ANNA, ENROLL)
