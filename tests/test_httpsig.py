"""Signed requests: the published example of RFC 9421, and everything that must be refused."""

import base64
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from medshare import httpsig
from medshare.errors import AccessDeniedError, FormatError, MedshareError, SignatureError
from medshare.suites.base import SYSTEM_RANDOM, PublicKey
from medshare.suites.signatures import Verifier, new_secret, scheme_named, signer_from_seed

NOW = 1_800_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NONCE = httpsig.encode_nonce(bytes(range(16)))
GET = httpsig.Request("GET", "relay.example:8443", "/v1/parcels/ab/chunks/7", "?wait=30")
PUT = httpsig.Request(
    "PUT", "relay.example", "/v1/parcels/ab/chunks/7", "", httpsig.Body(b"\x07" * 32, 4_194_304)
)

Headers = list[tuple[bytes, bytes]]


def verifier(key: Ed25519PublicKey) -> httpsig.Verifier:
    """Return an Ed25519 verifier that answers instead of raising."""

    def verify(signature: bytes, message: bytes) -> bool:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return verify


def known(key_id: str) -> httpsig.Verifier | None:
    """Know the key ``station-a`` and no other."""
    return verifier(KEY.public_key()) if key_id == "station-a" else None


def signed(request: httpsig.Request, *, created: int = NOW, nonce: str = NONCE) -> Headers:
    """Return the header of a signed request, as a server would see it."""
    fields = httpsig.sign_request(
        request, key_id="station-a", nonce=nonce, created=created, sign=KEY.sign
    )
    if request.body is not None:
        fields["Content-Length"] = str(request.body.length)
    return [(name.encode(), value.encode()) for name, value in fields.items()]


def verify(
    request: httpsig.Request,
    headers: Headers,
    *,
    now: int = NOW,
    memory: httpsig.NonceMemory | None = None,
    verifier_for: Callable[[str], httpsig.Verifier | None] = known,
) -> str:
    """Do what a server does: the header describes the body, the rest is known."""
    return httpsig.verify_request(
        replace(request, body=httpsig.parse_body(headers)),
        httpsig.parse_signature_headers(headers),
        now=now,
        memory=memory or httpsig.NonceMemory(),
        verifier_for=verifier_for,
    )


def altered(headers: Headers, field: str, old: str, new: str) -> Headers:
    """Return the header with ``old`` replaced in one field; it must have been there."""
    result = []
    for name, value in headers:
        if name.decode().lower() == field:
            assert old.encode() in value
            result.append((name, value.replace(old.encode(), new.encode(), 1)))
        else:
            result.append((name, value))
    return result


