"""The folder in which a station keeps everything: `MEDSHARE_HOME`.

    keys/keystore           secret keys, encrypted (keys/keystore.previous during a change);
                            or keys/token, when they are in a hardware token
    card                    the public half, verified at each opening
    contacts/<station>      trusted cards of others
    outbox/<parcel>/        what is being sent, and what was
    inbox/<parcel>/         what is being received, and what was
    receipts/               proofs of delivery
    sessions/               sessions at relays (`station.relay_sessions`)
    audit/                  the record of what this station did
    emergencies/            why the glass was broken, and what reviewers found
    openings/, withdrawals/ how often parcels were opened, and which grants were taken back
    policy.toml             what each sensitivity tier demands (`station.policy_file`)
    policy-seen             which policy the record speaks of last
    key-history, key-uses   what became of keys, and how often they were used
    config.toml             read by `config`, not here

A station exists from the moment its keystore is in place, which is the last step of
`create`.  What an interrupted `create` leaves behind is in `.init`, and goes at the next.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Final

from medshare.audit.entries import Act, Detail
from medshare.disk.atomic import fsync_folder, read_file, storage_errors, write_file
from medshare.disk.separation import require_place_for_keys
from medshare.errors import (
    AuthenticityError,
    FormatError,
    KeyUnavailableError,
    StorageError,
    UsageError,
)
from medshare.ids import ParcelId, StationId
from medshare.keys.base import Backend, KeyStore
from medshare.keys.file import KEYSTORE_FILE, FileBackend, previous_copy
from medshare.keys.kinds import KEYS_KEPT_ELSEWHERE, backend_of
from medshare.keys.lock import exclusive
from medshare.keys.sealed import DEFAULT_COST, KdfCost
from medshare.manifest import check_label
from medshare.station.contacts import Contacts
from medshare.station.identity import Identity, identity_of
from medshare.station.permissions import private_folder, require_private
from medshare.station.policy_file import POLICY_FILE, note_policy, policy_of
from medshare.station.recording import StationRecord
from medshare.station.tier_keys import TierKeys
from medshare.suites import suite_of_keys
from medshare.trust.card import (
    MAX_CARD_FILE,
    MAX_NAME,
    Card,
    Generation,
    issue,
    parse_card,
    station_id,
)
from medshare.trust.policy import Policy

_KEYS: Final = "keys"
_CARD, _STAGING, _LOCK = "card", ".init", "lock"
_FOLDERS: Final = ("contacts", "outbox", "inbox", "receipts")
_BEFORE: Final = frozenset({"config.toml", POLICY_FILE, _LOCK, _STAGING, _CARD, *_FOLDERS})
"""What a home may hold before it is a station."""
_CARD_WHAT: Final = "the card of this station"


class Station:
    """A station, locked: its public half, its contacts and its folders."""

    def __init__(self, home: Path, card: Card) -> None:
        self.home = home
        self.card = card
        self.record = StationRecord(home / "audit", card.station)
        self.contacts = Contacts(home / "contacts", card.station, self.record)

    @classmethod
    def create(
        cls,
        home: Path,
        *,
        name: str,
        passphrase: bytes,
        now: int,
        suite: str = "intl",
        cost: KdfCost = DEFAULT_COST,
    ) -> "Station":
        """Make *home* a station called *name*; *now* in seconds since 1970 UTC.

        Its keystore is a file, opened by *passphrase*; *suite* says which keys it has:
        `intl`, `gm`, or `gm+intl` for both.  Raises what `create_with` does.
        """
        return cls.create_with(FileBackend(passphrase, suite, cost), home, name=name, now=now)

    @classmethod
    def create_with(cls, backend: Backend, home: Path, *, name: str, now: int) -> "Station":
        """Make *home* a station called *name* whose keystore is of *backend*.

        *now* is in seconds since 1970 UTC.  When this is interrupted, there is no station,
        and the next call makes one.  Raises UsageError when there is one already or the name
        cannot serve, StorageError when it cannot be stored or others could read it, and what
        the backend raises.
        """
        home = home.absolute()
        _check_name(name)
        _prepare_home(home)
        with exclusive(home / _LOCK, wait=False, what="this station is being changed"):
            _clear_remains(home)
            staging = private_folder(home / _STAGING)
            keys = private_folder(staging / _KEYS)
            store = backend.create(keys, created=now)
            card = first_card(store, name=name, now=now)
            write_file(staging / _CARD, card.encoded, what=_CARD_WHAT)
            _make_folders(home)
            with storage_errors("put a new station in its place"):
                (staging / _CARD).rename(home / _CARD)
                fsync_folder(home)
                keys.rename(home / _KEYS)
                fsync_folder(home)
                staging.rmdir()
            made = cls(home, card)
            made.record.note(Act.INIT)
            made.record.anchor(store.signers(0))
        return made

    @classmethod
    def restore(
        cls, home: Path, card: Card, write: Callable[[Path], KeyStore], *, generations: int
    ) -> "Station":
        """Make *home* the station of *card* again, with a keystore that *write* makes.

        *write* gets the folder of the keystore, whose keys are *generations*.  A newer card
        in *home* stays.  Raises UsageError when there is a keystore already,
        AuthenticityError when the card in *home* is another station's, KeyUnavailableError
        when it shows keys that are newer than those of the keystore.
        """
        home = home.absolute()
        _prepare_home(home)
        with exclusive(home / _LOCK, wait=False, what="this station is being changed"):
            _require_no_keystore(home)
            card = _newest(home, card)
            if card.current.number >= generations:
                raise KeyUnavailableError(
                    "the backup is older than the last rotation of the keys of this station",
                    hint="use a newer backup; without one, make a new station elsewhere",
                )
            write_file(home / _CARD, card.encoded, what=_CARD_WHAT)
            _make_folders(home)
            store = write(private_folder(home / _KEYS))
            identity = identity_of(card, store)
            made = cls(home, card)
            made.record.note(Act.RESTORE, details={Detail.GENERATION: card.current.number})
            made.record.anchor(identity.signers)
        return made

    @classmethod
    def open(cls, home: Path) -> "Station":
        """Return the station in *home*.

        Raises UsageError when there is none, StorageError when others could read it, or
        its card is damaged.
        """
        home = home.absolute()
        if not (home / _KEYS).exists():
            unfinished = (home / _STAGING).exists()
            raise UsageError(
                f"there is no station in {home}" + (": making it was interrupted" * unfinished),
                hint="make one: medshare init",
            )
        require_private(home, what="the folder of this station")
        require_private(home / _KEYS, what="the folder of the keystore")
        require_place_for_keys(home)
        _require_keystore(home / _KEYS)
        return cls(home, _read_card(home / _CARD))

    @property
    def id(self) -> StationId:
        """The id that names this station for life."""
        return self.card.station

    @property
    def backend(self) -> str:
        """Which kind of keystore it has: `file`, `keyring` or `pkcs11`."""
        return backend_of(self.home / _KEYS)

    def __repr__(self) -> str:
        return f"Station({self.id.hex()[:10]})"

    def keystore(self, passphrase: bytes, *, cost: KdfCost = DEFAULT_COST) -> KeyStore:
        """Return the keystore, unlocked; one that costs less than *cost* to guess is raised to it.

        Raises PassphraseError, StorageError when it is damaged, UnsupportedVersionError.
        """
        return self.keystore_with(FileBackend(passphrase, cost=cost))

    def keystore_with(self, backend: Backend) -> KeyStore:
        """Return the keystore, unlocked by *backend*, which must be of its kind.

        Raises what the backend raises, and StorageError when the keystore is damaged.
        """
        return backend.open(self.home / _KEYS)

    def unlock(self, passphrase: bytes) -> Identity:
        """Return the secret half of this station.

        Raises PassphraseError, StorageError when the keystore is damaged, and
        KeyUnavailableError when it does not belong to the card.
        """
        return self.identity(self.keystore(passphrase))

    def identity(self, store: KeyStore) -> Identity:
        """Return the secret half of this station, whose keys are in *store*.

        Raises KeyUnavailableError when it does not belong to the card.
        """
        note_policy(self.home, self.record)
        return identity_of(self.card, store, self.tier_keys(store))

    def tier_keys(self, store: KeyStore, clock: Callable[[], float] = time.time) -> TierKeys:
        """Return the KEKs in *store*, what is destroyed of which goes into the record."""
        return TierKeys(store, self.policy, self.home, clock, record=self.record)

    @cached_property
    def policy(self) -> Policy:
        """The policy of this station, read once.

        Raises PolicyError when it is not valid, StorageError when it cannot be read.
        """
        return policy_of(self.home)

    def outbox(self, parcel: ParcelId) -> Path:
        """Return the folder, made if need be, of a parcel that this station sends."""
        return private_folder(self.home / "outbox" / parcel.hex())

    def inbox(self, parcel: ParcelId) -> Path:
        """Return the folder, made if need be, of a parcel that this station receives."""
        return private_folder(self.home / "inbox" / parcel.hex())

    def receipts(self) -> Path:
        """Return the folder, made if need be, of the receipts that this station keeps."""
        return private_folder(self.home / "receipts")

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other processes from changing the identity of this station inside the block.

        The card is read again, as it may have been replaced since the station was opened.
        Raises StorageError when another process is at it.
        """
        with exclusive(self.home / _LOCK, wait=False, what="this station is being changed"):
            self.card = _read_card(self.home / _CARD)
            yield

    def replace_card(self, card: Card) -> None:
        """Show *card*, which must continue the present one, from now on."""
        if not card.continues(self.card):
            raise AuthenticityError("a new card must continue the present one")
        write_file(self.home / _CARD, card.encoded, what=_CARD_WHAT)
        self.card = card


