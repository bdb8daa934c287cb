"""The rules of the relay: what may be stored, by whom, and what it takes to be believed.

Called from several threads at once.  Files come first, rows after them: a row claims only
what is durable.  Everything about one chunk happens under the lock of that chunk.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from medshare.audit import entries
from medshare.audit.entries import Act, Detail
from medshare.disk.atomic import read_file, write_file
from medshare.envelope import MAX_ENVELOPE_SIZE, ChunkVerifier, Envelope, parse_envelope
from medshare.errors import (
    AccessDeniedError,
    FormatError,
    IntegrityError,
    NotFoundError,
    RelayRefusedError,
    StorageError,
)
from medshare.ids import ParcelId, StationId
from medshare.relay.database import Database, ParcelRow
from medshare.relay.enrolment import Enrolled
from medshare.relay.folder import ADMIN, DataFolder, ParcelPaths
from medshare.relay.grants import Grants, Steps, steps_of
from medshare.relay.holds import HOLDS, Holds
from medshare.relay.ledger import Ledger
from medshare.relay.recording import RelayRecord
from medshare.relay.settings import Limits
from medshare.wire import problems
from medshare.wire.bodies import INBOX_PAGE, State

Clock = Callable[[], float]
_CACHED: Final = 64
_STRIPES: Final = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """A parcel that is here, with what it takes to check its parts."""

    number: int
    envelope: Envelope
    verifier: ChunkVerifier
    recipients: frozenset[StationId]
    folder: ParcelPaths
    steps: Steps = ()
    """The parcels that it continues, and who did."""

    @property
    def id(self) -> ParcelId:
        """Its id."""
        return self.envelope.parcel

    @property
    def sender(self) -> StationId:
        """Who announced it."""
        return self.envelope.sender

    def require_sender(self, station: StationId) -> None:
        """Raise AccessDeniedError unless *station* is the sender."""
        if station != self.sender:
            raise AccessDeniedError("only the sender of a parcel may do this")

    def require_recipient(self, station: StationId) -> None:
        """Raise AccessDeniedError unless *station* is a recipient."""
        if station not in self.recipients:
            raise AccessDeniedError("only a recipient of the parcel may do this")


def recipients_of(envelope: Envelope) -> frozenset[StationId]:
    """Return whom a parcel is for: all stanzas but the sender's own, or that if alone."""
    stations = frozenset(stanza.station for stanza in envelope.recipients)
    return stations - {envelope.sender} or stations


def not_found() -> NotFoundError:
    """Return the one answer for what is not there and for what is none of your business."""
    return NotFoundError("there is no such parcel here for this station")


def gone() -> RelayRefusedError:
    """Return the answer for a parcel that was here."""
    return RelayRefusedError("the parcel was removed, or has expired", code=problems.GONE)


