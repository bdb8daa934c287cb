"""Keys and their backups: as people read them, and as programs do."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medshare.commands import text
from medshare.commands.views import GOOD, OPEN, QUIET, facts, headline, path
from medshare.errors import IntegrityError
from medshare.keys.backup import Backup
from medshare.keys.base import KeyRecord, KeyStore
from medshare.station import Station
from medshare.station.due import Due, due_keys, keks_of_store
from medshare.station.key_book import IDENTITY, Happened, KeyBook
from medshare.station.tier_keys import number_of, tier_of
from medshare.suites.kem import wrap
from medshare.suites.signatures import Verifier
from medshare.trust.card import Card
from medshare.trust.policy import Policy

Record = dict[str, Any]
_PROBE: Final = bytes(range(32))


@dataclass(frozen=True, slots=True)
class Key:
    """One key as it is listed; times in seconds since 1970 UTC, None where there is none."""

    name: str
    purpose: str
    algorithm: str
    state: str
    """`current`, `old`, `revoked`, or `pending` during a rotation."""
    created: int
    due: int | None
    uses: int | None
    """How many keys it has wrapped at most; None where that does not matter."""
    uri: str


@dataclass(frozen=True, slots=True)
class Listing:
    """All keys of a station at the moment *now*."""

    backend: str
    keys: tuple[Key, ...]
    due: tuple[Due, ...]
    """What should have been replaced by now, and why."""
    now: int


def listing_of(station: Station, store: KeyStore, *, now: int) -> Listing:
    """Return the keys in *store*, which is that of *station*."""
    policy, book = station.policy, KeyBook(station.home)
    revoked, current = _revoked(book), station.card.current.number
    identity = [
        Key(
            name=f"identity/{one.generation}",
            purpose=str(one.purpose),
            algorithm=one.public.algorithm,
            state=_identity_state(one, current, revoked),
            created=one.created,
            due=policy.identity_due_at(one.created) if one.generation == current else None,
            uses=None,
            uri=one.uri,
        )
        for one in store.records()
    ]
    due = due_keys(station, keks_of_store(store), now=now)
    return Listing(store.backend, (*identity, *_keks(store, policy, book)), due, now)


def _identity_state(key: KeyRecord, current: int, revoked: frozenset[str]) -> str:
    if f"{IDENTITY}/{key.generation}" in revoked:
        return "revoked"
    if key.pending:
        return "pending"
    return "current" if key.generation == current else "old"


def _keks(store: KeyStore, policy: Policy, book: KeyBook) -> list[Key]:
    uses, revoked = book.uses(), _revoked(book)
    newest: dict[str, str] = {}
    for one in sorted(store.keks(), key=lambda kek: number_of(kek.label)):
        newest[tier_of(one.label)] = one.label
    found = []
    for one in store.keks():
        tier = policy.find(tier_of(one.label))
        state = "current" if newest[tier_of(one.label)] == one.label else "old"
        state = "revoked" if one.label in revoked else state
        due = tier.due_at(one.created) if tier is not None and state == "current" else None
        count = uses.get(one.label, 0)
        found.append(Key(one.label, "wrap", one.algorithm, state, one.created, due, count, one.uri))
    return found


def _revoked(book: KeyBook) -> frozenset[str]:
    return frozenset(one.key for one in book.entries() if one.what == Happened.REVOKED)


def listing_record(listing: Listing) -> Record:
    """Return the record of all keys."""
    return {
        "event": "keys",
        "backend": listing.backend,
        "due": [one.label for one in listing.due],
        "keys": [
            {
                "name": one.name,
                "purpose": one.purpose,
                "algorithm": one.algorithm,
                "state": one.state,
                "created": one.created,
                "next_rotation": one.due,
                "uses": one.uses,
                "uri": one.uri or None,
            }
            for one in listing.keys
        ],
    }


def listing(found: Listing) -> Group:
    """Return all keys, one a line, and what to do about those that are due."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for one in found.keys:
        style = "" if one.state == "current" else QUIET
        table.add_row(
            text.visible(one.name),
            one.purpose,
            one.algorithm,
            one.state,
            f"{text.span(max(0, found.now - one.created))} old",
            _due(one, found.now),
            "" if one.uses is None else f"{one.uses:,} uses",
            style=style,
        )
    where = {"file": "an encrypted file", "keyring": "an encrypted file, its key in the keyring"}
    line = headline("●", GOOD, f"keys in {where.get(found.backend, 'a hardware token')}")
    rows = [("due", f"{one.label}: {one.reason}") for one in found.due]
    if rows:
        rows.append(("next", "medshare rotate-key --due"))
    tokens = [
        Text(f"  {one.name} {one.purpose}: {one.uri}", QUIET) for one in found.keys if one.uri
    ]
    return Group(line, table, *tokens, facts(rows))


