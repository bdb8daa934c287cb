"""Results as people read them: one line that says what it means, then the facts."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medshare.commands import grant_views, text

if TYPE_CHECKING:
    from medshare.ids import StationId
    from medshare.receipt import Receipt, ReceivedFile
    from medshare.sharing.receive import ParcelListing, ReceiveResult
    from medshare.sharing.send import SendResult
    from medshare.sharing.verify import Fault, FolderReport, ParcelReport

GOOD, OPEN, BAD, QUIET = "bold green", "bold yellow", "bold red", "dim"

_FIRST: Final = 5
_LAST: Final = 1
_FAULTS: Final = 50
_DIGEST: Final = 16


def headline(mark: str, style: str, sentence: str) -> Text:
    """Return the line that says what the result means."""
    return Text.assemble((f"{mark} ", style), (sentence, "bold"))


def facts(rows: Iterable[tuple[str, str]]) -> RenderableType:
    """Return names and values, one pair a line; pairs without a value are left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style=QUIET, no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        if value:
            grid.add_row(f"  {name}", value)
    return grid


def path(place: Path) -> str:
    """Return a path on this machine, harmless."""
    return text.visible(str(place), limit=1000)


def _moved(result: "SendResult | ReceiveResult") -> str:
    """Return what this run moved, and what an earlier one had moved already."""
    there = f"{text.count(result.resumed_chunks, 'chunk')} there from before"
    if not result.moved_chunks:
        return f"nothing; {there}"
    moved = f"{text.count(result.moved_chunks, 'chunk')}, {text.size(result.wire_bytes)}"
    if result.resumed_chunks:
        return f"{moved}; {there}"
    return f"{moved} for {text.size(result.total_bytes)} of files"


def sent(
    result: "SendResult", *, names: Sequence[str], missing: Sequence[str], route: str
) -> Group:
    """Return what a send came to: delivered, or sealed and waiting at *route*."""
    amount = f"{text.count(result.files, 'file')} ({text.size(result.total_bytes)})"
    to = ", ".join(text.visible(name) for name in names)
    away = ", ".join(text.visible(name) for name in missing)
    if result.only_viewed:
        line = headline("●", OPEN, f"sealed, to be looked at by {to}: {amount}")
        following = "no receipt will come: who may only look, keeps nothing"
    elif not missing:
        line = headline("✓", GOOD, f"delivered: signed receipt of {to} names all {amount}")
        following = f"medshare receipt {result.parcel.hex()[:12]}"
    else:
        line = headline("●", OPEN, f"sealed, not yet received by {away}: {amount}")
        following = "the same command with --wait, to be told when it has arrived"
    rows = [
        ("parcel", result.parcel.hex()),
        ("route", text.visible(route)),
        *grant_views.rows(result.envelope),
    ]
    return Group(line, facts([*rows, ("moved", _moved(result)), ("next", following)]))


def received(result: "ReceiveResult", vetted: str = "") -> Group:
    """Return what was received, from whom, where it is, and its first and last files.

    *vetted* says what is known of the sender's credential.
    """
    sender = result.sender
    amount = f"{text.count(len(result.files), 'file')}, {text.size(result.total_bytes)}"
    name = text.visible(sender.name)
    trusted = f", trusted since {text.moment(sender.trusted_at)}" if sender.trusted_at else ""
    return Group(
        headline("✓", GOOD, f"received {amount} from {name}, every byte verified"),
        facts(
            [
                ("parcel", result.parcel.hex()),
                ("sender", f"{name}{trusted}"),
                ("", f"fingerprint {sender.card.fingerprint}"),
                ("", vetted),
                *grant_views.rows(result.envelope, result.recipient),
                ("moved", _moved(result)),
                ("in", path(result.output)),
                ("receipt", path(result.receipt_file)),
                ("next", f"medshare verify {path(result.output)}"),
            ]
        ),
        files_table(result.files),
    )


