"""What a relay tells its administrators: one encoding each (protocol §5.5 to §5.8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from medshare import canonical
from medshare.canonical import Fields
from medshare.errors import FormatError
from medshare.wire.routes import MAX_PROPOSAL, MAX_VOTE

DIGEST_SIZE: Final = 32
MAX_LISTED: Final = 256
"""Proposals in one list: those that are open, and of the others the newest."""
MAX_VOTES: Final = 32
MAX_CHARTER: Final = 1 << 22
_SMALL: Final = 4096
MAX_RESULT: Final = _SMALL
MAX_OVERVIEW: Final = MAX_CHARTER + _SMALL
MAX_LISTING: Final = MAX_LISTED * (DIGEST_SIZE + 32) + _SMALL
MAX_DOSSIER: Final = MAX_PROPOSAL + MAX_VOTES * MAX_VOTE + _SMALL
_MAX_VOICES: Final = 64
_MAX_CODE: Final = 64


class State(StrEnum):
    """What became of a proposal."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    """It was carried, and could not be done: the code says why."""
    REJECTED = "rejected"
    EXPIRED = "expired"
    VOID = "void"
    """Made under administrators who were replaced since."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a proposal stands, told to whoever proposed or voted."""

    state: State
    approvals: int
    rejections: int
    needed: int
    code: str = ""


@dataclass(frozen=True, slots=True)
class Overview:
    """How the relay is administered: its charter, encoded, and its policy."""

    charter: bytes
    settings: dict[str, int]


@dataclass(frozen=True, slots=True)
class Dossier:
    """A proposal with all votes, as they were signed, and what became of it."""

    proposal: bytes
    votes: tuple[bytes, ...]
    state: State
    at: int
    """When it was decided or closed, in seconds since 1970 UTC; 0 while it is pending."""
    code: str = ""


def encode_result(result: Result) -> bytes:
    """Return the answer to a proposal or a vote."""
    return canonical.encode(
        {
            "approvals": result.approvals,
            "code": result.code,
            "needed": result.needed,
            "rejections": result.rejections,
            "state": str(result.state),
        }
    )


def decode_result(data: bytes) -> Result:
    """Return the result in *data*; raise FormatError when it is malformed."""
    what = "the relay's answer about a proposal"
    fields = Fields(canonical.decode(data, limit=MAX_RESULT, what=what), what=what)
    result = Result(
        state=_state(fields.text("state", maximum=16)),
        approvals=fields.uint("approvals", maximum=_MAX_VOICES),
        rejections=fields.uint("rejections", maximum=_MAX_VOICES),
        needed=fields.uint("needed", maximum=_MAX_VOICES),
        code=fields.text("code", maximum=_MAX_CODE),
    )
    fields.finish()
    return result


def encode_overview(overview: Overview) -> bytes:
    """Return the answer that tells who administers the relay."""
    return canonical.encode({"charter": overview.charter, "settings": overview.settings})


def decode_overview(data: bytes) -> Overview:
    """Return what *data* tells; raise FormatError when it is malformed."""
    what = "the relay's administration"
    fields = Fields(canonical.decode(data, limit=MAX_OVERVIEW, what=what), what=what)
    charter = fields.octets("charter", maximum=MAX_CHARTER)
    table = fields.mapping("settings", maximum=16)
    fields.finish()
    if not all(type(value) is int for value in table.values()):
        raise FormatError(f"{what} has a setting that is no number")
    return Overview(charter, table)


def encode_listing(proposals: Sequence[tuple[bytes, State]]) -> bytes:
    """Return the list of proposals, each named by its digest."""
    return canonical.encode({"proposals": [[digest, str(state)] for digest, state in proposals]})


def decode_listing(data: bytes) -> tuple[tuple[bytes, State], ...]:
    """Return the proposals in *data*; raise FormatError when it is malformed."""
    what = "the relay's list of proposals"
    fields = Fields(
        canonical.decode(data, limit=MAX_LISTING, what=what, items=4 * MAX_LISTED + 8), what=what
    )
    items = fields.items("proposals", maximum=MAX_LISTED)
    fields.finish()
    found = []
    for item in items:
        match item:
            case [bytes() as digest, str() as state] if len(digest) == DIGEST_SIZE:
                found.append((digest, _state(state)))
            case _:
                raise FormatError(f"{what} is malformed")
    return tuple(found)


def encode_dossier(dossier: Dossier) -> bytes:
    """Return the answer that tells everything about one proposal."""
    return canonical.encode(
        {
            "at": dossier.at,
            "code": dossier.code,
            "proposal": dossier.proposal,
            "state": str(dossier.state),
            "votes": list(dossier.votes),
        }
    )


def decode_dossier(data: bytes) -> Dossier:
    """Return what *data* tells; raise FormatError when it is malformed.

    What is signed in it is not verified here.
    """
    what = "the relay's dossier of a proposal"
    fields = Fields(
        canonical.decode(data, limit=MAX_DOSSIER, what=what, items=2 * MAX_VOTES), what=what
    )
    votes = fields.items("votes", maximum=MAX_VOTES)
    if not all(isinstance(one, bytes) and len(one) <= MAX_VOTE for one in votes):
        raise FormatError(f"{what} has a vote that is malformed")
    dossier = Dossier(
        proposal=fields.octets("proposal", maximum=MAX_PROPOSAL),
        votes=tuple(votes),
        state=_state(fields.text("state", maximum=16)),
        at=fields.time("at"),
        code=fields.text("code", maximum=_MAX_CODE),
    )
    fields.finish()
    return dossier


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError as error:
        raise FormatError("the state of a proposal is unknown here") from error
