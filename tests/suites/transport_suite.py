"""The contract that every transport passes; the tests of each inherit from it.

They provide a fixture `far`: the far side, at which `ALICE`, `BOB` and `CAROL` are known.
It may be shared by all tests, as each sends a parcel of its own.
"""

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Protocol

import pytest

from medshare.envelope import ChunkVerifier
from medshare.errors import (
    AccessDeniedError,
    IntegrityError,
    MedshareError,
    NotFoundError,
    RelayRefusedError,
    TransferError,
)
from medshare.ids import ParcelId
from medshare.transport.base import Stored, Transport
from tests.builder import Identity, Parcel, make_identity, make_parcel, make_seal, octets

ALICE, BOB, CAROL = make_identity("alice"), make_identity("bob"), make_identity("carol")
PATIENCE = 10.0  # seconds, so that a broken test ends
UNKNOWN = ParcelId(octets("unknown", 16))


class FarSide(Protocol):
    """Where parcels are left and fetched."""

    def transport(self, identity: Identity) -> Transport:
        """Return the far side as *identity* sees it."""

    def chunk(self, parcel: ParcelId, index: int) -> Path:
        """Return the file that holds a stored chunk, for damaging it."""


@cache
def study(label: str, *, recipients: tuple[Identity, ...] = (BOB,)) -> Parcel:
    """Return a parcel of Alice's with five chunks; each *label* names another one."""
    files = {"ct/1.dcm": octets(f"{label} 1", 3000), "ct/2.dcm": octets(f"{label} 2", 1500)}
    return make_parcel(files, sender=ALICE, recipients=recipients, label=label)


def announce(to: Transport, parcel: Parcel) -> None:
    """Announce *parcel*."""
    to.announce(parcel.id, parcel.envelope, parcel.manifest)


def put_chunk(to: Transport, parcel: Parcel, index: int) -> None:
    """Store one chunk of *parcel*."""
    to.put_chunk(parcel.id, index, memoryview(parcel.chunks[index]))


def upload(to: Transport, parcel: Parcel) -> None:
    """Store all of *parcel*."""
    announce(to, parcel)
    for index in range(len(parcel.chunks)):
        put_chunk(to, parcel, index)
    to.put_seal(parcel.id, parcel.seal)


def get_chunk(at: Transport, parcel: Parcel, index: int) -> bytes:
    """Return one chunk."""
    buffer = memoryview(bytearray(ChunkVerifier(parcel.facts).max_size))
    return bytes(buffer[: at.get_chunk(parcel.id, index, buffer)])


def flip(octets_: bytes, at: int) -> bytes:
    """Return *octets_* with one bit changed."""
    changed = bytearray(octets_)
    changed[at] ^= 1
    return bytes(changed)


ABOUT_ONE_PARCEL: dict[str, Callable[[Transport], object]] = {
    "envelope": lambda t: t.get_envelope(UNKNOWN),
    "manifest": lambda t: t.get_manifest(UNKNOWN, size=10),
    "seal": lambda t: t.get_seal(UNKNOWN),
    "receipt": lambda t: t.get_receipt(UNKNOWN, BOB.station),
    "chunk": lambda t: t.get_chunk(UNKNOWN, 0, memoryview(bytearray(9))),
    "state": lambda t: t.stored(UNKNOWN),
    "news": lambda t: t.wait_for_news(
        UNKNOWN, Stored((), sealed=False, receipts=(), wanted=()), seconds=1
    ),
    "want": lambda t: t.want_chunks(UNKNOWN, (0,)),
    "put chunk": lambda t: t.put_chunk(UNKNOWN, 0, memoryview(bytes(1000))),
    "put receipt": lambda t: t.put_receipt(UNKNOWN, BOB.station, b"x"),
}


