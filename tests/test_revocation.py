"""Revocations: what a station declares in its card, and what others then refuse."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import AuthenticityError, FormatError, RevokedError
from medshare.station import Contacts
from medshare.trust.card import Card, issue, parse_card
from medshare.trust.revocation import Revocation, parse_revocation
from medshare.wire import routes
from medshare.wire.bodies import inbox_query
from medshare.wire.routes import Target
from tests.builder import CREATED, Identity, make_identity, make_parcel
from tests.relay_case import Case, open_case, rotated, signed
from tests.suites.transport_suite import ALICE, BOB

LOST = Revocation(through=0, since=CREATED - 10)
AFTER = rotated(ALICE, revoked=LOST)
OWN = make_identity("own")


@given(
    through=st.integers(0, 254),
    since=st.integers(0, 2**33),
    reason=st.from_regex(r"[a-z](?:[a-z-]{0,30}[a-z])?", fullmatch=True),
)
def test_a_revocation_comes_back(through: int, since: int, reason: str) -> None:
    """What stands in a card is read as what was declared."""
    declared = Revocation(through, since, reason)
    found = parse_revocation(declared.to_value(), generation=through + 1, created=since)
    assert found == declared


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"reason": "lost", "since": 1},
        {"reason": "lost", "since": 1, "through": 0, "more": 1},
        {"reason": "", "since": 1, "through": 0},
        {"reason": "Lost key", "since": 1, "through": 0},
        {"reason": "a" * 33, "since": 1, "through": 0},
        {"reason": "lost", "since": -1, "through": 0},
        {"reason": "lost", "since": 101, "through": 0},
        {"reason": "lost", "since": 1, "through": 5},
        {"reason": "lost", "since": 1, "through": True},
    ],
)
def test_a_malformed_revocation_is_refused(value: Any) -> None:
    """Missing, unknown and impossible fields are refused; so is revoking oneself."""
    with pytest.raises(FormatError):
        parse_revocation(value, generation=5, created=100)


def test_a_card_carries_its_revocation() -> None:
    """It is part of what the new and the old keys sign, and survives the file."""
    card = parse_card(AFTER.card.encoded)
    assert card.current.revoked == LOST
    assert card.revocation_of(ALICE.card.current.sign_keys) == LOST
    assert card.revocation_of(card.current.sign_keys) is None
    assert card.revocation_of(BOB.card.current.sign_keys) is None
    assert card.continues(ALICE.card)


def test_a_later_revocation_covers_all_before_it() -> None:
    """A generation in the middle is covered too; the first date counts where two say so."""
    second = rotated(AFTER)
    third = rotated(second, revoked=Revocation(through=2, since=CREATED))
    assert third.card.revocation_of(ALICE.card.current.sign_keys) == LOST
    found = third.card.revocation_of(second.card.current.sign_keys)
    assert found is not None
    assert (found.through, found.since) == (2, CREATED)


def test_a_card_does_not_go_back_to_revoked_keys() -> None:
    """No generation may show a key that was revoked, to sign with or to seal to."""
    newest, first = AFTER.card.current, ALICE.card.current
    back: tuple[dict[str, Any], ...] = (
        {"sign_keys": first.sign_keys},
        {"kem_keys": first.kem_keys},
    )
    for keys in back:
        generation = replace(newest, number=2, revoked=None, **keys)
        signers = ALICE.signers if "sign_keys" in keys else AFTER.signers
        with pytest.raises(RevokedError, match="goes back"):
            issue(generation, signers, before=AFTER.card, old=AFTER.signers)


def test_the_present_keys_cannot_be_in_what_they_revoke() -> None:
    """A generation that revokes the one before it has other keys than that one."""
    generation = replace(AFTER.card.current, kem_keys=ALICE.card.current.kem_keys)
    with pytest.raises(RevokedError):
        issue(generation, AFTER.signers, before=ALICE.card, old=ALICE.signers)


def forked() -> Card:
    """Return a card that a thief of Alice's first keys makes to continue her first card."""
    return rotated(ALICE, "thief").card


