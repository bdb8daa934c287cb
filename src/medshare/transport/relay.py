"""Parcels through a relay over HTTPS: docs/relay-protocol.md, the client's side.

Every request is signed anew for every attempt.  Nothing is tried again here but a request
on a kept connection that turns out to be closed; the engine above decides about the rest.
All that httpx raises, and all that a relay may answer, becomes an error of ours in `answers`.
"""

import math
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from medshare.envelope import MAX_ENVELOPE_SIZE
from medshare.errors import (
    AccessDeniedError,
    FormatError,
    RelayRefusedError,
    UsageError,
)
from medshare.ids import ParcelId, StationId
from medshare.seal import MAX_SEAL_SIZE
from medshare.suites import hasher_named
from medshare.suites.base import Buffer, Hashed
from medshare.transport.answers import Answer, mapped_errors
from medshare.transport.base import Stored
from medshare.transport.connection import Origin
from medshare.transport.credentials import DIGEST, Requester, Shown, Signing, tls_with
from medshare.transport.pool import PooledTransport, pieces
from medshare.wire import bodies, problems, routes
from medshare.wire.routes import OCTETS, Target
from medshare.withdrawal import MAX_WITHDRAWAL

CONNECT_SECONDS: Final = 15.0
STALL_SECONDS: Final = 60.0
"""Without an octet in either direction, after which a request has failed."""
CONNECTIONS: Final = 16
LEAST_PAUSE: Final = 0.05
"""Seconds between two looks at the state of a parcel."""
MAX_INBOX_PAGES: Final = 256
_AUTHORITY: Final = re.compile(rb"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_MAX_PORT: Final = 65535


class RelayTransport:
    """A relay at *url*, as one station sees it; implements `transport.base.Transport`.

    The relay's certificate is checked against *ca_file* or *tls* when given, and against
    the system's authorities otherwise; *shown* is what this station shows beside its
    signature.  Raises UsageError unless *url* is `https://host[:port]`,
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
        stall_seconds: float = STALL_SECONDS,
        shown: Shown | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = _base(url)
        self._authority = self._url.netloc.decode("ascii")
        self._requester = requester
        shown = shown or Shown()
        self._signing = Signing(requester, self._authority, shown, clock=clock)
        self._stall_seconds = stall_seconds
        self._states: dict[ParcelId, _Known] = {}
        self._lock = threading.Lock()
        self._introducing = threading.Lock()
        self._introduced = False
        try:
            if shown.client is not None and tls is None:
                tls = tls_with(shown.client, ca_file)
            self._http = PooledTransport(
                ca_file=ca_file, tls=tls, connections=connections, authorize=self._signing.fields
            )
        except (OSError, ssl.SSLError) as error:
            raise UsageError("the file with the relay's authorities cannot be used") from error

    @property
    def route(self) -> str:
        """The way taken: `relay https://…`."""
        return f"relay {self._url.scheme}://{self._authority}"

    @property
    def traffic(self) -> int:
        """Octets that have crossed the connections to the relay until now, both ways."""
        return self._http.traffic

    # --- sending -------------------------------------------------------------------------

    def announce(self, parcel: ParcelId, envelope: bytes, manifest: bytes) -> tuple[StationId, ...]:
        """Make *envelope* and sealed *manifest* known; a manifest that is there is not sent."""
        with self._ask(Target(routes.PUT_ENVELOPE, parcel), body=envelope) as answer:
            told = answer.decoded(bodies.decode_announced, limit=bodies.MAX_ANNOUNCED)
        if not told.manifest:
            self._put(Target(routes.PUT_MANIFEST, parcel), manifest)
        return told.absent

    def put_chunk(
        self, parcel: ParcelId, index: int, sealed: memoryview, *, whole: Hashed | None = None
    ) -> None:
        """Store one sealed chunk durably; *whole* spares hashing it again, where it fits."""
        self._put(Target(routes.PUT_CHUNK, parcel, index), sealed, known=whole)

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
        tag = cached.tag
        # Another tag is news even if the state reads alike: a chunk was lost and came again.
        while (cached.stored, cached.tag) == (known, tag) and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, max(left if left < 1 else 0.0, cached.rest())))
            cached = self._look(parcel, wait=min(routes.MAX_WAIT, math.floor(left)))
        return cached.stored

    def _look(self, parcel: ParcelId, *, wait: int) -> "_Known":
        with self._lock:
            before = self._states.get(parcel)
        tag = before.tag if before is not None else ""
        target = Target(routes.GET_STATE, parcel)
        query = bodies.state_query(known=tag, wait=wait)
        with self._ask(target, query=query, wait=wait) as answer:
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

    def inbox(self, *, seconds: float = 0.0) -> tuple[ParcelId, ...]:
        """Return the parcels that wait for this station, oldest first; wait for one."""
        begun = time.monotonic()
        end = begun + seconds
        found = self._inbox(math.floor(min(routes.MAX_WAIT, seconds)))
        while not found and (left := end - time.monotonic()) > 0:
            # A relay that never lets one wait is asked every second.
            time.sleep(max(0.0, min(left, begun + 1.0 - time.monotonic())))
            begun = time.monotonic()
            found = self._inbox(math.floor(min(routes.MAX_WAIT, left)))
        return found

    def _inbox(self, wait: int) -> tuple[ParcelId, ...]:
        found: list[ParcelId] = []
        after = 0
        for _ in range(MAX_INBOX_PAGES):
            query = bodies.inbox_query(after, wait=0 if after else wait)
            with self._ask(Target(routes.INBOX), query=query, wait=wait) as answer:
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

    # --- grants --------------------------------------------------------------------------

    def put_withdrawal(self, parcel: ParcelId, recipient: StationId, withdrawal: bytes) -> None:
        """Let the relay refuse *recipient* from now on; *withdrawal* is signed by the sender."""
        self._put(Target(routes.PUT_WITHDRAWAL, parcel, station=recipient), withdrawal)

    def get_withdrawal(self, parcel: ParcelId, recipient: StationId) -> bytes:
        """Return what takes back the grant of *recipient*; raise NotFoundError if nothing does."""
        target = Target(routes.GET_WITHDRAWAL, parcel, station=recipient)
        return self._get(target, limit=MAX_WITHDRAWAL)

    # --- this station --------------------------------------------------------------------

    def put_card(self, card: bytes) -> None:
        """Let the relay know a newer card; it is signed for with the key before it."""
        self._put(Target(routes.PUT_CARD), card)

    def close(self) -> None:
        """Close all connections; requests under way fail."""
        self._http.close()

    # --- one request ---------------------------------------------------------------------

    def _put(self, target: Target, body: Buffer | None, *, known: Hashed | None = None) -> None:
        with self._ask(target, body=body, known=known) as answer:
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
        known: Hashed | None = None,
        wait: int = 0,
    ) -> Iterator["Answer"]:
        """Make one request and lend its answer; raise what a refusal is here."""
        with mapped_errors(relay=f"{self._url.scheme}://{self._authority}"):
            digest = None if body is None else self._digest(body, known)
            request = partial(self._request, target, query, body, digest, wait)
            try:
                answer = Answer.to(request(), self._http)
            except AccessDeniedError as error:
                if error.code != problems.SIGNATURE or target.route is routes.PUT_CARD:
                    raise
                self._introduce(error)
                answer = Answer.to(request(), self._http)
            try:
                yield answer
            finally:
                answer.close()

    def _digest(self, body: Buffer, known: Hashed | None) -> bytes:
        """Return the digest of *body* by the hash that goes with the key that will sign."""
        name = self._signing.scheme.request_hash
        if known is not None and known[0] == name:
            return known[1]
        hasher = hasher_named(name)
        hasher.update(body)
        return hasher.digest()

    def _request(
        self, target: Target, query: str, body: Buffer | None, digest: bytes | None, wait: int
    ) -> httpx.Request:
        headers = {"Host": self._authority, "Accept-Encoding": "identity"}
        if body is not None:
            headers |= {"Content-Length": str(len(body)), "Content-Type": OCTETS}
        return httpx.Request(
            target.route.method,
            self._url.copy_with(path=target.path, query=query.encode() or None),
            headers=headers,
            content=None if body is None else pieces(body),
            extensions={
                DIGEST: digest,
                "timeout": {
                    "connect": CONNECT_SECONDS,
                    "read": self._stall_seconds + wait,
                    "write": self._stall_seconds,
                    "pool": None,
                },
            },
        )

    def _introduce(self, refused: AccessDeniedError) -> None:
        """Show the relay this station's newest card, which it may not know after a rotation.

        Raises *refused* when that does not help.
        """
        card = self._requester.card
        if len(card.generations) == 1:
            raise refused
        with self._introducing:
            if self._introduced:
                return
            try:
                self.put_card(card.encoded)
            except (AccessDeniedError, RelayRefusedError):
                raise refused from None
            self._introduced = True


class _Known:
    """The newest state of a parcel that the relay told, with the tag to ask for news of it."""

    def __init__(self, tag: str, stored: Stored) -> None:
        self.tag = tag
        self.stored = stored
        self._looked = time.monotonic()

    def rest(self) -> float:
        """Return the seconds to wait before asking again, of a relay that never lets one wait."""
        return max(0.0, self._looked + LEAST_PAUSE - time.monotonic())

    @classmethod
    def after(cls, before: "_Known | None", state: bodies.State) -> "_Known":
        """Return what is known once *state* has come; raise FormatError if it does not fit."""
        records = {record.index: record for record in state.chunks}
        if state.since:
            if before is None or before.tag != state.since:
                raise FormatError("the relay tells the difference to a state that is not known")
            records = {record.index: record for record in before.stored.chunks} | records
        chunks = tuple(records[index] for index in sorted(records))
        return cls(
            state.tag,
            Stored(chunks, state.sealed, state.receipts, state.wanted, state.manifest),
        )


def address_of(url: str) -> str:
    """Return the one spelling of the address of a relay; raise UsageError when *url* is none."""
    base = _base(url)
    return f"{base.scheme}://{base.netloc.decode('ascii')}"


def _base(url: str) -> httpx.URL:
    """Return the address of a relay; raise UsageError when it is more, or less, than that."""
    try:
        parsed = httpx.URL(url)
        Origin.of(parsed)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        raise UsageError(f"this is not the address of a relay: {error}".lower()) from None
    only = parsed.path in {"", "/"} and not (parsed.userinfo or parsed.query or parsed.fragment)
    named = _AUTHORITY.fullmatch(parsed.netloc) and 0 < (parsed.port or 1) <= _MAX_PORT
    if not (only and named):
        raise UsageError("the address of a relay is https://host or https://host:port")
    return parsed.copy_with(path="/")
