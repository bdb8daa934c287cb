"""Routes and limits: which requests there are, and how large each may be (protocol §4)."""

import re
from dataclasses import dataclass, replace
from typing import Final

from medshare import receipt
from medshare.chunk import max_sealed_size
from medshare.chunking import MAX_CHUNK_SIZE, MAX_CHUNKS
from medshare.envelope import MAX_ENVELOPE_SIZE, MAX_SEALED_MANIFEST
from medshare.errors import RelayRefusedError
from medshare.ids import ParcelId, StationId, parcel_id_from_text, station_id_from_text
from medshare.seal import MAX_SEAL_SIZE
from medshare.wire import problems
from medshare.withdrawal import MAX_WITHDRAWAL

OCTETS: Final = "application/octet-stream"
CBOR: Final = "application/cbor"

MAX_SEALED_CHUNK: Final = max_sealed_size(MAX_CHUNK_SIZE)
MAX_SEALED_RECEIPT: Final = receipt.MAX_SEALED_RECEIPT
MAX_CARD_BODY: Final = 1 << 20
MAX_PROPOSAL: Final = 1 << 20
MAX_VOTE: Final = (1 << 17) + (1 << 16)
"""As `trust.proposal` has them."""
MAX_WANTED: Final = 64
"""Chunks that one request may ask for again: the relay reads and hashes each of them."""
MAX_BEGIN_FACTOR: Final = 256
MAX_PROOF: Final = 32 * 1024
"""What shows that somebody has a factor: a code, or what a security key says."""
FACTOR_ID_SIZE: Final = 16
MAX_WAIT: Final = 30
"""Seconds for which the relay holds back an answer while there is no news."""


@dataclass(frozen=True, slots=True)
class Route:
    """One kind of request."""

    name: str
    method: str
    template: str
    limit: int = 0
    """Octets of the largest body; 0 when the request has none."""
    query: bool = False
    """Whether a query follows the path."""
    once: bool = False
    """Whether a repetition is refused even when the relay was restarted in between."""
    signs_in: bool = False
    """Whether it leads to a session, or out of one, and needs none (§9)."""


_PARCEL: Final = "/v1/parcels/{parcel}"

PUT_ENVELOPE: Final = Route("put-envelope", "PUT", f"{_PARCEL}/envelope", MAX_ENVELOPE_SIZE)
GET_ENVELOPE: Final = Route("get-envelope", "GET", f"{_PARCEL}/envelope")
PUT_MANIFEST: Final = Route("put-manifest", "PUT", f"{_PARCEL}/manifest", MAX_SEALED_MANIFEST)
GET_MANIFEST: Final = Route("get-manifest", "GET", f"{_PARCEL}/manifest")
PUT_CHUNK: Final = Route("put-chunk", "PUT", f"{_PARCEL}/chunks/{{index}}", MAX_SEALED_CHUNK)
GET_CHUNK: Final = Route("get-chunk", "GET", f"{_PARCEL}/chunks/{{index}}")
PUT_SEAL: Final = Route("put-seal", "PUT", f"{_PARCEL}/seal", MAX_SEAL_SIZE)
GET_SEAL: Final = Route("get-seal", "GET", f"{_PARCEL}/seal")
GET_STATE: Final = Route("get-state", "GET", f"{_PARCEL}/state", query=True)
WANT: Final = Route("want", "POST", f"{_PARCEL}/wanted", 4 * MAX_WANTED, once=True)
PUT_RECEIPT: Final = Route(
    "put-receipt", "PUT", f"{_PARCEL}/receipts/{{station}}", MAX_SEALED_RECEIPT, once=True
)
GET_RECEIPT: Final = Route("get-receipt", "GET", f"{_PARCEL}/receipts/{{station}}")
REMOVE: Final = Route("remove", "DELETE", _PARCEL, once=True)
PUT_WITHDRAWAL: Final = Route(
    "put-withdrawal", "PUT", f"{_PARCEL}/withdrawals/{{station}}", MAX_WITHDRAWAL, once=True
)
GET_WITHDRAWAL: Final = Route("get-withdrawal", "GET", f"{_PARCEL}/withdrawals/{{station}}")
INBOX: Final = Route("inbox", "GET", "/v1/inbox", query=True)
PUT_CARD: Final = Route("put-card", "PUT", "/v1/card", MAX_CARD_BODY, once=True)
BEGIN_FACTOR: Final = Route(
    "begin-factor", "POST", "/v1/factors", MAX_BEGIN_FACTOR, once=True, signs_in=True
)
FINISH_FACTOR: Final = Route(
    "finish-factor", "POST", "/v1/factors/{factor}", MAX_PROOF, once=True, signs_in=True
)
LIST_FACTORS: Final = Route("list-factors", "GET", "/v1/factors")
REMOVE_FACTOR: Final = Route("remove-factor", "DELETE", "/v1/factors/{factor}", once=True)
RECOVERY_CODES: Final = Route("recovery-codes", "POST", "/v1/recovery-codes", once=True)
CHALLENGE: Final = Route("challenge", "POST", "/v1/session/challenge", once=True, signs_in=True)
SIGN_IN: Final = Route("sign-in", "POST", "/v1/session", MAX_PROOF, once=True, signs_in=True)
SIGN_OUT: Final = Route("sign-out", "DELETE", "/v1/session", once=True, signs_in=True)

