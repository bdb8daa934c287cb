"""What the liar says to a receiver: each lie by name, with what medshare must answer.

An answer is a stable error code, or a beginning of one; `delivered` means that the receiver
found its way to every octet of the study in spite of the lie.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from medshare.ids import ParcelId
from medshare.wire import bodies, problems
from medshare.wire.problems import Problem, encode_problem
from tests.attacks.lying_relay import Exchange, Lie, Said
from tests.attacks.stage import Stage

Make = Callable[[Stage, ParcelId], Lie]

CBOR: Final = "application/cbor"
GIB: Final = 1 << 30
UNAVAILABLE: Final = ("transfer.unavailable",)
DAMAGED: Final = ("integrity", "authenticity", "format")
INCOMPLETE: Final = ("integrity.incomplete",)
DELIVERED: Final = ("delivered",)


@dataclass(frozen=True)
class Attack:
    """One lie: what is tried, and the answers of which medshare must give one."""

    name: str
    tried: str
    make: Make
    answers: tuple[str, ...]


def on(
    routes: str, lie: Lie, *, index: int | None = None, times: int | None = None, after: int = 0
) -> Lie:
    """Return a lie told for *routes* alone: to chunk *index*, *times*, *after* so many truths."""

    def tell(x: Exchange) -> Said | None:
        chosen = x.asked.route in routes.split() and index in {None, x.asked.index}
        if chosen and x.number >= after and (times is None or x.number < after + times):
            return lie(x)
        return x.honest()

    return tell


def changed(change: Callable[[bytes], bytes]) -> Lie:
    """Return a lie that changes the body of what the honest relay says."""

    def tell(x: Exchange) -> Said:
        said = x.honest()
        return replace(said, body=change(said.body))

    return tell


def always(said: Said) -> Lie:
    """Return a lie that says the same to everything."""
    return lambda _: said


def flip(part: float, bit: int = 0) -> Callable[[bytes], bytes]:
    """Return what flips one bit at *part* (0 to 1) of some octets."""

    def change(octets: bytes) -> bytes:
        if not octets:
            return octets
        copy = bytearray(octets)
        copy[min(int(part * len(copy)), len(copy) - 1)] ^= 1 << bit
        return bytes(copy)

    return change


def refusal(status: int, code: str) -> Said:
    """Return a refusal as relays make them."""
    return Said(status, encode_problem(Problem(status, code, "so it is")), problems.PROBLEM)


def state_with(**changes: object) -> Lie:
    """Return a lie about the state of a parcel."""

    def tell(x: Exchange) -> Said:
        said = x.honest()
        if said.status != 200:
            return said
        state = bodies.decode_state(said.body)
        state = replace(state, **{"tag": f"x{x.number}", "since": "", **changes})  # type: ignore[arg-type]
        return Said(200, bodies.encode_state(state), CBOR)

    return tell


def stored(stage: Stage, parcel: ParcelId, name: str) -> Said:
    """Return a part of a parcel as the honest relay keeps it."""
    return Said(200, (stage.relay.folder(parcel) / name).read_bytes())


def other(stage: Stage) -> ParcelId:
    """Return another parcel of Alice's to Bob."""
    return stage.send(stage.study("other")).parcel


# --- altered ----------------------------------------------------------------------------------

