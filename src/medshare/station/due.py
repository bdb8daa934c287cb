"""Which keys the policy says are to be replaced by now.

Told from card, history and counts alone, so that nobody has to unlock a keystore to learn that
nothing is due.  The keystore knows better where the history was lost: `tier_keys`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from medshare.keys.base import KeyStore
from medshare.station.home import Station
from medshare.station.key_book import IDENTITY, Entry, Happened, KeyBook
from medshare.station.tier_keys import number_of, tier_of

_USED_UP: Final = 0.9
"""The share of its permitted uses after which a key is due."""


_OTHER: Final = frozenset({"", IDENTITY})


@dataclass(frozen=True, slots=True)
class Due:
    """One key to be replaced: a tier or `identity`, which key it has now, and why."""

    key: str
    label: str
    reason: str


def keks_of_history(book: KeyBook) -> dict[str, int]:
    """Return when each KEK was made that the history knows of and does not say is destroyed."""
    entries = book.entries()
    gone = {one.key for one in entries if one.what == Happened.DESTROYED}
    return {
        one.key: one.at
        for one in entries
        if one.what == Happened.MADE and one.key not in gone and tier_of(one.key) not in _OTHER
    }


def keks_of_store(store: KeyStore) -> dict[str, int]:
    """Return when each KEK was made that is in *store*."""
    return {kek.label: kek.created for kek in store.keks() if number_of(kek.label) >= 0}


def due_keys(station: Station, keks: dict[str, int], *, now: int) -> tuple[Due, ...]:
    """Return what is to be replaced at *now*, in seconds since 1970 UTC: identity, then tiers.

    *keks* are the KEKs that there are, and when they were made.
    """
    book = KeyBook(station.home)
    entries = book.entries()
    found = [*_identity(station, entries, now)]
    revoked = {one.key for one in entries if one.what == Happened.REVOKED}
    uses = book.uses()
    for tier in sorted({tier_of(label) for label in keks}):
        label = max((one for one in keks if tier_of(one) == tier), key=number_of)
        reason = _reason(station, tier, keks[label], uses.get(label, 0), now)
        if label in revoked:
            reason = "it is revoked"
        elif _is_begun(label, entries):
            reason = "its rotation was interrupted"
        if reason:
            found.append(Due(tier, label, reason))
    return tuple(found)


def _identity(station: Station, entries: Iterable[Entry], now: int) -> Iterable[Due]:
    current = station.card.current
    label = f"{IDENTITY}/{current.number}"
    due = station.policy.identity_due_at(current.created)
    if any(one.what == Happened.REVOKED and one.key == label for one in entries):
        yield Due(IDENTITY, label, "it is revoked")
    elif due is not None and due <= now:
        yield Due(IDENTITY, label, "its time is over")


def _reason(station: Station, tier: str, created: int, uses: int, now: int) -> str:
    """Return why the KEK of *tier* is due, or an empty text when it is not."""
    rules = station.policy.find(tier)
    if rules is None:
        return ""
    due = rules.due_at(created)
    if due is not None and due <= now:
        return "its time is over"
    if uses >= _USED_UP * rules.max_uses:
        return "it has wrapped nearly as many keys as it may"
    return ""


def _is_begun(label: str, entries: Iterable[Entry]) -> bool:
    """Tell whether a rotation to *label* was begun and is not done."""
    about = [one.what for one in entries if one.key == label]
    return Happened.ROTATION_BEGUN in about and Happened.ROTATION_DONE not in about