def _due(key: Key, now: int) -> str:
    if key.due is None:
        return ""
    return "rotation is due" if key.due <= now else f"due in {text.span(key.due - now)}"


def use_each(store: KeyStore) -> int:
    """Use every key in *store* once; return how many there are.

    Raises IntegrityError when what one of them does is wrong, and what the keystore raises.
    """
    used = 0
    for number in sorted({one.generation for one in store.records()}):
        for signer in store.signers(number):
            Verifier(signer.public).verify(signer.sign(_PROBE), _PROBE, what="a probe")
            used += 1
        for opener in store.openers(number):
            wrapped = wrap(opener.public, _PROBE, info=b"medshare keys check")
            _require(opener.unwrap(wrapped, info=b"medshare keys check") == _PROBE)
            used += 1
    for kek in store.keks():
        _require(store.unwrap_key(kek.label, store.wrap_key(kek.label, _PROBE)) == _PROBE)
        used += 1
    return used


def _require(works: bool) -> None:  # the answer to a question
    if not works:
        raise IntegrityError("a key does not give back what was wrapped to it")


def checked(backend: str, used: int) -> RenderableType:
    """Return that all keys work."""
    return headline("✓", GOOD, f"{text.count(used, 'key')} in keystore '{backend}' in order")


def backup_record(station: Station, cards: Sequence[Card], threshold: int, output: Path) -> Record:
    """Return the record of a backup that was made."""
    return {
        "event": "keys_backed_up",
        "station": station.id.hex(),
        "generation": station.card.current.number,
        "threshold": threshold,
        "custodians": [
            {"station": one.station.hex(), "name": one.name, "fingerprint": one.fingerprint}
            for one in cards
        ],
        "file": str(output),
    }


def backed_up(cards: Sequence[Card], threshold: int, output: Path) -> Group:
    """Return who can open a backup, to be compared, and where it is."""
    line = headline(
        "✓", GOOD, f"the keys are backed up: {threshold} of {len(cards)} custodians can open it"
    )
    rows = [(text.visible(one.name), one.fingerprint) for one in cards]
    following = "compare the fingerprints with the custodians, and keep the file where they find it"
    return Group(line, facts([*rows, ("in", path(output)), ("next", following)]))


def release_record(found: Backup, output: Path, called: str | None) -> Record:
    """Return the record of a share that was released."""
    return {
        "event": "share_released",
        "station": found.card.station.hex(),
        "contact": called,
        "fingerprint": found.card.fingerprint,
        "backup": found.id.hex(),
        "created": found.created,
        "threshold": found.threshold,
        "custodians": len(found.custodians),
        "file": str(output),
    }


def released(found: Backup, output: Path, called: str | None) -> Group:
    """Return whose share it is, and what to do with it."""
    line = headline("✓", OPEN, "your share is written; whoever holds enough of them can read all")
    whose = called or f"{found.card.name}, not a contact of yours"
    rows = [
        ("keys of", text.visible(whose)),
        ("fingerprint", found.card.fingerprint),
        ("made", text.moment(found.created)),
        ("opened by", f"{found.threshold} of {len(found.custodians)} shares"),
        ("in", path(output)),
        ("next", "hand it over in person, or sealed: medshare send; then erase the file"),
    ]
    return Group(line, facts(rows))


def restore_record(station: Station, created: int) -> Record:
    """Return the record of a station that was brought back."""
    return {
        "event": "keys_restored",
        "station": station.id.hex(),
        "name": station.card.name,
        "fingerprint": station.card.fingerprint,
        "generation": station.card.current.number,
        "backup_created": created,
        "home": str(station.home),
    }


def restored(station: Station, created: int) -> Group:
    """Return which station is back, and what to do next."""
    line = headline("✓", GOOD, f"the keys of {text.visible(station.card.name)} are back")
    rows = [
        ("fingerprint", station.card.fingerprint),
        ("station", station.id.hex()),
        ("as of", text.moment(created)),
        ("in", shlex.quote(str(station.home))),
        ("next", "erase the files of shares, then: medshare keys check; medshare rotate-key"),
    ]
    return Group(line, facts(rows))
