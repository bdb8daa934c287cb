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
from typing import Final, TypeVar

from medshare.errors import PolicyError
from medshare.suites import SUITE_NAMES

Kind = TypeVar("Kind", bound=StrEnum)

VERSION: Final = 1
KEYSTORES: Final = ("file", "keyring", "pkcs11")
"""Kinds of keystores that a tier may allow."""
MAX_TIERS: Final = 16
MAX_USES: Final = 1 << 32
"""Keys that one KEK may wrap at most: a bound for any cipher with random nonces of 96 bits
(NIST SP 800-38D §8.3), kept to also by AES key wrap, which needs none."""
MAX_SPAN: Final = 100 * 365 * 86400

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
RESERVED: Final = ("all", "identity")
"""Words that name other keys where a tier could be named."""
_SPAN: Final = re.compile(r"([1-9][0-9]{0,9})([smhdwy])")
_SECONDS: Final = {"y": 365 * 86400, "w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}
_NEVER, _FOREVER = "never", "forever"
_TIER_KEYS: Final = ("keep_for", "keystores", "max_uses", "require", "rotate_after", "suites")


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

    def require_keystore(self, backend: str) -> None:
        """Raise PolicyError unless this tier's keys may lie in a keystore of kind *backend*."""
        if backend not in self.keystores:
            raise _refused(
                f"tier '{self.name}' is allowed with keys in {_either(self.keystores)} only, and "
                f"this station's are in '{backend}'",
                "keystore",
                hint="use a station whose keystore is allowed, or another tier",
            )

    def allowed_suites(self, asked: frozenset[str]) -> frozenset[str]:
        """Return those of *asked* that this tier allows; raise PolicyError if there are none."""
        found = asked & frozenset(self.suites)
        if not found:
            raise _refused(
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
            raise _refused(
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
            raise _refused(
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

    def tier(self, name: str) -> TierPolicy:
        """Return the tier called *name*; raise PolicyError when there is none."""
        for one in self.tiers:
            if one.name == name:
                return one
        names = ", ".join(one.name for one in self.tiers)
        raise _refused(
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
    _known(table, ("identity", "mixed_suites", "tiers", "version"), "the policy")
    if type(table.get("version")) is not int or table["version"] != VERSION:
        raise _invalid(f"version is not {VERSION}")
    identity = _table(table.get("identity", {}), "identity")
    _known(identity, ("rotate_after",), "identity")
    return Policy(
        tiers=_tiers(table.get("tiers")),
        identity_rotate_after=_span(identity, "rotate_after", BUILT_IN.identity_rotate_after),
        mixed=_one_of(table.get("mixed_suites", str(Mixed.ASK)), Mixed, "mixed_suites"),
    )


def _tiers(value: object) -> tuple[TierPolicy, ...]:
    if value is None:
        return BUILT_IN.tiers
    table = _table(value, "tiers")
    if not 1 <= len(table) <= MAX_TIERS:
        raise _invalid(f"there are 1 to {MAX_TIERS} tiers")
    return tuple(_tier(name, entry) for name, entry in table.items())


def _tier(name: str, value: object) -> TierPolicy:
    if not _NAME.fullmatch(name):
        raise _invalid("the name of a tier has 1 to 32 of a-z, 0-9 and, in between, '-'")
    if name in RESERVED:
        raise _invalid(f"a tier cannot be called '{name}'")
    where = f"tiers.{name}"
    table = _table(value, where)
    _known(table, _TIER_KEYS, where)
    if "rotate_after" not in table:
        raise _invalid(f"{where} does not say rotate_after")
    uses = table.get("max_uses", MAX_USES)
    if type(uses) is not int or not 1 <= uses <= MAX_USES:
        raise _invalid(f"{where}.max_uses is not a number from 1 to {MAX_USES}")
    return TierPolicy(
        name=name,
        rotate_after=_span(table, "rotate_after", 0, where),
        suites=_choice(table.get("suites", list(SUITE_NAMES)), SUITE_NAMES, f"{where}.suites"),
        keystores=_choice(table.get("keystores", list(KEYSTORES)), KEYSTORES, f"{where}.keystores"),
        keep_for=_span(table, "keep_for", 0, where, zero=_FOREVER),
        max_uses=uses,
        require=_one_of(table.get("require", Require.CONTACT), Require, f"{where}.require"),
    )


def _choice(value: object, known: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the names in *value*, in the order of *known*, so that equal rules are equal."""
    if not isinstance(value, list) or not value or len(value) > len(known):
        raise _invalid(f"{where} is not a list of one or more of {', '.join(known)}")
    for name in value:
        if name not in known or value.count(name) > 1:
            raise _invalid(
                f"{where} names something other than {', '.join(known)}, or names it twice"
            )
    return tuple(name for name in known if name in value)


def _one_of(value: object, kinds: type[Kind], where: str) -> Kind:
    for known in kinds:
        if value == str(known):
            return known
    raise _invalid(f"{where} is not one of {', '.join(kinds)}")


def _span(
    table: Mapping[str, object],
    key: str,
    default: int,
    where: str = "identity",
    *,
    zero: str = _NEVER,
) -> int:
    value = table.get(key)
    if value is None:
        return default
    seconds = parse_span(value, zero=zero) if isinstance(value, str) else None
    if seconds is None:
        raise _invalid(f'{where}.{key} is not a time such as "12h", "90d", "2y", or "{zero}"')
    return seconds


def parse_span(text: str, *, zero: str = _NEVER) -> int | None:
    """Return the seconds that *text* states (`90d`, `2y`), 0 for *zero*, None if it is neither."""
    if text == zero:
        return 0
    match = _SPAN.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    return seconds if 0 < seconds <= MAX_SPAN else None


def span_text(seconds: int, *, zero: str = _NEVER) -> str:
    """Return *seconds* as `parse_span` reads it, in the largest unit that fits."""
    if not seconds:
        return zero
    unit = next(unit for unit, size in _SECONDS.items() if seconds % size == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"


def _table(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _invalid(f"{where} is not a table")
    return value


def _known(table: Mapping[str, object], keys: Sequence[str], where: str) -> None:
    unknown = sorted(set(table) - set(keys))
    if unknown:
        shown = "".join(c if c.isascii() and c.isprintable() else "?" for c in unknown[0][:40])
        raise _invalid(
            f"{where} has a setting that is unknown here: {shown}; known: {', '.join(keys)}"
        )


def _either(names: Sequence[str]) -> str:
    return " or ".join(f"'{name}'" for name in names)


def _invalid(problem: str) -> PolicyError:
    return _refused(
        f"the policy is not valid: {problem}", "invalid", hint="medshare policy check FILE"
    )


def _refused(message: str, rule: str, *, hint: str) -> PolicyError:
    return PolicyError(message, hint=hint, code=f"policy.{rule}")


def to_toml(policy: Policy) -> str:
    """Return *policy* as a policy file that says everything."""
    lines = [
        f"version = {VERSION}",
        f'mixed_suites = "{policy.mixed}"',
        "",
        "[identity]",
        f'rotate_after = "{span_text(policy.identity_rotate_after)}"',
    ]
    for tier in policy.tiers:
        lines += [
            "",
            f"[tiers.{tier.name}]",
            f'rotate_after = "{span_text(tier.rotate_after)}"',
            f"suites = {_toml_list(tier.suites)}",
            f"keystores = {_toml_list(tier.keystores)}",
            f'keep_for = "{span_text(tier.keep_for, zero=_FOREVER)}"',
            f"max_uses = {tier.max_uses}",
            f'require = "{tier.require}"',
        ]
    return "\n".join([*lines, ""])


def _toml_list(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
