"""New key-encryption keys for the tiers of a station, without touching a byte of ciphertext.

For each tier, in this order; a second run after any interruption goes on with the same key:

1. The history notes which key is to come, then the key is made.  From here on whatever is
   sent or received is wrapped under it.
2. For each parcel at hand of that tier, the parcel key is unwrapped with the old key and
   wrapped under the new one, into the file `wrap` beside the envelope.
3. Old keys that nothing at hand needs any more are destroyed; the history keeps a record.
4. The history notes that the rotation is done.

A parcel whose key does not unwrap is named and the rest goes on.  The old key it needs stays;
if that key is gone altogether, the stanza of its envelope may still open it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medshare.audit.entries import Act
from medshare.errors import MedshareError, NoIdentityMatchError, StorageError, UsageError
from medshare.keys.base import KeyStore
from medshare.sealing import ParcelKey, unwrap_parcel_key
from medshare.sharing.at_hand import (
    Failed,
    OnProgress,
    Unwrapped,
    parcels_at_hand,
    say_nothing,
    wrap_all,
)
from medshare.sharing.wrapped import read_envelope, read_wrap
from medshare.station import Identity, Station
from medshare.station.identity import identity_of
from medshare.station.key_book import Entry, Happened
from medshare.station.tier_keys import TierKeys, tier_of


@dataclass(frozen=True, slots=True)
class Scope:
    """Which parcels a rotation looks at beside those in outbox, inbox and vaults, and how."""

    folders: Sequence[Path] = ()
    """Further parcels."""
    towards: Mapping[str, str] = field(default_factory=dict)
    """By tier, KEKs that are there already and to be used."""
    leaving: Collection[Path] = ()
    """Parcels to be left alone; the KEKs that they need are kept."""


@dataclass(frozen=True, slots=True)
class TierRotation:
    """What became, or would become, of the keys of one tier."""

    tier: str
    label: str
    """The KEK that is in use afterwards."""
    resumed: bool
    """Whether an interrupted rotation was completed rather than a new one begun."""
    destroyed: tuple[str, ...]
    """Old KEKs that nothing at hand needed any more; in a dry run none is known."""
    kept: tuple[str, ...]
    """Old KEKs that a parcel which could not be wrapped anew still needs."""


@dataclass(frozen=True, slots=True)
class TierRotations:
    """What a rotation of one or more tiers did, or would do."""

    tiers: tuple[TierRotation, ...]
    rewrapped: int
    unchanged: int
    failed: tuple[Failed, ...]


def rotate_tiers(
    station: Station,
    store: KeyStore,
    tiers: Collection[str],
    *,
    now: int,
    scope: Scope | None = None,
    dry_run: bool = False,
    on_progress: OnProgress = say_nothing,
) -> TierRotations:
    """Give each of *tiers* a new KEK, or complete a rotation that was interrupted.

    The keys of parcels in outbox, inbox and vaults are wrapped anew, and of those in *scope*.
    *now* is in seconds since 1970 UTC.  Raises UsageError when one of its folders holds no
    parcel or the clock is wrong, PolicyError when a tier's key may not be used so often,
    StorageError or TokenError when something cannot be written; the next run goes on.
    """
    scope = scope or Scope()
    with station.changing():
        keys = station.tier_keys(store, lambda: now)
        _require_clock(keys, tiers, now)
        parcels = parcels_at_hand(station, scope.folders)
        targets = {tier: Target.of(keys, tier, scope.towards.get(tier)) for tier in sorted(tiers)}
        if not dry_run:
            for target in targets.values():
                station.record.note(Act.ROTATE, tier=target.tier)
                target.begin(keys, now)
        identity = identity_of(station.card, store, keys)
        labels = {tier: target.label for tier, target in targets.items()}
        look = Looking(identity, keys, labels, scope.leaving)
        tally = wrap_all(parcels, look, keys, dry_run=dry_run, on_progress=on_progress)
        done, failed = tally
        results = [one.end(keys, look.needed, now, dry_run=dry_run) for one in targets.values()]
        if not dry_run:
            station.record.anchor(identity.signers)
    unchanged = len(parcels) - done - len(failed)
    return TierRotations(tuple(results), done, unchanged, failed)


@dataclass(frozen=True, slots=True)
class Target:
    """The KEK that a tier is to have."""

    tier: str
    label: str
    resumed: bool

    @classmethod
    def of(cls, keys: TierKeys, tier: str, label: str | None = None) -> "Target":
        """Return *label*, the KEK of an interrupted rotation of *tier*, or a new one."""
        begun = label or unfinished(keys, tier)
        return cls(tier, begun or keys.next_label(tier), begun is not None)

    def begin(self, keys: TierKeys, now: int) -> None:
        """Note what is to come, and make the key; a second time this does nothing."""
        with keys.book.exclusive():
            if not self.resumed:
                keys.book.add(Entry(now, Happened.ROTATION_BEGUN, self.label))
            keys.make(self.label)

    def end(
        self, keys: TierKeys, needed: Collection[str], now: int, *, dry_run: bool
    ) -> TierRotation:
        """Destroy the old KEKs but those *needed*, and note that the rotation is done."""
        old = [kek.label for kek in keys.of(self.tier) if kek.label != self.label]
        kept = tuple(label for label in old if label in needed)
        destroyed = () if dry_run else tuple(label for label in old if label not in kept)
        if not dry_run:
            with keys.book.exclusive():
                for label in destroyed:
                    keys.destroy(label, f"nothing at hand needs it since {self.label}")
                keys.book.add(*_gone(keys, self.tier, now))
                keys.book.add(Entry(now, Happened.ROTATION_DONE, self.label))
        return TierRotation(self.tier, self.label, self.resumed, destroyed, kept)


def unfinished(keys: TierKeys, tier: str) -> str | None:
    """Return the label of the KEK to which a rotation of *tier* was begun and not completed."""
    entries = keys.book.entries()
    done = {one.key for one in entries if one.what == Happened.ROTATION_DONE}
    begun = [
        one.key
        for one in entries
        if one.what == Happened.ROTATION_BEGUN and tier_of(one.key) == tier
    ]
    last = begun[-1] if begun else None
    return None if last in done or last in keys.revoked() else last


def _gone(keys: TierKeys, tier: str, now: int) -> list[Entry]:
    """Return entries for KEKs that were destroyed by a run that could not note it any more."""
    entries = keys.book.entries()
    noted = {one.key for one in entries if one.what == Happened.DESTROYED}
    here = {kek.label for kek in keys.of(tier)}
    made = {one.key for one in entries if one.what == Happened.MADE and tier_of(one.key) == tier}
    return [
        Entry(now, Happened.DESTROYED, label, "found to be gone")
        for label in sorted(made - noted - here)
    ]


def _require_clock(keys: TierKeys, tiers: Collection[str], now: int) -> None:
    for kek in keys.all():
        if tier_of(kek.label) in tiers and kek.created > now:
            raise UsageError(
                f"the clock of this machine shows a time before key '{kek.label}' was made",
                hint="set the clock, then try again",
            )


class Looking:
    """Looks at one parcel after the other for keys to wrap anew under *targets*, by tier."""

    def __init__(
        self,
        identity: Identity,
        keys: TierKeys,
        targets: Mapping[str, str],
        leaving: Collection[Path],
    ) -> None:
        self._identity = identity
        self._keys = keys
        self._targets = targets
        self._leaving = frozenset(leaving)
        self.needed: frozenset[str] = frozenset()
        """KEKs that parcels need for which this failed."""

    def __call__(self, folder: Path) -> Unwrapped | None:
        """Return the key of the parcel in *folder* if it is of such a tier, and not yet wrapped."""
        try:
            found = read_wrap(folder)
        except StorageError:
            self.needed |= self._all_old()
            raise
        except MedshareError as error:
            return self._from_envelope(folder, error)
        if found is None:
            return self._from_envelope(folder)
        parcel, wrapped = found
        target = self._targets.get(tier_of(wrapped.label))
        if target is None or target == wrapped.label:
            return None
        if folder in self._leaving:
            self.needed |= {wrapped.label}
            return None
        try:
            key = ParcelKey(self._keys.unwrap(wrapped))
        except MedshareError as error:
            try:
                return self._from_envelope(folder, error)
            except MedshareError as other:
                self.needed |= {wrapped.label}
                raise error from other
        return Unwrapped(parcel, tier_of(target), key)

    def _from_envelope(self, folder: Path, error: MedshareError | None = None) -> Unwrapped | None:
        """Return the key from the envelope's own stanza; raise *error* when that fails too."""
        envelope = read_envelope(folder)
        if envelope.tier not in self._targets:
            return None
        try:
            key = unwrap_parcel_key(envelope, self._identity.station, self._identity.openers)
        except NoIdentityMatchError:
            if error is not None:
                raise error from None
            return None
        return Unwrapped(envelope.parcel, envelope.tier, key)

    def _all_old(self) -> frozenset[str]:
        return frozenset(
            kek.label
            for tier, target in self._targets.items()
            for kek in self._keys.of(tier)
            if kek.label != target
        )