PARTS: Final = {"envelope": "get-envelope", "manifest": "get-manifest", "seal": "get-seal"}
PLACES: Final = {"at the start": 0.0, "in the middle": 0.5, "near the end": 0.9, "at the end": 1.0}
CHANGES: Final[dict[str, Callable[[bytes], bytes]]] = {
    **{f"one bit flipped {where}": flip(part, 3) for where, part in PLACES.items()},
    "cut in half": lambda octets: octets[: len(octets) // 2],
    "cut by one octet": lambda octets: octets[:-1],
    "empty": lambda _: b"",
    "with one octet more": lambda octets: octets + b"\0",
    "twice in a row": lambda octets: octets + octets,
    "as zeros": lambda octets: bytes(len(octets)),
}


LONGER: Final = {"with one octet more", "twice in a row"}
ANSWERS: Final = {
    "envelope": ("authenticity", "format"),
    "manifest": ("integrity",),
    "seal": ("authenticity", "format"),
}


def altered() -> list[Attack]:
    """Return every change of every object that is served."""
    attacks = [
        Attack(
            f"{part} {how}",
            f"the {part} is served {how}",
            lambda _, __, route=route, change=change: on(route, changed(change)),  # type: ignore[misc]
            ("transfer",) if part == "manifest" and how in LONGER else ANSWERS[part],
        )
        for part, route in PARTS.items()
        for how, change in CHANGES.items()
    ]
    for how, change in CHANGES.items():
        lie = changed(change)
        attacks += [
            Attack(
                f"chunk {how}, once",
                f"one chunk is served {how}, and honestly when it is fetched again",
                lambda _, __, lie=lie: on("get-chunk", lie, times=1),  # type: ignore[misc]
                DELIVERED,
            ),
            Attack(
                f"chunk {how}, always",
                f"chunk 2 is served {how} for ever, and the relay's copy said to be good",
                lambda _, __, lie=lie: on("get-chunk", lie, index=2),  # type: ignore[misc]
                ("integrity",),
            ),
        ]
    return attacks


# --- exchanged --------------------------------------------------------------------------------


def exchanged(part: str) -> Make:
    """Return a lie that serves *part* of another parcel of the same sender and recipient."""

    def make(stage: Stage, _: ParcelId) -> Lie:
        return on(PARTS[part], always(stored(stage, other(stage), part)))

    return make


def exchanged_chunks(stage: Stage, _: ParcelId) -> Lie:
    """Serve the chunks of another parcel."""
    chunks = stage.relay.folder(other(stage)) / "chunks"
    return on("get-chunk", lambda x: Said(200, (chunks / f"{x.asked.index:08d}").read_bytes()))


def swapped_chunks(stage: Stage, parcel: ParcelId) -> Lie:
    """Serve chunk 3 for chunk 1 and the other way round."""
    swap = {1: 3, 3: 1}

    def tell(x: Exchange) -> Said:
        index = swap.get(x.asked.index, x.asked.index)
        return stored(stage, parcel, f"chunks/{index:08d}")

    return on("get-chunk", tell)


def one_chunk_for_all(stage: Stage, parcel: ParcelId) -> Lie:
    """Serve chunk 0 in every place."""
    return on("get-chunk", always(stored(stage, parcel, "chunks/00000000")))


def whole_other_parcel(stage: Stage, _: ParcelId) -> Lie:
    """Serve another parcel, whole and consistent, under the id that is asked for."""
    folder = stage.relay.folder(other(stage))
    parts = {route: folder / part for part, route in PARTS.items()}

    def tell(x: Exchange) -> Said:
        if x.asked.route == "get-chunk":
            return Said(200, (folder / "chunks" / f"{x.asked.index:08d}").read_bytes())
        if x.asked.route in parts:
            return Said(200, parts[x.asked.route].read_bytes())
        return x.honest()

    return tell


def answers_out_of_turn(_: Stage, __: ParcelId) -> Lie:
    """Give each request for a chunk the answer to the one before."""
    before: list[Said] = []

    def tell(x: Exchange) -> Said:
        before.append(x.honest())
        return before[max(0, len(before) - 2)]

    return on("get-chunk", tell)


def answers_twice(_: Stage, __: ParcelId) -> Lie:
    """Write every answer twice, so that the second waits for the next request."""

    def tell(x: Exchange) -> Said:
        said = x.honest()
        x.say(said.encoded())
        return said

    return tell


EXCHANGED: Final = [
    Attack(
        f"{part} of another parcel",
        f"the {part} of another parcel between the same stations is served",
        exchanged(part),
        (*DAMAGED, "transfer"),  # the other may be longer than the envelope lets it be
    )
    for part in PARTS
] + [
    Attack("chunks of another parcel", "chunks are spliced in", exchanged_chunks, ("integrity",)),
    Attack("two chunks swapped", "chunks 1 and 3 are exchanged", swapped_chunks, ("integrity",)),
    Attack("one chunk for all", "chunk 0 is served everywhere", one_chunk_for_all, ("integrity",)),
    Attack(
        "a whole other parcel",
        "another consistent parcel is served under this id",
        whole_other_parcel,
        ("integrity",),
    ),
    Attack(
        "answers out of turn",
        "each chunk comes with the request after it (reordering)",
        answers_out_of_turn,
        ("integrity", *DELIVERED),
    ),
    Attack(
        "answers twice",
        "every answer is written twice on its connection (duplication, response splitting)",
        answers_twice,
        (*DELIVERED, *DAMAGED, "transfer"),
    ),
]  # fmt: skip
