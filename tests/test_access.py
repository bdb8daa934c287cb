"""trust.access: what the rules decide, each by itself and all together."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import PolicyError
from medshare.grant import BUILT_IN as ROLES
from medshare.grant import Grant, Permission
from medshare.ids import ParcelId, StationId
from medshare.trust.access import (
    OPENING,
    Context,
    Decision,
    Resource,
    Rule,
    Subject,
    Verdict,
    decide,
    tier_finding,
)
from medshare.trust.access_rules import (
    OVERRIDABLE,
    AccessRules,
    BreakGlass,
    DepartmentRule,
    label_of,
)
from medshare.trust.policy import BUILT_IN, Policy, Reader, Require, TierPolicy

ME, SENDER = StationId(b"\x01" * 32), StationId(b"\x02" * 32)
PARCEL = ParcelId(b"\x03" * 16)
NOW = 1_800_000_000
REASON = "unconscious in the emergency room, nobody reachable"
DEPARTMENTS = ("psychiatry", "dermatology", "emergency")
GLASS = BreakGlass(("specialist",), 15)
RULES = AccessRules((DepartmentRule("psychiatry", ("emergency", "psychiatry")),), GLASS)
STRICT = replace(BUILT_IN, access=RULES)
PSYCHIATRIST = Subject(ME, vetted=True, roles=("specialist",), department="Psychiatry")
DERMATOLOGIST = replace(PSYCHIATRIST, department="Dermatology")


def granted(role: str = "attending", *, expires: int = 0, openings: int = 0) -> Grant:
    """A grant to me, under a built-in role."""
    return Grant(ME, role, ROLES[role], expires=expires, openings=openings)


def parcel(grant: Grant | None = None, **changes: object) -> Resource:
    """A parcel of psychiatry for me."""
    found = Resource(
        PARCEL, SENDER, department="psychiatry", restricted=grant is not None, grant=grant
    )
    return replace(found, **changes)  # type: ignore[arg-type]  # test keywords


def asked(
    subject: Subject,
    resource: Resource,
    act: Permission = Permission.VIEW,
    context: Context | None = None,
    policy: Policy = STRICT,
) -> Decision:
    """What is decided."""
    return decide(subject, act, resource, context or Context(NOW), policy)


# --- any facts at all -------------------------------------------------------------------

GRANTS = st.builds(
    Grant,
    st.just(ME),
    st.sampled_from(["attending", "consultant", "own"]),
    st.frozensets(st.sampled_from(Permission)),
    expires=st.sampled_from([0, NOW - 1, NOW, NOW + 1]),
    openings=st.integers(0, 3),
)
SUBJECTS = st.builds(
    Subject,
    st.sampled_from([ME, SENDER]),
    st.booleans(),
    st.lists(st.sampled_from(["specialist", "nurse"]), max_size=2).map(tuple),
    st.sampled_from(["", *DEPARTMENTS, "DERMATOLOGY", "unheard of"]),
    st.sampled_from(["", "it was revoked"]),
)
RESOURCES = st.builds(
    Resource,
    st.just(PARCEL),
    st.just(SENDER),
    st.sampled_from(["routine", "unheard-of"]),
    st.sampled_from(["", *DEPARTMENTS]),
    st.booleans(),
    st.none() | GRANTS,
    withdrawn=st.booleans(),
    sender_fault=st.sampled_from([None, "it has expired"]),
)
CONTEXTS = st.builds(
    Context, st.just(NOW), st.integers(0, 4), st.sampled_from([None, "", "no", REASON])
)
NAMES = st.lists(st.sampled_from(DEPARTMENTS), min_size=1, unique=True).map(tuple)
POLICIES = st.builds(
    lambda sender, reader, departments, glass: Policy(
        (TierPolicy("routine", 0, sender=sender, reader=reader),),
        0,
        access=AccessRules(tuple(departments), glass),
    ),
    st.sampled_from(Require),
    st.sampled_from(Reader),
    st.lists(
        st.builds(DepartmentRule, st.sampled_from(DEPARTMENTS), NAMES),
        unique_by=lambda one: one.parcels,
    ),
    st.builds(
        BreakGlass,
        st.sampled_from([(), ("specialist",), ("nurse", "specialist")]),
        st.integers(1, 20),
        st.lists(st.sampled_from(OVERRIDABLE), min_size=1, unique=True).map(tuple),
    ),
)
ACTS = st.sampled_from(Permission)


@given(SUBJECTS, ACTS, RESOURCES, CONTEXTS, POLICIES, st.sampled_from(Permission))
def test_taking_a_permission_away_never_allows_more(
    subject: Subject,
    act: Permission,
    resource: Resource,
    context: Context,
    policy: Policy,
    gone: Permission,
) -> None:
    """Whatever is refused stays refused when a grant has one permission less."""
    before = decide(subject, act, resource, context, policy)
    if resource.grant is not None:
        less = replace(resource.grant, permissions=resource.grant.permissions - {gone})
        resource = replace(resource, grant=less)
    after = decide(subject, act, resource, context, policy)
    assert before.allowed or not after.allowed


@given(SUBJECTS, ACTS, RESOURCES, CONTEXTS, POLICIES)
def test_worse_facts_never_allow_more(
    subject: Subject, act: Permission, resource: Resource, context: Context, policy: Policy
) -> None:
    """An opening more, a later time, a withdrawal or a lost licence never opens anything."""
    before = decide(subject, act, resource, context, policy)
    worse = [
        (subject, resource, replace(context, openings=context.openings + 1)),
        (subject, resource, replace(context, now=context.now + 2)),
        (subject, replace(resource, withdrawn=True), context),
        (replace(subject, vetted=False), resource, context),
        (subject, replace(resource, sender_fault="it was revoked"), context),
    ]
    for who, what, when in worse:
        if not before.allowed:
            assert not decide(who, act, what, when, policy).allowed


@given(SUBJECTS, ACTS, RESOURCES, CONTEXTS, POLICIES)
def test_breaking_the_glass_widens_looking_and_nothing_else(
    subject: Subject, act: Permission, resource: Resource, context: Context, policy: Policy
) -> None:
    """What only a reason opens is a view or an export, within the grant, against listed rules."""
    without = decide(subject, act, resource, replace(context, reason=None), policy)
    found = decide(subject, act, resource, context, policy)
    if without.allowed:
        assert found.allowed
        assert not found.overridden
    elif found.allowed:
        assert act in OPENING
        assert resource.grant is None or resource.grant.allows(act)
        assert subject.vetted
        assert set(map(str, found.overridden)) <= set(policy.access.break_glass.overrides)
        assert found.overridden == tuple(one.rule for one in without.refusals)


@given(SUBJECTS, ACTS, RESOURCES, CONTEXTS, POLICIES)
def test_the_order_of_rules_means_nothing(
    subject: Subject,
    act: Permission,
    resource: Resource,
    context: Context,
    policy: Policy,
) -> None:
    """Department rules in any order decide alike, and a refusal is refused by every rule order."""
    rules = list(policy.access.departments)
    rules.reverse()
    access = replace(policy.access, departments=tuple(rules))
    found = decide(subject, act, resource, context, policy)
    assert decide(subject, act, resource, context, replace(policy, access=access)) == found
    assert found.allowed == all(one.verdict is not Verdict.REFUSED for one in found.findings)
    assert len({one.rule for one in found.findings}) == len(found.findings)
    assert {one.rule for one in found.findings} == set(Rule) - {Rule.TIER}


@given(SUBJECTS, ACTS, RESOURCES, CONTEXTS, POLICIES)
def test_every_refusal_names_a_rule_and_says_why(
    subject: Subject, act: Permission, resource: Resource, context: Context, policy: Policy
) -> None:
    """A refusal is a PolicyError with the rule as its code; an unknown tier is refused always."""
    found = decide(subject, act, resource, context, policy)
    assert found.allowed == (found.rule is None)
    if resource.tier == "unheard-of":
        assert not found.allowed
    if found.rule is not None:
        with pytest.raises(PolicyError) as caught:
            found.require()
        assert caught.value.code == f"policy.{found.rule}"
        assert found.decisive is not None
        assert found.decisive.sentence in caught.value.message


# --- one rule after the other -----------------------------------------------------------


def test_a_department_opens_its_own() -> None:
    """A psychiatrist opens psychiatry, in any spelling; a dermatologist does not."""
    assert asked(PSYCHIATRIST, parcel()).allowed
    assert asked(replace(PSYCHIATRIST, department=" PSYCHIATRY "), parcel()).allowed
    refused = asked(DERMATOLOGIST, parcel())
    assert refused.rule is Rule.DEPARTMENT
    assert "you are of dermatology" in refused.reasons[0]


def test_a_department_that_nobody_vouches_for_does_not_count() -> None:
    """Who has no valid credential is of no department, whatever the credential says."""
    assert asked(replace(PSYCHIATRIST, vetted=False), parcel()).rule is Rule.DEPARTMENT


def test_a_department_without_a_rule_is_opened_by_itself_alone() -> None:
    """Once one department is restricted, none is open by having been forgotten."""
    other = parcel(department="oncology")
    assert asked(PSYCHIATRIST, other).rule is Rule.DEPARTMENT
    assert asked(replace(PSYCHIATRIST, department="oncology"), other).allowed
    assert asked(Subject(ME), other, policy=BUILT_IN).allowed


@pytest.mark.parametrize(
    ("role", "acts"),
    [
        ("attending", set(Permission)),
        ("consultant", {Permission.VIEW, Permission.ANNOTATE}),
        ("trainee", {Permission.VIEW}),
        ("technician", set()),
        ("auditor", set()),
    ],
)
def test_a_role_may_what_it_was_granted(role: str, acts: set[Permission]) -> None:
    """Of all acts, exactly those of the role are allowed, and the rule that refuses is named."""
    for act in Permission:
        found = asked(PSYCHIATRIST, parcel(granted(role)), act)
        assert found.allowed == (act in acts)
        assert found.rule is (None if act in acts else Rule.PERMISSION)


def test_who_may_only_look_is_told_how() -> None:
    """A trainee who receives is pointed to `medshare view`."""
    found = asked(PSYCHIATRIST, parcel(granted("trainee")), Permission.EXPORT)
    assert found.refusals[0].hint.endswith("medshare view PARCEL")


def test_grants_for_others_are_no_grants() -> None:
    """Where the sender has granted something to somebody, who was granted nothing gets nothing."""
    assert asked(PSYCHIATRIST, parcel(restricted=True)).rule is Rule.GRANT


@pytest.mark.parametrize(
    ("resource", "context", "rule"),
    [
        (parcel(granted(expires=NOW)), Context(NOW), Rule.EXPIRED),
        (parcel(granted(openings=2)), Context(NOW, openings=2), Rule.OPENINGS),
        (parcel(granted(), withdrawn=True), Context(NOW), Rule.WITHDRAWN),
    ],
)
def test_a_grant_ends(resource: Resource, context: Context, rule: Rule) -> None:
    """At its time, after its last opening, and when it is withdrawn; an emergency is none of it."""
    assert asked(PSYCHIATRIST, resource, context=context).rule is rule
    broken = replace(context, reason=REASON)
    assert not asked(PSYCHIATRIST, resource, context=broken).allowed


def test_openings_are_counted_for_looking_alone() -> None:
    """To answer is no opening."""
    resource, context = parcel(granted(openings=1)), Context(NOW, openings=1)
    assert asked(PSYCHIATRIST, resource, Permission.ANNOTATE, context).allowed


def test_a_tier_may_ask_for_credentials() -> None:
    """Of the reader and of the sender, each by a rule of its own; one's own parcel is exempt."""
    tier = TierPolicy("routine", 0, sender=Require.LICENSED, reader=Reader.LICENSED)
    policy = Policy((tier,), 0)
    good = parcel(sender_fault=None)
    assert asked(PSYCHIATRIST, good, policy=policy).allowed
    assert asked(Subject(ME), good, policy=policy).rule is Rule.READER
    assert asked(PSYCHIATRIST, parcel(sender_fault="x"), policy=policy).rule is Rule.SENDER
    assert asked(Subject(SENDER), parcel(sender_fault="x"), policy=policy).allowed


