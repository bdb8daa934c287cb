"""Local names of contacts: which are allowed, and which could be mistaken for one another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import UsageError
from medshare.ids import StationId
from medshare.trust.petname import (
    MAX_PETNAME,
    check_petname,
    close_matches,
    confusable,
    folded,
    slug,
)

STATION = StationId(bytes.fromhex("0123456789abcdef") * 4)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("hospital-b", "Hospital-B"),
        ("hospital-b", "hospital b"),
        ("hospital-b", "hospit\u00e1l-b"),
        ("hospital-b", "hospit\u0430l-b"),  # Cyrillic a
        ("hospital-b", "ｈｏｓｐｉｔａｌ－ｂ"),
        ("hospital-b", "hospita1-b"),
        ("hospital-b", "hospitaI-b"),  # capital i
        ("room-0", "room-O"),
        ("\u0441\u0430\u0440", "cap"),  # Cyrillic throughout
        ("\u039d\u0395\u039f", "NEO"),  # Greek capitals
        ("\u03bd\u03bf", "vo"),  # Greek small letters
        ("\u041d\u041e", "HO"),  # Cyrillic capitals
        ("modern", "modem"),
        ("stra\u00dfe", "STRASSE"),
        ("m\u0131lan", "milan"),  # dotless i
    ],
)
def test_names_that_look_alike_are_confusable(first: str, second: str) -> None:
    """Case, width, accents, punctuation and look-alike letters do not tell two names apart."""
    assert confusable(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [("hospital-a", "hospital-b"), ("上海医院", "北京医院"), ("room-1", "room-2"), ("ct", "mr")],
)
def test_names_that_differ_are_told_apart(first: str, second: str) -> None:
    """Names that people tell apart are told apart."""
    assert not confusable(first, second)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "-rf",
        " padded",
        "padded ",
        "...",
        "a\nb",
        "a\u202eb",
        "a\u200bb",
        "\x1b[31mred",
        "é" * 65,
    ],
)
def test_names_that_cannot_serve_are_refused(name: str) -> None:
    """Empty, invisible, controlling, option-like and endless names raise UsageError."""
    with pytest.raises(UsageError):
        check_petname(name)


def test_a_name_is_kept_in_one_normal_form() -> None:
    """Both spellings of an accent become the same name."""
    assert check_petname("Andre\u0301") == check_petname("Andr\u00e9") == "Andr\u00e9"


@pytest.mark.parametrize(
    ("card_name", "expected"),
    [
        ("St. Mary, radiology", "st-mary-radiology"),
        ("  Dr. WANG  ", "dr-wang"),
        ("上海医院 放射科", "上海医院-放射科"),
        ("Ｗａｒｄ　７", "ward-7"),
        ("!!!", "station-01234567"),
        ("../../etc/passwd", "etc-passwd"),
        ("a" * 128, "a" * 40),
    ],
)
def test_a_card_proposes_a_name_that_is_easy_to_type(card_name: str, expected: str) -> None:
    """Letters and digits in lower case, joined by dashes; the station's id where none are."""
    assert slug(card_name, STATION) == expected


@given(st.text(min_size=1, max_size=128))
def test_every_proposed_name_is_allowed(card_name: str) -> None:
    """Whatever a card calls itself, what is proposed passes as a local name."""
    proposed = slug(card_name, STATION)
    assert 0 < len(check_petname(proposed)) <= MAX_PETNAME


@given(st.text(max_size=80))
def test_what_a_look_up_does_not_tell_apart_is_confusable(name: str) -> None:
    """Two spellings that find the same contact can never both be taken."""
    for spelling in (name, name.casefold(), folded(name)):
        if folded(spelling) == folded(name):
            assert confusable(name, spelling)


def test_near_misses_are_suggested() -> None:
    """The nearest names come first, as they are written; distant ones do not come."""
    known = ["Dr-Wang", "dr-weng", "radiology"]
    assert close_matches("DR-WANK", known)[0] == "Dr-Wang"
    assert "radiology" not in close_matches("dr-wank", known)
