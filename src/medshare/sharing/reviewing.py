"""Emergencies at a station: which await review, handing one over, and taking in what was found."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare.audit import entries
from medshare.audit.checkpoint import keys_of_card
from medshare.audit.entries import Act, Detail, Entry
from medshare.audit.merkle import leaf_hash
from medshare.audit.proof import parse_proof, verified_proof
from medshare.audit.review import (
    MAX_REQUEST,
    MAX_REVIEW,
    Outcome,
    Review,
    ReviewRequest,
    encode_review,
    parse_request,
    parse_review,
)
from medshare.disk.atomic import read_file, write_file
from medshare.errors import (
    AuthenticityError,
    MedshareError,
    NotFoundError,
    PolicyError,
    UntrustedSignerError,
)
from medshare.ids import StationId
from medshare.record.index import Query, search
from medshare.record.reader import RecordReader
from medshare.station import Contact, Identity, Station
from medshare.station.emergencies import (
    FOLDER,
    Emergency,
    load_emergency,
    parse_emergency,
)

NOT_JUSTIFIED: Final = PolicyError("the glass was broken without need", code="review.not-justified")
"""How the record says that a review found no need."""
_WHAT: Final = "the emergency to be reviewed"
_OWN: Final = "an emergency is reviewed by somebody else than who broke the glass"


@dataclass(frozen=True, slots=True)
class Broken:
    """One emergency of this station: its entry, its reason, and what others found."""

    entry: Entry
    emergency: Emergency | None
    """None where the reason is not kept any more, or was changed: `fault` says which."""
    fault: MedshareError | None
    reviewer: StationId | None
    justified: bool | None


def emergencies(station: Station) -> tuple[Broken, ...]:
    """Return every emergency in the record of *station*, the oldest first."""
    try:
        reader = RecordReader(station.record.log.folder)
    except NotFoundError:
        return ()
    reviews = {
        one.event.details.get(Detail.DIGEST): one
        for one in search(reader, Query(acts=(Act.REVIEW,)))
        if one.event.parties
    }
    found = search(reader, Query(acts=(Act.EMERGENCY,), outcome=entries.Outcome.DONE))
    return tuple(_broken(station, entry, reviews.get(_leaf(entry))) for entry in found)


def _broken(station: Station, entry: Entry, review: Entry | None) -> Broken:
    emergency, fault = None, None
    try:
        emergency = load_emergency(station.home, _digest(entry))
    except MedshareError as error:
        fault = error
    if review is None:
        return Broken(entry, emergency, fault, None, None)
    justified = review.event.outcome is entries.Outcome.DONE
    return Broken(entry, emergency, fault, review.event.parties[0], justified)


def _leaf(entry: Entry) -> bytes:
    """Return what names an entry in every record: reviews of others' are in this one too."""
    return leaf_hash(entry.encode())


def _digest(entry: Entry) -> bytes:
    value = entry.event.details.get(Detail.DIGEST, b"")
    return value if isinstance(value, bytes) else b""


def emergency_entry(station: Station, number: int) -> Entry:
    """Return entry *number* of the record; raise NotFoundError unless it is an emergency."""
    for one in emergencies(station):
        if one.entry.number == number:
            return one.entry
    raise NotFoundError(
        f"entry {number} is no emergency", hint="medshare policy review shows which there are"
    )


def hand_over(station: Station, number: int, output: Path) -> None:
    """Write what is reviewed, emergency *number* with its reason and its proof, to *output*."""
    entry = emergency_entry(station, number)
    reason = load_emergency(station.home, _digest(entry)).encode()
    proof = RecordReader(station.record.log.folder).prove(number).encode()
    write_file(output, ReviewRequest(proof, reason).encode(), what=_WHAT)


@dataclass(frozen=True, slots=True)
class Handed:
    """An emergency of somebody else, verified: it is in that record, with that reason."""

    entry: Entry
    emergency: Emergency
    of: Contact


