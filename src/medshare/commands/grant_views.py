"""Grants and lineages as people read them."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from medshare.commands import text
from medshare.grant import Grant, Kind, Permission

if TYPE_CHECKING:
    from medshare.envelope import Envelope
    from medshare.ids import StationId
    from medshare.sharing.withdrawing import TakenBack

_UNRESTRICTED: Final = "nothing is restricted: the sender has granted nothing to anybody"
_UNASKED: Final = "no relay answered: only the withdrawals that this station knows are shown"
_WORDS: Final = {
    Kind.REVISION: "a revision of",
    Kind.OPINION: "an opinion on",
    Kind.SHARE: "passed on from",
}


def grant_text(grant: Grant) -> str:
    """Return what *grant* allows, in one line."""
    allowed = ", ".join(one for one in Permission if grant.allows(one)) or "nothing"
    parts = [f"{grant.role}: {allowed}", f"for {grant.purpose}"]
    if grant.expires:
        parts.append(f"until {text.moment(grant.expires)}")
    if grant.openings:
        parts.append(f"{text.count(grant.openings, 'opening')}")
    return "; ".join(parts)


def lineage_text(envelope: "Envelope") -> str:
    """Return what the parcel continues, in one line; nothing for an original."""
    lineage = envelope.lineage
    if lineage is None:
        return ""
    said = f"{_WORDS[lineage.kind]} {lineage.parent.hex()[:12]}"
    if lineage.root != lineage.parent:
        said += f", in the end of {lineage.root.hex()[:12]}"
    return f"{said}; revision {lineage.revision}" if lineage.revision else said


def rows(
    envelope: "Envelope | None", station: "StationId | None" = None
) -> Iterable[tuple[str, str]]:
    """Return name and value of what *envelope* says to *station*, or to all of them."""
    if envelope is None:
        return
    for grant in envelope.grants:
        if station in {None, grant.station}:
            yield "granted", grant_text(grant)
    yield "department", envelope.department
    yield "continues", lineage_text(envelope)


def shown(
    chain: "tuple[Envelope, ...]", names: "Mapping[StationId, str]", taken: "TakenBack"
) -> Iterable[tuple[str, str]]:
    """Return all that `grant show` tells of the last parcel of *chain*, the original first."""
    envelope = chain[-1]
    yield "parcel", envelope.parcel.hex()
    yield "sender", name_of(envelope.sender, names)
    yield "department", envelope.department
    yield "grants", "" if envelope.grants else _UNRESTRICTED
    for grant in envelope.grants:
        yield name_of(grant.station, names), grant_text(grant)
    for withdrawal in taken.withdrawals:
        who, when = name_of(withdrawal.recipient, names), text.moment(withdrawal.withdrawn)
        yield "withdrawn", f"what {who} was granted, on {when}"
    yield "note", "" if taken.asked else _UNASKED
    for one in reversed(chain[:-1]):
        yield "before it", f"{one.parcel.hex()} by {name_of(one.sender, names)}"
    yield "continues", lineage_text(envelope)


def name_of(station: "StationId", names: "Mapping[StationId, str]") -> str:
    """Return the local name of *station*, or the beginning of its id."""
    name = names.get(station)
    return text.visible(name) if name else f"station {station.hex()[:10]}"
