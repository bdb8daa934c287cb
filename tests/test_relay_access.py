"""Who may do what with which parcel, and what becomes of parcels whose time is over."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from medshare.envelope import encode_envelope
from medshare.ids import ParcelId, StationId
from medshare.wire import bodies, problems, routes
from medshare.wire.bodies import decode_state, inbox_query, state_query
from medshare.wire.routes import Route, Target
from medshare.withdrawal import Withdrawal, encode_withdrawal
from tests.builder import Identity, Parcel, make_identity, make_parcel
from tests.relay_case import NOW, Case, Request, open_case, signed
from tests.suites.transport_suite import ALICE, BOB, CAROL, UNKNOWN, study

PARCEL = study("access")
HOUR = 3600
RECEIPT = b"a sealed receipt"

sends = {
    routes.PUT_ENVELOPE: PARCEL.envelope,
    routes.PUT_MANIFEST: PARCEL.manifest,
    routes.PUT_CHUNK: PARCEL.chunks[0],
    routes.PUT_SEAL: PARCEL.seal,
    routes.PUT_RECEIPT: RECEIPT,
    routes.WANT: bodies.encode_indexes((0,)),
    routes.PUT_WITHDRAWAL: encode_withdrawal(
        Withdrawal(
            PARCEL.id,
            PARCEL.facts.digest,
            ALICE.station,
            PARCEL.facts.sender_keys,
            BOB.station,
            NOW,
        ),
        ALICE.signers,
    ),
}


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    """An open relay at which Alice, Bob and Carol are enrolled."""
    with open_case(tmp_path / "relay") as found:
        yield found


def request(
    route: Route, by: Identity, *, parcel: ParcelId = PARCEL.id, station: StationId = BOB.station
) -> Request:
    """Return a request about the first chunk, or the receipt of *station*."""
    query = state_query() if route is routes.GET_STATE else ""
    return signed(by, Target(route, parcel, 0, station), sends.get(route), query=query)


def upload(case: Case, parcel: Parcel = PARCEL) -> None:
    """Store all of a parcel, without any receipt."""
    by = parcel.sender
    requests = [
        signed(by, Target(routes.PUT_ENVELOPE, parcel.id), parcel.envelope),
        signed(by, Target(routes.PUT_MANIFEST, parcel.id), parcel.manifest),
        *(
            signed(by, Target(routes.PUT_CHUNK, parcel.id, index), chunk)
            for index, chunk in enumerate(parcel.chunks)
        ),
        signed(by, Target(routes.PUT_SEAL, parcel.id), parcel.seal),
    ]
    for each in requests:
        assert case.ask(each).status in {200, 204}


def waiting(case: Case, by: Identity) -> tuple[ParcelId, ...]:
    """Return the first page of an inbox."""
    reply = case.ask(signed(by, Target(routes.INBOX), query=inbox_query(0), created=case.now))
    return bodies.decode_inbox(reply.body)[0]


ROLES = {
    routes.PUT_ENVELOPE: (200, 403, 403),
    routes.PUT_MANIFEST: (204, 403, 404),
    routes.PUT_CHUNK: (204, 403, 404),
    routes.PUT_SEAL: (204, 403, 404),
    routes.PUT_RECEIPT: (403, 204, 404),
    routes.GET_ENVELOPE: (200, 200, 404),
    routes.GET_MANIFEST: (200, 200, 404),
    routes.GET_CHUNK: (200, 200, 404),
    routes.GET_SEAL: (200, 200, 404),
    routes.GET_STATE: (200, 200, 404),
    routes.GET_RECEIPT: (200, 200, 404),
    routes.WANT: (200, 200, 404),
    routes.REMOVE: (204, 403, 404),
    routes.PUT_WITHDRAWAL: (204, 403, 404),
    routes.GET_WITHDRAWAL: (404, 404, 404),  # there is none yet
}


def test_every_request_about_a_parcel_is_in_the_table() -> None:
    """No route about parcels was forgotten below."""
    assert set(ROLES) == {route for route in routes.ROUTES if "{parcel}" in route.template}


@pytest.mark.parametrize("route", ROLES, ids=lambda route: route.name)
@pytest.mark.parametrize("role", range(3), ids=["sender", "recipient", "stranger"])
def test_roles(case: Case, route: Route, role: int) -> None:
    """Sender, recipient and everybody else are answered as the table says."""
    upload(case)
    assert case.ask(request(routes.PUT_RECEIPT, BOB)).status == 204
    reply = case.ask(request(route, (ALICE, BOB, CAROL)[role]))
    assert reply.status == ROLES[route][role]
    if reply.status == 403:
        assert reply.code == problems.FORBIDDEN
    if reply.status in {403, 404}:
        assert route is routes.PUT_ENVELOPE or reply.messages_read == 0


@pytest.mark.parametrize(
    "route", [r for r in ROLES if r is not routes.PUT_ENVELOPE], ids=lambda route: route.name
)
def test_there_is_no_oracle(case: Case, route: Route) -> None:
    """A parcel of others and one that does not exist get exactly the same answer."""
    upload(case)
    there = case.ask(request(route, CAROL, station=CAROL.station))
    nowhere = case.ask(request(route, CAROL, station=CAROL.station, parcel=UNKNOWN))
    assert (there.status, there.body, there.headers) == (404, nowhere.body, nowhere.headers)


def test_a_recipient_gives_and_sees_its_own_receipt_only(case: Case) -> None:
    """With two recipients, neither stores, reads or learns of the other's receipt."""
    parcel = study("two recipients", recipients=(BOB, CAROL))
    upload(case, parcel)

    def ask(route: Route, by: Identity, of: Identity) -> int:
        return case.ask(request(route, by, parcel=parcel.id, station=of.station)).status

    assert ask(routes.PUT_RECEIPT, BOB, CAROL) == 404
    assert ask(routes.PUT_RECEIPT, BOB, BOB) == 204
    assert ask(routes.GET_RECEIPT, CAROL, BOB) == 404
    assert ask(routes.GET_RECEIPT, ALICE, BOB) == 200
    seen = {}
    for by in (ALICE, BOB, CAROL):
        reply = case.ask(request(routes.GET_STATE, by, parcel=parcel.id))
        seen[by.name] = decode_state(reply.body).receipts
    assert seen == {"alice": (BOB.station,), "bob": (BOB.station,), "carol": ()}


