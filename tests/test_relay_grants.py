"""What a relay makes of grants: it reads them, and refuses whom they do not let fetch."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medshare.audit.entries import Act
from medshare.disk.atomic import TEMPORARY_PREFIX, TEMPORARY_SUFFIX
from medshare.envelope import Envelope, encode_envelope
from medshare.grant import Grant, Kind, Permission
from medshare.ids import ParcelId
from medshare.record.reader import RecordReader
from medshare.relay.grants import SAME_OPENING
from medshare.relay.settings import Limits
from medshare.suites.base import Signer
from medshare.trust.lineage import continued
from medshare.wire import bodies, problems, routes
from medshare.wire.routes import Route, Target
from medshare.withdrawal import Withdrawal, encode_withdrawal, parse_withdrawal
from tests.builder import Identity, Parcel, make_parcel, make_seal
from tests.grants_case import granted
from tests.relay_case import NOW, Case, Reply, Request, open_case, rotated, signed
from tests.suites.transport_suite import ALICE, BOB, CAROL

FETCHES = (
    routes.GET_ENVELOPE,
    routes.GET_MANIFEST,
    routes.GET_CHUNK,
    routes.GET_SEAL,
    routes.GET_STATE,
    routes.WANT,
)
ATTENDING = granted(BOB, "attending")


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    """An open relay at which Alice, Bob and Carol are enrolled."""
    with open_case(tmp_path / "relay") as found:
        yield found


def parcel_of(sender: Identity, *grants: Grant, label: str = "granted", **facts: Any) -> Parcel:
    """Return a parcel with two chunks, of *sender* to whoever may view it."""
    viewers = {one.station for one in grants if one.allows(Permission.VIEW)}
    to = [one for one in (ALICE, BOB, CAROL) if one.station in viewers and one is not sender]
    plain = make_parcel({"x": b"\x07" * 1500}, sender=sender, recipients=to or [BOB], label=label)
    stated = replace(
        plain.facts, grants=tuple(sorted(grants, key=lambda one: one.station)), **facts
    )
    envelope, octets = encode_envelope(stated, sender.signers)
    sealed, seal = make_seal(envelope, plain.sealed.chunks, sender.signers)
    return replace(plain, envelope=octets, facts=envelope, seal=seal, sealed=sealed)


def shared(before: Parcel, by: Identity, *grants: Grant, label: str = "shared") -> Parcel:
    """Return what *by* passes on of *before*."""
    lineage = continued(before.facts, Kind.SHARE, before.envelope)
    return parcel_of(by, *grants, label=label, lineage=lineage)


def announced(case: Case, parcel: Parcel) -> Reply:
    """Announce a parcel; return the answer."""
    by = parcel.sender
    return case.ask(signed(by, Target(routes.PUT_ENVELOPE, parcel.id), parcel.envelope))


def upload(case: Case, parcel: Parcel) -> None:
    """Store all of a parcel."""
    assert announced(case, parcel).status == 200
    for request in parts_of(case, parcel):
        assert case.ask(request).status == 204


def parts_of(case: Case, parcel: Parcel) -> list[Request]:
    """Return the requests that store all of a parcel that was announced, the seal last."""
    parts = [(Target(routes.PUT_MANIFEST, parcel.id), parcel.manifest)]
    for index, chunk in enumerate(parcel.chunks):
        parts.append((Target(routes.PUT_CHUNK, parcel.id, index), chunk))
    parts.append((Target(routes.PUT_SEAL, parcel.id), parcel.seal))
    return [signed(parcel.sender, *one, created=case.now) for one in parts]


def fetch(case: Case, by: Identity, route: Route, parcel: Parcel, index: int = 0) -> Reply:
    """Let *by* ask for a part of a parcel, at the relay's time."""
    query = bodies.state_query() if route is routes.GET_STATE else ""
    body = bodies.encode_indexes((0,)) if route is routes.WANT else None
    target = Target(route, parcel.id, index, by.station)
    return case.ask(signed(by, target, body, query=query, created=case.now))


def codes(case: Case, by: Identity, parcel: Parcel) -> set[str]:
    """Return how all requests to fetch end for *by*."""
    return {fetch(case, by, route, parcel).code for route in FETCHES}


def waiting(case: Case, by: Identity) -> tuple[ParcelId, ...]:
    """Return what waits for *by*."""
    query = bodies.inbox_query(0)
    reply = case.ask(signed(by, Target(routes.INBOX), query=query, created=case.now))
    return bodies.decode_inbox(reply.body)[0]


