"""What a transfer tells while it runs: plain values for progress bars, JSON lines and tests.

`on_event` is called from worker threads, one call at a time.  It must return quickly;
what it raises ends the transfer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medshare.ids import ParcelId


@dataclass(frozen=True, slots=True)
class Planned:
    """The parcel is known; octets are about to move."""

    parcel: ParcelId
    direction: str
    """`send` or `receive`."""
    peer: str
    """Local names of the recipients, or of the sender."""
    route: str
    files: int
    total_bytes: int
    total_chunks: int
    resumed_chunks: int
    """Chunks confirmed by an earlier run, which are not moved again."""
    resumed_bytes: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Figures so far; plaintext octets unless the name says wire."""

    parcel: ParcelId
    chunks: int
    total_chunks: int
    plain_bytes: int
    total_bytes: int
    wire_bytes: int
    """Octets of sealed chunks that moved in this run."""
    moved_plain_bytes: int
    """Plaintext octets that those chunks stand for; more than `wire_bytes` if compressed."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase without chunk progress began: `sealing`, `checking`, `placing`, `receipt`."""

    parcel: ParcelId
    name: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing moves; *what* says for what, *seconds* for how long already."""

    parcel: ParcelId
    what: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Retrying:
    """Something failed and is tried again after *delay* seconds."""

    parcel: ParcelId
    what: str
    reason: str
    """The error's stable code."""
    attempt: int
    delay: float


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know; *code* is stable, *message* is for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The transfer is complete in the sense that *outcome* names.

    `sealed` (all at the far side), `delivered` (a verified receipt came back), or
    `received` (all files verified and in place).
    """

    parcel: ParcelId
    outcome: str
    files: int
    total_bytes: int


Event = Planned | Progress | Phase | Waiting | Retrying | Notice | Finished
OnEvent = Callable[[Event], None]


def ignore(_: Event) -> None:
    """Take no notice: the default listener."""


def not_enrolled(names: Sequence[str]) -> Notice:
    """Return what to tell a sender whose relay does not know the contacts called *names*."""
    who = ", ".join(f"'{name}'" for name in names) or "a recipient"
    return Notice(
        "send.not-enrolled",
        f"{who} cannot fetch this yet: not enrolled at the relay; its operator needs the card "
        "(medshare relay enroll)",
    )
