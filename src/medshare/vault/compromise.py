"""A key that others may have: revoke it, seal anew what it protected, and say what it laid open.

The steps, each of which a second run completes when it was interrupted:

1. The history notes that the keys are revoked.  From here on nothing new is put under them.
2. For an identity: a new generation of keys, whose card declares the revocation.
3. New KEKs for the tiers concerned.  Sends that were under way are given up, and the lists of
   files of what was sent and received are destroyed: they are sealed under keys that are known.
4. Content of the vaults that the keys could open is sealed anew under fresh parcel keys, and
   the old ciphertext is destroyed.
5. The keys of all other parcels at hand are wrapped under the new KEKs; old KEKs are destroyed.
6. The history notes that the incident is closed, unless something failed.

Who has the identity keys of a keystore file has its KEKs as well, so an identity takes all
tiers along.
"""

import errno
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare.audit.entries import Act, Detail
from medshare.errors import MedshareError, UsageError
from medshare.ids import ParcelId
from medshare.keys.base import KeyStore, pending_generation
from medshare.sharing.at_hand import Failed
from medshare.sharing.rotate import Rotation, label_of, rotate_identity
from medshare.sharing.rotate_tiers import Scope, Target, TierRotations, rotate_tiers
from medshare.sharing.wrapped import read_envelope, read_wrap
from medshare.station import Station
from medshare.station.identity import identity_of
from medshare.station.key_book import IDENTITY, Entry, Happened, shortened
from medshare.station.tier_keys import TierKeys, number_of, tier_of
from medshare.vault.exposure import (
    Exposure,
    abandon_unfinished,
    destroy_manifests,
    exposed_manifests,
    exposures,
)
from medshare.vault.reseal import Resealed, finish_interrupted, reseal
from medshare.vault.store import Vault

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})

OnResealed = Callable[[int, int, int], None]
"""Called with the number of parcels sealed anew, of all, and the octets so far."""


@dataclass(frozen=True, slots=True)
class Report:
    """Which key it is about, and what those who revoke it know; times in seconds since 1970."""

    key: str
    """A tier, the label of a KEK, or `identity`."""
    now: int
    reason: str = ""
    since: int = 0
    """Since when others may have had it; 0 for now."""


@dataclass(frozen=True, slots=True)
class Incident:
    """What was done about a compromised key, or would be."""

    key: str
    tiers: tuple[str, ...]
    resumed: bool
    identity: Rotation | None
    rotations: TierRotations
    resealed: tuple[Resealed, ...]
    to_reseal: int
    """Parcels of vaults that were, or would be, sealed anew."""
    abandoned: tuple[ParcelId, ...]
    exposed: tuple[Exposure, ...]
    failed: tuple[Failed, ...]
    manifests: int = 0
    """Lists of files, of what was sent and received, that were destroyed, or would be."""


def compromised(
    station: Station,
    store: KeyStore,
    vaults: Sequence[Vault],
    report: Report,
    *,
    dry_run: bool = False,
    on_resealed: OnResealed = lambda done, total, octets: None,  # noqa: ARG005
) -> Incident:
    """Do all of the above for the key in *report*, or complete it; *vaults* are all there are.

    Content that cannot be sealed anew is named in the result, keeps the old KEK that it
    needs, and leaves the incident open.  Raises UsageError when there is no such key or the
    clock is wrong, StorageError, PolicyError or TokenError when something cannot be written.
    """
    keys = station.tier_keys(store, lambda: report.now)
    case = _Case(station, store, keys, report)
    exposed = exposures(station, vaults, case.exposed_tiers)
    resumed = case.is_open()
    if dry_run:
        return _planned(case, vaults, exposed, resumed=resumed)
    return _done(case, vaults, exposed, on_resealed, resumed=resumed)


def _done(
    case: "_Case",
    vaults: Sequence[Vault],
    exposed: Sequence[Exposure],
    on_resealed: OnResealed,
    *,
    resumed: bool,
) -> Incident:
    """Take the steps; return what became of each."""
    report = case.report
    case.revoke()
    identity = case.renew_identity()
    abandoned = abandon_unfinished(case.station, case.exposed_tiers)
    manifests = destroy_manifests(case.station, case.exposed_tiers)
    targets = case.new_tier_keys()
    anew = _reseal_all(case, vaults, on_resealed)
    scope = Scope(towards=targets, leaving=[one.folder for one in anew.failed])
    rotations = rotate_tiers(case.station, case.store, case.tiers, now=report.now, scope=scope)
    failed = (*anew.failed, *rotations.failed)
    if not failed:
        case.keys.book.add(Entry(report.now, Happened.INCIDENT_DONE, case.name))
    return Incident(
        key=report.key,
        tiers=case.tiers,
        resumed=resumed,
        identity=identity,
        rotations=rotations,
        resealed=tuple(anew.done),
        to_reseal=len(anew.done) + len(anew.failed),
        abandoned=tuple(abandoned),
        exposed=tuple(exposed),
        failed=failed,
        manifests=manifests,
    )


