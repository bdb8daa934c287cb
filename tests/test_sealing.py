"""What needs secret keys: wrapping, commitment, sealed manifests and receipts."""

from dataclasses import replace

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from medshare.envelope import encode_envelope
from medshare.errors import (
    DigestMismatchError,
    FormatError,
    IntegrityError,
    LimitError,
    MedshareError,
    NoIdentityMatchError,
)
from medshare.ids import ParcelId
from medshare.manifest import MAX_MANIFEST_SIZE, FileEntry, Manifest
from medshare.receipt import MAX_SEALED_RECEIPT
from medshare.sealing import (
    ParcelKey,
    key_id,
    open_manifest,
    open_receipt,
    require_commitment,
    seal_manifest,
    seal_receipt,
    unwrap_chunk_seed,
    unwrap_parcel_key,
    wrap_chunk_seed,
    wrap_parcel_key,
)
from medshare.suites.base import NONCE_SIZE, TAG_SIZE
from medshare.suites.intl import INTL
from tests.builder import Identity, make_identity, make_parcel, make_receipt, octets
from tests.forger import Forger, encrypt
from tests.strategies import damaged, file_sets

A, B, C = (make_identity(name) for name in "abc")
PARCEL = make_parcel({"x": octets("x", 1500)}, sender=A, recipients=[B], label="sealing")
FACTS = PARCEL.facts
KEY = PARCEL.key


# --- the parcel key -----------------------------------------------------------------------


@pytest.mark.parametrize("who", [A, B], ids=["sender", "recipient"])
def test_the_addressed_unwrap_the_key(who: Identity) -> None:
    """Sender and recipient get the parcel key, with whichever of their keys it is wrapped to."""
    assert unwrap_parcel_key(FACTS, who.station, who.openers) == KEY
    assert unwrap_parcel_key(FACTS, who.station, (*C.openers, *who.openers)) == KEY


def test_nobody_else_unwraps_the_key() -> None:
    """Another station, or the right station with other keys, is not addressed."""
    for station, openers in (
        (C.station, C.openers),
        (B.station, C.openers),
        (C.station, B.openers),
    ):
        with pytest.raises(NoIdentityMatchError):
            unwrap_parcel_key(FACTS, station, openers)
    with pytest.raises(NoIdentityMatchError):
        unwrap_parcel_key(FACTS, B.station, ())


def test_a_stanza_is_bound_to_its_place() -> None:
    """A wrapped key opens for the same parcel, sender and recipient only."""
    stanza = FACTS.stanzas_for(B.station)[0]
    for changes in (
        {"parcel": ParcelId(octets("other", 16))},
        {"sender": C.station},
        {"recipients": (replace(stanza, station=C.station),)},
    ):
        envelope = replace(FACTS, **changes)
        station = envelope.recipients[-1].station
        with pytest.raises(IntegrityError):
            unwrap_parcel_key(envelope, station, B.openers)


def test_the_key_must_match_the_commitment() -> None:
    """Another key, or one of another length, is refused although it was well wrapped."""
    require_commitment(KEY, FACTS)
    for key, error in (
        (ParcelKey(octets("other")), DigestMismatchError),
        (ParcelKey(KEY.value[:16]), IntegrityError),
        (ParcelKey(b""), IntegrityError),
    ):
        with pytest.raises(error):
            require_commitment(key, FACTS)


def test_two_keys_never_share_a_commitment() -> None:
    """Commitments differ from key to key, from parcel to parcel and from other derived keys."""
    other = ParcelId(octets("other", 16))
    derived = {
        KEY.derive(INTL, purpose, FACTS.parcel) for purpose in ("content", "nonce", "manifest")
    }
    derived |= {KEY.commitment(INTL, parcel) for parcel in (FACTS.parcel, other)}
    derived |= {ParcelKey(octets("other")).commitment(INTL, FACTS.parcel)}
    assert len(derived) == 6


def test_a_key_shows_nothing() -> None:
    """Neither the parcel key's representation nor an error about it holds its octets."""
    assert KEY.value.hex()[:8] not in repr(KEY)
    with pytest.raises(DigestMismatchError) as caught:
        require_commitment(ParcelKey(octets("other")), FACTS)
    assert octets("other").hex()[:8] not in str(caught.value)


