"""The seal: all chunks of exactly one envelope, signed by its sender."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.chunking import MAX_CHUNKS
from medshare.digest import Digest
from medshare.envelope import encode_envelope
from medshare.errors import (
    AuthenticityError,
    DigestMismatchError,
    FormatError,
    IntegrityError,
    LimitError,
    SignatureError,
)
from medshare.ids import ParcelId
from medshare.seal import MAX_SEAL_SIZE, Seal, encode_seal, parse_seal
from medshare.suites.intl import INTL
from tests.builder import make_identity, make_parcel, octets
from tests.strategies import damaged

A, B = make_identity("a"), make_identity("b")
PARCEL = make_parcel({"x": octets("x", 2500)}, sender=A, recipients=[B], label="seal")
FACTS = PARCEL.facts


def test_a_seal_comes_back() -> None:
    """What the sender sealed is what a reader sees, with the digest of the whole."""
    seal = parse_seal(PARCEL.seal, FACTS)
    assert seal == PARCEL.sealed
    assert seal.digest == INTL.digest(PARCEL.seal)


def test_a_seal_names_each_chunk() -> None:
    """Each chunk has its digest in its place, and no place beyond the end is asked for."""
    seal = PARCEL.sealed
    for index, digest in enumerate(seal.chunks):
        seal.require_chunk(index, digest)
        with pytest.raises(DigestMismatchError):
            seal.require_chunk((index + 1) % 3, digest)
    for index in (-1, 3, 1 << 40):
        with pytest.raises(IntegrityError):
            seal.require_chunk(index, seal.chunks[0])


@given(damaged(PARCEL.seal) | st.binary(max_size=300))
def test_any_other_octets_are_refused(data: bytes) -> None:
    """No change to a seal passes, and what is raised is a coded format or signature fault."""
    with pytest.raises((FormatError, AuthenticityError)):
        parse_seal(data, FACTS)


OTHER = Digest(octets("other"))


@pytest.mark.parametrize(
    ("seal", "error"),
    [
        (replace(PARCEL.sealed, parcel=ParcelId(octets("other", 16))), IntegrityError),
        (replace(PARCEL.sealed, envelope=OTHER), IntegrityError),
        (replace(PARCEL.sealed, manifest=OTHER), IntegrityError),
        (replace(PARCEL.sealed, chunks=PARCEL.sealed.chunks[:2]), FormatError),
        (replace(PARCEL.sealed, chunks=(*PARCEL.sealed.chunks, OTHER)), FormatError),
        (replace(PARCEL.sealed, sealed=1 << 60), LimitError),
    ],
    ids=["parcel", "envelope", "manifest", "short", "long", "time"],
)
def test_a_sender_cannot_seal_something_else(seal: Seal, error: type[Exception]) -> None:
    """A seal that does not fit its envelope fails when it is made."""
    with pytest.raises((FormatError, IntegrityError)) as caught:
        encode_seal(seal, FACTS, A.signers)
    assert type(caught.value) is error


def test_a_recipient_cannot_seal() -> None:
    """A seal that anybody but the sender signed is refused, as is one key's half of it."""
    for signers in (B.signers, A.signers[:1], A.signers[1:], A.signers[::-1]):
        with pytest.raises(SignatureError):
            encode_seal(PARCEL.sealed, FACTS, signers)


def test_a_seal_belongs_to_one_envelope() -> None:
    """The seal of an envelope with one more recipient, the same otherwise, is another one."""
    more = (*FACTS.recipients, replace(FACTS.recipients[0], key_id=bytes(16)))
    other, _ = encode_envelope(replace(FACTS, recipients=more), A.signers)
    with pytest.raises(IntegrityError):
        parse_seal(PARCEL.seal, other)


def test_the_largest_seal_fits() -> None:
    """A parcel of 131072 chunks is sealed within the limit, and one octet more is refused."""
    chunks = (OTHER,) * MAX_CHUNKS
    facts, _ = encode_envelope(replace(FACTS, chunk_count=MAX_CHUNKS), A.signers)
    seal = replace(PARCEL.sealed, envelope=facts.digest, chunks=chunks)
    made, data = encode_seal(seal, facts, A.signers)
    assert made.chunks == chunks
    assert len(data) <= MAX_SEAL_SIZE
    with pytest.raises(LimitError):
        parse_seal(bytes(MAX_SEAL_SIZE + 1), facts)
