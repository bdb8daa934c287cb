"""Entries of the record: who did what to which parcel, and how it ended (docs/audit.md §2).

    entry = CBOR [1, number, before, time, act, outcome, [kind, id], role,
                  [kind, id], tier, code, [party, …], {detail: value, …}]

*before* is the leaf hash of the entry before, zeros for the first: each entry is bound to all
that precede it.  There is no place for a name, a path or a free text: what is a text is a
word of a closed list, or a label of at most 48 of `a`–`z`, `0`–`9`, `.` and `-`; what is not
is a number, or an identifier of at most 32 octets.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from medshare import canonical
from medshare.audit.merkle import HASH_SIZE
from medshare.canonical import MAX_TIME
from medshare.errors import FormatError, MedshareError
from medshare.ids import ParcelId, StationId

VERSION: Final = 1
MAX_ENTRY: Final = 4096
MAX_NUMBER: Final = (1 << 53) - 1
MAX_PARTIES: Final = 64
MAX_ID: Final = 32
NOTHING_BEFORE: Final = bytes(HASH_SIZE)
_MAX_ITEMS: Final = 256
_FIELDS: Final = 13
_LABEL: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]{0,46}[a-z0-9])?)?")
_WHAT: Final = "an entry of the record"


class Act(StrEnum):
    """Everything that is recorded."""

    PRUNE_RECORD = "prune-record"
    USE_RECORD = "use-record"
    WITNESS = "witness"
    START = "start"
    STOP = "stop"
    INIT = "init"
    RESTORE = "restore"
    TRUST = "trust"
    DISTRUST = "distrust"
    ROTATE = "rotate"
    POLICY = "policy"
    ROLE = "role"
    SIGN_IN = "sign-in"
    SIGN_OUT = "sign-out"
    LOCK_OUT = "lock-out"
    UNLOCK = "unlock"
    ADD_FACTOR = "add-factor"
    REMOVE_FACTOR = "remove-factor"
    RESET_FACTORS = "reset-factors"
    USE_RECOVERY = "use-recovery"
    RENEW_RECOVERY = "renew-recovery"
    PROFILE = "profile"
    SEND = "send"
    SEAL = "seal"
    DELIVER = "deliver"
    LIST = "list"
    OPEN = "open"
    VIEW = "view"
    EXPORT = "export"
    RECEIPT = "receipt"
    GRANT = "grant"
    WITHDRAW = "withdraw"
    AMEND = "amend"
    OPINION = "opinion"
    SHARE = "share"
    REVOKE = "revoke"
    EMERGENCY = "emergency"
    """The glass was broken: rules of policy were overridden; the digest names the reason."""
    REVIEW = "review"
    """Somebody else has looked at the emergency with the number `first`."""
    ANNOUNCE = "announce"
    FETCH = "fetch"
    DELETE = "delete"
    EXPIRE = "expire"
    ENROL = "enrol"
    REMOVE = "remove"
    RENEW = "renew"
    PROPOSE = "propose"
    APPROVE = "approve"
    REJECT = "reject"
    ADMINISTER = "administer"
    """Who administers a relay was set, first or anew."""
    HOLD = "hold"
    RELEASE = "release"
    ISSUE = "issue"
    PUBLISH = "publish"
    BACKUP = "backup"
    DESTROY = "destroy"
    """A key was destroyed."""
    FORGET = "forget"
    """A vault is looked after no longer: keys that it needs may be destroyed."""
    REQUEST = "request"


class Outcome(StrEnum):
    """How an act ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class Kind(StrEnum):
    """What an identifier names."""

    STATION = "station"
    CREDENTIAL = "credential"
    OPERATOR = "operator"
    """Somebody at the machine itself, told apart by the detail `uid` at most."""
    UNKNOWN = "unknown"
    """Somebody who did not prove to be anybody."""
    PARCEL = "parcel"
    RECORD = "record"
    NOTHING = "nothing"


