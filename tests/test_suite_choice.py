"""Which suite a parcel gets, which a reader takes, and what is refused instead of downgraded."""

from dataclasses import replace

import pytest

from medshare.envelope import Envelope, parse_envelope
from medshare.errors import PolicyError
from medshare.trust.suite_choice import (
    ALL_SUITES,
    choose_suite,
    keys_to_seal_to,
    require_acceptable,
    suites_of,
)
from tests.builder import Identity, make_identity, make_parcel

INTL, OTHER = make_identity("intl one"), make_identity("intl two")
GM, SECOND = make_identity("gm one", "gm"), make_identity("gm two", "gm")
BOTH, TWIN = make_identity("both one", "gm+intl"), make_identity("both two", "gm+intl")
ONLY_INTL, ONLY_GM, NONE = frozenset({"intl"}), frozenset({"gm"}), frozenset[str]()


def test_a_card_tells_its_suites() -> None:
    """A suite is a card's when it has keys of it both to sign with and to seal to."""
    assert suites_of(INTL.card) == ("intl",)
    assert suites_of(GM.card) == ("gm",)
    assert suites_of(BOTH.card) == ("intl", "gm")
    halves = replace(INTL.card.current, kem_keys=GM.card.current.kem_keys)
    assert suites_of(replace(INTL.card, generations=(halves,))) == ()


@pytest.mark.parametrize(
    ("sender", "recipients", "allowed", "mixed", "suite"),
    [
        (INTL, [OTHER], ALL_SUITES, False, "intl"),
        (GM, [SECOND], ALL_SUITES, False, "gm"),
        (GM, [], ALL_SUITES, False, "gm"),
        (BOTH, [INTL], ALL_SUITES, False, "intl"),
        (BOTH, [GM], ALL_SUITES, False, "gm"),
        (BOTH, [TWIN], ALL_SUITES, False, "gm"),
        (BOTH, [TWIN], ONLY_INTL, False, "intl"),
        (INTL, [BOTH], ALL_SUITES, False, "intl"),
        (INTL, [BOTH, OTHER], ONLY_INTL, False, "intl"),
        (INTL, [GM], ALL_SUITES, True, "intl"),
        (INTL, [GM], ONLY_GM, True, "gm"),
        (BOTH, [INTL, GM], ONLY_INTL, True, "intl"),
        (GM, [SECOND], ONLY_INTL, True, "intl"),
    ],
)
def test_the_suite_follows_the_cards(
    sender: Identity, recipients: list[Identity], allowed: frozenset[str], mixed: bool, suite: str
) -> None:
    """One of which all have keys comes first, the sender's own before others."""
    cards = [one.card for one in recipients]
    assert choose_suite(sender.card, cards, allowed, mixed=mixed) == suite


@pytest.mark.parametrize(
    ("sender", "recipients", "allowed", "mixed"),
    [
        (INTL, [GM], ALL_SUITES, False),
        (GM, [SECOND, INTL], ALL_SUITES, False),
        (BOTH, [INTL, GM], ALL_SUITES, False),
        (INTL, [OTHER], ONLY_GM, False),
        (GM, [SECOND], ONLY_INTL, False),
        (GM, [SECOND], NONE, True),
        (GM, [SECOND], frozenset({"later"}), True),
    ],
)
def test_no_suite_is_better_than_another_one(
    sender: Identity, recipients: list[Identity], allowed: frozenset[str], mixed: bool
) -> None:
    """Where none that is allowed serves all, nothing is sealed."""
    with pytest.raises(PolicyError, match="no suite"):
        choose_suite(sender.card, [one.card for one in recipients], allowed, mixed=mixed)


def test_a_refusal_names_who_does_not_fit() -> None:
    """The message says which station has other keys, so that a person can act."""
    with pytest.raises(PolicyError, match="'intl one' has intl"):
        choose_suite(GM.card, [SECOND.card, INTL.card], ONLY_GM, mixed=False)


def test_a_key_is_wrapped_to_keys_of_the_suite_where_there_are_such() -> None:
    """A card with both families gets one wrap, a card with the other family alone its own."""
    hybrid, curve = BOTH.card.current.kem_keys
    assert keys_to_seal_to(BOTH.card, "intl") == (hybrid,)
    assert keys_to_seal_to(BOTH.card, "gm") == (curve,)
    assert keys_to_seal_to(INTL.card, "gm") == INTL.card.current.kem_keys


def envelope(sender: Identity, recipient: Identity, suite: str | None = None) -> Envelope:
    """Return the envelope of a parcel."""
    parcel = make_parcel({"x": b"x"}, sender=sender, recipients=[recipient], suite=suite)
    return parse_envelope(parcel.envelope)


@pytest.mark.parametrize(
    ("sender", "reader", "suite"),
    [(INTL, OTHER, "intl"), (GM, SECOND, "gm"), (BOTH, GM, "gm"), (INTL, BOTH, "intl")],
)
def test_a_reader_takes_the_suites_of_its_card(
    sender: Identity, reader: Identity, suite: str
) -> None:
    """Without more being said, what is of one family throughout is taken."""
    require_acceptable(envelope(sender, reader, suite), reader.card)


@pytest.mark.parametrize(
    ("sender", "reader", "suite", "allowed"),
    [
        (INTL, GM, "intl", None),  # a downgrade: whoever has gm alone gets intl
        (GM, INTL, "gm", None),
        (INTL, GM, "gm", None),  # the content as demanded, the signature not
        (GM, BOTH, "intl", None),
        (INTL, BOTH, "intl", ONLY_GM),
        (GM, SECOND, "gm", NONE),
    ],
)
def test_a_reader_refuses_what_is_of_another_family(
    sender: Identity, reader: Identity, suite: str, allowed: frozenset[str] | None
) -> None:
    """Neither the suite nor the keys beside it may be others than those the reader takes."""
    found = envelope(sender, reader, suite)
    with pytest.raises(PolicyError):
        require_acceptable(found, reader.card, allowed)


def test_a_wrap_of_another_family_is_refused() -> None:
    """Suite and signature as demanded, but the key wrapped to the reader's other key: no."""
    found = envelope(BOTH, TWIN, "gm")
    foreign = envelope(BOTH, TWIN, "intl").stanzas_for(TWIN.station)
    with pytest.raises(PolicyError, match="other keys"):
        require_acceptable(replace(found, recipients=foreign), TWIN.card)
    unknown = replace(foreign[0], algorithm="later")
    require_acceptable(replace(found, recipients=(unknown,)), TWIN.card)


@pytest.mark.parametrize("suite", ["intl", "gm"])
@pytest.mark.parametrize(("sender", "reader"), [(INTL, GM), (GM, INTL)])
def test_what_is_mixed_is_taken_where_that_is_allowed(
    sender: Identity, reader: Identity, suite: str
) -> None:
    """Who says so takes keys of both families, in the suite that was named and no other."""
    found = envelope(sender, reader, suite)
    require_acceptable(found, reader.card, frozenset({suite}), mixed=True)
    with pytest.raises(PolicyError):
        require_acceptable(found, reader.card, ALL_SUITES - {suite}, mixed=True)
