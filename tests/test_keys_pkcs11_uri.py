"""`pkcs11:` URIs: what they say, in one way only, and what is refused."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import FormatError, UsageError
from medshare.keys.pkcs11_uri import (
    MAX_SLOT,
    MAX_URI,
    Pkcs11Uri,
    parse_uri,
    require_no_module,
    require_token,
)


def texts(limit: int) -> st.SearchStrategy[str]:
    """What can be the name of something in a token."""
    return st.text(max_size=limit, min_size=1).filter(
        lambda text: (
            text.isprintable()
            and text == text.rstrip(" ")
            and len(text.encode("utf-8", "surrogatepass")) <= limit
        )
    )


uris = st.builds(
    Pkcs11Uri,
    token=st.none() | texts(32),
    manufacturer=st.none() | texts(32),
    serial=st.none() | texts(16),
    model=st.none() | texts(16),
    slot_id=st.none() | st.integers(0, MAX_SLOT),
    object=st.none() | texts(40),
    id=st.none() | st.binary(min_size=1, max_size=20),
    type=st.none() | st.sampled_from(["public", "private", "secret-key"]),
    module_path=st.none() | texts(40),
).filter(lambda uri: len(str(uri)) <= MAX_URI)


@given(uris)
def test_what_is_written_is_read(uri: Pkcs11Uri) -> None:
    """Every value comes back from its URI."""
    assert parse_uri(str(uri)) == uri


@given(
    st.text(max_size=60) | st.text("pkcs1:;?=&%2f/token-idpmhx", max_size=60).map("pkcs11:".__add__)
)
def test_no_text_crashes_the_parser(text: str) -> None:
    """Arbitrary text is a URI that can be written again, or a FormatError."""
    try:
        uri = parse_uri(text)
    except FormatError:
        return
    assert parse_uri(str(uri)) == uri


def test_the_examples_of_the_standard_are_read() -> None:
    """RFC 7512 §3: what concerns us of its examples."""
    uri = parse_uri(
        "pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.;"
        "model=1.0;object=my-certificate;type=private;id=%69%95%3E%5C%F4%BD%EC%91;serial="
        "123?module-path=/usr/lib/libp11.so"
    )
    assert uri == Pkcs11Uri(
        token="Software PKCS#11 softtoken",
        manufacturer="Snake Oil, Inc.",
        serial="123",
        model="1.0",
        object="my-certificate",
        id=bytes.fromhex("69953e5cf4bdec91"),
        type="private",
        module_path="/usr/lib/libp11.so",
    )
    assert parse_uri("pkcs11:") == Pkcs11Uri()
    assert parse_uri("pkcs11:slot-id=327") == Pkcs11Uri(slot_id=327)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "token=medshare",
        "PKCS11:token=a",
        "pkcs11:token",
        "pkcs11:token=a;",
        "pkcs11:;token=a",
        "pkcs11:token=a;token=b",
        "pkcs11:token=a;token=a",
        "pkcs11:token=",
        "pkcs11:token=a%20",
        "pkcs11:token=a b",
        "pkcs11:token=a#b",
        "pkcs11:token=a%",
        "pkcs11:token=a%2",
        "pkcs11:token=a%zz",
        "pkcs11:token=%ff",
        "pkcs11:token=%00",
        "pkcs11:token=a%0ab",
        "pkcs11:token=a%1b[31m",
        "pkcs11:token=a/b",
        "pkcs11:token=" + "a" * 33,
        "pkcs11:serial=" + "a" * 17,
        "pkcs11:slot-id=-1",
        "pkcs11:slot-id=01",
        "pkcs11:slot-id=4294967296",
        "pkcs11:slot-id=99999999999999999999",
        "pkcs11:type=cert",
        "pkcs11:id=",
        "pkcs11:id=" + "%00" * 65,
        "pkcs11:x-vendor=1",
        "pkcs11:library-version=3",
        "pkcs11:token=a?",
        "pkcs11:token=a?module-name=softhsm",
        "pkcs11:token=a?module-path=/a&module-path=/b",
        "pkcs11:token=a?token=b",
        "pkcs11:module-path=/a",
        "pkcs11:token=a?module-path=",
        "pkcs11:token=a?module-path=/a%00b",
        "pkcs11:" + "&" * MAX_URI,
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    """Malformed, repeated, unknown or oversized: FormatError."""
    with pytest.raises(FormatError):
        parse_uri(text)


@pytest.mark.parametrize("name", ["pin-value", "pin-source"])
def test_a_pin_is_refused_and_not_repeated(name: str) -> None:
    """No PIN is taken from a URI, wherever in it, nor shown in the error."""
    for text in (f"pkcs11:token=a?{name}=123456", f"pkcs11:{name}=123456"):
        with pytest.raises(FormatError, match="PIN") as caught:
            parse_uri(text)
        assert "123456" not in str(caught.value)


@pytest.mark.parametrize("path", ["/usr/lib/evil.so", "../../evil.so", "evil.so", "http://x/a.so"])
def test_a_module_path_is_refused_outside_the_configuration(path: str) -> None:
    """A URI from anywhere else never has code loaded, whatever the path."""
    uri = parse_uri(f"pkcs11:token=a?module-path={quote(path)}")
    assert uri.module_path == path
    with pytest.raises(UsageError, match="own configuration"):
        require_no_module(uri)
    assert require_no_module(uri.of_token()) == Pkcs11Uri(token="a")


@pytest.mark.parametrize(
    "text",
    ["pkcs11:", "pkcs11:model=a", "pkcs11:token=a;object=b", "pkcs11:token=a;id=%01",
     "pkcs11:token=a;type=private"],
)  # fmt: skip
def test_a_keystore_is_a_token(text: str) -> None:
    """A keystore is named by its token, and not by a key in it."""
    with pytest.raises(UsageError):
        require_token(parse_uri(text))


@pytest.mark.parametrize("text", ["pkcs11:token=a", "pkcs11:serial=1", "pkcs11:slot-id=0;model=m"])
def test_a_token_is_named_by_label_serial_or_slot(text: str) -> None:
    """Any of the three says which token is meant."""
    assert str(require_token(parse_uri(text))) == text.replace(
        "slot-id=0;model=m", "model=m;slot-id=0"
    )
