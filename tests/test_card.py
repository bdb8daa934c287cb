"""Cards: a station is named for life, and only its own keys can change its keys."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import signed
from medshare.canonical import MAX_TIME
from medshare.errors import (
    AuthenticityError,
    FormatError,
    LimitError,
    MedshareError,
    SignatureError,
    UnsupportedVersionError,
)
from medshare.suites.base import PublicKey, SoftwareSigner
from medshare.suites.intl import INTL
from medshare.suites.kem import HYBRID
from medshare.suites.signatures import ED25519, ML_DSA_65, signer_from_seed
from medshare.trust.card import (
    MAX_GENERATIONS,
    Card,
    Generation,
    armor,
    dearmor,
    issue,
    parse_card,
    station_id,
)
from tests.builder import make_identity, octets
from tests.forger import body_of, cbor
from tests.scenarios import rotated
from tests.scenarios_people import card_file, entry
from tests.strategies import damaged

A, C = make_identity("a"), make_identity("c")
CARD, ROTATED = A.card, rotated().card
FIRST = CARD.current


def keys(label: str) -> tuple[SoftwareSigner, ...]:
    """Return the signature keys made from *label*."""
    return tuple(signer_from_seed(name, octets(f"{label} {name}")) for name in (ED25519, ML_DSA_65))


def rotate(card: Card, old: tuple[SoftwareSigner, ...], label: str) -> Card:
    """Return *card* with one more generation, of the keys made from *label*."""
    new = keys(label)
    generation = replace(
        card.current,
        number=len(card.generations),
        sign_keys=tuple(one.public for one in new),
    )
    return issue(generation, new, before=card, old=old)


def test_a_card_comes_back() -> None:
    """A card parses to the facts that were issued, from its octets and from its text."""
    assert parse_card(CARD.encoded) == CARD
    assert parse_card(dearmor(armor(CARD).encode())) == CARD
    assert parse_card(dearmor(CARD.encoded)) == CARD
    assert (CARD.name, CARD.station) == ("a", A.station)
    assert [body_of(data) for data in (entry(FIRST, *A.signers),)]


@given(
    name=st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=30),
    created=st.integers(0, MAX_TIME),
)
def test_any_name_and_time_survive(name: str, created: int) -> None:
    """Visible names in any script and times up to the year 9999 are issued and read."""
    card = issue(replace(FIRST, name=name, created=created), A.signers, before=None, old=())
    assert (card.name, card.current.created) == (name, created)


def test_the_station_id_follows_from_the_first_keys() -> None:
    """The id is that of docs/format.md §10.2, and stays when the keys change."""
    listing = cbor([[key.algorithm, key.value] for key in FIRST.sign_keys])
    assert INTL.digest(b"medshare/1 station\0" + listing).value == CARD.station
    assert ROTATED.station == CARD.station
    assert ROTATED.current.sign_keys != FIRST.sign_keys


def test_a_chain_of_rotations_is_followed() -> None:
    """Each generation vouches for the next; old keys stay known, strangers' keys do not."""
    card, signers = CARD, A.signers
    for number in range(1, 6):
        card = rotate(card, signers, f"rotation {number}")
        signers = keys(f"rotation {number}")
        assert len(card.generations) == number + 1
        assert card.continues(CARD)
        assert card.knows_signing_keys([one.public for one in signers])
    assert card.knows_signing_keys(FIRST.sign_keys)
    assert not card.knows_signing_keys(C.card.current.sign_keys)
    assert not card.knows_signing_keys(FIRST.sign_keys[:1])
    assert not CARD.continues(card)


def test_a_fork_does_not_continue() -> None:
    """Two second generations of one station: neither continues the other."""
    one, other = rotate(CARD, A.signers, "one"), rotate(CARD, A.signers, "other")
    assert one.continues(CARD)
    assert other.continues(CARD)
    assert not one.continues(other)
    assert not other.continues(one)
    assert not C.card.continues(CARD)


