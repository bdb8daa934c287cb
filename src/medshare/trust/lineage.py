"""Whether a parcel that continues another one was allowed to: the chain of envelopes, step by step.

The envelope of such a parcel carries that of its parent, which carries that of its own, back to
an original.  `chain_of` unfolds them:

1. Each envelope is well formed, and signed by the keys that it names.
2. It is the one that its child names: parcel id and digest.
3. Root and number of revisions are what the steps make them; no parcel comes twice; there are
   at most `MAX_ANCESTORS` before the last.

`require_allowed` then goes from the original to the end, and knows at each step what each station
may do with that parcel.  The sender of the original may do everything; everybody else what the
envelope grants.  A step is allowed if

4. its signer may, in the parent, do what such a step needs (amend, annotate, share);
5. it was made before that ended, as it says itself;
6. nobody gets more by it: in permissions, time and openings, and for another purpose.  What is
   passed on is measured against the signer's own grant; a revision or an opinion goes to people
   who have one in the parent, and is measured against that, unless the signer may also share.

None of this needs a secret, so a relay or an auditor can do it.  Whether the keys in the chain are
those of the stations that it names only their cards can say: `sharing.lineage`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from medshare.envelope import Envelope, parse_envelope
from medshare.errors import FormatError, GrantError, SignatureError
from medshare.grant import (
    ALL,
    MAX_ANCESTORS,
    NEEDS,
    NOTHING,
    Grant,
    Kind,
    Lineage,
    Permission,
    Purpose,
)
from medshare.ids import StationId

Powers = Mapping[StationId, "Power"]


@dataclass(frozen=True, slots=True)
class Power:
    """What one station may do with one parcel; 0 is no end, no limit; no purpose is any."""

    permissions: frozenset[Permission]
    until: int = 0
    openings: int = 0
    purpose: Purpose | None = None

    @classmethod
    def of(cls, grant: Grant, envelope: Envelope) -> "Power":
        """Return what *grant* gives in *envelope*, which ends with the parcel at the latest."""
        until = grant.until(envelope.delete_after)
        return cls(grant.permissions, until, grant.openings, grant.purpose)

    def covers(self, other: "Power") -> bool:
        """Tell whether *other* is no more than this."""
        return (
            other.permissions <= self.permissions
            and _within(other.until, self.until)
            and _within(other.openings, self.openings)
            and self.purpose in {None, other.purpose}
        )

    def ended(self, at: int) -> bool:
        """Tell whether this is over at the time *at*."""
        return bool(self.until) and at >= self.until


EVERYTHING: Final = Power(ALL)
_NOTHING: Final = Power(NOTHING)


def _within(value: int, bound: int) -> bool:
    """Tell whether *value* does not exceed *bound*, where 0 is without bound."""
    return not bound or 0 < value <= bound


def chain_of(envelope: Envelope) -> tuple[Envelope, ...]:
    """Return the envelopes from the original to *envelope*, after the steps 1 to 3 above.

    Raises GrantError (`grant.lineage`).
    """
    chain = [envelope]
    while (lineage := chain[0].lineage) is not None:
        if len(chain) > MAX_ANCESTORS:
            raise _broken("it is longer than the format allows")
        try:
            parent = parse_envelope(lineage.proof)
        except (FormatError, SignatureError) as error:
            raise _broken(f"it has no proof: {error.message}") from error
        if (parent.parcel, parent.digest) != (lineage.parent, lineage.digest):
            raise _broken("its proof is that of another parcel")
        if any(parent.parcel == one.parcel for one in chain):
            raise _broken("it comes back to itself")
        chain.insert(0, parent)
    for parent, child in pairwise(chain):
        _require_counted(parent, child)
    return tuple(chain)


def _require_counted(parent: Envelope, child: Envelope) -> None:
    """Raise GrantError unless root and revision of *child* follow from *parent*."""
    if child.lineage is None:
        raise _broken("it ends before its beginning")
    expected = continued(parent, child.lineage.kind, b"")
    if (child.lineage.root, child.lineage.revision) != (expected.root, expected.revision):
        raise _broken("it counts its steps wrongly")


def continued(parent: Envelope, kind: Kind, octets: bytes) -> Lineage:
    """Return the lineage of a parcel that continues *parent*, whose envelope is *octets*."""
    before = parent.lineage
    return Lineage(
        kind=kind,
        parent=parent.parcel,
        digest=parent.digest,
        root=parent.parcel if before is None else before.root,
        revision=(before.revision if before else 0) + (kind is Kind.REVISION),
        proof=octets,
    )


def powers_in(chain: Sequence[Envelope]) -> Powers:
    """Return what each station may do with the last parcel of *chain*, whose steps are lawful.

    Raises GrantError, naming the rule, when one is not: `grant.act`, `grant.late`, `grant.wider`.
    """
    powers: Powers = _granted(chain[0], {chain[0].sender: EVERYTHING})
    for child in chain[1:]:
        powers = _after(child, powers, root=chain[0].sender)
    return powers


def _granted(envelope: Envelope, held: Powers) -> dict[StationId, Power]:
    """Return *held* with what *envelope* grants; one that grants nothing restricts nobody."""
    if not envelope.grants:
        return dict(held) | {one.station: EVERYTHING for one in envelope.recipients}
    return {one.station: Power.of(one, envelope) for one in envelope.grants} | dict(held)


def _after(child: Envelope, powers: Powers, *, root: StationId) -> Powers:
    """Return what each station may do with *child*, given its *powers* in the parent."""
    signer = powers.get(child.sender, _NOTHING)
    needs = NEEDS[child.kind]
    if needs not in signer.permissions:
        raise GrantError(
            f"this {child.kind} is signed by a station that was not granted '{needs}'",
            hint="do not use it, and ask the sender of the original",
            code="grant.act",
        )
    if signer.ended(child.created):
        raise GrantError(
            f"this {child.kind} was made after the grant of its signer had ended",
            hint="ask the sender of the original",
            code="grant.late",
        )
    for grant in child.grants:
        _require_covered(Power.of(grant, child), grant.station, signer, child, powers)
    return _granted(child, {child.sender: signer, root: EVERYTHING})


def _require_covered(
    given: Power, station: StationId, signer: Power, child: Envelope, powers: Powers
) -> None:
    """Raise GrantError unless *station* gets by *child* no more than it may."""
    bounds = [signer] if Permission.SHARE in signer.permissions else []
    if child.kind is not Kind.SHARE:
        bounds.append(powers.get(station, _NOTHING))
    if not any(bound.covers(given) for bound in bounds):
        raise GrantError(
            f"this {child.kind} grants more than its signer was granted",
            hint="do not use it, and ask the sender of the original",
            code="grant.wider",
        )


def require_lawful(envelope: Envelope) -> tuple[Envelope, ...]:
    """Return the chain of *envelope*, the original first, once all of it was allowed.

    Raises GrantError, naming the rule.
    """
    chain = chain_of(envelope)
    powers_in(chain)
    return chain


def department_of(envelope: Envelope) -> str:
    """Return the department of the content of *envelope*, whose lineage holds; '' for none.

    What is passed on or revised stays of the department that it came from, whatever is stated.
    An opinion is of the one that it states, and else of that of what it is about.
    """
    lineage = envelope.lineage
    if lineage is None or (envelope.department and lineage.kind is Kind.OPINION):
        return envelope.department
    return department_of(parse_envelope(lineage.proof)) or envelope.department


def narrowed(power: Power, grant: Grant, *, delete_after: int) -> Grant:
    """Return as much of *grant*, in a parcel that ends at *delete_after*, as *power* covers."""
    until = grant.until(delete_after)
    return replace(
        grant,
        permissions=grant.permissions & power.permissions,
        expires=_lesser(until, power.until) if power.until else grant.expires,
        openings=_lesser(grant.openings, power.openings),
        purpose=power.purpose or grant.purpose,
    )


def _lesser(one: int, other: int) -> int:
    return min((value for value in (one, other) if value), default=0)


def _broken(why: str) -> GrantError:
    return GrantError(
        f"the lineage of the parcel does not hold: {why}",
        hint="do not use it, and ask its sender",
        code="grant.lineage",
    )
