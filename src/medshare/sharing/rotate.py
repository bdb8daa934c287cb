"""New identity keys for a station, without meeting its contacts again and without moving data.

A rotation writes in this order, and a second run after any interruption goes on where
the first one stopped, with the same new keys:

1. The new keys go into the keystore, marked pending.
2. The card with the new generation, signed by the new and by the old keys, takes the
   place of the old card.  From here on the station uses the new keys.
3. For each parcel at hand, the parcel key is wrapped to the new key into a file `rewrap`
   beside the envelope.  Envelope and ciphertext are not touched.
4. The pending mark is taken away.

Old secret keys stay in the keystore, for parcels that are not at hand.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from medshare import canonical
from medshare.disk.atomic import read_file, storage_errors, write_file
from medshare.envelope import MAX_ENVELOPE_SIZE, Envelope, Stanza, parse_envelope
from medshare.errors import FormatError, MedshareError, UsageError
from medshare.ids import STATION_ID_SIZE, StationId
from medshare.keys.base import KeyStore, newest_generation, pending_generation
from medshare.sealing import ParcelKey, key_id, unwrap_parcel_key, wrap_parcel_key
from medshare.station import Identity, Station
from medshare.station.identity import identity_of
from medshare.suites.base import KEY_ID_SIZE, PublicKey
from medshare.trust.card import Card, Generation, issue

REWRAP_FILE: Final = "rewrap"
ENVELOPE_FILE: Final = "envelope"
LABEL: Final = "medshare/1 rewrap"
MAX_STANZAS: Final = 4
MAX_REWRAP: Final = 1 << 16
_MAX_WRAPPED: Final = 4096
_MAX_ITEMS: Final = 64
_WHAT: Final = "a re-wrapped key"

OnProgress = Callable[[int, int], None]
"""Called with the number of parcels looked at, and of all."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A parcel whose key could not be re-wrapped, and why; its old key is still held."""

    folder: Path
    error: MedshareError


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did, or would do."""

    generation: int
    card: Card
    """The station's card afterwards; the present one in a dry run."""
    resumed: bool
    """Whether an earlier, interrupted rotation was completed rather than a new one made."""
    rewrapped: int
    """Parcels whose key was wrapped to the new keys; in a dry run, would be."""
    unchanged: int
    """Parcels that were wrapped to the new keys already, or are not addressed to this station."""
    failed: tuple[Failed, ...]


def parcel_key(envelope: Envelope, folder: Path, identity: Identity) -> ParcelKey:
    """Return the key of the parcel in *folder*: from the file `rewrap`, else from *envelope*.

    Raises NoIdentityMatchError when it is not addressed to *identity*, IntegrityError
    when the key is not the one that the envelope commits to.
    """
    key = _rewrapped_key(envelope, folder, identity)
    return key or unwrap_parcel_key(envelope, identity.station, identity.openers)


def rotate_identity(
    station: Station,
    store: KeyStore,
    *,
    now: int,
    folders: Sequence[Path] = (),
    dry_run: bool = False,
    on_progress: OnProgress = lambda done, total: None,  # noqa: ARG005
) -> Rotation:
    """Give *station* new keys, or complete a rotation that was interrupted.

    Parcels in outbox and inbox, and those in *folders*, are re-wrapped.  One that cannot
    be is named in the result, and the rest goes on.  *now* is in seconds since 1970 UTC.
    Raises UsageError when one of *folders* holds no parcel or the clock is wrong,
    LimitError when no further generation is possible, StorageError when something cannot
    be written; what is done then is kept, and the next run goes on.
    """
    with station.changing():
        identity = identity_of(station.card, store)
        _require_possible(station.card, folders, now)
        parcels = list(_parcels(station, folders))
        pending = pending_generation(store)
        number = newest_generation(store) + 1 if pending is None else pending
        if not dry_run:
            store.prepare(created=now)
            while station.card.current.number < number:
                station.replace_card(next_card(station.card, store))
            identity = identity_of(station.card, store)
        switched = station.card.current.number == number
        target = station.card.current.kem_keys if switched else ()
        tally = _rewrap_all(parcels, identity, target, dry_run=dry_run, on_progress=on_progress)
        if not dry_run:
            store.settle(number)
    done, failed = tally
    return Rotation(
        generation=number,
        card=station.card,
        resumed=pending is not None,
        rewrapped=done,
        unchanged=len(parcels) - done - len(failed),
        failed=failed,
    )


def next_card(card: Card, store: KeyStore) -> Card:
    """Return *card* with the generation of *store* that follows, signed by new and old keys."""
    number = card.current.number + 1
    signers, openers = store.signers(number), store.openers(number)
    created = next(r.created for r in store.records() if r.generation == number)
    generation = Generation(
        station=card.station,
        number=number,
        name=card.name,
        suite=card.current.suite,
        created=created,
        sign_keys=tuple(signer.public for signer in signers),
        kem_keys=tuple(opener.public for opener in openers),
    )
    return issue(generation, signers, before=card, old=store.signers(number - 1))


