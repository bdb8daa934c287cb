"""What grants mean at the relay: who may fetch a parcel, until when, how often, and no longer.

A relay reads grants in envelopes, which their senders have signed; it opens nothing.  Beside
the parcels it keeps two kinds of small files, each durable before it is relied on:

    withdrawals/<parcel>/<station>           signed by the parcel's sender; outlives the parcel
    withdrawals/<parcel>/<station>.order     digest of the administrators' proposal, likewise
    parcels/<parcel>/openings/<station>      how often that station fetched the seal, and when

*An opening* is a fetch of the seal, without which medshare shows nothing; another one within
`SAME_OPENING` seconds is the same, so that a lost answer costs nothing.
"""

from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from medshare import canonical
from medshare.audit import entries
from medshare.audit.entries import Act
from medshare.disk.atomic import make_folder, read_file, write_file
from medshare.envelope import Envelope
from medshare.errors import (
    AccessDeniedError,
    FormatError,
    IntegrityError,
    NotFoundError,
    StorageError,
)
from medshare.grant import Grant, Permission
from medshare.ids import STATION_ID_SIZE, ParcelId, StationId
from medshare.relay.enrolment import Enrolled
from medshare.relay.ledger import Ledger
from medshare.relay.recording import RelayRecord
from medshare.trust.lineage import chain_of, require_lawful
from medshare.withdrawal import MAX_WITHDRAWAL, Withdrawal, parse_kept, parse_withdrawal

SAME_OPENING: Final = 600
"""Seconds within which a repeated fetch of the seal is no further opening."""
WITHDRAWN: Final = ParcelId(b"withdrawals")
"""Under which the ledger counts all withdrawals: they outlive the parcels that they are of."""
_FOLDER: Final = "withdrawals"
_OPENINGS: Final = "openings"
_MAX_OPENINGS: Final = 64
_WHAT: Final = "a withdrawal"
_COUNT: Final = "a count of openings"

