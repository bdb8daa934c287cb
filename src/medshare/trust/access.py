"""Who may do what with a parcel that arrived: every rule, each by itself (docs/access.md).

    decide(subject, act, resource, context, policy) -> Decision

Each rule looks at the same facts and says `passed`, `refused`, or that it has nothing to say.
An act is allowed where none refuses; no rule can allow what another refuses, so their order
means nothing.  Breaking the glass turns the refusals of those rules that policy lists into
overrides, for viewing and exporting only, and never a missing permission into a present one.

Pure: who asks, for what, and when, are arguments.  What a station does about it is in
`sharing.access`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

from medshare.errors import PolicyError
from medshare.grant import Grant, Kind, Permission
from medshare.ids import ParcelId, StationId
from medshare.trust.access_rules import MAX_REASON, label_of
from medshare.trust.policy import Policy, Reader, Require

OPENING: Final = frozenset({Permission.VIEW, Permission.EXPORT})
"""Acts that show the content: those that count as openings, and for which glass is broken."""


class Rule(StrEnum):
    """The rules; `policy.<rule>` is the code of a refusal, but for TIER, which has several."""

    TIER = "tier"
    """Suite and keystore: `trust.policy` refuses them before `decide` is asked."""
    SENDER = "sender"
    READER = "reader"
    GRANT = "grant"
    PERMISSION = "permission"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    OPENINGS = "openings"
    DEPARTMENT = "department"
    BREAK_GLASS = "break-glass"


class Verdict(StrEnum):
    """What a rule says."""

    PASSED = "passed"
    REFUSED = "refused"
    OVERRIDDEN = "overridden"
    """It refused, and the glass was broken."""
    SILENT = "not-concerned"


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks: a station, and what a trusted authority says of its holder, if one does."""

    station: StationId
    vetted: bool = False
    """Whether the credential passed all checks just now; what follows counts only then."""
    roles: tuple[str, ...] = ()
    department: str = ""
    fault: str = ""
    """Why it is not vetted, in one sentence."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What is asked for: a parcel, as its sender signed it, and what is known since."""

    parcel: ParcelId
    sender: StationId
    tier: str = "routine"
    department: str = ""
    restricted: bool = False
    """Whether the sender granted anything to anybody; if not, nothing is restricted."""
    grant: Grant | None = None
    kind: Kind = Kind.ORIGINAL
    delete_after: int = 0
    withdrawn: bool = False
    sender_fault: str | None = None
    """Why no authority vouches for the sender; None where one does."""


@dataclass(frozen=True, slots=True)
class Context:
    """When, what went before, and why; *now* in seconds since 1970 UTC."""

    now: int
    openings: int = 0
    """How often it was opened here before."""
    reason: str | None = None
    """Why the glass is to be broken; None where it is not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says, in a sentence for a person."""

    rule: Rule
    verdict: Verdict
    sentence: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an act is allowed, and what each rule says about it."""

    act: Permission
    findings: tuple[Finding, ...]

    @property
    def allowed(self) -> bool:
        """Whether no rule refuses."""
        return not self.refusals

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """What refuses, in the order of `Rule`."""
        return tuple(one for one in self.findings if one.verdict is Verdict.REFUSED)

    @property
    def overridden(self) -> tuple[Rule, ...]:
        """The rules that breaking the glass has overridden; none where that was not needed."""
        return tuple(one.rule for one in self.findings if one.verdict is Verdict.OVERRIDDEN)

    @property
    def decisive(self) -> Finding | None:
        """The refusal that is named: of the glass where that alone is in the way, or the first."""
        glass = (one for one in self.refusals if one.rule is Rule.BREAK_GLASS)
        return next(glass, self.refusals[0] if self.refusals else None)

    @property
    def rule(self) -> Rule | None:
        """The rule that is named when the act is refused."""
        return None if self.decisive is None else self.decisive.rule

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is refused."""
        return tuple(one.sentence for one in self.refusals)

    def require(self) -> None:
        """Raise PolicyError, with the rule as its code, unless the act is allowed."""
        if (named := self.decisive) is not None:
            raise PolicyError(
                f"to {self.act} this parcel is refused: {named.sentence}",
                hint=named.hint or None,
                code=f"policy.{named.rule}",
            )


def tier_finding(policy: Policy, tier: str, *, suite: str, backend: str | None) -> Finding:
    """Return whether *tier* allows *suite*, and keys in a keystore of kind *backend* if known."""
    try:
        rules = policy.tier(tier)
        rules.allowed_suites(frozenset({suite}))
        if backend is not None:
            rules.require_keystore(backend)
    except PolicyError as error:
        return Finding(Rule.TIER, Verdict.REFUSED, error.message, error.hint or "")
    keystore = "" if backend is None else f", and keys in '{backend}'"
    sentence = f"tier '{tier}' allows suite '{suite}'{keystore}"
    return Finding(Rule.TIER, Verdict.PASSED, sentence)


