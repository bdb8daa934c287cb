"""Refusals on the wire: codes, HTTP statuses, and the errors they are here (protocol §6).

A refusal is an RFC 9457 problem in JSON with two members of ours: `code`, which is stable,
and for an unfinished parcel `missing`.  The sentence in `detail` is for people and comes
from somebody else's machine, so it is shortened and made harmless before anyone sees it.
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Final

from medshare.chunking import MAX_CHUNKS
from medshare.errors import (
    AccessDeniedError,
    FormatError,
    IntegrityError,
    MedshareError,
    NotFoundError,
    RelayRefusedError,
    RelayUnavailableError,
)

PROBLEM: Final = "application/problem+json"
MAX_PROBLEM: Final = 1 << 16
MAX_MISSING: Final = 256
"""Missing chunks that a refusal names at most."""
_MAX_DETAIL: Final = 300

UNSIGNED: Final = "access.denied.unsigned"
SIGNATURE: Final = "access.denied.signature"
FORBIDDEN: Final = "access.denied"
NOT_GRANTED: Final = "grant.permission"
GRANT_ENDED: Final = "grant.expired"
GRANT_WITHDRAWN: Final = "grant.withdrawn"
OPENINGS_USED: Final = "grant.openings"
SECOND_FACTOR: Final = "access.denied.second-factor"
FACTOR: Final = "access.denied.factor"
LOCKED: Final = "access.denied.locked"
INVITATION: Final = "access.denied.invitation"
PROFILE: Final = "access.denied.profile"
CERTIFICATE: Final = "access.denied.certificate"
ADDRESS: Final = "access.denied.address"
NOT_FOUND: Final = NotFoundError.code
PATH: Final = "transfer.refused.path"
METHOD: Final = "transfer.refused.method"
CONFLICT: Final = "transfer.refused.conflict"
INCOMPLETE: Final = "transfer.refused.incomplete"
GONE: Final = "transfer.refused.gone"
CLOSED: Final = "transfer.refused.closed"
FOREIGN: Final = "transfer.refused.foreign"
HELD: Final = "transfer.refused.held"
ORDER: Final = "transfer.refused.order"
RETENTION: Final = "transfer.refused.retention"
LENGTH: Final = "transfer.refused.length"
TOO_LARGE: Final = "transfer.refused.too-large"
MISDIRECTED: Final = "transfer.refused.misdirected"
QUOTA: Final = "transfer.refused.quota"
FULL: Final = "transfer.refused.full"
SLOW: Final = "transfer.unavailable.slow"
BUSY: Final = "transfer.unavailable.busy"
THROTTLED: Final = "transfer.unavailable.throttled"
FAULT: Final = "transfer.unavailable.fault"

STATUS: Final = {
    "format": 400,
    "authenticity": 422,
    "integrity": 422,
    UNSIGNED: 401,
    SIGNATURE: 401,
    FORBIDDEN: 403,
    **dict.fromkeys((NOT_GRANTED, GRANT_ENDED, GRANT_WITHDRAWN, OPENINGS_USED), 403),
    "grant": 422,
    NOT_FOUND: 404,
    PATH: 404,
    METHOD: 405,
    CONFLICT: 409,
    INCOMPLETE: 409,
    CLOSED: 409,
    FOREIGN: 409,
    HELD: 409,
    ORDER: 409,
    RETENTION: 409,
    GONE: 410,
    LENGTH: 411,
    TOO_LARGE: 413,
    MISDIRECTED: 421,
    QUOTA: 507,
    FULL: 507,
    SLOW: 408,
    BUSY: 429,
    THROTTLED: 429,
    FAULT: 500,
    "transfer.unavailable": 503,
}
"""The HTTP status (RFC 9110) of each code, or of the longest beginning of it."""

_OF_STATIONS: Final = frozenset({"audit", "cancelled", "key", "storage", "unexpected", "usage"})
"""Families of codes that a relay has nothing to say of."""
_FALLBACK: Final = {
    401: FORBIDDEN,
    403: FORBIDDEN,
    404: NOT_FOUND,
    422: IntegrityError.code,
    **dict.fromkeys((408, 429, 500, 502, 503, 504), RelayUnavailableError.code),
}

_CODE: Final = re.compile(r"[a-z]+(?:[.-][a-z]+){0,5}")


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal."""

    status: int
    code: str
    detail: str
    missing: tuple[int, ...] = ()


