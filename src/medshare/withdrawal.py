"""The withdrawal: a sender takes back what it granted one recipient of a parcel (format §9.7).

Whoever has opened the parcel before keeps what it has seen.  A relay refuses that recipient
from then on, and honest stations do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medshare import canonical, signed
from medshare.canonical import Fields
from medshare.digest import DIGEST_SIZE, Digest
from medshare.envelope import Envelope
from medshare.errors import FormatError, IntegrityError
from medshare.ids import PARCEL_ID_SIZE, STATION_ID_SIZE, ParcelId, StationId
from medshare.suites.base import PublicKey, Signer
from medshare.suites.signatures import require_identity_set

LABEL: Final = "medshare/1 withdrawal"
MAX_WITHDRAWAL: Final = 1 << 15
_MAX_ITEMS: Final = 128
_WHAT: Final = "the withdrawal"


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What *sender* takes back from *recipient*; *withdrawn* in seconds since 1970 UTC."""

    parcel: ParcelId
    envelope: Digest
    sender: StationId
    sender_keys: tuple[PublicKey, ...]
    recipient: StationId
    withdrawn: int

    def require_of(self, envelope: Envelope) -> None:
        """Raise IntegrityError unless this withdraws from somebody to whom *envelope* went.

        Whether the keys that signed it are the sender's is for the caller to decide.
        """
        if (self.parcel, self.envelope) != (envelope.parcel, envelope.digest):
            raise IntegrityError("the withdrawal is of another parcel")
        if self.sender != envelope.sender:
            raise IntegrityError("the withdrawal is not by the sender of the parcel")
        if self.recipient not in named_in(envelope):
            raise IntegrityError("the withdrawal is from somebody to whom the parcel is not")


def named_in(envelope: Envelope) -> frozenset[StationId]:
    """Return everybody whom *envelope* names as a recipient, able to open it or not."""
    wrapped = {one.station for one in envelope.recipients}
    return frozenset(wrapped | {one.station for one in envelope.grants}) - {envelope.sender}


def encode_withdrawal(withdrawal: Withdrawal, signers: Sequence[Signer]) -> bytes:
    """Return *withdrawal*, signed."""
    body = canonical.encode(
        {
            "critical": {},
            "envelope": withdrawal.envelope.value,
            "extra": {},
            "parcel": withdrawal.parcel,
            "recipient": withdrawal.recipient,
            "sender": withdrawal.sender,
            "sender_keys": signed.keys_to_value(withdrawal.sender_keys),
            "withdrawn": withdrawal.withdrawn,
        }
    )
    return signed.sign(LABEL, body, signers).encode()


def parse_withdrawal(data: bytes) -> Withdrawal:
    """Return the withdrawal in *data* after checking its form and all its signatures.

    The signatures are checked against the keys that it names itself.  Raises FormatError (of
    which LimitError and UnsupportedVersionError are kinds) or SignatureError.
    """
    found = parse_kept(data)
    outer = signed.parse(data, label=LABEL, limit=MAX_WITHDRAWAL, what=_WHAT)
    outer.verify(found.sender_keys, what=_WHAT)
    return found


def parse_kept(data: bytes) -> Withdrawal:
    """Return the withdrawal in *data*, whose signatures were checked when it came.

    Raises FormatError.
    """
    outer = signed.parse(data, label=LABEL, limit=MAX_WITHDRAWAL, what=_WHAT)
    value = canonical.decode(outer.body, limit=MAX_WITHDRAWAL, what=_WHAT, items=_MAX_ITEMS)
    fields = Fields(value, what=_WHAT)
    canonical.refuse_unknown_critical(fields.mapping("critical"), frozenset())
    fields.mapping("extra")
    keys = fields.items("sender_keys", maximum=signed.MAX_SIGNATURES)
    found = Withdrawal(
        parcel=ParcelId(fields.octets("parcel", size=PARCEL_ID_SIZE)),
        envelope=Digest(fields.octets("envelope", size=DIGEST_SIZE)),
        sender=StationId(fields.octets("sender", size=STATION_ID_SIZE)),
        sender_keys=signed.keys_from_value(keys, what=_WHAT),
        recipient=StationId(fields.octets("recipient", size=STATION_ID_SIZE)),
        withdrawn=fields.time("withdrawn"),
    )
    fields.finish()
    if found.recipient == found.sender:
        raise FormatError("a withdrawal from its own sender")
    require_identity_set(found.sender_keys, what=_WHAT)
    return found
