"""Parcels through a relay over HTTPS: docs/relay-protocol.md, the client's side.

Every request is signed anew for every attempt.  Nothing is tried again here but a request
on a kept connection that turns out to be closed; the engine above decides about the rest.
All that httpx raises, and all that a relay may answer, becomes an error of ours in one place
each: `_mapped` and `_Answer`.
"""

import math
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol, TypeVar

import httpx
from blake3 import blake3

from medshare import httpsig
from medshare.envelope import MAX_ENVELOPE_SIZE
from medshare.errors import (
    FormatError,
    MedshareError,
    RelayUnavailableError,
    TransferError,
    UsageError,
)
from medshare.ids import ParcelId, StationId
from medshare.seal import MAX_SEAL_SIZE
from medshare.suites.base import SYSTEM_RANDOM, Buffer, RandomBytes, Signer
from medshare.transport.base import Stored
from medshare.transport.connection import Origin
from medshare.transport.pool import PooledTransport, pieces, read_into
from medshare.wire import bodies, problems, routes
from medshare.wire.routes import CBOR, OCTETS, Route, Target

CONNECT_SECONDS: Final = 15.0
STALL_SECONDS: Final = 60.0
"""Without an octet in either direction, after which a request has failed."""
CONNECTIONS: Final = 16
MAX_INBOX_PAGES: Final = 256
_DIGEST: Final = "medshare.digest"

Decoded = TypeVar("Decoded")


class Requester(Protocol):
    """Who asks: the part of an identity that signs requests."""

    @property
    def station(self) -> StationId:
        """Its id."""

    @property
    def request_signer(self) -> Signer:
        """Its Ed25519 key."""


