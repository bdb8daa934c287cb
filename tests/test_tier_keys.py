"""The keys of tiers: one in use for each, counted before use, with a history that tells all."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical
from medshare.errors import FormatError, KeyUnavailableError, PolicyError, StorageError
from medshare.keys.base import KeyStore
from medshare.station import Station
from medshare.station.due import Due, due_keys, keks_of_history, keks_of_store
from medshare.station.key_book import (
    HISTORY_FILE,
    MAX_HISTORY,
    USES_FILE,
    Entry,
    Happened,
    KeyBook,
    parse_entry,
    parse_uses,
    shortened,
)
from medshare.station.tier_keys import TierKeys, number_of, tier_of
from medshare.station.vaults import (
    MAX_VAULTS,
    VAULTS_FILE,
    forget_vault,
    present_vaults,
    register_vault,
    registered_vaults,
)
from medshare.trust.policy import BUILT_IN, Policy, TierPolicy
from tests.parcels_at_hand import CHEAP, PASSPHRASE, THEN

KEY = bytes(range(32))
DAY = 86400


@pytest.fixture
def station(tmp_path: Path) -> Station:
    """A station without parcels."""
    return Station.create(tmp_path / "home", name="us", passphrase=PASSPHRASE, now=THEN, cost=CHEAP)


def store_of(station: Station) -> KeyStore:
    """Return the keystore, opened anew."""
    return station.keystore(PASSPHRASE, cost=CHEAP)


def tiers_of(station: Station, policy: Policy = BUILT_IN) -> TierKeys:
    """Return the tier keys, as another process would find them."""
    return TierKeys(store_of(station), policy, station.home, clock=lambda: THEN)


def test_the_first_use_makes_the_key_of_a_tier(station: Station) -> None:
    """A tier has no key until something is wrapped; then any process unwraps it."""
    tiers = tiers_of(station)
    assert tiers.current("sensitive") is None
    wrapped = tiers.wrap("sensitive", KEY)
    assert wrapped.label == "sensitive/0"
    assert tiers_of(station).unwrap(wrapped) == KEY
    assert [kek.label for kek in tiers_of(station).all()] == ["sensitive/0"]


def test_every_use_is_counted_before_it_happens(station: Station) -> None:
    """Counts add up over processes, and a count that cannot be written prevents the use."""
    for _ in range(3):
        tiers_of(station).wrap("routine", KEY)
    assert KeyBook(station.home).uses() == {"routine/0": 3}
    (station.home / USES_FILE).unlink()
    (station.home / USES_FILE).mkdir()
    with pytest.raises(StorageError):
        tiers_of(station).wrap("routine", KEY)


def test_a_key_is_used_no_more_often_than_allowed(station: Station) -> None:
    """The last permitted use works, the next one is refused, and not counted."""
    policy = Policy((TierPolicy("routine", rotate_after=0, max_uses=2),), 0)
    tiers_of(station, policy).wrap("routine", KEY)
    tiers_of(station, policy).wrap("routine", KEY)
    with pytest.raises(PolicyError, match="used up"):
        tiers_of(station, policy).wrap("routine", KEY)
    assert KeyBook(station.home).uses() == {"routine/0": 2}


def test_two_processes_make_one_key(station: Station) -> None:
    """A process that opened its keystore before another made the key uses that one."""
    early, other = tiers_of(station), tiers_of(station)
    assert other.wrap("routine", KEY).label == "routine/0"
    wrapped = early.wrap("routine", KEY)
    assert wrapped.label == "routine/0"
    assert other.unwrap(wrapped) == KEY
    made = [one.key for one in KeyBook(station.home).entries() if one.what == Happened.MADE]
    assert made == ["routine/0"]


def test_a_key_that_was_noted_and_not_made_is_no_obstacle(station: Station) -> None:
    """After a crash between history and keystore, a key with another name is made."""
    KeyBook(station.home).add(Entry(THEN, Happened.MADE, "routine/0"))
    wrapped = tiers_of(station).wrap("routine", KEY)
    assert wrapped.label == "routine/1"
    assert tiers_of(station).unwrap(wrapped) == KEY


def test_a_revoked_key_is_not_used(station: Station) -> None:
    """The next use makes another key; what was wrapped before still unwraps."""
    wrapped = tiers_of(station).wrap("routine", KEY)
    KeyBook(station.home).add(Entry(THEN, Happened.REVOKED, "routine/0"))
    tiers = tiers_of(station)
    assert tiers.current("routine") is None
    assert tiers.wrap("routine", KEY).label == "routine/1"
    assert tiers.unwrap(wrapped) == KEY


def test_a_name_never_comes_twice(station: Station) -> None:
    """The number of a destroyed key is not given again."""
    tiers = tiers_of(station)
    wrapped = tiers.wrap("routine", KEY)
    tiers.destroy("routine/0", "test")
    assert tiers.next_label("routine") == "routine/1"
    assert tiers.wrap("routine", KEY).label == "routine/1"
    with pytest.raises(KeyUnavailableError):
        tiers.unwrap(wrapped)


@pytest.mark.parametrize(
    ("label", "tier", "number"),
    [
        ("routine/0", "routine", 0),
        ("a-b/12", "a-b", 12),
        ("routine", "", -1),
        ("routine/", "", -1),
        ("routine/x", "", -1),
        ("routine/-1", "", -1),
        ("routine/²", "", -1),
        ("a/1234567890", "a", -1),
    ],
)
def test_labels_name_tier_and_number(label: str, tier: str, number: int) -> None:
    """Other labels, which somebody else may use, are no tier keys."""
    assert (tier_of(label), number_of(label)) == (tier, number)


# --- history and counts -----------------------------------------------------------------

ENTRIES = st.builds(
    Entry,
    st.integers(0, canonical.MAX_TIME),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=100),
    st.integers(0, canonical.MAX_TIME),
)


@given(ENTRIES)
def test_an_entry_survives_the_round_trip(entry: Entry) -> None:
    """An entry is one line of JSON, and read as it was written."""
    line = entry.line()
    assert line.count("\n") == 1
    assert parse_entry(line.encode().rstrip(b"\n")) == entry


@given(st.binary(max_size=100))
def test_no_line_crashes_the_reader(line: bytes) -> None:
    """Arbitrary octets are no entry."""
    assert parse_entry(line) is None


@pytest.mark.parametrize(
    "change",
    [
        {"at": -1},
        {"at": 1.5},
        {"at": True},
        {"key": 1},
        {"more": 1},
        {"since": canonical.MAX_TIME + 1},
    ],
)
def test_a_malformed_entry_is_none(change: dict[str, object]) -> None:
    """A field that is missing, extra, or of another kind makes it no entry."""
    value = json.loads(Entry(1, "made", "a/0").line()) | change
    assert parse_entry(json.dumps(value).encode()) is None
    del value["what"]
    assert parse_entry(json.dumps(value).encode()) is None


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    """What a crash cut off is ignored, also when more was written after it."""
    book = KeyBook(tmp_path)
    first, second = Entry(1, "made", "a/0"), Entry(2, "made", "a/1", "note", 1)
    book.add(first)
    path = tmp_path / HISTORY_FILE
    path.write_bytes(path.read_bytes() + second.line().encode()[:20])
    assert book.entries() == (first,)
    book.add(second)
    assert book.entries() == (first, second)
    assert path.stat().st_mode & 0o077 == 0


def test_a_history_that_grows_is_read_on(tmp_path: Path) -> None:
    """One reader sees what others add, and a history that was put in the place of the first."""
    reader, writer = KeyBook(tmp_path), KeyBook(tmp_path)
    assert reader.entries() == ()
    entries = tuple(Entry(number, "made", f"a/{number}") for number in range(4))
    for count, entry in enumerate(entries, 1):
        writer.add(entry)
        assert reader.entries() == entries[:count]
    (tmp_path / "archive").write_bytes((tmp_path / HISTORY_FILE).read_bytes()[:10])
    (tmp_path / "archive").replace(tmp_path / HISTORY_FILE)
    assert reader.entries() == ()
    writer.add(entries[1])
    assert reader.entries() == writer.entries() == (entries[1],)


def test_a_history_of_any_size_is_bounded(tmp_path: Path) -> None:
    """A huge file is refused unread, with a way out."""
    with (tmp_path / HISTORY_FILE).open("wb") as file:
        file.truncate(MAX_HISTORY + 1)
    with pytest.raises(StorageError, match="larger than") as caught:
        KeyBook(tmp_path).entries()
    assert "archive" in (caught.value.hint or "")


@given(st.binary(max_size=60))
def test_no_octets_crash_the_reader_of_counts(octets: bytes) -> None:
    """Arbitrary octets are counts, or refused."""
    try:
        counts = parse_uses(octets)
    except FormatError:
        return
    assert all(isinstance(count, int) for count in counts.values())


def test_damaged_counts_say_what_to_do(tmp_path: Path) -> None:
    """Counts that cannot be read stop what would be counted, and name the way out."""
    (tmp_path / USES_FILE).write_bytes(b"damaged")
    with pytest.raises(StorageError, match="damaged") as caught:
        KeyBook(tmp_path).uses()
    assert "rotate-key --all" in (caught.value.hint or "")


def test_a_note_is_one_short_line() -> None:
    """Whatever was typed, a note has no line breaks and an end."""
    assert shortened("a\nb\t c ") == "a b c"
    assert len(shortened("x" * 1000)) == 500


# --- what is due ------------------------------------------------------------------------


def due(station: Station, now: int) -> list[tuple[str, str]]:
    """Return what is due at *now*, by the history."""
    return [
        (one.key, one.label)
        for one in due_keys(station, keks_of_history(KeyBook(station.home)), now=now)
    ]


def test_keys_are_due_when_their_time_is_over(station: Station) -> None:
    """Each tier, and the identity, by its own period; a second earlier nothing is."""
    tiers = tiers_of(station)
    tiers.wrap("routine", KEY)
    tiers.wrap("restricted", KEY)
    assert due(station, THEN + 90 * DAY - 1) == []
    assert due(station, THEN + 90 * DAY) == [("restricted", "restricted/0")]
    assert due(station, THEN + 730 * DAY) == [
        ("identity", "identity/0"),
        ("restricted", "restricted/0"),
        ("routine", "routine/0"),
    ]


def test_history_and_keystore_agree_on_what_is_due(station: Station) -> None:
    """Without unlocking anything the answer is the same."""
    tiers = tiers_of(station)
    tiers.wrap("routine", KEY)
    tiers.wrap("sensitive", KEY)
    tiers.destroy("sensitive/0")
    tiers.wrap("sensitive", KEY)
    assert keks_of_history(KeyBook(station.home)) == keks_of_store(store_of(station))


def test_a_key_that_is_nearly_used_up_is_due(station: Station) -> None:
    """Nine tenths of its permitted uses make a key due before its time."""
    path = station.home / "policy.toml"
    path.write_text('version = 1\n[tiers.routine]\nrotate_after = "never"\nmax_uses = 10\n')
    path.chmod(0o600)
    tiers = TierKeys(store_of(station), station.policy, station.home, clock=lambda: THEN)
    for _ in range(8):
        tiers.wrap("routine", KEY)
    assert due(station, THEN) == []
    tiers.wrap("routine", KEY)
    (found,) = due_keys(station, keks_of_history(tiers.book), now=THEN)
    assert found == Due("routine", "routine/0", "it has wrapped nearly as many keys as it may")


def test_what_was_interrupted_or_revoked_is_due_at_once(station: Station) -> None:
    """An unfinished rotation and a revoked key do not wait for a date."""
    tiers = tiers_of(station)
    tiers.wrap("routine", KEY)
    tiers.book.add(Entry(THEN, Happened.REVOKED, "routine/0"))
    assert due(station, THEN) == [("routine", "routine/0")]
    tiers.book.add(Entry(THEN, Happened.ROTATION_BEGUN, "routine/1"))
    tiers.make("routine/1")
    assert due(station, THEN) == [("routine", "routine/1")]
    tiers.book.add(Entry(THEN, Happened.ROTATION_DONE, "routine/1"))
    assert due(station, THEN) == []
    tiers.book.add(Entry(THEN, Happened.REVOKED, "identity/0"))
    assert due(station, THEN) == [("identity", "identity/0")]


# --- where vaults are -------------------------------------------------------------------


def test_vaults_are_remembered_and_forgotten(tmp_path: Path) -> None:
    """Each once, in order, whatever octets are in the path; a missing one is an error."""
    odd = tmp_path / "v\udcff ault"
    for path in (tmp_path / "a", odd, tmp_path / "a"):
        register_vault(tmp_path, path)
    assert registered_vaults(tmp_path) == (tmp_path / "a", odd)
    (tmp_path / "a").mkdir()
    with pytest.raises(StorageError, match="is not there") as caught:
        present_vaults(tmp_path)
    assert "vault forget" in (caught.value.hint or "")
    forget_vault(tmp_path, odd)
    assert present_vaults(tmp_path) == (tmp_path / "a",)


@pytest.mark.parametrize(
    "octets", [b"", b"damaged", canonical.encode(["text"]), canonical.encode({})]
)
def test_a_damaged_list_of_vaults_is_not_an_empty_one(tmp_path: Path, octets: bytes) -> None:
    """Otherwise keys that a forgotten vault needs would be destroyed."""
    (tmp_path / VAULTS_FILE).write_bytes(octets)
    with pytest.raises(StorageError, match="damaged"):
        registered_vaults(tmp_path)


def test_the_number_of_vaults_is_bounded(tmp_path: Path) -> None:
    """One more than allowed is refused."""
    for number in range(MAX_VAULTS):
        register_vault(tmp_path, tmp_path / str(number))
    with pytest.raises(StorageError, match="at most"):
        register_vault(tmp_path, tmp_path / "more")