_PROPOSAL: Final = "/v1/admin/proposals/{proposal}"

ADMIN: Final = Route("get-admin", "GET", "/v1/admin")
PROPOSALS: Final = Route("get-proposals", "GET", "/v1/admin/proposals")
PUT_PROPOSAL: Final = Route("put-proposal", "PUT", _PROPOSAL, MAX_PROPOSAL)
GET_PROPOSAL: Final = Route("get-proposal", "GET", _PROPOSAL)
PUT_VOTE: Final = Route("put-vote", "PUT", f"{_PROPOSAL}/votes/{{station}}", MAX_VOTE)

ROUTES: Final = (
    PUT_ENVELOPE,
    GET_ENVELOPE,
    PUT_MANIFEST,
    GET_MANIFEST,
    PUT_CHUNK,
    GET_CHUNK,
    PUT_SEAL,
    GET_SEAL,
    GET_STATE,
    WANT,
    PUT_RECEIPT,
    GET_RECEIPT,
    REMOVE,
    PUT_WITHDRAWAL,
    GET_WITHDRAWAL,
    INBOX,
    PUT_CARD,
    BEGIN_FACTOR,
    FINISH_FACTOR,
    LIST_FACTORS,
    REMOVE_FACTOR,
    RECOVERY_CODES,
    CHALLENGE,
    SIGN_IN,
    SIGN_OUT,
    ADMIN,
    PROPOSALS,
    PUT_PROPOSAL,
    GET_PROPOSAL,
    PUT_VOTE,
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about; a part that its route does not name is empty, or -1."""

    route: Route
    parcel: ParcelId = ParcelId(b"")
    index: int = -1
    station: StationId = StationId(b"")
    proposal: bytes = b""
    factor: bytes = b""

    @property
    def path(self) -> str:
        """The one spelling of the path."""
        return self.route.template.format(
            parcel=self.parcel.hex(),
            index=chunk_name(self.index),
            station=self.station.hex(),
            factor=self.factor.hex(),
            proposal=self.proposal.hex(),
        )


def chunk_name(index: int) -> str:
    """Return how chunk *index* is named in a path and in a parcel folder: 8 digits."""
    return f"{index:08d}"


def _pattern(route: Route) -> re.Pattern[str]:
    pattern = route.template
    for name, shape in (
        ("parcel", "[0-9a-f]{32}"),
        ("index", "[0-9]{8}"),
        ("station", "[0-9a-f]{64}"),
        ("factor", "[0-9a-f]{32}"),
        ("proposal", "[0-9a-f]{64}"),
    ):
        pattern = pattern.replace("{" + name + "}", f"(?P<{name}>{shape})")
    return re.compile(pattern)


_PATTERNS: Final = tuple((route, _pattern(route)) for route in ROUTES)


def match(method: str, path: str) -> Target:
    """Return what *method* and *path* ask for; raise RelayRefusedError when it is nothing."""
    known_path = False
    for route, pattern in _PATTERNS:
        parts = pattern.fullmatch(path)
        if parts is not None and int(parts.groupdict().get("index", "0")) < MAX_CHUNKS:
            if route.method == method:
                factor = bytes.fromhex(parts.groupdict().get("factor", ""))
                return replace(_target(route, parts.groupdict()), factor=factor)
            known_path = True
    if known_path:
        raise RelayRefusedError("this path does not take this method", code=problems.METHOD)
    raise RelayRefusedError("the relay protocol has no such path", code=problems.PATH)


def _target(route: Route, parts: dict[str, str]) -> Target:
    return Target(
        route,
        parcel_id_from_text(parts["parcel"]) if "parcel" in parts else ParcelId(b""),
        int(parts.get("index", "-1")),
        station_id_from_text(parts["station"]) if "station" in parts else StationId(b""),
        bytes.fromhex(parts.get("proposal", "")),
    )
