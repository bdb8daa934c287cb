"""What the liar does to HTTP itself: statuses, headers, silence, and floods."""

import gzip
from collections.abc import Callable
from typing import Final

from medshare.ids import ParcelId
from medshare.wire import problems
from tests.attacks.lies import (
    DAMAGED,
    DELIVERED,
    GIB,
    UNAVAILABLE,
    Attack,
    always,
    on,
    refusal,
    stored,
)
from tests.attacks.lying_relay import Exchange, Lie, Said
from tests.attacks.stage import Stage

WHOLE: Final = "get-envelope get-manifest get-chunk get-seal get-state"
OK: Final = "HTTP/1.1 200 OK\r\n"
TYPE: Final = "Content-Type: application/octet-stream\r\n"


def raw(octets: bytes) -> Lie:
    """Return a lie that writes *octets* and closes."""

    def tell(x: Exchange) -> None:
        x.say(octets)

    return tell


def status(number: int) -> Lie:
    """Return a lie that exchanges the status and keeps the body."""

    def tell(x: Exchange) -> Said:
        said = x.honest()
        return Said(number, said.body, said.kind)

    return tell


def with_fields(*fields: str) -> Lie:
    """Return a lie that gives the honest body these header fields and no others."""

    def tell(x: Exchange) -> Said:
        said = x.honest()
        size = str(len(said.body))
        pairs = [field.format(size=size, kind=said.kind).partition(": ") for field in fields]
        return Said(said.status, said.body, fields=tuple((a, b) for a, _, b in pairs))

    return tell


def silent(x: Exchange) -> None:
    """Take the request and never answer."""
    x.hang()


def half_a_head(x: Exchange) -> None:
    """Begin the head and never end it."""
    x.say(f"{OK}Content-Le".encode())
    x.hang()


