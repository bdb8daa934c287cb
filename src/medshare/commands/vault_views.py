"""The vault as people read it, and as programs do."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medshare.commands import text
from medshare.commands.views import BAD, GOOD, OPEN, QUIET, facts, headline, path
from medshare.ids import ParcelId
from medshare.sharing.send import SendResult
from medshare.vault.listing import Unreadable, VaultEntry
from medshare.vault.opening import Opened
from medshare.vault.origin import Origin
from medshare.vault.store import Vault

Record = dict[str, Any]
_DIGITS: Final = 16


def _origin_record(origin: Origin | None) -> Record | None:
    if origin is None:
        return None
    return {
        "parcel": origin.parcel.hex(),
        "sender": origin.sender.hex(),
        "created": origin.created,
        "replaced": origin.replaced.hex(),
    }


def listing_record(found: Sequence[VaultEntry | Unreadable]) -> Record:
    """Return the record of what is in a vault."""
    return {"event": "vault", "parcels": [_entry_record(one) for one in found]}


def _entry_record(entry: VaultEntry | Unreadable) -> Record:
    if isinstance(entry, Unreadable):
        fault = {"code": entry.error.code, "message": entry.error.message}
        return {"parcel": entry.parcel.hex(), "fault": fault}
    return {
        "parcel": entry.parcel.hex(),
        "fault": None,
        "tier": entry.tier,
        "suite": entry.suite,
        "sender": entry.sender_name or None,
        "sender_station": entry.sender.hex(),
        "created": entry.created,
        "delete_after": entry.delete_after,
        "chunks": entry.chunks,
        "bytes": entry.octets,
        "sealed": entry.sealed,
        "key": entry.label or None,
        "origin": _origin_record(entry.origin),
    }


def listing(found: Sequence[VaultEntry | Unreadable]) -> RenderableType:
    """Return what is in a vault, one parcel a line."""
    if not found:
        return Text("the vault is empty")
    table = Table.grid(padding=(0, 2, 0, 0))
    for one in found:
        if isinstance(one, Unreadable):
            table.add_row(one.parcel.hex()[:_DIGITS], text.visible(one.error.message), style=BAD)
            continue
        sender = text.visible(one.sender_name) or f"station {one.sender.hex()[:_DIGITS]}"
        remarks = [
            "" if one.sealed else "unfinished",
            "sealed anew here" if one.origin is not None else "",
            f"until {text.moment(one.delete_after)}" if one.delete_after else "",
        ]
        table.add_row(
            one.parcel.hex()[:_DIGITS],
            text.moment(one.created),
            sender,
            text.size(one.octets),
            one.label or one.tier,
            ", ".join(filter(None, remarks)),
        )
    return table


def added_record(result: SendResult, tier: str, place: Vault) -> Record:
    """Return the record of files that were put into the vault."""
    return {
        "event": "vault_added",
        "parcel": result.parcel.hex(),
        "tier": tier,
        "files": result.files,
        "total_bytes": result.total_bytes,
        "vault": str(place.root),
    }


def added(result: SendResult, tier: str) -> Group:
    """Return what was put into the vault."""
    amount = f"{text.count(result.files, 'file')} ({text.size(result.total_bytes)})"
    following = f"medshare vault open {result.parcel.hex()[:12]} --output DIR"
    return Group(
        headline("✓", GOOD, f"sealed into the vault: {amount}"),
        facts([("parcel", result.parcel.hex()), ("tier", text.visible(tier)), ("next", following)]),
    )


def opened_record(opened: Opened) -> Record:
    """Return the record of what came out of the vault."""
    return {
        "event": "vault_opened",
        "parcel": opened.parcel.hex(),
        "sender": opened.sender.name,
        "files": opened.files,
        "total_bytes": opened.total_bytes,
        "output": str(opened.output),
        "origin": _origin_record(opened.origin),
    }


def opened(found: Opened) -> Group:
    """Return what came out of the vault, and where it is."""
    amount = f"{text.count(found.files, 'file')}, {text.size(found.total_bytes)}"
    came = ""
    if found.origin is not None:
        came = f"sealed anew here; first parcel {found.origin.parcel.hex()}"
    rows = [
        ("parcel", found.parcel.hex()),
        ("sender", text.visible(found.sender.name)),
        ("", came),
        ("in", path(found.output)),
    ]
    return Group(headline("✓", GOOD, f"opened {amount}, every byte verified"), facts(rows))


def verified(
    parcel: ParcelId, problems: Sequence[str]
) -> tuple[Record, Callable[[], RenderableType]]:
    """Return the record, and the view, of one parcel that was checked."""
    record: Record = {
        "event": "vault_verified",
        "parcel": parcel.hex(),
        "faults": list(problems),
    }
    return record, lambda: _verdict(parcel, problems)


def _verdict(parcel: ParcelId, problems: Sequence[str]) -> Group:
    if not problems:
        return Group(headline("✓", GOOD, f"{parcel.hex()} is whole, unaltered, and opens"))
    line = headline("✗", OPEN if len(problems) == 1 else BAD, f"{parcel.hex()} is not in order")
    return Group(line, *(Text(f"  {text.visible(one)}", style=QUIET) for one in problems))
