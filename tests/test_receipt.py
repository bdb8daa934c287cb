"""The receipt: a recipient's word on every file, which nobody else can give."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import (
    AuthenticityError,
    FormatError,
    LimitError,
    MedshareError,
    SignatureError,
    UnsupportedVersionError,
)
from medshare.ids import StationId
from medshare.receipt import (
    MAX_RECEIPT_SIZE,
    Receipt,
    ReceivedFile,
    encode_receipt,
    parse_receipt,
)
from medshare.suites.intl import INTL
from tests.builder import make_identity, make_parcel, make_receipt
from tests.strategies import damaged, file_sets

A, B, C = (make_identity(name) for name in "abc")
PARCEL = make_parcel({"x": b"x", "y/z": b"z"}, sender=A, recipients=[B], label="receipt")
OCTETS = make_receipt(PARCEL, B)
RECEIPT = parse_receipt(OCTETS)


@given(file_sets())
def test_a_receipt_comes_back(files: dict[str, bytes]) -> None:
    """A receipt names each file with its size and the digest that `b3sum` would print."""
    listed = tuple(ReceivedFile(path, len(d), INTL.digest(d)) for path, d in files.items())
    receipt = replace(RECEIPT, files=listed)
    found = parse_receipt(encode_receipt(receipt, B.signers))
    assert found == receipt


def test_a_receipt_names_the_parcel() -> None:
    """It names parcel, seal, sender and recipient."""
    assert RECEIPT.parcel == PARCEL.id
    assert RECEIPT.seal == INTL.digest(PARCEL.seal)
    assert (RECEIPT.sender, RECEIPT.recipient) == (A.station, B.station)


@given(damaged(OCTETS) | st.binary(max_size=300))
def test_any_other_octets_are_refused(data: bytes) -> None:
    """No change to a receipt passes, and what is raised is a coded format or signature fault."""
    with pytest.raises((FormatError, AuthenticityError)):
        parse_receipt(data)


def test_an_emergency_is_stated_or_not() -> None:
    """A receipt says by which entry the glass was broken, and of another shape it says nothing."""
    assert RECEIPT.emergency is None
    stated = replace(RECEIPT, emergency=b"e" * 32)
    assert parse_receipt(encode_receipt(stated, B.signers)) == stated
    for wrong in (b"e" * 31, b"", 7, "e" * 32):
        malformed = replace(RECEIPT, emergency=wrong)  # type: ignore[arg-type]  # on purpose
        with pytest.raises(FormatError, match="emergency"):
            parse_receipt(encode_receipt(malformed, B.signers))


def test_nobody_signs_for_another() -> None:
    """A receipt signed by others than the keys that it names, or by half of them, is refused."""
    for signers in (C.signers, B.signers[:1], B.signers[::-1], (*B.signers, *C.signers)):
        with pytest.raises(SignatureError):
            parse_receipt(encode_receipt(RECEIPT, signers))


FILE = RECEIPT.files[0]


@pytest.mark.parametrize(
    ("receipt", "error"),
    [
        (replace(RECEIPT, suite="rot13"), UnsupportedVersionError),
        (replace(RECEIPT, received=1 << 60), LimitError),
        (replace(RECEIPT, files=(replace(FILE, path="../x"),)), FormatError),
        (replace(RECEIPT, files=(replace(FILE, size=1 << 60),)), LimitError),
        (replace(RECEIPT, recipient_keys=RECEIPT.recipient_keys[:1]), UnsupportedVersionError),
        (replace(RECEIPT, sender=StationId(b"short")), FormatError),
    ],
    ids=["suite", "time", "path", "size", "keys", "sender"],
)
def test_other_forms_are_refused(receipt: Receipt, error: type[MedshareError]) -> None:
    """A well signed receipt that a reader may not accept tells why."""
    with pytest.raises(FormatError) as caught:
        parse_receipt(encode_receipt(receipt, B.signers))
    assert type(caught.value) is error


def test_a_huge_receipt_is_refused_unread() -> None:
    """More than 40 MiB is a LimitError, whatever it is."""
    with pytest.raises(LimitError):
        parse_receipt(bytes(MAX_RECEIPT_SIZE + 1))
