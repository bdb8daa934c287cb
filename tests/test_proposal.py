"""Charters, proposals and votes: one encoding, strict readers, vectors that two readers pass."""

from dataclasses import replace

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from medshare.errors import CredentialError, FormatError, MedshareError, UsageError
from medshare.ids import ParcelId, StationId
from medshare.trust.charter import administrator_of, parse_charter
from medshare.trust.orders import (
    ALONE,
    MAX_CARD,
    SETTINGS,
    Action,
    Administrator,
    Order,
    parse_order,
)
from medshare.trust.proposal import (
    MAX_PROPOSAL,
    MAX_VOTE,
    fingerprint_of,
    parse_proposal,
    parse_vote,
    vote,
)
from medshare.wire import admin_bodies, routes
from medshare.wire.admin_bodies import Dossier, Overview, Result, State
from tests import certifier, independent_administration
from tests.builder import CREATED, Identity
from tests.scenarios import A, B, C
from tests.scenarios_administration import CHARTER, ORDERS, content, proposal, scenarios, stored

VECTORS = stored()
READERS = {"proposal": parse_proposal, "vote": parse_vote, "charter": parse_charter}
HONEST, DISHONEST = 12, 27

octet_strings = st.binary(min_size=32, max_size=32)
parcels = st.binary(min_size=16, max_size=16).map(ParcelId)
stations = octet_strings.map(StationId)
bounds = st.dictionaries(st.sampled_from(SETTINGS), st.integers(1, 1 << 62))
orders = st.one_of(
    st.builds(Order, st.just(Action.ENROLL), st.just(C.card), st.binary(max_size=64)),
    st.builds(Order, st.just(Action.REMOVE), station=stations),
    st.builds(Order, st.just(Action.WITHDRAW_GRANT), parcel=parcels, station=stations),
    st.builds(
        Order,
        st.sampled_from([Action.DELETE, Action.HOLD, Action.RELEASE_HOLD]),
        parcel=parcels,
    ),
    st.builds(Order, st.just(Action.SET_POLICY), settings=bounds),
)


def verdict(kind: str, data: bytes) -> str:
    """Return `success`, or the code of the error that reading ends in."""
    try:
        READERS[kind](data)
    except MedshareError as error:
        return error.code
    return "success"


def test_all_vectors_are_there_and_as_the_scenarios_say() -> None:
    """No vector is lost, and each states what its scenario states."""
    made = {one.name: one for one in scenarios()}
    assert made.keys() == VECTORS.keys()
    good = [one for one in VECTORS.values() if one.expect == "success"]
    assert (len(good), len(VECTORS) - len(good)) == (HONEST, DISHONEST)
    for name, one in made.items():
        assert (one.expect, one.spec) == (VECTORS[name].expect, VECTORS[name].spec)


@pytest.mark.parametrize("name", VECTORS)
def test_two_readers_end_as_stated(name: str) -> None:
    """The library, and a reader written from the page alone, agree with each vector."""
    kind, data = content(VECTORS[name])
    assert verdict(kind, data) == VECTORS[name].expect
    assert independent_administration.ends_in(kind, data) == VECTORS[name].expect


def test_two_readers_give_a_proposal_the_same_name() -> None:
    """What votes sign is computed alike from the page and by the library."""
    data = content(VECTORS["proposal-delete"])[1]
    found = parse_proposal(data)
    assert independent_administration.read_proposal(data) == (found.digest, A.station)


@given(orders)
def test_an_order_is_read_as_it_was_written(order: Order) -> None:
    """`parse_order` gives back what `arguments` made."""
    assert parse_order(str(order.action), order.arguments()) == order


@settings(max_examples=20)
@given(orders, st.booleans())
def test_a_proposal_and_a_vote_are_read_as_they_were_signed(order: Order, approves: bool) -> None:
    """Round trips, under the limits that the relay has for them."""
    made = proposal(order)
    assert parse_proposal(made.encoded) == made
    cast = vote(made, B.card, B.signers, approves=approves, now=CREATED)
    assert parse_vote(cast.encoded) == cast
    assert cast.content.proposal == made.digest
    assert len(made.encoded) <= MAX_PROPOSAL == routes.MAX_PROPOSAL
    assert len(cast.encoded) <= MAX_VOTE == routes.MAX_VOTE


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=300))
def test_anything_else_is_refused_in_a_documented_way(kind: str, data: bytes) -> None:
    """Arbitrary octets end in an error of ours."""
    with pytest.raises(MedshareError):
        READERS[kind](data)


@settings(max_examples=60)
@given(st.data())
def test_a_changed_octet_never_passes(data: st.DataObject) -> None:
    """Whatever octet of a signed proposal is changed, it is refused."""
    made = proposal(ORDERS[4]).encoded
    at = data.draw(st.integers(0, len(made) - 1))
    change = data.draw(st.integers(1, 255))
    with pytest.raises(MedshareError):
        parse_proposal(made[:at] + bytes([made[at] ^ change]) + made[at + 1 :])


