"""Taking back a grant, and learning that one was taken back."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from medshare.audit import entries
from medshare.audit.entries import Act
from medshare.envelope import Envelope
from medshare.errors import (
    AccessDeniedError,
    IntegrityError,
    MedshareError,
    NotFoundError,
    TransferError,
    UntrustedSignerError,
    UsageError,
)
from medshare.ids import ParcelId, StationId
from medshare.station import Contact, Identity, Station
from medshare.station.withdrawals import keep_own, keep_withdrawal, own_withdrawal, withdrawal_of
from medshare.withdrawal import Withdrawal, encode_withdrawal, named_in, parse_withdrawal

WITHDRAWN: Final = "grant.withdrawn"


@runtime_checkable
class WithdrawalStore(Protocol):
    """Where withdrawals are kept between stations; a relay is one, a plain folder is not."""

    def put_withdrawal(self, parcel: ParcelId, recipient: StationId, withdrawal: bytes) -> None:
        """Refuse *recipient* from now on."""

    def get_withdrawal(self, parcel: ParcelId, recipient: StationId) -> bytes:
        """Return what takes back the grant of *recipient*."""


def withdraw(
    envelope: Envelope,
    recipient: Contact,
    *,
    identity: Identity,
    station: Station,
    store: WithdrawalStore,
    now: int,
) -> Withdrawal:
    """Take back, at *store*, what *recipient* was granted; *now* in seconds since 1970 UTC.

    It is in the record before it leaves.  Raises AccessDeniedError when the parcel is not this
    station's, UsageError when it was not for *recipient*, and what *store* raises.
    """
    if envelope.sender != station.id:
        raise AccessDeniedError(
            "a grant is withdrawn by whoever gave it",
            hint="ask the sender of the parcel",
            code="grant.permission",
        )
    if recipient.station not in named_in(envelope):
        raise UsageError(f"the parcel was not sent to {recipient.name}")
    withdrawal = Withdrawal(
        parcel=envelope.parcel,
        envelope=envelope.digest,
        sender=station.id,
        sender_keys=tuple(signer.public for signer in identity.signers),
        recipient=recipient.station,
        withdrawn=now,
    )
    octets = encode_withdrawal(withdrawal, identity.signers)
    about, parties = entries.parcel(envelope.parcel), (recipient.station,)
    with station.record.signed(identity.signers):
        station.record.note(Act.WITHDRAW, about, tier=envelope.tier, parties=parties)
        store.put_withdrawal(envelope.parcel, recipient.station, octets)
    keep_own(station.home, octets)
    return withdrawal


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What of a parcel's grants was taken back, as far as this station can learn it."""

    withdrawals: tuple[Withdrawal, ...]
    asked: bool
    """Whether the far side answered too; if not, these are those that this station knows."""


def taken_back(envelope: Envelope, station: Station, transport: object) -> TakenBack:
    """Return which grants of *envelope* were withdrawn; a recipient learns of its own alone.

    What a far side says counts when the sender of *envelope* has signed it.  Raises
    FormatError, IntegrityError, SignatureError or StorageError when what is kept here is bad.
    """
    sent = envelope.sender == station.id
    named = sorted(named_in(envelope)) if sent else [station.id]
    known = {one: _known(envelope, station, one) for one in named}
    store = transport if isinstance(transport, WithdrawalStore) else None
    asked = store is not None
    if store is not None:
        try:
            for one in named:
                known[one] = _told(envelope, station, store, one) or known[one]
        except (AccessDeniedError, TransferError):
            asked = False
    return TakenBack(tuple(one for one in known.values() if one is not None), asked)


def _known(envelope: Envelope, station: Station, recipient: StationId) -> Withdrawal | None:
    if envelope.sender == station.id:
        return own_withdrawal(station.home, envelope, recipient)
    return withdrawal_of(station.home, envelope, recipient)


def _told(
    envelope: Envelope, station: Station, store: WithdrawalStore, recipient: StationId
) -> Withdrawal | None:
    try:
        octets = store.get_withdrawal(envelope.parcel, recipient)
    except NotFoundError:
        return None
    found = parse_withdrawal(octets)
    found.require_of(envelope)
    if found.recipient != recipient:
        raise IntegrityError("the far side answered with another withdrawal")
    contact = station.contacts.of(found.sender)
    card = None if contact is None else contact.card
    if found.sender == station.id:
        card = station.card
    if card is None or not card.knows_signing_keys(found.sender_keys):
        raise UntrustedSignerError("the withdrawal is not signed by the sender of the parcel")
    if found.sender == station.id:
        keep_own(station.home, octets)
    else:
        keep_withdrawal(station.home, octets)
    return found


@contextmanager
def learning(parcel: ParcelId, station: Station, transport: object) -> Iterator[None]:
    """Keep the withdrawal of *parcel* when the far side refuses with one, and raise on.

    A refusal that no withdrawal by the sender goes with stops this run alone: a far side cannot
    take back what it has not granted.
    """
    try:
        yield
    except AccessDeniedError as error:
        if error.code == WITHDRAWN and isinstance(transport, WithdrawalStore):
            with suppress(MedshareError):
                _learn(parcel, station, transport)
        raise


def _learn(parcel: ParcelId, station: Station, store: WithdrawalStore) -> None:
    octets = store.get_withdrawal(parcel, station.id)
    found = parse_withdrawal(octets)
    if (found.parcel, found.recipient) != (parcel, station.id):
        raise IntegrityError("the far side answered with another withdrawal")
    contact = station.contacts.of(found.sender)
    if contact is not None and contact.card.knows_signing_keys(found.sender_keys):
        keep_withdrawal(station.home, octets)