class _Case:
    """One key, the tiers that it concerns, and how far an earlier run came."""

    def __init__(self, station: Station, store: KeyStore, keys: TierKeys, report: Report) -> None:
        self.station = station
        self.store = store
        self.keys = keys
        self.report = report
        labels = [kek.label for kek in keys.all()] + [one.key for one in keys.book.entries()]
        known = {tier_of(label) for label in labels} - {"", IDENTITY}
        self.is_identity = report.key == IDENTITY
        tier = report.key if report.key in known else tier_of(report.key)
        if not self.is_identity and tier not in known:
            raise UsageError(
                f"there is no key '{report.key}' here",
                hint=f"known are {', '.join([IDENTITY, *sorted(known)])}; "
                "medshare keys list shows all",
            )
        if report.since > report.now:
            raise UsageError("a key cannot have been compromised in the future")
        self.tiers = tuple(sorted(known)) if self.is_identity else (tier,)
        self.name = IDENTITY if self.is_identity else tier

    @property
    def exposed_tiers(self) -> tuple[str, ...] | None:
        """The tiers whose parcels the key could open; None for all of them."""
        return None if self.is_identity else self.tiers

    def is_open(self) -> bool:
        """Tell whether an earlier run for this key was not completed."""
        about = [
            one.what
            for one in self.keys.book.entries()
            if one.key == self.name
            and one.what in {Happened.INCIDENT_BEGUN, Happened.INCIDENT_DONE}
        ]
        return about[-1:] == [Happened.INCIDENT_BEGUN]

    def revoke(self) -> None:
        """Note that the keys are revoked, unless an earlier run did; the mark comes last."""
        if self.is_open():
            return
        report, labels = (
            self.report,
            [kek.label for tier in self.tiers for kek in self.keys.of(tier)],
        )
        if self.is_identity:
            if pending_generation(self.store) is not None:
                rotate_identity(self.station, self.store, now=report.now)
            labels += [label_of(n) for n in range(self.station.card.current.number + 1)]
        elif number_of(report.key) >= 0:
            labels.append(report.key)
        note, since, revoked = shortened(report.reason), report.since, self.keys.revoked()
        entries = [
            Entry(report.now, Happened.REVOKED, label, note, since)
            for label in dict.fromkeys(labels)
            if label not in revoked
        ]
        self.station.record.note(Act.REVOKE, details={Detail.COUNT: len(entries)})
        self.keys.book.add(*entries, Entry(report.now, Happened.INCIDENT_BEGUN, self.name, note))

    def renew_identity(self) -> Rotation | None:
        """Give the station keys that are not revoked, and a card that says so."""
        if not self.is_identity:
            return None
        revoked = label_of(self.station.card.current.number) in self.keys.revoked()
        if revoked or pending_generation(self.store) is not None:
            return rotate_identity(self.station, self.store, now=self.report.now)
        return None

    def new_tier_keys(self) -> dict[str, str]:
        """Return, by tier, a KEK that is not revoked, made where an earlier run did not."""
        targets = {}
        for tier in self.tiers:
            label = self.keys.current(tier)
            if label is None:
                target = Target.of(self.keys, tier)
                target.begin(self.keys, self.report.now)
                label = target.label
            targets[tier] = label
        return targets

    def to_reseal(self, vaults: Sequence[Vault]) -> list[tuple[Vault, ParcelId]]:
        """Return what is in *vaults* and under no key that is trusted still."""
        here = {kek.label for kek in self.keys.all()}
        good = here - self.keys.revoked() if self.is_open() else frozenset()
        return [
            (vault, parcel)
            for vault in vaults
            for parcel in vault.parcels()
            if self._is_exposed(vault.folder(parcel), good)
        ]

    def _is_exposed(self, folder: Path, good: Collection[str]) -> bool:
        try:
            wrap = read_wrap(folder)
            if wrap is not None and wrap[1].label in good:
                return False
            return self.is_identity or read_envelope(folder).tier in self.tiers
        except MedshareError:
            return True  # looked at again, and named


@dataclass(frozen=True, slots=True)
class _Anew:
    done: list[Resealed]
    failed: list[Failed]


def _reseal_all(case: _Case, vaults: Sequence[Vault], on_resealed: OnResealed) -> _Anew:
    """Seal anew what is to be; what fails for one parcel does not hold up the others."""
    for vault in vaults:
        finish_interrupted(vault)
    wanted = case.to_reseal(vaults)
    identity = identity_of(case.station.card, case.store, case.keys)
    anew, octets = _Anew([], []), 0
    for vault, parcel in wanted:
        on_resealed(len(anew.done), len(wanted), octets)
        try:
            resealed = reseal(vault, parcel, identity, now=case.report.now)
        except MedshareError as error:
            if is_disk_full(error):
                raise
            anew.failed.append(Failed(vault.folder(parcel), error))
            vault.tidy()
            continue
        octets += resealed.octets
        anew.done.append(resealed)
        note = f"{parcel.hex()} became {resealed.after.hex()}"
        case.keys.book.add(Entry(case.report.now, Happened.RESEALED, case.name, note))
    on_resealed(len(wanted), len(wanted), octets)
    return anew


def is_disk_full(error: MedshareError) -> bool:
    """Tell whether *error* says that nothing more can be written."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL


def _planned(
    case: _Case, vaults: Sequence[Vault], exposed: Sequence[Exposure], *, resumed: bool
) -> Incident:
    """Return what would be done; nothing is changed."""
    now = case.report.now
    identity = None
    if case.is_identity:
        identity = rotate_identity(case.station, case.store, now=now, dry_run=True)
    rotations = rotate_tiers(case.station, case.store, case.tiers, now=now, dry_run=True)
    return Incident(
        key=case.report.key,
        tiers=case.tiers,
        resumed=resumed,
        identity=identity,
        rotations=rotations,
        resealed=(),
        to_reseal=len(case.to_reseal(vaults)),
        abandoned=(),
        exposed=tuple(exposed),
        failed=rotations.failed,
        manifests=len(exposed_manifests(case.station, case.exposed_tiers)),
    )
