"""Proposals of administrators, and their votes: signed objects (format §16.3 and §16.4).

Both carry the card of whoever signed, so that an auditor can check them years later with
nothing but the record.  Both name the relay, and a vote names the proposal by its digest: what
was signed for one relay, or one proposal, serves for no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from medshare import canonical, signed
from medshare.canonical import Fields
from medshare.errors import FormatError
from medshare.ids import StationId
from medshare.suites.base import RandomBytes, Signer
from medshare.trust.card import Card, parse_card
from medshare.trust.charter import DIGEST_SIZE, MAX_RELAY, Charter
from medshare.trust.orders import MAX_CARD, Order, parse_order

PROPOSAL: Final = "medshare/1 proposal"
VOTE: Final = "medshare/1 vote"
NONCE_SIZE: Final = 16
MAX_PROPOSAL: Final = 1 << 20
MAX_VOTE: Final = MAX_CARD + (1 << 16)
VALID: Final = 7 * 86400
"""Seconds for which a proposal can be approved, unless its proposer says otherwise."""
MAX_VALID: Final = 31 * 86400
_MAX_ITEMS: Final = 512
_FINGERPRINT_GROUPS: Final = 6


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one administrator asks the others to approve; times in seconds since 1970 UTC."""

    relay: str
    charter: bytes
    """Digest of the charter under which it was made: under another it is void."""
    order: Order
    nonce: bytes
    created: int
    expires: int
    card: Card
    """Of the proposer."""

    @property
    def proposer(self) -> StationId:
        """The station that signed it."""
        return self.card.station

    def body(self) -> bytes:
        """Return the octets that are signed."""
        return canonical.encode(
            {
                "action": str(self.order.action),
                "arguments": self.order.arguments(),
                "card": self.card.encoded,
                "charter": self.charter,
                "created": self.created,
                "critical": {},
                "expires": self.expires,
                "extra": {},
                "nonce": self.nonce,
                "relay": self.relay,
            }
        )


@dataclass(frozen=True, slots=True)
class Vote:
    """What one administrator says to a proposal."""

    relay: str
    proposal: bytes
    """Its digest."""
    approves: bool
    created: int
    card: Card

    @property
    def voter(self) -> StationId:
        """The station that signed it."""
        return self.card.station

    def body(self) -> bytes:
        """Return the octets that are signed."""
        return canonical.encode(
            {
                "card": self.card.encoded,
                "created": self.created,
                "critical": {},
                "extra": {},
                "proposal": self.proposal,
                "relay": self.relay,
                "verdict": _APPROVE if self.approves else _REJECT,
            }
        )


_APPROVE, _REJECT = "approve", "reject"


@dataclass(frozen=True, slots=True)
class SignedProposal:
    """A proposal whose signatures hold, as it travels."""

    content: Proposal
    encoded: bytes
    digest: bytes
    """What votes sign, and what names it; the same however it was signed."""

    @property
    def fingerprint(self) -> str:
        """Six groups of five digits, to compare by voice."""
        return fingerprint_of(self.digest)


@dataclass(frozen=True, slots=True)
class SignedVote:
    """A vote whose signatures hold, as it travels."""

    content: Vote
    encoded: bytes
    digest: bytes
    """What names it."""


def digest_of(outer: signed.Signed) -> bytes:
    """Return the digest that names a signed object, whoever signed it and however often."""
    return sha256(signed.signing_input(outer.label, outer.body)).digest()


def fingerprint_of(digest: bytes) -> str:
    """Return the digits by which people compare a proposal with that digest."""
    octets = sha256(b"medshare/1 proposal fingerprint\x00" + digest).digest()[:24]
    digits = f"{int.from_bytes(octets) % 10 ** (5 * _FINGERPRINT_GROUPS):030d}"
    return " ".join(digits[at : at + 5] for at in range(0, len(digits), 5))


def propose(
    charter: Charter,
    order: Order,
    card: Card,
    signers: Sequence[Signer],
    *,
    now: int,
    valid: int = VALID,
    random: RandomBytes,
) -> SignedProposal:
    """Return a proposal of the station with *card*, valid for *valid* seconds from *now*."""
    content = Proposal(
        relay=charter.relay,
        charter=charter.digest,
        order=order,
        nonce=random(NONCE_SIZE),
        created=now,
        expires=now + valid,
        card=card,
    )
    return parse_proposal(signed.sign(PROPOSAL, content.body(), signers).encode())


def vote(
    proposal: SignedProposal, card: Card, signers: Sequence[Signer], *, approves: bool, now: int
) -> SignedVote:
    """Return the vote of the station with *card* on *proposal*."""
    content = Vote(proposal.content.relay, proposal.digest, approves, now, card)
    return parse_vote(signed.sign(VOTE, content.body(), signers).encode())


def parse_proposal(data: bytes) -> SignedProposal:
    """Return the proposal in *data* after verifying it, and every card in it.

    Raises FormatError, SignatureError or AuthenticityError.
    """
    what = "a proposal"
    outer = signed.parse(data, label=PROPOSAL, limit=MAX_PROPOSAL, what=what)
    value = canonical.decode(outer.body, limit=MAX_PROPOSAL, what=what, items=_MAX_ITEMS)
    fields = Fields(value, what=what)
    content = Proposal(
        relay=fields.text("relay", maximum=MAX_RELAY),
        charter=fields.octets("charter", size=DIGEST_SIZE),
        order=parse_order(fields.text("action", maximum=32), fields.mapping("arguments")),
        nonce=fields.octets("nonce", size=NONCE_SIZE),
        created=fields.time("created"),
        expires=fields.time("expires"),
        card=parse_card(fields.octets("card", maximum=MAX_CARD)),
    )
    _finish(fields)
    if not content.created < content.expires <= content.created + MAX_VALID:
        raise FormatError(f"{what} is valid for more than {MAX_VALID // 86400} days, or not at all")
    outer.verify(content.card.current.sign_keys, what=what)  # the newest: no older ones serve
    return SignedProposal(content, data, digest_of(outer))


def parse_vote(data: bytes) -> SignedVote:
    """Return the vote in *data* after verifying it; raises what `parse_proposal` does."""
    what = "a vote"
    outer = signed.parse(data, label=VOTE, limit=MAX_VOTE, what=what)
    fields = Fields(
        canonical.decode(outer.body, limit=MAX_VOTE, what=what, items=_MAX_ITEMS), what=what
    )
    verdict = fields.text("verdict", maximum=16)
    if verdict not in {_APPROVE, _REJECT}:
        raise FormatError(f"{what} neither approves nor rejects")
    content = Vote(
        relay=fields.text("relay", maximum=MAX_RELAY),
        proposal=fields.octets("proposal", size=DIGEST_SIZE),
        approves=verdict == _APPROVE,
        created=fields.time("created"),
        card=parse_card(fields.octets("card", maximum=MAX_CARD)),
    )
    _finish(fields)
    outer.verify(content.card.current.sign_keys, what=what)
    return SignedVote(content, data, digest_of(outer))


def _finish(fields: Fields) -> None:
    canonical.refuse_unknown_critical(fields.mapping("critical"), frozenset())
    fields.mapping("extra")
    fields.finish()
