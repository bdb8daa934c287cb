"""Entries and audits: as people read them, and as programs do."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medshare.audit.codes import instant
from medshare.audit.entries import Act, Entry, Kind, Outcome, Ref
from medshare.audit.evidence import Source
from medshare.commands import text
from medshare.commands.views import BAD, GOOD, OPEN, QUIET, facts, headline
from medshare.ids import StationId

if TYPE_CHECKING:
    from medshare.audit.administration import Judgement
    from medshare.audit.checkpoint import Checkpoint
    from medshare.record.reader import Audit

Record = dict[str, Any]
Names = Mapping[StationId, str]
_LOUD: Final = frozenset({Act.EMERGENCY})
_SHORT: Final = 12


def count_of(entries: int) -> str:
    """Return `1 entry`, `2,000 entries`."""
    return f"{entries:,} entry" if entries == 1 else f"{entries:,} entries"


def entry_record(entry: Entry) -> Record:
    """Return one entry as programs read it."""
    event = entry.event
    return {
        "event": "entry",
        "number": entry.number,
        "time": entry.time,
        "act": str(event.act),
        "outcome": str(event.outcome),
        "code": event.code or None,
        "actor": {"kind": str(event.actor.kind), "id": event.actor.id.hex()},
        "role": event.role or None,
        "object": {"kind": str(event.object.kind), "id": event.object.id.hex()},
        "tier": event.tier or None,
        "parties": [party.hex() for party in event.parties],
        "details": {
            str(name): value.hex() if isinstance(value, bytes) else value
            for name, value in event.details.items()
        },
    }


def entries_table(found: Sequence[Entry], names: Names) -> RenderableType:
    """Return entries, one a line."""
    if not found:
        return Text("no entry fits", style=QUIET)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", style=QUIET, no_wrap=True)
    table.add_column(no_wrap=True)
    for _ in range(4):
        table.add_column(overflow="fold")
    for entry in found:
        event = entry.event
        style = {Outcome.DONE: "", Outcome.REFUSED: OPEN, Outcome.FAILED: OPEN}[event.outcome]
        what = f"{event.act} {event.outcome}" if event.outcome is not Outcome.DONE else event.act
        table.add_row(
            str(entry.number),
            instant(entry.time),
            Text(str(what), style=BAD if event.act in _LOUD else style),
            _named(event.object, names),
            _named(event.actor, names),
            _remarks(entry, names),
        )
    return table


def _named(ref: Ref, names: Names) -> str:
    if ref.kind is Kind.NOTHING:
        return ""
    known = names.get(StationId(ref.id))
    if known is not None:
        return text.visible(known)
    return f"{ref.kind} {ref.id.hex()[:_SHORT]}".strip()


def _remarks(entry: Entry, names: Names) -> str:
    event = entry.event
    parties = ", ".join(_named(Ref(Kind.STATION, party), names) for party in event.parties)
    details = [
        f"{name} {value.hex()[:_SHORT] if isinstance(value, bytes) else value}"
        for name, value in event.details.items()
    ]
    with_parties = f"with {parties}" if parties else ""
    return ", ".join(filter(None, [event.code, event.tier, event.role, with_parties, *details]))


def shown_record(origin: str, size: int, point: "Checkpoint | None", found: int) -> Record:
    """Return what stands before the entries that `audit show` lists."""
    return {
        "event": "record",
        "origin": origin,
        "entries": size,
        "signed": 0 if point is None else point.size,
        "root": None if point is None else point.root.hex(),
        "shown": found,
    }


def shown(record: Record, table: RenderableType) -> Group:
    """Return the entries that `audit show` lists, and the state of the record."""
    unsigned = record["entries"] - record["signed"]
    line = count_of(record["entries"])
    signed = f"signed up to {record['signed']:,}" if record["signed"] else "not signed yet"
    return Group(
        table,
        Text(""),
        Text(f"{line}, {signed}" + (f", {unsigned:,} not signed yet" if unsigned else "")),
    )


def audit_record(audit: "Audit", origin: str) -> Record:
    """Return what an audit found, as programs read it."""
    report = audit.report
    agreed = [one.source for one in report.agreed]
    return {
        "event": "audited",
        "origin": origin,
        "entries": report.size,
        "first_kept": report.first,
        "root": report.root.hex(),
        "last_time": report.last_time,
        "checkpoints": audit.checkpoints,
        "revoked_checkpoints": audit.revoked,
        "receipts": agreed.count(Source.RECEIPT),
        "seals": agreed.count(Source.SEAL),
        "witnessed": agreed.count(Source.WITNESS),
        "given": agreed.count(Source.GIVEN),
        "unsigned": report.unsigned,
        "findings": [
            {
                "fault": str(one.fault),
                "code": one.code,
                "first": one.first,
                "last": one.last,
                "message": one.sentence,
            }
            for one in audit.findings
        ],
    }


def audited(record: Record) -> Group:
    """Return what an audit found, as people read it."""
    findings = record["findings"]
    count = count_of(record["entries"])
    if findings:
        line = headline("✗", BAD, f"the record was tampered with: {findings[0]['message']}")
    else:
        line = headline("✓", GOOD, f"{count}, none altered, removed or moved")
    outside = [
        text.count(record[key], word)
        for key, word in (
            ("receipts", "receipt"),
            ("seals", "seal"),
            ("witnessed", "cosignature"),
            ("given", "checkpoint given"),
        )
        if record[key]
    ]
    rows = [
        ("record", record["origin"]),
        ("root", record["root"]),
        ("checkpoints", f"{record['checkpoints']:,} agree" if record["checkpoints"] else "none"),
        ("outside", f"{', '.join(outside)} agree" if outside else "nothing speaks about it"),
        ("not signed", count_of(record["unsigned"]) if record["unsigned"] else ""),
    ]
    rows += [("fault", f"{one['fault']}: {one['message']}") for one in findings]
    return Group(line, facts(rows))


def administration_record(judgement: "Judgement") -> Record:
    """Return whether administrative acts had their quorum, as programs read it."""
    return {
        "governed_from": judgement.governed_from,
        "approved_acts": judgement.approved,
        "objections": [
            {"entry": one.entry, "act": str(one.act), "message": one.sentence}
            for one in judgement.objections
        ],
    }


def administration_text(judgement: "Judgement") -> RenderableType:
    """Return whether administrative acts had their quorum, as people read it."""
    if judgement.governed_from is None:
        return headline("●", OPEN, "nobody was named to administer this relay: no act needs more")
    acts = text.count(judgement.approved, "administrative act")
    rows = [("since", f"entry {judgement.governed_from}")]
    rows += [("lacks", f"entry {o.entry} ({o.act}): {o.sentence}") for o in judgement.objections]
    if judgement.objections:
        many = text.count(len(judgement.objections), "administrative act")
        return Group(headline("✗", BAD, f"{many} without a quorum"), facts(rows))
    return Group(headline("✓", GOOD, f"{acts}, each with its quorum"), facts(rows))


def proved_record(entry: Entry, point: "Checkpoint", witnesses: Sequence[str]) -> Record:
    """Return what a proof shows, as programs read it."""
    return {
        "event": "proved",
        "origin": point.origin,
        "size": point.size,
        "root": point.root.hex(),
        "witnesses": list(witnesses),
        "entry": {key: value for key, value in entry_record(entry).items() if key != "event"},
    }


def proved(entry: Entry, point: "Checkpoint", witnesses: Sequence[str], names: Names) -> Group:
    """Return what a proof shows, as people read it."""
    rows = [
        ("record", point.origin),
        ("signed", f"after {count_of(point.size)}"),
        ("witnessed by", ", ".join(text.visible(one) for one in witnesses)),
    ]
    return Group(
        headline("✓", GOOD, f"entry {entry.number} is in the record"),
        entries_table([entry], names),
        facts(rows),
    )
