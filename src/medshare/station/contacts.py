"""Contacts: the cards of other stations that somebody here has decided to trust.

One file each, named by the station's id.  A card is verified again whenever it is read.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from medshare import canonical
from medshare.audit import entries
from medshare.audit.entries import Act, Detail
from medshare.canonical import Fields
from medshare.disk.atomic import read_file, storage_errors, write_file
from medshare.errors import (
    AuthenticityError,
    FormatError,
    RevokedError,
    StorageError,
    UntrustedSignerError,
    UsageError,
)
from medshare.ids import StationId, station_id_from_text
from medshare.keys.lock import exclusive
from medshare.station.permissions import private_folder
from medshare.station.recording import StationRecord
from medshare.trust.card import MAX_CARD_FILE, Card, parse_card
from medshare.trust.petname import check_petname, close_matches, confusable, folded, slug

VERSION: Final = 2
"""Version 1 has no field `distrusted_at`; contacts without that mark are still written so."""
MAX_CONTACT: Final = MAX_CARD_FILE + 4096
_MAX_NAME: Final = 512
_LOCK: Final = ".lock"
_WHAT: Final = "a contact"


@dataclass(frozen=True, slots=True)
class Contact:
    """A known station; *name* was given here, times are in seconds since 1970 UTC."""

    name: str
    station: StationId
    card: Card
    trusted_at: int
    distrusted_at: int = 0
    """Since when somebody here trusts it no longer; 0 while it is trusted."""

    def encode(self) -> bytes:
        """Return the octets of the contact's file."""
        fields: dict[str, canonical.Value] = {
            "card": self.card.encoded,
            "name": self.name,
            "trusted_at": self.trusted_at,
            "version": VERSION if self.distrusted_at else 1,
        }
        if self.distrusted_at:
            fields["distrusted_at"] = self.distrusted_at
        return canonical.encode(fields)

    def require_trusted(self) -> None:
        """Raise RevokedError when somebody here has decided to trust it no longer."""
        if self.distrusted_at:
            raise RevokedError(
                f"{self.name} is not trusted here any more",
                hint="medshare card show tells since when; to trust it again: medshare card trust",
            )


@dataclass(frozen=True, slots=True)
class _Entry:
    """A contact as its file states it, the card not yet verified."""

    name: str
    station: StationId
    card: bytes
    trusted_at: int
    distrusted_at: int

    def verified(self) -> Contact:
        """Return the contact once its card is verified, and is the card of this station."""
        card = _verified(self.card)
        if card.station != self.station:
            raise AuthenticityError("a contact holds the card of another station")
        return Contact(self.name, self.station, card, self.trusted_at, self.distrusted_at)


@lru_cache(maxsize=256)
def _verified(octets: bytes) -> Card:
    """Return the card in *octets*; the same octets are verified once in a process."""
    return parse_card(octets)


