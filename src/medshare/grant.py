"""Grants: what a recipient may do with a parcel, why, until when and how often (format §7.4).

A grant is part of the envelope, and so signed by the sender: whoever edits, extends or moves
one breaks the signature.  Where a parcel continues another one, as a revision, an opinion or
something passed on, its lineage names that one and carries its envelope as proof; whether the
grants in there allowed it is `trust.lineage`.

Pure: values, and their form in the envelope.  An envelope without any of this restricts nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from medshare import canonical
from medshare.canonical import MAX_TIME, Fields
from medshare.digest import DIGEST_SIZE, Digest
from medshare.errors import FormatError, LimitError, UnsupportedVersionError
from medshare.ids import PARCEL_ID_SIZE, STATION_ID_SIZE, ParcelId, StationId

Names = TypeVar("Names", bound=StrEnum)

EXTENSION: Final = "grants"
"""The key in an envelope's `critical` under which all of this stands."""
MAX_GRANTS: Final = 64
MAX_OPENINGS: Final = 1 << 20
MAX_ANCESTORS: Final = 8
"""How many parcels may lie between one and the original from which it comes, that one included."""
MAX_PROOF: Final = 768 * 1024
"""Octets of the envelope of the parcel before."""
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_WHAT: Final = "the envelope's grants"


class Permission(StrEnum):
    """What a grant may allow; whoever may do anything may also view."""

    VIEW = "view"
    """Open it: the sender wraps the key to nobody whose grant lacks this."""
    EXPORT = "export"
    """Write plaintext to a disk."""
    ANNOTATE = "annotate"
    """Answer with an opinion, a parcel that is linked to it."""
    AMEND = "amend"
    """Sign a revision of it."""
    SHARE = "share"
    """Pass it on, with no more than what one was granted."""


class Kind(StrEnum):
    """What a parcel is to the one before it."""

    ORIGINAL = "original"
    """There is none before it, and no lineage."""
    REVISION = "revision"
    OPINION = "opinion"
    SHARE = "share"


NEEDS: Final[Mapping[Kind, Permission]] = MappingProxyType(
    {
        Kind.REVISION: Permission.AMEND,
        Kind.OPINION: Permission.ANNOTATE,
        Kind.SHARE: Permission.SHARE,
    }
)
"""What the grant of whoever signs a parcel of that kind must allow in the parcel before."""


class Purpose(StrEnum):
    """Why somebody may use a parcel: codes of HL7 v3 PurposeOfUse (2.16.840.1.113883.1.11.20448).

    A closed list: what is unknown here is refused.
    """

    TREAT = "TREAT"
    ETREAT = "ETREAT"
    BTG = "BTG"
    COC = "COC"
    CAREMGT = "CAREMGT"
    PATSFTY = "PATSFTY"
    HQUALIMP = "HQUALIMP"
    HLEGAL = "HLEGAL"
    PATADMIN = "PATADMIN"
    PATRQT = "PATRQT"
    PUBHLTH = "PUBHLTH"
    HRESCH = "HRESCH"
    CLINTRCH = "CLINTRCH"
    TRAIN = "TRAIN"


ALL: Final = frozenset(Permission)
NOTHING: Final[frozenset[Permission]] = frozenset()

BUILT_IN: Final[Mapping[str, frozenset[Permission]]] = MappingProxyType(
    {
        "attending": ALL,
        "consultant": frozenset({Permission.VIEW, Permission.ANNOTATE}),
        "trainee": frozenset({Permission.VIEW}),
        "technician": NOTHING,
        "auditor": NOTHING,
    }
)
"""What each built-in role may do."""

AT_MOST: Final[Mapping[str, frozenset[Permission]]] = MappingProxyType(
    {**BUILT_IN, "consultant": BUILT_IN["consultant"] | {Permission.EXPORT}}
)
"""What a grant under the name of a built-in role may allow, so that the name tells the truth."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What the sender of a parcel allows one station; times in seconds since 1970 UTC."""

    station: StationId
    role: str
    """A name of 1 to 32 of `a`–`z`, `0`–`9` and, in between, `-`."""
    permissions: frozenset[Permission]
    """Nothing, or VIEW and perhaps more."""
    purpose: Purpose = Purpose.TREAT
    expires: int = 0
    """When it ends; 0 is with the parcel."""
    openings: int = 0
    """How often it may be opened; 0 is without limit."""

    def allows(self, permission: Permission) -> bool:
        """Tell whether *permission* was given; `ended` says whether it still counts."""
        return permission in self.permissions

    def until(self, delete_after: int) -> int:
        """Return when this ends in a parcel that ends at *delete_after*; 0 is never."""
        return min((end for end in (self.expires, delete_after) if end), default=0)

    def ended(self, now: int) -> bool:
        """Tell whether this is over at *now*, of itself."""
        return bool(self.expires) and now >= self.expires


@dataclass(frozen=True, slots=True)
class Lineage:
    """Which parcel a parcel continues, how, and the proof."""

    kind: Kind
    parent: ParcelId
    digest: Digest
    """The digest of the parent's envelope, in the parent's suite."""
    root: ParcelId
    """The original at the beginning: the parent itself, or where the parent comes from."""
    revision: int
    """How many of the steps since the original were revisions, this one included."""
    proof: bytes = field(repr=False)
    """The encoded envelope of the parent, which carries that of its own."""


