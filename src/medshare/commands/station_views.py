"""Stations, contacts and rotations: as people read them, and as programs do."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medshare.commands import text
from medshare.commands.views import BAD, GOOD, OPEN, facts, headline, path
from medshare.ids import StationId
from medshare.sharing.rotate import Rotation
from medshare.station import Contact, Station
from medshare.trust.card import Card, Generation
from medshare.trust.revocation import Revocation

Record = dict[str, Any]
_SHOWN: Final = 20


def station_record(station: Station, *, event: str) -> Record:
    """Return the record of this station itself."""
    current = station.card.current
    return {
        "event": event,
        "station": station.id.hex(),
        "name": current.name,
        "fingerprint": station.card.fingerprint,
        "generation": current.number,
        "created": current.created,
        "home": str(station.home),
    }


def contact_record(contact: Contact, *, event: str | None = None) -> Record:
    """Return the record of a contact; one of a list has no event of its own."""
    current = contact.card.current
    record = {
        "name": contact.name,
        "station": contact.station.hex(),
        "card_name": current.name,
        "fingerprint": contact.card.fingerprint,
        "generation": current.number,
        "created": current.created,
        "trusted_at": contact.trusted_at,
        "distrusted_at": contact.distrusted_at or None,
        "revoked": _revoked_record(contact.card),
    }
    return record if event is None else {"event": event, **record}


def _revoked_record(card: Card) -> Record | None:
    """Return what the newest revocation of a card says, or None where there is none."""
    found = _revocation_of(card)
    if found is None:
        return None
    return {"through": found.through, "since": found.since, "reason": found.reason}


def _revocation_of(card: Card) -> Revocation | None:
    return next((one.revoked for one in reversed(card.generations) if one.revoked), None)


def rotation_record(rotation: Rotation, *, dry_run: bool) -> Record:
    """Return the record of a rotation of the identity keys."""
    return {
        "event": "rotated",
        "dry_run": dry_run,
        "generation": rotation.generation,
        "resumed": rotation.resumed,
        "rewrapped": rotation.rewrapped,
        "unchanged": rotation.unchanged,
        "failed": [
            {"folder": str(one.folder), "code": one.error.code, "message": one.error.message}
            for one in rotation.failed
        ],
        "fingerprint": rotation.card.fingerprint,
        "suite": rotation.card.current.suite,
    }


def _card_rows(station: Station) -> list[tuple[str, str]]:
    current = station.card.current
    return [
        ("fingerprint", station.card.fingerprint),
        ("station", station.id.hex()),
        ("keys", f"generation {current.number}, made {text.moment(current.created)}"),
        ("in", path(station.home)),
    ]


def created(station: Station) -> Group:
    """Return what `init` made, and the command to type next."""
    name = text.visible(station.card.name)
    export = f"medshare card export --output {_file_name(station)}"
    return Group(
        headline("✓", GOOD, f"this machine is now a station: {name}"),
        facts([*_card_rows(station), ("next", f"{export}, and give that file to a colleague")]),
    )


def _file_name(station: Station) -> str:
    from medshare.trust.petname import slug

    return shlex.quote(f"{slug(station.card.name, station.id)}.card")


def own(station: Station) -> Group:
    """Return the card of this station."""
    return Group(headline("●", GOOD, text.visible(station.card.name)), facts(_card_rows(station)))


def one_contact(contact: Contact, vetted: str = "") -> Group:
    """Return one contact; *vetted* says what is known of its credential."""
    rows = _contact_rows(contact, vetted)
    return Group(headline("●", GOOD, text.visible(contact.name)), facts(rows))


def _contact_rows(contact: Contact, vetted: str) -> list[tuple[str, str]]:
    current = contact.card.current
    return [
        ("calls itself", text.visible(current.name)),
        ("fingerprint", contact.card.fingerprint),
        ("station", contact.station.hex()),
        ("keys", f"generation {current.number}, made {text.moment(current.created)}"),
        ("revoked", _revoked_text(contact.card)),
        ("trusted", f"since {text.moment(contact.trusted_at)}"),
        (
            "not trusted",
            f"since {text.moment(contact.distrusted_at)}" if contact.distrusted_at else "",
        ),
        ("credential", vetted),
    ]


def _revoked_text(card: Card) -> str:
    found = _revocation_of(card)
    if found is None:
        return ""
    keys = "generation 0" if found.through == 0 else f"generations 0 to {found.through}"
    return f"keys of {keys}, not to be trusted since {text.moment(found.since)}"


def imported(contact: Contact, change: str, vetted: str = "", before: str = "") -> Group:
    """Return what an import changed: `new`, `rotated` or `none`; *before* is what it was called."""
    name = text.visible(contact.name)
    sentences = {
        "new": f"{name} is trusted from now on",
        "rotated": f"{name} has new keys: key rotation, signed by the old key",
        "none": f"{name} is trusted already, with this very card",
    }
    renamed = text.visible(before) if before not in {"", contact.name} else ""
    following = f"medshare send PATH --to {shlex.quote(name)}"
    return Group(
        headline("✓", GOOD, sentences[change]),
        facts([("instead of", renamed), *_contact_rows(contact, vetted), ("next", following)]),
    )


def contacts(
    found: Sequence[Contact], vetted: Mapping[StationId, str] | None = None
) -> RenderableType:
    """Return all contacts, one a line; *vetted* says what is known of their credentials."""
    if not found:
        return Text("no contacts yet; medshare card import FILE makes one")
    table = Table.grid(padding=(0, 2, 0, 0))
    for contact in found:
        shown = text.visible(contact.name), text.visible(contact.card.name)
        known = (vetted or {}).get(contact.station, "")
        table.add_row(shown[0], contact.card.fingerprint, shown[1], known)
    return table


def requested(station: Station, output: Path) -> Group:
    """Return that a request for a certificate was written, and what comes next."""
    following = f"the authority: medshare authority issue {shlex.quote(output.name)}"
    return Group(
        headline("✓", GOOD, f"written: {path(output)}"),
        facts(
            [
                ("fingerprint", station.card.fingerprint),
                ("next", f"{text.visible(following)}; then: medshare card attach FILE"),
            ]
        ),
    )


def rotated(rotation: Rotation, *, dry_run: bool) -> Group:
    """Return what a rotation did, or would do."""
    keys = f"keys of generation {rotation.generation}"
    if dry_run:
        verb = "complete the interrupted rotation to" if rotation.resumed else "make"
        line = headline("●", OPEN, f"nothing was changed; this would {verb} {keys}")
    else:
        verb = "completed the rotation to" if rotation.resumed else "this station now has"
        line = headline("✓", GOOD, f"{verb} {keys}")
    following = "medshare card export --output FILE, and give that file to your contacts"
    before, now = _families(rotation.card.generations[-2:][0]), _families(rotation.card.current)
    changed = not dry_run and before != now
    rows = [
        ("suite", f"{now}, before it was {before}" if changed else ""),
        ("re-wrapped", text.count(rotation.rewrapped, "parcel")),
        ("as they were", text.count(rotation.unchanged, "parcel")),
        ("failed", text.count(len(rotation.failed), "parcel") if rotation.failed else ""),
        ("fingerprint", "" if dry_run else rotation.card.fingerprint),
        ("next", "medshare rotate-key" if dry_run else following),
        ("then", "medshare rotate-key --due, for keys of tiers that follow the suite" * changed),
    ]
    return Group(line, facts(rows), *_failures(rotation))


def _families(generation: "Generation") -> str:
    """Return the suites of which *generation* has keys: `gm`, `intl`, or `gm+intl`."""
    from medshare.suites.signatures import SIGNATURES

    return "+".join(sorted({SIGNATURES[key.algorithm].family for key in generation.sign_keys}))


def _failures(rotation: Rotation) -> list[RenderableType]:
    lines: list[RenderableType] = [
        Text.assemble(("  ✗ ", BAD), f"{path(one.folder)}: {text.visible(one.error.message)}")
        for one in rotation.failed[:_SHOWN]
    ]
    if len(rotation.failed) > _SHOWN:
        lines.append(Text(f"  … {len(rotation.failed) - _SHOWN:,} more (--json names all)"))
    return lines
