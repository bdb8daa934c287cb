"""Who administers a relay, and how many of them it takes (format §16.1).

The first charter is made by whoever has the machine of the relay; each later one follows from
a proposal that was carried under the one before, so the whole line can be checked.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography import x509

from medshare import canonical
from medshare.canonical import Fields
from medshare.errors import FormatError, UsageError
from medshare.ids import StationId
from medshare.trust.card import Card
from medshare.trust.credential import parse_credential, require_bound
from medshare.trust.orders import MAX_CARD, Administrator, administrators_of
from medshare.trust.quorum import MAX_ADMINISTRATORS, Member, require_workable

LABEL: Final = "medshare/1 charter"
MAX_CHARTER: Final = MAX_ADMINISTRATORS * (MAX_CARD + 64) + 4096
DIGEST_SIZE: Final = 32
MAX_RELAY: Final = 64
_MAX_NUMBER: Final = 1 << 32
_WHAT: Final = "the charter of a relay"


@dataclass(frozen=True, slots=True)
class Charter:
    """The administrators of one relay from some moment on."""

    relay: str
    """The relay: the origin of its record (docs/audit.md §3.2)."""
    number: int
    """How many charters came before."""
    need: int
    administrators: tuple[Administrator, ...]
    made_by: bytes = b""
    """Digest of the proposal from which it follows; empty for the first."""

    def encode(self) -> bytes:
        """Return the deterministic encoding."""
        return canonical.encode(
            {
                "administrators": [one.to_value() for one in self.administrators],
                "label": LABEL,
                "need": self.need,
                "number": self.number,
                "proposal": self.made_by,
                "relay": self.relay,
            }
        )

    @property
    def digest(self) -> bytes:
        """SHA-256 that names it."""
        return sha256(LABEL.encode() + b"\x00" + self.encode()).digest()

    @property
    def members(self) -> tuple[Member, ...]:
        """The administrators as the rules of the quorum see them."""
        return tuple(Member(one.card.station, one.person) for one in self.administrators)

    def administrator(self, station: StationId) -> Administrator | None:
        """Return the administrator with that station, or None."""
        return next((one for one in self.administrators if one.card.station == station), None)

    def following(
        self, administrators: tuple[Administrator, ...], need: int, *, proposal: bytes
    ) -> "Charter":
        """Return the charter that comes after this one, by a proposal that was carried."""
        return Charter(self.relay, self.number + 1, need, administrators, proposal)


def parse_charter(data: bytes) -> Charter:
    """Return the charter in *data*; raise FormatError, also when it could make no quorum."""
    fields = Fields(canonical.decode(data, limit=MAX_CHARTER, what=_WHAT, items=256), what=_WHAT)
    fields.literal("label", LABEL)
    found = Charter(
        relay=fields.text("relay", maximum=MAX_RELAY),
        number=fields.uint("number", maximum=_MAX_NUMBER),
        need=fields.uint("need", maximum=MAX_ADMINISTRATORS),
        administrators=administrators_of(
            fields.items("administrators", maximum=MAX_ADMINISTRATORS)
        ),
        made_by=fields.octets("proposal", maximum=DIGEST_SIZE),
    )
    fields.finish()
    if len(found.made_by) != (DIGEST_SIZE if found.number else 0):
        raise FormatError(f"{_WHAT} does not say from which proposal it follows")
    try:
        require_workable(found.members, found.need)
    except UsageError as error:
        raise FormatError(f"{_WHAT} can make no quorum: {error.message}") from error
    return found


def administrator_of(card: Card, certificate: x509.Certificate | None) -> Administrator:
    """Return who *card* is of; with a *certificate*, also as which person he counts.

    That the certificate is bound to the card is checked here, and not who signed it: who
    names the administrators answers for that.  Raises CredentialError.
    """
    if certificate is None:
        return Administrator(card)
    credential = parse_credential(certificate)
    require_bound(credential, card)
    names = [certificate.issuer.public_bytes(), credential.licence]
    person = sha256(b"medshare/1 person\x00" + canonical.encode(names)).digest()
    return Administrator(card, person)
