"""Who may use the relay: the stations whose cards lie in its folder.

One file a station, so that `medshare relay enroll` and `remove` work while the relay runs:
a lookup notices that the file is new, changed or gone.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare.disk.atomic import fsync_folder, read_file, storage_errors, write_file
from medshare.errors import FormatError, MedshareError, NotFoundError, RelayRefusedError, UsageError
from medshare.ids import StationId, station_id_from_text
from medshare.suites.signatures import Verifier, request_key
from medshare.trust.card import Card, parse_card
from medshare.trust.petname import slug
from medshare.wire import problems
from medshare.wire.routes import MAX_CARD_BODY

_LOCK: Final = ".lock"
_WHAT: Final = "the card of a station"


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A station that may use the relay."""

    card: Card
    verifier: Verifier
    """For its requests: the newest key that can sign them."""

    @property
    def station(self) -> StationId:
        """Its id."""
        return self.card.station


@dataclass(frozen=True, slots=True)
class _Cached:
    stamp: tuple[int, int, int]
    enrolled: Enrolled


def _nothing() -> None:
    """Do nothing."""


class Stations:
    """The enrolled stations in *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache: dict[str, _Cached] = {}

    def find(self, key_id: str) -> Enrolled | None:
        """Return the station that calls itself *key_id*, or None when it is not enrolled.

        A card that cannot be read counts as none: the door stays shut.
        """
        try:
            path = self._path(station_id_from_text(key_id))
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            known = self._cache.get(key_id)
            if known is None or known.stamp != stamp:
                known = self._cache[key_id] = _Cached(stamp, _load(path))
        except (OSError, MedshareError):
            self._cache.pop(key_id, None)
            return None
        return known.enrolled

    def cards(self) -> list[Card]:
        """Return the cards of all enrolled stations, in the order of their ids."""
        with storage_errors("list the enrolled stations"):
            names = sorted(entry.name for entry in os.scandir(self._folder))
        return [_load(self._folder / name).card for name in names if not name.startswith(".")]

    def enroll(self, card: Card, *, before_change: Callable[[], None] = _nothing) -> bool:
        """Let *card* be enrolled; return False when exactly this card was already.

        *before_change* is called when it was not, and can still stop it.

        Raises RelayRefusedError when another card of the station is enrolled that *card*
        does not continue, UsageError when its owner could not sign requests.
        """
        _request_key(card)
        if len(card.encoded) > MAX_CARD_BODY:
            raise UsageError("the card is too large for a relay")
        with self._locked():
            before = self.find(card.station.hex())
            if before is not None and before.card.generations == card.generations:
                return False
            if before is not None and not card.continues(before.card):
                raise RelayRefusedError(
                    "the card does not continue the one that is enrolled",
                    hint="ask the station for its newest card; to start over, remove it first",
                    code=problems.CONFLICT,
                )
            before_change()
            write_file(self._path(card.station), card.encoded, what=_WHAT)
        return True

    def remove(self, station: StationId) -> None:
        """Let *station* be enrolled no longer; raise NotFoundError when it was not."""
        with self._locked(), storage_errors("remove a station"):
            try:
                self._path(station).unlink()
            except FileNotFoundError:
                raise NotFoundError("no such station is enrolled here") from None
            fsync_folder(self._folder)

    def matching(self, text: str) -> list[Card]:
        """Return the enrolled cards whose id begins with *text*, or whose name is *text*.

        Where there is none, those whose name is proposed to contacts as *text*.
        """
        cards = self.cards()
        return [
            card
            for card in cards
            if card.name == text or (len(text) >= 8 and card.station.hex().startswith(text))
        ] or [card for card in cards if slug(card.name, card.station) == text.casefold()]

    def _path(self, station: StationId) -> Path:
        return self._folder / station.hex()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let no other process enroll or remove meanwhile."""
        with storage_errors("lock the enrolled stations"):
            file = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)


def _load(path: Path) -> Enrolled:
    card = parse_card(read_file(path, limit=MAX_CARD_BODY, what=_WHAT, follow=False))
    if card.station.hex() != path.name:
        raise FormatError("a card lies in the place of another station")
    return enrolled(card)


def enrolled(card: Card) -> Enrolled:
    """Return *card* with the key for its requests; raise UsageError when it has none."""
    return Enrolled(card, _request_key(card))


def _request_key(card: Card) -> Verifier:
    key = request_key(card.current.sign_keys)
    if key is None:
        raise UsageError("this station has no key that can sign requests to a relay")
    return Verifier(key)