@dataclass(frozen=True, slots=True)
class Terms:
    """All that an envelope says under `EXTENSION`."""

    grants: tuple[Grant, ...] = ()
    department: str = ""
    """A short code of the department that it comes from, or ''; nothing about a patient."""
    lineage: Lineage | None = None

    def bars(self, station: StationId) -> bool:
        """Tell whether *station* is granted something, and may not view."""
        return any(
            one.station == station and not one.allows(Permission.VIEW) for one in self.grants
        )

    def to_critical(self) -> dict[str, canonical.Value]:
        """Return the envelope's `critical`: empty when there is nothing to say."""
        if self == Terms():
            return {}
        return {
            EXTENSION: {
                "department": self.department,
                "grants": [_grant_to_value(one) for one in self.grants],
                "lineage": None if self.lineage is None else _lineage_to_value(self.lineage),
            }
        }


def is_code(text: str) -> bool:
    """Tell whether *text* can name a role or a department."""
    return _NAME.fullmatch(text) is not None


def _grant_to_value(grant: Grant) -> canonical.Value:
    permissions = sorted(str(one) for one in grant.permissions)
    return [
        grant.station, grant.role, permissions, str(grant.purpose), grant.expires, grant.openings
    ]  # fmt: skip


def _lineage_to_value(lineage: Lineage) -> canonical.Value:
    return [
        str(lineage.kind), lineage.parent, lineage.digest.value, lineage.root, lineage.revision,
        lineage.proof,
    ]  # fmt: skip


def terms_from_critical(critical: Mapping[str, object]) -> Terms:
    """Return what the `critical` of an envelope says of grants.

    Raises FormatError for anything malformed, LimitError for what is too much, and
    UnsupportedVersionError for a permission, purpose or kind that is unknown here.
    """
    if EXTENSION not in critical:
        return Terms()
    fields = Fields(critical[EXTENSION], what=_WHAT)
    department = fields.text("department", maximum=32)
    if department and not is_code(department):
        raise FormatError("a department is a code of lower-case letters, digits and hyphens")
    grants = tuple(_grant(item) for item in fields.items("grants", maximum=MAX_GRANTS))
    stations = [one.station for one in grants]
    if stations != sorted(set(stations)):
        raise FormatError("the grants of an envelope are not in the order of stations, one each")
    terms = Terms(grants, department, _lineage(fields.value("lineage")))
    fields.finish()
    if terms == Terms():
        raise FormatError("an envelope announces grants and states nothing")
    if terms.lineage is not None and not grants:
        raise FormatError("a parcel that continues another one states no grants")
    return terms


def _grant(item: object) -> Grant:
    match item:
        case [
            bytes() as station, str() as role, list() as permissions, str() as purpose,
            int() as expires, int() as openings,
        ] if (
            len(station) == STATION_ID_SIZE
            and _NAME.fullmatch(role)
            and type(expires) is int
            and type(openings) is int
        ):  # fmt: skip
            if expires > MAX_TIME or openings > MAX_OPENINGS:
                raise LimitError("a grant ends later, or opens more often, than the format allows")
            allowed = _permissions(permissions)
            require_truthful(role, allowed)
            return Grant(
                StationId(station), role, allowed, _named(Purpose, purpose), expires, openings
            )
    raise FormatError("a grant in the envelope is malformed")


def _permissions(items: Sequence[object]) -> frozenset[Permission]:
    if not all(isinstance(one, str) for one in items):
        raise FormatError("the permissions of a grant are not texts")
    names = [str(one) for one in items]
    if names != sorted(set(names)):
        raise FormatError("the permissions of a grant are not in order, once each")
    return frozenset(_named(Permission, one) for one in names)


def require_truthful(role: str, permissions: frozenset[Permission]) -> None:
    """Raise FormatError unless *permissions* can stand together, and under the name *role*."""
    if permissions and Permission.VIEW not in permissions:
        raise FormatError("a grant allows something without view")
    if permissions - AT_MOST.get(role, ALL):
        raise FormatError(f"a grant allows more than role '{role}' ever does")


def _lineage(value: object) -> Lineage | None:
    match value:
        case None:
            return None
        case [
            str() as kind, bytes() as parent, bytes() as digest, bytes() as root,
            int() as revision, bytes() as proof,
        ] if (
            len(parent) == len(root) == PARCEL_ID_SIZE
            and len(digest) == DIGEST_SIZE
            and type(revision) is int
        ):  # fmt: skip
            if (named := _named(Kind, kind)) not in NEEDS:
                raise FormatError("an original has a lineage")
            if revision > MAX_ANCESTORS or len(proof) > MAX_PROOF:
                raise LimitError("the lineage of a parcel is longer than the format allows")
            return Lineage(named, ParcelId(parent), Digest(digest), ParcelId(root), revision, proof)
    raise FormatError("the lineage in the envelope is malformed")


def _named(kinds: type[Names], name: str) -> Names:
    for known in kinds:
        if name == str(known):
            return known
    raise UnsupportedVersionError(
        f"the envelope names a {kinds.__name__.lower()} that is unknown here",
        hint="update medshare, then try again",
    )