def half_a_body(x: Exchange) -> None:
    """Send half of what was promised and then nothing."""
    encoded = x.honest().encoded()
    x.say(encoded[: -len(encoded) // 4])
    x.hang()


def dripping_head(x: Exchange) -> None:
    """Send the head octet by octet, so that no single wait is long, and never end it."""
    x.drip(f"{OK}X-Slow: {'a' * 4000}".encode(), pause=0.05)


def dripping_body(x: Exchange) -> None:
    """Send the body octet by octet, so that no single wait is long."""
    x.say(f"{OK}{TYPE}Content-Length: 12\r\n\r\n".encode())
    x.drip(bytes(12), pause=0.05)


def closing_mid_body(x: Exchange) -> None:
    """Close in the middle of the body."""
    encoded = x.honest().encoded()
    x.say(encoded[: -len(encoded) // 4])


def resetting(x: Exchange) -> None:
    """Break the connection off in the middle of the body."""
    closing_mid_body(x)
    x.reset()


def ten_gib(promised: str) -> Lie:
    """Return a lie that pours 10 GiB, having promised something else, or nothing."""

    def tell(x: Exchange) -> None:
        x.say(f"{OK}{TYPE}{promised}\r\n".encode())
        x.pour(10 * GIB)

    return tell


def ten_gib_of_refusal(x: Exchange) -> None:
    """Refuse, and explain it in 10 GiB."""
    head = f"HTTP/1.1 500 No\r\nContent-Type: {problems.PROBLEM}\r\n"
    x.say(f"{head}Content-Length: {10 * GIB}\r\n\r\n".encode())
    x.pour(10 * GIB)


def ten_gib_of_head(x: Exchange) -> None:
    """Send a header field of 10 GiB."""
    x.say(f"{OK}X-Endless: ".encode())
    x.pour(10 * GIB)


def interim_without_end(x: Exchange) -> None:
    """Say `100 Continue` for ever."""
    while not x.relay.stopping.is_set():
        x.say(b"HTTP/1.1 100 Continue\r\n\r\n")


def compressed(x: Exchange) -> Said:
    """Serve a gzip bomb with its content coding."""
    bomb = gzip.compress(bytes(1 << 20))
    fields = (
        ("Content-Type", "application/octet-stream"),
        ("Content-Encoding", "gzip"),
        ("Content-Length", str(len(bomb))),
    )
    return Said(200, bomb, fields=fields)


def larger_chunk(stage: Stage, parcel: ParcelId) -> Lie:
    """Serve a chunk followed by a mebibyte more."""
    said = stored(stage, parcel, "chunks/00000002")
    return on("get-chunk", always(Said(200, said.body + bytes(1 << 20))), index=2)


def told(route: str, lie: Lie) -> Callable[[Stage, ParcelId], Lie]:
    """Return what makes a lie about *route* that needs neither stage nor parcel."""
    return lambda _, __: on(route, lie)


def redirected(location: str, number: int) -> Lie:
    """Return a lie that sends the client elsewhere."""
    fields = (("Location", location), ("Content-Length", "0"))
    return always(Said(number, b"", fields=fields))


STATUSES: Final = [
    Attack(
        f"status {number} for {route}",
        f"{route} is answered with status {number} and the right body",
        told(route, status(number)),
        answers,
    )
    for route, number, answers in (
        ("get-chunk", 201, UNAVAILABLE),
        ("get-chunk", 204, UNAVAILABLE),
        ("get-chunk", 206, UNAVAILABLE),
        ("get-chunk", 304, UNAVAILABLE),
        ("get-seal", 418, UNAVAILABLE),
        ("get-seal", 599, UNAVAILABLE),
        ("get-envelope", 999, UNAVAILABLE),
        ("put-receipt", 200, UNAVAILABLE),
    )
] + [
    Attack(
        f"refused with {number} {code}",
        f"{route} is refused with {number} {code}",
        told(route, always(refusal(number, code))),
        (answer,),
    )
    for route, number, code, answer in (
        ("get-chunk", 401, problems.SIGNATURE, "access.denied.signature"),
        ("get-chunk", 403, problems.FORBIDDEN, "access.denied"),
        ("get-chunk", 410, problems.GONE, "transfer.refused.gone"),
        ("get-chunk", 429, problems.BUSY, "transfer.unavailable.busy"),
        ("get-chunk", 500, problems.FAULT, "transfer.unavailable.fault"),
        ("get-chunk", 503, "transfer.unavailable", "transfer.unavailable"),
        ("get-chunk", 507, problems.FULL, "transfer.refused.full"),
        ("get-chunk", 422, "integrity.digest", "integrity"),
        ("get-manifest", 403, "storage", "access.denied"),
    )
]  # fmt: skip

HEADS: Final = [
    Attack(name, tried, told(route, lie), answers)
    for name, tried, route, lie, answers in (
        ("no length", "an answer without Content-Length", "get-chunk",
         with_fields("Content-Type: {kind}"), UNAVAILABLE),
        ("two lengths", "two Content-Lengths that contradict each other", "get-chunk",
         with_fields("Content-Type: {kind}", "Content-Length: {size}", "Content-Length: 7"),
         UNAVAILABLE),
        ("a negative length", "Content-Length: -1", "get-chunk",
         with_fields("Content-Type: {kind}", "Content-Length: -1"), UNAVAILABLE),
        ("a length in hexadecimal", "Content-Length: 0x10", "get-seal",
         with_fields("Content-Type: {kind}", "Content-Length: 0x10"), UNAVAILABLE),
        ("a chunked answer", "Transfer-Encoding beside Content-Length (smuggling)", "get-chunk",
         with_fields("Content-Type: {kind}", "Content-Length: {size}",
                     "Transfer-Encoding: chunked"), UNAVAILABLE),
        ("another media type", "a chunk as text/html", "get-chunk",
         with_fields("Content-Type: text/html", "Content-Length: {size}"), UNAVAILABLE),
        ("a gzip bomb", "a chunk with Content-Encoding: gzip", "get-chunk", compressed,
         ("integrity", "transfer")),
        ("cookies and surprises", "Set-Cookie, Refresh and Link beside an honest answer", WHOLE,
         with_fields("Content-Type: {kind}", "Content-Length: {size}", "Set-Cookie: a=b",
                     "Refresh: 0; url=http://127.0.0.1/", "Link: </x>; rel=preload"), DELIVERED),
        ("a fold in the head", "a header field that goes on in the next line", "get-chunk",
         raw(f"{OK}X-Fold: a\r\n b\r\nContent-Length: 1\r\n\r\nx".encode()), UNAVAILABLE),
        ("no HTTP at all", "garbage in place of an answer", WHOLE, raw(b"\x16\x03\x01\x00garbage"),
         UNAVAILABLE),
        ("another protocol", "an SSH banner in place of an answer", WHOLE,
         raw(b"SSH-2.0-OpenSSH_9.6\r\n"), UNAVAILABLE),
        ("an empty answer", "the connection is closed unanswered", "get-chunk", raw(b""),
         UNAVAILABLE),
        ("a permanent redirect", "301 to another address", "get-chunk",
         redirected("http://127.0.0.1:9/", 301), UNAVAILABLE),
        ("a temporary redirect", "307 to a file", "put-receipt",
         redirected("file:///etc/passwd", 307), UNAVAILABLE),
    )
]  # fmt: skip

SILENCE: Final = [
    Attack(name, tried, told(route, lie), UNAVAILABLE)
    for name, tried, route, lie in (
        ("silence before the answer", "a request for a chunk is never answered", "get-chunk",
         silent),
        ("silence from the first request on", "nothing is ever answered", WHOLE, silent),
        ("silence in mid-head", "the head of an answer never ends", "get-seal", half_a_head),
        ("silence in mid-body", "half a chunk, then nothing, for ever", "get-chunk", half_a_body),
        ("a head in drops", "the head comes octet by octet, without end", "get-seal",
         dripping_head),
        ("a body in drops", "a chunk comes octet by octet", "get-chunk", dripping_body),
        ("closed in mid-body", "the connection is closed within a chunk", "get-chunk",
         closing_mid_body),
        ("reset in mid-body", "the connection is reset within a chunk", "get-chunk", resetting),
    )
]  # fmt: skip

FLOODS: Final = [
    Attack(name, tried, make, answers)
    for name, tried, make, answers in (
        ("10 GiB, announced", "10 GiB with their Content-Length, for a chunk of 1 KiB",
         told("get-chunk", ten_gib(f"Content-Length: {10 * GIB}\r\n")), UNAVAILABLE),
        ("10 GiB, unannounced", "10 GiB without a length", told("get-chunk", ten_gib("")),
         UNAVAILABLE),
        ("10 GiB, chunked", "10 GiB with Transfer-Encoding: chunked",
         told("get-chunk", ten_gib("Transfer-Encoding: chunked\r\n")), UNAVAILABLE),
        ("10 GiB behind a small length", "10 GiB behind a Content-Length of 1000",
         told("get-chunk", ten_gib("Content-Length: 1000\r\n")), (*DAMAGED, *UNAVAILABLE)),
        ("10 GiB of envelope", "10 GiB where an envelope was asked for",
         told("get-envelope", ten_gib(f"Content-Length: {10 * GIB}\r\n")), UNAVAILABLE),
        ("10 GiB of refusal", "a refusal of 10 GiB", told("get-seal", ten_gib_of_refusal),
         UNAVAILABLE),
        ("10 GiB of header", "a header field of 10 GiB", told("get-seal", ten_gib_of_head),
         UNAVAILABLE),
        ("interim answers without end", "100 Continue, for ever",
         told("get-chunk", interim_without_end), UNAVAILABLE),
        ("a chunk and a mebibyte more", "a chunk with a mebibyte behind it", larger_chunk,
         ("transfer",)),
    )
]  # fmt: skip
