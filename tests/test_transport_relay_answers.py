"""What a relay, or something that is none, may answer: each becomes one error of ours."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from medshare import cli
from medshare.errors import (
    AccessDeniedError,
    IntegrityError,
    MedshareError,
    NotFoundError,
    RelayRefusedError,
    RelayUnavailableError,
    TransferError,
    UntrustedSignerError,
)
from medshare.ids import ParcelId
from medshare.transport.answers import mapped_errors
from medshare.transport.relay import RelayTransport
from medshare.wire import bodies, problems, routes
from medshare.wire.problems import Problem, encode_problem
from tests.relay_case import rotated
from tests.running_relay import requester
from tests.scripted_server import Peer, ScriptedServer
from tests.suites.transport_suite import ALICE, study

PARCEL = study("answers")
NEWER = rotated(ALICE)
UNKNOWN = ParcelId(bytes(16))
CBOR = f"Content-Type: {routes.CBOR}\r\n"
OCTETS = f"Content-Type: {routes.OCTETS}\r\n"
PROBLEM = f"Content-Type: {problems.PROBLEM}\r\n"

Say = Callable[[Peer], object]
Ask = Callable[[RelayTransport], object]


def length_of(head: bytes) -> int:
    """Return the length that the head of a request announces."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def always(say: Say) -> Callable[[Peer], None]:
    """Return a script that reads each request whole and answers it with *say*."""

    def script(peer: Peer) -> None:
        while head := peer.head():
            peer.body(length_of(head))
            say(peer)

    return script


def asked(say: Say, ask: Ask) -> Any:
    """Ask a server that answers with *say*."""
    with ScriptedServer(always(say)) as server:
        transport = RelayTransport(server.url, requester(ALICE))
        try:
            return ask(transport)
        finally:
            transport.close()


def refusal(status: int, code: str) -> Say:
    """Return an answer that refuses, well formed."""
    body = encode_problem(Problem(status, code, "because"))
    return lambda peer: peer.answer(body, status=f"{status} No", extra=PROBLEM)


def get_seal(transport: RelayTransport) -> object:
    """Ask for something whose answer is octets."""
    return transport.get_seal(PARCEL.id)


def get_chunk(transport: RelayTransport) -> object:
    """Ask for a chunk."""
    return transport.get_chunk(PARCEL.id, 0, memoryview(bytearray(100)))


def put_seal(transport: RelayTransport) -> object:
    """Ask for something whose answer is nothing."""
    transport.put_seal(PARCEL.id, PARCEL.seal)
    return None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RelayRefusedError),
        (401, AccessDeniedError),
        (403, AccessDeniedError),
        (404, NotFoundError),
        (408, RelayUnavailableError),
        (409, RelayRefusedError),
        (410, RelayRefusedError),
        (413, RelayRefusedError),
        (422, IntegrityError),
        (429, RelayUnavailableError),
        (500, RelayUnavailableError),
        (503, RelayUnavailableError),
        (507, RelayRefusedError),
    ],
)
@pytest.mark.parametrize("ask", [get_seal, put_seal, get_chunk])
def test_a_refusal_is_its_error(status: int, kind: type[MedshareError], ask: Ask) -> None:
    """Status gives the class, the body the code and the sentence, whatever was asked."""
    with pytest.raises(kind, match="because") as caught:
        asked(refusal(status, "some.code"), ask)
    assert type(caught.value) is kind
    assert caught.value.code == "some.code"


