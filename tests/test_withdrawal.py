"""Withdrawals: one encoding, signed by the sender, of one parcel and from one recipient."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical, signed
from medshare.errors import FormatError, IntegrityError, MedshareError, SignatureError
from medshare.ids import ParcelId
from medshare.station.withdrawals import keep_withdrawal, withdrawal_of
from medshare.withdrawal import LABEL, Withdrawal, encode_withdrawal, named_in, parse_withdrawal
from tests.builder import CREATED
from tests.grants_case import A, B, C, D, granted, original

ENVELOPE, _ = original(A, granted(B, "attending"), granted(C, "auditor"))
KEYS = tuple(one.public for one in A.signers)
MADE = Withdrawal(ENVELOPE.parcel, ENVELOPE.digest, A.station, KEYS, B.station, CREATED)
OCTETS = encode_withdrawal(MADE, A.signers)


def test_a_withdrawal_comes_back() -> None:
    """What is written is read, and is of the envelope that it names."""
    found = parse_withdrawal(OCTETS)
    assert found == MADE
    found.require_of(ENVELOPE)


@given(st.integers(0, 8 * len(OCTETS) - 1))
def test_a_changed_bit_is_refused(at: int) -> None:
    """No bit of a withdrawal can be changed."""
    octets = bytearray(OCTETS)
    octets[at // 8] ^= 1 << at % 8
    with pytest.raises((FormatError, SignatureError)):
        parse_withdrawal(bytes(octets))


@given(st.binary(max_size=200))
def test_no_octets_crash_the_reader(octets: bytes) -> None:
    """Arbitrary octets are refused."""
    with pytest.raises(FormatError):
        parse_withdrawal(octets)


@pytest.mark.parametrize(
    "change",
    [
        {"parcel": bytes(15)},
        {"envelope": b""},
        {"recipient": bytes(A.station)},
        {"withdrawn": -1},
        {"critical": {"x": 1}},
        {"more": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_malformed_withdrawal_is_refused(change: dict[str, Any]) -> None:
    """A field too many, missing or out of bounds is refused, although it is signed."""
    body = canonical.decode(signed.parse(OCTETS, label=LABEL, limit=1 << 15, what="it").body,
                            limit=1 << 15, what="it")  # fmt: skip
    assert isinstance(body, dict)
    if "withdrawn" in change:
        change = {"withdrawn": canonical.MAX_TIME + 1}
    octets = signed.sign(LABEL, canonical.encode(body | change), A.signers).encode()
    with pytest.raises(FormatError):
        parse_withdrawal(octets)


def test_it_is_of_one_parcel() -> None:
    """Another parcel, envelope or sender, or somebody to whom it is not, is refused."""
    others = (
        replace(MADE, parcel=ParcelId(bytes(16))),
        replace(MADE, envelope=original(A, granted(B, "attending"), label="x")[0].digest),
        replace(MADE, sender=D.station),
        replace(MADE, recipient=D.station),
    )
    for other in others:
        with pytest.raises(IntegrityError):
            other.require_of(ENVELOPE)
    assert named_in(ENVELOPE) == {B.station, C.station}


def test_a_station_remembers_what_was_withdrawn(tmp_path: Path) -> None:
    """What is kept counts for that parcel and that station, if it is by its sender."""
    assert withdrawal_of(tmp_path, ENVELOPE, B.station) is None
    keep_withdrawal(tmp_path, OCTETS)
    assert withdrawal_of(tmp_path, ENVELOPE, B.station) == MADE
    assert withdrawal_of(tmp_path, ENVELOPE, C.station) is None
    (kept,) = (tmp_path / "withdrawals").iterdir()
    kept.write_bytes(OCTETS[:-1])
    with pytest.raises(MedshareError):
        withdrawal_of(tmp_path, ENVELOPE, B.station)


def test_nobody_undoes_the_withdrawal_of_a_sender(tmp_path: Path) -> None:
    """What another contact signs of the same parcel takes back nothing, and gives back nothing."""
    foreign = replace(MADE, sender=D.station, sender_keys=tuple(s.public for s in D.signers))
    octets = encode_withdrawal(foreign, D.signers)
    keep_withdrawal(tmp_path, octets)
    assert withdrawal_of(tmp_path, ENVELOPE, B.station) is None
    keep_withdrawal(tmp_path, OCTETS)
    keep_withdrawal(tmp_path, octets)
    assert withdrawal_of(tmp_path, ENVELOPE, B.station) == MADE