def test_the_published_example_is_reproduced() -> None:
    """RFC 9421 appendix B.2.6: our signature base, signed with its key, is its signature."""
    base = httpsig.signature_base(
        [
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("@method", "POST"),
            ("@path", "/foo"),
            ("@authority", "example.com"),
            ("content-type", "application/json"),
            ("content-length", "18"),
        ],
        '("date" "@method" "@path" "@authority" "content-type" "content-length")'
        ';created=1618884473;keyid="test-key-ed25519"',
    )
    key = Ed25519PrivateKey.from_private_bytes(
        base64.urlsafe_b64decode("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU=")
    )
    assert base64.b64encode(key.sign(base)) == (
        b"wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    )


def test_the_fields_of_a_signed_request_are_stable() -> None:
    """What goes over the wire, to the byte, so that a change of it is noticed."""
    fields = dict(signed(PUT))
    assert fields[b"Signature-Input"] == (
        b'medshare=("@method" "@authority" "@path" "@query" "content-digest" "content-length")'
        b';created=1800000000;nonce="AAECAwQFBgcICQoLDA0ODw";keyid="station-a"'
        b';alg="ed25519";tag="medshare/1"'
    )
    assert fields[b"Content-Digest"] == b"blake3=:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=:"


def test_the_longest_fields_are_within_the_limit() -> None:
    """A key id of the greatest length can be read back."""
    fields = httpsig.sign_request(
        PUT, key_id="k" * 128, nonce=NONCE, created=10**15 - 1, sign=KEY.sign
    )
    assert max(map(len, fields.values())) < 350 < httpsig.MAX_FIELD


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256", "sm2"])
def test_every_algorithm_signs_with_its_own_hash(algorithm: str) -> None:
    """A request verifies with the key, the `alg` and the hash that belong together, or not."""
    signer = signer_from_seed(algorithm, new_secret(algorithm, SYSTEM_RANDOM))
    scheme = scheme_named(algorithm)
    for hash_name in ("blake3", "sm3"):
        request = replace(PUT, body=httpsig.Body(b"\x07" * 32, 4_194_304, hash_name))
        fields = httpsig.sign_request(
            request, key_id="station-a", nonce=NONCE, created=NOW, sign=signer.sign,
            algorithm=scheme.request_name,
        )  # fmt: skip
        fields["Content-Length"] = "4194304"
        headers = [(name.encode(), value.encode()) for name, value in fields.items()]
        if hash_name == scheme.request_hash:
            assert verify(request, headers, verifier_for=lambda _: good(signer.public))
        else:
            with pytest.raises(FormatError, match="go with"):
                verify(request, headers, verifier_for=lambda _: good(signer.public))


def good(key: PublicKey) -> httpsig.Verifier:
    """Return a verifier that answers instead of raising."""

    def verify(signature: bytes, message: bytes) -> bool:
        try:
            Verifier(key).verify(signature, message, what="it")
        except SignatureError:
            return False
        return True

    return verify


@pytest.mark.parametrize("request_", [GET, PUT, replace(GET, query="")])
def test_a_signed_request_is_accepted_once(request_: httpsig.Request) -> None:
    """The first presentation names the signer, the second is refused as a replay."""
    memory = httpsig.NonceMemory()
    assert verify(request_, signed(request_), memory=memory) == "station-a"
    with pytest.raises(AccessDeniedError, match="already made once"):
        verify(request_, signed(request_), memory=memory)


@pytest.mark.parametrize(
    "other",
    [
        replace(GET, method="DELETE"),
        replace(GET, authority="relay.example"),
        replace(GET, path="/v1/parcels/ab/chunks/8"),
        replace(GET, query="?wait=31"),
        replace(GET, query=""),
    ],
)
def test_a_signature_holds_for_one_request_only(other: httpsig.Request) -> None:
    """Another method, host, path or query under the same fields is refused."""
    with pytest.raises(AccessDeniedError, match="not good"):
        verify(other, signed(GET))


def test_an_empty_query_and_no_query_are_the_same() -> None:
    """RFC 9421 §2.2.7: both are signed as a lone question mark."""
    assert verify(replace(GET, query="?"), signed(replace(GET, query=""))) == "station-a"


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        ("content-length", "4194304", "4194303"),
        ("content-digest", "=:Bwc", "=:Cwc"),
        ("signature-input", "created=1800000000", "created=1800000001"),
        ("signature-input", "AAECAw", "AAECBw"),
    ],
)
def test_what_the_signature_covers_cannot_be_changed(field: str, old: str, new: str) -> None:
    """A well-formed change of a covered field or parameter makes the signature bad."""
    with pytest.raises(AccessDeniedError, match="not good"):
        verify(PUT, altered(signed(PUT), field, old, new))


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        ("content-length", "4194304", "04194304"),
        ("content-length", "4194304", "-1"),
        ("content-length", "4194304", "9" * 19),
        ("content-digest", "blake3", "sha-256"),
        ("content-digest", "Bwc=:", "Bwd=:"),  # the same bytes, spelled with stray bits
        ("content-digest", "Bwc=:", "B=:"),
        ("content-digest", "blake3=:", "blake3=::"),
        ("content-digest", "=:", "=:AAAA"),
        ("signature", "medshare=:", "sig1=:"),
        ("signature", ":", ""),
        ("signature", "medshare=:", "medshare=:!"),
        ("signature", "medshare=:", "medshare=:AAAA"),
        ("signature-input", "medshare=", "sig1="),
        ("signature-input", "medshare=(", 'sig1=("@method");created=1, medshare=('),
        ("signature-input", '"@method" ', ""),
        ("signature-input", '"@method" "@authority"', '"@authority" "@method"'),
        ("signature-input", '"@query"', '"@query" "@query"'),
        ("signature-input", '"@query"', '"@query";req'),
        ("signature-input", '"@query" ', '"@query"  '),
        ("signature-input", ' "content-length"', ""),
        ("signature-input", 'alg="ed25519"', 'alg="rsa-v1_5-sha256"'),
        ("signature-input", ';alg="ed25519"', ""),
        ("signature-input", 'tag="medshare/1"', 'tag="medshare/2"'),
        ("signature-input", 'tag="medshare/1"', 'tag="medshare/1";expires=9'),
        ("signature-input", "created=1", "created=01"),
        ("signature-input", "created=1", "created=-1"),
        ("signature-input", "created=1800000000", "created=" + "9" * 16),
        ("signature-input", "ODw", "OD"),
        ("signature-input", "ODw", "ODx"),
        ("signature-input", 'keyid="station-a"', 'keyid=""'),
        ("signature-input", 'keyid="station-a"', 'keyid="' + "a" * 129 + '"'),
        ("signature-input", "station-a", "station\\a"),
        ("signature-input", "station-a", "st\xe4tion-a"),
        ("signature-input", '/1"', '/1"' + " " * httpsig.MAX_FIELD),
    ],
)
def test_a_malformed_field_is_refused(field: str, old: str, new: str) -> None:
    """Every deviation from the one accepted shape is a format error, whatever is signed."""
    with pytest.raises(FormatError):
        verify(PUT, altered(signed(PUT), field, old, new))


