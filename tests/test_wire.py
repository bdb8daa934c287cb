"""The relay protocol as values: routes, refusals and small bodies."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import errors
from medshare.canonical import encode
from medshare.chunk import SIGNATURE_SIZE
from medshare.chunking import MAX_CHUNKS
from medshare.digest import DIGEST_SIZE, Digest
from medshare.envelope import ChunkRecord
from medshare.errors import (
    AccessDeniedError,
    FormatError,
    IntegrityError,
    MedshareError,
    NotFoundError,
    RelayRefusedError,
    RelayUnavailableError,
)
from medshare.ids import ParcelId, StationId
from medshare.wire import bodies, problems, routes
from tests.conftest import ROOT

PARCEL = ParcelId(bytes(range(16)))
STATION = StationId(bytes(range(32)))
PROTOCOL = (ROOT / "docs" / "relay-protocol.md").read_text(encoding="utf-8")

indexes = st.sets(st.integers(0, MAX_CHUNKS - 1), max_size=20).map(sorted).map(tuple)
records = indexes.flatmap(
    lambda found: st.tuples(
        *(
            st.builds(
                ChunkRecord,
                st.just(index),
                st.binary(min_size=DIGEST_SIZE, max_size=DIGEST_SIZE).map(Digest),
                st.binary(min_size=SIGNATURE_SIZE, max_size=SIGNATURE_SIZE),
            )
            for index in found
        )
    )
)
states = st.builds(
    bodies.State,
    tag=st.text("0123456789az.-", min_size=1, max_size=64),
    since=st.text("0123456789az.-", max_size=64),
    manifest=st.booleans(),
    sealed=st.booleans(),
    chunks=records,
    receipts=st.lists(st.binary(min_size=32, max_size=32).map(StationId), max_size=4).map(tuple),
    wanted=indexes,
)
problem_values = st.builds(
    problems.Problem,
    status=st.integers(400, 599),
    code=st.lists(st.text("abz", min_size=1, max_size=9), min_size=1, max_size=5).map(".".join),
    detail=st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=300),
    missing=indexes,
)


@pytest.mark.parametrize("route", routes.ROUTES, ids=lambda route: route.name)
def test_a_path_and_its_parts_name_each_other(route: routes.Route) -> None:
    """What `Target.path` writes, `match` reads back, and nothing is left over."""
    target = routes.Target(
        route,
        PARCEL if "{parcel}" in route.template else ParcelId(b""),
        131071 if "{index}" in route.template else -1,
        STATION if "{station}" in route.template else StationId(b""),
        factor=bytes(range(16)) if "{factor}" in route.template else b"",
        proposal=bytes(range(32)) if "{proposal}" in route.template else b"",
    )
    assert routes.match(route.method, target.path) == target


PATH = routes.Target(routes.PUT_CHUNK, PARCEL, 7).path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v1",
        "/v1/",
        "/v2/inbox",
        PATH + "/",
        "/" + PATH,
        PATH.upper(),
        PATH.replace("00000007", "7"),
        PATH.replace("00000007", "00131072"),
        PATH.replace("00000007", "99999999"),
        PATH.replace("00000007", "0000000٧"),
        PATH.replace("00000007", "%30000007"),
        PATH.replace("chunks", "chunks/../chunks"),
        PATH.replace(PARCEL.hex(), PARCEL.hex()[:-2]),
        PATH + "\n",
        PATH + "?",
    ],
)
def test_a_path_has_one_spelling(path: str) -> None:
    """Whatever is not exactly a path of the protocol is refused as unknown."""
    with pytest.raises(RelayRefusedError) as caught:
        routes.match("PUT", path)
    assert caught.value.code == problems.PATH


def test_a_known_path_refuses_other_methods() -> None:
    """A method that a path does not take has its own code."""
    with pytest.raises(RelayRefusedError) as caught:
        routes.match("PATCH", PATH)
    assert caught.value.code == problems.METHOD


@given(st.text(max_size=120))
def test_any_path_is_answered_or_refused(path: str) -> None:
    """`match` returns a target whose path is the one given, or refuses."""
    try:
        target = routes.match("GET", path)
    except RelayRefusedError:
        return
    assert target.path == path


@given(states)
def test_a_state_survives_the_wire(state: bodies.State) -> None:
    """Decoding an encoded state gives the same state."""
    assert bodies.decode_state(bodies.encode_state(state)) == state


@given(states, st.data())
def test_a_damaged_state_is_refused_or_still_canonical(
    state: bodies.State, data: st.DataObject
) -> None:
    """A changed octet gives an error or a state that encodes to exactly these octets."""
    octets = bytearray(bodies.encode_state(state))
    octets[data.draw(st.integers(0, len(octets) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        changed = bodies.decode_state(bytes(octets))
    except FormatError:
        return
    assert bodies.encode_state(changed) == bytes(octets)


@given(st.binary(max_size=300))
def test_no_octets_break_the_decoders(data: bytes) -> None:
    """Arbitrary octets are decoded or refused with FormatError, by every decoder."""
    decoders = (
        bodies.decode_state,
        bodies.decode_inbox,
        bodies.decode_announced,
        bodies.decode_indexes,
        problems.decode_problem,
    )
    for decode in decoders:
        try:
            decode(data)
        except FormatError:
            continue


def test_repeated_and_huge_indexes_are_refused() -> None:
    """Indexes ascend strictly and stay within the format."""
    for bad in ((1, 1), (2, 1), (MAX_CHUNKS,)):
        with pytest.raises(FormatError):
            bodies.decode_indexes(bodies.encode_indexes(bad))
    with pytest.raises(FormatError):
        bodies.decode_indexes(b"\x00\x00\x00")


@given(st.lists(st.binary(min_size=16, max_size=16).map(ParcelId), max_size=256))
def test_an_inbox_page_survives_the_wire(parcels: list[ParcelId]) -> None:
    """Decoding an encoded page gives the same parcels in the same order."""
    assert bodies.decode_inbox(bodies.encode_inbox(parcels, following=7)) == (tuple(parcels), 7)


def test_an_inbox_page_is_bounded() -> None:
    """A page with more parcels than a page has is refused."""
    page = [ParcelId(i.to_bytes(16)) for i in range(bodies.INBOX_PAGE + 1)]
    with pytest.raises(FormatError):
        bodies.decode_inbox(bodies.encode_inbox(page, following=0))


@given(st.booleans(), st.lists(st.binary(min_size=32, max_size=32).map(StationId), max_size=64))
def test_the_answer_to_an_envelope_survives_the_wire(
    manifest: bool, absent: list[StationId]
) -> None:
    """Whether the manifest is there, and who is not enrolled, is read as it was written."""
    told = bodies.Announced(manifest, tuple(absent))
    assert bodies.decode_announced(bodies.encode_announced(told)) == told


def test_a_flag_is_nought_or_one() -> None:
    """Another value than 0 and 1, and an unknown field, are refused."""
    good = {"absent": b"", "manifest": 1}
    for change in ({"manifest": 2}, {"manifest": True}, {"more": 1}, {"absent": bytes(33)}):
        value = good | change
        with pytest.raises(FormatError):
            bodies.decode_announced(encode(value))


def test_queries_have_one_spelling() -> None:
    """Queries are read as they are written; variations are refused."""
    assert bodies.parse_state_query(bodies.state_query(known="1.2", wait=30)) == ("1.2", 30)
    assert bodies.parse_state_query(bodies.state_query()) == ("", 0)
    assert bodies.parse_inbox_query(bodies.inbox_query(12)) == (12, 0)
    assert bodies.parse_inbox_query(bodies.inbox_query(0, wait=30)) == (0, 30)
    for bad in ("", "wait=31", "wait=-1", "wait=01", "known=&wait=1", "wait=1&known=a", "wait=1&"):
        with pytest.raises(FormatError):
            bodies.parse_state_query(bad)
    twisted = ("after=1&after=2", "after=0&wait=0", "after=0&wait=31", "wait=1&after=0")
    for bad in ("", "after=", "after=01", "after=9999999999999999", *twisted):
        with pytest.raises(FormatError):
            bodies.parse_inbox_query(bad)


@given(problem_values)
def test_a_refusal_survives_the_wire(problem: problems.Problem) -> None:
    """Decoding an encoded refusal gives the same refusal."""
    assert problems.decode_problem(problems.encode_problem(problem)) == problem


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502 Bad Gateway</html>",
        b"[" * 50_000,
        b"{}",
        b'{"status": 404, "code": "A B", "detail": ""}',
        b'{"status": 404, "code": "a", "detail": 1}',
        b'{"status": 409, "code": "a", "detail": "", "missing": [true]}',
        b'{"status": 409, "code": "a", "detail": "", "missing": [-1]}',
        b'{"status": 409, "code": "a", "detail": "", "missing": 1}',
        b'{"status": 404, "code": "a", "detail": "' + b"x" * problems.MAX_PROBLEM + b'"}',
    ],
)
def test_what_is_no_refusal_is_said_to_be_none(body: bytes) -> None:
    """Another server's page, deep nesting, wrong types and too much text are FormatErrors."""
    with pytest.raises(FormatError):
        problems.decode_problem(body)