def _require_possible(card: Card, folders: Sequence[Path], now: int) -> None:
    if now < card.current.created:
        raise UsageError(
            "the clock of this machine shows a time before the present keys were made",
            hint="set the clock, then try again",
        )
    for folder in folders:
        if not (folder / ENVELOPE_FILE).is_file():
            raise UsageError(f"{folder} is not the folder of a sealed parcel")


def _parcels(station: Station, folders: Sequence[Path]) -> Iterator[Path]:
    """Each folder that holds an envelope, once."""
    seen = set()
    for box in (station.home / "outbox", station.home / "inbox"):
        with storage_errors("list the parcels at hand"):
            inside = sorted(box.iterdir()) if box.is_dir() else []
        for folder in inside:
            if (folder / ENVELOPE_FILE).is_file():
                seen.add(folder.resolve())
                yield folder
    for folder in folders:
        if folder.resolve() not in seen:
            seen.add(folder.resolve())
            yield folder


def _rewrap_all(
    parcels: Sequence[Path],
    identity: Identity,
    target: Sequence[PublicKey],
    *,
    dry_run: bool,
    on_progress: OnProgress,
) -> tuple[int, tuple[Failed, ...]]:
    """Re-wrap to *target* where that is needed; return how many, and what failed."""
    done = 0
    failed = []
    for index, folder in enumerate(parcels):
        on_progress(index, len(parcels))
        try:
            found = _outdated(folder, identity, target)
        except MedshareError as error:
            failed.append(Failed(folder, error))
            continue
        if found is None:
            continue
        done += 1
        if not dry_run:
            octets = encode_rewrap(*found, identity.station, target)
            write_file(folder / REWRAP_FILE, octets, what=_WHAT)
    on_progress(len(parcels), len(parcels))
    return done, tuple(failed)


def _outdated(
    folder: Path, identity: Identity, target: Sequence[PublicKey]
) -> tuple[Envelope, ParcelKey] | None:
    """Return envelope and key of a parcel for *identity* that *target* does not open yet."""
    data = read_file(folder / ENVELOPE_FILE, limit=MAX_ENVELOPE_SIZE, what="an envelope")
    envelope = parse_envelope(data)
    own = envelope.stanzas_for(identity.station)
    current = {key_id(envelope.cipher_suite, key) for key in target}
    if not own or any(stanza.key_id in current for stanza in own):
        return None
    openers = tuple(one for one in identity.openers if one.public in target)
    if _rewrapped_key(envelope, folder, replace(identity, openers=openers)) is not None:
        return None
    return envelope, parcel_key(envelope, folder, identity)


def _rewrapped_key(envelope: Envelope, folder: Path, identity: Identity) -> ParcelKey | None:
    """Return the key in the file `rewrap`, or None where there is none that fits.

    A file that is damaged costs nothing while the envelope's own stanza opens.
    """
    path = folder / REWRAP_FILE
    if not path.exists():
        return None
    try:
        stanzas = parse_rewrap(read_file(path, limit=MAX_REWRAP, what=_WHAT), envelope)
        renewed = replace(envelope, recipients=stanzas)
        return unwrap_parcel_key(renewed, identity.station, identity.openers)
    except MedshareError:
        return None


def encode_rewrap(
    envelope: Envelope, key: ParcelKey, station: StationId, target: Sequence[PublicKey]
) -> bytes:
    """Return the content of `rewrap`: *key* wrapped to each of *target*, keys of *station*.

    CBOR `["medshare/1 rewrap", parcel, [[station, algorithm, key id, wrapped], …]]`.
    """
    suite, parcel = envelope.cipher_suite, envelope.parcel
    stanzas = [
        wrap_parcel_key(key, suite, parcel, sender=envelope.sender, recipient=station, to=public)
        for public in target
    ]
    items: list[canonical.Value] = [
        [one.station, one.algorithm, one.key_id, one.wrapped] for one in stanzas
    ]
    return canonical.encode([LABEL, parcel, items])


def parse_rewrap(data: bytes, envelope: Envelope) -> tuple[Stanza, ...]:
    """Return the stanzas in *data*; raise FormatError unless they are for this parcel."""
    match canonical.decode(data, limit=MAX_REWRAP, what=_WHAT, items=_MAX_ITEMS):
        case [label, parcel, list() as items] if label == LABEL and len(items) <= MAX_STANZAS:
            if parcel != envelope.parcel:
                raise FormatError("a re-wrapped key belongs to another parcel")
            return tuple(_stanza(item) for item in items)
    raise FormatError("a re-wrapped key is malformed")


def _stanza(item: object) -> Stanza:
    match item:
        case [bytes() as station, str() as algorithm, bytes() as name, bytes() as wrapped] if (
            len(station) == STATION_ID_SIZE
            and len(algorithm) <= 32
            and len(name) == KEY_ID_SIZE
            and len(wrapped) <= _MAX_WRAPPED
        ):
            return Stanza(StationId(station), algorithm, name, wrapped)
    raise FormatError("a re-wrapped key is malformed")
