"""audit.entries: what can be said in the record, and that nothing else can."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical
from medshare.audit import entries
from medshare.audit.entries import Act, Detail, Entry, Event, Kind, Outcome, Ref, parse_entry
from medshare.errors import (
    FormatError,
    MedshareError,
    SignatureError,
    StorageError,
    UntrustedSignerError,
)
from medshare.ids import StationId

OCTETS_32 = st.binary(min_size=32, max_size=32)
LABELS = st.from_regex(r"([a-z0-9]([a-z0-9.-]{0,46}[a-z0-9])?)?", fullmatch=True)
REFS = st.one_of(
    st.builds(Ref, st.sampled_from([Kind.STATION, Kind.UNKNOWN, Kind.RECORD]), OCTETS_32),
    st.builds(Ref, st.just(Kind.CREDENTIAL), st.binary(min_size=1, max_size=32)),
    st.builds(Ref, st.just(Kind.PARCEL), st.binary(min_size=16, max_size=16)),
    st.sampled_from([entries.NOTHING, entries.OPERATOR, entries.UNKNOWN]),
)
DETAILS = st.dictionaries(
    st.sampled_from([one for one in Detail if one is not Detail.DIGEST]),
    st.integers(0, entries.MAX_NUMBER),
    max_size=4,
)
EVENTS = st.builds(
    Event,
    act=st.sampled_from(Act),
    actor=REFS,
    object=REFS,
    outcome=st.sampled_from(Outcome),
    role=LABELS,
    tier=LABELS,
    code=LABELS,
    parties=st.lists(OCTETS_32.map(StationId), max_size=4).map(tuple),
    details=DETAILS,
)
ENTRIES = st.builds(
    Entry,
    number=st.integers(0, entries.MAX_NUMBER),
    before=OCTETS_32,
    time=st.integers(0, canonical.MAX_TIME),
    event=EVENTS,
)
PLAIN = Entry(7, bytes(32), 1_800_000_000, Event(Act.OPEN, entries.OPERATOR))


@given(ENTRIES)
def test_an_entry_survives_its_encoding(entry: Entry) -> None:
    """What was written is what is read, within the limit of size."""
    data = entry.encode()
    assert parse_entry(data) == entry
    assert len(data) <= entries.MAX_ENTRY


@given(ENTRIES)
def test_the_head_is_known_without_decoding(entry: Entry) -> None:
    """Number, predecessor and time lie where the quick check looks for them."""
    data, head = entry.encode(), entries.head(entry.number, entry.before)
    assert data.startswith(head)
    assert entries.uint_at(data, len(head))[0] == entry.time
    assert entries.number_in(data) == entry.number


@given(ENTRIES, st.integers(0), st.integers(1, 255))
def test_no_other_octets_read_as_the_same_entry(entry: Entry, place: int, change: int) -> None:
    """A changed octet makes another entry, or none."""
    data = bytearray(entry.encode())
    data[place % len(data)] ^= change
    try:
        found = parse_entry(bytes(data))
    except FormatError:
        return
    assert found != entry
    assert found.encode() == data


@given(st.binary(max_size=64))
def test_octets_that_are_no_entry_are_refused(data: bytes) -> None:
    """Whatever comes is refused as malformed, and nothing else happens."""
    with pytest.raises(FormatError):
        parse_entry(data)
    assert entries.number_in(data) is None or data.startswith(b"\x8d\x01")


@pytest.mark.parametrize(
    "text",
    [
        "Mueller^Hans",
        "mueller hans",
        "/srv/ct",
        "ct_head",
        "müller",
        "MRN0042",
        "x" * 49,
        "-a",
        "a.",
    ],
)
def test_a_label_has_no_room_for_a_name(text: str) -> None:
    """Role, tier and code take neither capitals, spaces, slashes, underscores nor length."""
    for name in ("role", "tier", "code"):
        with pytest.raises(FormatError, match="label") as caught:
            Event(Act.OPEN, entries.OPERATOR, **{name: text})  # type: ignore[arg-type]  # a test
        assert text not in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (Detail.FILES, "ct.dcm"),
        (Detail.FILES, b"ct.dcm"),
        (Detail.FILES, -1),
        (Detail.FILES, True),
        (Detail.FILES, entries.MAX_NUMBER + 1),
        (Detail.DIGEST, "Hans"),
        (Detail.DIGEST, b"Hans"),
        (Detail.DIGEST, 5),
    ],
)
def test_a_detail_is_a_number_or_a_digest(name: Detail, value: object) -> None:
    """No detail can hold a text, nor octets of another length than a digest's."""
    with pytest.raises(FormatError, match="detail"):
        Event(Act.OPEN, entries.OPERATOR, details={name: value})  # type: ignore[dict-item]  # a test


@pytest.mark.parametrize(
    ("kind", "octets"),
    [
        (Kind.STATION, b"short"),
        (Kind.PARCEL, bytes(17)),
        (Kind.OPERATOR, b"root"),
        (Kind.CREDENTIAL, b""),
        (Kind.CREDENTIAL, bytes(33)),
        (Kind.NOTHING, b"x"),
    ],
)
def test_an_identifier_has_the_size_of_its_kind(kind: Kind, octets: bytes) -> None:
    """Octets of another length cannot stand where an identifier stands."""
    with pytest.raises(FormatError, match="identify"):
        Ref(kind, octets)


def test_parties_are_stations_and_few() -> None:
    """There are at most 64 parties, each a station id."""
    for parties in ((StationId(b"bob"),), tuple(StationId(bytes(32)) for _ in range(65))):
        with pytest.raises(FormatError, match="parties"):
            Event(Act.SEND, entries.OPERATOR, parties=parties)


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (UntrustedSignerError("by dr-wang"), Outcome.REFUSED, "authenticity.untrusted"),
        (SignatureError("bad"), Outcome.REFUSED, "authenticity.signature"),
        (StorageError("could not write /srv/x"), Outcome.FAILED, "storage"),
        (MedshareError("odd", code="Not A Code"), Outcome.REFUSED, "error"),
    ],
)
def test_of_an_error_the_code_is_kept(error: MedshareError, outcome: Outcome, code: str) -> None:
    """A refusal records the stable code, never the sentence."""
    event = PLAIN.event.refused(error)
    assert (event.outcome, event.code) == (outcome, code)


def test_a_clock_that_went_back_is_noted() -> None:
    """The time of an entry is never before that of the entry before; how late it was is said."""
    event = PLAIN.event
    entry = entries.next_entry(event, number=1, before=bytes(32), last_time=100, now=40)
    assert (entry.time, entry.event.details) == (100, {Detail.LATE: 60})
    entry = entries.next_entry(event, number=1, before=bytes(32), last_time=100, now=101)
    assert (entry.time, entry.event.details) == (101, {})


WRONG: tuple[canonical.Value, ...] = (None, [], 2**60, "no such word", b"x")


@pytest.mark.parametrize("at", range(13))
def test_every_field_has_its_type(at: int) -> None:
    """An entry with something else in any one of its places is refused."""
    whole = canonical.decode(PLAIN.encode(), limit=4096, what="a test")
    assert isinstance(whole, list)
    for wrong in WRONG:
        if wrong != whole[at]:
            changed = [*whole[:at], wrong, *whole[at + 1 :]]
            with pytest.raises(FormatError):
                parse_entry(canonical.encode(changed))