def test_a_card_signed_by_a_revoked_key_is_refused(tmp_path: Path) -> None:
    """Whoever knows the revocation is told that the other card is forged, not merely odd."""
    contacts = Contacts(tmp_path / "contacts", OWN.station)
    contacts.add(ALICE.card, name="alice", now=1)
    contacts.add(AFTER.card, name=None, now=2)
    with pytest.raises(RevokedError, match="signed with keys that its station has revoked"):
        contacts.add(forked(), name=None, now=3)
    assert contacts.named("alice").card == AFTER.card


def test_a_fork_without_a_revocation_is_only_suspicious(tmp_path: Path) -> None:
    """After an ordinary rotation a second continuation is refused in other words."""
    contacts = Contacts(tmp_path / "contacts", OWN.station)
    contacts.add(rotated(ALICE).card, name="alice", now=1)
    with pytest.raises(AuthenticityError, match="does not continue") as caught:
        contacts.add(forked(), name=None, now=3)
    assert not isinstance(caught.value, RevokedError)


def test_a_revoked_contact_stays_so_until_somebody_says_otherwise(tmp_path: Path) -> None:
    """A distrusted contact is refused in every process, also after it brings a newer card."""
    contacts = Contacts(tmp_path / "contacts", OWN.station)
    contacts.add(ALICE.card, name="alice", now=1).require_trusted()
    contacts.distrust("alice", now=5)
    contacts.add(AFTER.card, name=None, now=6)
    again = Contacts(tmp_path / "contacts", OWN.station)
    found = again.named("alice")
    assert (found.distrusted_at, found.trusted_at, found.card) == (5, 1, AFTER.card)
    with pytest.raises(RevokedError, match="not trusted here any more"):
        found.require_trusted()
    again.trust_again("alice").require_trusted()
    contacts.named("alice").require_trusted()


@pytest.mark.parametrize(
    ("made", "known_before", "believed"),
    [
        (LOST.since - 1, True, True),
        (LOST.since, True, False),
        (LOST.since - 1, False, False),
        (LOST.since + 1, False, False),
    ],
)
def test_a_date_alone_excuses_nothing(*, made: int, known_before: bool, believed: bool) -> None:
    """Only what was accepted before, and made before the keys were lost, is still believed."""
    assert LOST.excuses(made=made, known_before=known_before) is believed


# --- at the relay -----------------------------------------------------------------------


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    """An open relay that knows Alice's first card."""
    with open_case(tmp_path / "relay") as found:
        yield found


def status(case: Case, by: Identity) -> int:
    """Return what the relay answers when *by* asks for its inbox."""
    request = signed(by, Target(routes.INBOX), query=inbox_query(0), created=case.now)
    return case.ask(request).status


def test_a_relay_refuses_requests_signed_by_a_revoked_generation(case: Case) -> None:
    """From the moment the new card is there, the revoked key neither asks nor brings cards."""
    assert status(case, ALICE) == 200
    put = Target(routes.PUT_CARD)
    assert case.ask(signed(AFTER, put, AFTER.card.encoded)).status == 204
    assert (status(case, ALICE), status(case, AFTER)) == (401, 200)
    thief = replace(ALICE, card=forked())
    assert case.ask(signed(thief, put, thief.card.encoded)).status == 401
    assert status(case, AFTER) == 200


def test_a_relay_takes_no_new_parcel_signed_with_revoked_keys(case: Case) -> None:
    """What was announced before stays; a further envelope with the old signature is refused."""
    before = make_parcel({"a": b"1"}, sender=ALICE, recipients=[BOB], label="before")
    announce = Target(routes.PUT_ENVELOPE, before.id)
    assert case.ask(signed(ALICE, announce, before.envelope)).status == 200
    case.ask(signed(AFTER, Target(routes.PUT_CARD), AFTER.card.encoded))
    assert case.ask(signed(AFTER, announce, before.envelope)).status == 200
    after = make_parcel({"a": b"2"}, sender=ALICE, recipients=[BOB], label="after")
    refused = case.ask(signed(AFTER, Target(routes.PUT_ENVELOPE, after.id), after.envelope))
    assert (refused.status, refused.code) == (403, "access.denied")