def read_handed(path: Path, station: Station) -> Handed:
    """Return the emergency that was handed over in *path* by a contact of *station*.

    Raises UntrustedSignerError when it is nobody's who is trusted here, IntegrityError when
    the reason is not the recorded one, and what `verified_proof` raises.
    """
    request = parse_request(read_file(path, limit=MAX_REQUEST, what=_WHAT))
    proof = parse_proof(request.proof)
    origin = proof.checkpoint.partition(b"\n")[0]
    if origin == keys_of_card(station.card).name.encode():
        raise UntrustedSignerError(_OWN)
    for contact in station.contacts.all():
        keys = keys_of_card(contact.card)
        if keys.name.encode() == origin:
            contact.require_trusted()
            entry, _ = verified_proof(proof, keys)
            request.require_reason_of(entry)
            return Handed(entry, parse_emergency(request.reason), contact)
    raise UntrustedSignerError(
        "this is about the record of somebody who is not among your contacts",
        hint="import their card (medshare card import FILE) after comparing its fingerprint",
    )


def sign_review(
    handed: Handed, finding: Outcome, *, identity: Identity, station: Station, now: int
) -> bytes:
    """Return the signed review of *handed*, and record that it was made."""
    review = Review(
        of=handed.of.station,
        number=handed.entry.number,
        entry=_leaf(handed.entry),
        finding=finding,
        reviewer=station.id,
        reviewer_keys=tuple(signer.public for signer in identity.signers),
        at=now,
    )
    review.require_of(handed.entry)
    with station.record.signed(identity.signers):
        _note(station, review, handed.of.station, entries.station(handed.of.station))
        return encode_review(review, identity.signers)


def take_review(path: Path, *, station: Station) -> tuple[Review, Contact, bool]:
    """Record that the emergency was reviewed, by whom, and what was found; return that.

    What that reviewer has found is recorded once: the last is whether it is new.

    Raises UntrustedSignerError unless a trusted contact has signed it, AuthenticityError when
    it is one's own, IntegrityError when it is about something else.
    """
    octets = read_file(path, limit=MAX_REVIEW, what="the review")
    review = parse_review(octets)
    if review.reviewer == station.id or review.of != station.id:
        raise AuthenticityError(_OWN, code="review.own")
    reviewer = _signer(review, station)
    entry = emergency_entry(station, review.number)
    review.require_of(entry)
    if _recorded(station, review):
        return review, reviewer, False
    write_file(station.home / FOLDER / f"{_digest(entry).hex()}.review", octets, what="a review")
    _note(station, review, reviewer.station, entries.station(reviewer.station))
    return review, reviewer, True


def _recorded(station: Station, review: Review) -> bool:
    """Return whether the record holds already what *review* says."""
    justified = review.finding is not Outcome.NOT_JUSTIFIED
    return any(
        one.event.details.get(Detail.DIGEST) == review.entry
        and one.event.parties == (review.reviewer,)
        and (one.event.outcome is entries.Outcome.DONE) == justified
        for one in search(RecordReader(station.record.log.folder), Query(acts=(Act.REVIEW,)))
    )


def _signer(review: Review, station: Station) -> Contact:
    contact, keys = station.contacts.of(review.reviewer), review.reviewer_keys
    if (
        contact is None
        or not contact.card.knows_signing_keys(keys)
        or contact.card.revocation_of(keys) is not None
    ):
        raise UntrustedSignerError(
            "the review is signed by somebody who is not trusted here",
            hint="import the reviewer's card (medshare card import FILE) first",
        )
    contact.require_trusted()
    return contact


def _note(station: Station, review: Review, party: StationId, about: entries.Ref) -> None:
    event = station.record.event(
        Act.REVIEW,
        about,
        parties=(party,),
        details={Detail.FIRST: review.number, Detail.DIGEST: review.entry},
    )
    if review.finding is Outcome.NOT_JUSTIFIED:
        event = event.refused(NOT_JUSTIFIED)
    station.record.log.record(event)
