"""Credentials: what is vetted, and every way in which one is not, each with its own code."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from medshare.errors import CredentialError, FormatError
from medshare.trust.card import Card, issue
from medshare.trust.certification import Authority, Vetted, vet
from medshare.trust.credential import (
    certificate_key,
    load_certificate,
    parse_credential,
    require_own_name,
)
from tests.builder import make_identity
from tests.cards import rotated
from tests.certifier import (
    CA_PARTS,
    COMMISSION,
    DAY,
    DOCTOR,
    NOW,
    SUBJECT,
    authority_certificate,
    certificate,
    credential,
    crl,
    distinguished,
    doctor_parts,
    key_named,
    listing,
    station_key,
    trusted,
    usage,
)

OTHER = make_identity("somebody else")


def checked(
    *chain: x509.Certificate,
    card: Card = DOCTOR.card,
    authority: Authority | None = None,
    others: tuple[str, ...] = (),
    now: int = NOW,
) -> Vetted:
    """Vet a chain, by default the good credential, against one trusted authority."""
    return vet(chain or (credential(),), card, [authority or trusted()], others=others, now=now)


def code_of(act: Callable[[], object]) -> str:
    """The code with which something is refused."""
    with pytest.raises(CredentialError) as caught:
        act()
    return caught.value.code


def changed(**parts: tuple[x509.ExtensionType, bool] | None) -> x509.Certificate:
    """The good credential with these extensions instead; None leaves one out."""
    given: dict[str, Any] = {**doctor_parts(), **parts}
    return credential(parts={name: part for name, part in given.items() if part is not None})


def test_a_good_credential_says_who_it_is_and_who_vetted_it() -> None:
    """Name, licence, role, department, organisation, validity and authority are read."""
    vetted = checked()
    found = vetted.credential
    assert vetted.authority == "commission"
    assert (found.name, found.licence, found.role) == ("Dr Wang", "110023", "specialist")
    assert (found.department, found.organisation) == ("radiology", "St. Mary")
    assert (found.not_before, found.not_after) == (NOW - DAY, NOW + 365 * DAY)
    assert found.station == DOCTOR.station


def test_purposes_of_other_authorities_serve_too() -> None:
    """Client authentication, or no extended usage at all, is as good as our own purpose."""
    assert checked(changed(purpose=None)).authority == "commission"
    client = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    assert checked(changed(purpose=(client, False))).authority == "commission"


def test_a_hospital_with_two_levels_works() -> None:
    """A chain through an authority below the anchor is followed, with its own revocation list."""
    below = distinguished(o="St. Mary", cn="St. Mary Staff CA")
    lower = authority_certificate("lower", subject=below, signer=key_named("ca"), serial=9)
    leaf = credential(issuer=below, signer=key_named("lower"))
    lists = (crl(), crl(label="lower", issuer=below))
    both = trusted(certificates=(authority_certificate(), lower), crls=lists)
    assert checked(leaf, authority=both).authority == "commission"
    assert checked(leaf, lower, authority=trusted(crls=lists)).authority == "commission"
    revoked = trusted(crls=(crl(revoked=[9]), lists[1]))
    assert code_of(lambda: checked(leaf, lower, authority=revoked)) == "credential.revoked"
    unknown = trusted()
    assert code_of(lambda: checked(leaf, lower, authority=unknown)) == "credential.no-crl"


def test_an_authority_may_not_issue_deeper_than_it_was_allowed() -> None:
    """A path length of nought forbids another authority below."""
    parts = CA_PARTS | {"basic": (x509.BasicConstraints(ca=True, path_length=0), True)}
    below = distinguished(o="St. Mary", cn="St. Mary Staff CA")
    lower = authority_certificate("lower", subject=below, signer=key_named("ca"), serial=9)
    shallow = trusted(certificates=(authority_certificate(parts=parts),))
    leaf = credential(issuer=below, signer=key_named("lower"))
    assert code_of(lambda: checked(leaf, lower, authority=shallow)) == "credential.chain"


def test_a_doctor_is_no_authority() -> None:
    """What a practitioner's key signs is not believed, though its own certificate is good."""
    leaf = credential(
        issuer=SUBJECT,
        signer=station_key(DOCTOR),
        subject=distinguished(cn="Dr Wang", serial="1"),
        public=station_key(OTHER).public_key(),
        parts=doctor_parts(OTHER.card),
    )
    assert code_of(lambda: checked(leaf, credential(), card=OTHER.card)) == "credential.chain"