class Detail(StrEnum):
    """What may be said beside; each is a number, but the last, which is a digest."""

    CHUNKS = "chunks"
    COUNT = "count"
    FILES = "files"
    FIRST = "first"
    GENERATION = "generation"
    LAST = "last"
    LATE = "late"
    """Seconds by which the clock was behind the entry before, whose time was taken."""
    OCTETS = "octets"
    RESUMED = "resumed"
    SIZE = "size"
    UID = "uid"
    DIGEST = "digest"


Details = Mapping[Detail, int | bytes]
_OCTETS: Final = frozenset({Detail.DIGEST})
_ID_SIZES: Final = {
    Kind.STATION: (32,),
    Kind.CREDENTIAL: tuple(range(1, MAX_ID + 1)),
    Kind.OPERATOR: (0,),
    Kind.UNKNOWN: (0, 32),
    Kind.PARCEL: (16,),
    Kind.RECORD: (32,),
    Kind.NOTHING: (0,),
}


@dataclass(frozen=True, slots=True)
class Ref:
    """A thing or a somebody, named by an identifier; raises FormatError when that is none."""

    kind: Kind
    id: bytes = b""

    def __post_init__(self) -> None:
        if type(self.id) is not bytes or len(self.id) not in _ID_SIZES[self.kind]:
            raise FormatError(f"{len(self.id)} octets do not identify a {self.kind}")

    def __str__(self) -> str:
        return f"{self.kind} {self.id.hex()}".strip()


NOTHING: Final = Ref(Kind.NOTHING)
OPERATOR: Final = Ref(Kind.OPERATOR)
UNKNOWN: Final = Ref(Kind.UNKNOWN)


def parcel(parcel_id: ParcelId) -> Ref:
    """Return the reference to a parcel."""
    return Ref(Kind.PARCEL, bytes(parcel_id))


