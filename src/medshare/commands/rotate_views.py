"""Rotations of tier keys, and incidents: as people read them, and as programs do."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medshare.commands import text
from medshare.commands.key_copies_view import warning
from medshare.commands.views import BAD, GOOD, OPEN, facts, headline, path
from medshare.sharing.at_hand import Failed
from medshare.sharing.rotate_tiers import TierRotation, TierRotations
from medshare.station.backups import KnownBackup
from medshare.vault.compromise import Incident
from medshare.vault.exposure import Exposure

Record = dict[str, Any]
_SHOWN: Final = 20


def tiers_record(
    rotations: TierRotations, stale: Sequence[KnownBackup] = (), *, dry_run: bool
) -> Record:
    """Return the record of a rotation of tier keys."""
    return {
        "event": "tiers_rotated",
        "dry_run": dry_run,
        "tiers": [
            {
                "tier": one.tier,
                "key": one.label,
                "resumed": one.resumed,
                "destroyed": list(one.destroyed),
                "kept": list(one.kept),
            }
            for one in rotations.tiers
        ],
        "rewrapped": rotations.rewrapped,
        "unchanged": rotations.unchanged,
        "failed": _failed_record(rotations.failed),
        "stale_backups": [one.id for one in stale],
    }


def _failed_record(failed: Iterable[Failed]) -> list[Record]:
    return [
        {"folder": str(one.folder), "code": one.error.code, "message": one.error.message}
        for one in failed
    ]


def tiers(rotations: TierRotations, stale: Sequence[KnownBackup] = (), *, dry_run: bool) -> Group:
    """Return what a rotation of tier keys did, or would do."""
    names = ", ".join(one.label for one in rotations.tiers)
    line = (
        headline("●", OPEN, f"nothing was changed; this would bring into use: {names}")
        if dry_run
        else headline("✓", GOOD, f"in use from now on: {names}")
    )
    rows = [
        ("resumed", _names(rotations.tiers, lambda one: (one.tier,) if one.resumed else ())),
        ("destroyed", _names(rotations.tiers, lambda one: one.destroyed)),
        ("still needed", _names(rotations.tiers, lambda one: one.kept)),
        ("wrapped anew", text.count(rotations.rewrapped, "parcel")),
        ("as they were", text.count(rotations.unchanged, "parcel")),
        ("failed", text.count(len(rotations.failed), "parcel") if rotations.failed else ""),
        *warning(stale),
    ]
    return Group(line, facts(rows), *failures(rotations.failed))


def _names(found: Sequence[TierRotation], of: Any) -> str:
    return ", ".join(name for one in found for name in of(one))


def failures(failed: Sequence[Failed]) -> list[RenderableType]:
    """Return the first parcels for which something failed, one a line, with the reason."""
    lines: list[RenderableType] = [
        Text.assemble(("  ✗ ", BAD), f"{path(one.folder)}: {text.visible(one.error.message)}")
        for one in failed[:_SHOWN]
    ]
    if len(failed) > _SHOWN:
        lines.append(Text(f"  … {len(failed) - _SHOWN:,} more (--json names all)"))
    return lines


def incident_record(
    found: Incident, stale: Sequence[KnownBackup] = (), *, dry_run: bool, relay_told: bool
) -> Record:
    """Return the record of a compromised key."""
    return {
        "event": "compromised",
        "dry_run": dry_run,
        "key": found.key,
        "tiers": list(found.tiers),
        "resumed": found.resumed,
        "generation": None if found.identity is None else found.identity.generation,
        "fingerprint": None if found.identity is None else found.identity.card.fingerprint,
        "relay_told": relay_told,
        "new_keys": [one.label for one in found.rotations.tiers],
        "destroyed": [label for one in found.rotations.tiers for label in one.destroyed],
        "kept": [label for one in found.rotations.tiers for label in one.kept],
        "to_reseal": found.to_reseal,
        "resealed": [
            {"before": one.before.hex(), "after": one.after.hex()} for one in found.resealed
        ],
        "abandoned": [one.hex() for one in found.abandoned],
        "manifests": found.manifests,
        "exposed": [
            {
                "parcel": one.parcel.hex(),
                "where": one.where,
                "tier": one.tier,
                "created": one.created,
                "parties": list(one.parties),
            }
            for one in found.exposed
        ],
        "failed": _failed_record(found.failed),
        "stale_backups": [one.id for one in stale],
    }


def incident(
    found: Incident, stale: Sequence[KnownBackup] = (), *, dry_run: bool, relay_told: bool
) -> Group:
    """Return what was done about a compromised key, and what it laid open."""
    key = text.visible(found.key)
    if dry_run:
        line = headline("●", OPEN, f"nothing was changed; this would revoke {key}")
    elif found.failed:
        line = headline("✗", BAD, f"{key} is revoked, but not everything could be mended")
    else:
        line = headline("✓", GOOD, f"{key} is revoked, and opens nothing here any more")
    octets = sum(one.octets for one in found.resealed)
    anew = text.count(found.to_reseal, "parcel") + (f", {text.size(octets)}" if octets else "")
    destroyed = [label for one in found.rotations.tiers for label in one.destroyed]
    rows = [
        ("sealed anew" if not dry_run else "to seal anew", anew),
        ("new keys", ", ".join(one.label for one in found.rotations.tiers)),
        ("destroyed", ", ".join(destroyed)),
        ("wrapped anew", text.count(found.rotations.rewrapped, "parcel")),
        ("erased", f"{text.count(found.manifests, 'list')} of files" if found.manifests else ""),
        ("given up", text.count(len(found.abandoned), "send") if found.abandoned else ""),
        *warning(stale),
        *_identity_rows(found, dry_run=dry_run, relay_told=relay_told),
    ]
    return Group(line, facts(rows), *failures(found.failed), *_exposed(found.exposed))


def _identity_rows(found: Incident, *, dry_run: bool, relay_told: bool) -> list[tuple[str, str]]:
    if found.identity is None or dry_run:
        return []
    relay = "knows the new card" if relay_told else "was not told: medshare receive --list does"
    return [
        ("fingerprint", found.identity.card.fingerprint),
        ("relay", relay),
        ("next", "medshare card export --output FILE, and give that file to your contacts"),
    ]


def _exposed(found: Sequence[Exposure]) -> list[RenderableType]:
    """Return what may have been read by others, and cannot be taken back."""
    if not found:
        return []
    table = Table.grid(padding=(0, 2, 0, 0))
    for one in found[:_SHOWN]:
        parties = ", ".join(text.visible(name) for name in one.parties)
        row = (one.parcel.hex()[:16], one.where, one.tier, text.moment(one.created), parties)
        table.add_row(*(f"  {cell}" if number == 0 else cell for number, cell in enumerate(row)))
    sentence = f"{text.count(len(found), 'parcel')} may have been read by whoever has the key:"
    lines: list[RenderableType] = [Text(sentence, style="bold"), table]
    if len(found) > _SHOWN:
        lines.append(Text(f"  … {len(found) - _SHOWN:,} more (--json names all)"))
    return lines