def withdrawal(
    envelope: Envelope, recipient: Identity, by: Identity = ALICE, **changes: Any
) -> bytes:
    """Return the withdrawal of what *envelope* grants *recipient*, signed by *by*."""
    signers: tuple[Signer, ...] = by.signers
    made = Withdrawal(
        envelope.parcel, envelope.digest, by.station, tuple(one.public for one in signers),
        recipient.station, NOW,
    )  # fmt: skip
    return encode_withdrawal(replace(made, **changes), signers)


def withdraw(case: Case, parcel: Parcel, recipient: Identity, **changes: Any) -> Reply:
    """Let Alice withdraw what *parcel* grants *recipient*."""
    data = withdrawal(parcel.facts, recipient, **changes)
    target = Target(routes.PUT_WITHDRAWAL, parcel.id, station=recipient.station)
    return case.ask(signed(parcel.sender, target, data, created=case.now))


def test_a_grant_lets_fetch(case: Case) -> None:
    """Who may view fetches everything; who is granted nothing is told so; others are not."""
    parcel = parcel_of(ALICE, ATTENDING, granted(CAROL, "auditor"))
    upload(case, parcel)
    assert codes(case, BOB, parcel) == {""}
    assert codes(case, CAROL, parcel) == {"grant.permission"}
    assert codes(case, ALICE, parcel) == {""}
    assert waiting(case, CAROL) == ()
    other = parcel_of(ALICE, ATTENDING, label="other")
    upload(case, other)
    assert codes(case, CAROL, other) == {problems.NOT_FOUND}


def test_a_grant_that_has_ended_refuses(case: Case) -> None:
    """At its end, and not before, nothing more is handed out; a receipt is still taken."""
    parcel = parcel_of(ALICE, granted(BOB, "consultant", expires=NOW + 60))
    upload(case, parcel)
    case.now = NOW + 59
    assert codes(case, BOB, parcel) == {""}
    assert waiting(case, BOB) == (parcel.id,)
    case.now = NOW + 60
    assert codes(case, BOB, parcel) == {"grant.expired"}
    assert waiting(case, BOB) == ()
    target = Target(routes.PUT_RECEIPT, parcel.id, station=BOB.station)
    assert case.ask(signed(BOB, target, b"receipt", created=case.now)).status == 204


def test_a_withdrawal_refuses_in_the_middle(case: Case, tmp_path: Path) -> None:
    """Between one chunk and the next; for good, a restart of the relay included."""
    parcel = parcel_of(ALICE, ATTENDING, granted(CAROL, "trainee"))
    upload(case, parcel)
    assert fetch(case, BOB, routes.GET_CHUNK, parcel, 0).status == 200
    assert withdraw(case, parcel, BOB).status == 204
    assert fetch(case, BOB, routes.GET_CHUNK, parcel, 1).code == "grant.withdrawn"
    assert codes(case, BOB, parcel) == {"grant.withdrawn"}
    assert codes(case, CAROL, parcel) == {""}
    assert withdraw(case, parcel, BOB).status == 204
    for by in (BOB, ALICE):
        target = Target(routes.GET_WITHDRAWAL, parcel.id, station=BOB.station)
        found = parse_withdrawal(case.ask(signed(by, target)).body)
        assert (found.parcel, found.recipient) == (parcel.id, BOB.station)
    target = Target(routes.GET_WITHDRAWAL, parcel.id, station=BOB.station)
    assert case.ask(signed(CAROL, target)).status == 403
    acts = [one.event.act for one in RecordReader(case.data / "audit").entries()]
    assert acts.count(Act.WITHDRAW) == 1


def test_a_withdrawal_is_remembered(tmp_path: Path) -> None:
    """Neither a restart nor the loss of the database makes it forgotten."""
    parcel = parcel_of(ALICE, ATTENDING)
    with open_case(tmp_path / "relay") as case:
        upload(case, parcel)
        assert withdraw(case, parcel, BOB).status == 204
    for lost in (False, True):
        if lost:
            for file in (tmp_path / "relay").glob("relay.sqlite3*"):
                file.unlink()
        with open_case(tmp_path / "relay") as case:
            assert codes(case, BOB, parcel) == {"grant.withdrawn"}


