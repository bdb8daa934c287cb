"""Which keys the policy says are to be replaced by now.

Told from card, history and counts alone, so that nobody has to unlock a keystore to learn that
nothing is due.  The keystore knows better where the history was lost: `tier_keys`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from medshare.keys.base import KeyStore
from medshare.keys.kek import AES_KW, ALGORITHM_OF_SUITE
from medshare.station.home import Station
from medshare.station.key_book import IDENTITY, Entry, Happened, KeyBook
from medshare.station.tier_keys import number_of, tier_of, wrapping_suite

_USED_UP: Final = 0.9
"""The share of its permitted uses after which a key is due."""


_OTHER: Final = frozenset({"", IDENTITY})


@dataclass(frozen=True, slots=True)
class Due:
    """One key to be replaced: a tier or `identity`, which key it has now, and why."""

    key: str
    label: str
    reason: str


@dataclass(frozen=True, slots=True)
class Kek:
    """What is known of one KEK: when it was made, in seconds since 1970 UTC, and how it wraps."""

    created: int
    algorithm: str = AES_KW


def keks_of_history(book: KeyBook) -> dict[str, Kek]:
    """Return the KEKs that the history knows of and does not say are destroyed."""
    entries = book.entries()
    gone = {one.key for one in entries if one.what == Happened.DESTROYED}
    return {
        one.key: Kek(one.at, one.note or AES_KW)
        for one in entries
        if one.what == Happened.MADE and one.key not in gone and tier_of(one.key) not in _OTHER
    }


def keks_of_store(store: KeyStore) -> dict[str, Kek]:
    """Return the KEKs that are in *store*."""
    found = [kek for kek in store.keks() if number_of(kek.label) >= 0]
    return {kek.label: Kek(kek.created, kek.algorithm) for kek in found}


def due_keys(station: Station, keks: Mapping[str, Kek], *, now: int) -> tuple[Due, ...]:
    """Return what is to be replaced at *now*, in seconds since 1970 UTC: identity, then tiers.

    *keks* are the KEKs that there are.
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


def _reason(station: Station, tier: str, kek: Kek, uses: int, now: int) -> str:
    """Return why the KEK of *tier* is due, or an empty text when it is not."""
    rules = station.policy.find(tier)
    if rules is None:
        return ""
    current = station.card.current
    algorithms = [key.algorithm for key in (*current.sign_keys, *current.kem_keys)]
    wanted = wrapping_suite(station.policy, tier, algorithms, station.backend)
    if kek.algorithm != ALGORITHM_OF_SUITE[wanted]:
        return f"it wraps by {kek.algorithm}, and {ALGORITHM_OF_SUITE[wanted]} is demanded"
    due = rules.due_at(kek.created)
    if due is not None and due <= now:
        return "its time is over"
    if uses >= _USED_UP * rules.max_uses:
        return "it has wrapped nearly as many keys as it may"
    return ""


def _is_begun(label: str, entries: Iterable[Entry]) -> bool:
    """Tell whether a rotation to *label* was begun and is not done."""
    about = [one.what for one in entries if one.key == label]
    return Happened.ROTATION_BEGUN in about and Happened.ROTATION_DONE not in about