def test_the_fingerprint_is_thirty_digits_and_follows_the_digest() -> None:
    """Six groups of five digits, other ones for every other proposal."""
    digits = fingerprint_of(bytes(32))
    assert [len(group) for group in digits.split()] == [5] * 6
    assert digits != fingerprint_of(bytes(31) + b"\1")


def test_a_charter_follows_from_a_proposal() -> None:
    """The next charter has the next number and says from which proposal it follows."""
    two = CHARTER.administrators[:2]
    following = CHARTER.following(two, 2, proposal=b"p" * 32)
    assert parse_charter(following.encode()) == following
    assert following.digest != CHARTER.digest
    assert following.administrator(C.station) is None


def test_only_a_hold_needs_no_second_administrator() -> None:
    """The list of what one may do alone is as long as the documentation says."""
    assert frozenset({Action.HOLD}) == ALONE


def test_a_card_without_a_certificate_counts_by_its_station() -> None:
    """No credential, no person: then the station is what counts once."""
    assert administrator_of(A.card, None) == Administrator(A.card)
    assert 8 * len(A.card.encoded) <= MAX_CARD


def certified(who: Identity, licence: str) -> x509.Certificate:
    """A certificate of the same authority for the station of *who*, with that licence."""
    return certifier.credential(
        subject=certifier.distinguished(cn=who.name, serial=licence),
        public=certifier.station_key(who).public_key(),
        parts=certifier.doctor_parts(who.card),
    )


def test_a_certificate_names_the_person_whatever_the_station() -> None:
    """Two stations with one licence are one person; another licence is another person."""
    first = administrator_of(A.card, certified(A, "110023"))
    second = administrator_of(B.card, certified(B, "110023"))
    third = administrator_of(C.card, certified(C, "110024"))
    assert len(first.person) == 32
    assert first.person == second.person != third.person
    with pytest.raises(CredentialError):
        administrator_of(B.card, certified(A, "110023"))
    with pytest.raises(FormatError, match="one person"):
        parse_charter(replace(CHARTER, administrators=(first, second, third)).encode())
    parse_charter(replace(CHARTER, administrators=(first, third)).encode())


states = st.sampled_from(State)
small = st.integers(0, 16)
words = st.text("abc.-", max_size=40)


@given(st.builds(Result, states, small, small, small, words))
def test_a_result_round_trips(result: Result) -> None:
    """What is answered to a vote is read as it was written."""
    assert admin_bodies.decode_result(admin_bodies.encode_result(result)) == result


@given(st.binary(max_size=40), bounds)
def test_an_overview_round_trips(charter: bytes, table: dict[str, int]) -> None:
    """Charter and settings are read as they were written."""
    made = Overview(charter, table)
    assert admin_bodies.decode_overview(admin_bodies.encode_overview(made)) == made


@given(st.lists(st.tuples(octet_strings, states), max_size=20))
def test_a_listing_round_trips(listing: list[tuple[bytes, State]]) -> None:
    """The list of proposals is read as it was written."""
    read = admin_bodies.decode_listing(admin_bodies.encode_listing(listing))
    assert read == tuple(listing)


@given(
    st.builds(
        Dossier,
        st.binary(max_size=40),
        st.lists(st.binary(max_size=40), max_size=5).map(tuple),
        states,
        st.integers(0, 1 << 37),
        words,
    )
)
def test_a_dossier_round_trips(dossier: Dossier) -> None:
    """A proposal with its votes is read as it was written."""
    assert admin_bodies.decode_dossier(admin_bodies.encode_dossier(dossier)) == dossier


DECODERS = (
    admin_bodies.decode_result,
    admin_bodies.decode_overview,
    admin_bodies.decode_listing,
    admin_bodies.decode_dossier,
)


@given(st.sampled_from(DECODERS), st.binary(max_size=200))
def test_what_is_no_body_is_refused(decode: object, data: bytes) -> None:
    """Arbitrary octets from a relay end in FormatError, and in nothing else."""
    assert callable(decode)
    with pytest.raises(FormatError):
        decode(data)


def test_the_body_of_many_proposals_is_within_its_limit() -> None:
    """A full list, and a full dossier, fit the limits of their decoders."""
    full = [(bytes([n] * 32), State.REJECTED) for n in range(admin_bodies.MAX_LISTED)]
    assert len(admin_bodies.decode_listing(admin_bodies.encode_listing(full))) == len(full)
    votes = (bytes(MAX_VOTE),) * admin_bodies.MAX_VOTES
    dossier = Dossier(bytes(MAX_PROPOSAL), votes, State.DONE, CREATED)
    assert admin_bodies.decode_dossier(admin_bodies.encode_dossier(dossier)) == dossier


def test_a_charter_of_unworkable_members_is_refused() -> None:
    """What could make no quorum is no charter, whoever wrote it."""
    for changed in (replace(CHARTER, need=1), replace(CHARTER, administrators=())):
        with pytest.raises((FormatError, UsageError)):
            parse_charter(changed.encode())