@pytest.mark.parametrize("old", [(), C.signers, A.signers[:1], A.signers[::-1]], ids=range(4))
def test_only_the_old_keys_let_new_ones_in(old: tuple[SoftwareSigner, ...]) -> None:
    """A generation that the keys before it did not all sign, in order, is not issued."""
    with pytest.raises(SignatureError):
        rotate(CARD, old, "stolen")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"number": 2}, AuthenticityError),
        ({"number": 0}, AuthenticityError),
        ({"station": C.station}, AuthenticityError),
        ({"sign_keys": ROTATED.current.sign_keys[:1]}, UnsupportedVersionError),
        ({"kem_keys": ()}, FormatError),
        ({"kem_keys": (PublicKey("later", bytes(65)),)}, UnsupportedVersionError),
        ({"kem_keys": (PublicKey(HYBRID, bytes(10)),)}, FormatError),
        ({"kem_keys": FIRST.kem_keys * 2}, FormatError),
        ({"suite": "rot13"}, UnsupportedVersionError),
        ({"created": MAX_TIME + 1}, LimitError),
        ({"name": ""}, FormatError),
        ({"name": "a\nb"}, FormatError),
        ({"name": "n" * 129}, LimitError),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_bad_generation_is_not_issued(
    changes: dict[str, Any], error: type[MedshareError]
) -> None:
    """What readers would refuse fails where it is made."""
    generation = replace(ROTATED.current, **changes)
    with pytest.raises(MedshareError) as caught:
        issue(generation, rotated().signers, before=CARD, old=A.signers)
    assert type(caught.value) is error


def test_a_station_id_cannot_be_claimed() -> None:
    """A first generation with another station's id is refused, though well signed."""
    claimed = replace(C.card.current, station=A.station)
    with pytest.raises(AuthenticityError):
        issue(claimed, C.signers, before=None, old=())
    assert station_id(INTL, C.card.current.sign_keys) == C.station


@given(damaged(ROTATED.encoded) | st.binary(max_size=300))
def test_any_other_octets_are_refused(data: bytes) -> None:
    """No change to a card passes, unless it is the same station's card with a generation less."""
    try:
        card = parse_card(data)
    except (FormatError, AuthenticityError):
        return
    assert ROTATED.continues(card)


def test_generations_are_limited() -> None:
    """No generation, or 257 of them, is a LimitError that costs no signature check."""
    for entries in ([], [b""] * (MAX_GENERATIONS + 1)):
        with pytest.raises(LimitError):
            parse_card(card_file(*entries))


def test_the_card_keeps_what_newer_stations_add() -> None:
    """Extensions in `extra` neither get lost nor change what the fingerprint stands for."""
    body = body_of(entry(FIRST, *A.signers)) | {"extra": {"later": 1}}
    data = card_file(signed.sign("medshare/1 card", cbor(body), A.signers).encode())
    card = parse_card(data)
    assert card.encoded == data
    assert card.generations == CARD.generations
    assert card.fingerprint != CARD.fingerprint


# --- fingerprint and text -----------------------------------------------------------------


def test_a_fingerprint_can_be_read_out() -> None:
    """Six groups of five digits, the same for the same keys, whoever issued the card when."""
    groups = CARD.fingerprint.split(" ")
    assert [len(group) for group in groups] == [5] * 6
    assert all(group.isdigit() for group in groups)
    again = issue(FIRST, A.signers, before=None, old=())
    assert again.fingerprint == CARD.fingerprint


@pytest.mark.parametrize(
    "changed",
    [
        replace(FIRST, name="b"),
        replace(FIRST, created=FIRST.created + 1),
        replace(FIRST, kem_keys=C.card.current.kem_keys),
    ],
)
def test_a_fingerprint_stands_for_all_that_is_signed(changed: Generation) -> None:
    """Another name, time or key to seal to gives another fingerprint."""
    card = issue(changed, A.signers, before=None, old=())
    assert card.fingerprint != CARD.fingerprint


def test_a_fingerprint_is_that_of_the_newest_generation() -> None:
    """After a rotation there is another one to compare."""
    assert ROTATED.fingerprint != CARD.fingerprint


def test_text_survives_mail() -> None:
    """Line ends of Windows, spaces around and indented lines do not matter."""
    text = armor(CARD)
    assert max(len(line) for line in text.split("\n")) <= 64
    mangled = "\r\n" + text.replace("\n", " \r\n\t") + "\r\n\r\n"
    assert dearmor(mangled.encode()) == CARD.encoded


@pytest.mark.parametrize("change", ["cut", "comment", "letter", "begin"])
def test_damaged_text_is_refused(change: str) -> None:
    """Text that is cut off, commented or not Base64 is a FormatError."""
    text = armor(CARD)
    damaged_text = {
        "cut": text[: len(text) // 2],
        "comment": text.replace("\n", "\nHello!\n", 1),
        "letter": text.replace("\n", "\né\n", 1),
        "begin": text[1:],
    }[change]
    with pytest.raises(FormatError):
        parse_card(dearmor(damaged_text.encode()))


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"-----{text}".encode()))
def test_any_octets_are_text_or_refused(data: bytes) -> None:
    """Taking off the armour raises FormatError and nothing else."""
    try:
        found = dearmor(data)
    except FormatError:
        return
    assert isinstance(found, bytes)
