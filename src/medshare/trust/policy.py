"""The policy of a station: what each sensitivity tier demands of keys, suites and retention.

A tier decides, not the caller: whoever sends or receives names a tier, and what that tier
allows is read here.  Everything that is refused raises PolicyError with a code that says
which rule: `policy.tier`, `policy.keystore`, `policy.suite`, `policy.retention`,
`policy.uses`, or `policy.invalid` for a policy that is no policy.

Pure: a table that was decoded from TOML in, values out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from medshare.suites import SUITE_NAMES
from medshare.trust.access_rules import UNRESTRICTED, AccessRules, access_toml, parse_access
from medshare.trust.policy_table import (
    choice_of,
    invalid,
    list_text,
    number_of,
    one_of,
    refused,
    require_known,
    span_of,
    span_text,
    table_of,
)
from medshare.trust.roles import ONLY_BUILT_IN, Roles, parse_roles, roles_toml

VERSION: Final = 1
KEYSTORES: Final = ("file", "keyring", "pkcs11")
"""Kinds of keystores that a tier may allow."""
MAX_TIERS: Final = 16
OUTPATIENT: Final = 15 * 365 * 86400
INPATIENT: Final = 30 * 365 * 86400
"""Seconds for which the law asks to keep the records of outpatients, and of inpatients."""
MAX_USES: Final = 1 << 32
"""Keys that one KEK may wrap at most: a bound for any cipher with random nonces of 96 bits
(NIST SP 800-38D §8.3), kept to also by AES key wrap, which needs none."""

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
RESERVED: Final = ("all", "identity")
"""Words that name other keys where a tier could be named."""
_FOREVER: Final = "forever"
_KEYS: Final = (
    "break_glass",
    "departments",
    "identity",
    "mixed_suites",
    "record",
    "roles",
    "tiers",
    "version",
)
_TIER_KEYS: Final = (
    "default_role",
    "grants",
    "keep_for",
    "keystores",
    "max_uses",
    "reader",
    "require",
    "rotate_after",
    "sender",
    "suites",
)


class Mixed(StrEnum):
    """Whether a parcel may be sealed in one suite and wrapped or signed with keys of another."""

    FORBID = "forbid"
    ASK = "ask"
    """Only where the caller names the suite."""
    ALLOW = "allow"


class Require(StrEnum):
    """Who may be sent something."""

    CONTACT = "contact"
    """Whoever is trusted here."""
    LICENSED = "licensed"
    """Only those for whom a trusted authority vouches (`trust.certification`)."""


class Grants(StrEnum):
    """Whether the sender must say what recipients may do."""

    OPTIONAL = "optional"
    """Where nothing is granted, nothing is restricted."""
    REQUIRED = "required"
    """Nothing is sent, or taken, without."""


class Reader(StrEnum):
    """Who may open something at this station."""

    ANYONE = "anyone"
    """Whoever unlocks the station."""
    LICENSED = "licensed"
    """Only where a trusted authority vouches for whose station it is."""


@dataclass(frozen=True, slots=True)
class TierPolicy:
    """What one tier demands; times in seconds, where 0 is never."""

    name: str
    rotate_after: int
    suites: tuple[str, ...] = SUITE_NAMES
    keystores: tuple[str, ...] = KEYSTORES
    keep_for: int = 0
    """How long the far side keeps a parcel when the sender does not say; nobody may say longer."""
    max_uses: int = MAX_USES
    """How many parcel keys one KEK may wrap."""
    require: Require = Require.CONTACT
    """What a recipient must be."""
    sender: Require = Require.CONTACT
    """What a sender must be for something of this tier to be opened here."""
    reader: Reader = Reader.ANYONE
    """What this station must be to open it."""
    grants: Grants = Grants.OPTIONAL
    default_role: str = ""
    """Under which role recipients get something when the sender names none; '' is none."""

    def require_grants(self, *, stated: bool) -> None:
        """Raise PolicyError when this tier demands grants and none are *stated*."""
        if self.grants is Grants.REQUIRED and not stated:
            raise refused(
                f"tier '{self.name}' is allowed only with a grant for each recipient",
                "grants",
                hint="name a role: medshare send PATH --to NAME --role consultant",
            )

    def require_keystore(self, backend: str) -> None:
        """Raise PolicyError unless this tier's keys may lie in a keystore of kind *backend*."""
        if backend not in self.keystores:
            raise refused(
                f"tier '{self.name}' is allowed with keys in {_either(self.keystores)} only, and "
                f"this station's are in '{backend}'",
                "keystore",
                hint="use a station whose keystore is allowed, or another tier",
            )

    def allowed_suites(self, asked: frozenset[str]) -> frozenset[str]:
        """Return those of *asked* that this tier allows; raise PolicyError if there are none."""
        found = asked & frozenset(self.suites)
        if not found:
            raise refused(
                f"tier '{self.name}' is allowed in suite {_either(self.suites)} only, not in "
                f"{_either(sorted(asked))}",
                "suite",
                hint="leave --suite away, and let the tier decide",
            )
        return found

    def retention(self, asked: int) -> int:
        """Return for how many seconds the far side keeps a parcel; *asked* is 0 for no wish.

        Raises PolicyError when *asked* is longer than this tier allows.
        """
        if self.keep_for and asked > self.keep_for:
            raise refused(
                f"tier '{self.name}' is kept for {span_text(self.keep_for)} at most, not for "
                f"{span_text(asked)}",
                "retention",
                hint="ask for a shorter time, or leave --delete-after away",
            )
        return asked or self.keep_for

    def due_at(self, created: int) -> int | None:
        """Return when a key made at *created* is to be replaced, or None for never."""
        return created + self.rotate_after if self.rotate_after else None

    def require_uses(self, label: str, uses: int) -> None:
        """Raise PolicyError when KEK *label* would have wrapped more than it may, with *uses*."""
        if uses > self.max_uses:
            raise refused(
                f"key '{label}' may wrap {self.max_uses:,} parcel keys, and is used up",
                "uses",
                hint=f"medshare rotate-key --tier {self.name}",
            )


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one station."""

    tiers: tuple[TierPolicy, ...]
    identity_rotate_after: int
    """Seconds after which identity keys are to be replaced; 0 is never."""
    mixed: Mixed = Mixed.ASK
    access: AccessRules = UNRESTRICTED
    roles: Roles = ONLY_BUILT_IN
    keep_record: int = INPATIENT
    """Seconds for which entries of the record are kept at least."""

    def tier(self, name: str) -> TierPolicy:
        """Return the tier called *name*; raise PolicyError when there is none."""
        for one in self.tiers:
            if one.name == name:
                return one
        names = ", ".join(one.name for one in self.tiers)
        raise refused(
            f"the policy here knows no tier '{name}'", "tier", hint=f"its tiers are {names}"
        )

    def find(self, name: str) -> TierPolicy | None:
        """Return the tier called *name*, or None."""
        return next((one for one in self.tiers if one.name == name), None)

    def allows_mixed(self, asked: bool) -> bool:  # noqa: FBT001  # named where it is called
        """Tell whether suites may be mixed, given whether the caller *asked* for that."""
        return self.mixed is Mixed.ALLOW or (asked and self.mixed is Mixed.ASK)

    def identity_due_at(self, created: int) -> int | None:
        """Return when identity keys made at *created* are to be replaced, or None for never."""
        return created + self.identity_rotate_after if self.identity_rotate_after else None


BUILT_IN: Final = Policy(
    tiers=(
        TierPolicy("routine", rotate_after=365 * 86400),
        TierPolicy("sensitive", rotate_after=180 * 86400),
        TierPolicy("restricted", rotate_after=90 * 86400),
    ),
    identity_rotate_after=2 * 365 * 86400,
)
"""The policy where there is no file: three tiers that differ in how often keys are replaced."""


def parse_policy(table: Mapping[str, object]) -> Policy:
    """Return the policy in *table*, a decoded TOML document; what it leaves out is built in.

    Raises PolicyError (`policy.invalid`) for an unknown key, a value of another kind or out
    of bounds, naming it.
    """
    require_known(table, _KEYS, "the policy")
    if type(table.get("version")) is not int or table["version"] != VERSION:
        raise invalid(f"version is not {VERSION}; the file begins with: version = {VERSION}")
    identity = table_of(table.get("identity", {}), "identity")
    require_known(identity, ("rotate_after",), "identity")
    roles = parse_roles(table.get("roles"))
    return Policy(
        tiers=_tiers(table.get("tiers"), roles),
        identity_rotate_after=span_of(
            identity, "rotate_after", BUILT_IN.identity_rotate_after, "identity"
        ),
        mixed=one_of(table.get("mixed_suites", str(Mixed.ASK)), Mixed, "mixed_suites"),
        access=parse_access(table.get("departments"), table.get("break_glass")),
        roles=roles,
        keep_record=_keep_record(table.get("record", {})),
    )


def _keep_record(value: object) -> int:
    table = table_of(value, "record")
    require_known(table, ("keep_for",), "record")
    kept = span_of(table, "keep_for", INPATIENT, "record")
    if kept < OUTPATIENT:
        raise invalid("record.keep_for is less than 15 years, which the law asks for")
    return kept


def _tiers(value: object, roles: Roles) -> tuple[TierPolicy, ...]:
    if value is None:
        return BUILT_IN.tiers
    table = table_of(value, "tiers")
    if not 1 <= len(table) <= MAX_TIERS:
        raise invalid(f"there are 1 to {MAX_TIERS} tiers")
    return tuple(_tier(name, entry, roles) for name, entry in table.items())


def _tier(name: str, value: object, roles: Roles) -> TierPolicy:
    if not _NAME.fullmatch(name):
        raise invalid("the name of a tier has 1 to 32 of a-z, 0-9 and, in between, '-'")
    if name in RESERVED:
        raise invalid(f"a tier cannot be called '{name}'")
    where = f"tiers.{name}"
    table = table_of(value, where)
    require_known(table, _TIER_KEYS, where)
    if "rotate_after" not in table:
        raise invalid(f"{where} does not say rotate_after")
    return TierPolicy(
        name=name,
        rotate_after=span_of(table, "rotate_after", 0, where),
        suites=choice_of(table.get("suites", list(SUITE_NAMES)), SUITE_NAMES, f"{where}.suites"),
        keystores=choice_of(
            table.get("keystores", list(KEYSTORES)), KEYSTORES, f"{where}.keystores"
        ),
        keep_for=span_of(table, "keep_for", 0, where, zero=_FOREVER),
        max_uses=number_of(table.get("max_uses", MAX_USES), 1, MAX_USES, f"{where}.max_uses"),
        require=one_of(table.get("require", Require.CONTACT), Require, f"{where}.require"),
        sender=one_of(table.get("sender", Require.CONTACT), Require, f"{where}.sender"),
        reader=one_of(table.get("reader", Reader.ANYONE), Reader, f"{where}.reader"),
        grants=one_of(table.get("grants", Grants.OPTIONAL), Grants, f"{where}.grants"),
        default_role=_role(table.get("default_role", ""), roles, f"{where}.default_role"),
    )


def _role(value: object, roles: Roles, where: str) -> str:
    if not isinstance(value, str) or (value and roles.find(value) is None):
        raise invalid(f"{where} is not a role; there are {', '.join(sorted(roles.all))}")
    return value


def _either(names: Sequence[str]) -> str:
    return " or ".join(f"'{name}'" for name in names)


def to_toml(policy: Policy) -> str:
    """Return *policy* as a policy file that says everything."""
    lines = [
        f"version = {VERSION}",
        f'mixed_suites = "{policy.mixed}"',
        "",
        "[identity]",
        f'rotate_after = "{span_text(policy.identity_rotate_after)}"',
        "",
        "[record]",
        f'keep_for = "{span_text(policy.keep_record)}"',
    ]
    for tier in policy.tiers:
        lines += [
            "",
            f"[tiers.{tier.name}]",
            f'rotate_after = "{span_text(tier.rotate_after)}"',
            f"suites = {list_text(tier.suites)}",
            f"keystores = {list_text(tier.keystores)}",
            f'keep_for = "{span_text(tier.keep_for, zero=_FOREVER)}"',
            f"max_uses = {tier.max_uses}",
            f'require = "{tier.require}"',
            f'sender = "{tier.sender}"',
            f'reader = "{tier.reader}"',
            f'grants = "{tier.grants}"',
            f'default_role = "{tier.default_role}"',
        ]
    return "\n".join([*lines, *roles_toml(policy.roles), *access_toml(policy.access), ""])
