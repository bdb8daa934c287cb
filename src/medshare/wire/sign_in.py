"""The bodies of requests about second factors and sessions: one encoding each (protocol §9)."""

import re
from dataclasses import dataclass, field
from typing import Final

from medshare import canonical
from medshare.canonical import Fields
from medshare.errors import FormatError
from medshare.wire.routes import FACTOR_ID_SIZE, MAX_BEGIN_FACTOR, MAX_PROOF

TOTP: Final = "totp"
FIDO2: Final = "fido2"
RECOVERY: Final = "recovery"
FACTOR_KINDS: Final = (FIDO2, TOTP)
PROOF_KINDS: Final = (*FACTOR_KINDS, RECOVERY)

CHALLENGE_SIZE: Final = 32
MAX_FACTORS: Final = 16
"""Factors of one station."""
RECOVERY_CODES: Final = 10
MAX_CREDENTIAL: Final = 1023
"""Octets of the id of a credential (Web Authentication §4)."""
MAX_ANSWER: Final = 32 * 1024
_MAX_SECRET: Final = 64
_MAX_CODE: Final = 64
_MAX_CLIENT_DATA: Final = 4096
_MAX_DATA: Final = 16 * 1024
_MAX_SIGNATURE: Final = 1024
_MAX_ITEMS: Final = 128
_SESSION: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class NewFactor:
    """A factor that somebody wants to add; *secret* is what the operator handed out, or empty."""

    kind: str
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class BegunFactor:
    """A factor that waits for the proof that it works."""

    factor: bytes
    kind: str
    secret: bytes = field(default=b"", repr=False)
    """Of a TOTP (RFC 6238): SHA-1, 6 digits, 30 seconds."""
    challenge: bytes = b""
    verify: bool = True
    """Whether the security key must verify who touches it."""
    known: tuple[bytes, ...] = ()
    """The credentials that the station has already."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that somebody has a factor; parts that its kind does not have are empty."""

    kind: str
    code: str = field(default="", repr=False)
    credential: bytes = b""
    client_data: bytes = b""
    data: bytes = b""
    """Authenticator data, or when a factor is added the attestation object."""
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor of a station; times in seconds since 1970 UTC, *used* 0 for never."""

    factor: bytes
    kind: str
    created: int
    used: int


@dataclass(frozen=True, slots=True)
class Factors:
    """All factors of a station, and how many recovery codes are left."""

    factors: tuple[Factor, ...]
    recovery: int


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a security key is to sign, by one of these credentials."""

    challenge: bytes
    credentials: tuple[bytes, ...]
    verify: bool


@dataclass(frozen=True, slots=True)
class Session:
    """A session that has begun."""

    session: str = field(repr=False)
    expires: int
    """When it is over in any case, in seconds since 1970 UTC by the clock of the relay."""
    idle: int
    """Seconds without a request after which it is over."""
    failures: int
    """Attempts that failed since the last sign-in."""


def encode_new_factor(new: NewFactor) -> bytes:
    """Return the body that asks for a new factor."""
    return canonical.encode({"kind": new.kind, "secret": new.secret})


def decode_new_factor(data: bytes) -> NewFactor:
    """Return what is asked for; raise FormatError when it is malformed."""
    fields = _fields(data, MAX_BEGIN_FACTOR, "the request for a factor")
    new = NewFactor(_kind(fields, FACTOR_KINDS), fields.text("secret", maximum=_MAX_CODE))
    fields.finish()
    return new


def encode_begun_factor(begun: BegunFactor) -> bytes:
    """Return the answer to a request for a new factor."""
    return canonical.encode(
        {
            "challenge": begun.challenge,
            "factor": begun.factor,
            "kind": begun.kind,
            "known": list(begun.known),
            "secret": begun.secret,
            "verify": int(begun.verify),
        }
    )


def decode_begun_factor(data: bytes) -> BegunFactor:
    """Return the factor that was begun; raise FormatError when the answer is malformed."""
    fields = _fields(data, MAX_ANSWER, "the relay's answer to a request for a factor")
    kind = _kind(fields, FACTOR_KINDS)
    begun = BegunFactor(
        factor=fields.octets("factor", size=FACTOR_ID_SIZE),
        kind=kind,
        secret=fields.octets("secret", maximum=_MAX_SECRET),
        challenge=fields.octets("challenge", size=CHALLENGE_SIZE if kind == FIDO2 else 0),
        verify=bool(fields.uint("verify", maximum=1)),
        known=_credentials(fields.items("known", maximum=MAX_FACTORS)),
    )
    fields.finish()
    return begun


def encode_proof(proof: Proof) -> bytes:
    """Return the body that shows a factor."""
    return canonical.encode(
        {
            "client_data": proof.client_data,
            "code": proof.code,
            "credential": proof.credential,
            "data": proof.data,
            "kind": proof.kind,
            "signature": proof.signature,
        }
    )


