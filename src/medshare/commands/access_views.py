"""Decisions, emergencies, and what is looked at in memory: for people, and for programs."""

from typing import TYPE_CHECKING, Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medshare.commands import text
from medshare.commands.views import BAD, GOOD, OPEN, QUIET, facts, headline, path
from medshare.trust.access import Decision, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from medshare.audit.review import Review
    from medshare.ids import StationId
    from medshare.sharing.reviewing import Broken, Handed
    from medshare.sharing.viewing import Viewing
    from medshare.station.emergencies import Emergency
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


def emergencies_record(found: "Sequence[Broken]") -> Record:
    """Return emergencies as programs read them."""
    return {"event": "emergencies", "emergencies": [_emergency_record(one) for one in found]}


def _emergency_record(one: "Broken") -> Record:
    kept = one.emergency
    return {
        "number": one.entry.number,
        "time": one.entry.time,
        "parcel": one.entry.event.object.id.hex(),
        "role": one.entry.event.role or None,
        "act": None if kept is None else str(kept.act),
        "overridden": None if kept is None else list(kept.overridden),
        "reason": None if kept is None else kept.reason,
        "fault": None if one.fault is None else one.fault.code,
        "reviewer": None if one.reviewer is None else one.reviewer.hex(),
        "justified": one.justified,
    }


def emergencies(found: "Sequence[Broken]", names: "Mapping[StationId, str]") -> RenderableType:
    """Return emergencies as people read them, each with its reason."""
    if not found:
        return Text("no emergency awaits review", style=QUIET)
    return Group(*(_emergency(one, names) for one in found))


def _emergency(one: "Broken", names: "Mapping[StationId, str]") -> Group:
    when, parcel = text.moment(one.entry.time), one.entry.event.object.id.hex()[:12]
    rows = _reason_rows(one.emergency)
    if one.fault is not None:
        rows.append(("reason", text.visible(one.fault.message)))
    if one.reviewer is None:
        rows.append(("next", f"medshare policy review {one.entry.number} --output FILE"))
    else:
        name = text.visible(names.get(one.reviewer, one.reviewer.hex()[:12]))
        found = "justified" if one.justified else "not justified"
        rows.append(("reviewed", f"by {name}: {found}"))
    style = GOOD if one.justified else BAD
    return Group(
        headline("!", style, f"entry {one.entry.number}: the glass was broken, {when}"),
        facts([("parcel", parcel), *rows]),
    )


def _reason_rows(kept: "Emergency | None") -> list[tuple[str, str]]:
    if kept is None:
        return []
    return [
        ("to", str(kept.act)),
        ("against", ", ".join(text.visible(rule) for rule in kept.overridden)),
        ("reason", text.visible(kept.reason, limit=2000)),
    ]


def handed_over(number: int, output: "Path") -> Group:
    """Return that an emergency was written, and what comes next."""
    return Group(
        headline("✓", GOOD, f"emergency {number}, its reason and its proof: {path(output)}"),
        facts([("next", f"at the reviewer's station: medshare policy judge {path(output)}")]),
    )


def handed_record(handed: "Handed", finding: str | None) -> Record:
    """Return an emergency of somebody else as programs read it."""
    return {
        "event": "emergency",
        "of": handed.of.name,
        "number": handed.entry.number,
        "time": handed.entry.time,
        "parcel": handed.emergency.parcel.hex(),
        "act": str(handed.emergency.act),
        "overridden": list(handed.emergency.overridden),
        "reason": handed.emergency.reason,
        "finding": finding,
    }


def handed(found: "Handed", finding: str | None, output: "Path | None") -> Group:
    """Return an emergency of somebody else, and the review that was signed."""
    name, when = text.visible(found.of.name), text.moment(found.entry.time)
    following = "medshare policy judge FILE --finding justified --output FILE"
    if finding is not None and output is not None:
        following = f"give {path(output)} back to {name}: medshare policy reviewed FILE"
    return Group(
        headline("!", BAD, f"{name} broke the glass, {when}; it is in the record of {name}"),
        facts(
            [
                ("parcel", found.emergency.parcel.hex()[:12]),
                *_reason_rows(found.emergency),
                ("finding", finding or ""),
                ("next", following),
            ]
        ),
    )


def reviewed(review: "Review", reviewer: str, *, new: bool) -> Group:
    """Return that an emergency was reviewed, just now when it is *new*."""
    good = str(review.finding) == "justified"
    said = "was reviewed" if new else "was reviewed already"
    line = f"emergency {review.number} {said} by {text.visible(reviewer)}: {review.finding}"
    return Group(headline("✓" if good else "✗", GOOD if good else BAD, line))