def test_a_key_id_names_algorithm_and_key() -> None:
    """The key id is the first 16 octets of the digest over algorithm and key (§7.2)."""
    public = B.openers[0].public
    expected = INTL.digest(public.algorithm.encode() + b"\0" + public.value).value[:16]
    assert key_id(INTL, public) == expected == FACTS.stanzas_for(B.station)[0].key_id


def test_a_chunk_seed_is_for_the_sender_and_the_parcel() -> None:
    """The seed of the chunk key comes back for the same parcel, and never as a parcel key."""
    seed = octets("seed")
    wrapped = wrap_chunk_seed(seed, FACTS.parcel, A.openers[0].public)
    assert unwrap_chunk_seed(wrapped, FACTS.parcel, A.openers[0]) == seed
    with pytest.raises(IntegrityError):
        unwrap_chunk_seed(wrapped, ParcelId(bytes(16)), A.openers[0])
    with pytest.raises(IntegrityError):
        unwrap_chunk_seed(wrapped, FACTS.parcel, B.openers[0])
    stanza = FACTS.stanzas_for(A.station)[0]
    with pytest.raises(IntegrityError):
        unwrap_chunk_seed(stanza.wrapped, FACTS.parcel, A.openers[0])
    with pytest.raises(IntegrityError):
        unwrap_parcel_key(
            replace(FACTS, recipients=(replace(stanza, wrapped=wrapped),)), A.station, A.openers
        )


def test_wrapping_twice_gives_two_wraps() -> None:
    """Two wraps of one key have nothing in common that an observer could compare."""
    one, other = (
        wrap_parcel_key(
            KEY, INTL, FACTS.parcel,
            sender=A.station, recipient=B.station, to=B.openers[0].public,
        ).wrapped
        for _ in range(2)
    )  # fmt: skip
    assert one != other
    assert one[:32] != other[:32]


# --- manifests ----------------------------------------------------------------------------


@given(file_sets())
def test_a_sealed_manifest_opens(files: dict[str, bytes]) -> None:
    """The manifest comes back for whoever has the key, and shows no name to others."""
    parcel = make_parcel(files, sender=A, recipients=[B], label="manifest")
    assert open_manifest(parcel.manifest, parcel.key, parcel.facts) == parcel.listing
    for path in files:
        if len(path) > 5:
            assert path.encode() not in parcel.manifest


@given(damaged(PARCEL.manifest))
def test_no_changed_manifest_opens(data: bytes) -> None:
    """Any change is an IntegrityError, before anything is decrypted."""
    with pytest.raises(IntegrityError):
        open_manifest(data, KEY, FACTS)


@given(st.binary(max_size=80))
def test_any_named_octets_are_refused_with_a_code(data: bytes) -> None:
    """Even octets that the envelope names as its manifest raise coded errors only."""
    if data:
        named = replace(FACTS, manifest_size=len(data), manifest_digest=INTL.digest(data))
        with pytest.raises((FormatError, IntegrityError)):
            open_manifest(data, KEY, named)


@given(st.binary(max_size=60) | damaged(zstandard.ZstdCompressor().compress(b"\xa0" * 30)))
def test_any_packed_octets_are_refused_with_a_code(packed: bytes) -> None:
    """Whatever a sender encrypts in the place of a frame, reading it raises FormatError only."""
    forger = Forger(PARCEL)
    forger.set_packed_manifest(packed)
    named = replace(
        FACTS, manifest_size=len(forger.manifest), manifest_digest=INTL.digest(forger.manifest)
    )
    with pytest.raises(FormatError):
        open_manifest(forger.manifest, KEY, named)


def test_a_manifest_that_calls_for_other_chunks_is_refused() -> None:
    """The number of chunks in the envelope is that of the files, no more and no less."""
    for count in (0, 1, 3):
        envelope, _ = encode_envelope(replace(FACTS, chunk_count=count), A.signers)
        with pytest.raises(IntegrityError):
            open_manifest(PARCEL.manifest, KEY, envelope)