def files_table(files: "Sequence[ReceivedFile]", *, everything: bool = False) -> RenderableType:
    """Return the files with size and digest; of many, the first and the last."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style=QUIET, no_wrap=True)
    few = everything or len(files) <= _FIRST + _LAST + 1
    for file in files if few else files[:_FIRST]:
        _file_row(table, file)
    if not few:
        table.add_row(Text(f"  … {len(files) - _FIRST - _LAST:,} more", style=QUIET), "", "")
        for file in files[-_LAST:]:
            _file_row(table, file)
    return table


def _file_row(table: Table, file: "ReceivedFile") -> None:
    name = text.visible(file.path, limit=1000)
    table.add_row(f"  {name}", text.size(file.size), file.digest.hex[:_DIGEST])


def waiting(
    listings: "Sequence[ParcelListing]", vetted: "Mapping[StationId, str] | None" = None
) -> Group:
    """Return what waits, as far as it could be verified without writing anything.

    *vetted* says what is known of the credentials of senders.
    """
    if not listings:
        return Group(Text("nothing waits for this station"))
    known = vetted or {}
    return Group(
        *(
            _listing(one, "" if one.sender is None else known.get(one.sender.station, ""))
            for one in listings
        )
    )


def _listing(listing: "ParcelListing", vetted: str) -> Group:
    state = "complete" if listing.sealed else "still being sent"
    stored = f"{listing.stored_chunks:,}/{text.count(listing.total_chunks, 'chunk')}, {state}"
    rows = [
        ("sender", vetted),
        ("sent", text.moment(listing.created)),
        ("there", stored),
        *grant_views.rows(listing.envelope, listing.recipient),
        ("erased", f"after {text.moment(listing.delete_after)}" if listing.delete_after else ""),
    ]
    if listing.fault is not None:
        name = "unknown sender" if listing.sender is None else text.visible(listing.sender.name)
        rows.append(("problem", text.visible(listing.fault.message, limit=1000)))
        rows.append(("hint", text.visible(listing.fault.hint or "", limit=1000)))
        line = headline("✗", BAD, f"{listing.parcel.hex()} from {name}: cannot be opened here")
        return Group(line, facts(rows))
    return _openable(listing, rows)


def _openable(listing: "ParcelListing", rows: list[tuple[str, str]]) -> Group:
    name = text.visible(listing.sender.name) if listing.sender is not None else "unknown sender"
    entries = listing.manifest.files if listing.manifest is not None else ()
    note = listing.manifest.note if listing.manifest is not None else ""
    amount = text.size(sum(entry.size for entry in entries))
    what = f"{text.count(len(entries), 'file')}, {amount}"
    rows.append(("note", text.visible(note, limit=1000)))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for entry in entries[:_FIRST]:
        table.add_row(f"  {text.visible(entry.path, limit=1000)}", text.size(entry.size))
    if len(entries) > _FIRST:
        table.add_row(Text(f"  … {len(entries) - _FIRST:,} more", style=QUIET), "")
    return Group(
        headline("●", GOOD, f"{listing.parcel.hex()} from {name}: {what}"), facts(rows), table
    )


def checked_parcel(report: "ParcelReport", *, sender: str) -> Group:
    """Return the verdict on a sealed parcel; *sender* says who is behind its signatures."""
    amount = f"{text.count(report.chunks, 'chunk')}, {text.size(report.total_bytes)}"
    if report.faults:
        line = headline("✗", BAD, f"{text.count(len(report.faults), 'fault')} in {amount}")
    else:
        line = headline("✓", GOOD, f"complete and unaltered: {amount}")
    rows = [("parcel", report.parcel.hex()), ("sender", sender), ("suite", report.suite)]
    return Group(line, facts(rows), *_faults(report.faults))


def checked_folder(report: "FolderReport", *, folder: Path, signer: str) -> Group:
    """Return the verdict on a received folder that was held against its receipt."""
    whole = text.count(report.files, "file")
    if report.faults:
        line = headline("✗", BAD, f"{len(report.faults):,} of {whole} not as received")
    else:
        line = headline("✓", GOOD, f"{whole}, {text.size(report.total_bytes)}: all as received")
    extra = ""
    if report.extra:
        named = ", ".join(text.visible(one) for one in report.extra[:3])
        more = f" and {len(report.extra) - 3:,} more" if len(report.extra) > 3 else ""
        extra = f"{named}{more}"
    earlier = f"{text.count(report.earlier, 'file')} read by an earlier run"
    rows = [
        ("folder", path(folder)),
        ("parcel", report.receipt.parcel.hex()),
        ("receipt", f"signed by {signer}, {text.moment(report.receipt.received)}"),
        ("before", earlier if report.earlier else ""),
        ("besides", extra),
    ]
    return Group(line, facts(rows), *_faults(report.faults))


def _faults(faults: "Sequence[Fault]") -> list[RenderableType]:
    lines: list[RenderableType] = [
        Text.assemble(
            ("  ✗ ", BAD),
            (text.visible(fault.where, limit=1000), "bold"),
            f": {text.visible(fault.problem, limit=1000)}",
        )
        for fault in faults[:_FAULTS]
    ]
    if len(faults) > _FAULTS:
        lines.append(Text(f"  … {len(faults) - _FAULTS:,} more (--json names all)", style=QUIET))
    return lines


def proof(receipt: "Receipt", *, signer: str, sender: str, place: Path, everything: bool) -> Group:
    """Return one receipt whose signatures were verified."""
    total = sum(file.size for file in receipt.files)
    amount = f"{text.count(len(receipt.files), 'file')}, {text.size(total)}"
    when = text.moment(receipt.received)
    return Group(
        headline("✓", GOOD, f"{signer} received {amount} on {when}; the signatures are right"),
        facts(
            [
                ("parcel", receipt.parcel.hex()),
                ("seal", receipt.seal.hex),
                ("sender", sender),
                ("recipient", f"{signer}, station {receipt.recipient.hex()}"),
                ("signed with", " and ".join(key.algorithm for key in receipt.recipient_keys)),
                ("emergency", emergency_line(receipt)),
                ("file", path(place)),
            ]
        ),
        files_table(receipt.files, everything=everything),
    )


def emergency_line(receipt: "Receipt") -> str:
    """Return that the recipient has broken the glass, or nothing."""
    if receipt.emergency is None:
        return ""
    return f"the recipient broke the glass: entry {receipt.emergency.hex()[:16]} of their record"


def proofs(rows: "Sequence[tuple[Receipt, str]]") -> RenderableType:
    """Return the receipts that are kept here, newest first, each with its signer."""
    if not rows:
        return Text("no receipts are kept here yet")
    table = Table(box=None, pad_edge=False, header_style=QUIET)
    for column in ("parcel", "received", "by"):
        table.add_column(column, no_wrap=column != "by")
    table.add_column("files", justify="right")
    table.add_column("size", justify="right", no_wrap=True)
    for receipt, signer in sorted(rows, key=lambda row: row[0].received, reverse=True):
        table.add_row(
            receipt.parcel.hex()[:12],
            text.moment(receipt.received),
            signer,
            f"{len(receipt.files):,}",
            text.size(sum(file.size for file in receipt.files)),
        )
    return table
