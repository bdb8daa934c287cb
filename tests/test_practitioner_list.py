"""Lists of practitioners: strict to read, and never rolled back, frozen or mixed."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical, signed
from medshare.errors import CredentialError, FormatError, UnsupportedVersionError
from medshare.ids import StationId
from medshare.suites.base import PublicKey
from medshare.suites.signatures import ED25519, signer_from_seed
from medshare.trust.authority_update import new_authority, updated
from medshare.trust.certification import Authority
from medshare.trust.practitioner_list import (
    LABEL,
    MAX_PREVIOUS,
    Listed,
    PractitionerList,
    parse_list,
    require_newer,
    sign_list,
)
from medshare.trust.revocation_list import load_crl
from tests.builder import octets
from tests.certifier import (
    CA_PARTS,
    COMMISSION,
    DAY,
    NOW,
    authority_certificate,
    credential,
    crl,
    distinguished,
    key_named,
    listing,
    trusted,
    usage,
)
from tests.strategies import damaged

SIGNER = signer_from_seed(ED25519, octets("ca"))
GOOD = listing(of=[credential()])

digests = st.binary(min_size=32, max_size=32)
entries = st.lists(
    st.builds(Listed, st.integers(1, 2**159), st.builds(StationId, digests), digests),
    max_size=5,
    unique_by=lambda one: one.serial,
)
times = st.integers(0, NOW)


@st.composite
def lists(draw: st.DrawFn) -> PractitionerList:
    """Any list that an authority could make."""
    version = draw(st.integers(1, 2 * MAX_PREVIOUS))
    count = min(version - 1, MAX_PREVIOUS)
    created = draw(times)
    return PractitionerList(
        authority=draw(digests),
        version=version,
        created=created,
        expires=created + draw(st.integers(1, 10**6)),
        previous=tuple(bytes([n]) * 32 for n in range(count)),
        crl=draw(digests),
        crl_number=draw(st.integers(0, 2**64 - 1)),
        entries=tuple(sorted(draw(entries), key=lambda one: one.serial)),
    )


@given(lists())
def test_whatever_is_listed_is_read(content: PractitionerList) -> None:
    """Every list that can be signed is parsed to the same value."""
    made = sign_list(content, SIGNER)
    assert parse_list(made.encoded, SIGNER.public).content == content


@given(damaged(GOOD.encoded))
def test_no_damage_passes(data: bytes) -> None:
    """Whatever differs from what was signed is a FormatError or a CredentialError."""
    with pytest.raises((FormatError, CredentialError)):
        parse_list(data, SIGNER.public)


def resigned(change: Callable[[dict[str, object]], object]) -> bytes:
    """A list whose body is changed, and signed by the authority all the same."""
    value = canonical.decode(GOOD.content.body(), limit=1 << 20, what="it")
    assert isinstance(value, dict)
    change(value)
    return signed.sign(LABEL, canonical.encode(value), [SIGNER]).encode()


ENTRY = [b"\x07", bytes(32), bytes(32)]
MALFORMED: dict[str, Callable[[dict[str, object]], object]] = {
    "unknown field": lambda value: value.update(more=1),
    "missing field": lambda value: value.pop("crl"),
    "version nought": lambda value: value.update(version=0),
    "no names of those before": lambda value: value.update(version=2),
    "too many before": lambda value: value.update(previous=[bytes(32)]),
    "short digest": lambda value: value.update(version=2, previous=[bytes(31)]),
    "expires at once": lambda value: value.update(expires=value["created"]),
    "twice": lambda value: value.update(entries=[ENTRY, ENTRY]),
    "unsorted": lambda value: value.update(entries=[[b"\x08", *ENTRY[1:]], ENTRY]),
    "serial with noughts": lambda value: value.update(entries=[[b"\x00\x07", *ENTRY[1:]]]),
    "long serial": lambda value: value.update(entries=[[b"\x01" * 21, *ENTRY[1:]]]),
    "short station": lambda value: value.update(entries=[[b"\x07", bytes(31), bytes(32)]]),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_signed_but_malformed_is_refused(name: str) -> None:
    """A signature excuses no fault of form."""
    with pytest.raises(FormatError):
        parse_list(resigned(MALFORMED[name]), SIGNER.public)


def test_unknown_critical_extensions_are_refused() -> None:
    """What must be understood and is not ends in UnsupportedVersionError."""
    with pytest.raises(UnsupportedVersionError):
        parse_list(resigned(lambda value: value.update(critical={"new": 1})), SIGNER.public)


def test_another_key_is_refused() -> None:
    """A list that somebody else signed is not the authority's."""
    other = PublicKey(ED25519, key_named("other").public_key().public_bytes_raw())
    with pytest.raises(CredentialError) as caught:
        parse_list(GOOD.encoded, other)
    assert caught.value.code == "credential.signature"