@dataclass(frozen=True, slots=True)
class _Case:
    """All the facts, as every rule sees them."""

    subject: Subject
    act: Permission
    resource: Resource
    context: Context
    policy: Policy

    @property
    def own(self) -> bool:
        """Whether who asks has sent it: nobody is kept from what is his."""
        return self.subject.station == self.resource.sender


def decide(
    subject: Subject, act: Permission, resource: Resource, context: Context, policy: Policy
) -> Decision:
    """Return whether *subject* may do *act* with *resource*, and what each rule says."""
    case = _Case(subject, act, resource, context, policy)
    findings = [rule(case) for rule in _RULES]
    refused = [one.rule for one in findings if one.verdict is Verdict.REFUSED]
    glass = _break_glass(case, refused)
    if glass.verdict is Verdict.PASSED:
        overrides = policy.access.break_glass.overrides
        findings = [_overridden(one) if str(one.rule) in overrides else one for one in findings]
    return Decision(act, (*findings, glass))


def _overridden(finding: Finding) -> Finding:
    if finding.verdict is not Verdict.REFUSED:
        return finding
    return Finding(finding.rule, Verdict.OVERRIDDEN, finding.sentence)


# --- the rules ------------------------------------------------------------------------


def _sender(case: _Case) -> Finding:
    tier = case.policy.find(case.resource.tier)
    say = partial(Finding, Rule.SENDER)
    if tier is None:
        names = ", ".join(one.name for one in case.policy.tiers)
        unknown = f"the policy here knows no tier '{case.resource.tier}'"
        return say(Verdict.REFUSED, unknown, f"its tiers are {names}")
    if case.own or tier.sender is Require.CONTACT:
        return say(Verdict.SILENT, f"tier '{tier.name}' asks for no credential of the sender")
    if case.resource.sender_fault is None:
        return say(Verdict.PASSED, "a trusted authority vouches for the sender")
    return say(
        Verdict.REFUSED,
        f"tier '{tier.name}' asks for a sender with a credential: {case.resource.sender_fault}",
        "ask for the sender's card with a valid certificate, or for newer lists: "
        "medshare trust update FILE",
    )


def _reader(case: _Case) -> Finding:
    tier = case.policy.find(case.resource.tier)
    say = partial(Finding, Rule.READER)
    if tier is None or case.own or tier.reader is Reader.ANYONE:
        return say(Verdict.SILENT, "whoever unlocks this station may open what is of this tier")
    if case.subject.vetted:
        return say(Verdict.PASSED, "a trusted authority vouches for the holder of this station")
    return say(
        Verdict.REFUSED,
        f"tier '{tier.name}' is opened with a valid credential only: {_fault(case)}",
        _GET_CREDENTIAL,
    )


def _grant(case: _Case) -> Finding:
    say = partial(Finding, Rule.GRANT)
    if case.own:
        return say(Verdict.SILENT, "this station has sent it")
    if not case.resource.restricted:
        return say(Verdict.SILENT, "the sender has restricted nothing")
    if case.resource.grant is None:
        return say(Verdict.REFUSED, "the sender has granted this station nothing", _ASK_THE_SENDER)
    return say(Verdict.PASSED, f"the sender has granted the role '{case.resource.grant.role}'")


def _permission(case: _Case) -> Finding:
    grant = case.resource.grant
    say = partial(Finding, Rule.PERMISSION)
    if case.own or grant is None:
        return say(Verdict.SILENT, "no grant says what may be done with it")
    given = ", ".join(one for one in Permission if grant.allows(one)) or "nothing"
    if grant.allows(case.act):
        return say(Verdict.PASSED, f"the role '{grant.role}' was granted {given}")
    look = case.act is Permission.EXPORT and grant.allows(Permission.VIEW)
    return say(
        Verdict.REFUSED,
        f"the sender has granted the role '{grant.role}': {given}, and not {case.act}",
        "look at it without writing it to a disk: medshare view PARCEL"
        if look
        else _ASK_THE_SENDER,
    )


def _withdrawn(case: _Case) -> Finding:
    say = partial(Finding, Rule.WITHDRAWN)
    if case.resource.withdrawn and not case.own:
        return say(Verdict.REFUSED, "the sender has withdrawn the grant", _ASK_THE_SENDER)
    return say(Verdict.SILENT, "nothing is known of a withdrawal")