class TransportSuite:
    """What engine and user may rely on, whatever lies between."""

    def test_everything_comes_back(self, far: FarSide) -> None:
        """What is stored is read back octet for octet, by the other party."""
        parcel, a, b = study("round trip"), far.transport(ALICE), far.transport(BOB)
        upload(a, parcel)
        b.put_receipt(parcel.id, BOB.station, b"a sealed receipt")
        assert b.get_envelope(parcel.id) == parcel.envelope
        assert b.get_manifest(parcel.id, size=len(parcel.manifest)) == parcel.manifest
        assert [get_chunk(b, parcel, n) for n in range(len(parcel.chunks))] == parcel.chunks
        assert b.get_seal(parcel.id) == parcel.seal
        assert a.get_receipt(parcel.id, BOB.station) == b"a sealed receipt"

    def test_the_state_names_all_that_is_there(self, far: FarSide) -> None:
        """Records, seal and receipts are told, and the records verify."""
        parcel, a, b = study("state"), far.transport(ALICE), far.transport(BOB)
        announce(a, parcel)
        assert a.stored(parcel.id) == Stored((), sealed=False, receipts=(), wanted=())
        put_chunk(a, parcel, 3)
        put_chunk(a, parcel, 1)
        found = a.stored(parcel.id)
        assert {record.index for record in found.chunks} == {1, 3}
        assert not found.sealed
        upload(a, parcel)
        b.put_receipt(parcel.id, BOB.station, b"a sealed receipt")
        for found in (a.stored(parcel.id), b.stored(parcel.id)):
            assert [record.digest for record in found.chunks] == list(parcel.sealed.chunks)
            for record in found.chunks:
                ChunkVerifier(parcel.facts).check_record(record)
            assert (found.sealed, found.receipts, found.wanted) == (True, (BOB.station,), ())

    def test_everything_may_be_stored_again(self, far: FarSide) -> None:
        """Announcing, storing and sealing twice is success and changes nothing."""
        parcel, a = study("again"), far.transport(ALICE)
        upload(a, parcel)
        before = a.stored(parcel.id)
        upload(a, parcel)
        assert a.stored(parcel.id) == before
        assert far.transport(BOB).get_manifest(parcel.id, size=1 << 20) == parcel.manifest

    @pytest.mark.parametrize("ask", ABOUT_ONE_PARCEL.values(), ids=ABOUT_ONE_PARCEL)
    def test_an_unknown_parcel_is_not_found(
        self, far: FarSide, ask: Callable[[Transport], object]
    ) -> None:
        """Everything about a parcel that was never announced is NotFoundError."""
        with pytest.raises(NotFoundError):
            ask(far.transport(BOB))

    def test_what_has_not_come_yet_is_not_found(self, far: FarSide) -> None:
        """A chunk, seal or receipt that is not there yet is NotFoundError, not damage."""
        parcel, a, b = study("not yet"), far.transport(ALICE), far.transport(BOB)
        announce(a, parcel)
        with pytest.raises(NotFoundError):
            get_chunk(b, parcel, 0)
        with pytest.raises(NotFoundError):
            b.get_seal(parcel.id)
        with pytest.raises(NotFoundError):
            a.get_receipt(parcel.id, BOB.station)

    def test_chunks_can_be_fetched_while_others_are_on_their_way(self, far: FarSide) -> None:
        """A chunk is there for the receiver as soon as it is stored, before the seal."""
        parcel, a, b = study("under way"), far.transport(ALICE), far.transport(BOB)
        announce(a, parcel)
        for index in (4, 0, 2):
            put_chunk(a, parcel, index)
            assert get_chunk(b, parcel, index) == parcel.chunks[index]

    def test_a_parcel_id_belongs_to_the_first_envelope(self, far: FarSide) -> None:
        """Another envelope under the same id is refused, and the first one stays."""
        parcel, a = study("first"), far.transport(ALICE)
        twin = make_parcel({"x": b"y"}, sender=ALICE, recipients=[BOB], label="first")
        announce(a, parcel)
        with pytest.raises(RelayRefusedError):
            announce(a, twin)
        assert far.transport(BOB).get_envelope(parcel.id) == parcel.envelope

    def test_an_envelope_is_checked_before_it_is_stored(self, far: FarSide) -> None:
        """Malformed, altered, under another id, or with another manifest: all are refused."""
        parcel, other, a = study("checked"), study("checked too"), far.transport(ALICE)
        with pytest.raises(RelayRefusedError):
            a.announce(parcel.id, b"garbage", parcel.manifest)
        for name, envelope in (
            (parcel.id, flip(parcel.envelope, -1)),
            (other.id, parcel.envelope),
        ):
            with pytest.raises(IntegrityError):
                a.announce(name, envelope, parcel.manifest)
        with pytest.raises(IntegrityError):
            a.announce(parcel.id, parcel.envelope, other.manifest)
        assert parcel.id not in far.transport(BOB).inbox()

    def test_a_chunk_is_verified_before_it_is_stored(self, far: FarSide) -> None:
        """Altered anywhere, cut, extended, misplaced or foreign chunks leave nothing behind."""
        parcel, other, a = study("verified"), study("foreign"), far.transport(ALICE)
        announce(a, parcel)
        good = parcel.chunks[1]
        for bad in (
            *(flip(good, at) for at in (0, 4, 5, 12, 27, 31, 40, 100, len(good) - 70, -64, -1)),
            good[:-1],
            good + b"\x00",
            good[:50],
            parcel.chunks[2],
            other.chunks[1],
        ):
            with pytest.raises(IntegrityError):
                a.put_chunk(parcel.id, 1, memoryview(bad))
        with pytest.raises(MedshareError):
            a.put_chunk(parcel.id, len(parcel.chunks), memoryview(good))
        assert a.stored(parcel.id).chunks == ()
        with pytest.raises(NotFoundError):
            get_chunk(far.transport(BOB), parcel, 1)

    def test_a_chunk_never_overflows_the_buffer(self, far: FarSide) -> None:
        """A chunk larger than the caller's buffer is an error, and a smaller one fits."""
        parcel, a, b = study("overflow"), far.transport(ALICE), far.transport(BOB)
        announce(a, parcel)
        put_chunk(a, parcel, 0)
        size = len(parcel.chunks[0])
        guarded = memoryview(bytearray(b"\xaa" * (size + 10)))
        with pytest.raises(TransferError):
            b.get_chunk(parcel.id, 0, guarded[: size - 1])
        assert bytes(guarded[size - 1 :]) == b"\xaa" * 11
        assert b.get_chunk(parcel.id, 0, guarded[:size]) == size

    def test_a_manifest_is_no_longer_than_asked_for(self, far: FarSide) -> None:
        """A manifest longer than the envelope promised is not read."""
        parcel = study("long manifest")
        announce(far.transport(ALICE), parcel)
        with pytest.raises(MedshareError):
            far.transport(BOB).get_manifest(parcel.id, size=len(parcel.manifest) - 1)

    def test_the_seal_comes_last(self, far: FarSide) -> None:
        """A seal before the last chunk, or of another parcel, is refused; then it is stored."""
        parcel, other, a = study("sealed last"), study("other seal"), far.transport(ALICE)
        announce(a, parcel)
        for index in range(4):
            put_chunk(a, parcel, index)
        with pytest.raises(RelayRefusedError) as caught:
            a.put_seal(parcel.id, parcel.seal)
        assert caught.value.code == "transfer.refused.incomplete"
        put_chunk(a, parcel, 4)
        for bad in (other.seal, flip(parcel.seal, -1), b"garbage"):
            with pytest.raises(MedshareError):
                a.put_seal(parcel.id, bad)
        assert not a.stored(parcel.id).sealed
        a.put_seal(parcel.id, parcel.seal)
        assert a.stored(parcel.id).sealed

    def test_a_seal_names_the_chunks_that_are_there(self, far: FarSide) -> None:
        """A seal that the sender signed over other chunks is refused, and a second one too."""
        parcel, a = study("other chunks"), far.transport(ALICE)
        swapped = (parcel.sealed.chunks[1], parcel.sealed.chunks[0], *parcel.sealed.chunks[2:])
        _, wrong = make_seal(parcel.facts, swapped, ALICE.signers)
        announce(a, parcel)
        for index in range(5):
            put_chunk(a, parcel, index)
        with pytest.raises(IntegrityError):
            a.put_seal(parcel.id, wrong)
        a.put_seal(parcel.id, parcel.seal)
        with pytest.raises(MedshareError):
            a.put_seal(parcel.id, wrong)
        assert far.transport(BOB).get_seal(parcel.id) == parcel.seal

    def test_the_inbox_tells_what_waits(self, far: FarSide) -> None:
        """A parcel waits for its recipients, from its announcement to their receipt."""
        parcel = study("inbox", recipients=(BOB, CAROL))
        a, b, c = (far.transport(one) for one in (ALICE, BOB, CAROL))
        upload(a, parcel)
        assert parcel.id in b.inbox()
        assert parcel.id in c.inbox()
        assert parcel.id not in a.inbox()
        b.put_receipt(parcel.id, BOB.station, b"a sealed receipt")
        assert parcel.id not in b.inbox()
        assert parcel.id in c.inbox()

    def test_the_inbox_holds_nothing_of_others(self, far: FarSide) -> None:
        """A parcel for Bob does not wait for Carol."""
        parcel = study("for bob alone")
        upload(far.transport(ALICE), parcel)
        assert parcel.id not in far.transport(CAROL).inbox()

    def test_a_receipt_needs_the_seal(self, far: FarSide) -> None:
        """Before the seal there is nothing to give a receipt for."""
        parcel = study("too early")
        announce(far.transport(ALICE), parcel)
        with pytest.raises(RelayRefusedError):
            far.transport(BOB).put_receipt(parcel.id, BOB.station, b"a sealed receipt")

    def test_a_damaged_copy_is_replaced(self, far: FarSide) -> None:
        """Asked for again, a bad copy is dropped and wanted until the sender stores it anew."""
        parcel, a, b = study("damaged"), far.transport(ALICE), far.transport(BOB)
        upload(a, parcel)
        whole = b.stored(parcel.id)
        far.chunk(parcel.id, 2).write_bytes(flip(parcel.chunks[2], 200))
        b.want_chunks(parcel.id, (1, 2))
        told = a.stored(parcel.id)
        assert told.wanted == (2,)
        assert 2 not in {record.index for record in told.chunks}
        with pytest.raises(NotFoundError):
            get_chunk(b, parcel, 2)
        put_chunk(a, parcel, 2)
        assert get_chunk(b, parcel, 2) == parcel.chunks[2]
        assert b.stored(parcel.id) == whole

    def test_a_missing_copy_is_replaced(self, far: FarSide) -> None:
        """A chunk whose file is gone is wanted as well."""
        parcel, a, b = study("missing"), far.transport(ALICE), far.transport(BOB)
        upload(a, parcel)
        far.chunk(parcel.id, 3).unlink()
        b.want_chunks(parcel.id, (3,))
        assert a.stored(parcel.id).wanted == (3,)
        put_chunk(a, parcel, 3)
        assert a.stored(parcel.id).wanted == ()

    def test_after_the_seal_only_the_sealed_chunk_is_taken(self, far: FarSide) -> None:
        """In the place of a dropped chunk another one is refused, whoever signed it."""
        parcel, a, b = study("sealed chunk"), far.transport(ALICE), far.transport(BOB)
        files = {"ct/1.dcm": octets("other", 3000), "ct/2.dcm": octets("octets", 1500)}
        other = make_parcel(files, sender=ALICE, recipients=[BOB], label="sealed chunk")
        assert (other.id, other.chunk_signer.public) == (parcel.id, parcel.chunk_signer.public)
        upload(a, parcel)
        far.chunk(parcel.id, 2).write_bytes(b"damaged")
        b.want_chunks(parcel.id, (2,))
        with pytest.raises(RelayRefusedError):
            put_chunk(a, other, 2)
        put_chunk(a, parcel, 2)
        assert get_chunk(b, parcel, 2) == parcel.chunks[2]

    def test_another_chunk_does_not_replace_a_good_one(self, far: FarSide) -> None:
        """Two chunks of one place, both signed: the first one stays while it is good."""
        parcel, a = study("two chunks"), far.transport(ALICE)
        files = {"ct/1.dcm": octets("other", 3000), "ct/2.dcm": octets("octets", 1500)}
        other = make_parcel(files, sender=ALICE, recipients=[BOB], label="two chunks")
        announce(a, parcel)
        put_chunk(a, parcel, 0)
        with pytest.raises(RelayRefusedError) as caught:
            put_chunk(a, other, 0)
        assert caught.value.code == "transfer.refused.conflict"
        assert get_chunk(far.transport(BOB), parcel, 0) == parcel.chunks[0]
        far.chunk(parcel.id, 0).write_bytes(flip(parcel.chunks[0], 99))
        put_chunk(a, other, 0)
        assert get_chunk(far.transport(BOB), parcel, 0) == other.chunks[0]

    def test_the_sender_removes_a_parcel_and_nobody_else(self, far: FarSide) -> None:
        """Removed by its sender, a parcel is gone for all; its recipient cannot remove it."""
        parcel, a, b = study("removed"), far.transport(ALICE), far.transport(BOB)
        upload(a, parcel)
        with pytest.raises((TransferError, AccessDeniedError)):
            b.remove(parcel.id)
        assert b.get_envelope(parcel.id) == parcel.envelope
        a.remove(parcel.id)
        with pytest.raises(TransferError):
            b.get_envelope(parcel.id)
        assert parcel.id not in b.inbox()

    def test_news_wakes_who_waits(self, far: FarSide) -> None:
        """Waiting ends when something changes, and tells what is there then."""
        parcel, a, b = study("news"), far.transport(ALICE), far.transport(BOB)
        announce(a, parcel)
        known = b.stored(parcel.id)
        assert b.wait_for_news(parcel.id, known, seconds=0) == known
        later = threading.Timer(0.2, put_chunk, (a, parcel, 4))
        later.start()
        found = b.wait_for_news(parcel.id, known, seconds=PATIENCE)
        later.join()
        assert [record.index for record in found.chunks] == [4]
        assert b.wait_for_news(parcel.id, known, seconds=PATIENCE) == found

    def test_every_state_is_reached_by_news(self, far: FarSide) -> None:
        """Whoever follows the news from the beginning knows in the end what `stored` tells."""
        parcel, a, b = study("followed"), far.transport(ALICE), far.transport(BOB)
        announce(a, parcel)
        known = b.stored(parcel.id)
        thread = threading.Thread(target=upload, args=(a, parcel))
        thread.start()
        while not known.sealed:
            known = b.wait_for_news(parcel.id, known, seconds=PATIENCE)
        thread.join()
        assert known == b.stored(parcel.id) == far.transport(BOB).stored(parcel.id)
        far.chunk(parcel.id, 0).unlink()
        b.want_chunks(parcel.id, (0,))
        after = b.wait_for_news(parcel.id, known, seconds=PATIENCE)
        assert after.wanted == (0,)
        assert [record.index for record in after.chunks] == [1, 2, 3, 4]

    def test_several_threads_may_use_it_at_once(self, far: FarSide) -> None:
        """Chunks stored and fetched by many threads at a time arrive as they are."""
        parcel, a, b = study("threads"), far.transport(ALICE), far.transport(BOB)
        announce(a, parcel)
        fetched: dict[int, bytes] = {}

        def carry(index: int) -> None:
            for _ in range(3):
                put_chunk(a, parcel, index)
                fetched[index] = get_chunk(b, parcel, index)

        threads = [threading.Thread(target=carry, args=(index % 5,)) for index in range(15)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [fetched[index] for index in range(5)] == parcel.chunks
        a.put_seal(parcel.id, parcel.seal)
