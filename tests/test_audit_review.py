"""audit.review and station.emergencies: reviews, what is reviewed, and reasons that are kept."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical
from medshare.audit.entries import Act, Detail, Entry, Event, parcel, station
from medshare.audit.merkle import leaf_hash
from medshare.audit.review import (
    Outcome,
    Review,
    ReviewRequest,
    encode_review,
    parse_request,
    parse_review,
)
from medshare.canonical import MAX_TIME
from medshare.errors import (
    AuthenticityError,
    FormatError,
    IntegrityError,
    MedshareError,
    NotFoundError,
    SignatureError,
)
from medshare.grant import Permission
from medshare.ids import ParcelId, StationId
from medshare.station.emergencies import (
    Emergency,
    keep_emergency,
    load_emergency,
    new_emergency,
    parse_emergency,
)
from tests.builder import make_identity

REVIEWER = make_identity("reviewer")
BREAKER = StationId(b"\x01" * 32)
PARCEL = ParcelId(b"\x02" * 16)
EMERGENCY = Emergency(PARCEL, Permission.VIEW, 7, ("department",), "why", b"\x03" * 16)
ENTRY = Entry(
    5,
    bytes(32),
    1_800_000_000,
    Event(
        Act.EMERGENCY,
        station(BREAKER),
        parcel(PARCEL),
        details={Detail.DIGEST: EMERGENCY.digest},
    ),
)
REVIEW = Review(
    of=BREAKER,
    number=5,
    entry=leaf_hash(ENTRY.encode()),
    finding=Outcome.JUSTIFIED,
    reviewer=REVIEWER.station,
    reviewer_keys=tuple(one.public for one in REVIEWER.signers),
    at=1_800_000_100,
)
SIGNED = encode_review(REVIEW, REVIEWER.signers)
EMERGENCIES = st.builds(
    Emergency,
    st.just(PARCEL),
    st.sampled_from(Permission),
    st.integers(0, MAX_TIME),
    st.lists(st.sampled_from(["department", "expired"]), max_size=3).map(tuple),
    st.text(max_size=200).filter(lambda text: text.isprintable()),
    st.binary(min_size=16, max_size=16),
)


@given(st.sampled_from(Outcome), st.integers(0, (1 << 53) - 1), st.integers(0, MAX_TIME))
def test_a_review_survives_being_written_and_read(finding: Outcome, number: int, at: int) -> None:
    """Whatever a reviewer signs is read back as it was."""
    review = replace(REVIEW, finding=finding, number=number, at=at)
    assert parse_review(encode_review(review, REVIEWER.signers)) == review


@given(st.integers(0, len(SIGNED) * 8 - 1))
def test_a_changed_review_is_refused(bit: int) -> None:
    """One flipped bit anywhere, and it is no review."""
    octets = bytearray(SIGNED)
    octets[bit // 8] ^= 1 << bit % 8
    with pytest.raises((FormatError, SignatureError)):
        parse_review(bytes(octets))


@given(st.binary(max_size=200))
def test_anything_else_is_refused(octets: bytes) -> None:
    """Octets that nobody wrote are neither a review, nor a request, nor a reason."""
    for parse in (parse_review, parse_request, parse_emergency):
        with pytest.raises(MedshareError):
            parse(octets)


def test_a_review_is_about_one_emergency_of_somebody_else() -> None:
    """It is held against the entry: the same one, an emergency, of whom it says, not one's own."""
    REVIEW.require_of(ENTRY)
    for other in (
        replace(ENTRY, number=6),
        replace(ENTRY, event=replace(ENTRY.event, act=Act.VIEW)),
        replace(ENTRY, event=replace(ENTRY.event, actor=station(REVIEWER.station))),
    ):
        about = replace(REVIEW, entry=leaf_hash(other.encode()))
        with pytest.raises(IntegrityError):
            (REVIEW if other.number == 6 else about).require_of(other)
    with pytest.raises(AuthenticityError) as caught:
        replace(REVIEW, of=REVIEWER.station).require_of(ENTRY)
    assert caught.value.code == "review.own"


def test_an_unknown_finding_is_refused() -> None:
    """The findings are a closed list."""
    with pytest.raises(FormatError, match="finding"):
        parse_review(
            encode_review(replace(REVIEW, finding="perhaps"), REVIEWER.signers)  # type: ignore[arg-type]  # on purpose
        )


def test_what_is_handed_over_is_the_recorded_reason() -> None:
    """A request survives, and its reason must have the digest in the entry."""
    request = ReviewRequest(b"proof", EMERGENCY.encode())
    assert parse_request(request.encode()) == request
    request.require_reason_of(ENTRY)
    with pytest.raises(IntegrityError, match="another"):
        replace(request, reason=b"x").require_reason_of(ENTRY)
    with pytest.raises(IntegrityError, match="no emergency"):
        request.require_reason_of(replace(ENTRY, event=replace(ENTRY.event, act=Act.VIEW)))


@given(EMERGENCIES)
def test_a_reason_survives_being_written_and_read(emergency: Emergency) -> None:
    """What was said, when, for which act and against which rules is read back."""
    assert parse_emergency(emergency.encode()) == emergency
    assert emergency.digest == hashlib.sha256(emergency.encode()).digest()


def test_a_reason_of_another_shape_is_refused() -> None:
    """An unknown act, and rules that are no texts."""
    for changes in ({"act": "steal"}, {"overridden": [1]}, {"version": 2}):
        value = canonical.decode(EMERGENCY.encode(), limit=1 << 14, what="it", items=64)
        assert isinstance(value, dict)
        with pytest.raises(FormatError):
            parse_emergency(canonical.encode({**value, **changes}))


def test_a_reason_is_kept_and_found_by_its_digest(tmp_path: Path) -> None:
    """Words are kept on one line; what was changed or destroyed since is noticed."""
    made = new_emergency(
        PARCEL, Permission.EXPORT, at=9, overridden=("department",), reason=" a\n b "
    )
    assert made.reason == "a b"
    twice = new_emergency(PARCEL, Permission.EXPORT, at=9, overridden=("department",), reason="a b")
    assert twice.digest != made.digest
    keep_emergency(tmp_path, made)
    assert load_emergency(tmp_path, made.digest) == made
    (path,) = (tmp_path / "emergencies").iterdir()
    assert path.stat().st_mode & 0o077 == 0
    path.write_bytes(twice.encode())
    with pytest.raises(IntegrityError):
        load_emergency(tmp_path, made.digest)
    path.unlink()
    with pytest.raises(NotFoundError):
        load_emergency(tmp_path, made.digest)