Steps = tuple[tuple[ParcelId, StationId], ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """How often something was opened, and when last, in seconds since 1970 UTC."""

    times: int = 0
    last: int = 0

    def allows(self, grant: Grant, now: int) -> bool:
        """Tell whether *grant* lets it be opened at *now*, or go on being opened."""
        return not grant.openings or self.times < grant.openings or self.goes_on(now)

    def goes_on(self, now: int) -> bool:
        """Tell whether a fetch at *now* still belongs to the last opening."""
        return self.times > 0 and now - self.last < SAME_OPENING


def steps_of(envelope: Envelope) -> Steps:
    """Return each parcel that *envelope* continues, with whoever continued it."""
    chain = chain_of(envelope)
    return tuple((before.parcel, after.sender) for before, after in pairwise(chain))


class Grants:
    """The grants of the parcels in the data folder *data*, whose parcels are in *parcels*."""

    def __init__(self, data: Path, parcels: Path, record: RelayRecord, ledger: Ledger) -> None:
        self._withdrawals = data / _FOLDER
        self._parcels = parcels
        self._record = record
        self._ledger = ledger

    # --- who may read --------------------------------------------------------------------

    def refusal(
        self, envelope: Envelope, steps: Steps, station: StationId, now: int
    ) -> AccessDeniedError | None:
        """Return why *station* may not fetch the parcel at *now*; None if it may."""
        if station == envelope.sender:
            return None
        for parcel, continued_by in steps:
            if self._is_withdrawn(parcel, continued_by):
                return _refused("what the sender passed on was withdrawn from it", "withdrawn")
        if self._is_withdrawn(envelope.parcel, station):
            return _refused("the grant was withdrawn", "withdrawn")
        grant = envelope.grant_for(station)
        if grant is None:
            return None
        if not grant.allows(Permission.VIEW):
            return _refused(f"the role '{grant.role}' may not open this parcel", "permission")
        if grant.ended(now):
            return _refused("the grant has ended", "expired")
        if grant.openings and not self.opened(envelope.parcel, station).allows(grant, now):
            return _refused(f"{grant.openings} openings were granted, and are used up", "openings")
        return None

    def require_readable(
        self, envelope: Envelope, steps: Steps, station: StationId, now: int
    ) -> None:
        """Raise AccessDeniedError, naming the rule (`grant.…`), unless *station* may fetch."""
        refusal = self.refusal(envelope, steps, station, now)
        if refusal is not None:
            raise refusal

    # --- openings ------------------------------------------------------------------------

    def opened(self, parcel: ParcelId, station: StationId) -> Opened:
        """Return how often *station* opened *parcel*; raise StorageError when that is damaged."""
        path = self._openings(parcel, station)
        if not path.exists():
            return Opened()
        data = read_file(path, limit=_MAX_OPENINGS, what=_COUNT)
        try:
            match canonical.decode(data, limit=_MAX_OPENINGS, what=_COUNT, items=3):
                case [int() as times, int() as last]:
                    return Opened(times, last)
        except FormatError:
            pass  # nothing can be concluded from it, and nothing may be opened
        raise StorageError(f"{_COUNT} is damaged")

    def count(self, envelope: Envelope, station: StationId, now: int) -> None:
        """Count that *station* opens the parcel, durably; the lock of the parcel is held.

        Raises AccessDeniedError (`grant.openings`) when it may not once more.
        """
        grant = envelope.grant_for(station)
        if grant is None or not grant.openings:
            return
        before = self.opened(envelope.parcel, station)
        if not before.allows(grant, now):
            raise _refused(f"{grant.openings} openings were granted, and are used up", "openings")
        if before.goes_on(now):
            return
        path = self._openings(envelope.parcel, station)
        make_folder(path.parent)
        write_file(path, canonical.encode([before.times + 1, now]), what=_COUNT)

    def _openings(self, parcel: ParcelId, station: StationId) -> Path:
        return self._parcels / parcel.hex() / _OPENINGS / station.hex()

    # --- announcing ----------------------------------------------------------------------

    def require_announceable(self, envelope: Envelope) -> None:
        """Raise GrantError, or AccessDeniedError, unless a parcel may be announced.

        Each step that it continues was allowed by the one before, and none was withdrawn here.
        """
        require_lawful(envelope)
        for parcel, station in steps_of(envelope):
            if self._is_withdrawn(parcel, station):
                raise _refused("the grant under which this is passed on was withdrawn", "withdrawn")

    # --- withdrawing ---------------------------------------------------------------------

    def withdraw(
        self, asker: Enrolled, envelope: Envelope, station: StationId, data: bytes
    ) -> None:
        """Let the withdrawal *data* from *station* be here, durably; the lock is held.

        Raises FormatError, SignatureError, IntegrityError or AccessDeniedError unless it is of
        this parcel and by its sender, who asks.
        """
        withdrawal = parse_withdrawal(data)
        withdrawal.require_of(envelope)
        if withdrawal.recipient != station:
            raise IntegrityError("the withdrawal is from another station")
        if withdrawal.sender != asker.station:
            raise AccessDeniedError("a grant is withdrawn by whoever gave it")
        self._require_current(asker, withdrawal)
        path = self._path(envelope.parcel, station)
        if path.exists():
            return
        about = entries.parcel(envelope.parcel)
        parties = (station,)
        self._record.note(Act.WITHDRAW, asker.station, about, tier=envelope.tier, parties=parties)
        make_folder(path.parent)
        write_file(path, data, what=_WHAT)
        self._ledger.enter(withdrawal.sender, WITHDRAWN, len(data))

    def count_kept(self) -> None:
        """Count what was withdrawn before the relay was started as room of its senders."""
        for path in self._withdrawals.glob("*/*"):
            if len(path.name) == 2 * STATION_ID_SIZE:
                data = read_file(path, limit=MAX_WITHDRAWAL, what=_WHAT)
                with suppress(FormatError):  # it holds as it lies; whose it is cannot be told
                    self._ledger.enter(parse_kept(data).sender, WITHDRAWN, len(data))

    def withdraw_by_order(self, parcel: ParcelId, station: StationId, proposal: bytes) -> None:
        """Let *station* fetch *parcel* no longer, as a proposal of administrators has decided.

        The record says so already; the lock is held.  Doing it again changes nothing.
        """
        path = self._ordered(parcel, station)
        make_folder(path.parent)
        write_file(path, proposal, what=_WHAT)

    def _is_withdrawn(self, parcel: ParcelId, station: StationId) -> bool:
        return self._path(parcel, station).exists() or self._ordered(parcel, station).exists()

    def _ordered(self, parcel: ParcelId, station: StationId) -> Path:
        return self._withdrawals / parcel.hex() / f"{station.hex()}.order"

    @staticmethod
    def _require_current(asker: Enrolled, withdrawal: Withdrawal) -> None:
        keys = withdrawal.sender_keys
        if not asker.card.knows_signing_keys(keys):
            raise AccessDeniedError("the withdrawal is not signed with keys of the enrolled card")
        if asker.card.revocation_of(keys) is not None:
            raise AccessDeniedError("the withdrawal is signed with keys that its sender revoked")

    def withdrawal(self, parcel: ParcelId, station: StationId) -> Path:
        """Return where the withdrawal from *station* lies; raise NotFoundError if there is none."""
        path = self._path(parcel, station)
        if not path.exists():
            raise NotFoundError("nothing was withdrawn from this station")
        return path

    def _path(self, parcel: ParcelId, station: StationId) -> Path:
        return self._withdrawals / parcel.hex() / station.hex()


def _refused(why: str, rule: str) -> AccessDeniedError:
    return AccessDeniedError(why, code=f"grant.{rule}")