def first_card(store: KeyStore, *, name: str, now: int) -> Card:
    """Return the card of a new station whose keys are generation 0 of *store*."""
    signers = store.signers(0)
    sign_keys = tuple(signer.public for signer in signers)
    suite = suite_of_keys(sign_keys)
    generation = Generation(
        station=station_id(suite, sign_keys),
        number=0,
        name=name,
        suite=suite.name,
        created=now,
        sign_keys=sign_keys,
        kem_keys=tuple(opener.public for opener in store.openers(0)),
    )
    return issue(generation, signers, before=None, old=())


def _check_name(name: str) -> None:
    try:
        check_label(name)
    except FormatError as error:
        raise UsageError(error.message, hint="give it with --name") from error
    if len(name.encode()) > MAX_NAME:
        raise UsageError(f"the name of a station has at most {MAX_NAME} bytes")


def _prepare_home(home: Path) -> None:
    """Let *home* be a folder of its owner's alone, without taking anything from anybody."""
    require_place_for_keys(home)
    private_folder(home)
    with storage_errors("list the folder of the new station"):
        found = {path.name for path in home.iterdir()}
        if found <= _BEFORE and home.stat().st_uid == os.geteuid():
            home.chmod(0o700)
    require_private(home, what="the folder of this station")


def _make_folders(home: Path) -> None:
    """Let *home* have the folders of a station."""
    for folder in _FOLDERS:
        private_folder(home / folder)


