"""Revocations: a station declares that keys it had are not to be trusted any more (format §10.6).

A revocation stands in the generation of the card that follows the revoked ones, so it is
signed by the new keys and by the last of the old ones, and nobody can show the new card
without it.  It covers every generation up to one, because keys that lie in one keystore are
lost together.

What is signed with revoked keys states its own time, and whoever has the keys can state any.
So the time alone excuses nothing: only what was accepted before the revocation was known, and
was made before the keys were lost, is still believed.
"""

import re
from dataclasses import dataclass
from typing import Final

from medshare import canonical
from medshare.canonical import Fields
from medshare.errors import FormatError

EXTENSION: Final = "revoked"
"""The key in the field `extra` of a generation."""
MAX_REASON: Final = 32
COMPROMISED: Final = "compromised"
_REASON: Final = re.compile(rf"[a-z](?:[a-z-]{{0,{MAX_REASON - 2}}}[a-z])?")
_WHAT: Final = "a revocation"


@dataclass(frozen=True, slots=True)
class Revocation:
    """No generation up to *through* is to be trusted since *since*, in seconds since 1970 UTC."""

    through: int
    since: int
    reason: str = COMPROMISED

    def to_value(self) -> dict[str, canonical.Value]:
        """Return what stands in the card."""
        return {"reason": self.reason, "since": self.since, "through": self.through}

    def excuses(self, *, made: int, known_before: bool) -> bool:
        """Tell whether something signed with a covered key is still to be believed.

        *made* is when it claims to have been made; *known_before* says that it was accepted
        here before the revocation was known.
        """
        return known_before and made < self.since


def parse_revocation(value: object, *, generation: int, created: int) -> Revocation:
    """Return the revocation in *value*, which stands in *generation*, made at *created*.

    Raises FormatError, also when it covers its own generation or begins after it was made.
    """
    fields = Fields(value, what=_WHAT)
    found = Revocation(
        through=fields.uint("through"),
        since=fields.time("since"),
        reason=fields.text("reason", maximum=MAX_REASON),
    )
    fields.finish()
    if not _REASON.fullmatch(found.reason):
        raise FormatError(f"{_WHAT} gives a reason that is no plain word")
    if found.through >= generation:
        raise FormatError(f"{_WHAT} covers the generation that declares it")
    if found.since > created:
        raise FormatError(f"{_WHAT} begins after the generation that declares it was made")
    return found