class RelayTransport:
    """A relay at *url*, as one station sees it; implements `transport.base.Transport`.

    The relay's certificate is checked against *ca_file* or *tls* when given, and against
    the system's authorities otherwise.  Raises UsageError unless *url* is `https://host[:port]`,
    or `http://` with a host that is this machine.  Besides the errors of the interface,
    AccessDeniedError says that the relay does not know this station, or not for this.
    """

    def __init__(
        self,
        url: str,
        requester: Requester,
        *,
        ca_file: Path | None = None,
        tls: ssl.SSLContext | None = None,
        connections: int = CONNECTIONS,
        clock: Callable[[], float] = time.time,
        random: RandomBytes = SYSTEM_RANDOM,
    ) -> None:
        self._url = _base(url)
        self._requester = requester
        self._clock = clock
        self._random = random
        self._states: dict[ParcelId, _Known] = {}
        self._lock = threading.Lock()
        try:
            self._http = PooledTransport(
                ca_file=ca_file, tls=tls, connections=connections, authorize=self._authorize
            )
        except (OSError, ssl.SSLError) as error:
            raise UsageError("the file with the relay's authorities cannot be used") from error

    @property
    def route(self) -> str:
        """The way taken: `relay https://…`."""
        return f"relay {self._url.scheme}://{self._url.netloc.decode('ascii')}"

    # --- sending -------------------------------------------------------------------------

    def announce(self, parcel: ParcelId, envelope: bytes, manifest: bytes) -> None:
        """Make *envelope* and sealed *manifest* known; a manifest that is there is not sent."""
        with self._ask(Target(routes.PUT_ENVELOPE, parcel), body=envelope) as answer:
            there = answer.decoded(bodies.decode_announced, limit=bodies.MAX_ANNOUNCED)
        if not there:
            self._put(Target(routes.PUT_MANIFEST, parcel), manifest)

    def put_chunk(
        self, parcel: ParcelId, index: int, sealed: memoryview, *, digest: bytes | None = None
    ) -> None:
        """Store one sealed chunk durably; *digest* is its BLAKE3, computed when not given."""
        self._put(Target(routes.PUT_CHUNK, parcel, index), sealed, digest=digest)

    def put_seal(self, parcel: ParcelId, seal: bytes) -> None:
        """Store the seal; raise RelayRefusedError while chunks are missing."""
        self._put(Target(routes.PUT_SEAL, parcel), seal)

    def remove(self, parcel: ParcelId) -> None:
        """Let the relay delete the parcel, for good."""
        self._put(Target(routes.REMOVE, parcel), None)

    # --- both sides ----------------------------------------------------------------------

    def stored(self, parcel: ParcelId) -> Stored:
        """Return what is there; raise NotFoundError when the parcel is unknown."""
        return self._look(parcel, wait=0).stored

    def wait_for_news(self, parcel: ParcelId, known: Stored, *, seconds: float) -> Stored:
        """Block until something differs from *known*, at most *seconds*; return what is there."""
        end = time.monotonic() + seconds
        with self._lock:
            cached = self._states.get(parcel)
        if cached is None or cached.stored != known:
            cached = self._look(parcel, wait=0)
        while cached.stored == known and (left := end - time.monotonic()) > 0:
            if left < 1:
                time.sleep(left)
            cached = self._look(parcel, wait=min(routes.MAX_WAIT, math.floor(left)))
        return cached.stored

    def _look(self, parcel: ParcelId, *, wait: int) -> "_Known":
        with self._lock:
            before = self._states.get(parcel)
        tag = before.tag if before is not None else ""
        target = Target(routes.GET_STATE, parcel)
        query = bodies.state_query(known=tag, wait=wait)
        with self._ask(target, query=query, patience=STALL_SECONDS + wait) as answer:
            state = answer.decoded(bodies.decode_state, limit=bodies.MAX_STATE)
            known = _Known.after(before, state)
        with self._lock:
            self._states[parcel] = known
        return known

    def get_envelope(self, parcel: ParcelId) -> bytes:
        """Return the envelope; raise NotFoundError when the parcel is unknown."""
        return self._get(Target(routes.GET_ENVELOPE, parcel), limit=MAX_ENVELOPE_SIZE)

    def get_manifest(self, parcel: ParcelId, *, size: int) -> bytes:
        """Return the sealed manifest, of at most *size* octets."""
        return self._get(Target(routes.GET_MANIFEST, parcel), limit=size)

    def get_seal(self, parcel: ParcelId) -> bytes:
        """Return the seal; raise NotFoundError while there is none."""
        return self._get(Target(routes.GET_SEAL, parcel), limit=MAX_SEAL_SIZE)

    def get_chunk(self, parcel: ParcelId, index: int, into: memoryview) -> int:
        """Read one sealed chunk straight into *into*; return its size."""
        with self._ask(Target(routes.GET_CHUNK, parcel, index)) as answer:
            return answer.read_into(into)

    # --- receiving -----------------------------------------------------------------------

    def inbox(self) -> tuple[ParcelId, ...]:
        """Return the parcels that wait for this station, oldest first."""
        found: list[ParcelId] = []
        after = 0
        for _ in range(MAX_INBOX_PAGES):
            with self._ask(Target(routes.INBOX), query=bodies.inbox_query(after)) as answer:
                page, following = answer.decoded(bodies.decode_inbox, limit=bodies.MAX_INBOX)
                found += page
                if not following:
                    break
                if following <= after:
                    raise FormatError("the pages of the inbox do not advance")
                after = following
        return tuple(dict.fromkeys(found))

    def want_chunks(self, parcel: ParcelId, indexes: tuple[int, ...]) -> None:
        """Ask the relay to look at these chunks, and the sender for those that are bad."""
        ordered = sorted(set(indexes))
        for at in range(0, len(ordered), routes.MAX_WANTED):
            body = bodies.encode_indexes(ordered[at : at + routes.MAX_WANTED])
            with self._ask(Target(routes.WANT, parcel), body=body) as answer:
                answer.read(OCTETS, limit=len(body))

    def put_receipt(self, parcel: ParcelId, recipient: StationId, receipt: bytes) -> None:
        """Store the sealed receipt of *recipient*."""
        self._put(Target(routes.PUT_RECEIPT, parcel, station=recipient), receipt)

    def get_receipt(self, parcel: ParcelId, recipient: StationId) -> bytes:
        """Return the sealed receipt of *recipient*; raise NotFoundError while there is none."""
        target = Target(routes.GET_RECEIPT, parcel, station=recipient)
        return self._get(target, limit=routes.MAX_SEALED_RECEIPT)

    # --- this station --------------------------------------------------------------------

    def put_card(self, card: bytes) -> None:
        """Let the relay know a newer card; it is signed for with the key before it."""
        self._put(Target(routes.PUT_CARD), card)

    def close(self) -> None:
        """Close all connections; requests under way fail."""
        self._http.close()

    # --- one request ---------------------------------------------------------------------

    def _put(self, target: Target, body: Buffer | None, *, digest: bytes | None = None) -> None:
        with self._ask(target, body=body, digest=digest) as answer:
            answer.require_done()

    def _get(self, target: Target, *, limit: int) -> bytes:
        with self._ask(target) as answer:
            return answer.read(OCTETS, limit=limit)

    @contextmanager
    def _ask(
        self,
        target: Target,
        *,
        query: str = "",
        body: Buffer | None = None,
        digest: bytes | None = None,
        patience: float = STALL_SECONDS,
    ) -> Iterator["_Answer"]:
        """Make one request and lend its answer; raise what a refusal is here."""
        extensions: dict[str, object] = {
            "timeout": {
                "connect": CONNECT_SECONDS,
                "read": patience,
                "write": STALL_SECONDS,
                "pool": None,
            }
        }
        headers = {"Host": self._url.netloc.decode("ascii"), "Accept-Encoding": "identity"}
        if body is not None:
            headers["Content-Length"] = str(len(body))
            headers["Content-Type"] = OCTETS
            extensions[_DIGEST] = digest or blake3(body).digest()
        with _mapped(target.route):
            request = httpx.Request(
                target.route.method,
                self._url.copy_with(path=target.path, query=query.encode() or None),
                headers=headers,
                content=None if body is None else pieces(body),
                extensions=extensions,
            )
            response = self._http.handle_request(request)
            try:
                answer = _Answer(response)
                answer.require_success()
                yield answer
            finally:
                response.close()

    def _authorize(self, request: httpx.Request) -> Mapping[str, str]:
        """Return the fields that sign *request*, for one attempt."""
        digest = request.extensions.get(_DIGEST)
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        return httpsig.sign_request(
            httpsig.Request(
                method=request.method,
                authority=request.url.netloc.decode("ascii"),
                path=path,
                query=f"?{query}" if query else "",
                body=digest and httpsig.Body(digest, int(request.headers["content-length"])),
            ),
            key_id=self._requester.station.hex(),
            nonce=httpsig.encode_nonce(self._random(httpsig.NONCE_BYTES)),
            created=int(self._clock()),
            sign=self._requester.request_signer.sign,
        )


