"""Decisions, emergencies, and what is looked at in memory: for people, and for programs."""

from typing import TYPE_CHECKING, Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medshare.commands import text
from medshare.commands.views import BAD, GOOD, OPEN, QUIET, facts, headline
from medshare.trust.access import Decision, Verdict

if TYPE_CHECKING:
    from medshare.sharing.viewing import Viewing
    from medshare.viewing.contents import Shown

Record = dict[str, Any]
_MARKS: Final = {
    Verdict.PASSED: ("✓", GOOD),
    Verdict.REFUSED: ("✗", BAD),
    Verdict.OVERRIDDEN: ("!", OPEN),
    Verdict.SILENT: ("·", QUIET),
}
_MAX_LINES: Final = 2000
_FILES: Final = 20


def decision_record(decision: Decision, *, parcel: str, who: str) -> Record:
    """Return a decision as programs read it, rule by rule."""
    return {
        "event": "decision",
        "parcel": parcel,
        "who": who,
        "act": str(decision.act),
        "allowed": decision.allowed,
        "rule": None if decision.rule is None else str(decision.rule),
        "break_glass": [str(rule) for rule in decision.overridden],
        "rules": [
            {
                "rule": str(one.rule),
                "verdict": str(one.verdict),
                "reason": one.sentence,
                "hint": one.hint or None,
            }
            for one in decision.findings
        ],
    }


def decision(found: Decision, *, parcel: str, who: str, known: str) -> Group:
    """Return a decision as a security officer reads it: the answer, then every rule."""
    verb = "may" if found.allowed else "may not"
    style = (GOOD if found.allowed else BAD) if not found.overridden else OPEN
    mark = "✓" if found.allowed else "✗"
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style=QUIET)
    table.add_column(overflow="fold")
    for one in found.findings:
        sign, colour = _MARKS[one.verdict]
        table.add_row(
            Text(f"  {sign}", style=colour),
            str(one.rule),
            str(one.verdict),
            text.visible(one.sentence, limit=1000),
        )
    hints = dict.fromkeys(one.hint for one in found.refusals if one.hint)
    return Group(
        headline(mark, style, f"{text.visible(who)} {verb} {found.act} parcel {parcel[:12]}"),
        table,
        facts([("who", known), *(("what to do", text.visible(one, limit=1000)) for one in hints)]),
    )


def viewing_record(found: "Viewing", url: str, seconds: int) -> Record:
    """Return what `view` opens, as programs read it."""
    return {
        "event": "viewing",
        "parcel": found.parcel.hex(),
        "sender": found.sender.name,
        "url": url,
        "seconds": seconds,
        "note": found.note,
        "files": [{"path": one.path, "size": one.size} for one in found.files],
    }


def viewing(found: "Viewing", url: str, seconds: int) -> Group:
    """Return what `view` opens, and where it can be looked at."""
    names = [f"{text.visible(one.path)} ({text.size(one.size)})" for one in found.files[:_FILES]]
    more = len(found.files) - _FILES
    rows = [("file", name) for name in names]
    if more > 0:
        rows.append(("", text.count(more, "more file")))
    return Group(
        headline("✓", GOOD, f"from {text.visible(found.sender.name)}, in memory only"),
        facts(
            [
                ("note", text.visible(found.note)),
                *rows,
                ("page", url),
                ("open", f"for {text.span(seconds)}, on this machine alone; Ctrl-C ends it"),
            ]
        ),
    )


def content(shown: "Shown") -> RenderableType:
    """Return what a terminal shows of a file; nothing in it can move the cursor."""
    lines = shown.text.splitlines()
    body = [Text(text.visible(line, limit=1000)) for line in lines[:_MAX_LINES]]
    if len(lines) > _MAX_LINES:
        body.append(Text(f"… {text.count(len(lines) - _MAX_LINES, 'more line')}", style=QUIET))
    rows = facts((text.visible(name), text.visible(value)) for name, value in shown.rows)
    remarks = [shown.problem] if shown.problem else []
    if shown.pictures or str(shown.kind) in {"pdf", "other"}:
        remarks.append(f"a terminal shows no more of this ({shown.media_type}): leave FILE away")
    return Group(*body, rows, *(Text(one, style=OPEN) for one in remarks))