def status_of(code: str) -> int:
    """Return the status that carries *code*; 500 for what nobody planned."""
    while code:
        if code in STATUS:
            return STATUS[code]
        code = code.rpartition(".")[0]
    return 500


def problem_of(error: MedshareError) -> Problem:
    """Return *error* as it goes out; a fault of the relay itself says nothing of its inside."""
    status = status_of(error.code)
    if status == 500:
        return Problem(500, FAULT, "the relay failed; its log says why")
    return Problem(status, error.code, error.message)


def encode_problem(problem: Problem) -> bytes:
    """Return the body of a refusal."""
    members: dict[str, object] = {
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
    }
    if problem.missing:
        members["missing"] = problem.missing[:MAX_MISSING]
    return json.dumps(members).encode()


def decode_problem(data: bytes) -> Problem:
    """Return the refusal in *data*; raise FormatError when it is none."""
    if len(data) > MAX_PROBLEM:
        raise FormatError("the refusal is too long")
    try:
        members = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError("the refusal is not valid JSON") from error
    match members:
        case {"status": int() as status, "code": str() as code, "detail": str() as detail} if len(
            code
        ) <= 64 and _CODE.fullmatch(code):
            return Problem(status, code, _harmless(detail), _missing(members.get("missing", [])))
    raise FormatError("the refusal lacks a code")


def _missing(value: object) -> tuple[int, ...]:
    match value:
        case list() if len(value) <= MAX_MISSING and all(type(item) is int for item in value):
            if all(0 <= item < MAX_CHUNKS for item in value):
                return tuple(value)
    raise FormatError("the refusal does not list missing chunks as it should")


def _harmless(text: str) -> str:
    """Return *text* without anything that could move a cursor or fake a line."""
    shown = "".join(c if c.isprintable() else "�" for c in text[:_MAX_DETAIL])
    return shown or "no reason given"


def error_of(problem: Problem) -> MedshareError:
    """Return what *problem* is at the client; its class follows from the status alone.

    A code that this version does not know therefore still means failure of a known kind.  One
    that speaks of the station itself is left out: no relay can say `key.passphrase`.
    """
    if problem.code.partition(".")[0] in _OF_STATIONS:
        problem = replace(problem, code=_FALLBACK.get(problem.status, RelayRefusedError.code))
    said = f"the relay refused: {problem.detail}"
    match problem.status:
        case 401 | 403:
            return AccessDeniedError(said, hint=_HINTS.get(problem.code), code=problem.code)
        case 404:
            return NotFoundError(said, code=problem.code)
        case 422:
            return IntegrityError(said, code=problem.code)
        case 429:
            return RelayUnavailableError(
                f"the relay asks to wait: {problem.detail}", code=problem.code
            )
        case 408 | 500 | 502 | 503 | 504:
            failed = f"the relay could not do it: {problem.detail}"
            return RelayUnavailableError(failed, code=problem.code)
        case _:
            return RelayRefusedError(said, hint=_HINTS.get(problem.code), code=problem.code)


_HINTS: Final = {
    SECOND_FACTOR: "sign in with the second factor: medshare sign-in",
    FACTOR: "check the clock of whatever shows the code, and wait for the next one; a recovery code"
    " works once",
    LOCKED: "sign in with a recovery code (--recovery-code), or ask the operator of the relay",
    INVITATION: "ask the operator of the relay for a new enrolment secret",
    PROFILE: "ask the operator of the relay how this station is to be enrolled",
    CERTIFICATE: "give the certificate that the operator of the relay knows: --client-cert FILE"
    " --client-key FILE",
    ADDRESS: "ask the operator of the relay from which addresses this station may come",
    SIGNATURE: "ask the operator of the relay to enroll your card, and check this clock",
    QUOTA: "remove old parcels, or ask the operator of the relay for more room",
    RETENTION: "ask for less: --delete-after 30d",
    GONE: "the sender can send the same again, as a new parcel: medshare send --new",
    FULL: "ask the operator of the relay to free space, then run the same command again",
    **dict.fromkeys(
        (NOT_GRANTED, GRANT_ENDED, GRANT_WITHDRAWN, OPENINGS_USED),
        "ask the sender for a new grant",
    ),
    MISDIRECTED: "use the address that the operator of the relay gave you",
}