class Parcels:
    """All parcels of one relay."""

    def __init__(
        self,
        folder: DataFolder,
        database: Database,
        limits: Limits,
        record: RelayRecord,
        clock: Clock = time.time,
    ) -> None:
        self.database = database
        self.record = record
        self.ledger = Ledger(limits)
        self.grants = Grants(folder.path, folder.parcels, record, self.ledger)
        self.holds = Holds(folder.path / ADMIN / HOLDS)
        self._folder = folder
        self._limits = limits
        self._clock = clock
        self._entries: OrderedDict[ParcelId, Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        self._leftovers: set[ParcelId] = set()

    def now(self) -> int:
        """Return the relay's time in seconds since 1970."""
        return int(self._clock())

    def lock(self, parcel: ParcelId, index: int = -1) -> threading.Lock:
        """Return the lock of one chunk, or of the parcel as a whole."""
        return self._stripes[hash((parcel, index)) % _STRIPES]

    # --- access --------------------------------------------------------------------------

    def find(self, parcel: ParcelId, station: StationId) -> Entry:
        """Return the parcel, for one of its parties.

        Raises NotFoundError for everybody else, RelayRefusedError when it is gone.
        """
        with self._lock:
            entry = self._entries.get(parcel)
            if entry is not None:
                self._entries.move_to_end(parcel)
        if entry is None:
            entry = self._load(parcel, station)
        if station != entry.sender and station not in entry.recipients:
            if entry.envelope.grant_for(station) is not None:
                self.require_readable(entry, station)  # named without a key, and told so
            raise not_found()
        if 0 < entry.envelope.delete_after <= self.now():
            raise gone()
        return entry

    def require_readable(self, entry: Entry, station: StationId) -> None:
        """Raise AccessDeniedError (`grant.…`) unless the grant of *station* lets it fetch now."""
        self.grants.require_readable(entry.envelope, entry.steps, station, self.now())

    def count_opening(self, entry: Entry, station: StationId) -> None:
        """Count that *station* opens the parcel; raise AccessDeniedError if it may not again."""
        with self.lock(entry.id):
            self.grants.count(entry.envelope, station, self.now())

    def _load(self, parcel: ParcelId, station: StationId) -> Entry:
        with self.database.reading() as view:
            row = view.parcel(parcel)
            recipients = {} if row is None else view.receipts(row.number)
        if row is None:
            raise not_found()
        if row.gone is not None:
            raise gone() if station == row.sender or station in recipients else not_found()
        return self.remember(row, self.read_envelope(parcel))

    def read_envelope(self, parcel: ParcelId) -> Envelope:
        """Return the stored envelope of *parcel*; raise StorageError when it is damaged."""
        path = self._folder.parcel(parcel).envelope
        try:
            return parse_envelope(read_file(path, limit=MAX_ENVELOPE_SIZE, what="an envelope"))
        except FormatError as error:
            raise StorageError("a stored envelope is damaged") from error

    def remember(self, row: ParcelRow, envelope: Envelope) -> Entry:
        """Return the entry of a parcel that is here, which is kept at hand."""
        if envelope.digest.value != row.envelope:
            raise StorageError("a stored envelope is not the one that was announced")
        entry = Entry(
            row.number,
            envelope,
            ChunkVerifier(envelope),
            recipients_of(envelope),
            self._folder.parcel(row.parcel),
            steps_of(envelope),
        )
        with self._lock:
            self._entries[row.parcel] = entry
            if len(self._entries) > _CACHED:
                self._entries.popitem(last=False)
        return entry

    # --- announcing ----------------------------------------------------------------------

    def announce(self, asker: Enrolled, parcel: ParcelId, data: bytes) -> bool:
        """Let the parcel with envelope *data* be here; return whether its manifest is too.

        Raises FormatError, SignatureError, AccessDeniedError or RelayRefusedError.
        """
        envelope = parse_envelope(data)
        if envelope.parcel != parcel:
            raise IntegrityError("the envelope is that of another parcel")
        if envelope.sender != asker.station:
            raise AccessDeniedError("a parcel is announced by its sender")
        if not asker.card.knows_signing_keys(envelope.sender_keys):
            raise AccessDeniedError("the envelope is not signed with keys of the enrolled card")
        if 0 < envelope.delete_after <= self.now():
            raise gone()
        if envelope.chunk_count > self._limits.parcel_chunks:
            raise RelayRefusedError(
                "the parcel has more chunks than this relay takes", code=problems.TOO_LARGE
            )
        self.grants.require_announceable(envelope)
        revoked = asker.card.revocation_of(envelope.sender_keys) is not None
        with self.lock(parcel):
            return self._announce(envelope, data, revoked=revoked)

    def _announce(self, envelope: Envelope, data: bytes, *, revoked: bool) -> bool:
        with self.database.reading() as view:
            row = view.parcel(envelope.parcel)
            waiting = view.open_parcels(envelope.sender)
        if row is not None:
            _require_same(row, envelope)
            self._write_envelope(envelope, data)  # heals a damaged copy
            return row.manifest
        if revoked:
            raise AccessDeniedError("the envelope is signed with keys that its sender has revoked")
        _require_retention(envelope, self._limits.keep_seconds, self.now())
        if waiting >= self._limits.open_parcels:
            raise RelayRefusedError(
                "this sender has too many unfinished parcels here", code=problems.QUOTA
            )
        self.ledger.take(envelope.sender, envelope.parcel, len(data))
        try:
            self._record_announced(envelope)
            self._write_envelope(envelope, data)
            with self.database.writing() as change:
                change.add_parcel(
                    envelope, sorted(recipients_of(envelope)), size=len(data), now=self.now()
                )
        except BaseException:
            self.ledger.forget(envelope.sender, envelope.parcel)
            raise
        return False

    def _record_announced(self, envelope: Envelope) -> None:
        recipients = tuple(sorted(recipients_of(envelope)))
        about, details = entries.parcel(envelope.parcel), {Detail.CHUNKS: envelope.chunk_count}
        self.record.note(
            Act.ANNOUNCE,
            envelope.sender,
            about,
            tier=envelope.tier,
            parties=recipients,
            details=details,
        )

    def _write_envelope(self, envelope: Envelope, data: bytes) -> None:
        folder = self._folder.parcel(envelope.parcel)
        folder.make()
        write_file(folder.envelope, data, what="an envelope")

    # --- telling -------------------------------------------------------------------------

    def state(self, entry: Entry, station: StationId, *, known: str) -> State:
        """Return what is here, as the difference to the state tagged *known* if that can be."""
        with self.database.reading() as view:
            row = view.parcel(entry.id)
            if row is None or row.gone is not None:
                raise gone()
            since = _revision(known, row)
            receipts = view.receipts(entry.number)
            return State(
                tag=row.tag,
                since="" if since is None else known,
                manifest=row.manifest,
                sealed=row.seal is not None,
                chunks=view.records(entry.number, after=since or 0),
                receipts=tuple(
                    sorted(
                        one
                        for one, octets in receipts.items()
                        if octets is not None and station in {one, entry.sender}
                    )
                ),
                wanted=view.wanted(entry.number),
            )

    def inbox(self, station: StationId, *, after: int) -> tuple[list[ParcelId], int]:
        """Return a page of what waits for *station*, and where the next one begins, 0 for none."""
        with self.database.reading() as view:
            found = view.inbox(station, after=after, now=self.now(), limit=INBOX_PAGE + 1)
        page = found[:INBOX_PAGE]
        open_to = [parcel for _, parcel in page if self._is_readable(parcel, station)]
        return open_to, page[-1][0] if len(found) > len(page) else 0

    def _is_readable(self, parcel: ParcelId, station: StationId) -> bool:
        """Tell whether no grant keeps *station* from a parcel that waits for it."""
        try:
            self.require_readable(self.find(parcel, station), station)
        except AccessDeniedError:
            return False
        except (RelayRefusedError, StorageError):
            return True  # whoever asks for it is told
        return True

    # --- removing ------------------------------------------------------------------------

    def remove(self, parcel: ParcelId, sender: StationId, number: int) -> None:
        """Let the parcel be gone for good, as its sender asks.

        Raises RelayRefusedError when it is held.
        """
        with self.lock(parcel):
            self.holds.require_none(parcel)
            self.record.note(Act.DELETE, sender, entries.parcel(parcel))
            self._let_go(parcel, sender, number)
        self._remove_leftovers()

    def destroy(self, parcel: ParcelId) -> None:
        """Let the parcel be gone for good, as was recorded already; it may be gone.

        Raises RelayRefusedError when it is held.
        """
        with self.lock(parcel):
            row = self.row(parcel)
            if row is not None and row.gone is None:
                self.holds.require_none(parcel)
                self._let_go(parcel, row.sender, row.number)
        self._remove_leftovers()

    def row(self, parcel: ParcelId) -> ParcelRow | None:
        """Return what is known of *parcel*, whoever asks; None when it never was here."""
        with self.database.reading() as view:
            return view.parcel(parcel)

    def _expire(self, row: ParcelRow) -> bool:
        with self.lock(row.parcel):
            if row.parcel in self.holds:
                return False
            self.record.note(Act.EXPIRE, None, entries.parcel(row.parcel))
            self._let_go(row.parcel, row.sender, row.number)
        return True

    def _let_go(self, parcel: ParcelId, sender: StationId, number: int) -> None:
        """Let the parcel be gone for good; its files may take until the next sweep."""
        with self.database.writing() as change:
            change.set_gone(number, now=self.now())
        with self._lock:
            self._entries.pop(parcel, None)
        self.ledger.forget(sender, parcel)
        self._leftovers.add(parcel)

    def sweep(self) -> int:
        """Remove what has expired and is not held; return how many parcels that were."""
        with self.database.reading() as view:
            expired = view.expired(self.now())
        removed = sum(self._expire(row) for row in expired)
        self._remove_leftovers()
        return removed

    def set_limits(self, limits: Limits) -> None:
        """Let other bounds hold from now on; what is here stays."""
        self._limits = limits
        self.ledger.set_limits(limits)

    def _remove_leftovers(self) -> None:
        for parcel in tuple(self._leftovers):
            try:
                self._folder.parcel(parcel).remove()
            except StorageError:
                continue  # an upload was under way; the next sweep finds it again
            self._leftovers.discard(parcel)


def _require_retention(envelope: Envelope, kept: int | None, now: int) -> None:
    """Raise RelayRefusedError when a parcel is to stay longer than *kept* seconds."""
    if kept is not None and not 0 < envelope.delete_after <= now + kept:
        raise RelayRefusedError(
            f"this relay keeps a parcel for {kept // 86400} days at most", code=problems.RETENTION
        )


def _require_same(row: ParcelRow, envelope: Envelope) -> None:
    if row.envelope != envelope.digest.value:
        raise RelayRefusedError(
            "another envelope has this parcel id already", code=problems.CONFLICT
        )
    if row.gone is not None:
        raise gone()


def _revision(tag: str, row: ParcelRow) -> int | None:
    """Return the revision that *tag* names, or None when no difference to it can be told."""
    epoch, _, revision = tag.partition(".")
    if epoch != str(row.epoch) or not (revision.isdecimal() and int(revision) <= row.revision):
        return None
    return int(revision)