def decode_proof(data: bytes) -> Proof:
    """Return the proof in *data*; raise FormatError when it is malformed."""
    fields = _fields(data, MAX_PROOF, "the proof of a factor")
    proof = Proof(
        kind=_kind(fields, PROOF_KINDS),
        code=fields.text("code", maximum=_MAX_CODE),
        credential=fields.octets("credential", maximum=MAX_CREDENTIAL),
        client_data=fields.octets("client_data", maximum=_MAX_CLIENT_DATA),
        data=fields.octets("data", maximum=_MAX_DATA),
        signature=fields.octets("signature", maximum=_MAX_SIGNATURE),
    )
    fields.finish()
    return proof


def encode_recovery(codes: tuple[str, ...]) -> bytes:
    """Return the answer that shows recovery codes, or none."""
    return canonical.encode({"recovery": list(codes)})


def decode_recovery(data: bytes) -> tuple[str, ...]:
    """Return the recovery codes; raise FormatError when the answer is malformed."""
    what = "the relay's answer with recovery codes"
    fields = _fields(data, MAX_ANSWER, what)
    codes = fields.items("recovery", maximum=RECOVERY_CODES)
    fields.finish()
    if not all(isinstance(code, str) and code.isascii() and code.isprintable() for code in codes):
        raise FormatError(f"{what} is malformed")
    if any(len(code) > _MAX_CODE for code in codes):
        raise FormatError(f"{what} is malformed")
    return tuple(codes)


def encode_factors(all_of_them: Factors) -> bytes:
    """Return the answer that lists factors."""
    listing: list[canonical.Value] = [
        [one.factor, one.kind, one.created, one.used] for one in all_of_them.factors
    ]
    return canonical.encode({"factors": listing, "recovery": all_of_them.recovery})


def decode_factors(data: bytes) -> Factors:
    """Return the factors of a station; raise FormatError when the answer is malformed."""
    fields = _fields(data, MAX_ANSWER, "the relay's list of factors")
    listing = fields.items("factors", maximum=MAX_FACTORS)
    left = fields.uint("recovery", maximum=RECOVERY_CODES)
    fields.finish()
    return Factors(tuple(_factor(item) for item in listing), left)


def _factor(item: object) -> Factor:
    match item:
        case [bytes() as factor, str() as kind, int() as created, int() as used] if (
            len(factor) == FACTOR_ID_SIZE
            and kind in FACTOR_KINDS
            and max(created, used) <= canonical.MAX_TIME
        ):
            return Factor(factor, kind, created, used)
    raise FormatError("a factor in the relay's list is malformed")


def encode_challenge(challenge: Challenge) -> bytes:
    """Return the answer that asks a security key to sign."""
    return canonical.encode(
        {
            "challenge": challenge.challenge,
            "credentials": list(challenge.credentials),
            "verify": int(challenge.verify),
        }
    )


def decode_challenge(data: bytes) -> Challenge:
    """Return what is to be signed; raise FormatError when the answer is malformed."""
    fields = _fields(data, MAX_ANSWER, "the relay's challenge")
    challenge = Challenge(
        challenge=fields.octets("challenge", size=CHALLENGE_SIZE),
        credentials=_credentials(fields.items("credentials", maximum=MAX_FACTORS)),
        verify=bool(fields.uint("verify", maximum=1)),
    )
    fields.finish()
    return challenge


def encode_session(session: Session) -> bytes:
    """Return the answer that begins a session."""
    return canonical.encode(
        {
            "expires": session.expires,
            "failures": session.failures,
            "idle": session.idle,
            "session": session.session,
        }
    )


def decode_session(data: bytes) -> Session:
    """Return the session that has begun; raise FormatError when the answer is malformed."""
    what = "the relay's answer to a sign-in"
    fields = _fields(data, MAX_ANSWER, what)
    session = Session(
        session=fields.text("session", maximum=43),
        expires=fields.time("expires"),
        idle=fields.time("idle"),
        failures=fields.uint("failures", maximum=1 << 32),
    )
    fields.finish()
    if not _SESSION.fullmatch(session.session):
        raise FormatError(f"{what} is malformed")
    return session


def _fields(data: bytes, limit: int, what: str) -> Fields:
    return Fields(canonical.decode(data, limit=limit, what=what, items=_MAX_ITEMS), what=what)


def _kind(fields: Fields, kinds: tuple[str, ...]) -> str:
    kind = fields.text("kind", maximum=16)
    if kind not in kinds:
        raise FormatError("this kind of factor is unknown here")
    return kind


def _credentials(items: list[object]) -> tuple[bytes, ...]:
    found = tuple(one for one in items if isinstance(one, bytes) and len(one) <= MAX_CREDENTIAL)
    if len(found) < len(items):
        raise FormatError("the id of a credential is malformed")
    return found


def rp_id(origin: str) -> str:
    """Return the RP id (Web Authentication §4) for an origin `https://host[:port]`: the host."""
    authority = origin.partition("://")[2]
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]
