"""Cards at the relay: enrolling, rotating keys, and what may not pass for either."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from medshare.errors import NotFoundError, RelayRefusedError, StorageError
from medshare.ids import ParcelId
from medshare.relay.enrolment import Stations
from medshare.trust.card import Card
from medshare.wire import problems, routes
from medshare.wire.bodies import inbox_query
from medshare.wire.routes import MAX_CARD_BODY, Target
from tests.builder import Identity, make_identity, octets
from tests.relay_case import Case, Request, open_case, rotated, signed
from tests.suites.transport_suite import ALICE, BOB

PUT = Target(routes.PUT_CARD)


NEWER = rotated(ALICE)
NEWEST = rotated(NEWER)


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    """An open relay that knows Alice's first card."""
    with open_case(tmp_path / "relay") as found:
        yield found


def put_card(card: Card, by: Identity) -> Request:
    """Return a request with *card*, signed by the newest key of *by*."""
    return signed(by, PUT, card.encoded)


def may_ask(case: Case, identity: Identity) -> bool:
    """Tell whether the relay admits *identity*."""
    request = signed(identity, Target(routes.INBOX), query=inbox_query(0), created=case.now)
    return case.ask(request).status == 200


@pytest.mark.parametrize("by", [ALICE, NEWER], ids=["key before", "newest key"])
def test_a_rotated_key_takes_effect(case: Case, by: Identity) -> None:
    """A card that continues the enrolled one replaces it; from then on only its key signs."""
    assert may_ask(case, ALICE)
    assert not may_ask(case, NEWER)
    assert case.ask(put_card(NEWER.card, by)).status == 204
    assert may_ask(case, NEWER)
    assert not may_ask(case, ALICE)


def test_several_rotations_may_have_been_missed(case: Case) -> None:
    """A card two generations ahead is taken, and shows its own key."""
    assert case.ask(put_card(NEWEST.card, NEWEST)).status == 204
    assert may_ask(case, NEWEST)
    assert not may_ask(case, NEWER)


def test_the_same_card_again_is_success(case: Case) -> None:
    """Putting the enrolled card changes nothing."""
    assert case.ask(put_card(ALICE.card, ALICE)).status == 204
    assert may_ask(case, ALICE)


def test_a_card_does_not_go_back(case: Case) -> None:
    """After a rotation neither the old key nor the new one brings the old card back."""
    case.ask(put_card(NEWER.card, ALICE))
    assert case.ask(put_card(ALICE.card, ALICE)).code == problems.SIGNATURE
    assert case.ask(put_card(ALICE.card, NEWER)).code == problems.CONFLICT
    assert may_ask(case, NEWER)


def test_a_fork_is_refused(case: Case) -> None:
    """Two rotations of one card cannot both be enrolled."""
    fork = rotated(ALICE, "another")
    case.ask(put_card(NEWER.card, ALICE))
    assert case.ask(put_card(fork.card, fork)).code == problems.SIGNATURE
    assert case.ask(put_card(fork.card, NEWER)).code == problems.CONFLICT
    assert may_ask(case, NEWER)


def test_a_card_is_put_by_its_own_station(case: Case) -> None:
    """Bob cannot put Alice's card, not even a good one, nor Alice's key Bob's."""
    assert case.ask(put_card(NEWER.card, BOB)).status == 400
    wrong_id = signed(NEWER, PUT, NEWER.card.encoded, key_id=BOB.station.hex())
    assert case.ask(wrong_id).code == problems.SIGNATURE
    assert may_ask(case, ALICE)
    assert may_ask(case, BOB)


def test_a_newer_card_signs_for_nothing_but_itself(case: Case) -> None:
    """The signature of a key that the relay does not know yet opens no other path."""
    request = signed(NEWER, Target(routes.PUT_SEAL, ParcelId(octets("x", 16))), NEWER.card.encoded)
    reply = case.ask(request)
    assert (reply.code, reply.messages_read) == (problems.SIGNATURE, 0)


def test_a_card_in_other_hands_is_no_key(case: Case) -> None:
    """Who has the card but not its keys is refused, and what it sent is forgotten."""
    forged = signed(NEWER, PUT, NEWER.card.encoded, signer=BOB.signers[0])
    assert case.ask(forged).code == problems.SIGNATURE
    assert may_ask(case, ALICE)


def test_a_station_that_is_not_enrolled_cannot_bring_a_card(case: Case) -> None:
    """A stranger's card is not read, whoever signed it."""
    stranger = rotated(make_identity("stranger"))
    reply = case.ask(put_card(stranger.card, stranger))
    assert (reply.code, reply.messages_read) == (problems.SIGNATURE, 0)


