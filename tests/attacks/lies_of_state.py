"""What the liar withholds, denies, rolls back or makes up: lies about what is there."""

from typing import Final

from medshare.digest import Digest
from medshare.envelope import ChunkRecord
from medshare.ids import ParcelId, StationId
from medshare.wire import bodies, problems
from tests.attacks.lies import (
    CBOR,
    DAMAGED,
    DELIVERED,
    INCOMPLETE,
    UNAVAILABLE,
    Attack,
    always,
    on,
    refusal,
    state_with,
)
from tests.attacks.lying_relay import Exchange, Lie, Said
from tests.attacks.stage import Stage

ABSENT: Final = refusal(404, problems.NOT_FOUND)
RECORD: Final = ChunkRecord(1, Digest(b"d" * 32), b"s" * 64)


def both(one: Lie, two: Lie, *routes: str) -> Lie:
    """Tell *one* on *routes*, and *two* on all others."""
    return lambda x: one(x) if x.asked.route in routes else two(x)


def withheld(routes: str, *, index: int | None = None, sealed: bool = True) -> Lie:
    """Deny what *routes* ask for, and tell all else as it is, or as if there were no seal."""
    deny = on(routes, always(ABSENT), index=index)
    return deny if sealed else both(state_with(sealed=False), deny, "get-state")


def denied_forever(route: str, index: int | None = None) -> Lie:
    """Deny a chunk, and say when asked to mend it that the copy is good."""
    mended = Said(200, b"")
    return both(always(mended), on(route, always(ABSENT), index=index), "want")


def rolled_back(stage: Stage, parcel: ParcelId) -> Lie:
    """Go back to how things were after the first chunk: no seal, one chunk, an old state."""
    first = bodies.decode_state(_state(stage, parcel)).chunks[:1]
    deny = on("get-seal", always(ABSENT))
    old = both(state_with(chunks=first, sealed=False), deny, "get-state")
    return lambda x: ABSENT if x.asked.route == "get-chunk" and x.asked.index else old(x)


def _state(stage: Stage, parcel: ParcelId) -> bytes:
    """Return the state of a parcel as the honest relay has it."""
    seen: list[bytes] = []

    def look(x: Exchange) -> Said:
        said = x.honest()
        seen.append(said.body)
        return said

    stage.liar.be(look)
    stage.transport(stage.bob).stored(parcel)
    return seen[0]


def stale_difference(_: Stage, __: ParcelId) -> Lie:
    """Tell differences to states that the client never had."""

    def tell(x: Exchange) -> Said:
        state = bodies.State("t1", "t0", True, True, (), (), ())
        return Said(200, bodies.encode_state(state), CBOR)

    return on("get-state", tell)


def never_the_same(_: Stage, __: ParcelId) -> Lie:
    """Have news at once, whenever news are waited for, and no chunk ever."""
    deny = on("get-chunk get-seal", always(ABSENT))

    def tell(x: Exchange) -> Said:
        nobody = StationId(x.number.to_bytes(32))
        state = bodies.State(f"t{x.number}", "", True, False, (), (nobody,), ())
        return Said(200, bodies.encode_state(state), CBOR)

    return both(tell, deny, "get-state")


STATES: Final = [
    Attack(
        "the seal is withheld",
        "the seal is said not to be there, as if the sender had not finished",
        lambda _, __: withheld("get-seal", sealed=False),
        INCOMPLETE,
    ),
    Attack(
        "the seal is promised and withheld",
        "the state says sealed, the seal is never served",
        lambda _, __: withheld("get-seal"),
        INCOMPLETE,
    ),
    Attack(
        "the envelope is withheld",
        "the parcel is denied",
        lambda _, __: withheld("get-envelope"),
        ("transfer.not-found",),
    ),
    Attack(
        "the manifest is withheld",
        "the manifest is denied",
        lambda _, __: withheld("get-manifest"),
        ("integrity.incomplete",),
    ),
    Attack(
        "a chunk of a sealed parcel is withheld",
        "chunk 2 is denied, and never sent again",
        lambda _, __: withheld("get-chunk", index=2),
        INCOMPLETE,
    ),
    Attack(
        "a chunk is denied and said to be good",
        "chunk 2 is denied; asked to mend it, the relay says that its copy is good",
        lambda _, __: denied_forever("get-chunk", 2),
        INCOMPLETE,
    ),
    Attack(
        "every chunk is withheld",
        "no chunk is ever served",
        lambda _, __: withheld("get-chunk"),
        INCOMPLETE,
    ),
    Attack(
        "all chunks are denied in the state",
        "the state lists no chunk of a sealed parcel, all of which are there",
        lambda _, __: on("get-state", state_with(chunks=())),
        DELIVERED,
    ),
    Attack(
        "chunks are claimed that are not there",
        "the state lists chunks with invented digests, of an unfinished parcel",
        lambda _, __: both(
            state_with(chunks=(RECORD,), sealed=False),
            on("get-chunk get-seal", always(ABSENT)),
            "get-state",
        ),
        INCOMPLETE,
    ),
    Attack(
        "chunks are claimed beyond the end",
        "the state lists chunk 131071 of a parcel of seven",
        lambda _, __: on(
            "get-state", state_with(chunks=(ChunkRecord(131071, RECORD.digest, RECORD.signature),))
        ),
        DELIVERED,
    ),
    Attack(
        "everything is asked for again",
        "the state says that every chunk is wanted, of a receiver",
        lambda _, __: on("get-state", state_with(wanted=(0, 1, 2, 3, 4, 5, 6))),
        DELIVERED,
    ),
    Attack("an earlier state", "the relay is rolled back to one chunk", rolled_back, INCOMPLETE),
    Attack(
        "a difference to nothing",
        "states are told as differences to states that never were",
        stale_difference,
        UNAVAILABLE,
    ),
    Attack(
        "news without end",
        "each state differs from the one before, and no chunk ever comes",
        never_the_same,
        INCOMPLETE,
    ),
    Attack(
        "the receipt is refused",
        "the receipt is answered with `no`",
        lambda _, __: on("put-receipt", always(refusal(403, problems.FORBIDDEN))),
        ("access.denied",),
    ),
    Attack(
        "the state of another parcel",
        "the state is that of a parcel with other chunks, all with foreign signatures",
        lambda _, __: on("get-state", state_with(chunks=(RECORD,))),
        DELIVERED,
    ),
    Attack(
        "the state is garbage",
        "the state is no CBOR",
        lambda _, __: on("get-state", always(Said(200, b"\xff" * 40, CBOR))),
        UNAVAILABLE,
    ),
    Attack(
        "mending is refused",
        "chunk 2 is damaged for ever, and the request to mend it refused",
        lambda _, __: both(
            always(refusal(403, problems.FORBIDDEN)),
            on("get-chunk", always(Said(200, b"rotten" * 20)), index=2),
            "want",
        ),
        ("access.denied", *DAMAGED),
    ),
]  # fmt: skip