def tampered() -> x509.Certificate:
    """The good credential with another licence number, and the old signature."""
    octets = credential().public_bytes(Encoding.DER)
    assert octets.count(b"110023") == 1
    return load_certificate(octets.replace(b"110023", b"110024"))


def self_signed() -> x509.Certificate:
    """A credential that its own holder signed."""
    return credential(issuer=SUBJECT, signer=station_key(DOCTOR))


def other_purpose() -> x509.Certificate:
    """A certificate for a web server."""
    return changed(purpose=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False))


def unknown_critical() -> x509.Certificate:
    """A credential with a critical extension that nobody here knows."""
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    return changed(unknown=(unknown, True))


BAD: dict[str, tuple[str, Callable[[], Vetted]]] = {
    "expired": ("expired", lambda: checked(credential(until=NOW))),
    "not yet valid": ("not-yet-valid", lambda: checked(credential(since=NOW + 1))),
    "authority expired": (
        "expired",
        lambda: checked(
            authority=trusted(certificates=(authority_certificate(until=NOW - 1),)), now=NOW
        ),
    ),
    "wrong purpose": ("purpose", lambda: checked(other_purpose())),
    "cannot sign": ("purpose", lambda: checked(changed(usage=(usage(), True)))),
    "no key usage": ("purpose", lambda: checked(changed(usage=None))),
    "an authority's": (
        "purpose",
        lambda: checked(changed(basic=(x509.BasicConstraints(ca=True, path_length=None), True))),
    ),
    "unknown critical extension": ("extension", lambda: checked(unknown_critical())),
    "revoked": ("revoked", lambda: checked(authority=trusted(crls=(crl(revoked=[7]),)))),
    "self-signed": ("self-signed", lambda: checked(self_signed())),
    "wrong chain": (
        "chain",
        lambda: checked(credential(issuer=distinguished(cn="Somebody"), signer=key_named("x"))),
    ),
    "no authority": (
        "chain",
        lambda: vet((credential(),), DOCTOR.card, [], others=(), now=NOW),
    ),
    "forged issuer": ("signature", lambda: checked(credential(signer=key_named("x")))),
    "tampered": ("signature", lambda: checked(tampered())),
    "stale CRL": (
        "stale-crl",
        lambda: checked(authority=trusted(crls=(crl(since=NOW - 8 * DAY, until=NOW),))),
    ),
    "CRL beyond the freshness limit": (
        "stale-crl",
        lambda: checked(authority=trusted(crls=(crl(since=NOW - 2 * DAY),), crl_max_age=DAY)),
    ),
    "CRL from the future": (
        "not-yet-valid",
        lambda: checked(authority=trusted(crls=(crl(since=NOW + 3600),))),
    ),
    "no CRL": ("no-crl", lambda: checked(authority=trusted(crls=()))),
    "CRL of somebody else": (
        "no-crl",
        lambda: checked(authority=trusted(crls=(crl(label="other"),))),
    ),
    "other station's": ("station", lambda: checked(card=OTHER.card)),
    "other card, same station": ("card", lambda: checked(card=renamed("Dr Wang, again"))),
    "other key": (
        "key",
        lambda: checked(credential(public=station_key(OTHER).public_key())),
    ),
    "not on the list": (
        "not-listed",
        lambda: checked(authority=trusted(practitioners=listing())),
    ),
    "frozen list": (
        "frozen",
        lambda: checked(
            authority=trusted(
                practitioners=listing(of=[credential()], expires=NOW, created=NOW - DAY)
            )
        ),
    ),
    "list of another CRL": (
        "mixed",
        lambda: checked(
            authority=trusted(
                practitioners=listing(of=[credential()], goes_with=crl(2, revoked=[1]))
            )
        ),
    ),
    "imitation": (
        "imitation",
        lambda: checked(
            credential(subject=distinguished(cn="Dr Li", serial="1")), others=("dr wаng",)
        ),
    ),
    "no licence": ("malformed", lambda: checked(credential(subject=distinguished(cn="Dr Wang")))),
    "no name": ("malformed", lambda: checked(credential(subject=distinguished(serial="1")))),
    "no role": ("malformed", lambda: checked(changed(role=None))),
    "malformed role": (
        "malformed",
        lambda: checked(
            changed(
                role=(
                    x509.UnrecognizedExtension(
                        ExtensionOID.SUBJECT_DIRECTORY_ATTRIBUTES, b"\x30\x01\x05"
                    ),
                    False,
                )
            )
        ),
    ),
    "no names": ("malformed", lambda: checked(changed(names=None))),
}