def _expired(case: _Case) -> Finding:
    grant = case.resource.grant
    say = partial(Finding, Rule.EXPIRED)
    if case.own or grant is None or not grant.expires:
        return say(Verdict.SILENT, "the sender has set no end")
    if grant.ended(case.context.now):
        return say(Verdict.REFUSED, "the grant of the sender has ended", _ASK_THE_SENDER)
    return say(Verdict.PASSED, "the grant of the sender has not ended")


def _openings(case: _Case) -> Finding:
    grant = case.resource.grant
    say = partial(Finding, Rule.OPENINGS)
    if case.own or grant is None or not grant.openings or case.act not in OPENING:
        return say(Verdict.SILENT, "the sender counts no openings")
    counted = f"opened {case.context.openings} of {grant.openings} times"
    if case.context.openings >= grant.openings:
        return say(Verdict.REFUSED, f"it was {counted}", _ASK_THE_SENDER)
    return say(Verdict.PASSED, f"{counted} until now")


def _department(case: _Case) -> Finding:
    say = partial(Finding, Rule.DEPARTMENT)
    department = label_of(case.resource.department)
    openers = case.policy.access.openers(department) if department else None
    if case.own:
        return say(Verdict.SILENT, "this station has sent it")
    if not department:
        return say(Verdict.SILENT, "it is of no particular department")
    if openers is None:
        return say(Verdict.SILENT, "the policy here restricts no department")
    who = f"parcels of {department} are opened by {', '.join(openers)}"
    mine = label_of(case.subject.department)
    if not case.subject.vetted or not mine:
        why = _fault(case) if not case.subject.vetted else "the credential here states none"
        return say(Verdict.REFUSED, f"{who} only, and of which you are is not vouched for: {why}",
                   _GET_CREDENTIAL)  # fmt: skip
    if mine in openers:
        return say(Verdict.PASSED, f"{who}, and you are of {mine}")
    return say(Verdict.REFUSED, f"{who}, and you are of {mine}", _emergency(case))


_RULES: Final[tuple[Callable[[_Case], Finding], ...]] = (
    _sender,
    _reader,
    _grant,
    _permission,
    _withdrawn,
    _expired,
    _openings,
    _department,
)
_ASK_THE_SENDER: Final = "ask the sender for a grant that allows it"
_GET_CREDENTIAL: Final = (
    "attach a valid certificate (medshare card attach), trust its authority, and take in its "
    "lists (medshare trust update)"
)
_IN_AN_EMERGENCY: Final = (
    "in an emergency: --break-glass --reason '…', which is recorded, and reviewed by others"
)


def _fault(case: _Case) -> str:
    return case.subject.fault or "there is no credential of this station here"


def _emergency(case: _Case) -> str:
    """Return what to do, for somebody of another department."""
    may = _may_break(case) and case.act in OPENING
    overrides = str(Rule.DEPARTMENT) in case.policy.access.break_glass.overrides
    return _IN_AN_EMERGENCY if may and overrides else "ask somebody of such a department"


def _may_break(case: _Case) -> bool:
    roles = {label_of(role) for role in case.subject.roles}
    return case.subject.vetted and not roles.isdisjoint(case.policy.access.break_glass.roles)


def _break_glass(case: _Case, refused: Sequence[Rule]) -> Finding:
    """Return whether the glass may be broken, where somebody asks for it and it would help."""
    glass, reason = case.policy.access.break_glass, case.context.reason
    say = partial(Finding, Rule.BREAK_GLASS)
    if reason is None:
        return say(Verdict.SILENT, "nobody asks to break the glass")
    if not refused:
        return say(Verdict.SILENT, "there is no glass to break: it is allowed as it is")
    kept = [one for one in refused if str(one) not in glass.overrides]
    if kept:
        return say(Verdict.SILENT, f"breaking the glass would not override: {', '.join(kept)}")
    if case.act not in OPENING:
        return say(Verdict.REFUSED, f"the glass is broken to view or export, not to {case.act}")
    if not _may_break(case):
        roles = ", ".join(glass.roles) or "nobody"
        why = "" if case.subject.vetted else f"; {_fault(case)}"
        return say(Verdict.REFUSED, f"the policy here lets {roles} break the glass{why}",
                   "whom the policy names must do it with a station of their own")  # fmt: skip
    length = len(" ".join(reason.split()))
    if not glass.least_reason <= length <= MAX_REASON:
        return say(Verdict.REFUSED, f"a reason has {glass.least_reason} to {MAX_REASON} characters",
                   "say why it cannot wait, and nothing about the patient")  # fmt: skip
    return say(Verdict.PASSED, f"the glass is broken, against: {', '.join(refused)}")