def test_breaking_the_glass() -> None:
    """A specialist with a reason opens what the department rule refuses, and no other does."""
    context = Context(NOW, reason=REASON)
    assert asked(DERMATOLOGIST, parcel(), context=context).overridden == (Rule.DEPARTMENT,)
    revoked = replace(DERMATOLOGIST, vetted=False, fault="it was revoked")
    assert asked(revoked, parcel(), context=context).rule is Rule.BREAK_GLASS
    nurse = replace(DERMATOLOGIST, roles=("nurse",))
    assert asked(nurse, parcel(), context=context).rule is Rule.BREAK_GLASS
    short = asked(DERMATOLOGIST, parcel(), context=Context(NOW, reason=" why  not "))
    assert short.rule is Rule.BREAK_GLASS
    assert "characters" in short.decisive.sentence if short.decisive else False
    amend = asked(DERMATOLOGIST, parcel(granted()), Permission.AMEND, context)
    assert amend.rule is Rule.BREAK_GLASS


def test_nobody_breaks_the_glass_unless_the_policy_says_who() -> None:
    """Department rules without a section `break_glass` leave no way around them."""
    policy = replace(STRICT, access=AccessRules(RULES.departments))
    found = asked(DERMATOLOGIST, parcel(), context=Context(NOW, reason=REASON), policy=policy)
    assert found.rule is Rule.BREAK_GLASS


