"""The relay as an ASGI application: admit, find the route, bound, hand over, answer.

The steps, in this order, for every request (docs/relay-protocol.md §§2 to 7):

1. the signature proves an enrolled station, and the request is new;
2. the station, and all of them together, do not ask too much at once;
3. method, path and query are those of a route;
4. the body is there or not, as the route says, and not too large; it has not been read;
5. a request that must not be repeated is noted as made;
6. the station shows what its profile demands: a session, or a certificate and an address;
7. the handler does it.
"""

import asyncio
import errno
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from medshare import clientcert
from medshare.audit import entries
from medshare.audit.entries import NOTHING, Act
from medshare.errors import (
    AccessDeniedError,
    AuthenticityError,
    FormatError,
    IntegrityError,
    MedshareError,
    RelayRefusedError,
    RelayUnavailableError,
)
from medshare.ids import ParcelId, StationId, station_id_from_text
from medshare.relay.access import Shown
from medshare.relay.admission import Admission, Admitted, Names, announced_body, claim
from medshare.relay.exchange import Answer, DisconnectedError, Exchange, whole_body
from medshare.relay.guard import Receive, Scope, Send
from medshare.relay.handlers import HANDLERS, renew
from medshare.relay.news import News
from medshare.relay.service import Service
from medshare.relay.settings import Limits
from medshare.trust.card import parse_card
from medshare.wire import problems, routes
from medshare.wire.problems import Problem
from medshare.wire.routes import match

_log = logging.getLogger("medshare.relay")
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SQLITE_FULL: Final = 13
_RECORDED: Final = (AccessDeniedError, AuthenticityError, FormatError, IntegrityError)
"""Refusals that are recorded: somebody did what he may not, or sent what is not right."""


