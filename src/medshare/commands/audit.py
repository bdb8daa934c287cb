"""`medshare audit`: what was done, by whom, and the proof that nobody changed that since."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from medshare.audit.entries import Act, Outcome
from medshare.commands.audit_export import export
from medshare.commands.audit_files import checkpoint, prove, witness
from medshare.commands.audit_place import Place, Where, open_place, where_options
from medshare.commands.audit_proofs import add_evidence, verify_files, witness_keys
from medshare.commands.options import Mode, Span, examples, output_options
from medshare.commands.output import choose
from medshare.errors import AuditError, NotFoundError, PolicyError, UsageError

if TYPE_CHECKING:
    from medshare.audit.administration import Judgement
    from medshare.record.reader import Audit

RELAYS: Final = "/relay/"
"""Stands in the origin of every record of a relay, and of no other."""
_EMERGENCIES: Final = (Act.EMERGENCY, Act.REVIEW)


class Moment(click.ParamType[int]):
    """A time: `2026-11-24`, `2026-11-24T20:48`, or so long ago: `36h`, `7d`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return seconds since 1970 UTC."""
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            return int(time.time()) - Span().convert(value, param, ctx)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


@click.group(
    epilog=examples(
        """
        medshare audit show                              # the newest entries
        medshare audit search --parcel 3f2a9c1b --act open
        medshare audit verify                            # nothing altered, removed or moved
        medshare audit prove 1204 --output entry.tlog-proof
        medshare audit verify entry.tlog-proof --card st-mary.card
        medshare audit verify --relay-data /srv/relay
        """
    )
)
def audit() -> None:
    """Read, search, verify and export the record of what was done.

    Every act on a parcel, a key or a permission is in it. Entries are linked and signed:
    one that is altered, removed, moved, inserted or backdated is found.
    """


audit.add_command(prove)
audit.add_command(checkpoint)
audit.add_command(witness)
audit.add_command(export)


@audit.command(
    epilog=examples(
        """
        medshare audit show
        medshare audit show --last 100
        medshare audit show --relay-data /srv/relay --json
        """
    )
)
@click.option("--last", default=20, show_default=True, type=click.IntRange(1), help="How many.")
@where_options
@output_options
def show(last: int, where: Where, mode: Mode) -> None:
    """Show the newest entries, and how far the record is signed."""
    from medshare.commands import audit_views

    place = open_place(where)
    reader = place.reader()
    size = reader.size()
    entries = list(reader.entries(max(size - last, reader.first)))
    newest = reader.checkpoints.newest()
    point = reader.checkpoints.load(newest)[0] if newest else None
    record = audit_views.shown_record(place.origin, size, point, len(entries))
    table = audit_views.entries_table(entries, place.names)
    with choose(mode) as out:
        if mode.json:
            for entry in entries:
                out.result(audit_views.entry_record(entry), lambda: "")
        out.result(record, lambda: audit_views.shown(record, table))


def _identifier(text: str) -> bytes:
    """Return the octets that *text*, the beginning of an identifier, stands for."""
    digits = text.lower()
    try:
        if len(digits) >= 8:
            return bytes.fromhex(digits[: len(digits) // 2 * 2])
    except ValueError:
        pass
    raise UsageError(
        f"'{text}' is neither a contact nor the beginning of an id",
        hint="an id has hexadecimal digits, of which the first eight or more will do",
    )


def _who(text: str, place: Place) -> bytes:
    for station, name in place.names.items():
        if name == text:
            return bytes(station)
    return _identifier(text)


@audit.command(
    epilog=examples(
        """
        medshare audit search --parcel 3f2a9c1b
        medshare audit search --actor dr-wang --since 30d
        medshare audit search --act open --act export --since 2026-01-01 --until 2026-02-01
        medshare audit search --break-glass --since 90d
        medshare audit search --refused --relay-data /srv/relay
        """
    )
)
@click.option("--since", type=Moment(), metavar="TIME", help="2026-11-24, or 30d ago.")
@click.option("--until", type=Moment(), metavar="TIME", help="The last second that counts.")
@click.option("--actor", metavar="NAME|ID", help="Who did it, or was concerned.")
@click.option("--parcel", metavar="ID", help="With which parcel.")
@click.option(
    "--act",
    "acts",
    multiple=True,
    type=click.Choice(list(map(str, Act))),
    metavar="ACT",
    help="What was done: send, open, rotate …; docs/audit.md has them all.",
)
@click.option("--refused", is_flag=True, help="Only what was refused.")
@click.option("--break-glass", is_flag=True, help="Only emergencies, and reviews of them.")
@click.option("--last", "newest", type=click.IntRange(1), help="At most so many, the newest.")
@where_options
@output_options
def search(
    actor: str | None,
    parcel: str | None,
    acts: tuple[str, ...],
    refused: bool,
    break_glass: bool,
    where: Where,
    mode: Mode,
    **bounds: int | None,
) -> None:
    """Find entries by time, person, parcel or act."""
    from medshare.commands import audit_views
    from medshare.record.index import Query
    from medshare.record.index import search as find

    place = open_place(where)
    names = [] if actor is None else [_who(actor, place)]
    names += [] if parcel is None else [_identifier(parcel)]
    query = Query(
        names=tuple(names),
        acts=(*map(Act, acts), *(_EMERGENCIES if break_glass else ())),
        outcome=Outcome.REFUSED if refused else None,
        since=bounds["since"],
        until=bounds["until"],
        newest=bounds["newest"],
    )
    found = list(find(place.reader(), query))
    with choose(mode) as out:
        if mode.json:
            for entry in found:
                out.result(audit_views.entry_record(entry), lambda: "")
        record = {"event": "search", "origin": place.origin, "found": len(found)}
        out.result(record, lambda: audit_views.entries_table(found, place.names))


@audit.command(
    epilog=examples(
        """
        medshare audit verify                                # the record of this station
        medshare audit verify --witness dr-wang.card         # and when others saw it
        medshare audit verify --against seen-in-march.note   # and what somebody else kept
        medshare audit verify --log copy/ --card st-mary.card
        medshare audit verify --relay-data /srv/relay
        medshare audit verify entry.tlog-proof --card st-mary.card
        """
    )
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--witness",
    "witnesses",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="CARD",
    help="Check the cosignatures of this station as well. May be repeated.",
)
@click.option(
    "--against",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A checkpoint or a receipt that somebody else kept. May be repeated.",
)
@where_options
@output_options
def verify(
    files: tuple[Path, ...],
    witnesses: tuple[Path, ...],
    against: tuple[Path, ...],
    where: Where,
    mode: Mode,
) -> None:
    """Check a whole record, or FILES that prove one entry of it.

    The record is held against its own checkpoints, against what the receipts and seals kept
    here say of it, and against what witnesses saw. A fault is named with the first entry
    that is wrong. Nothing is written, and no network is used.
    """
    if files:
        verify_files(files, witnesses, where, mode)
        return
    from medshare.commands import audit_views

    place = open_place(where)
    found = _audited(place, witnesses, against)
    record = audit_views.audit_record(found, place.origin)
    judgement = None if found.findings else _judged(place)
    if judgement is not None:
        record["administration"] = audit_views.administration_record(judgement)
    with choose(mode) as out:
        out.result(record, lambda: audit_views.audited(record))
        if judgement is not None and not mode.json:
            out.result({}, lambda: audit_views.administration_text(judgement))
    if found.findings:
        first = found.findings[0]
        raise AuditError(f"the record was tampered with: {first.sentence}", code=first.code)
    if judgement is not None and judgement.objections:
        worst = judgement.objections[0]
        raise AuditError(
            f"entry {worst.entry} ({worst.act}) lacks its quorum: {worst.sentence}",
            code="audit.quorum",
        )


def _judged(place: Place) -> "Judgement | None":
    """Return whether administrative acts had their quorum, where the record is a relay's."""
    from medshare.record.administration import judge_record

    judgement = judge_record(place.reader()) if RELAYS in place.origin else None
    return judgement if judgement is not None and judgement.governed_from is not None else None