class Contacts:
    """The contacts of one station, in a folder; *own* is the station itself.

    What changes is put into *record* first.
    """

    def __init__(self, folder: Path, own: StationId, record: StationRecord | None = None) -> None:
        self._folder = folder
        self._own = own
        self._record = record

    def add(self, card: Card, *, name: str | None, now: int) -> Contact:
        """Trust *card* from now on and return the contact; *now* in seconds since 1970 UTC.

        A station that is known already keeps its name unless *name* gives another, and
        its card is replaced only by one that continues it; otherwise AuthenticityError.
        Raises UsageError when another contact has the name, or one that looks like it.
        """
        private_folder(self._folder)
        with exclusive(self._folder / _LOCK, wait=True, what="the contacts are in use"):
            contact = self.preview(card, name=name, now=now)
            self._note(Act.TRUST, contact)
            write_file(self._path(card.station), contact.encode(), what=_WHAT)
        return contact

    def preview(self, card: Card, *, name: str | None, now: int) -> Contact:
        """Return the contact that `add` would make, after all its checks; change nothing."""
        if card.station == self._own:
            raise UsageError("this is the card of this station itself")
        known = self.of(card.station)
        if known is not None:
            require_continues(card, known.card)
        given = name or (known.name if known else slug(card.name, card.station))
        trusted_at = known.trusted_at if known else now
        distrusted_at = known.distrusted_at if known else 0
        contact = Contact(check_petname(given), card.station, card, trusted_at, distrusted_at)
        self._require_free(contact)
        return contact

    def distrust(self, name: str, *, now: int) -> Contact:
        """Let the contact called *name* be trusted no longer: nothing goes to it or is taken."""
        return self._mark(name, distrusted_at=max(now, 1))

    def trust_again(self, name: str) -> Contact:
        """Take back what `distrust` did."""
        return self._mark(name, distrusted_at=0)

    def _mark(self, name: str, *, distrusted_at: int) -> Contact:
        with exclusive(self._folder / _LOCK, wait=True, what="the contacts are in use"):
            contact = replace(self.named(name), distrusted_at=distrusted_at)
            self._note(Act.DISTRUST if distrusted_at else Act.TRUST, contact)
            write_file(self._path(contact.station), contact.encode(), what=_WHAT)
        return contact

    def _note(self, act: Act, contact: Contact) -> None:
        """Put into the record of this station what it is about to do."""
        if self._record is not None:
            details = {Detail.GENERATION: contact.card.current.number}
            self._record.note(act, entries.station(contact.station), details=details)

    def named(self, name: str) -> Contact:
        """Return the contact called *name*; case and width do not count.

        Raises UntrustedSignerError, with the names that may have been meant.
        """
        names = []
        damaged: StorageError | None = None
        for station in self._stations():
            try:
                entry = self._entry(station)
            except StorageError as error:
                damaged = error
                continue
            if folded(entry.name) == folded(name):
                return self._contact(entry)
            names.append(entry.name)
        if damaged is not None:
            raise damaged
        matches = " or ".join(f"'{match}'" for match in close_matches(name, names))
        hint = f"did you mean {matches}?" if matches else "medshare card list shows your contacts"
        if not names:
            hint = "import a card first: medshare card import FILE"
        raise UntrustedSignerError(f"there is no contact called '{name}'", hint=hint)

    def of(self, station: StationId) -> Contact | None:
        """Return the contact that *station* is, or None when it is not trusted here."""
        if not self._path(station).exists():
            return None
        return self._contact(self._entry(station))

    def all(self) -> tuple[Contact, ...]:
        """Return all contacts, by name."""
        found = [self._contact(self._entry(station)) for station in self._stations()]
        return tuple(sorted(found, key=lambda contact: folded(contact.name)))

    def _require_free(self, contact: Contact) -> None:
        for station in self._stations():
            if station == contact.station:
                continue
            other = self._entry(station).name
            if confusable(other, contact.name):
                raise UsageError(
                    f"the name '{contact.name}' is taken, or could be mistaken for '{other}'",
                    hint="give this contact another name with --name",
                )

    def _stations(self) -> Iterator[StationId]:
        with storage_errors("list the contacts"):
            names = sorted(p.name for p in self._folder.iterdir()) if self._folder.is_dir() else []
        for name in names:
            if not name.startswith("."):
                yield self._station(name)

    def _station(self, name: str) -> StationId:
        try:
            return station_id_from_text(name)
        except FormatError:
            raise StorageError(
                f"the folder of contacts holds something else: {self._folder / name}",
                hint="move it elsewhere",
            ) from None

    def _path(self, station: StationId) -> Path:
        return self._folder / station.hex()

    def _entry(self, station: StationId) -> _Entry:
        try:
            octets = read_file(self._path(station), limit=MAX_CONTACT, what=_WHAT)
            return _parse(octets, station)
        except FormatError as error:
            raise self._damaged(station) from error

    def _contact(self, entry: _Entry) -> Contact:
        try:
            return entry.verified()
        except (FormatError, AuthenticityError) as error:
            raise self._damaged(entry.station) from error

    def _damaged(self, station: StationId) -> StorageError:
        return StorageError(
            f"a contact is damaged: {self._path(station)}",
            hint="remove this file, then import the card of that station again",
        )


def require_continues(card: Card, known: Card) -> None:
    """Raise AuthenticityError unless *card* is *known*, or a later state of it."""
    if card.continues(known):
        return
    if known.continues(card):
        raise AuthenticityError(
            "this card is older than the one that is trusted here",
            hint="ask for the current one: medshare card export",
        )
    if _leaves_at_revoked(card, known):
        raise RevokedError(
            "this card is signed with keys that its station has revoked: it is forged",
            hint="tell its owner, by telephone, and do not use it",
        )
    raise AuthenticityError(
        "this card does not continue the one that is trusted here: it may be forged",
        hint="ask its owner, by telephone, before doing anything else",
    )


def _leaves_at_revoked(card: Card, known: Card) -> bool:
    """Tell whether the last generation that *card* shares with *known* is revoked in *known*."""
    pairs = zip(card.generations, known.generations, strict=False)
    shared = [ours for theirs, ours in pairs if theirs == ours]
    return bool(shared) and known.revocation_of(shared[-1].sign_keys) is not None


def _parse(octets: bytes, station: StationId) -> _Entry:
    fields = Fields(canonical.decode(octets, limit=MAX_CONTACT, what=_WHAT, items=16), what=_WHAT)
    version = fields.uint("version", minimum=1, maximum=VERSION)
    entry = _Entry(
        name=fields.text("name", maximum=_MAX_NAME),
        station=station,
        card=fields.octets("card", maximum=MAX_CARD_FILE),
        trusted_at=fields.time("trusted_at"),
        distrusted_at=fields.time("distrusted_at") if version == VERSION else 0,
    )
    fields.finish()
    if version == VERSION and not entry.distrusted_at:
        raise FormatError("a contact has a mark that says nothing")
    if unicodedata.normalize("NFC", entry.name) != entry.name:
        raise FormatError("the name of a contact is not in its normal form")
    return entry
