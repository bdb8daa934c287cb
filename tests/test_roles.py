"""Roles of a policy, what is offered under them, and what a tier demands of that."""

import tomllib
from typing import Any

import pytest

from medshare.errors import PolicyError, UsageError
from medshare.grant import ALL, BUILT_IN, NOTHING, Permission, Purpose
from medshare.sharing.conditions import Conditions, offer_of
from medshare.trust.policy import BUILT_IN as POLICY
from medshare.trust.policy import Grants, parse_policy, to_toml
from medshare.trust.roles import ONLY_BUILT_IN, parse_roles
from tests.grants_case import A, B, C

TIER: dict[str, Any] = {"rotate_after": "never"}


def policy(**more: Any) -> dict[str, Any]:
    """Return the table of a policy."""
    return {"version": 1, **more}


def test_roles_of_ones_own_stand_beside_the_built_in_ones() -> None:
    """A policy adds roles, and may give built-in ones less."""
    table = {
        "registrar": {"permissions": ["view", "annotate"]},
        "nobody": {"permissions": []},
        "attending": {"permissions": ["view"]},
    }
    roles = parse_roles(table)
    assert roles.find("registrar") == frozenset({Permission.VIEW, Permission.ANNOTATE})
    assert roles.find("nobody") == NOTHING
    assert roles.find("attending") == frozenset({Permission.VIEW})
    assert roles.find("trainee") == BUILT_IN["trainee"]
    assert roles.find("professor") is None
    assert ONLY_BUILT_IN.all == dict(BUILT_IN)


@pytest.mark.parametrize(
    "table",
    [
        {"x": {}},
        {"x": {"permissions": ["fly"]}},
        {"x": {"permissions": ["view", "view"]}},
        {"x": {"permissions": ["annotate"]}},
        {"x": {"permissions": "view"}},
        {"x": {"permissions": ["view"], "more": 1}},
        {"Upper": {"permissions": ["view"]}},
        {"trainee": {"permissions": ["view", "share"]}},
        {f"r{i}": {"permissions": []} for i in range(65)},
        ["x"],
    ],
)
def test_a_malformed_role_is_refused(table: Any) -> None:
    """What is unknown, out of bounds or more than a built-in role ever has is no policy."""
    with pytest.raises(PolicyError):
        parse_roles(table)


def test_a_policy_says_all_of_it_again() -> None:
    """Roles and what tiers demand of grants survive `policy show`."""
    table = policy(
        roles={"registrar": {"permissions": ["view", "share"]}},
        tiers={"routine": TIER | {"grants": "required", "default_role": "registrar"}},
    )
    made = parse_policy(table)
    assert made.tier("routine").grants is Grants.REQUIRED
    assert parse_policy(tomllib.loads(to_toml(made))) == made


def test_a_default_role_exists() -> None:
    """A tier cannot name a role that is nobody's."""
    with pytest.raises(PolicyError):
        parse_policy(policy(tiers={"routine": TIER | {"default_role": "professor"}}))


def test_a_tier_can_demand_grants() -> None:
    """Nothing goes without a role where the tier demands one, and its default fills in."""
    required = parse_policy(policy(tiers={"routine": TIER | {"grants": "required"}}))
    to = [B.station, C.station]
    with pytest.raises(PolicyError) as refused:
        Conditions().governed(to, required, "routine")
    assert refused.value.code == "policy.grants"
    filled = parse_policy(
        policy(tiers={"routine": TIER | {"grants": "required", "default_role": "trainee"}})
    )
    offered = Conditions().governed(to, filled, "routine")
    terms = offered.terms(to, A.station, now=100, end=0)
    assert {one.role for one in terms.grants} == {"trainee"}
    assert Conditions().governed(to, POLICY, "routine") == Conditions()


def test_an_offer_is_what_was_asked() -> None:
    """Permissions come from the role and what is added, times from when the parcel is begun."""
    offer = offer_of(
        "consultant", ONLY_BUILT_IN, permit=frozenset({Permission.EXPORT}), purpose="HRESCH",
        lasts=60, openings=2,
    )  # fmt: skip
    grant = offer.grant(B.station, now=1000)
    assert grant.permissions == BUILT_IN["consultant"] | {Permission.EXPORT}
    assert (grant.expires, grant.openings, grant.purpose) == (1060, 2, Purpose.HRESCH)
    for wrong in (
        {"role": "professor"},
        {"role": "trainee", "permit": frozenset({Permission.SHARE})},
        {"role": "trainee", "purpose": "FUN"},
        {"role": "trainee", "openings": -1},
    ):
        with pytest.raises(UsageError):
            offer_of(**{"roles": ONLY_BUILT_IN, **wrong})  # type: ignore[arg-type]  # test keywords


def test_the_same_command_makes_the_same_request() -> None:
    """What conditions add to a request depends on nothing but themselves; none add nothing."""
    offer = offer_of("attending", ONLY_BUILT_IN)
    assert offer.permissions == ALL
    one, same = (Conditions({B.station: offer}, department="ent") for _ in range(2))
    assert one.to_value() == same.to_value()
    assert one.to_value() != Conditions({B.station: offer}).to_value()
    assert Conditions().to_value() == []
