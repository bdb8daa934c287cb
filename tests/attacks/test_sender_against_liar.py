"""A sender and a relay that lies: it is never told `delivered` before it is true."""

from collections.abc import Iterator

import pytest

from tests.attacks.lies import on, state_with
from tests.attacks.lies_of_state import both
from tests.attacks.lies_to_senders import RECEIPTS, UPLOADS, Attack
from tests.attacks.lying_relay import Exchange, Said, honest
from tests.attacks.stage import STALL, TALKATIVE, Stage, opened_stage

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Stations, a relay and a liar."""
    with opened_stage(tmp_path_factory.mktemp("stage")) as found:
        yield found


@pytest.mark.parametrize("attack", UPLOADS, ids=lambda attack: attack.name)
def test_lies_about_what_was_sent(stage: Stage, attack: Attack) -> None:
    """Dropped, altered, exchanged, refused: noticed, or mended by the next honest run."""
    stage.stall = STALL
    ended = stage.attack_sender(attack.make, wait=attack.wait)
    assert ended.answer.startswith(attack.answers), (ended.answer, ended.error)


@pytest.mark.parametrize("attack", RECEIPTS, ids=lambda attack: attack.name)
def test_receipts_that_prove_nothing(stage: Stage, attack: Attack) -> None:
    """Replayed, forged or invented: no receipt is believed but the recipient's for this seal."""
    stage.stall = TALKATIVE
    ended = stage.attack_sender(attack.make)
    assert ended.answer.startswith(attack.answers), (ended.answer, ended.error)


def test_one_recipient_does_not_sign_for_another(stage: Stage) -> None:
    """Carol's genuine receipt for this very parcel, served as Bob's, is refused."""
    study = stage.study("two readers")
    parcel = stage.send(study, to=("bob", "carol")).parcel
    stage.receive(parcel, stage.folder / "out-of-carol", by=stage.carol)
    bob, carol = stage.bob.station.id, stage.carol.station.id

    def as_bobs(x: Exchange) -> Said:
        path = stage.relay.folder(parcel) / "receipts" / carol.hex()
        return Said(200, path.read_bytes())

    claims = state_with(receipts=tuple(sorted((bob, carol))))
    stage.liar.be(both(claims, on("get-receipt", as_bobs), "get-state"))
    try:
        ended = stage.attempt(lambda: stage.send(study, to=("bob", "carol")))
    finally:
        stage.liar.be(honest)
    assert ended.answer.startswith("authenticity"), ended.error