class _Known:
    """The newest state of a parcel that the relay told, with the tag to ask for news of it."""

    def __init__(self, tag: str, stored: Stored) -> None:
        self.tag = tag
        self.stored = stored

    @classmethod
    def after(cls, before: "_Known | None", state: bodies.State) -> "_Known":
        """Return what is known once *state* has come; raise FormatError if it does not fit."""
        records = {record.index: record for record in state.chunks}
        if state.since:
            if before is None or before.tag != state.since:
                raise FormatError("the relay tells the difference to a state that is not known")
            records = {record.index: record for record in before.stored.chunks} | records
        chunks = tuple(records[index] for index in sorted(records))
        return cls(state.tag, Stored(chunks, state.sealed, state.receipts, state.wanted))


class _Answer:
    """An answer whose head has come; everything about it is checked before it is believed."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    def require_success(self) -> None:
        """Raise what the answer is here, unless it is a success."""
        status = self._response.status_code
        if status in {200, 204}:
            return
        if status < 400:
            raise FormatError(f"an answer with status {status}")
        data = self.read(problems.PROBLEM, limit=problems.MAX_PROBLEM)
        problem = problems.decode_problem(data)
        if problem.status != status:
            raise FormatError("a refusal that contradicts itself")
        raise problems.error_of(problem)

    def require_done(self) -> None:
        """Raise FormatError unless the answer says that it is done, and nothing else."""
        if self._response.status_code != 204:
            raise FormatError("an answer where none was asked for")

    def read(self, kind: str, *, limit: int) -> bytes:
        """Return the body, which is of *kind* and has at most *limit* octets."""
        buffer = memoryview(bytearray(self._size(kind, limit=limit)))
        read_into(self._response, buffer)
        return bytes(buffer)

    def decoded(self, decode: Callable[[bytes], Decoded], *, limit: int) -> Decoded:
        """Return what *decode* makes of the body."""
        return decode(self.read(CBOR, limit=limit))

    def read_into(self, into: memoryview) -> int:
        """Read the body into *into*; return its size."""
        self._size(OCTETS, limit=len(into))
        return read_into(self._response, into)

    def _size(self, kind: str, *, limit: int) -> int:
        headers = self._response.headers
        length = headers.get("content-length", "")
        if self._response.status_code == 204 or not (length.isascii() and length.isdecimal()):
            raise FormatError("an answer without a body")
        if int(length) > limit:
            raise TransferError(f"the relay's answer is larger than {limit} bytes")
        if int(length) and headers.get("content-type") != kind:
            raise FormatError("an answer of another media type")
        return int(length)


@contextmanager
def _mapped(route: Route) -> Iterator[None]:
    """Turn what httpx raises, and answers that make no sense, into errors of ours."""
    try:
        yield
    except FormatError as error:
        raise RelayUnavailableError(
            f"this answers as no medshare relay does: {error.message}",
            hint="check the address of the relay, and what stands between",
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise _network_error(error, route) from error


def _network_error(error: Exception, route: Route) -> MedshareError:
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return TransferError(
            str(error),
            hint="if the relay's authority is not one of the system's, name it with --relay-ca",
            code="transfer.certificate",
        )
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return UsageError(str(error))
    return RelayUnavailableError(str(error) or f"the relay failed at {route.name}")


def _base(url: str) -> httpx.URL:
    """Return the address of a relay; raise UsageError when it is more, or less, than that."""
    try:
        parsed = httpx.URL(url)
        Origin.of(parsed)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        raise UsageError(f"this is not the address of a relay: {error}".lower()) from None
    if not parsed.host or parsed.userinfo or parsed.query or parsed.fragment:
        raise UsageError("the address of a relay is https://host or https://host:port")
    if parsed.path not in {"", "/"}:
        raise UsageError("the address of a relay has no path: https://host or https://host:port")
    return parsed.copy_with(path="/")
