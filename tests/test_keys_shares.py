"""Shares of a key: SLIP-39, any m of n, and what is said when they do not fit."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medshare.errors import FormatError, IncompleteError, IntegrityError, MedshareError, UsageError
from medshare.keys import shares

KEY = bytes(range(32))
TWO_OF_THREE = shares.split(KEY, threshold=2, count=3)


@settings(max_examples=10)
@given(st.binary(min_size=32, max_size=32), st.data())
def test_any_m_shares_give_the_key_back(key: bytes, data: st.DataObject) -> None:
    """Every choice of m shares, in any order, gives back the key that was split."""
    count = data.draw(st.integers(2, 5))
    threshold = data.draw(st.integers(2, count))
    split = shares.split(key, threshold=threshold, count=count)
    chosen = data.draw(st.permutations(split))[:threshold]
    assert shares.combine(chosen) == key


def test_every_pair_of_three_is_enough_and_one_is_not() -> None:
    """2 of 3: each pair opens, more do as well, one alone or twice the same does not."""
    for pair in combinations(TWO_OF_THREE, 2):
        assert shares.combine(pair) == KEY
    assert shares.combine(TWO_OF_THREE) == KEY
    for few in ([TWO_OF_THREE[0]], [TWO_OF_THREE[0]] * 3):
        with pytest.raises(IncompleteError, match="2 different shares are needed, and 1 "):
            shares.combine(few)


def test_the_words_are_those_of_the_standard() -> None:
    """A set of the official SLIP-39 vectors (2 of 3, 256 bits) is put together."""
    official = (
        (
            "humidity disease academic always aluminum jewelry energy woman receiver "
            "strategy amuse duckling lying evidence network walnut tactics forget hairy "
            "rebound impulse brother survive clothes stadium mailman rival ocean reward "
            "venture always armed unwrap"
        ),
        (
            "humidity disease academic agency actress jacket gross physics cylinder "
            "solution fake mortgage benefit public busy prepare sharp friar change work "
            "slow purchase ruler again tricycle involve viral wireless mixture anatomy "
            "desert cargo upgrade"
        ),
    )
    assert {len(text.split()) for text in official} == {shares.WORDS}
    for text in official:
        assert shares.unpack(shares.pack(text)) == text
    key = shares._library().combine_mnemonics(official, b"TREZOR")
    assert key.hex() == "c938b319067687e990e05e0da0ecce1278f75ff58d9853f19dcaeed5de104aae"


def test_spelling_does_not_count() -> None:
    """Capitals and blanks are as people type them."""
    shouted = f"  {TWO_OF_THREE[0].upper()}\n".replace(" ", "  ")
    assert shares.check(shouted) == TWO_OF_THREE[0]
    assert shares.combine([shouted, TWO_OF_THREE[1]]) == KEY


@pytest.mark.parametrize("at", [0, 5, 20, 32])
def test_a_mistyped_word_is_noticed(at: int) -> None:
    """A word that is another one, or none, is found before anything is put together."""
    words = TWO_OF_THREE[0].split()
    for other in ("academic" if words[at] != "academic" else "acid", "xyzzy"):
        changed = " ".join([*words[:at], other, *words[at + 1 :]])
        with pytest.raises(FormatError, match="mistyped") as caught:
            shares.check(changed)
        assert not set(words[4:]) & set(f"{caught.value!r} {caught.value.hint}".split())


@pytest.mark.parametrize("text", ["", "academic", "academic " * 34, "a " * 5000])
def test_a_text_of_another_length_is_no_share(text: str) -> None:
    """A share has 33 words."""
    with pytest.raises(FormatError, match="33 words"):
        shares.check(text)


def test_shares_of_two_backups_do_not_mix() -> None:
    """A share of another key is refused, not combined into some third key."""
    other = shares.split(KEY, threshold=2, count=3)
    with pytest.raises(IntegrityError, match="not all of one backup"):
        shares.combine([TWO_OF_THREE[0], other[1]])


def test_a_forged_share_with_a_right_checksum_is_noticed() -> None:
    """Who changes a share and its checksum gets no key: the digest of the secret differs."""
    library = shares._library()
    share = library.Share.from_mnemonic(TWO_OF_THREE[0])
    from dataclasses import replace

    forged = replace(share, value=bytes([share.value[0] ^ 1]) + share.value[1:]).mnemonic()
    with pytest.raises(IntegrityError, match="was changed"):
        shares.combine([forged, TWO_OF_THREE[1]])


@pytest.mark.parametrize(("threshold", "count"), [(0, 2), (1, 1), (1, 3), (3, 2), (2, 17), (2, 0)])
def test_one_share_is_never_enough(threshold: int, count: int) -> None:
    """Numbers that make no sense, or let one custodian read everything, are refused."""
    with pytest.raises(UsageError, match="cannot be shared"):
        shares.split(KEY, threshold=threshold, count=count)


@given(st.binary(max_size=80) | st.binary(min_size=66, max_size=66))
def test_no_octets_crash_the_reader(octets: bytes) -> None:
    """Arbitrary octets are no share."""
    with pytest.raises(MedshareError):
        shares.unpack(octets)


def test_a_library_that_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without shamir-mnemonic the hint says how to install it."""
    import sys

    monkeypatch.setitem(sys.modules, "shamir_mnemonic", None)
    with pytest.raises(UsageError) as caught:
        shares.split(KEY, threshold=2, count=3)
    assert "medshare[backup]" in (caught.value.hint or "")