def test_the_policy_may_let_more_be_overridden() -> None:
    """An ended grant is overridden where the policy lists that, and only there."""
    glass = replace(GLASS, overrides=("department", "expired"))
    policy = replace(STRICT, access=replace(RULES, break_glass=glass))
    ended, context = parcel(granted(expires=NOW)), Context(NOW, reason=REASON)
    found = asked(DERMATOLOGIST, ended, context=context, policy=policy)
    assert found.overridden == (Rule.EXPIRED, Rule.DEPARTMENT)
    refused = asked(DERMATOLOGIST, ended, context=context)
    assert (refused.rule, refused.overridden) == (Rule.EXPIRED, ())
    assert refused.findings[-1].verdict is Verdict.SILENT


@pytest.mark.parametrize(
    ("tier", "suite", "backend", "allowed"),
    [
        ("routine", "intl", "file", True),
        ("routine", "intl", None, True),
        ("routine", "gm", "file", False),
        ("routine", "intl", "pkcs11", False),
        ("unheard-of", "intl", None, False),
    ],
)
def test_what_a_tier_demands_is_explained_too(
    tier: str, suite: str, backend: str | None, allowed: bool
) -> None:
    """Suite and keystore are refused before the rules are asked, and explained beside them."""
    policy = Policy((TierPolicy("routine", 0, suites=("intl",), keystores=("file",)),), 0)
    found = tier_finding(policy, tier, suite=suite, backend=backend)
    assert (found.rule, found.verdict is Verdict.PASSED) == (Rule.TIER, allowed)
    assert Decision(Permission.VIEW, (found,)).allowed is allowed


@given(st.text(max_size=60))
def test_a_label_is_a_label(text: str) -> None:
    """Making a label of a label changes nothing, so that rules and credentials can meet."""
    assert label_of(label_of(text)) == label_of(text)
