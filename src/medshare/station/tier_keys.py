"""The key-encryption keys of a station, one in use for each tier.

A KEK is called `TIER/NUMBER`; the highest number of a tier is in use, unless it is revoked.
Those before it stay in the keystore while parcels still need them.  Every key that is
wrapped is counted first, durably, so that no KEK serves more often than policy allows, also
when the process dies in between.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from medshare.audit.entries import Act, Detail
from medshare.errors import KeyUnavailableError
from medshare.keys.base import KekRecord, KeyStore, newest_generation
from medshare.keys.kek import ALGORITHM_OF_SUITE
from medshare.keys.material import suite_at_rest
from medshare.station.key_book import Entry, Happened, KeyBook
from medshare.station.recording import StationRecord
from medshare.suites.base import KEY_SIZE
from medshare.trust.policy import Policy


@dataclass(frozen=True, slots=True, repr=False)
class WrappedKey:
    """A key wrapped under the KEK called *label*."""

    label: str
    wrapped: bytes


class TierKeys:
    """The KEKs in *store* for the station in *home*; used from one thread."""

    def __init__(
        self,
        store: KeyStore,
        policy: Policy,
        home: Path,
        clock: Callable[[], float] = time.time,
        *,
        record: StationRecord | None = None,
    ) -> None:
        self.book = KeyBook(home)
        self._record = record
        self._store = store
        self._policy = policy
        self._clock = clock

    def wrap(self, tier: str, key: bytes) -> WrappedKey:
        """Return *key* wrapped under the KEK of *tier*, which is made if there is none.

        Raises PolicyError when that KEK is used up, KeyUnavailableError, StorageError or
        TokenError when there is none to be had.
        """
        label = self.current(tier) or self.make_first(tier)
        self.count(label, 1)
        return self.wrap_counted(label, key)

    def wrap_counted(self, label: str, key: bytes) -> WrappedKey:
        """Return *key* wrapped under the KEK called *label*, for which it was counted."""
        return WrappedKey(label, self._store.wrap_key(label, key))

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """Return the key in *wrapped*.

        Raises KeyUnavailableError when its KEK is not here, IntegrityError when it does not
        open.
        """
        return self._store.unwrap_key(wrapped.label, wrapped.wrapped)

    def of(self, tier: str) -> tuple[KekRecord, ...]:
        """Return the KEKs of *tier* that are here, oldest first."""
        found = [kek for kek in self._store.keks() if tier_of(kek.label) == tier]
        return tuple(sorted(found, key=lambda kek: number_of(kek.label)))

    def all(self) -> tuple[KekRecord, ...]:
        """Return all tier KEKs that are here, by tier and age."""
        found = [kek for kek in self._store.keks() if number_of(kek.label) >= 0]
        return tuple(sorted(found, key=lambda kek: (tier_of(kek.label), number_of(kek.label))))

    def current(self, tier: str) -> str | None:
        """Return the label of the KEK that *tier* uses, or None while it has none."""
        found = self.of(tier)
        if not found or found[-1].label in self.revoked():
            return None
        return found[-1].label

    def revoked(self) -> frozenset[str]:
        """Return the labels of the KEKs that were revoked."""
        entries = self.book.entries()
        return frozenset(one.key for one in entries if one.what == Happened.REVOKED)

    def make_first(self, tier: str) -> str:
        """Make the first KEK of *tier*, or the one after a revoked one; return its label."""
        with self.book.exclusive():
            label = self.current(tier) or self._made_meanwhile(tier)
            if label is None:
                label = self.next_label(tier)
                self.make(label)
        return label

    def _made_meanwhile(self, tier: str) -> str | None:
        """Return the KEK of *tier* that another process has made since the keystore was opened."""
        made = [one.key for one in self.book.entries() if one.what == Happened.MADE]
        label = max((one for one in made if tier_of(one) == tier), key=number_of, default=None)
        if label is None or label in self.revoked():
            return None
        try:
            self._store.wrap_key(label, bytes(KEY_SIZE))
        except KeyUnavailableError:
            return None
        return label

    def make(self, label: str) -> None:
        """Make the KEK called *label* if it is not there, and note that in the history."""
        now = int(self._clock())
        if not any(kek.label == label for kek in self._store.keks()):
            suite = self.suite_for(tier_of(label))
            self.book.add(Entry(now, Happened.MADE, label, ALGORITHM_OF_SUITE[suite]))
            self._store.make_kek(label, created=now, suite=suite)

    def suite_for(self, tier: str) -> str:
        """Return the suite by whose algorithm the KEKs of *tier* are to wrap."""
        newest = newest_generation(self._store)
        records = [one for one in self._store.records() if one.generation == newest]
        algorithms = [one.public.algorithm for one in records]
        return wrapping_suite(self._policy, tier, algorithms, self._store.backend)

    def next_label(self, tier: str) -> str:
        """Return a label that no KEK of *tier* ever had, as far as is known."""
        known = [kek.label for kek in self.of(tier)]
        known += [one.key for one in self.book.entries() if tier_of(one.key) == tier]
        return f"{tier}/{1 + max(map(number_of, known), default=-1)}"

    def count(self, label: str, uses: int) -> None:
        """Count *uses* of the KEK called *label* before they happen.

        Raises PolicyError when they are more than its tier allows; then none is counted.
        """
        tier = self._policy.find(tier_of(label))
        with self.book.exclusive():
            counted = self.book.uses()
            counted[label] = counted.get(label, 0) + uses
            if tier is not None:
                tier.require_uses(label, counted[label])
            here = {kek.label for kek in self._store.keks()}
            self.book.set_uses({name: n for name, n in counted.items() if name in {*here, label}})

    def destroy(self, label: str, note: str = "") -> None:
        """Destroy the KEK called *label*; history and record keep that it existed."""
        if self._record is not None:
            details = {Detail.GENERATION: number_of(label)}
            self._record.note(Act.DESTROY, tier=tier_of(label), details=details)
        self._store.destroy_kek(label)
        self.book.add(Entry(int(self._clock()), Happened.DESTROYED, label, note))

    def require(self, label: str) -> None:
        """Raise KeyUnavailableError unless the KEK called *label* is here."""
        if not any(kek.label == label for kek in self._store.keks()):
            raise KeyUnavailableError(f"there is no key '{label}' here")


def wrapping_suite(policy: Policy, tier: str, algorithms: Iterable[str], backend: str) -> str:
    """Return the suite by whose algorithm a KEK of *tier* is to wrap.

    It is that of a tier which allows one suite alone, else the one that protects keys of these
    *algorithms*, the newest of the station; tokens offer AES alone.
    """
    if backend == "pkcs11":
        return "intl"
    rules = policy.find(tier)
    if rules is not None and len(rules.suites) == 1:
        return rules.suites[0]
    return suite_at_rest(algorithms)


def tier_of(label: str) -> str:
    """Return the tier whose KEK is called *label*; empty where the label names none."""
    tier, _, number = label.rpartition("/")
    return tier if number.isascii() and number.isdecimal() else ""


def number_of(label: str) -> int:
    """Return the number of the KEK called *label* within its tier; -1 where it has none."""
    _, _, number = label.rpartition("/")
    return int(number) if tier_of(label) and len(number) < 10 else -1
