"""Signed HTTP requests: RFC 9421 message signatures and the RFC 9530 Content-Digest field.

A station signs every request to a relay, and the relay accepts a request once.  This is the small
part of RFC 9421 that medshare uses, and nothing else of it is accepted:

- one signature, labelled ``medshare``, over ``@method``, ``@authority``, ``@path`` and ``@query``;
  a request with a body also covers ``content-digest`` and ``content-length``, and one that is made
  within a session ``medshare-session``, in this order;
- the parameters ``created``, ``nonce``, ``keyid``, ``alg`` and ``tag="medshare/1"``, all of them,
  in this order; ``alg`` is ``ed25519`` or another of `ALGORITHMS`;
- a second signature, labelled ``certificate``, may follow; `clientcert` makes and reads it;
- the fields are read as one fixed shape, so what is accepted is exactly what `sign_request` writes.

``Content-Digest`` carries the hash that goes with the algorithm: ``blake3``, or ``sm3`` where SM2
signs.  The IANA registry lists neither, nor ``sm2-sm3``.  RFC 9530 §5 and RFC 9421 §6.2 let peers
that know each other agree on more; both ends here are medshare.

Everything is pure: the clock, the nonce and the keys are arguments.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from medshare.errors import AccessDeniedError, FormatError
from medshare.suites.signatures import SIGNATURES

LABEL = "medshare"
TAG = "medshare/1"
ALGORITHM = "ed25519"
ALGORITHMS = {one.request_name: one for one in SIGNATURES.values() if one.request_name}
"""By the name of RFC 9421, what signs requests."""
DIGEST_KEYS = frozenset(one.request_hash for one in ALGORITHMS.values())

NONCE_BYTES = 16
MAX_SKEW = 300  # seconds between the two clocks, and the longest life of a request
MAX_FIELD = 2048  # bytes of one signature field; one signature takes fewer than 400 without RSA
SESSION_FIELD = "Medshare-Session"
SECOND = ", certificate="  # between the signature of a station and that of its certificate

_TARGET_COMPONENTS = ("@method", "@authority", "@path", "@query")
_BODY_COMPONENTS = (*_TARGET_COMPONENTS, "content-digest", "content-length")
_SESSION_COMPONENT = "medshare-session"
_COVERED = {
    (*basis, *session): (basis == _BODY_COMPONENTS, bool(session))
    for basis in (_TARGET_COMPONENTS, _BODY_COMPONENTS)
    for session in ((), (_SESSION_COMPONENT,))
}
_DIGEST_BYTES = 32
_MAX_TARGET = 8192
_SIGNED_FIELDS = frozenset(
    {"signature-input", "signature", "content-digest", "content-length", _SESSION_COMPONENT}
)

_KEY_ID = re.compile(r"[A-Za-z0-9:._-]{1,128}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]")  # 16 bytes in base64url, unused bits zero
_METHOD = re.compile(r"[A-Z]{1,16}")
_AUTHORITY = re.compile(r"[a-z0-9.:\[\]_-]{1,255}")
_PATH = re.compile(r'/[!"$->@-~]*')
_QUERY = re.compile(r'(?:\?[!"$-~]*)?')
_SESSION = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")  # 32 bytes in base64url
_LENGTH = re.compile(r"0|[1-9][0-9]{0,17}")
_INPUT = re.compile(
    rf'{LABEL}=(?P<params>\((?P<components>"[a-z@-]+"(?: "[a-z@-]+")*)\)'
    rf";created=(?P<created>[1-9][0-9]{{0,14}})"
    rf';nonce="(?P<nonce>{_NONCE.pattern})"'
    rf';keyid="(?P<key_id>{_KEY_ID.pattern})"'
    rf';alg="(?P<algorithm>{"|".join(map(re.escape, ALGORITHMS))})"'
    rf';tag="{re.escape(TAG)}")'
)

Headers = Iterable[tuple[bytes, bytes]]
"""Field names and values as they came off the wire (ASGI's ``scope["headers"]``)."""

Verifier = Callable[[bytes, bytes], bool]
"""``verifier(signature, message)``: whether the signature is good."""


@dataclass(frozen=True, slots=True)
class Body:
    """What a request says of its body: the digest, the number of bytes, and by which hash."""

    digest: bytes
    length: int
    hash: str = "blake3"


@dataclass(frozen=True, slots=True)
class Request:
    """The part of a request that a signature covers.

    ``authority`` is the host, lower case, with a port unless it is the scheme's own.  A server
    passes the name it knows itself by, or a Host it has checked: otherwise a request made for one
    relay could be repeated at another.  ``query`` is empty or begins with ``?``.
    """

    method: str
    authority: str
    path: str
    query: str = ""
    body: Body | None = None
    session: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class SignatureInput:
    """One parsed and well-formed, but not yet verified, signature."""

    covers_body: bool
    covers_session: bool
    created: int
    nonce: str
    key_id: str
    params: str
    algorithm: str
    signature: bytes
    second: tuple[str, str] | None = None
    """Parameters and signature of the second one, as they came."""


def content_digest(body_digest: bytes, hash_name: str = "blake3") -> str:
    """Return the Content-Digest value (RFC 9530 §2) for a body with this digest."""
    return f"{hash_name}={byte_sequence(body_digest)}"


def parse_content_digest(value: str) -> tuple[bytes, str]:
    """Return the digest in a Content-Digest value, and the name of its hash.

    Raises `FormatError` for any value that `content_digest` would not have written.
    """
    hash_name, _, sequence = value.partition("=")
    if hash_name not in DIGEST_KEYS:
        raise FormatError("the content-digest field does not carry a digest that is known here")
    return parse_byte_sequence(sequence, _DIGEST_BYTES, "content-digest"), hash_name


def signature_base(components: Sequence[tuple[str, str]], params: str) -> bytes:
    """Return the signature base of RFC 9421 §2.5.

    ``components`` are identifiers and values in the order of the signature, ``params`` is the
    serialised value of ``@signature-params``.  Raises `FormatError` for what could forge a line.
    """
    lines = [f'"{name}": {value}' for name, value in (*components, ("@signature-params", params))]
    for line in lines:
        if not (line.isascii() and line.isprintable()):
            raise FormatError("a signed part of the request has characters outside printable ascii")
    return "\n".join(lines).encode("ascii")


def encode_nonce(random: bytes) -> str:
    """Return the nonce parameter for 16 random bytes."""
    if len(random) != NONCE_BYTES:
        raise ValueError(f"a nonce is made of {NONCE_BYTES} bytes, not {len(random)}")
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode("ascii")


def sign_request(
    request: Request,
    *,
    key_id: str,
    nonce: str,
    created: int,
    sign: Callable[[bytes], bytes],
    algorithm: str = ALGORITHM,
) -> dict[str, str]:
    """Return the fields that sign ``request``; with a body, Content-Digest is among them.

    ``created`` is in Unix seconds, ``nonce`` comes from `encode_nonce` and is never used again,
    ``sign`` makes a signature of ``algorithm``, one of `ALGORITHMS`.  Content-Length is covered
    but left for the HTTP layer to send.  Raises `FormatError` when the request cannot be signed
    as it is.
    """
    components = _components(request)
    names = " ".join(f'"{name}"' for name, _ in components)
    params = (
        f'({names});created={created};nonce="{nonce}";keyid="{key_id}"'
        f';alg="{algorithm}";tag="{TAG}"'
    )
    if not _INPUT.fullmatch(f"{LABEL}={params}"):
        raise FormatError("the key id, nonce, time or algorithm of a signed request is malformed")
    signature = sign(signature_base(components, params))
    fields = {
        "Signature-Input": f"{LABEL}={params}",
        "Signature": f"{LABEL}={byte_sequence(signature)}",
    }
    if request.body is not None:
        fields["Content-Digest"] = content_digest(request.body.digest, request.body.hash)
    if request.session:
        fields[SESSION_FIELD] = request.session
    return fields


def parse_body(headers: Headers) -> Body | None:
    """Return what the header says of the body, or ``None`` when the request has none.

    Raises `FormatError` for a length without digest, a digest without length, or either twice.
    A chunked body has no length, so a request that carries one is refused here as well.
    """
    headers = tuple(headers)
    if any(name.lower() == b"transfer-encoding" for name, _ in headers):
        raise FormatError("a body without a length is not accepted; send content-length")
    fields = _signed_fields(headers)
    digest, length = fields.get("content-digest"), fields.get("content-length")
    if digest is None:
        if length not in (None, "0"):
            raise FormatError("the request has a body but no content-digest")
        return None
    if length is None or not _LENGTH.fullmatch(length):
        raise FormatError("the request has a content-digest but no usable content-length")
    octets, hash_name = parse_content_digest(digest)
    return Body(octets, int(length), hash_name)


def parse_session(headers: Headers) -> str:
    """Return the session within which a request is made; empty when it names none.

    Raises `FormatError` for what cannot be one.
    """
    session = _signed_fields(headers).get(_SESSION_COMPONENT, "")
    if session and not _SESSION.fullmatch(session):
        raise FormatError("the session of the request is malformed")
    return session


def parse_signature_headers(headers: Headers) -> SignatureInput:
    """Return the signature of a request, and what follows it, checked for shape only.

    Raises `AccessDeniedError` when the request is not signed at all, `FormatError` when the fields
    are not exactly what `sign_request` writes.
    """
    fields = _signed_fields(headers)
    if "signature-input" not in fields or "signature" not in fields:
        raise AccessDeniedError("the request is not signed; sign it with the key of a station")
    first, follows, second_input = fields["signature-input"].partition(SECOND)
    signature, signed, second_signature = fields["signature"].partition(SECOND)
    match = _INPUT.fullmatch(first)
    if match is None or follows != signed:
        raise FormatError("the signature-input field is malformed")
    covered = tuple(match["components"].replace('"', "").split(" "))
    if covered not in _COVERED:
        raise FormatError("the signature does not cover exactly the parts it must")
    prefix = f"{LABEL}="
    if not signature.startswith(prefix):
        raise FormatError("the signature field is malformed")
    covers_body, covers_session = _COVERED[covered]
    return SignatureInput(
        covers_body=covers_body,
        covers_session=covers_session,
        created=int(match["created"]),
        nonce=match["nonce"],
        key_id=match["key_id"],
        params=match["params"],
        algorithm=match["algorithm"],
        signature=parse_byte_sequence(
            signature[len(prefix) :], ALGORITHMS[match["algorithm"]].signature_size, "signature"
        ),
        second=(second_input, second_signature) if follows else None,
    )


class NonceMemory:
    """The nonces that were used while their requests could still be valid.

    Kept for at least ``2 * max_skew`` seconds, in two generations, so that forgetting is free.
    When a station uses more than ``per_key`` of them in a generation, further requests are refused:
    a full memory must not open the door to replays.  It lives in one process and is not
    thread-safe; a restart forgets, so what a relay lets a request do stays idempotent.
    """

    def __init__(self, *, max_skew: int = MAX_SKEW, per_key: int = 200_000) -> None:
        self.max_skew = max_skew
        self._per_key = per_key
        self._generation = 0
        self._current: dict[str, set[str]] = {}
        self._previous: dict[str, set[str]] = {}

    def use(self, key_id: str, nonce: str, *, now: int) -> None:
        """Remember a nonce of a request whose signature and time are already verified.

        Raises `AccessDeniedError` when it was used before, or too many were.
        """
        self._turn(now // max(1, 2 * self.max_skew))
        used = self._current.setdefault(key_id, set())
        if nonce in used or nonce in self._previous.get(key_id, ()):
            raise AccessDeniedError("this request was already made once; sign a new one")
        if len(used) >= self._per_key:
            raise AccessDeniedError("this station makes too many requests; try again later")
        used.add(nonce)

    @property
    def remembered(self) -> int:
        """How many nonces are kept just now."""
        return sum(map(len, (*self._current.values(), *self._previous.values())))

    def _turn(self, generation: int) -> None:
        if generation <= self._generation:  # also when the clock was set back
            return
        follows = generation == self._generation + 1
        self._previous = self._current if follows else {}
        self._current = {}
        self._generation = generation


def verify_request(
    request: Request,
    signature: SignatureInput,
    *,
    now: int,
    memory: NonceMemory,
    verifier_for: Callable[[str], Verifier | None],
) -> str:
    """Return the id of the key that signed ``request``, which is now used up.

    The steps, in this order, so that strangers cannot fill the memory:

    1. what the signature covers matches what the request carries, and its hash the algorithm;
    2. the time is within ``memory.max_skew`` seconds of ``now``;
    3. the key is known, ``alg`` is its algorithm, and the signature is good;
    4. the nonce is new.

    The body itself is not read here: the caller compares what it receives with ``request.body``.
    Raises `FormatError` at step 1 and `AccessDeniedError` at the others.
    """
    if signature.covers_body != (request.body is not None):
        raise FormatError("the signature must cover the body when there is one, and only then")
    if signature.covers_session != bool(request.session):
        raise FormatError("the signature must cover the session when there is one, and only then")
    if request.body and request.body.hash != ALGORITHMS[signature.algorithm].request_hash:
        raise FormatError("the content-digest field does not go with the algorithm that signed it")
    if abs(now - signature.created) > memory.max_skew:
        raise AccessDeniedError(
            f"the request was signed more than {memory.max_skew} seconds from now;"
            " check the clocks of both sides"
        )
    verifier = verifier_for(signature.key_id)
    if verifier is None:
        raise AccessDeniedError("this station is not enrolled here")
    base = signature_base(_components(request), signature.params)
    if not verifier(signature.signature, base):
        raise AccessDeniedError("the signature of the request is not good")
    memory.use(signature.key_id, signature.nonce, now=now)
    return signature.key_id


def _components(request: Request) -> list[tuple[str, str]]:
    """Return the covered identifiers and values of RFC 9421 §2.2, refusing odd ones."""
    shapes = (
        (_METHOD, request.method, "method"),
        (_AUTHORITY, request.authority, "host"),
        (_PATH, request.path, "path"),
        (_QUERY, request.query, "query"),
    )
    for shape, value, name in shapes:
        if len(value) > _MAX_TARGET or not shape.fullmatch(value):
            raise FormatError(f"the {name} of the request is malformed")
    values = [request.method, request.authority, request.path, request.query or "?"]
    if request.body is not None:
        values += [
            content_digest(request.body.digest, request.body.hash),
            str(request.body.length),
        ]
    covered = list(zip(_BODY_COMPONENTS, values, strict=False))
    if request.session:
        if not _SESSION.fullmatch(request.session):
            raise FormatError("the session of the request is malformed")
        covered.append((_SESSION_COMPONENT, request.session))
    return covered


def _signed_fields(headers: Headers) -> dict[str, str]:
    """Return the fields this module reads; none may come twice, be long or not be ASCII."""
    fields: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        if name not in _SIGNED_FIELDS:
            continue
        if name in fields or len(raw_value) > MAX_FIELD or not raw_value.isascii():
            raise FormatError(f"the {name} field is repeated, too long or not ascii")
        fields[name] = raw_value.decode("ascii")
    return fields


def byte_sequence(value: bytes) -> str:
    """Return a byte sequence of RFC 8941 §3.3.5."""
    return f":{base64.b64encode(value).decode('ascii')}:"


def parse_byte_sequence(value: str, length: int, field: str) -> bytes:
    """Return exactly ``length`` bytes, refusing base64 that has a second spelling."""
    try:
        decoded = base64.b64decode(value[1:-1], validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"the {field} field is not base64") from error
    if len(decoded) != length or byte_sequence(decoded) != value:
        raise FormatError(f"the {field} field does not hold {length} bytes in canonical base64")
    return decoded