def test_garbage_is_no_card(case: Case) -> None:
    """Octets that are no card are malformed from who is known, and nothing from others."""
    assert case.ask(signed(ALICE, PUT, b"garbage")).code == "format"
    assert case.ask(signed(NEWER, PUT, b"garbage")).code == problems.SIGNATURE


def test_an_anonymous_card_is_bounded(case: Case) -> None:
    """A body larger than any card is not read before the signature is verified."""
    reply = case.ask(signed(NEWER, PUT, bytes(MAX_CARD_BODY + 1)))
    assert (reply.code, reply.messages_read) == (problems.SIGNATURE, 0)


def test_enrolling_again_needs_the_same_line_of_keys(tmp_path: Path) -> None:
    """A newer card replaces an older one, never the other way round."""
    stations = Stations(tmp_path)
    assert stations.enroll(ALICE.card)
    assert not stations.enroll(ALICE.card)
    assert stations.enroll(NEWER.card)
    with pytest.raises(RelayRefusedError):
        stations.enroll(ALICE.card)
    assert stations.cards() == [NEWER.card]


def test_two_processes_see_the_same_stations(tmp_path: Path) -> None:
    """What one process enrolls, removes or rotates, another one finds at its next look."""
    serving, commanding = Stations(tmp_path), Stations(tmp_path)
    key_id = ALICE.station.hex()
    assert serving.find(key_id) is None
    commanding.enroll(ALICE.card)
    found = serving.find(key_id)
    assert found is not None
    assert found.card == ALICE.card
    commanding.enroll(NEWER.card)
    found = serving.find(key_id)
    assert found is not None
    assert found.card == NEWER.card
    commanding.remove(ALICE.station)
    assert serving.find(key_id) is None
    with pytest.raises(NotFoundError):
        commanding.remove(ALICE.station)


@pytest.mark.parametrize("content", [b"", b"garbage", BOB.card.encoded, bytes(MAX_CARD_BODY + 1)])
def test_a_damaged_card_keeps_the_door_shut(tmp_path: Path, content: bytes) -> None:
    """A file that is no card, or that of another station, admits nobody."""
    stations = Stations(tmp_path)
    stations.enroll(ALICE.card)
    (tmp_path / ALICE.station.hex()).write_bytes(content)
    assert stations.find(ALICE.station.hex()) is None


def test_a_link_is_no_card(tmp_path: Path) -> None:
    """A symbolic link in the folder of cards is not followed."""
    stations = Stations(tmp_path / "cards")
    (tmp_path / "cards").mkdir()
    (tmp_path / "elsewhere").write_bytes(ALICE.card.encoded)
    (tmp_path / "cards" / ALICE.station.hex()).symlink_to(tmp_path / "elsewhere")
    assert stations.find(ALICE.station.hex()) is None


@pytest.mark.parametrize("key_id", ["", "..", "../relay.sqlite3", ".lock", "A" * 64, "x" * 64])
def test_a_key_id_never_names_another_file(tmp_path: Path, key_id: str) -> None:
    """What is not a station id is looked up nowhere."""
    stations = Stations(tmp_path)
    stations.enroll(ALICE.card)
    assert stations.find(key_id) is None


def test_stations_are_found_by_name_and_by_the_beginning_of_their_id(tmp_path: Path) -> None:
    """`matching` knows the card's own name, the whole id, and at least eight of its digits."""
    stations = Stations(tmp_path)
    stations.enroll(ALICE.card)
    stations.enroll(BOB.card)
    for text in ("alice", ALICE.station.hex(), ALICE.station.hex()[:8]):
        assert stations.matching(text) == [ALICE.card]
    for text in ("", "ali", ALICE.station.hex()[:7], "carol"):
        assert stations.matching(text) == []


def test_stations_are_found_by_the_name_that_contacts_give_them(tmp_path: Path) -> None:
    """`dr-wang` names the card of `Dr Wang`, unless a card is called just that."""
    stations = Stations(tmp_path)
    wang, other = make_identity("Dr Wang").card, make_identity("dr-wang").card
    stations.enroll(wang)
    assert stations.matching("dr-wang") == [wang]
    assert stations.matching("wang") == []
    stations.enroll(other)
    assert stations.matching("dr-wang") == [other]


def test_a_folder_that_cannot_be_listed_is_said_so(tmp_path: Path) -> None:
    """Listing the stations of no folder is StorageError."""
    with pytest.raises(StorageError):
        Stations(tmp_path / "nowhere").cards()
