"""What the liar says to a sender: each lie by name, with what medshare must answer.

However the attack ends, it must not end in `delivered`, for Bob has received nothing yet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare.chunk import SIGNATURE_SIZE
from medshare.envelope import ChunkRecord
from medshare.suites.intl import INTL
from medshare.wire import bodies, problems
from tests.attacks.lies import (
    CBOR,
    GIB,
    UNAVAILABLE,
    always,
    flip,
    on,
    refusal,
    state_with,
)
from tests.attacks.lies_of_protocol import closing_mid_body, raw, redirected, silent, ten_gib
from tests.attacks.lies_of_state import ABSENT, RECORD, both
from tests.attacks.lying_relay import Exchange, Lie, Said
from tests.attacks.stage import Stage

DONE: Final = Said(204)
SEALED: Final = ("sealed, not delivered",)
REFUSED: Final = ("transfer.refused",)


@dataclass(frozen=True)
class Attack:
    """One lie to a sender, who waits for receipts for *wait* seconds."""

    name: str
    tried: str
    make: Callable[[Stage], Lie]
    answers: tuple[str, ...]
    wait: float = 0


def told(
    routes: str, lie: Lie, *, index: int | None = None, times: int | None = None
) -> Callable[[Stage], Lie]:
    """Return what makes a lie that needs nothing of the stage."""
    return lambda _: on(routes, lie, index=index, times=times)


def altered_on_the_way(change: Callable[[bytes], bytes]) -> Lie:
    """Pass a request on with its body changed."""
    return lambda x: x.honest(body=change(x.asked.body))


def swapped_on_the_way(x: Exchange) -> Said:
    """Pass a chunk on as the next one."""
    path = x.asked.path[:-8] + f"{(x.asked.index + 1) % 6:08d}"
    return x.honest(path=path)


def black_hole(_: Stage) -> Lie:
    """Take everything with thanks, keep nothing, and claim to have it all."""
    records: dict[int, ChunkRecord] = {}

    def tell(x: Exchange) -> Said:
        if x.asked.route == "put-chunk":
            body = x.asked.body
            digest = INTL.digest(body[:-SIGNATURE_SIZE])
            records[x.asked.index] = ChunkRecord(x.asked.index, digest, body[-SIGNATURE_SIZE:])
            return DONE
        if x.asked.route == "get-state":
            chunks = tuple(records[index] for index in sorted(records))
            state = bodies.State(f"t{x.number}", "", True, True, chunks, (), ())
            return Said(200, bodies.encode_state(state), CBOR)
        return DONE if x.asked.route in {"put-seal", "put-manifest"} else x.honest()

    return tell


def wanted_again(*indexes: int) -> Lie:
    """Ask for these chunks again, in ever new states."""

    def tell(x: Exchange) -> Said:
        news = (x.number.to_bytes(32),)
        return state_with(wanted=indexes, receipts=news)(x) or ABSENT

    return tell


def everything_twice(x: Exchange) -> Said:
    """Make every request twice; the second must be refused as a repetition."""
    said = x.honest()
    again = x.honest()
    assert (again.status, said.status < 400) == (401, True), (again.status, said.status)
    return said


def recorded_later(_: Stage) -> Lie:
    """Make the first request once more before each other one."""
    first: list[Exchange] = []

    def tell(x: Exchange) -> Said:
        if first:
            assert first[0].honest().status == 401
        first.append(x)
        return x.honest()

    return tell


# --- receipts ----------------------------------------------------------------------------------


def receipt_is(make: Callable[[Stage], bytes]) -> Callable[[Stage], Lie]:
    """Return what claims that Bob has given a receipt, and serves *make*'s octets for it."""

    def lie_of(stage: Stage) -> Lie:
        octets = make(stage)
        state = state_with(receipts=(stage.bob.station.id,))
        return both(state, on("get-receipt", always(Said(200, octets))), "get-state")

    return lie_of


def receipt_file(stage: Stage, by: str = "bob", *, to: tuple[str, ...] = ("bob",)) -> Path:
    """Return where the relay keeps the genuine receipt of *by* for another parcel."""
    study = stage.study("receipted")
    parcel = stage.send(study, to=to).parcel
    person = stage.people[by]
    stage.receive(parcel, stage.folder / f"out-{study.name}-{by}", by=person)
    return stage.relay.folder(parcel) / "receipts" / person.station.id.hex()


def of_another_parcel(stage: Stage) -> bytes:
    """Return Bob's genuine receipt for another parcel."""
    return receipt_file(stage).read_bytes()


def of_another_sender(stage: Stage) -> bytes:
    """Return Bob's genuine receipt for a parcel of Carol's."""
    study = stage.study("of carol")
    parcel = stage.send(study, by=stage.carol).parcel
    stage.receive(parcel, stage.folder / f"out-{study.name}")
    name = stage.bob.station.id.hex()
    return (stage.relay.folder(parcel) / "receipts" / name).read_bytes()