def station(station_id: StationId) -> Ref:
    """Return the reference to a station."""
    return Ref(Kind.STATION, bytes(station_id))


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, before it has a place in the record.

    Raises FormatError when anything in it could say more than it should.
    """

    act: Act
    actor: Ref
    object: Ref = NOTHING
    outcome: Outcome = Outcome.DONE
    role: str = ""
    tier: str = ""
    code: str = ""
    """Why, where the outcome is not `done`: the stable code of an error."""
    parties: tuple[StationId, ...] = ()
    """Others concerned, such as recipients."""
    details: Details = field(default_factory=dict)

    def __post_init__(self) -> None:
        for label in (self.role, self.tier, self.code):
            if not _LABEL.fullmatch(label):
                raise FormatError("a label in the record has a character that is not allowed there")
        if len(self.parties) > MAX_PARTIES or any(len(one) != MAX_ID for one in self.parties):
            raise FormatError("the parties of an entry are not stations, or too many")
        for name, value in self.details.items():
            _require_detail(Detail(name), value)

    def refused(self, error: MedshareError) -> "Event":
        """Return the same, as it was refused, or failed, with *error*: only its code is kept."""
        code = error.code if _LABEL.fullmatch(error.code) else MedshareError.code
        outcome = Outcome.FAILED if code.startswith(_FAILURES) else Outcome.REFUSED
        return replace(self, outcome=outcome, code=code)


_FAILURES: Final = ("storage", "transfer", "cancelled")
"""Codes of faults that nobody decided."""


def _require_detail(name: Detail, value: object) -> None:
    if name in _OCTETS:
        fits = type(value) is bytes and len(value) == MAX_ID
    else:
        fits = type(value) is int and 0 <= value <= MAX_NUMBER
    if not fits:
        raise FormatError(f"the detail '{name}' of an entry has a value that it cannot have")


@dataclass(frozen=True, slots=True)
class Entry:
    """An event in its place; *time* in seconds since 1970 UTC, never before the entry before."""

    number: int
    before: bytes
    time: int
    event: Event

    def encode(self) -> bytes:
        """Return the deterministic encoding."""
        one = self.event
        return canonical.encode(
            [
                VERSION,
                self.number,
                self.before,
                self.time,
                str(one.act),
                str(one.outcome),
                [str(one.actor.kind), one.actor.id],
                one.role,
                [str(one.object.kind), one.object.id],
                one.tier,
                one.code,
                list(one.parties),
                {str(name): value for name, value in one.details.items()},
            ]
        )


def next_entry(event: Event, *, number: int, before: bytes, last_time: int, now: int) -> Entry:
    """Return the entry that follows; a clock that went back is noted, and not believed."""
    late = last_time - now
    if late > 0:
        event = replace(event, details={**event.details, Detail.LATE: late})
    return Entry(number, before, max(now, last_time), event)


def parse_entry(data: bytes) -> Entry:
    """Return the entry in *data*; raise FormatError unless `encode` could have written it."""
    value = canonical.decode(data, limit=MAX_ENTRY, what=_WHAT, items=_MAX_ITEMS)
    if not isinstance(value, list) or len(value) != _FIELDS or value[0] != VERSION:
        raise FormatError(f"{_WHAT} is malformed, or of another version")
    try:
        entry = _entry(value)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{_WHAT} has a word that is unknown here") from error
    if entry.encode() != data:
        raise FormatError(f"{_WHAT} is malformed")
    return entry


def _entry(value: list[object]) -> Entry:
    match value[1:]:
        case [
            int() as number, bytes() as before, int() as time, str() as act, str() as outcome,
            [str() as actor, bytes() as actor_id], str() as role,
            [str() as kind, bytes() as object_id], str() as tier, str() as code,
            list() as parties, dict() as details,
        ] if len(before) == HASH_SIZE and number <= MAX_NUMBER and time <= MAX_TIME:  # fmt: skip
            event = Event(
                Act(act), Ref(Kind(actor), actor_id), Ref(Kind(kind), object_id), Outcome(outcome),
                role, tier, code, tuple(StationId(one) for one in parties),
                {Detail(name): content for name, content in details.items()},
            )  # fmt: skip
            return Entry(number, before, time, event)
    raise FormatError(f"{_WHAT} is malformed")


def head(number: int, before: bytes) -> bytes:
    """Return the octets with which the encoding of this entry begins; its time follows.

    Who reads millions of entries compares octets instead of decoding them.
    """
    return _HEAD + _uint(number) + _BEFORE + before


_HEAD: Final = bytes([0x80 + _FIELDS, VERSION])
_BEFORE: Final = bytes([0x58, HASH_SIZE])


def _uint(value: int) -> bytes:
    """Return the CBOR encoding of an unsigned integer."""
    if value < 24:
        return bytes([value])
    if value < 1 << 8:
        return bytes([24, value])
    if value < 1 << 16:
        return b"\x19" + value.to_bytes(2)
    if value < 1 << 32:
        return b"\x1a" + value.to_bytes(4)
    return b"\x1b" + value.to_bytes(8)


def uint_at(data: bytes, at: int) -> tuple[int, int]:
    """Return the unsigned integer whose encoding begins at *at*, and where it ends.

    Raises FormatError when there is none.
    """
    if at >= len(data) or data[at] > 27:
        raise FormatError(f"{_WHAT} is malformed")
    kind = data[at]
    if kind < 24:
        return kind, at + 1
    end = at + 1 + (1 << kind - 24)
    if end > len(data):
        raise FormatError(f"{_WHAT} is malformed")
    return int.from_bytes(data[at + 1 : end]), end


def number_in(data: bytes) -> int | None:
    """Return the number that an entry claims, or None when it does not look like one."""
    if not data.startswith(_HEAD):
        return None
    try:
        return uint_at(data, len(_HEAD))[0]
    except FormatError:
        return None