def test_a_manifest_too_long_to_seal_is_refused() -> None:
    """Names that would not fit into 8 MiB even compressed fail at the sender."""
    files = tuple(FileEntry(octets(str(number), 100).hex(), 0) for number in range(90_000))
    manifest = Manifest(files)
    assert len(manifest.encode()) < MAX_MANIFEST_SIZE
    with pytest.raises(LimitError):
        seal_manifest(manifest, KEY, INTL, FACTS.parcel)


def test_a_manifest_too_long_to_read_is_refused() -> None:
    """Names of more than 32 MiB in all fail at the sender, however well they compress."""
    folder = "/".join(["d" * 240] * 4)
    files = tuple(FileEntry(f"{folder}/{number:06d}", 0) for number in range(35_000))
    with pytest.raises(LimitError):
        seal_manifest(Manifest(files), KEY, INTL, FACTS.parcel)


# --- receipts -----------------------------------------------------------------------------


def test_a_sealed_receipt_opens_for_the_parties_only() -> None:
    """A receipt comes back under its parcel's key, and under no other key or parcel."""
    receipt = make_receipt(PARCEL, B)
    sealed = seal_receipt(receipt, KEY, FACTS)
    assert open_receipt(sealed, KEY, FACTS) == receipt
    assert receipt[:40] not in sealed
    other = make_parcel({"x": b"x"}, sender=A, recipients=[B], label="other")
    for key, facts in ((other.key, FACTS), (KEY, other.facts), (other.key, other.facts)):
        with pytest.raises(IntegrityError):
            open_receipt(sealed, key, facts)


SEALED_RECEIPT = seal_receipt(b"receipt" * 20, KEY, FACTS)


@given(damaged(SEALED_RECEIPT) | st.binary(max_size=100))
def test_no_other_octets_open_as_a_receipt(data: bytes) -> None:
    """Any other octets raise a coded error."""
    with pytest.raises((FormatError, IntegrityError)):
        open_receipt(data, KEY, FACTS)


def test_a_manifest_is_no_receipt() -> None:
    """What is sealed as a manifest does not open as a receipt of the same parcel."""
    with pytest.raises(IntegrityError):
        open_receipt(PARCEL.manifest, KEY, FACTS)


def test_receipts_are_limited_both_ways() -> None:
    """Too long a receipt is refused when it is sealed and when it arrives."""
    with pytest.raises(LimitError):
        open_receipt(bytes(MAX_SEALED_RECEIPT + 1), KEY, FACTS)
    with pytest.raises(LimitError):
        seal_receipt(octets("noise", MAX_SEALED_RECEIPT), KEY, FACTS)


@pytest.mark.parametrize("size", [41 << 20, 1 << 40])
def test_a_bomb_is_refused_before_it_unpacks(size: int) -> None:
    """A frame that announces more than the limit is a LimitError, whatever it holds."""
    frame = b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x01\0\0"
    key = KEY.derive(INTL, "receipt", FACTS.parcel)
    sealed = encrypt(INTL, key, bytes(NONCE_SIZE), frame, FACTS.parcel)
    assert len(sealed) == NONCE_SIZE + len(frame) + TAG_SIZE
    with pytest.raises(LimitError):
        open_receipt(sealed, key=KEY, envelope=FACTS)


def test_fresh_nonces_are_asked_of_the_source_given() -> None:
    """Randomness is an argument: the same source gives the same sealed manifest."""
    manifest = Manifest((FileEntry("x", 1),))

    def source(size: int) -> bytes:
        return octets("source", size)

    one, other = (seal_manifest(manifest, KEY, INTL, FACTS.parcel, random=source) for _ in range(2))
    assert one == other
    assert one[:NONCE_SIZE] == source(NONCE_SIZE)
    assert seal_manifest(manifest, KEY, INTL, FACTS.parcel) != one


def test_errors_are_medshare_errors() -> None:
    """Whatever is wrong with a key or parcel, one `except` is complete."""
    with pytest.raises(MedshareError):
        open_manifest(b"", KEY, FACTS)
