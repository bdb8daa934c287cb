"""The small parts of the relay: hashing in passing, the database, news, names."""

import asyncio
import sqlite3
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from medshare.digest import Digest
from medshare.errors import UsageError
from medshare.ids import ParcelId
from medshare.relay.files import Incoming, Passing
from medshare.relay.handlers import HANDLERS
from medshare.relay.names import names_of
from medshare.relay.news import News
from medshare.suites.base import Hasher
from medshare.suites.intl import INTL, IntlSuite
from medshare.wire import problems, routes
from medshare.wire.routes import Target
from tests.relay_case import Case, open_case, signed
from tests.suites.transport_suite import ALICE, study

PARCEL = ParcelId(bytes(16))


class TwoPasses(IntlSuite):
    """A suite whose hash only looks different, so that nothing can be shared."""

    def hasher(self) -> Hasher:
        """Return a hasher of another type."""
        return Other(INTL.hasher())


class Other:
    """BLAKE3 in disguise."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher

    def update(self, data: bytes | bytearray | memoryview, /) -> object:
        """Take more octets."""
        return self._hasher.update(data)

    def digest(self) -> bytes:
        """Return the digest so far."""
        return self._hasher.digest()

    def copy(self) -> "Other":
        """Return an independent copy."""
        return Other(self._hasher.copy())


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    """Yield *data* in pieces that end at *places*."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    for start, end in pairwise(edges):
        yield data[start:end]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8), st.integers(0, 80))
def test_hashing_in_passing_is_hashing(data: bytes, places: list[int], tail: int) -> None:
    """However the octets are cut, both digests, head and tail are those of the whole."""
    for suite in (INTL, TwoPasses()):
        passing = Passing(len(data), suite, tail=tail)
        for piece in cut(data, places):
            passing.take(piece)
        end = max(0, len(data) - tail)
        assert passing.whole_digest == INTL.digest(data).value
        assert passing.digest == INTL.digest(data[:end])
        assert passing.tail == data[end:]
        assert passing.head == data[:64]


@given(st.lists(st.binary(max_size=200), max_size=150))
def test_pieces_are_written_in_order(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    """Any number of pieces, empty ones among them, make the file that is kept."""
    folder = tmp_path_factory.mktemp("incoming")
    data = b"".join(pieces)
    incoming = Incoming(folder, len(data), INTL)
    incoming.write(pieces)
    assert [path.name.startswith(".") for path in folder.iterdir()] == [True]
    incoming.keep("final")
    incoming.discard()
    incoming.discard()
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("final", data)]
    assert Digest(incoming.passing.whole_digest) == INTL.digest(data)


def test_what_is_discarded_leaves_nothing(tmp_path: Path) -> None:
    """Without `keep` there is no file, and discarding twice, or after removal, is harmless."""
    incoming = Incoming(tmp_path, 3, INTL)
    incoming.write([b"abc"])
    incoming.discard()
    incoming.discard()
    assert list(tmp_path.iterdir()) == []
    incoming = Incoming(tmp_path, 3, INTL)
    next(tmp_path.iterdir()).unlink()
    incoming.discard()


def test_every_route_has_its_handler() -> None:
    """No route is without a handler, and no handler without a route."""
    assert set(HANDLERS) == set(routes.ROUTES)


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    """An open relay."""
    with open_case(tmp_path / "relay") as found:
        yield found


def test_a_database_that_is_full_recovers(case: Case) -> None:
    """When SQLite itself runs out of room the request is 507, and later ones work again."""
    parcel = study("full database")
    sqlite = case.service.parcels.database._writer._sqlite
    (pages,) = sqlite.execute("PRAGMA page_count").fetchone()
    sqlite.execute(f"PRAGMA max_page_count = {pages}")
    codes = []
    for number in range(200):
        request = signed(ALICE, Target(routes.REMOVE, ParcelId(number.to_bytes(16))))
        codes.append(case.ask(request).code)
        if codes[-1] == problems.FULL:
            break
    assert codes[-1] == problems.FULL
    sqlite.execute("PRAGMA max_page_count = 100000")
    request = signed(ALICE, Target(routes.PUT_ENVELOPE, parcel.id), parcel.envelope)
    assert case.ask(request).status == 200


def test_a_change_that_fails_is_undone_whole(case: Case) -> None:
    """What an interrupted transaction had written before it failed is not there."""
    parcel = study("undone")
    database = case.service.parcels.database

    def fail() -> None:
        with database.writing() as change:
            change.add_parcel(parcel.facts, [], size=1, now=1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.reading() as view:
        assert view.parcel(parcel.id) is None


def test_one_parcel_is_entered_once(case: Case) -> None:
    """The database itself refuses a second parcel with one id."""
    parcel = study("twice")
    with case.service.parcels.database.writing() as change:
        change.add_parcel(parcel.facts, [], size=1, now=1)
    with (
        pytest.raises(sqlite3.IntegrityError),
        case.service.parcels.database.writing() as change,
    ):
        change.add_parcel(parcel.facts, [], size=1, now=1)


def test_claims_are_written_to_the_disk_at_once(case: Case) -> None:
    """The database keeps a write-ahead log and syncs it at each commit."""
    sqlite = case.service.parcels.database._writer._sqlite
    assert sqlite.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert sqlite.execute("PRAGMA synchronous").fetchone() == (2,)


def test_news_comes_to_those_who_watch_that_parcel() -> None:
    """A watch wakes for its own parcel only, and is forgotten when it ends."""

    async def scenario() -> None:
        news = News()
        with news.watch(PARCEL) as watch, news.watch(ParcelId(bytes([1] * 16))) as other:
            news.tell(PARCEL)
            assert await watch.wait(5, gather=5)
            assert not await other.wait(0.01, gather=0)
            watch.clear()
            assert not await watch.wait(0.01, gather=0)
        assert news._watches == {}

    asyncio.run(scenario())


def test_news_of_chunks_is_gathered_until_something_presses() -> None:
    """A chunk alone waits for more to come; seal, receipt or loss end the wait at once."""

    async def scenario() -> None:
        news = News()
        with news.watch(PARCEL) as watch:
            news.tell(PARCEL, urgent=False)
            waiting = asyncio.create_task(watch.wait(5, gather=30))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            news.tell(PARCEL)
            assert await waiting

    asyncio.run(scenario())


def test_the_names_of_a_relay_are_those_of_its_certificate(tmp_path: Path) -> None:
    """Host names and addresses of the certificate count, and so does what the operator gives."""
    issued = trustme.CA().issue_cert("relay.example.org", "*.clinic.example", "192.0.2.7", "::1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    names = names_of(tmp_path / "cert.pem", ("front.example.org",))
    for host in ("relay.example.org", "a.clinic.example", "192.0.2.7", "[::1]"):
        assert names.authority(f"{host}:8443", scheme="https", port=8443) == f"{host}:8443"
    assert names.authority("front.example.org", scheme="https", port=8443) == "front.example.org"


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_certificate_that_cannot_be_read_is_said_so(tmp_path: Path, content: bytes) -> None:
    """A file that is no certificate is UsageError."""
    (tmp_path / "cert.pem").write_bytes(content)
    with pytest.raises(UsageError):
        names_of(tmp_path / "cert.pem")