def test_withdrawals_are_room_of_their_sender_for_good(tmp_path: Path) -> None:
    """They outlive parcels, so nobody fills a disk with them: not removed, not by a restart."""
    parcel, data = parcel_of(ALICE, ATTENDING), tmp_path / "relay"
    with open_case(data) as case:
        upload(case, parcel)
        assert withdraw(case, parcel, BOB).status == 204
        assert withdraw(case, parcel, BOB).status == 204  # again, which is success
        assert case.ask(signed(ALICE, Target(routes.REMOVE, parcel.id))).status == 204
        kept = (data / "withdrawals" / parcel.id.hex() / BOB.station.hex()).stat().st_size
        assert case.service.parcels.ledger.used(ALICE.station) == kept
    with open_case(data, limits=Limits(station_bytes=kept)) as case:
        assert case.service.parcels.ledger.used(ALICE.station) == kept
        assert announced(case, parcel_of(ALICE, ATTENDING, label="more")).code == problems.QUOTA


def test_whoever_waits_for_news_is_told_at_once(case: Case) -> None:
    """A request that waits for news ends in a refusal when the grant is withdrawn meanwhile."""
    parcel = parcel_of(ALICE, ATTENDING)
    upload(case, parcel)
    tag = bodies.decode_state(fetch(case, BOB, routes.GET_STATE, parcel).body).tag
    query = bodies.state_query(known=tag, wait=20)
    looking = signed(BOB, Target(routes.GET_STATE, parcel.id), query=query)
    data = withdrawal(parcel.facts, BOB)
    target = Target(routes.PUT_WITHDRAWAL, parcel.id, station=BOB.station)

    async def both() -> Reply:
        waits = asyncio.create_task(case.answer(looking))
        await asyncio.sleep(0.05)
        assert (await case.answer(signed(ALICE, target, data))).status == 204
        return await asyncio.wait_for(waits, 10)

    assert asyncio.run(both()).code == "grant.withdrawn"


def test_only_the_sender_withdraws(case: Case) -> None:
    """A withdrawal by anybody else, of another parcel, or with other keys takes back nothing."""
    parcel, other = parcel_of(ALICE, ATTENDING), parcel_of(ALICE, ATTENDING, label="other")
    upload(case, parcel)
    upload(case, other)
    target = Target(routes.PUT_WITHDRAWAL, parcel.id, station=BOB.station)
    by_bob = case.ask(signed(BOB, target, withdrawal(parcel.facts, CAROL, BOB)))
    assert by_bob.code == problems.FORBIDDEN
    tries = (
        withdrawal(other.facts, BOB),
        withdrawal(parcel.facts, CAROL),
        withdrawal(parcel.facts, BOB, CAROL),
        withdrawal(parcel.facts, BOB, rotated(ALICE)),
        withdrawal(parcel.facts, BOB)[:-1],
        b"",
    )
    for data in tries:
        assert case.ask(signed(ALICE, target, data)).status in {400, 403, 422}
    assert codes(case, BOB, parcel) == {""}


def test_openings_are_counted(case: Case) -> None:
    """A fetch of the seal is an opening; repeated soon it is the same one; then it is the end."""
    parcel = parcel_of(ALICE, granted(BOB, "consultant", openings=2), ATTENDING_CAROL)
    upload(case, parcel)
    for opening in range(2):
        case.now = NOW + opening * SAME_OPENING
        assert codes(case, BOB, parcel) == {""}
        assert codes(case, BOB, parcel) == {""}
    assert waiting(case, BOB) == (parcel.id,)
    case.now = NOW + 2 * SAME_OPENING
    assert codes(case, BOB, parcel) == {"grant.openings"}
    assert waiting(case, BOB) == ()
    assert codes(case, CAROL, parcel) == {""}
    assert codes(case, ALICE, parcel) == {""}


ATTENDING_CAROL = granted(CAROL, "attending")


def test_a_seal_that_is_not_there_is_no_opening(case: Case) -> None:
    """Asking too early, or while the relay has lost the seal, uses nothing up."""
    parcel = parcel_of(ALICE, granted(BOB, "attending", openings=1))
    announced(case, parcel)
    assert fetch(case, BOB, routes.GET_SEAL, parcel).status == 404
    case.now += SAME_OPENING
    for request in parts_of(case, parcel):
        assert case.ask(request).status == 204
    (case.data / "parcels" / parcel.id.hex() / "seal").write_bytes(b"damaged")
    assert fetch(case, BOB, routes.GET_SEAL, parcel).status == 404
    case.now += SAME_OPENING
    assert case.ask(parts_of(case, parcel)[-1]).status == 204
    assert fetch(case, BOB, routes.GET_SEAL, parcel).status == 200
    case.now += SAME_OPENING
    assert codes(case, BOB, parcel) == {"grant.openings"}