def test_a_parcel_to_oneself_waits_for_oneself(case: Case) -> None:
    """With no other recipient the sender is one: it has an inbox entry and gives a receipt."""
    parcel = study("to myself", recipients=())
    upload(case, parcel)
    assert waiting(case, ALICE) == (parcel.id,)
    receipt = request(routes.PUT_RECEIPT, ALICE, parcel=parcel.id, station=ALICE.station)
    assert case.ask(receipt).status == 204
    assert waiting(case, ALICE) == ()


def test_only_its_sender_announces_a_parcel(case: Case) -> None:
    """An envelope that Alice signed, brought by Bob, is refused; nothing is stored."""
    reply = case.ask(request(routes.PUT_ENVELOPE, BOB))
    assert (reply.status, reply.code) == (403, problems.FORBIDDEN)
    assert case.files() == set()


def test_a_sender_learns_which_recipients_are_not_enrolled(case: Case) -> None:
    """Those that it has named under its signature, and of nobody else; the parcel is taken."""
    reply = case.ask(request(routes.PUT_ENVELOPE, ALICE))
    assert bodies.decode_announced(reply.body) == bodies.Announced(manifest=False)
    case.service.stations.remove(BOB.card.station)
    again = case.ask(request(routes.PUT_ENVELOPE, ALICE))
    assert again.status == 200
    told = bodies.decode_announced(again.body)
    assert told.absent == (BOB.card.station,)


def test_the_envelope_is_signed_with_keys_of_the_card(case: Case) -> None:
    """An envelope in Alice's name that other keys signed is refused, though it is well formed."""
    other = make_identity("somebody else")
    facts = replace(PARCEL.facts, sender_keys=tuple(one.public for one in other.signers))
    _, forged = encode_envelope(facts, other.signers)
    reply = case.ask(signed(ALICE, Target(routes.PUT_ENVELOPE, PARCEL.id), forged))
    assert (reply.status, reply.code) == (403, problems.FORBIDDEN)
    assert case.files() == set()


def test_recipients_need_not_be_enrolled_yet(case: Case) -> None:
    """A parcel may wait for a station whose card comes later."""
    late = make_identity("late")
    parcel = make_parcel({"x": b"y"}, sender=ALICE, recipients=[late], label="late")
    upload(case, parcel)
    case.service.stations.enroll(late.card)
    assert waiting(case, late) == (parcel.id,)