@pytest.mark.parametrize("field", ["Signature", "Signature-Input", "Content-Digest"])
def test_a_field_may_not_come_twice(field: str) -> None:
    """Two fields of one name leave open which one counts, so both are refused."""
    headers = signed(PUT)
    again = [(name.upper(), value) for name, value in headers if name.decode() == field]
    assert again
    with pytest.raises(FormatError, match="repeated"):
        verify(PUT, headers + again)


@pytest.mark.parametrize("field", [b"Signature", b"Signature-Input"])
def test_an_unsigned_request_is_not_permitted(field: bytes) -> None:
    """A missing signature is a matter of access, not of format."""
    with pytest.raises(AccessDeniedError, match="not signed"):
        verify(GET, [(name, value) for name, value in signed(GET) if name != field])


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"5")],
        [(b"Content-Digest", httpsig.content_digest(bytes(32)).encode())],
        [(b"Transfer-Encoding", b"chunked")],
        [(b"content-length", b"0"), (b"transfer-encoding", b"identity")],
    ],
)
def test_a_body_has_both_a_length_and_a_digest(headers: Headers) -> None:
    """A body that only one of the two describes, or neither, is refused."""
    with pytest.raises(FormatError):
        httpsig.parse_body(headers)


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"0")]])
def test_no_body_is_described_by_nothing_or_by_a_length_of_zero(headers: Headers) -> None:
    """Clients send content-length 0 with a body-less PUT; it needs no digest."""
    assert httpsig.parse_body(headers) is None


def test_a_body_cannot_be_added_to_or_taken_from_a_signed_request() -> None:
    """The signature covers the body exactly when there is one."""
    with pytest.raises(FormatError, match="cover the body"):
        verify(GET, signed(GET) + [h for h in signed(PUT) if h[0].startswith(b"Content")])
    with pytest.raises(FormatError, match="cover the body"):
        verify(PUT, [h for h in signed(PUT) if not h[0].startswith(b"Content")])


def test_the_clocks_may_differ_by_the_skew_and_no_more() -> None:
    """The time is accepted up to the limit on both sides, and one second later it is not."""
    for offset in (-httpsig.MAX_SKEW, httpsig.MAX_SKEW):
        assert verify(GET, signed(GET, created=NOW + offset)) == "station-a"
    for offset in (-httpsig.MAX_SKEW - 1, httpsig.MAX_SKEW + 1):
        with pytest.raises(AccessDeniedError, match="clocks"):
            verify(GET, signed(GET, created=NOW + offset))


