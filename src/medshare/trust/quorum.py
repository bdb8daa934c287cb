"""When several people together may do what none of them may do alone (docs/administration.md §3).

1. Only administrators count, and of one person only one voice, however many stations he has.
2. Whoever proposes has approved by that: at least one other person must follow.
3. A rejection outweighs an approval of the same person, whichever came first.
4. A proposal is carried by `need` persons who approve, never by fewer than two, unless its
   action is one that a single administrator may take.
5. It is rejected as soon as too few persons are left who could approve, and by its proposer.

Pure, and without an order: the same voices always give the same answer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from medshare.errors import UsageError
from medshare.ids import StationId

LEAST: Final = 2
"""Persons that every quorum needs."""
MAX_ADMINISTRATORS: Final = 16


class Standing(StrEnum):
    """What the voices come to."""

    PENDING = "pending"
    CARRIED = "carried"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Member:
    """An administrator: a station, and the person behind it where that is known."""

    station: StationId
    person: bytes = b""
    """Names the person, by his credential; empty where no credential is known."""

    @property
    def voice(self) -> bytes:
        """What counts once: the person, or else the station."""
        return b"person " + self.person if self.person else b"station " + self.station


@dataclass(frozen=True, slots=True)
class Ballot:
    """How one station voted."""

    station: StationId
    approves: bool


@dataclass(frozen=True, slots=True)
class Count:
    """The voices on one proposal."""

    standing: Standing
    approvals: int
    rejections: int
    needed: int


def require_workable(members: Sequence[Member], need: int) -> None:
    """Raise UsageError unless *members* can make up a quorum of *need*.

    One more than needed is not asked for: whoever wants to survive a lost key names more.
    """
    if len(members) > MAX_ADMINISTRATORS:
        raise UsageError(f"a relay has at most {MAX_ADMINISTRATORS} administrators")
    if len({one.station for one in members}) != len(members):
        raise UsageError("a station is named twice among the administrators")
    voices = {one.voice for one in members}
    if len(voices) != len(members):
        raise UsageError(
            "two of these cards are of one person, by their certificates",
            hint="each administrator must be a person of his own",
        )
    if need < LEAST:
        raise UsageError(f"a quorum has at least {LEAST} persons")
    if need > len(voices):
        raise UsageError(f"{need} approvals cannot come from {len(voices)} administrators")


def count(
    members: Iterable[Member],
    ballots: Iterable[Ballot],
    *,
    proposer: StationId,
    need: int,
    alone: bool = False,
) -> Count:
    """Return what *ballots*, and the proposer's own approval, come to.

    *need* persons must approve; with *alone* one is enough.
    """
    voices = {one.station: one.voice for one in members}
    cast = [*ballots, Ballot(proposer, approves=True)]
    against = {voices[one.station] for one in cast if not one.approves and one.station in voices}
    approving = {voices[one.station] for one in cast if one.approves and one.station in voices}
    approving -= against
    needed = 1 if alone else max(need, LEAST)
    withdrawn = any(not one.approves and one.station == proposer for one in cast)
    if withdrawn or len(set(voices.values()) - against) < needed:
        standing = Standing.REJECTED
    elif len(approving) >= needed and voices.get(proposer) in approving:
        standing = Standing.CARRIED
    else:
        standing = Standing.PENDING
    return Count(standing, len(approving), len(against), needed)
