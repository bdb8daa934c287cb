"""On what conditions something is sent: what each recipient is offered, and what it continues.

Times are relative until the parcel is begun, so that the same command makes the same request an
hour later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from medshare import canonical
from medshare.envelope import Envelope
from medshare.errors import AccessDeniedError, FormatError, UsageError
from medshare.grant import (
    AT_MOST,
    MAX_OPENINGS,
    NOTHING,
    Grant,
    Kind,
    Lineage,
    Permission,
    Purpose,
    Terms,
    require_truthful,
)
from medshare.ids import StationId
from medshare.trust.lineage import Power, Powers, continued, narrowed
from medshare.trust.policy import Policy
from medshare.trust.roles import Roles


@dataclass(frozen=True, slots=True)
class Offer:
    """What one recipient shall be granted; *lasts* in seconds from when the parcel is begun."""

    role: str
    permissions: frozenset[Permission]
    purpose: Purpose = Purpose.TREAT
    lasts: int = 0
    """0 is as long as the parcel."""
    openings: int = 0
    """0 is without limit."""

    def grant(self, station: StationId, *, now: int) -> Grant:
        """Return the grant to *station* in a parcel that is begun at *now*."""
        expires = now + self.lasts if self.lasts else 0
        return Grant(station, self.role, self.permissions, self.purpose, expires, self.openings)

    def to_value(self) -> canonical.Value:
        """Return what makes this offer another than others."""
        permissions = sorted(str(one) for one in self.permissions)
        return [self.role, permissions, str(self.purpose), self.lasts, self.openings]


def offer_of(
    role: str,
    roles: Roles,
    *,
    permit: frozenset[Permission] = NOTHING,
    purpose: str = Purpose.TREAT,
    lasts: int = 0,
    openings: int = 0,
) -> Offer:
    """Return what *role* is offered by a station with *roles*, with what *permit* adds to it.

    Raises UsageError for a role or purpose that is unknown, or that cannot have the addition.
    """
    permissions = roles.find(role)
    if permissions is None:
        raise UsageError(
            f"there is no role '{role}'",
            hint=f"the roles here are {', '.join(sorted(roles.all))}; more in policy.toml",
        )
    if purpose not in list(Purpose):
        raise UsageError(
            f"'{purpose}' is not a purpose", hint=f"the purposes are {', '.join(Purpose)}"
        )
    if not 0 <= openings <= MAX_OPENINGS:
        raise UsageError(f"a parcel is opened at most {MAX_OPENINGS} times")
    try:
        require_truthful(role, permissions | permit)
    except FormatError as error:
        allowed = ", ".join(one for one in Permission if one in AT_MOST.get(role, NOTHING))
        raise UsageError(
            f"role '{role}' cannot have that permission",
            hint=f"it has at most: {allowed or 'nothing'}; an own role may have more: policy.toml",
        ) from error
    return Offer(role, permissions | permit, Purpose(purpose), lasts, openings)


@dataclass(frozen=True, slots=True)
class Continuation:
    """The parcel that a new one continues, verified, and what each station may do with it."""

    kind: Kind
    parent: Envelope
    octets: bytes
    powers: Powers

    @property
    def lineage(self) -> Lineage:
        """What the envelope of the new parcel says of it."""
        return continued(self.parent, self.kind, self.octets)

    def bounds(self, sender: StationId, recipient: StationId) -> Power:
        """Return how much *sender* may grant *recipient*."""
        own = self.powers[sender]
        held = self.powers.get(recipient)
        if self.kind is not Kind.SHARE and held is not None:
            return held
        return own if Permission.SHARE in own.permissions else Power(NOTHING)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What recipients are offered, from which department it comes, and what it continues."""

    offers: Mapping[StationId, Offer] = field(default_factory=dict)
    everybody: Offer | None = None
    """For those without an offer of their own."""
    department: str = ""
    continues: Continuation | None = None

    def to_value(self) -> list[canonical.Value]:
        """Return what makes a request with these another one; nothing where there are none."""
        if self == UNCONDITIONAL:
            return []
        offers = {one.hex(): offer.to_value() for one, offer in self.offers.items()}
        everybody = self.everybody and self.everybody.to_value()
        before = self.continues and [str(self.continues.kind), self.continues.parent.parcel]
        return [[offers, everybody, self.department, before]]

    def offer(self, station: StationId) -> Offer | None:
        """Return what *station* is offered."""
        return self.offers.get(station, self.everybody)

    def governed(self, to: Sequence[StationId], policy: Policy, tier: str) -> "Conditions":
        """Return these with the default role of *tier* for whoever is offered nothing.

        Raises PolicyError when the tier demands grants and there are none, UsageError when
        some are offered something and others nothing, or a continuation offers nothing.
        """
        rules = policy.tier(tier)
        found = self
        if self.everybody is None and rules.default_role:
            found = replace(self, everybody=offer_of(rules.default_role, policy.roles))
        offered = [found.offer(one) is not None for one in to]
        rules.require_grants(stated=all(offered))
        if any(offered) and not all(offered):
            raise UsageError(
                "some recipients get a role and others none",
                hint="where one is granted something, all are: give --role for the others",
            )
        if found.continues is not None and not all(offered):
            raise UsageError("a parcel that continues another states a role", hint="give --role")
        return found

    def terms(self, to: Sequence[StationId], sender: StationId, *, now: int, end: int) -> Terms:
        """Return what the envelope of a parcel says that is begun at *now* and ends at *end*.

        What it continues bounds every grant.  Raises AccessDeniedError (`grant.wider`) when
        nothing is left for a recipient, UsageError when nobody could open it.
        """
        grants = [
            self._grant(offer, one, sender, now=now, end=end)
            for one in sorted(set(to) - {sender})
            if (offer := self.offer(one)) is not None
        ]
        if grants and not any(grant.allows(Permission.VIEW) for grant in grants):
            raise UsageError(
                "nobody could open it: no recipient has a role that may view",
                hint="give one of them --role consultant, or another that may",
            )
        lineage = None if self.continues is None else self.continues.lineage
        return Terms(tuple(grants), self.department, lineage)

    def _grant(
        self, offer: Offer, station: StationId, sender: StationId, *, now: int, end: int
    ) -> Grant:
        grant = offer.grant(station, now=now)
        if self.continues is None:
            return grant
        bounds = self.continues.bounds(sender, station)
        found = narrowed(bounds, grant, delete_after=end)
        if grant.permissions and not found.permissions:
            raise AccessDeniedError(
                f"this station may not give station {station.hex()[:10]} anything of this parcel",
                hint="whoever may 'share' it can; a revision or opinion goes to those who have it",
                code="grant.wider",
            )
        return found


UNCONDITIONAL: Final = Conditions()
