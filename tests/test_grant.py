"""Grants in envelopes: one encoding, strictly read, and signed with everything else."""

from dataclasses import replace
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import signed
from medshare.canonical import MAX_TIME, decode, encode
from medshare.digest import Digest
from medshare.envelope import LABEL, encode_envelope, parse_envelope
from medshare.errors import (
    FormatError,
    LimitError,
    MedshareError,
    SignatureError,
    UnsupportedVersionError,
)
from medshare.grant import (
    ALL,
    AT_MOST,
    BUILT_IN,
    EXTENSION,
    MAX_ANCESTORS,
    MAX_GRANTS,
    MAX_OPENINGS,
    NEEDS,
    NOTHING,
    Grant,
    Kind,
    Lineage,
    Permission,
    Purpose,
    Terms,
    require_truthful,
    terms_from_critical,
)
from medshare.ids import ParcelId, StationId
from tests.builder import make_parcel
from tests.grants_case import A, B, C, facts, granted, original

STATIONS = st.binary(min_size=32, max_size=32).map(StationId)
PARCELS = st.binary(min_size=16, max_size=16).map(ParcelId)
CODES = st.from_regex(r"\A[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?\Z").filter(lambda one: len(one) < 33)
PERMISSIONS = st.one_of(
    st.just(NOTHING),
    st.frozensets(st.sampled_from(list(Permission))).map(lambda one: one | {Permission.VIEW}),
)


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    """Any grant that the format allows."""
    role = draw(st.sampled_from([*BUILT_IN]) | CODES)
    permissions = draw(PERMISSIONS) & AT_MOST.get(role, ALL)
    return Grant(
        draw(STATIONS), role, permissions, draw(st.sampled_from(list(Purpose))),
        draw(st.integers(0, MAX_TIME)), draw(st.integers(0, MAX_OPENINGS)),
    )  # fmt: skip


LINEAGES = st.builds(
    Lineage,
    kind=st.sampled_from(list(NEEDS)),
    parent=PARCELS,
    digest=st.binary(min_size=32, max_size=32).map(Digest),
    root=PARCELS,
    revision=st.integers(0, MAX_ANCESTORS),
    proof=st.binary(max_size=200),
)


@st.composite
def terms(draw: st.DrawFn) -> Terms:
    """Any terms that the format allows."""
    found = draw(st.lists(grants(), max_size=6, unique_by=lambda one: one.station))
    found.sort(key=lambda one: one.station)
    lineage = draw(st.none() | LINEAGES) if found else None
    return Terms(tuple(found), draw(st.just("") | CODES), lineage)


@given(terms())
def test_terms_come_back(made: Terms) -> None:
    """What is written is read back, and is written alike again."""
    critical = decode(encode(made.to_critical()), limit=1 << 20, what="terms")
    assert isinstance(critical, dict)
    assert terms_from_critical(critical) == made
    assert terms_from_critical(critical).to_critical() == made.to_critical()


