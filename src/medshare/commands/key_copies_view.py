"""Backups of keys that are known: as people read them, and as programs do."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from medshare.commands import text
from medshare.commands.views import BAD, GOOD, OPEN, facts, headline
from medshare.station.backups import KnownBackup


def record(found: Sequence[KnownBackup]) -> dict[str, Any]:
    """Return the record of all backups that are known."""
    return {
        "event": "key_backups",
        "backups": [
            {
                "backup": one.id,
                "created": one.created,
                "note": one.note,
                "stale": list(one.stale),
                "lacks": list(one.lacks),
            }
            for one in found
        ],
    }


def listing(found: Sequence[KnownBackup]) -> Group:
    """Return each backup, with what is wrong with it."""
    stale = [one for one in found if one.stale]
    if not found:
        line = headline("●", OPEN, "no backup of the keys was made here")
        return Group(line, facts([("next", "medshare keys backup --help")]))
    if stale:
        sentence = f"{text.count(len(stale), 'backup')} with keys that should be gone"
        line = headline("✗", BAD, f"{sentence}: destroy what is named below")
    else:
        line = headline("✓", GOOD, f"{text.count(len(found), 'backup')} made here")
    lines: list[RenderableType] = [line]
    for one in found:
        lines.append(Text(f"  {one.id}  {text.moment(one.created)}"))
        rows = [
            ("for", text.visible(one.note)),
            ("still holds", ", ".join(one.stale)),
            ("lacks", ", ".join(one.lacks)),
            ("then", f"medshare keys backups --destroyed {one.id[:8]}" if one.stale else ""),
        ]
        lines.append(facts(rows))
    return Group(*lines)


def warning(stale: Sequence[KnownBackup]) -> list[tuple[str, str]]:
    """Return the rows to show where keys were destroyed: backups from before have them still."""
    if not stale:
        return []
    held = f"{text.count(len(stale), 'backup')} from before still hold these keys"
    return [("backups", f"{held}: medshare keys backups")]