def _require_no_keystore(home: Path) -> None:
    """Raise UsageError when there is a keystore in *home*, of whichever kind."""
    for name in (KEYSTORE_FILE, *KEYS_KEPT_ELSEWHERE):
        if (home / _KEYS / name).exists():
            raise UsageError(
                f"there is a keystore in {home / _KEYS} already; it is not overwritten",
                hint=f"if it cannot be opened any more, move {home / _KEYS} elsewhere",
            )


def _newest(home: Path, card: Card) -> Card:
    """Return *card*, or the newer state of it that is in *home*."""
    if not (home / _CARD).exists():
        return card
    there = _read_card(home / _CARD)
    if there.continues(card):
        return there
    if card.continues(there):
        return card
    raise AuthenticityError(
        "the backup is of another station than the card in this folder",
        hint="set MEDSHARE_HOME to another folder",
    )


def require_no_station(home: Path) -> None:
    """Raise UsageError when there is a station in *home* already."""
    if (home / _KEYS).exists():
        raise UsageError(
            f"there is a station in {home} already",
            hint="medshare card show shows it; set MEDSHARE_HOME to make another one elsewhere",
        )


def _clear_remains(home: Path) -> None:
    """Refuse a home that holds a station; remove what an interrupted `create` left."""
    require_no_station(home)
    with storage_errors("remove what an interrupted init left behind"):
        if (home / _STAGING).exists():
            (home / _CARD).unlink(missing_ok=True)
            shutil.rmtree(home / _STAGING)
    if (home / _CARD).exists():
        raise StorageError(
            f"there is a card in {home}, but no keystore",
            hint=f"restore {home / _KEYS} from your backup, or move the card away",
        )


def _require_keystore(folder: Path) -> None:
    for name in KEYS_KEPT_ELSEWHERE:
        if (folder / name).exists():
            require_private(folder / name, what="the record of the keys of this station")
    path = folder / KEYSTORE_FILE
    if backend_of(folder) == "pkcs11":
        return
    if path.exists():
        require_private(path, what="the keystore")
        return
    copy = previous_copy(path)
    hint = f"its previous state is at {copy}: put that in its place"
    raise StorageError(
        f"the keystore is missing: {path}",
        hint=hint if copy.exists() else "restore it from your backup",
    )


def _read_card(path: Path) -> Card:
    try:
        return parse_card(read_file(path, limit=MAX_CARD_FILE, what=_CARD_WHAT))
    except (FormatError, AuthenticityError) as error:
        raise StorageError(
            f"the card of this station is damaged: {path}",
            hint="restore it from your backup, or from somebody to whom you gave it",
        ) from error