@given(terms(), st.data())
def test_whatever_else_is_refused_or_the_same(made: Terms, data: st.DataObject) -> None:
    """Octets with one bit changed are refused, or are the one encoding of other terms."""
    octets = bytearray(encode(made.to_critical()))
    at = data.draw(st.integers(0, 8 * len(octets) - 1))
    octets[at // 8] ^= 1 << at % 8
    try:
        critical = decode(bytes(octets), limit=1 << 20, what="terms")
        assert isinstance(critical, dict)
        found = terms_from_critical(critical)
    except (FormatError, AssertionError):
        return
    if EXTENSION in critical:
        assert encode(found.to_critical()) == bytes(octets)


def test_no_grants_is_no_extension() -> None:
    """An envelope that restricts nothing is what it was before there were grants."""
    parcel = make_parcel({"x": b"y"}, sender=A, recipients=[B])
    body = cbor2.loads(cbor2.loads(parcel.envelope)[1])
    assert body["critical"] == {}
    found = parse_envelope(parcel.envelope)
    assert (found.grants, found.department, found.lineage) == ((), "", None)
    assert found.kind is Kind.ORIGINAL


def test_an_envelope_tells_who_may_what() -> None:
    """The grant of each recipient is found by its station; the sender needs none."""
    envelope, data = original(A, granted(B, "attending"), granted(C, "auditor"), department="ent")
    found = parse_envelope(data)
    assert found == envelope
    grant = found.grant_for(B.station)
    assert grant is not None
    assert grant.allows(Permission.AMEND)
    assert found.grant_for(A.station) is None
    assert found.department == "ent"
    assert not found.stanzas_for(C.station)


def body_with(change: dict[str, Any]) -> bytes:
    """Return an envelope of a to b, signed, with *change* in what it says of grants."""
    _, data = original(A, granted(B, "consultant"))
    body = cbor2.loads(cbor2.loads(data)[1])
    body["critical"][EXTENSION] |= change
    return signed.sign(LABEL, encode(body), A.signers).encode()


def row(**change: Any) -> dict[str, Any]:
    """Return the grant of b with one place changed, as the extension has it."""
    places = ("station", "role", "permissions", "purpose", "expires", "openings")
    values = {
        "station": bytes(B.station), "role": "consultant", "permissions": ["annotate", "view"],
        "purpose": "TREAT", "expires": 0, "openings": 0,
    } | change  # fmt: skip
    return {"grants": [[values[place] for place in places]]}


STEP = ["share", bytes(16), bytes(32), bytes(16), 0, b""]
BAD: list[tuple[dict[str, Any], type[MedshareError]]] = [
    (row(role="Consultant"), FormatError),
    (row(role=""), FormatError),
    (row(role="x" * 33), FormatError),
    (row(permissions=["view", "annotate"]), FormatError),
    (row(permissions=["view", "view"]), FormatError),
    (row(permissions=["annotate"]), FormatError),
    (row(permissions=[]), FormatError),
    (row(permissions=[1]), FormatError),
    (row(permissions=["annotate", "share", "view"]), FormatError),
    (row(role="trainee", permissions=["share", "view"]), FormatError),
    (row(permissions=["fly", "view"]), UnsupportedVersionError),
    (row(purpose="FUN"), UnsupportedVersionError),
    (row(purpose="treat"), UnsupportedVersionError),
    (row(expires=MAX_TIME + 1), LimitError),
    (row(openings=MAX_OPENINGS + 1), LimitError),
    (row(expires=True), FormatError),
    (row(openings="3"), FormatError),
    (row(station=bytes(31)), FormatError),
    (row(station=bytes(C.station)), FormatError),
    (row(station=bytes(A.station)), FormatError),
    ({"grants": []}, FormatError),
    ({"grants": [*row()["grants"], *row()["grants"]]}, FormatError),
    ({"grants": row()["grants"] * (MAX_GRANTS + 1)}, LimitError),
    ({"department": "Ward 7"}, FormatError),
    ({"department": "x" * 33}, LimitError),
    ({"more": 1}, FormatError),
    ({"lineage": []}, FormatError),
    ({"lineage": ["original", *STEP[1:]]}, FormatError),
    ({"lineage": ["theft", *STEP[1:]]}, UnsupportedVersionError),
    ({"lineage": [*STEP[:4], MAX_ANCESTORS + 1, b""]}, LimitError),
    ({"lineage": [*STEP[:4], False, b""]}, FormatError),
    ({"lineage": [STEP[0], bytes(15), *STEP[2:]]}, FormatError),
    ({"lineage": STEP, "grants": []}, FormatError),
]


@pytest.mark.parametrize(("change", "error"), BAD)
def test_malformed_grants_are_refused(change: dict[str, Any], error: type[MedshareError]) -> None:
    """Whatever is not exactly of the form is refused, although its sender signed it."""
    with pytest.raises(error):
        parse_envelope(body_with(change))


def test_an_extension_that_says_nothing_is_refused() -> None:
    """There is one way to say nothing."""
    nothing: dict[str, object] = {"department": "", "grants": [], "lineage": None}
    with pytest.raises(FormatError):
        terms_from_critical({EXTENSION: nothing})


@pytest.mark.parametrize(
    "change",
    [
        row(role="x", permissions=["amend", "annotate", "view"]),
        row(expires=4_000_000_000),
        row(openings=1),
        row(station=bytes(C.station)),
        {"department": "psychiatry"},
    ],
    ids=["edited", "extended", "counted", "moved", "department"],
)
def test_a_changed_grant_breaks_the_signature(change: dict[str, Any]) -> None:
    """Nobody but the sender can edit, extend or move a grant."""
    _, data = original(A, granted(B, "consultant", expires=3_000_000_000))
    label, body, signatures = cbor2.loads(data)
    fields = cbor2.loads(body)
    fields["critical"][EXTENSION] |= change
    with pytest.raises((SignatureError, FormatError)):
        parse_envelope(encode([label, encode(fields), signatures]))


def test_the_key_goes_to_those_who_may_view() -> None:
    """A stanza without a grant that allows it, and such a grant without a stanza, are refused."""
    made = facts("x", A, [granted(B, "consultant"), granted(C, "trainee")])
    without = replace(made, recipients=made.recipients[:-1])
    with pytest.raises(FormatError):
        encode_envelope(without, A.signers)
    barred = tuple(sorted([granted(B, "auditor"), granted(C, "trainee")], key=lambda g: g.station))
    with pytest.raises(FormatError):
        encode_envelope(replace(made, grants=barred), A.signers)


def test_the_name_of_a_role_tells_the_truth() -> None:
    """No grant under a built-in name allows more than that role ever does."""
    for role, most in AT_MOST.items():
        require_truthful(role, most)
        for beyond in ALL - most:
            with pytest.raises(FormatError):
                require_truthful(role, most | {beyond, Permission.VIEW})
    require_truthful("of-our-own", ALL)


def test_a_grant_ends() -> None:
    """A grant ends at its time, or with its parcel, whichever comes first."""
    grant = granted(B, "trainee", expires=100)
    assert (grant.ended(99), grant.ended(100)) == (False, True)
    assert (grant.until(0), grant.until(50), grant.until(200)) == (100, 50, 100)
    endless = granted(B, "trainee")
    assert (endless.ended(10**9), endless.until(0), endless.until(7)) == (False, 0, 7)
