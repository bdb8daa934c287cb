"""Roles under which a station grants: the built-in ones, and those of its policy.

    [roles.registrar]
    permissions = ["view", "annotate"]

A built-in name may be given fewer permissions than it has, never more.

Pure: decoded tables in, values out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from medshare.errors import FormatError
from medshare.grant import BUILT_IN, NOTHING, Permission, require_truthful
from medshare.trust.policy_table import choice_of, invalid, list_text, require_known, table_of

MAX_ROLES: Final = 64
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of one station."""

    own: tuple[tuple[str, frozenset[Permission]], ...] = ()
    """Those that its policy states, by name."""

    @property
    def all(self) -> Mapping[str, frozenset[Permission]]:
        """Every role with what it may do."""
        return dict(BUILT_IN) | dict(self.own)

    def find(self, name: str) -> frozenset[Permission] | None:
        """Return what the role *name* may do, None where there is no such role."""
        return self.all.get(name)


ONLY_BUILT_IN: Final = Roles()


def parse_roles(value: object) -> Roles:
    """Return the roles in a decoded table, None where the policy has none.

    Raises PolicyError (`policy.invalid`), naming what is wrong.
    """
    if value is None:
        return ONLY_BUILT_IN
    table = table_of(value, "roles")
    if len(table) > MAX_ROLES:
        raise invalid(f"there are more than {MAX_ROLES} roles")
    return Roles(tuple(sorted((name, _permissions(name, one)) for name, one in table.items())))


def _permissions(name: str, value: object) -> frozenset[Permission]:
    if not _NAME.fullmatch(name):
        raise invalid("the name of a role has 1 to 32 of a-z, 0-9 and, in between, '-'")
    where = f"roles.{name}"
    table = table_of(value, where)
    require_known(table, ("permissions",), where)
    listed = table.get("permissions")
    known = [str(one) for one in Permission]
    found = NOTHING
    if listed != []:
        found = frozenset(map(Permission, choice_of(listed, known, f"{where}.permissions")))
    try:
        require_truthful(name, found)
    except FormatError as error:
        raise invalid(f"{where}: {error.message}") from error
    return found


def roles_toml(roles: Roles) -> list[str]:
    """Return the lines of a policy file that say *roles*; none where only built-in ones are."""
    lines: list[str] = []
    for name, permissions in roles.own:
        listed = [str(one) for one in Permission if one in permissions]
        lines += ["", f"[roles.{name}]", f"permissions = {list_text(listed)}"]
    return lines
