"""record.index: finding entries quickly, and never other ones than are there."""

import sqlite3
from pathlib import Path

import pytest

from medshare.audit.entries import Act, Event, Outcome, parcel, station
from medshare.errors import AuditError, StorageError
from medshare.ids import ParcelId, StationId
from medshare.record.index import FILE, Query, search
from tests.audit_case import START, WHO
from tests.record_case import Record

OTHER = StationId(b"o" * 32)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Forty entries of one station, and one of another about the first parcel."""
    record = Record(tmp_path / "audit")
    record.grow(40)
    record.clock.now += 1
    record.log.record(
        Event(
            Act.OPEN,
            station(OTHER),
            parcel(ParcelId(bytes(16))),
            Outcome.REFUSED,
            code="authenticity.untrusted",
            parties=(WHO,),
        )
    )
    return record


def numbers(record: Record, query: Query) -> list[int]:
    """The numbers of what is found."""
    return [entry.number for entry in search(record.reader(), query)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(), list(range(41))),
        (Query(since=START + 39), [38, 39, 40]),
        (Query(until=START + 2), [0, 1]),
        (Query(since=START + 2, until=START + 3), [1, 2]),
        (Query(acts=(Act.OPEN,), until=START + 9), [3, 7]),
        (Query(acts=(Act.OPEN, Act.SEAL), until=START + 9), [1, 3, 5, 7]),
        (Query(names=(bytes(16),)), [0, 40]),
        (Query(names=((5).to_bytes(16),)), [5]),
        (Query(names=(OTHER,)), [40]),
        (Query(names=(b"oo",)), [40]),
        (Query(names=(b"s", bytes(16))), [0, 40]),
        (Query(names=(b"s", b"o")), [40]),
        (Query(outcome=Outcome.REFUSED), [40]),
        (Query(code="authenticity.untrusted"), [40]),
        (Query(code="authenticity"), []),
        (Query(newest=2), [39, 40]),
        (Query(newest=0), []),
    ],
)
def test_what_is_asked_for_is_found(record: Record, query: Query, expected: list[int]) -> None:
    """Time, act, outcome, code and the beginning of any identifier select entries."""
    assert numbers(record, query) == expected


def test_what_is_new_is_found(record: Record) -> None:
    """The index follows the record."""
    assert len(numbers(record, Query())) == 41
    record.grow(3)
    assert numbers(record, Query(newest=1)) == [43]
    assert len(numbers(record, Query())) == 44


def test_an_index_of_another_record_is_made_anew(record: Record, tmp_path: Path) -> None:
    """What does not belong to this record, or is of another version, is not believed."""
    other = Record(tmp_path / "other")
    other.clock.now += 100
    other.grow(50)
    assert len(numbers(other, Query())) == 50
    (record.folder / FILE).write_bytes((other.folder / FILE).read_bytes())
    assert len(numbers(record, Query())) == 41
    with sqlite3.connect(record.folder / FILE) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    assert len(numbers(record, Query())) == 41


def test_a_damaged_index_is_named(record: Record) -> None:
    """An index that is no database is an error that says what to do."""
    (record.folder / FILE).write_bytes(b"not a database" * 100)
    with pytest.raises(StorageError) as caught:
        numbers(record, Query())
    assert FILE in str(caught.value.hint)


def test_a_copy_that_cannot_be_written_is_searched(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no index can be kept it is made in memory."""
    connect = sqlite3.connect

    def read_only(path: object) -> sqlite3.Connection:
        if path == ":memory:":
            return connect(path)
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(sqlite3, "connect", read_only)
    assert len(numbers(record, Query())) == 41
    assert not (record.folder / FILE).exists()


def test_an_altered_entry_is_not_shown_as_a_find(record: Record) -> None:
    """What the index finds is read from the entries, which must be what they claim."""
    assert numbers(record, Query(newest=1)) == [40]
    path = record.segments[-1]
    data = path.read_bytes()
    path.write_bytes(data.replace(b"authenticity.untrusted", b"AUTHENTICITY.UNTRUSTED"))
    with pytest.raises(AuditError) as caught:
        numbers(record, Query(newest=1))
    assert caught.value.code == "audit.altered"