def renamed(name: str) -> Card:
    """The doctor's card, generation 0 made anew under another name with the same keys."""
    generation = replace(DOCTOR.card.current, name=name)
    return issue(generation, DOCTOR.signers, before=None, old=())


@pytest.mark.parametrize("name", BAD)
def test_a_bad_credential_is_refused_with_the_reason(name: str) -> None:
    """Each fault is found by the check that is for it, and the code says which."""
    code, act = BAD[name]
    assert code_of(act) == f"credential.{code}"


def test_a_rotation_needs_a_new_certificate() -> None:
    """A certificate for generation 0 does not cover the keys of generation 1."""
    before = make_identity("a")
    later = rotated(before.card, "a")
    leaf = credential(public=station_key(before).public_key(), parts=doctor_parts(before.card))
    assert checked(leaf, card=before.card).authority == "commission"
    assert code_of(lambda: checked(leaf, card=later)) == "credential.card"


def test_a_listed_credential_with_its_list_is_good() -> None:
    """A fresh list that names the certificate, with its revocation list, is no obstacle."""
    good = trusted(practitioners=listing(of=[credential()]))
    assert checked(authority=good).authority == "commission"
    newer = trusted(practitioners=listing(of=[credential()]), crls=(crl(2),))
    assert checked(authority=newer).authority == "commission"


def test_names_that_are_vetted_imitate_nobody() -> None:
    """Two people may share a name that the authority has vetted, in that very spelling."""
    found = parse_credential(credential())
    require_own_name(DOCTOR.card, found, ["Dr Wang", "dr. wang"])


@pytest.mark.parametrize("name", ["Dr W\u0430ng", "Dr VVang", "Dr W\u00e1ng"])
def test_a_card_that_imitates_its_own_vetted_name_is_refused(name: str) -> None:
    """Look-alike letters in place of the vetted spelling are an imitation."""
    found = parse_credential(credential())
    assert code_of(lambda: require_own_name(renamed(name), found, [])) == "credential.imitation"


def test_keys_that_x509_cannot_carry_are_named() -> None:
    """A station with SM2 keys only learns that it cannot be certified yet."""
    gm = make_identity("west", "gm").card
    assert code_of(lambda: certificate_key(gm)) == "credential.key"
    curve = ec.derive_private_key(5, ec.SECP384R1()).public_key()
    assert code_of(lambda: parse_credential(credential(public=curve))) == "credential.key"


def test_octets_that_are_no_certificate_are_refused() -> None:
    """Damaged or oversized DER is a FormatError."""
    octets = credential().public_bytes(Encoding.DER)
    for bad in (octets[:-1], octets + b"\x00", b"", bytes(1 << 16)):
        with pytest.raises(FormatError):
            load_certificate(bad)


def test_no_bit_of_a_credential_can_be_flipped() -> None:
    """Every 17th bit flipped is a FormatError or a CredentialError, never a vetted person."""
    octets = credential().public_bytes(Encoding.DER)
    for bit in range(0, 8 * len(octets), 17):
        bad = bytearray(octets)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises((FormatError, CredentialError)):
            checked(load_certificate(bytes(bad)))


def test_a_web_certificate_is_no_credential() -> None:
    """A certificate without our names is called what it is, whoever issued it."""
    web = certificate(
        distinguished(cn="relay.example.org"),
        COMMISSION,
        station_key(DOCTOR).public_key(),
        key_named("ca"),
        {"usage": (usage(sign=True), True)},
    )
    assert code_of(lambda: checked(web)) == "credential.malformed"