SECOND = listing(2, before=GOOD)
THIRD = listing(3, before=SECOND)
FORK = listing(2, before=listing(created=NOW - 61))


@pytest.mark.parametrize("known", [None, GOOD, SECOND, THIRD], ids=["none", "1", "2", "3"])
def test_a_later_list_is_taken(known: object) -> None:
    """The same list, the next one, and one after a gap follow what is known."""
    require_newer(THIRD, known, now=NOW)  # type: ignore[arg-type]  # of the parameters


def test_a_list_after_a_long_gap_is_taken() -> None:
    """Beyond what a list names the number alone decides."""
    far = replace(
        GOOD.content,
        version=MAX_PREVIOUS + 9,
        previous=tuple(bytes(32) for _ in range(MAX_PREVIOUS)),
    )
    require_newer(sign_list(far, SIGNER), GOOD, now=NOW)


REFUSED = {
    "rolled-back list": (GOOD, SECOND, "rollback"),
    "mixed list: a fork": (FORK, GOOD, "mixed"),
    "mixed list: two of one number": (FORK, SECOND, "mixed"),
    "mixed list: a fork after a gap": (listing(3, before=FORK), GOOD, "mixed"),
    "frozen (expired) list": (listing(2, before=GOOD, expires=NOW), GOOD, "frozen"),
    "list from the future": (listing(created=NOW + 3600), None, "not-yet-valid"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_list_that_goes_back_stands_still_or_forks_is_refused(name: str) -> None:
    """Each attack on the line of lists has its own code."""
    new, known, code = REFUSED[name]
    with pytest.raises(CredentialError) as caught:
        require_newer(new, known, now=NOW)
    assert caught.value.code == f"credential.{code}"


def taken(
    authority: Authority, *crls: x509.CertificateRevocationList, lists: tuple[bytes, ...] = ()
) -> Authority:
    """What is known after an update."""
    return updated(authority, crls, lists, now=NOW)


def test_lists_arrive_together() -> None:
    """A revocation list and the list that goes with it replace those before."""
    second = crl(2, revoked=[9])
    new = listing(2, before=GOOD, goes_with=second)
    found = taken(trusted(practitioners=GOOD), second, lists=(new.encoded,))
    assert found.practitioners == new
    assert found.crls == (second,)


UPDATES: dict[str, tuple[str, Callable[[], Authority]]] = {
    "older CRL": ("rollback", lambda: taken(trusted(crls=(crl(2),)), crl(1))),
    "two CRLs of one number": ("mixed", lambda: taken(trusted(), crl(1, revoked=[9]))),
    "stale CRL": ("stale-crl", lambda: taken(trusted(), crl(2, until=NOW))),
    "forged CRL": ("signature", lambda: taken(trusted(), crl(2, label="other"))),
    "list without its CRL": (
        "mixed",
        lambda: taken(trusted(), lists=(listing(goes_with=crl(2)).encoded,)),
    ),
    "list of another authority": (
        "mixed",
        lambda: taken(trusted(), lists=(listing(label="other").encoded,)),
    ),
    "rolled-back list": (
        "rollback",
        lambda: taken(trusted(practitioners=SECOND), lists=(GOOD.encoded,)),
    ),
}


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_that_is_worse_than_what_is_known_is_refused(name: str) -> None:
    """Nothing older, stale, forged or of another line replaces what is known."""
    code, act = UPDATES[name]
    with pytest.raises(CredentialError) as caught:
        act()
    assert caught.value.code == f"credential.{code}"


def test_partial_revocation_lists_are_refused() -> None:
    """A CRL with an unknown critical extension, or damaged, is a FormatError."""
    for bad in (crl(critical=True).public_bytes(Encoding.DER), b"\x30\x00", bytes(1 << 25)):
        with pytest.raises(FormatError):
            load_crl(bad)


def test_what_is_imported_must_be_an_authority() -> None:
    """A person's certificate, an expired one, and one of another line are refused."""
    stranger = authority_certificate("other", subject=distinguished(cn="x"), issuer=COMMISSION)
    no_sign = authority_certificate(parts=CA_PARTS | {"usage": (usage(sign=True), True)})
    for bad in (
        [credential()],
        [no_sign],
        [authority_certificate(until=NOW - DAY)],
        [authority_certificate(), stranger],
    ):
        with pytest.raises(CredentialError):
            new_authority("x", bad, crl_max_age=DAY, now=NOW)