def test_a_stranger_is_told_apart_and_leaves_nothing_behind() -> None:
    """Unknown keys and bad signatures are refused before a nonce is remembered."""
    memory = httpsig.NonceMemory()
    with pytest.raises(AccessDeniedError, match="not enrolled"):
        verify(GET, signed(GET), memory=memory, verifier_for=lambda key_id: None)
    with pytest.raises(AccessDeniedError, match="not good"):
        verify(replace(GET, path="/x"), signed(GET), memory=memory)
    assert memory.remembered == 0


@pytest.mark.parametrize(
    "request_",
    [
        replace(GET, method="get"),
        replace(GET, authority="Relay.Example"),
        replace(GET, authority=""),
        replace(GET, path=""),
        replace(GET, path="/a b"),
        replace(GET, path="/a?b"),
        replace(GET, path='/a\n"@query": ?x'),
        replace(GET, path="/\xe4"),
        replace(GET, path="/" + "a" * 8192),
        replace(GET, query="wait=30"),
        replace(GET, query="?a#b"),
    ],
)
def test_an_odd_request_is_neither_signed_nor_verified(request_: httpsig.Request) -> None:
    """What could stand for two different requests is refused on both sides."""
    with pytest.raises(FormatError):
        signed(request_)
    with pytest.raises(FormatError):
        verify(request_, signed(GET))


@pytest.mark.parametrize(
    ("key_id", "nonce", "created"),
    [("a b", NONCE, NOW), ('a"', NONCE, NOW), ("a", "short", NOW), ("a", NONCE, -1)],
)
def test_malformed_parameters_are_not_signed(key_id: str, nonce: str, created: int) -> None:
    """The signer refuses what no verifier would read."""
    with pytest.raises(FormatError):
        httpsig.sign_request(GET, key_id=key_id, nonce=nonce, created=created, sign=KEY.sign)


requests = st.builds(
    httpsig.Request,
    method=st.from_regex(r"[A-Z]{1,16}", fullmatch=True),
    authority=st.from_regex(r"[a-z0-9.-]{1,60}(:[0-9]{1,5})?", fullmatch=True),
    path=st.from_regex(r"/[A-Za-z0-9/%._~-]{0,80}", fullmatch=True),
    query=st.from_regex(r"(\?[A-Za-z0-9=&%]{0,40})?", fullmatch=True),
    body=st.none()
    | st.builds(httpsig.Body, st.binary(min_size=32, max_size=32), st.integers(0, 10**18 - 1)),
)


@given(request_=requests, nonce=st.binary(min_size=16, max_size=16), created=st.integers(1, 10**14))
def test_every_signed_request_verifies(
    request_: httpsig.Request, nonce: bytes, created: int
) -> None:
    """Signing and verifying agree for any request, nonce and time."""
    headers = signed(request_, nonce=httpsig.encode_nonce(nonce), created=created)
    assert verify(request_, headers, now=created) == "station-a"


@given(st.binary(min_size=32, max_size=32), st.sampled_from(["blake3", "sm3"]))
def test_a_content_digest_reads_back(digest: bytes, name: str) -> None:
    """The field carries every digest unchanged, and the name of its hash."""
    assert httpsig.parse_content_digest(httpsig.content_digest(digest, name)) == (digest, name)


@given(st.text(max_size=80) | st.from_regex(r"(blake3|sm3)=:[A-Za-z0-9+/=]{40,46}:"))
def test_a_content_digest_has_one_spelling(text: str) -> None:
    """Whatever is accepted is what we would have written; all else is a format error."""
    try:
        digest = httpsig.parse_content_digest(text)
    except FormatError:
        return
    assert httpsig.content_digest(*digest) == text


@given(field=st.sampled_from([0, 1]), at=st.integers(0, 400), octet=st.integers(0, 255))
def test_no_octet_of_the_fields_can_be_changed(field: int, at: int, octet: int) -> None:
    """Any single changed octet of either signature field makes the request unacceptable."""
    headers = signed(PUT)
    name, value = headers[field]
    at %= len(value)
    changed = value[:at] + bytes([octet]) + value[at + 1 :]
    if changed == value:
        return
    headers[field] = (name, changed)
    with pytest.raises(MedshareError):
        verify(PUT, headers)
