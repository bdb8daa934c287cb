"""Reviews of emergencies: signed by somebody else than who broke the glass (docs/access.md).

What is reviewed travels as one file: the proof that the entry is in the record, and the reason,
whose digest the entry holds.

    request = CBOR { proof: tlog-proof, reason: … }
    review  = signed { entry: leaf hash, finding, number, of: station, reviewer, keys, at }

Pure: octets and values.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from medshare import canonical, signed
from medshare.audit.entries import Act, Detail, Entry
from medshare.audit.merkle import HASH_SIZE, leaf_hash
from medshare.audit.proof import MAX_PROOF_FILE
from medshare.canonical import Fields
from medshare.errors import AuthenticityError, FormatError, IntegrityError
from medshare.ids import STATION_ID_SIZE, StationId
from medshare.suites.base import PublicKey, Signer
from medshare.suites.signatures import require_identity_set

LABEL: Final = "medshare/1 review"
MAX_REVIEW: Final = 1 << 16
MAX_REASON_FILE: Final = 1 << 14
MAX_REQUEST: Final = MAX_PROOF_FILE + MAX_REASON_FILE + 256
_MAX_NUMBER: Final = (1 << 53) - 1
_WHAT: Final = "the review"


class Outcome(StrEnum):
    """What the reviewer found."""

    JUSTIFIED = "justified"
    NOT_JUSTIFIED = "not-justified"


@dataclass(frozen=True, slots=True)
class Review:
    """That *reviewer* has looked at one emergency; *at* in seconds since 1970 UTC."""

    of: StationId
    """Whose record the entry is in, and who broke the glass."""
    number: int
    entry: bytes
    """The leaf hash of the entry."""
    finding: Outcome
    reviewer: StationId
    reviewer_keys: tuple[PublicKey, ...]
    at: int

    def require_of(self, entry: Entry) -> None:
        """Raise IntegrityError unless this is about *entry*, an emergency of its actor's.

        Raises AuthenticityError when who broke the glass reviewed it.
        """
        if self.reviewer == self.of:
            raise AuthenticityError(
                "an emergency is reviewed by somebody else than who broke the glass",
                code="review.own",
            )
        same = self.entry == leaf_hash(entry.encode()) and self.number == entry.number
        if not same or entry.event.actor.id != self.of or entry.event.act is not Act.EMERGENCY:
            raise IntegrityError("the review is about another entry")


def encode_review(review: Review, signers: Sequence[Signer]) -> bytes:
    """Return *review*, signed."""
    body = canonical.encode(
        {
            "at": review.at,
            "entry": review.entry,
            "finding": str(review.finding),
            "keys": signed.keys_to_value(review.reviewer_keys),
            "number": review.number,
            "of": review.of,
            "reviewer": review.reviewer,
        }
    )
    return signed.sign(LABEL, body, signers).encode()


def parse_review(data: bytes) -> Review:
    """Return the review in *data* after checking its form and its signatures.

    Whether the keys are the reviewer's is for the caller to decide from a card.  Raises
    FormatError or SignatureError.
    """
    outer = signed.parse(data, label=LABEL, limit=MAX_REVIEW, what=_WHAT)
    fields = Fields(canonical.decode(outer.body, limit=MAX_REVIEW, what=_WHAT), what=_WHAT)
    finding = fields.text("finding", maximum=32)
    if finding not in set(Outcome):
        raise FormatError(f"{_WHAT} states a finding that is unknown here")
    review = Review(
        of=StationId(fields.octets("of", size=STATION_ID_SIZE)),
        number=fields.uint("number", maximum=_MAX_NUMBER),
        entry=fields.octets("entry", size=HASH_SIZE),
        finding=Outcome(finding),
        reviewer=StationId(fields.octets("reviewer", size=STATION_ID_SIZE)),
        reviewer_keys=signed.keys_from_value(
            fields.items("keys", maximum=signed.MAX_SIGNATURES), what=_WHAT
        ),
        at=fields.time("at"),
    )
    fields.finish()
    require_identity_set(review.reviewer_keys, what=_WHAT)
    outer.verify(review.reviewer_keys, what=_WHAT)
    return review


@dataclass(frozen=True, slots=True)
class ReviewRequest:
    """An emergency to be reviewed: the proof of its entry, and the reason as it is kept."""

    proof: bytes
    reason: bytes

    def encode(self) -> bytes:
        """Return the content of the file."""
        return canonical.encode({"proof": self.proof, "reason": self.reason})

    def require_reason_of(self, entry: Entry) -> None:
        """Raise IntegrityError unless the reason is the one that *entry* names."""
        if entry.event.act is not Act.EMERGENCY:
            raise IntegrityError("the entry is no emergency")
        if hashlib.sha256(self.reason).digest() != entry.event.details.get(Detail.DIGEST):
            raise IntegrityError("the reason is another than the one that was recorded")


def parse_request(data: bytes) -> ReviewRequest:
    """Return the request in *data*; raise FormatError when it is none."""
    what = "the emergency to be reviewed"
    fields = Fields(canonical.decode(data, limit=MAX_REQUEST, what=what, items=8), what=what)
    found = ReviewRequest(
        fields.octets("proof", maximum=MAX_PROOF_FILE),
        fields.octets("reason", maximum=MAX_REASON_FILE),
    )
    fields.finish()
    return found