RECEIPTS: Final = [
    Attack(name, tried, make, answers)
    for name, tried, make, answers in (
        ("a receipt for another parcel", "Bob's genuine receipt for another parcel is replayed",
         receipt_is(of_another_parcel), ("integrity",)),
        ("a receipt for another sender", "Bob's receipt for a parcel of Carol's is replayed",
         receipt_is(of_another_sender), ("integrity",)),
        ("a receipt of one octet flipped", "a replayed receipt with one bit flipped",
         receipt_is(lambda stage: flip(0.5)(of_another_parcel(stage))), ("integrity",)),
        ("a receipt of noise", "random octets as a receipt",
         receipt_is(lambda _: b"\x5a" * 900), ("integrity",)),
        ("an empty receipt", "no octets as a receipt", receipt_is(lambda _: b""),
         ("format", "integrity")),
        ("a receipt of 16 MiB", "as large a receipt as may be",
         receipt_is(lambda _: bytes(16 << 20)), ("integrity",)),
        ("a receipt that is not there", "the state names a receipt, which is then denied",
         lambda stage: both(state_with(receipts=(stage.bob.station.id,)),
                            on("get-receipt", always(ABSENT)), "get-state"),
         ("transfer.not-found",)),
        ("a receipt of a stranger", "the state names a receipt of a station that is not addressed",
         lambda stage: on("get-state", state_with(receipts=(stage.carol.station.id,))), SEALED),
    )
]  # fmt: skip

UPLOADS: Final = [
    Attack(name, tried, make, answers)
    for name, tried, make, answers in (
        ("chunks dropped", "chunks are accepted and thrown away",
         told("put-chunk", always(DONE)), REFUSED),
        ("one chunk dropped once", "one chunk is accepted and thrown away, once",
         told("put-chunk", always(DONE), times=1), SEALED),
        ("the seal dropped", "the seal is accepted and thrown away",
         told("put-seal", always(DONE)), SEALED),
        ("the manifest dropped", "the manifest is accepted and thrown away",
         told("put-manifest", always(DONE)), REFUSED),
        ("a black hole", "everything is accepted, nothing kept, and all of it claimed",
         black_hole, SEALED),
        ("a chunk altered once", "a bit of a chunk is flipped on its way up, once",
         told("put-chunk", altered_on_the_way(flip(0.5)), times=1), SEALED),
        ("chunks altered", "a bit of chunk 2 is flipped whenever it is sent",
         told("put-chunk", altered_on_the_way(flip(0.5)), index=2), ("integrity",)),
        ("chunks swapped", "each chunk is passed on as the next one",
         told("put-chunk", swapped_on_the_way), ("access.denied",)),
        ("the envelope altered", "a bit of the envelope is flipped on its way up",
         told("put-envelope", altered_on_the_way(flip(0.5))), ("integrity",)),
        ("the manifest altered", "a bit of the manifest is flipped on its way up",
         told("put-manifest", altered_on_the_way(flip(0.5))), ("integrity",)),
        ("the seal altered", "a bit of the seal is flipped on its way up",
         told("put-seal", altered_on_the_way(flip(0.5))), ("integrity",)),
        ("every request twice", "each request is made a second time with the same signature",
         told("put-envelope put-manifest put-chunk put-seal get-state", everything_twice), SEALED),
        ("a recorded request later", "the first request is replayed before each of the others",
         recorded_later, SEALED),
        ("the id is taken", "the parcel id is said to belong to another envelope",
         told("put-envelope", always(refusal(409, problems.CONFLICT))), REFUSED),
        ("the parcel is gone", "the parcel is said to have expired",
         told("put-chunk", always(refusal(410, problems.GONE))), REFUSED),
        ("no room", "the relay says that its disk is full",
         told("put-chunk", always(refusal(507, problems.FULL))), REFUSED),
        ("not permitted", "the seal is refused",
         told("put-seal", always(refusal(403, problems.FORBIDDEN))), ("access.denied",)),
        ("chunks missing for ever", "the seal is refused for want of chunks that are there",
         told("put-seal", always(refusal(409, problems.INCOMPLETE))), REFUSED),
        ("always failing", "every chunk is answered with 500",
         told("put-chunk", always(refusal(500, problems.FAULT))), UNAVAILABLE),
        ("silence after a chunk", "a chunk is taken and never answered",
         told("put-chunk", silent), UNAVAILABLE),
        ("closed after a chunk", "the connection is closed in the answer to a chunk",
         told("put-chunk", closing_mid_body), UNAVAILABLE),
        ("a chunk redirected", "a chunk is answered with 308 to another server",
         told("put-chunk", redirected("http://127.0.0.1:9/elsewhere", 308)), UNAVAILABLE),
        ("10 GiB in answer to a chunk", "a chunk is answered with 10 GiB",
         told("put-chunk", ten_gib(f"Content-Length: {10 * GIB}\r\n")), UNAVAILABLE),
        ("10 GiB of state", "the state has 10 GiB",
         told("get-state", ten_gib(f"Content-Length: {10 * GIB}\r\n")), UNAVAILABLE),
        ("no HTTP in answer to a chunk", "a chunk is answered with garbage",
         told("put-chunk", raw(b"\x00\xff" * 50)), UNAVAILABLE),
        ("chunks claimed that were never sent", "the state names chunks with invented digests",
         told("get-state", state_with(chunks=(RECORD,))), SEALED),
        ("chunks claimed beyond the end of the parcel", "the state names chunk 131071",
         told("get-state", state_with(
             chunks=(ChunkRecord(131071, RECORD.digest, RECORD.signature),))), SEALED),
    )
] + [
    Attack(
        "chunks wanted without end",
        "every chunk is asked for again and again, while the sender waits for the receipt",
        told("get-state", wanted_again(0, 1, 2)),
        ("transfer",),
        wait=30,
    ),
    Attack(
        "chunks wanted beyond the end",
        "chunk 131071 is asked for again and again",
        told("get-state", wanted_again(131071)),
        ("transfer",),
        wait=30,
    ),
]  # fmt: skip
