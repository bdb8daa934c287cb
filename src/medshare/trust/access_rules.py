"""The access rules of a station's policy: departments, and who may break the glass.

    [[departments]]
    parcels = "psychiatry"
    open = ["psychiatry", "emergency"]

    [break_glass]
    roles = ["physician", "specialist"]
    least_reason = 20
    overrides = ["department"]

Pure: decoded tables in, values out.  What they mean is in `trust.access`.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from medshare.trust.policy_table import (
    choice_of,
    invalid,
    list_text,
    number_of,
    require_known,
    table_of,
)

MAX_DEPARTMENTS: Final = 256
MAX_NAMES: Final = 64
DEPARTMENT, EXPIRED, WITHDRAWN = "department", "expired", "withdrawn"
OVERRIDABLE: Final = (DEPARTMENT, EXPIRED, WITHDRAWN)
"""Rules that breaking the glass may override, when the policy lists them."""
LEAST_REASON: Final = 15
MAX_REASON: Final = 2000
_MAX_LABEL: Final = 64
_GAPS: Final = re.compile(r"[\W_]+")


def label_of(text: str) -> str:
    """Return *text*, a department or a role, so that spellings of one name are equal.

    `Emergency  Medicine`, `emergency-medicine` and `EMERGENCY_MEDICINE` are one.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _GAPS.sub("-", folded).strip("-")


@dataclass(frozen=True, slots=True)
class DepartmentRule:
    """Which departments open parcels of the department *parcels*."""

    parcels: str
    open: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BreakGlass:
    """Who may override what in an emergency; no role, nobody."""

    roles: tuple[str, ...] = ()
    """Roles of credentials (`physician`, `specialist`), not those that a sender grants."""
    least_reason: int = LEAST_REASON
    """Characters that a reason has at least."""
    overrides: tuple[str, ...] = (DEPARTMENT,)


NOBODY: Final = BreakGlass()


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The access rules of one station."""

    departments: tuple[DepartmentRule, ...] = ()
    break_glass: BreakGlass = NOBODY

    def openers(self, department: str) -> tuple[str, ...] | None:
        """Return who opens parcels of *department*; None where no department is restricted.

        Once there is a rule for any department, one without a rule is opened by itself alone.
        """
        if not self.departments:
            return None
        label = label_of(department)
        return next((one.open for one in self.departments if one.parcels == label), (label,))


UNRESTRICTED: Final = AccessRules()
"""What holds where a policy says nothing: no department is restricted."""


def parse_access(departments: object, break_glass: object) -> AccessRules:
    """Return the rules in two decoded tables, each None where the policy has none.

    Raises PolicyError (`policy.invalid`), naming what is wrong.
    """
    return AccessRules(
        departments=() if departments is None else _departments(departments),
        break_glass=NOBODY if break_glass is None else _break_glass(break_glass),
    )


def _departments(value: object) -> tuple[DepartmentRule, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_DEPARTMENTS:
        raise invalid(f"departments is not a list of 1 to {MAX_DEPARTMENTS} tables")
    rules = tuple(_department(table_of(one, "departments")) for one in value)
    names = [rule.parcels for rule in rules]
    if len(set(names)) != len(names):
        raise invalid("departments has two rules for the parcels of one department")
    return tuple(sorted(rules, key=lambda rule: rule.parcels))


def _department(table: Mapping[str, object]) -> DepartmentRule:
    require_known(table, ("open", "parcels"), "departments")
    parcels = _label(table.get("parcels"), "departments.parcels")
    return DepartmentRule(parcels, _labels(table.get("open"), "departments.open"))


def _break_glass(value: object) -> BreakGlass:
    table, where = table_of(value, "break_glass"), "break_glass"
    require_known(table, ("least_reason", "overrides", "roles"), where)
    least = table.get("least_reason", LEAST_REASON)
    overrides = table.get("overrides", [DEPARTMENT])
    return BreakGlass(
        roles=_labels(table.get("roles"), f"{where}.roles"),
        least_reason=number_of(least, 1, 500, f"{where}.least_reason"),
        overrides=choice_of(overrides, OVERRIDABLE, f"{where}.overrides"),
    )


def _labels(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_NAMES:
        raise invalid(f"{where} is not a list of 1 to {MAX_NAMES} names")
    return tuple(sorted({_label(one, where) for one in value}))


def _label(value: object, where: str) -> str:
    label = label_of(value) if isinstance(value, str) and len(value) <= _MAX_LABEL else ""
    if not 1 <= len(label) <= _MAX_LABEL:
        raise invalid(f"{where} is not a name of 1 to {_MAX_LABEL} characters")
    return label


def access_toml(rules: AccessRules) -> Sequence[str]:
    """Return the lines of a policy file that say *rules*; none where nothing is restricted."""
    lines: list[str] = []
    for one in rules.departments:
        lines += ["", "[[departments]]", f'parcels = "{one.parcels}"']
        lines.append(f"open = {list_text(one.open)}")
    glass = rules.break_glass
    if glass.roles:
        lines += ["", "[break_glass]", f"roles = {list_text(glass.roles)}"]
        lines.append(f"least_reason = {glass.least_reason}")
        lines.append(f"overrides = {list_text(glass.overrides)}")
    return lines
