"""Stations that nobody attends: clientcert, addresses, and profiles at the relay."""

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from medshare import clientcert, httpsig
from medshare.clientcert import Certificate, PrivateKey
from medshare.errors import AccessDeniedError, FormatError, StorageError, UsageError
from medshare.relay.access import AccessRules
from medshare.relay.factor_store import FILE as STORE_FILE
from medshare.relay.profiles import (
    Profile,
    Profiles,
    address_of,
    is_within,
    network,
    parse_profile,
    person,
    unattended,
)
from medshare.transport.credentials import load_client_key
from medshare.wire import problems, routes
from medshare.wire.routes import Target
from medshare.wire.sign_in import FACTOR_KINDS, Proof, encode_proof
from tests.relay_case import Case, Reply, Request, open_case, rotated, signed
from tests.sign_in_case import office
from tests.suites.transport_suite import ALICE, BOB

INSIDE, OUTSIDE = ("10.1.2.3", 40000), ("203.0.113.9", 40000)
RANGE = "10.1.0.0/16"


@dataclass(frozen=True)
class Pair:
    """A client certificate and its key."""

    certificate: Certificate
    key: PrivateKey

    def sign(self, request: Request) -> Request:
        """Return *request* with the signature of the certificate."""
        fields = {name.decode(): value.decode() for name, value in request.headers}
        done = clientcert.sign_second(
            {"Signature-Input": fields["signature-input"], "Signature": fields["signature"]},
            self.certificate,
            self.key,
        )
        for name, value in done.items():
            request = request.with_field(name.lower(), value)
        return request


