"""Signed objects: every required signature, in order, made for this purpose, and no other."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import signed
from medshare.errors import FormatError, MedshareError, SignatureError, UnsupportedVersionError
from medshare.suites.base import PublicKey
from medshare.suites.signatures import ED25519, ML_DSA_65, signer_from_seed
from tests.builder import make_signers, octets
from tests.strategies import damaged

LABEL = "medshare/1 test"
SIGNERS = make_signers("signed")
KEYS = [one.public for one in SIGNERS]
THIRD = signer_from_seed(ED25519, octets("third"))


def parse(data: bytes, label: str = LABEL) -> signed.Signed:
    """Parse with a limit that does not matter here."""
    return signed.parse(data, label=label, limit=1 << 20, what="it")


@given(st.binary(max_size=100))
def test_what_is_signed_verifies(body: bytes) -> None:
    """A signed object parses, verifies under its keys, and re-encodes to the same octets."""
    data = signed.sign(LABEL, body, SIGNERS).encode()
    found = parse(data)
    found.verify(KEYS, what="it")
    assert found.body == body
    assert found.encode() == data


@pytest.mark.parametrize(
    "keys",
    [
        [],
        KEYS[:1],
        KEYS[1:],
        KEYS[::-1],
        [*KEYS, THIRD.public],
        [THIRD.public, KEYS[1]],
    ],
    ids=["none", "first", "second", "reversed", "three", "another"],
)
def test_exactly_the_keys_that_must_sign(keys: list[PublicKey]) -> None:
    """Fewer, more, other or reordered keys than those that signed do not verify."""
    found = parse(signed.sign(LABEL, b"body", SIGNERS).encode())
    with pytest.raises(SignatureError):
        found.verify(keys, what="it")


def test_a_label_belongs_to_the_signature() -> None:
    """A signature for one purpose does not verify for another, nor does a shifted boundary."""
    one = signed.sign("medshare/1 a", b"body", SIGNERS)
    shifted = ("medshare/1", b" a\0body")
    for label, body in (("medshare/1 b", b"body"), shifted, ("medshare/1 a", b"")):
        with pytest.raises(SignatureError):
            signed.Signed(label, body, one.signatures).verify(KEYS, what="it")


@pytest.mark.parametrize(
    ("label", "error"),
    [
        ("medshare/2 test", UnsupportedVersionError),
        ("medshare/10 test", UnsupportedVersionError),
        ("medshare/1 other", FormatError),
        ("medshare/ test", FormatError),
        ("medshare/x test", FormatError),
        ("medshare/2 tests", FormatError),
        ("test", FormatError),
        ("", FormatError),
    ],
)
def test_other_labels_are_refused(label: str, error: type[MedshareError]) -> None:
    """Another version of the same object says so; any other label is that of something else."""
    with pytest.raises(FormatError) as caught:
        parse(signed.sign(label, b"body", SIGNERS).encode())
    assert type(caught.value) is error


@given(damaged(signed.sign(LABEL, b"a body to damage", SIGNERS).encode()))
def test_damage_is_noticed(data: bytes) -> None:
    """Any change is refused when it is parsed, or when it is verified."""
    with pytest.raises((FormatError, SignatureError)):
        parse(data).verify(KEYS, what="it")


@given(st.binary(max_size=200))
def test_any_octets_are_refused_with_a_code(data: bytes) -> None:
    """Parsing arbitrary octets raises FormatError and nothing else."""
    with pytest.raises(FormatError):
        parse(data)


PAIRS = [list(pair) for pair in signed.sign(LABEL, b"", SIGNERS).signatures]


@pytest.mark.parametrize(
    "outer",
    [
        [LABEL, b"", []],
        [LABEL, b"", PAIRS * 5],
        [LABEL, b"", [["ed25519"]]],
        [LABEL, b"", [["ed25519", b"", b""]]],
        [LABEL, b"", [["e" * 33, b""]]],
        [LABEL, b"", [["é" * 17, b""]]],
        [LABEL, b"", [["ed25519", bytes(8193)]]],
        [LABEL, b"", {"ed25519": b""}],
        [LABEL, "", PAIRS],
        [LABEL, b""],
        [LABEL, b"", PAIRS, 0],
        [LABEL, b"", [[]] * 70],
        {"label": LABEL},
        b"",
        None,
    ],
)
def test_other_shapes_are_refused(outer: object) -> None:
    """Only `[label, body, [[algorithm, signature], …]]` with 1 to 8 short pairs is accepted."""
    with pytest.raises(FormatError):
        parse(cbor2.dumps(outer, canonical=True))


@given(st.lists(st.tuples(st.sampled_from([ED25519, ML_DSA_65, "later"]), st.binary(max_size=40))))
def test_keys_come_back(pairs: list[tuple[str, bytes]]) -> None:
    """A list of public keys survives its CBOR form, also of algorithms that are unknown."""
    keys = tuple(PublicKey(name, value) for name, value in pairs)
    assert signed.keys_from_value(signed.keys_to_value(keys), what="it") == keys


@pytest.mark.parametrize(
    "item", [[], ["ed25519"], ["ed25519", "x"], [1, b""], ["e" * 33, b""], ["e", bytes(4097)], b""]
)
def test_malformed_keys_are_refused(item: object) -> None:
    """Anything but a short name with at most 4096 octets is no key."""
    with pytest.raises(FormatError):
        signed.keys_from_value([item], what="it")