NONSENSE: dict[str, Say] = {
    "another server's page": lambda p: p.answer(
        b"<html>hello</html>", extra="Content-Type: text/html\r\n"
    ),
    "a refusal that is html": lambda p: p.answer(b"<html>", status="404 Not Found"),
    "an error without length": lambda p: p.say(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"),
    "a refusal of another status": lambda p: p.answer(
        encode_problem(Problem(404, "a", "b")), status="500 No", extra=PROBLEM
    ),
    "a refusal too long": lambda p: p.answer(bytes(70_000), status="500 No", extra=PROBLEM),
    "a redirect": lambda p: p.answer(
        status="302 Found", extra="Location: https://evil.example\r\n"
    ),
    "a permanent redirect": lambda p: p.answer(status="308 Moved", extra="Location: /other\r\n"),
    "not modified": lambda p: p.answer(status="304 Not Modified"),
    "partial content": lambda p: p.answer(b"abc", status="206 Partial Content", extra=OCTETS),
    "created": lambda p: p.answer(b"abc", status="201 Created", extra=OCTETS),
    "garbage": lambda p: p.say(b"\x16\x03\x01 not http at all\r\n\r\n"),
    "an old protocol": lambda p: p.say(b"ICY 200 OK\r\n\r\n"),
    "no length": lambda p: p.say(b"HTTP/1.1 200 OK\r\n" + OCTETS.encode() + b"\r\n"),
    "chunked": lambda p: p.say(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    ),
    "ten gibibytes": lambda p: p.say(
        b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n" + OCTETS.encode() + b"\r\n"
    ),
    "endless head": lambda p: p.say(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000),
    "only interim answers": lambda p: p.say(b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
}


@pytest.mark.parametrize("say", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("ask", [get_seal, put_seal, get_chunk])
def test_what_is_no_answer_of_a_relay_is_said_so(say: Say, ask: Ask) -> None:
    """Anything that the protocol does not know is a TransferError, never a success."""
    with pytest.raises(TransferError) as caught:
        asked(say, ask)
    assert caught.value.message == caught.value.message.lower()


def cut(peer: Peer) -> None:
    """Promise a hundred octets and send ten."""
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n" + OCTETS.encode() + b"\r\n" + bytes(10))
    raise OSError  # ends the connection


@pytest.mark.parametrize("ask", [get_seal, get_chunk])
def test_an_answer_that_breaks_off_is_none(ask: Ask) -> None:
    """A body shorter than promised is RelayUnavailableError: to be tried again."""
    with pytest.raises(RelayUnavailableError):
        asked(cut, ask)


def test_an_answer_larger_than_asked_for_is_not_read() -> None:
    """More than the caller's buffer, or than the stated size, is refused by its length alone."""
    with pytest.raises(TransferError, match="larger"):
        asked(lambda p: p.answer(bytes(101), extra=OCTETS), get_chunk)
    with pytest.raises(TransferError, match="larger"):
        asked(
            lambda p: p.answer(bytes(101), extra=OCTETS),
            lambda t: t.get_manifest(PARCEL.id, size=100),
        )


def test_a_body_after_done_is_no_answer() -> None:
    """A 200 where nothing but 204 is due does not count as stored."""
    with pytest.raises(RelayUnavailableError):
        asked(lambda p: p.answer(b"", extra=OCTETS), put_seal)


STRUCTURED: dict[str, Ask] = {
    "inbox": lambda t: t.inbox(),
    "state": lambda t: t.stored(PARCEL.id),
    "announce": lambda t: t.announce(PARCEL.id, PARCEL.envelope, PARCEL.manifest),
}


@pytest.mark.parametrize("ask", STRUCTURED.values(), ids=STRUCTURED)
@pytest.mark.parametrize("body", [b"", b"\xff", b"\xa0", b"{}", bytes(5000)])
def test_structures_are_read_strictly(ask: Ask, body: bytes) -> None:
    """A structure that is not exactly one of the protocol, or too long, is an error."""
    with pytest.raises(TransferError):
        asked(lambda p: p.answer(body, extra=CBOR), ask)


def test_a_difference_to_an_unknown_state_is_refused() -> None:
    """A relay that tells a difference to a state which nobody asked about is not believed."""
    state = bodies.State("1.1", "0.7", True, False, (), (), ())
    with pytest.raises(RelayUnavailableError):
        asked(
            lambda p: p.answer(bodies.encode_state(state), extra=CBOR),
            lambda t: t.stored(PARCEL.id),
        )


def test_an_inbox_that_goes_round_in_circles_ends() -> None:
    """Pages that do not advance, or that never end, end in an error or in a bounded answer."""
    page = bodies.encode_inbox([PARCEL.id], following=1)
    with pytest.raises(RelayUnavailableError):
        asked(lambda p: p.answer(page, extra=CBOR), lambda t: t.inbox())
    place = iter(range(1, 10_000))

    def advance(peer: Peer) -> None:
        peer.answer(bodies.encode_inbox([PARCEL.id], following=next(place)), extra=CBOR)

    assert asked(advance, lambda t: t.inbox()) == (PARCEL.id,)
    assert next(place) < 1000


def test_a_relay_that_is_down_is_unavailable() -> None:
    """Nobody listens: RelayUnavailableError, which may be tried again."""
    with ScriptedServer(lambda _: None) as server:
        url = server.url
    transport = RelayTransport(url, requester(ALICE))
    with pytest.raises(RelayUnavailableError) as caught:
        transport.inbox()
    assert caught.value.retryable
    transport.close()


def test_a_relay_that_stalls_is_given_up() -> None:
    """A relay that takes a request and never answers is unavailable after the stall time."""
    with ScriptedServer(lambda peer: peer.head() and peer.head()) as server:
        transport = RelayTransport(server.url, requester(ALICE), stall_seconds=0.2)
        with pytest.raises(RelayUnavailableError, match="in time"):
            transport.inbox()
        transport.close()


def test_a_certificate_that_is_not_trusted_is_not_tried_again(tmp_path: Path) -> None:
    """A relay whose certificate another authority issued is a matter of trust, said at once."""
    good, other = trustme.CA(), trustme.CA()
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    with ScriptedServer(always(lambda p: p.answer()), authority=good) as server:
        transport = RelayTransport(server.url, requester(ALICE), ca_file=tmp_path / "other.pem")
        with pytest.raises(UntrustedSignerError) as caught:
            transport.inbox()
        transport.close()
    assert not caught.value.retryable
    assert cli.exit_code(caught.value) == 4
    assert caught.value.code == "transfer.certificate"
    assert "MEDSHARE_RELAY_CA" in str(caught.value.hint)


def test_a_certificate_for_another_name_is_said_to_be_one(tmp_path: Path) -> None:
    """The hint speaks of names, as the authority is known."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    answer = always(lambda p: p.answer())
    with ScriptedServer(answer, authority=authority, names=("elsewhere.example",)) as server:
        transport = RelayTransport(server.url, requester(ALICE), ca_file=tmp_path / "ca.pem")
        with pytest.raises(UntrustedSignerError, match="mismatch") as caught:
            transport.inbox()
        transport.close()
    assert "subjectAltName" in str(caught.value.hint)


def foreign_errors() -> Iterator[Exception]:
    """Every exception that httpx can raise."""
    request = httpx.Request("GET", "https://relay.example.org")
    for name in sorted(httpx.__all__):
        kind = getattr(httpx, name)
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            continue
        if kind is httpx.HTTPStatusError:
            yield kind("x", request=request, response=httpx.Response(500))
        elif kind in {
            httpx.StreamConsumed,
            httpx.StreamClosed,
            httpx.ResponseNotRead,
            httpx.RequestNotRead,
        }:
            yield kind()
        else:
            yield kind("x")


@pytest.mark.parametrize("error", list(foreign_errors()), ids=lambda error: type(error).__name__)
def test_no_exception_of_httpx_gets_through(error: Exception) -> None:
    """Each exception of httpx becomes an error of ours, with the original as its cause."""
    with pytest.raises(MedshareError) as caught, mapped_errors():
        raise error
    assert caught.value.__cause__ is error


def test_our_own_errors_pass_as_they_are() -> None:
    """What is an error of ours already keeps its class; a fault of the program stays one."""
    for error in (NotFoundError("x"), ZeroDivisionError("x")):
        with pytest.raises(type(error)), mapped_errors():
            raise error


def test_a_certificate_error_is_told_from_other_failures() -> None:
    """Only a certificate that does not verify counts as one."""
    failure = httpx.ConnectError("the certificate of the relay is not accepted")
    failure.__cause__ = ssl.SSLCertVerificationError()
    with pytest.raises(UntrustedSignerError), mapped_errors():
        raise failure
