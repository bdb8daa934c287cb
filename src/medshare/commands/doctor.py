"""`medshare doctor`: what should be mended on this machine, and how."""

from typing import TYPE_CHECKING, Any

import click

from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.errors import UnhealthyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from medshare.commands.checks import Finding


@click.command(
    epilog=examples(
        """
        medshare doctor
        medshare doctor --strict --quiet     # for monitoring: exit code 8 and one line if not well
        medshare doctor --json
        """
    )
)
@click.option("--strict", is_flag=True, help="Let warnings count as failures.")
@output_options
def doctor(strict: bool, mode: Mode) -> None:
    """Look at permissions, places, policy, keys, clock, swap, core dumps and libraries.

    Nothing is changed, and no passphrase is needed. The exit code is 8 when something must
    be mended.
    """
    from medshare.commands.checks import Level, examine

    found = examine()
    grave = {Level.BAD, Level.WARN} if strict else {Level.BAD}
    bad = [one for one in found if one.level in grave]
    with choose(mode) as out:
        out.result(_record(found, healthy=not bad), lambda: _view(found))
    if bad:
        raise UnhealthyError(
            f"{len(bad)} of {len(found)} checks call for something to be mended: {bad[0].message}",
            hint=bad[0].hint or None,
        )


def _record(found: "Sequence[Finding]", *, healthy: bool) -> dict[str, Any]:
    return {
        "event": "examined",
        "healthy": healthy,
        "findings": [
            {
                "check": one.check,
                "level": str(one.level),
                "message": one.message,
                "hint": one.hint or None,
            }
            for one in found
        ],
    }


def _view(found: "Sequence[Finding]") -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    from medshare.commands import text
    from medshare.commands.views import BAD, GOOD, OPEN, QUIET

    marks = {"good": ("✓", GOOD), "note": ("·", QUIET), "warn": ("!", OPEN), "bad": ("✗", BAD)}
    lines: list[RenderableType] = []
    for one in found:
        mark, style = marks[str(one.level)]
        words = text.visible(one.message, limit=1000)
        lines.append(Text.assemble((f"{mark} ", style), f"{one.check}: {words}"))
        if one.hint:
            lines.append(Text(f"    {text.visible(one.hint, limit=1000)}", style=QUIET))
    return Group(*lines)
