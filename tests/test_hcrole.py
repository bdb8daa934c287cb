"""Healthcare roles and the DER they are written in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import FormatError
from medshare.trust import der
from medshare.trust.hcrole import ISCO_08, ROLES, Role, encode_role, parse_roles, role_named
from tests.strategies import damaged

GOOD = encode_role(role_named("specialist"))

arcs = st.lists(st.integers(0, 2**120), max_size=6)
oids = st.builds(
    lambda first, second, rest: ".".join(map(str, [first, second, *rest])),
    st.integers(0, 2),
    st.integers(0, 39),
    arcs,
)
roles = st.builds(
    Role,
    oids,
    st.text("0123456789 ", max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
).filter(lambda role: bool(role.code or role.text))


@given(roles)
def test_whatever_role_is_stated_is_read(role: Role) -> None:
    """Every scheme, code and text that can be written is read again."""
    assert parse_roles(encode_role(role)) == (role,)


@given(damaged(GOOD) | st.binary(max_size=80))
def test_any_octets_are_roles_or_refused(data: bytes) -> None:
    """Damaged DER is a FormatError or states roles; nothing else happens."""
    try:
        found = parse_roles(data)
    except FormatError:
        return
    assert all(isinstance(role, Role) for role in found)


def test_the_encoding_is_that_of_the_standard() -> None:
    """The octets are those that openssl asn1parse shows as ISO 17090-3 says."""
    expected = (
        "303a30380606288185420001312e312c302aa0283126a00e060c6086480186f95b0209060207"
        "a106120432323132a20c0c0a7370656369616c697374"
    )
    assert GOOD.hex() == expected


def test_a_role_is_called_by_its_name() -> None:
    """Known codes have our names; others their own text, or scheme and code."""
    assert [role_named(name).name for name in ROLES] == list(ROLES)
    assert Role(ISCO_08, "2212", "anything").name == "specialist"
    assert Role("1.2.392.100495.1.6.1.1", "", "Medical Doctor").name == "Medical Doctor"
    assert Role("1.2.3", "7").name == "1.2.3:7"


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x81\x01\x00",
        b"\x30\x80\x00\x00",
        b"\x30",
        b"\x3f\x1f\x00",
        b"\x30\x83\x00\x00\x01\x00",
    ],
    ids=["long length", "indefinite", "cut", "high tag", "length with noughts"],
)
def test_only_der_is_read(data: bytes) -> None:
    """BER that is not DER is refused."""
    with pytest.raises(FormatError):
        der.read_all(data)


@pytest.mark.parametrize("content", [b"", b"\x80\x01", b"\x81", b"\x81" * 40 + b"\x01"])
def test_only_whole_object_identifiers_are_read(content: bytes) -> None:
    """Empty, padded, cut and endless identifiers are refused."""
    with pytest.raises(FormatError):
        der.oid_text(content)