class RelayApp:
    """Answers requests with what is in an open relay."""

    def __init__(self, service: Service, names: Names) -> None:
        self._service = service
        self._admission = Admission(service.stations, names, max_skew=service.limits.max_skew)
        self._traffic = Traffic(service.limits)
        self._news = News()
        self._looking = asyncio.Semaphore(1)
        self._rotating = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; anything that is not HTTP ends without an answer."""
        if scope["type"] != "http":
            return
        answer = Answer(scope, send)
        line = LogLine(scope)
        try:
            await self._serve(scope, receive, answer, line)
        except DisconnectedError:
            line.note("gone before the end")
        except (MedshareError, OSError, sqlite3.Error) as error:
            if answer.status:
                raise  # broken off, or it would pass for a whole answer
            if isinstance(error, _RECORDED):
                await self._record(error, scope, line)
            await answer.problem(problem_of(error))
        finally:
            line.write(answer)

    async def _serve(self, scope: Scope, receive: Receive, answer: Answer, line: "LogLine") -> None:
        try:
            admitted = self._admission.admit(scope, now=self._now())
        except AccessDeniedError as error:
            if error.code != problems.SIGNATURE or not is_card_request(scope):
                raise
            await self._rotate(scope, receive, error)
            await answer.done()
            return
        station = admitted.asker.station
        line.key, line.station = station.hex()[:8], station
        target = match(scope["method"], scope["raw_path"].decode("latin-1"))
        line.route = target.route.template
        line.parcel = target.parcel
        line.act = Act.SIGN_IN if target.route is routes.SIGN_IN else Act.REQUEST
        line.note(target.parcel.hex())
        exchange = Exchange(
            target=target,
            query=scope["query_string"].decode("latin-1"),
            asker=admitted.asker,
            body=admitted.body,
            receive=receive,
            answer=answer,
            service=self._service,
            news=self._news,
            looking=self._looking,
            origin=admitted.origin,
            session=admitted.request.session,
        )
        _require_shape(exchange)
        with self._traffic.request(station, upload=target.route.limit > 0):
            if target.route.once:
                await self._use_up(admitted)
            await self._require(admitted, scope, target.route)
            await HANDLERS[target.route](exchange)

    async def _rotate(self, scope: Scope, receive: Receive, error: AccessDeniedError) -> None:
        """Take in a newer card that signs for itself, or raise *error* (protocol §4, put-card).

        This is the one body that is read before the signature is verified, so: only for a
        station that is enrolled, and one at a time.
        """
        key_id, body = claim(scope).key_id, announced_body(scope)
        before = self._service.stations.find(key_id)
        if before is None or body is None or body.length > routes.PUT_CARD.limit:
            raise error
        if self._rotating:
            raise RelayUnavailableError("another card is being looked at", code=problems.BUSY)
        self._rotating = True
        try:
            data = await whole_body(receive, body, self._service)
            card = await self._service.run(parse_card, data)
            if card.station != before.station or not card.continues(before.card):
                raise error
            admitted = self._admission.admit(scope, now=self._now(), newer=card)
            await self._use_up(admitted)
            await self._require(admitted, scope, routes.PUT_CARD)
            await self._service.run(renew, self._service, card)
        except (FormatError, AuthenticityError, IntegrityError):
            raise error from None  # an anonymous body gets no other answer than none
        finally:
            self._rotating = False

    async def _require(self, admitted: Admitted, scope: Scope, route: routes.Route) -> None:
        """Raise AccessDeniedError unless the station shows what its profile demands."""
        access, signature = self._service.access, admitted.signature
        second = None if signature.second is None else clientcert.parse_second(signature.second)
        shown = Shown(admitted.request.session, second, signature.signature, access.address(scope))
        await self._service.run(access.require, admitted.asker, shown, route)

    async def _use_up(self, admitted: Admitted) -> None:
        """Note durably that the request was made; raise AccessDeniedError if it was before."""

        def use_up() -> bool:
            with self._service.parcels.database.writing() as change:
                return change.use_nonce(
                    admitted.asker.station,
                    admitted.nonce,
                    expires=admitted.created + 2 * self._service.limits.max_skew,
                    now=self._now(),
                )

        if not await self._service.run(use_up):
            raise AccessDeniedError(
                "this request was already made once; sign a new one", code=problems.SIGNATURE
            )

    async def _record(self, error: MedshareError, scope: Scope, line: "LogLine") -> None:
        """Put into the record that a request was refused, as far as a flood allows it."""
        record = self._service.record
        if record.is_noted_alone(error.code):
            claimed = line.station or claimed_station(scope)
            about = entries.parcel(line.parcel) if line.parcel else NOTHING
            proved = line.station is not None
            refuse = partial(
                record.refused, error, claimed, proved=proved, about=about, act=line.act
            )
            await self._service.run(refuse)

    def _now(self) -> int:
        return int(self._service.clock())


def is_card_request(scope: Scope) -> bool:
    """Tell whether a request, whoever it is from, is one to take in a card."""
    route = routes.PUT_CARD
    return (scope["method"], scope["raw_path"]) == (route.method, route.template.encode())


def claimed_station(scope: Scope) -> StationId | None:
    """Return who a request claims to be from, if it claims anything that could be true."""
    try:
        return station_id_from_text(claim(scope).key_id)
    except MedshareError:
        return None


def _require_shape(exchange: Exchange) -> None:
    """Raise unless query and body are what the route takes."""
    route, body = exchange.target.route, exchange.body
    if exchange.query and not route.query:
        raise FormatError("this path does not take a query")
    length = 0 if body is None else body.length
    if length > route.limit:
        raise RelayRefusedError(
            f"the body of this request has at most {route.limit} bytes", code=problems.TOO_LARGE
        )
    if route.limit and body is None:
        raise FormatError("this request needs a body, with its content-digest")


def problem_of(error: Exception) -> Problem:
    """Return what the client is told; what only the operator may know goes into the log."""
    number = getattr(error, "errno", None) or getattr(error.__cause__, "errno", None)
    if number in _DISK_FULL or getattr(error, "sqlite_errorcode", 0) == _SQLITE_FULL:
        _log.error("the disk of the relay is full")
        return Problem(
            problems.status_of(problems.FULL),
            problems.FULL,
            "the disk of the relay is full; nothing was stored",
        )
    problem = problems.problem_of(error if isinstance(error, MedshareError) else MedshareError(""))
    if problem.code == problems.FAULT:
        _log.error("a request failed", exc_info=error)
    return problem


class Traffic:
    """How much is under way; too much at once is refused, to be tried again."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests: Counter[StationId] = Counter()
        self._uploads: Counter[StationId] = Counter()

    @contextmanager
    def request(self, station: StationId, *, upload: bool) -> Iterator[None]:
        """Count one request of *station* while it is under way."""
        limits = self._limits
        bounds = [(self._requests, limits.requests, limits.station_requests)]
        if upload:
            bounds.append((self._uploads, limits.uploads, limits.station_uploads))
        for counter, total, each in bounds:
            if counter[station] >= each:
                raise RelayUnavailableError(
                    "this station asks too much at once", code=problems.BUSY
                )
            if counter.total() >= total:
                raise RelayUnavailableError("the relay has too much to do just now")
        for counter, _, _ in bounds:
            counter[station] += 1
        try:
            yield
        finally:
            for counter, _, _ in bounds:
                counter[station] -= 1
                if not counter[station]:
                    del counter[station]


class LogLine:
    """One line for each request; neither names nor keys nor what a path may be made to hold."""

    def __init__(self, scope: Scope) -> None:
        self._method = scope["method"]
        self._begun = time.perf_counter()
        self._notes: list[str] = []
        self.route = "-"
        self.key = "-"
        self.station: StationId | None = None
        self.parcel: ParcelId | None = None
        self.act = Act.REQUEST

    def note(self, text: str) -> None:
        """Add a word about it."""
        self._notes.append(text)

    def write(self, answer: Answer) -> None:
        """Write the line, if anybody wants to read it."""
        _log.info(
            "%s %s %d %d bytes %.1f ms key %s %s",
            self._method,
            self.route,
            answer.status,
            answer.octets,
            (time.perf_counter() - self._begun) * 1000,
            self.key,
            " ".join(self._notes),
        )
