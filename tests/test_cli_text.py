"""Text for people: nothing that others wrote can deceive, and figures read well."""

import unicodedata

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.commands import text
from medshare.commands.options import Rate, Size, Span

DECEITFUL = [
    "\x1b[31mred",
    "\x1b]52;c;Y21k\x07",
    "\x9b2J",
    "scan\u202egpj.exe",
    "a\u2066b",
    "zero\u200bwidth",
    "two\nlines",
    "back\rmedshare: delivered",
    "bell\x07",
    "nul\x00",
    "line\u2028separator",
    "\ue000private",
    "undecodable\udcff",
    "hangul\u3164filler",
    "braille\u2800blank",
    "tag\U000e0041",
    "soft\u00adhyphen",
    "\ufeffmark",
    "delete\x7f",
    "z" + "\u0353" * 40,
]


@pytest.mark.parametrize("name", DECEITFUL)
def test_deceit_is_shown(name: str) -> None:
    """A name that could command, hide or reverse is shown with a visible escape."""
    shown = text.visible(name)
    assert shown != name
    assert "\\" in shown


@pytest.mark.parametrize(
    "name",
    [
        "Köln, Radiologie",
        "北京协和医院",
        "مستشفى",
        "रेडियोलॉजी",
        "CT 1.dcm",
        r"\\server\share",
        "🩻",
    ],
)
def test_honest_names_stay_as_they_are(name: str) -> None:
    """Letters of every script, and plain symbols, are not escaped."""
    assert text.visible(name) == name


@given(st.text(st.characters(exclude_categories=[]), max_size=1000))
def test_nothing_unsafe_is_ever_shown(name: str) -> None:
    """Whatever comes in, what is shown is one printable line of bounded length."""
    shown = text.visible(name)
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn"} for c in shown)
    assert "\n" not in shown
    assert len(shown) <= 10 * text.MAX_SHOWN
    shown.encode()


@given(st.text(max_size=200), st.text(max_size=200))
def test_a_long_name_keeps_both_ends(start: str, end: str) -> None:
    """A cut leaves the middle out, so that an extension cannot be pushed out of sight."""
    name = start + "x" * 1000 + end
    shown = text.visible(name, limit=101)
    assert shown == text.visible(name[:50]) + "…" + text.visible(name[-50:])


@pytest.mark.parametrize(
    ("octets", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024 * 1024 - 1, "1.0 MiB"),
        (73_400_320, "70.0 MiB"),
        (1 << 30, "1.00 GiB"),
        (345 << 30, "345.0 GiB"),
        (1 << 60, "1048576.0 TiB"),
    ],
)
def test_sizes_read_well(octets: int, shown: str) -> None:
    """A size has a unit that leaves it between 1 and 1023."""
    assert text.size(octets) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.2, "0 s"), (59.4, "59 s"), (65, "1 min 05 s"), (7440, "2 h 04 min"), (442800, "5 d 03 h")],
)
def test_spans_read_well(seconds: float, shown: str) -> None:
    """A length of time has at most two units."""
    assert text.span(seconds) == shown


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_only_all_is_100_percent(part: int, whole: int) -> None:
    """Nothing is called 100% before the last octet is there."""
    if part < whole:
        assert text.share(part, whole) != "100%"
    else:
        assert text.share(part, whole) == "100%"


def test_a_moment_beyond_the_calendar_is_a_number() -> None:
    """A time that no calendar has, from a hostile envelope, does not end the program."""
    assert text.moment(1_000_000_000) == "2001-09-09 01:46 UTC"
    assert text.moment((1 << 64) - 1) == "18446744073709551615 s since 1970"


@pytest.mark.parametrize(
    ("written", "octets"),
    [("20M", 20 << 20), ("1.5g", 3 << 29), ("500 KiB/s", 500 << 10), ("7", 7), ("2TB", 2 << 40)],
)
def test_a_size_is_read(written: str, octets: int) -> None:
    """Sizes are powers of 1024, with or without the usual endings."""
    assert Size().convert(written, None, None) == octets


@pytest.mark.parametrize("written", ["", "0", "-5M", "5X", "M", "1e9", "１M", "9" * 40])
def test_another_size_is_refused(written: str) -> None:
    """What is not a positive size is a usage error."""
    with pytest.raises(click.BadParameter):
        Size().convert(written, None, None)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90), ("15m", 900), ("12h", 43200), ("30d", 2592000), ("2w", 1209600)],
)
def test_a_span_is_read(written: str, seconds: int) -> None:
    """Times need their unit."""
    assert Span().convert(written, None, None) == seconds


@pytest.mark.parametrize("written", ["", "0d", "30", "-1d", "1.5h", "1mo", "٣d"])
def test_another_span_is_refused(written: str) -> None:
    """What is not a positive time is a usage error."""
    with pytest.raises(click.BadParameter):
        Span().convert(written, None, None)


@pytest.mark.parametrize(
    ("written", "rates"),
    [
        ("20M", {0: 20 << 20, 720: 20 << 20}),
        ("off", {0: None, 720: None}),
        ("08:00,20M;18:00,off", {0: None, 479: None, 480: 20 << 20, 1079: 20 << 20, 1080: None}),
        ("18:00,off; 08:00,500K", {479: None, 480: 500 << 10}),
        ("12:30,1M", {0: 1 << 20, 749: 1 << 20, 750: 1 << 20}),
    ],
)
def test_rates_by_the_time_of_day(written: str, rates: dict[int, int | None]) -> None:
    """A rate holds all day, or from its time until the next one, be that tomorrow."""
    table = Rate().convert(written, None, None)
    assert {minute: table.rate(minute) for minute in rates} == rates
    assert Rate().convert(table, None, None) is table


@pytest.mark.parametrize(
    "written",
    [
        "",
        "fast",
        "0",
        "24:00,1M",
        "8:00,1M",
        "08:00,1M;08:00,2M",
        "08:00,1M;2M",
        "08:00,",
        "1M\n2M",
    ],
)
def test_rates_that_make_no_sense_are_refused(written: str) -> None:
    """What is neither a rate nor a list of times with rates is a mistake, and said to be one."""
    with pytest.raises(click.BadParameter, match=r"rate"):
        Rate().convert(written, None, None)