def test_openings_survive_a_restart(tmp_path: Path) -> None:
    """What was counted stays counted."""
    parcel = parcel_of(ALICE, granted(BOB, "consultant", openings=1))
    with open_case(tmp_path / "relay") as case:
        upload(case, parcel)
        assert fetch(case, BOB, routes.GET_SEAL, parcel).status == 200
    with open_case(tmp_path / "relay") as case:
        case.now = NOW + SAME_OPENING
        assert codes(case, BOB, parcel) == {"grant.openings"}


def test_a_chain_is_checked_when_announced(case: Case) -> None:
    """What no grant allowed is refused by rule, and none of it is stored."""
    first = parcel_of(ALICE, granted(BOB, "consultant"))
    upload(case, first)
    for grants, code in (
        ((granted(CAROL, "trainee"),), "grant.act"),
        ((granted(CAROL, "attending"),), "grant.act"),
    ):
        reply = announced(case, shared(first, BOB, *grants))
        assert (reply.status, reply.code) == (422, code)
    second = parcel_of(ALICE, replace(ATTENDING, expires=NOW + 9), label="second")
    wider = announced(case, shared(second, BOB, granted(CAROL, "trainee")))
    assert wider.code == "grant.wider"
    good = shared(second, BOB, granted(CAROL, "trainee", expires=NOW + 9))
    assert announced(case, good).status == 200


def test_what_was_passed_on_is_withdrawn_with_its_source(case: Case) -> None:
    """Withdrawn from whoever passed it on, it is gone for those who got it, and later ones."""
    first = parcel_of(ALICE, ATTENDING)
    upload(case, first)
    second = shared(first, BOB, granted(CAROL, "trainee"))
    upload(case, second)
    assert codes(case, CAROL, second) == {""}
    assert withdraw(case, first, BOB).status == 204
    assert codes(case, CAROL, second) == {"grant.withdrawn"}
    third = shared(first, BOB, granted(CAROL, "trainee"), label="third")
    assert announced(case, third).code == "grant.withdrawn"
    case.ask(signed(ALICE, Target(routes.REMOVE, first.id)))
    assert codes(case, CAROL, second) == {"grant.withdrawn"}


def test_a_stranger_learns_nothing_of_what_was_withdrawn(case: Case) -> None:
    """Whom a parcel does not name is told that there is none, withdrawn or not."""
    parcel = parcel_of(ALICE, ATTENDING)
    onward = shared(parcel, BOB, granted(ALICE, "trainee"))
    upload(case, parcel)
    upload(case, onward)
    assert withdraw(case, parcel, BOB).status == 204
    assert codes(case, CAROL, parcel) == codes(case, CAROL, onward) == {"transfer.not-found"}


def test_a_parcel_without_grants_can_be_withdrawn_too(case: Case) -> None:
    """Where nothing was restricted, a recipient can still be refused from now on."""
    parcel = make_parcel({"x": b"y"}, sender=ALICE, recipients=[BOB], label="free")
    upload(case, parcel)
    assert codes(case, BOB, parcel) == {""}
    assert withdraw(case, parcel, BOB).status == 204
    assert codes(case, BOB, parcel) == {"grant.withdrawn"}


def test_a_damaged_count_hands_out_nothing(tmp_path: Path) -> None:
    """What cannot be read is no count of zero; what an interruption left behind is removed."""
    parcel = parcel_of(ALICE, granted(BOB, "consultant", openings=2))
    with open_case(tmp_path / "relay") as case:
        upload(case, parcel)
        assert fetch(case, BOB, routes.GET_SEAL, parcel).status == 200
        counts = case.data / "parcels" / parcel.id.hex() / "openings"
        (count,) = counts.iterdir()
        good = count.read_bytes()
        for damaged in (b"", b"x", good[:-1]):
            count.write_bytes(damaged)
            assert codes(case, BOB, parcel) == {problems.FAULT}
        assert codes(case, ALICE, parcel) == {""}
        count.write_bytes(good)
        remains = counts / f"{TEMPORARY_PREFIX}x{TEMPORARY_SUFFIX}"
        remains.write_bytes(b"half")
    with open_case(tmp_path / "relay") as case:
        assert codes(case, BOB, parcel) == {""}
        assert not remains.exists()
