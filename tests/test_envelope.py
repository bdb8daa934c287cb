"""The envelope: what its sender signed, and chunks checked against it without any secret."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.canonical import MAX_TIME
from medshare.envelope import (
    LABEL,
    MAX_ENVELOPE_SIZE,
    MAX_RECIPIENTS,
    ChunkRecord,
    ChunkVerifier,
    Envelope,
    Stanza,
    check_sealed_manifest,
    encode_envelope,
    parse_envelope,
)
from medshare.errors import (
    AuthenticityError,
    DigestMismatchError,
    FormatError,
    IntegrityError,
    LimitError,
    MedshareError,
    SignatureError,
    UnsupportedVersionError,
)
from medshare.ids import ParcelId, StationId
from medshare.suites.base import PublicKey
from medshare.suites.intl import INTL
from tests.builder import make_identity, make_parcel, octets
from tests.strategies import damaged

A, B, C = (make_identity(name) for name in "abc")
PARCEL = make_parcel({"x": octets("x", 2500)}, sender=A, recipients=[B], label="envelope")
FACTS = PARCEL.facts
STANZA = FACTS.recipients[0]


def test_facts_come_back() -> None:
    """What the sender signed is what a reader sees, with the digest of the whole."""
    envelope = parse_envelope(PARCEL.envelope)
    assert envelope == FACTS
    assert envelope.digest == INTL.digest(PARCEL.envelope)
    assert envelope.cipher_suite is INTL
    assert [one.station for one in envelope.recipients] == [A.station, B.station]
    assert envelope.stanzas_for(B.station) == (envelope.recipients[1],)
    assert envelope.stanzas_for(C.station) == ()


@given(
    st.builds(
        lambda **changes: replace(FACTS, **changes),
        created=st.integers(0, MAX_TIME),
        delete_after=st.integers(0, MAX_TIME),
        tier=st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True),
        chunk_size=st.integers(1024, 1 << 24),
        chunk_count=st.integers(0, 1 << 17),
        manifest_size=st.integers(1, 1 << 23),
        sender=st.binary(min_size=32, max_size=32).map(StationId),
        parcel=st.binary(min_size=16, max_size=16).map(ParcelId),
    )
)
def test_all_facts_within_bounds_are_written_and_read(facts: Envelope) -> None:
    """Every envelope within the bounds of §7 survives, and re-encodes to the same body."""
    found, data = encode_envelope(facts, A.signers)
    assert parse_envelope(data) == found
    assert replace(found, digest=facts.digest) == facts


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"created": MAX_TIME + 1}, LimitError),
        ({"delete_after": -1}, FormatError),
        ({"tier": ""}, FormatError),
        ({"tier": "Routine"}, FormatError),
        ({"tier": "a" * 33}, LimitError),
        ({"tier": "a\nb"}, FormatError),
        ({"suite": "rot13"}, UnsupportedVersionError),
        ({"recipients": ()}, FormatError),
        ({"recipients": (STANZA, STANZA)}, FormatError),
        ({"recipients": (STANZA, replace(STANZA, algorithm="later"))}, FormatError),
        ({"recipients": (replace(STANZA, key_id=bytes(15)),)}, FormatError),
        ({"recipients": (replace(STANZA, wrapped=bytes(4097)),)}, FormatError),
        ({"recipients": (replace(STANZA, algorithm="x" * 33),)}, FormatError),
        ({"recipients": (replace(STANZA, station=StationId(bytes(31))),)}, FormatError),
        ({"chunk_size": 1023}, LimitError),
        ({"chunk_size": (1 << 24) + 1}, LimitError),
        ({"chunk_count": (1 << 17) + 1}, LimitError),
        ({"manifest_size": 0}, LimitError),
        ({"manifest_size": (1 << 23) + 1}, LimitError),
        ({"commitment": bytes(31)}, FormatError),
        ({"parcel": bytes(17)}, FormatError),
        ({"chunk_key": PublicKey("ed25519", bytes(31))}, FormatError),
        ({"chunk_key": A.signers[1].public}, FormatError),
        ({"sender_keys": (A.signers[0].public,)}, UnsupportedVersionError),
        ({"sender_keys": tuple(one.public for one in C.signers)}, SignatureError),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_sender_cannot_write_what_no_reader_accepts(
    changes: dict[str, Any], error: type[MedshareError]
) -> None:
    """Facts out of bounds fail at the sender, with the kind of fault a reader would report."""
    with pytest.raises(MedshareError) as caught:
        encode_envelope(replace(FACTS, **changes), A.signers)
    assert type(caught.value) is error


def many(count: int) -> tuple[Stanza, ...]:
    """Return stanzas for *count* stations."""
    return tuple(
        replace(STANZA, station=StationId(octets(f"station {number}"))) for number in range(count)
    )


def test_sixty_four_recipients_are_the_limit() -> None:
    """64 stanzas are written and read; 65 are a LimitError."""
    found, data = encode_envelope(replace(FACTS, recipients=many(MAX_RECIPIENTS)), A.signers)
    assert len(found.recipients) == MAX_RECIPIENTS
    assert len(data) < MAX_ENVELOPE_SIZE
    with pytest.raises(LimitError):
        encode_envelope(replace(FACTS, recipients=many(MAX_RECIPIENTS + 1)), A.signers)


def test_a_huge_envelope_is_refused_unread() -> None:
    """More than 1 MiB is a LimitError, whatever it is."""
    with pytest.raises(LimitError):
        parse_envelope(bytes(MAX_ENVELOPE_SIZE + 1))


@given(damaged(PARCEL.envelope) | st.binary(max_size=300))
def test_any_other_octets_are_refused(data: bytes) -> None:
    """No change to an envelope passes, and what is raised is a coded format or signature fault."""
    with pytest.raises((FormatError, AuthenticityError)):
        parse_envelope(data)


def test_a_label_names_version_and_purpose() -> None:
    """The label is what docs/format.md §7.1 says."""
    assert LABEL == "medshare/1 envelope"


def test_the_sealed_manifest_is_named_exactly() -> None:
    """Another length or another content than the envelope names is refused."""
    check_sealed_manifest(PARCEL.manifest, FACTS)
    with pytest.raises(DigestMismatchError):
        check_sealed_manifest(bytes(len(PARCEL.manifest)), FACTS)
    for size in (0, len(PARCEL.manifest) - 1, len(PARCEL.manifest) + 1):
        with pytest.raises(IntegrityError):
            check_sealed_manifest((PARCEL.manifest * 2)[:size], FACTS)


# --- chunks -------------------------------------------------------------------------------

VERIFIER = ChunkVerifier(FACTS)


def test_every_chunk_is_proved_to_be_in_its_place() -> None:
    """Each chunk verifies at its own index, whatever kind of buffer holds it, and nowhere else."""
    for index, chunk in enumerate(PARCEL.chunks):
        assert len(chunk) <= VERIFIER.max_size
        record = VERIFIER.check(index, memoryview(bytearray(chunk)))
        assert record == VERIFIER.check(index, chunk)
        assert record.digest == PARCEL.sealed.chunks[index]
        VERIFIER.check_record(record)
        for other in {-1, 0, 1, 2, 3, 1 << 40} - {index}:
            with pytest.raises(IntegrityError):
                VERIFIER.check(other, chunk)


@given(st.sampled_from(range(3)).flatmap(lambda n: damaged(PARCEL.chunks[n]).map(lambda d: (n, d))))
def test_no_changed_chunk_verifies(drawn: tuple[int, bytes]) -> None:
    """Any change to a chunk is a coded fault, found without any key."""
    index, data = drawn
    with pytest.raises((FormatError, IntegrityError, SignatureError)):
        VERIFIER.check(index, data)


@pytest.mark.parametrize("index", [-1, 3, 1 << 31, 1 << 32, 1 << 64])
def test_records_beyond_the_parcel_are_refused(index: int) -> None:
    """A record that a relay made up, with any index, is an IntegrityError and no crash."""
    record = VERIFIER.check(0, PARCEL.chunks[0])
    with pytest.raises(IntegrityError):
        VERIFIER.check_record(replace(record, index=index))


def test_records_cannot_be_made_up() -> None:
    """A record with another digest, index or signature does not verify."""
    record = VERIFIER.check(0, PARCEL.chunks[0])
    other = VERIFIER.check(1, PARCEL.chunks[1])
    for changed in (
        replace(record, digest=other.digest),
        replace(record, index=1),
        replace(record, signature=other.signature),
        ChunkRecord(0, record.digest, b""),
    ):
        with pytest.raises(SignatureError):
            VERIFIER.check_record(changed)