def pair_of(
    kind: str = "p256", *, usage: x509.ObjectIdentifier | None = None, days: int = 3650
) -> Pair:
    """Return a new certificate that signs itself, valid since long ago."""
    keys: dict[str, PrivateKey] = {}
    match kind:
        case "ed25519":
            keys[kind] = ed25519.Ed25519PrivateKey.generate()
        case "p384":
            keys[kind] = ec.generate_private_key(ec.SECP384R1())
        case _:
            keys[kind] = ec.generate_private_key(ec.SECP256R1())
    key = keys[kind]
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    begins = datetime(2020, 1, 1, tzinfo=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    made = builder.sign(key, None if kind == "ed25519" else SHA256())
    return Pair(clientcert.parse_certificate(made.public_bytes(Encoding.PEM)), key)


PAIR, OTHER = pair_of(), pair_of()


@dataclass
class Gateway:
    """Alice as a station that nobody attends."""

    case: Case

    def ask(self, pair: Pair | None = PAIR, *, client: tuple[str, int] = INSIDE) -> Reply:
        """Ask for the inbox."""
        self.case.client = client
        request = signed(ALICE, Target(routes.INBOX), query="after=0", created=self.case.now)
        return self.case.ask(request if pair is None else pair.sign(request))


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A relay at which Alice is enrolled as unattended."""
    with open_case(tmp_path / "relay") as case:
        office(case).set_profile(ALICE.station, unattended(PAIR.certificate, [RANGE]))
        yield Gateway(case)


def test_certificate_and_address_are_enough(gateway: Gateway) -> None:
    """With the signature of its certificate, from its address, the station is served."""
    assert gateway.ask().status == 200


def test_nobody_signs_in_for_it(gateway: Gateway) -> None:
    """An unattended station that signs in hears that it need not, not that a code is wrong."""
    gateway.case.client = INSIDE
    proof = encode_proof(Proof("totp", code="123456"))
    request = signed(ALICE, Target(routes.SIGN_IN), proof, created=gateway.case.now)
    reply = gateway.case.ask(PAIR.sign(request))
    assert (reply.status, reply.code) == (403, problems.PROFILE)


def test_without_the_certificate_nothing_is_answered(gateway: Gateway) -> None:
    """No signature of a certificate, or that of another, is refused with its own code."""
    assert gateway.ask(None).code == problems.CERTIFICATE
    assert gateway.ask(OTHER).code == problems.CERTIFICATE


def test_a_signature_by_another_key_is_refused(gateway: Gateway) -> None:
    """The right certificate, which is public, is of no use without its key."""
    assert gateway.ask(Pair(PAIR.certificate, OTHER.key)).code == problems.CERTIFICATE


def test_a_signature_over_another_request_is_refused(gateway: Gateway) -> None:
    """The second signature of an earlier request does not go with the first of this one."""
    gateway.case.client = INSIDE
    requests = [
        PAIR.sign(signed(ALICE, Target(routes.INBOX), query="after=0", created=gateway.case.now))
        for _ in range(2)
    ]
    fields = [{n.decode(): v.decode() for n, v in one.headers} for one in requests]
    first, second = (one["signature"].split(httpsig.SECOND) for one in fields)
    mixed = requests[0].with_field("signature", f"{first[0]}{httpsig.SECOND}{second[1]}")
    assert gateway.case.ask(mixed).code == problems.CERTIFICATE


@pytest.mark.parametrize("address", ["203.0.113.9", "10.2.0.1", "::1", "fe80::1", "nonsense"])
def test_another_address_is_refused(gateway: Gateway, address: str) -> None:
    """From outside its ranges the station is refused, whatever it signs."""
    assert gateway.ask(client=(address, 1)).code == problems.ADDRESS


def test_ipv4_within_ipv6_is_the_same_address(gateway: Gateway) -> None:
    """A socket for both families writes IPv4 addresses as mapped ones."""
    assert gateway.ask(client=("::ffff:10.1.2.3", 1)).status == 200


def test_nobody_says_where_he_comes_from(gateway: Gateway) -> None:
    """X-Forwarded-For is not looked at where no proxy is trusted."""
    gateway.case.client = OUTSIDE
    request = signed(ALICE, Target(routes.INBOX), query="after=0", created=gateway.case.now)
    forged = PAIR.sign(request).with_field("x-forwarded-for", "10.1.2.3")
    assert gateway.case.ask(forged).code == problems.ADDRESS


@pytest.mark.parametrize(
    ("forwarded", "passes"),
    [
        ("10.1.2.3", True),
        ("203.0.113.1, 10.1.2.3", True),
        ("10.1.2.3, 203.0.113.1", False),
        ("10.1.2.3, ", False),
        (None, False),
    ],
)
def test_a_trusted_proxy_says_where(tmp_path: Path, forwarded: str | None, passes: bool) -> None:
    """The last address that the proxy adds counts; what a client wrote before it does not."""
    rules = AccessRules(proxies=(network("127.0.0.1/32"),))
    with open_case(tmp_path / "relay", rules=rules, client=("127.0.0.1", 1)) as case:
        office(case).set_profile(ALICE.station, unattended(PAIR.certificate, [RANGE]))
        request = PAIR.sign(signed(ALICE, Target(routes.INBOX), query="after=0", created=case.now))
        if forwarded is not None:
            request = request.with_field("x-forwarded-for", forwarded)
        assert (case.ask(request).status == 200) == passes


def test_a_certificate_that_expired_is_refused(tmp_path: Path) -> None:
    """Outside its validity a certificate lets nobody in."""
    old = pair_of(days=30)
    with open_case(tmp_path / "relay") as case:
        office(case).set_profile(ALICE.station, unattended(old.certificate, [RANGE]))
        assert Gateway(case).ask(old).code == problems.CERTIFICATE


def test_a_newer_card_needs_the_certificate_as_well(gateway: Gateway) -> None:
    """A stolen station key alone does not rotate the keys of an unattended station."""
    newer = rotated(ALICE, "newer")
    request = signed(newer, Target(routes.PUT_CARD), newer.card.encoded, created=gateway.case.now)
    gateway.case.client = INSIDE
    assert gateway.case.ask(request).code == problems.CERTIFICATE
    request = signed(newer, Target(routes.PUT_CARD), newer.card.encoded, created=gateway.case.now)
    assert gateway.case.ask(PAIR.sign(request)).status == 204


@pytest.mark.parametrize("kind", ["ed25519", "p256", "p384"])
def test_certificates_of_several_kinds_sign(kind: str) -> None:
    """Ed25519 and ECDSA on two curves sign and verify; a changed octet does not."""
    pair = pair_of(kind)
    request = pair.sign(signed(ALICE, Target(routes.INBOX), query="after=0"))
    found = httpsig.parse_signature_headers(request.headers)
    assert found.second is not None
    second = clientcert.parse_second(found.second)
    clientcert.require_second(second, found.signature, pair.certificate, now=1_760_000_000)
    with pytest.raises(AccessDeniedError):
        clientcert.require_second(
            second, found.signature[:-1] + b"x", pair.certificate, now=1_760_000_000
        )


def test_the_second_signature_is_that_of_rfc_9421() -> None:
    """Its base is the first signature as a component with its key, and its own parameters."""
    session = "A" * 43
    request = PAIR.sign(signed(ALICE, Target(routes.INBOX), query="after=0", session=session))
    fields = {name.decode(): value.decode() for name, value in request.headers}
    first, second = fields["signature"].split(", certificate=")
    own, params = fields["signature-input"].split(", certificate=")
    base = f'"signature";key="medshare": {first.removeprefix("medshare=")}\n'
    base += f'"@signature-params": {params}'
    octets = base64.b64decode(second.strip(":"))
    r, s = int.from_bytes(octets[:32]), int.from_bytes(octets[32:])
    key = PAIR.certificate.key
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(encode_dss_signature(r, s), base.encode(), ec.ECDSA(SHA256()))
    assert '"@query" "medshare-session")' in own


def test_rsa_certificates_sign() -> None:
    """RSA as hospitals' authorities still issue it signs and verifies with PSS."""
    issued = trustme.CA().issue_cert("gateway", key_type=trustme.KeyType.RSA)
    certificate = clientcert.parse_certificate(issued.cert_chain_pems[0].bytes())
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    request = Pair(certificate, key).sign(signed(ALICE, Target(routes.INBOX)))  # type: ignore[arg-type]  # it is RSA
    found = httpsig.parse_signature_headers(request.headers)
    assert found.second is not None
    second = clientcert.parse_second(found.second)
    clientcert.require_second(second, found.signature, certificate, now=int(time.time()))


def test_a_certificate_of_a_server_is_not_enrolled() -> None:
    """An extended key usage without clients, a weak key and nonsense are refused."""
    with pytest.raises(UsageError, match="not for clients"):
        pair_of(usage=ExtendedKeyUsageOID.SERVER_AUTH)
    pair_of(usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    with pytest.raises(UsageError):
        clientcert.parse_certificate(b"-----BEGIN CERTIFICATE-----\nAAAA\n")


@given(st.text(max_size=200), st.text(max_size=200))
def test_a_malformed_second_signature_is_refused(params: str, signature: str) -> None:
    """What is not exactly the one shape is a FormatError or an AccessDeniedError."""
    with pytest.raises(FormatError):
        clientcert.parse_second((params, signature))
    second = clientcert.Second("x", PAIR.certificate.fingerprint, "ecdsa-p256-sha256", signature)
    with pytest.raises((FormatError, AccessDeniedError)):
        clientcert.require_second(second, bytes(64), PAIR.certificate, now=1_760_000_000)


def test_a_key_of_another_certificate_is_not_loaded(tmp_path: Path) -> None:
    """Certificate and key must belong together, which is found before anything is sent."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    loaded = x509.load_der_x509_certificate(PAIR.certificate.der)
    cert.write_bytes(loaded.public_bytes(Encoding.PEM))
    for pair, right in ((PAIR, True), (OTHER, False)):
        pem = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        key.write_bytes(pem)
        if right:
            found = load_client_key(cert, key)
            assert found.certificate.fingerprint == PAIR.certificate.fingerprint
        else:
            with pytest.raises(UsageError, match="belong together"):
                load_client_key(cert, key)


# --- profiles ----------------------------------------------------------------------------

profiles = st.one_of(
    st.just(Profile()),
    st.builds(
        lambda kinds, verify: person(kinds, verify=verify),
        st.sets(st.sampled_from(FACTOR_KINDS)),
        st.booleans(),
    ),
    st.builds(
        lambda ranges: unattended(PAIR.certificate, [f"10.{n}.0.0/16" for n in sorted(ranges)]),
        st.sets(st.integers(0, 255), min_size=1, max_size=8),
    ),
)


@given(profiles)
def test_a_profile_survives_its_file(profile: Profile) -> None:
    """What is written is read back."""
    assert parse_profile(profile.encode()) == profile


@given(profiles, st.data())
def test_a_damaged_profile_is_refused(profile: Profile, data: st.DataObject) -> None:
    """A file with an octet changed is another profile's exact encoding, or refused."""
    octets = bytearray(profile.encode())
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] ^= data.draw(st.integers(1, 255))
    try:
        found = parse_profile(bytes(octets))
    except FormatError:
        return
    assert found.encode() == bytes(octets)


def test_a_profile_that_cannot_be_read_shuts_the_door(gateway: Gateway) -> None:
    """A damaged profile is no reason to demand less."""
    path = gateway.case.data / "profiles" / ALICE.station.hex()
    path.write_bytes(path.read_bytes()[:-1])
    assert gateway.ask().status == 500
    with pytest.raises(StorageError):
        Profiles(path.parent).find(ALICE.station)


@pytest.mark.parametrize("text", ["10.1.2.3/16", "10.1.0.0/33", "", "host", "10.1.0.0/16 "])
def test_a_range_is_written_in_one_way(text: str) -> None:
    """What is no range, or has something set behind its prefix, is refused."""
    with pytest.raises(UsageError):
        unattended(PAIR.certificate, [text])


def test_no_address_is_in_no_range() -> None:
    """What is no address is within nothing."""
    assert not is_within(address_of("nonsense"), [network("0.0.0.0/0"), network("::/0")])


# --- an older relay ----------------------------------------------------------------------


def inbox_of(case: Case) -> Reply:
    """Ask for the inbox of Bob, who has no profile."""
    return case.ask(signed(BOB, Target(routes.INBOX), query="after=0", created=case.now))


def test_a_relay_of_before_goes_on(tmp_path: Path) -> None:
    """The folder of a relay without profiles and factors opens, and its stations are served."""
    data = tmp_path / "relay"
    with open_case(data):
        pass
    for path in [*data.glob(f"{STORE_FILE}*"), *data.glob("factor-key")]:
        path.unlink()
    with open_case(data) as case:
        assert inbox_of(case).status == 200


def test_a_station_without_profile_is_refused_where_one_is_demanded(tmp_path: Path) -> None:
    """With --require-profile stations of before are refused until the operator says which."""
    with open_case(tmp_path / "relay", rules=AccessRules(require_profile=True)) as case:
        assert inbox_of(case).code == problems.PROFILE
        office(case).set_profile(BOB.station, Profile())
        assert inbox_of(case).status == 200


def test_a_store_of_a_newer_relay_is_not_opened(tmp_path: Path) -> None:
    """An older program does not guess what a newer one wrote about factors."""
    import sqlite3

    data = tmp_path / "relay"
    with open_case(data):
        pass
    sqlite = sqlite3.connect(data / STORE_FILE)
    sqlite.execute("PRAGMA user_version = 99")
    sqlite.close()
    with pytest.raises(StorageError, match="another version"), open_case(data):
        pass