def test_a_relay_cannot_write_on_the_terminal() -> None:
    """Escape sequences, line breaks and directions in a sentence from outside are removed."""
    hostile = problems.Problem(409, "a", "\x1b[2Jall\r\ngood\u202e" + "x" * 400)
    detail = problems.decode_problem(problems.encode_problem(hostile)).detail
    assert detail.isprintable()
    assert len(detail) == 300


KINDS = {
    400: RelayRefusedError,
    401: AccessDeniedError,
    403: AccessDeniedError,
    404: NotFoundError,
    405: RelayRefusedError,
    408: RelayUnavailableError,
    409: RelayRefusedError,
    410: RelayRefusedError,
    411: RelayRefusedError,
    413: RelayRefusedError,
    418: RelayRefusedError,
    421: RelayRefusedError,
    422: IntegrityError,
    429: RelayUnavailableError,
    500: RelayUnavailableError,
    502: RelayUnavailableError,
    503: RelayUnavailableError,
    504: RelayUnavailableError,
    507: RelayRefusedError,
}


@pytest.mark.parametrize("status", KINDS)
def test_the_status_decides_the_class(status: int) -> None:
    """Each status becomes its class, with the code kept even when nobody knows it."""
    error = problems.error_of(problems.Problem(status, "some.new-code", "because"))
    assert type(error) is KINDS[status]
    assert error.code == "some.new-code"
    assert "because" in error.message