def _audited(place: Place, witnesses: Sequence[Path], against: Sequence[Path]) -> "Audit":
    known = [witness_keys(card) for card in witnesses]
    evidence = place.evidence()
    for path in against:
        evidence.extend(add_evidence(path, place, known))
    try:
        reader = place.reader()
    except NotFoundError:
        if not evidence:
            raise
        most = max(one.size for one in evidence)
        raise AuditError(
            f"the record is gone: others have seen it with {most} entries",
            code="audit.rolled-back",
        ) from None
    return reader.audit(place.keys, evidence=evidence, witnesses=known)


@audit.command(
    epilog=examples(
        """
        medshare audit prune --keep-for 30y
        medshare audit prune --keep-for 15y --relay-data /srv/relay
        """
    )
)
@click.option(
    "--keep-for",
    type=Span(),
    metavar="TIME",
    help="What the law asks: 15y for outpatients, 30y for inpatients.  [default: the policy's]",
)
@where_options
@output_options
def prune(keep_for: int | None, where: Where, mode: Mode) -> None:
    """Delete entries that are older than they must be kept.

    Only whole archived parts go, and that they go is recorded. Their hashes stay, so that
    everything that is left can still be proved.
    """
    from medshare.trust.policy import BUILT_IN, OUTPATIENT
    from medshare.trust.policy_table import span_text

    place = open_place(where)
    if place.log is None:
        raise UsageError("nothing is deleted from a copy")
    rules = BUILT_IN if place.station is None else place.station.policy
    kept = rules.keep_record if keep_for is None else keep_for
    least = OUTPATIENT if rules is BUILT_IN else rules.keep_record
    if kept < least:
        raise PolicyError(
            f"the record is kept for {span_text(least)} at least",
            hint="15y for outpatients, 30y for inpatients: policy.toml says which",
            code="policy.retention",
        )
    removed = place.log.prune(before=int(time.time()) - kept)
    record = {"event": "pruned", "origin": place.origin, "removed": removed}
    what = f"{removed:,} entries were past their time" if removed else "nothing is so old"
    choose(mode).result(record, lambda: what)