def test_an_inbox_comes_in_pages_oldest_first(case: Case) -> None:
    """More parcels than a page holds are told page by page, each once."""
    parcels = [
        make_parcel({"x": b""}, sender=ALICE, recipients=[BOB], label=f"page {number}")
        for number in range(5)
    ]
    for parcel in parcels:
        upload(case, parcel)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medshare.relay.parcels.INBOX_PAGE", 2)
        found: list[ParcelId] = []
        after, pages = 0, 0
        while pages == 0 or after:
            reply = case.ask(signed(BOB, Target(routes.INBOX), query=inbox_query(after)))
            page, after = bodies.decode_inbox(reply.body)
            found += page
            pages += 1
    assert found == [parcel.id for parcel in parcels]
    assert pages == 3


def test_an_announcement_without_manifest_waits_for_nobody(case: Case) -> None:
    """A parcel is in no inbox before its manifest is there."""
    case.ask(request(routes.PUT_ENVELOPE, ALICE))
    assert waiting(case, BOB) == ()
    case.ask(request(routes.PUT_MANIFEST, ALICE))
    assert waiting(case, BOB) == (PARCEL.id,)


def dated(label: str, delete_after: int) -> Parcel:
    """Return a parcel that is to be deleted at a time."""
    parcel = study(label)
    facts, envelope = encode_envelope(
        replace(parcel.facts, delete_after=delete_after), ALICE.signers
    )
    return replace(parcel, facts=facts, envelope=envelope)


def announce(case: Case, parcel: Parcel) -> int:
    """Announce a parcel with its manifest; return the status of its envelope."""
    put = Target(routes.PUT_ENVELOPE, parcel.id)
    status = case.ask(signed(ALICE, put, parcel.envelope, created=case.now)).status
    manifest = Target(routes.PUT_MANIFEST, parcel.id)
    case.ask(signed(ALICE, manifest, parcel.manifest, created=case.now))
    return status


def test_an_expired_parcel_is_gone_at_once(case: Case) -> None:
    """At its time a parcel answers 410 to its parties, 404 to others, and waits for nobody."""
    parcel = dated("expires", NOW + HOUR)
    assert announce(case, parcel) == 200
    case.now = NOW + HOUR - 1
    assert waiting(case, BOB) == (parcel.id,)
    case.now = NOW + HOUR
    for sweep in (False, True):
        if sweep:
            assert case.service.parcels.sweep() == 1
        assert waiting(case, BOB) == ()
        for by, status in ((ALICE, 410), (BOB, 410), (CAROL, 404)):
            target = Target(routes.GET_STATE, parcel.id)
            reply = case.ask(signed(by, target, query=state_query(), created=case.now))
            assert reply.status == status
    assert case.files() == set()
    assert case.service.parcels.ledger.used() == 0


def test_a_parcel_that_has_expired_is_not_announced(case: Case) -> None:
    """An envelope whose time is over already is refused; 0 means never."""
    assert announce(case, dated("over", NOW)) == 410
    assert announce(case, dated("not over", NOW + 1)) == 200
    assert announce(case, dated("never over", 0)) == 200


def test_a_sweep_takes_only_what_has_expired(case: Case) -> None:
    """Parcels whose time has not come, or never comes, stay."""
    for label, time in (("early", NOW + 10), ("late", NOW + 20), ("never", 0)):
        announce(case, dated(label, time))
    case.now = NOW + 10
    assert case.service.parcels.sweep() == 1
    assert set(waiting(case, BOB)) == {study("late").id, study("never").id}


def test_a_relay_sweeps_when_it_starts(tmp_path: Path) -> None:
    """What expired while the relay was down is gone before anybody can ask for it."""
    parcel = dated("overnight", NOW + HOUR)
    with open_case(tmp_path / "relay") as case:
        announce(case, parcel)
    with open_case(tmp_path / "relay", now=NOW + HOUR) as case:
        assert case.files() == set()


def test_a_removed_parcel_is_gone_for_good(tmp_path: Path) -> None:
    """Its files are deleted, its id is never accepted again, not even after a restart."""
    with open_case(tmp_path / "relay") as case:
        upload(case)
        assert case.ask(request(routes.REMOVE, ALICE)).status == 204
        assert case.files() == set()
        assert not (case.data / "parcels" / PARCEL.id.hex()).exists()
        assert case.service.parcels.ledger.used() == 0
    with open_case(tmp_path / "relay") as case:
        assert case.ask(request(routes.PUT_ENVELOPE, ALICE)).code == problems.GONE
        assert case.ask(request(routes.GET_CHUNK, BOB)).code == problems.GONE
        assert case.ask(request(routes.GET_CHUNK, CAROL)).code == problems.NOT_FOUND
        assert case.ask(request(routes.REMOVE, ALICE)).code == problems.GONE
        assert case.files() == set()