def test_a_relay_that_asks_to_wait_did_not_fail() -> None:
    """What came too early is told from what the relay could not do."""
    said = {
        status: problems.error_of(problems.Problem(status, "x", "because")).message
        for status in (429, 503)
    }
    assert said == {
        429: "the relay asks to wait: because",
        503: "the relay could not do it: because",
    }


@pytest.mark.parametrize("code", ["key.passphrase", "storage", "cancelled", "unexpected", "usage"])
@pytest.mark.parametrize("status", KINDS)
def test_a_relay_does_not_speak_for_the_station(status: int, code: str) -> None:
    """A code that would mean a fault of this machine is not taken from another one."""
    error = problems.error_of(problems.Problem(status, code, "because"))
    assert type(error) is KINDS[status]
    assert error.code.partition(".")[0] in {"access", "integrity", "transfer"}


def test_every_code_has_a_status_of_its_own_beginning() -> None:
    """A longer code falls back to its listed beginning; an unplanned one is a fault."""
    assert problems.status_of("integrity.digest") == 422
    assert problems.status_of("format.limit") == 400
    assert problems.status_of("transfer.refused.gone") == 410
    assert problems.status_of("storage") == 500
    assert problems.status_of("") == 500


def test_a_fault_of_the_relay_keeps_its_inside_to_itself() -> None:
    """What the relay did not mean to refuse goes out without its sentence."""
    problem = problems.problem_of(errors.StorageError("could not write /srv/relay/x"))
    assert (problem.status, problem.code) == (500, problems.FAULT)
    assert "/srv" not in problem.detail


def all_errors(kind: type[MedshareError] = MedshareError) -> list[type[MedshareError]]:
    """Every class of the tree."""
    return [kind, *(found for sub in kind.__subclasses__() for found in all_errors(sub))]


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_of_ours_has_an_answer(kind: type[MedshareError]) -> None:
    """No error leaves the relay without a status of 4xx or 5xx and a code."""
    problem = problems.problem_of(kind("what was tried"))
    assert 400 <= problem.status <= 599
    assert problems.decode_problem(problems.encode_problem(problem)) == problem


@pytest.mark.parametrize("route", routes.ROUTES, ids=lambda route: route.name)
def test_the_page_lists_every_request(route: routes.Route) -> None:
    """docs/relay-protocol.md names each request with its method, path and limit."""
    if route.method == "GET" and not route.query:
        assert "GET` on each of the five paths above" in PROTOCOL
        assert route.template in PROTOCOL
        return
    line = next(line for line in PROTOCOL.splitlines() if line.startswith(f"| {route.name} | `"))
    assert f"`{route.method} {route.template}" in line
    sizes = {
        0: "",
        1 << 20: "1 MiB",
        4 << 20: "4 MiB",
        8 << 20: "8 MiB",
        16 << 20: "16 MiB",
        32 << 20: "32 MiB",
    }
    assert line.split("|")[3].strip() == sizes.get(route.limit, f"{route.limit:,} octets")
    assert line.rstrip("| ").endswith("once") == route.once


@pytest.mark.parametrize(
    "code",
    [v for k, v in vars(problems).items() if k.isupper() and isinstance(v, str) and "." in v],
)
def test_the_page_lists_every_code(code: str) -> None:
    """docs/relay-protocol.md has a row for each code, with its status and class."""
    status = problems.status_of(code)
    kind = type(problems.error_of(problems.Problem(status, code, ""))).__name__
    assert re.search(
        rf"^\| {status} \| `{re.escape(code)}` \|.*\| {kind} \|$", PROTOCOL, re.MULTILINE
    )
