"""New identity keys for a station, without meeting its contacts again and without moving data.

A rotation writes in this order, and a second run after any interruption goes on where
the first one stopped, with the same new keys:

1. The new keys go into the keystore, marked pending.
2. The card with the new generation, signed by the new and by the old keys, takes the
   place of the old card.  From here on the station uses the new keys.
3. For each parcel at hand that needs the old keys, the parcel key is wrapped under the KEK
   of its tier into a file `wrap` beside the envelope.  Envelope and ciphertext are not
   touched.
4. The pending mark is taken away.

Old secret keys stay in the keystore, for parcels that are not at hand.

The new keys may be of another suite than the old ones: the station keeps its id, and whoever
has its card follows by the signatures of the old keys (format §10.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from medshare.audit.entries import Act, Detail
from medshare.errors import MedshareError, UsageError
from medshare.keys.base import KeyStore, newest_generation, pending_generation
from medshare.keys.material import kinds_for, token_suite_error
from medshare.sharing.at_hand import (
    Failed,
    OnProgress,
    Unwrapped,
    parcels_at_hand,
    say_nothing,
    wrap_all,
)
from medshare.sharing.wrapped import WRAP_FILE, parcel_key, read_envelope, wrapped_key
from medshare.station import Identity, Station
from medshare.station.identity import identity_of
from medshare.station.key_book import IDENTITY, Entry, Happened, KeyBook
from medshare.station.tier_keys import number_of, tier_of
from medshare.suites import suite_of_keys
from medshare.trust.card import Card, Generation, issue
from medshare.trust.revocation import Revocation


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did, or would do."""

    generation: int
    card: Card
    """The station's card afterwards; the present one in a dry run."""
    resumed: bool
    """Whether an earlier, interrupted rotation was completed rather than a new one made."""
    rewrapped: int
    """Parcels whose key was wrapped under the KEK of their tier; in a dry run, would be."""
    unchanged: int
    """Parcels that were wrapped already, or are not addressed to this station."""
    failed: tuple[Failed, ...]


def rotate_identity(
    station: Station,
    store: KeyStore,
    *,
    now: int,
    folders: Sequence[Path] = (),
    suite: str | None = None,
    dry_run: bool = False,
    on_progress: OnProgress = say_nothing,
) -> Rotation:
    """Give *station* new keys, or complete a rotation that was interrupted.

    They are of *suite* (`intl`, `gm`, or `gm+intl` for both families), or of the same kinds as
    the present ones.

    The keys of parcels in outbox, inbox and vaults, and of those in *folders*, are wrapped
    so that the old keys are not needed for them.  One for which that fails is named in the
    result, and the rest goes on.  *now* is in seconds since 1970 UTC.
    Raises UsageError when one of *folders* holds no parcel, the clock is wrong, or the
    keystore cannot have keys of *suite*,
    LimitError when no further generation is possible, StorageError when something cannot
    be written; what is done then is kept, and the next run goes on.
    """
    with station.changing():
        tiers = station.tier_keys(store, lambda: now)
        identity = identity_of(station.card, store, tiers)
        require_clock(station.card, now)
        parcels = parcels_at_hand(station, folders)
        pending = pending_generation(store)
        number = newest_generation(store) + 1 if pending is None else pending
        _require_suite(store, suite)
        if not dry_run:
            station.record.note(Act.ROTATE, details={Detail.GENERATION: number})
            if pending is None:
                tiers.book.add(Entry(now, Happened.MADE, label_of(number)))
            store.prepare(created=now, suite=suite)
            _show_new_keys(station, store, number, tiers.book)
            identity = identity_of(station.card, store, tiers)
        look = partial(_unwrapped, identity=identity)
        tally = wrap_all(parcels, look, tiers, dry_run=dry_run, on_progress=on_progress)
        if not dry_run:
            store.settle(number)
            tiers.book.add(Entry(now, Happened.ROTATION_DONE, label_of(number)))
            station.record.anchor(identity.signers)
    done, failed = tally
    unchanged = len(parcels) - done - len(failed)
    return Rotation(number, station.card, pending is not None, done, unchanged, failed)


def _require_suite(store: KeyStore, suite: str | None) -> None:
    """Raise UsageError, before anything is noted, when *store* cannot have keys of *suite*."""
    if suite is None:
        return
    kinds_for(suite)
    if store.backend == "pkcs11" and suite != "intl":
        raise token_suite_error(suite)


def label_of(generation: int) -> str:
    """Return how the history calls the identity keys of *generation*."""
    return f"{IDENTITY}/{generation}"


def _show_new_keys(station: Station, store: KeyStore, number: int, book: KeyBook) -> None:
    """Let the card show the keys up to generation *number*, and what is revoked."""
    while station.card.current.number < number:
        following = station.card.current.number + 1
        revoked = declared_revocation(book, station.card) if following == number else None
        station.replace_card(next_card(station.card, store, revoked))


def declared_revocation(book: KeyBook, card: Card) -> Revocation | None:
    """Return what the history says is revoked and *card* does not say yet, if anything."""
    told = {one.revoked.through for one in card.generations if one.revoked is not None}
    entries = [
        entry
        for entry in book.entries()
        if entry.what == Happened.REVOKED
        and tier_of(entry.key) == IDENTITY
        and max(told, default=-1) < number_of(entry.key) <= card.current.number
    ]
    if not entries:
        return None
    through = max(number_of(entry.key) for entry in entries)
    return Revocation(through, min(entry.since or entry.at for entry in entries))


def next_card(card: Card, store: KeyStore, revoked: Revocation | None = None) -> Card:
    """Return *card* with the generation of *store* that follows, signed by new and old keys."""
    number = card.current.number + 1
    signers, openers = store.signers(number), store.openers(number)
    created = next(r.created for r in store.records() if r.generation == number)
    if revoked is not None:
        revoked = Revocation(revoked.through, min(revoked.since, created), revoked.reason)
    sign_keys = tuple(signer.public for signer in signers)
    generation = Generation(
        station=card.station,
        number=number,
        name=card.name,
        suite=suite_of_keys(sign_keys).name,
        created=created,
        sign_keys=sign_keys,
        kem_keys=tuple(opener.public for opener in openers),
        revoked=revoked,
    )
    return issue(generation, signers, before=card, old=store.signers(number - 1))


def require_clock(card: Card, now: int) -> None:
    """Raise UsageError when *now* is before the present keys were made."""
    if now < card.current.created:
        raise UsageError(
            "the clock of this machine shows a time before the present keys were made",
            hint="set the clock, then try again",
        )


def _unwrapped(folder: Path, identity: Identity) -> Unwrapped | None:
    """Return the key of a parcel for *identity* that no KEK opens yet."""
    envelope = read_envelope(folder)
    try:
        if wrapped_key(envelope, folder, identity) is not None:
            return None
    except MedshareError:
        pass  # damaged, or its KEK is gone: made anew
    if not envelope.stanzas_for(identity.station) and not (folder / WRAP_FILE).exists():
        return None
    key = parcel_key(envelope, folder, identity)
    return Unwrapped(envelope.parcel, envelope.tier, key)
