"""The policy: what a tier demands, and how strictly the file that says so is read."""

import tomllib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import PolicyError
from medshare.suites import SUITE_NAMES
from medshare.trust.policy import (
    BUILT_IN,
    KEYSTORES,
    MAX_TIERS,
    MAX_USES,
    RESERVED,
    Mixed,
    Policy,
    TierPolicy,
    parse_policy,
    to_toml,
)
from medshare.trust.policy_table import MAX_SPAN, parse_span, span_text

DAY = 86400
STRICT = """
version = 1
mixed_suites = "forbid"

[identity]
rotate_after = "1y"

[tiers.routine]
rotate_after = "26w"

[tiers.restricted]
rotate_after = "30d"
suites = ["gm"]
keystores = ["pkcs11"]
keep_for = "14d"
max_uses = 10
"""


def spans() -> st.SearchStrategy[int]:
    """Draw a length of time that a policy can state; 0 is never."""
    return st.just(0) | st.integers(1, MAX_SPAN)


def some_of(known: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    """Draw one or more of *known*, in their order."""
    chosen = st.sets(st.sampled_from(known), min_size=1)
    return chosen.map(lambda names: tuple(name for name in known if name in names))


def tiers(name: str) -> st.SearchStrategy[TierPolicy]:
    """Draw the rules of a tier called *name*."""
    return st.builds(
        TierPolicy,
        st.just(name),
        spans(),
        some_of(SUITE_NAMES),
        some_of(KEYSTORES),
        spans(),
        st.integers(1, MAX_USES),
    )


NAMES = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True).filter(
    lambda name: name not in RESERVED
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Draw any policy."""
    names = draw(st.lists(NAMES, min_size=1, max_size=MAX_TIERS, unique=True))
    return Policy(
        tuple(draw(tiers(name)) for name in names),
        draw(spans()),
        draw(st.sampled_from(list(Mixed))),
    )


def parse(text: str) -> Policy:
    """Return the policy in TOML *text*."""
    return parse_policy(tomllib.loads(text))


@given(policies())
def test_a_policy_survives_being_written_and_read(policy: Policy) -> None:
    """What `policy show` writes is a policy file that says the same."""
    assert parse(to_toml(policy)) == policy


def test_what_is_not_said_is_built_in() -> None:
    """A policy that says nothing but its version is the built-in one."""
    assert parse("version = 1") == BUILT_IN
    assert [tier.name for tier in BUILT_IN.tiers] == ["routine", "sensitive", "restricted"]


def test_tiers_that_are_named_take_the_place_of_the_built_in_ones() -> None:
    """A file that lists tiers has these and no others, with the values that it states."""
    policy = parse(STRICT)
    assert [tier.name for tier in policy.tiers] == ["routine", "restricted"]
    assert policy.tier("restricted") == TierPolicy(
        "restricted", 30 * DAY, ("gm",), ("pkcs11",), 14 * DAY, 10
    )
    assert policy.tier("routine") == TierPolicy("routine", 182 * DAY)
    assert (policy.identity_rotate_after, policy.mixed) == (365 * DAY, Mixed.FORBID)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "version"),
        ("version = 2", "version"),
        ("version = true", "version"),
        ('version = "1"', "version"),
        ("version = 1\nrotate = 1", "rotate"),
        ("version = 1\nidentity = 3", "identity"),
        ('version = 1\n[identity]\nrotate = "1y"', "rotate"),
        ('version = 1\n[identity]\nrotate_after = "1 y"', "identity.rotate_after"),
        ('version = 1\n[identity]\nrotate_after = "forever"', "identity.rotate_after"),
        ("version = 1\n[identity]\nrotate_after = 365", "identity.rotate_after"),
        ("version = 1\ntiers = []", "tiers"),
        ("version = 1\n[tiers]", "tiers"),
        ("version = 1\n[tiers.a]", "tiers.a"),
        ('version = 1\n[tiers.A]\nrotate_after = "1y"', "name of a tier"),
        ('version = 1\n[tiers."a/b"]\nrotate_after = "1y"', "name of a tier"),
        ('version = 1\n[tiers."-a"]\nrotate_after = "1y"', "name of a tier"),
        ('version = 1\n[tiers.identity]\nrotate_after = "1y"', "'identity'"),
        ('version = 1\n[tiers.a]\nrotate_after = "0d"', "tiers.a.rotate_after"),
        ('version = 1\n[tiers.a]\nrotate_after = "101y"', "tiers.a.rotate_after"),
        ('version = 1\n[tiers.a]\nrotate_after = "1y"\nsuites = []', "tiers.a.suites"),
        ('version = 1\n[tiers.a]\nrotate_after = "1y"\nsuites = "gm"', "tiers.a.suites"),
        ('version = 1\n[tiers.a]\nrotate_after = "1y"\nsuites = ["none"]', "tiers.a.suites"),
        ('version = 1\n[tiers.a]\nrotate_after = "1y"\nsuites = ["gm", "gm"]', "tiers.a.suites"),
        ('version = 1\n[tiers.a]\nrotate_after = "1y"\nkeystores = ["usb"]', "tiers.a.keystores"),
        ('version = 1\n[tiers.a]\nrotate_after = "1y"\nkeep_for = "never"', "tiers.a.keep_for"),
        ('version = 1\n[tiers.a]\nrotate_after = "1y"\nrequire = "all"', "tiers.a.require"),
        ('version = 1\n[tiers.a]\nrotate_after = "1y"\nmax_uses = 0', "tiers.a.max_uses"),
        ('version = 1\n[tiers.a]\nrotate_after = "1y"\nmax_uses = 1.5', "tiers.a.max_uses"),
        ('version = 1\nmixed_suites = "yes"', "mixed_suites"),
        ("version = 1\nmixed_suites = true", "mixed_suites"),
    ],
)
def test_a_file_that_is_not_understood_is_refused(text: str, named: str) -> None:
    """Every slip is refused, and what is wrong is named: nothing falls back to a default."""
    with pytest.raises(PolicyError, match="the policy is not valid") as caught:
        parse(text)
    assert caught.value.code == "policy.invalid"
    assert named in caught.value.message


def test_too_many_tiers_are_refused() -> None:
    """The number of tiers is bounded."""
    text = "version = 1\n" + "".join(
        f'[tiers.t{number}]\nrotate_after = "1y"\n' for number in range(MAX_TIERS + 1)
    )
    with pytest.raises(PolicyError, match="1 to 16 tiers"):
        parse(text)


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["version", "tiers", "identity", "mixed_suites"]), JSONISH))
def test_no_table_crashes_the_reader(table: dict[str, Any]) -> None:
    """Any table is a policy or is refused as none."""
    table["version"] = 1
    with suppress(PolicyError):
        policy = parse_policy(table)
        assert parse(to_toml(policy)) == policy


@given(st.integers(1, MAX_SPAN))
def test_a_span_survives_being_written_and_read(seconds: int) -> None:
    """A length of time is written so that it is read as the same."""
    assert parse_span(span_text(seconds)) == seconds


def test_a_tier_that_the_policy_does_not_know_is_refused() -> None:
    """Nothing is sent or taken in a tier without rules; the tiers that exist are named."""
    with pytest.raises(PolicyError) as caught:
        parse(STRICT).tier("urgent")
    assert caught.value.code == "policy.tier"
    assert "routine, restricted" in (caught.value.hint or "")


def test_a_tier_allows_the_keystores_that_it_names() -> None:
    """A tier for hardware refuses keys in a file, and says which rule that is."""
    tier = parse(STRICT).tier("restricted")
    tier.require_keystore("pkcs11")
    with pytest.raises(PolicyError, match="'pkcs11' only") as caught:
        tier.require_keystore("file")
    assert caught.value.code == "policy.keystore"


def test_a_tier_allows_the_suites_that_it_names() -> None:
    """What is asked for is cut down to what is allowed; nothing left is a refusal."""
    tier = parse(STRICT).tier("restricted")
    assert tier.allowed_suites(frozenset({"intl", "gm"})) == {"gm"}
    with pytest.raises(PolicyError, match="suite 'gm' only, not in 'intl'") as caught:
        tier.allowed_suites(frozenset({"intl"}))
    assert caught.value.code == "policy.suite"


def test_a_tier_gives_and_bounds_the_retention() -> None:
    """Without a wish the tier's own time holds; a shorter one is granted, a longer one refused."""
    tier = parse(STRICT).tier("restricted")
    assert tier.retention(0) == 14 * DAY
    assert tier.retention(DAY) == DAY
    with pytest.raises(PolicyError, match="kept for 2w at most, not for 15d") as caught:
        tier.retention(15 * DAY)
    assert caught.value.code == "policy.retention"
    assert BUILT_IN.tier("routine").retention(0) == 0
    assert BUILT_IN.tier("routine").retention(15 * DAY) == 15 * DAY


def test_a_key_is_used_as_often_as_the_tier_allows() -> None:
    """The last permitted use passes, the next one is refused."""
    tier = parse(STRICT).tier("restricted")
    tier.require_uses("restricted/0", 10)
    with pytest.raises(PolicyError, match="used up") as caught:
        tier.require_uses("restricted/0", 11)
    assert caught.value.code == "policy.uses"


def test_keys_are_due_after_their_period() -> None:
    """The time of the next rotation follows from the age; never means never."""
    policy = parse(STRICT)
    assert policy.tier("restricted").due_at(1000) == 1000 + 30 * DAY
    assert policy.identity_due_at(1000) == 1000 + 365 * DAY
    assert TierPolicy("a", 0).due_at(1000) is None
    assert parse('version = 1\n[identity]\nrotate_after = "never"').identity_due_at(5) is None


@pytest.mark.parametrize(
    ("mixed", "asked", "allowed"),
    [
        (Mixed.FORBID, True, False),
        (Mixed.FORBID, False, False),
        (Mixed.ASK, True, True),
        (Mixed.ASK, False, False),
        (Mixed.ALLOW, True, True),
        (Mixed.ALLOW, False, True),
    ],
)
def test_suites_are_mixed_where_the_policy_says_so(
    mixed: Mixed, asked: bool, allowed: bool
) -> None:
    """Forbidden, on request, or always: the policy decides, also against the caller."""
    assert Policy(BUILT_IN.tiers, 0, mixed).allows_mixed(asked) is allowed
