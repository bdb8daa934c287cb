"""audit.notes and audit.checkpoint: signed notes as C2SP has them, and who may sign what."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.audit import checkpoint as cp
from medshare.audit.checkpoint import Checkpoint, LogKeys, parse_checkpoint
from medshare.audit.merkle import EMPTY_ROOT
from medshare.audit.notes import Note, NoteKey, NoteSignature, parse_note, parse_vkey
from medshare.errors import (
    FormatError,
    LimitError,
    MedshareError,
    RevokedError,
    SignatureError,
    UntrustedSignerError,
)
from medshare.suites.base import PublicKey, Signer
from medshare.suites.signatures import IDENTITY_SETS, SIGNATURES, signer_from_seed
from tests.people import SUITES, Person, make_person

# The example of C2SP signed-note.
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
""".encode()  # noqa: E501  # a signature is one line
# The example of C2SP tlog-checkpoint.
CHECKPOINT = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
""".encode()  # noqa: E501  # a signature is one line
ROOT = bytes(range(32))
NAME = "medshare/log/test"


def signers(algorithms: tuple[str, ...], seed: int = 1) -> list[Signer]:
    """Keys of an identity, the same for the same seed."""
    if "sm2" in algorithms:
        pytest.importorskip("gmssl_pyx")
    made: list[Signer] = []
    for algorithm in algorithms:
        secret = SIGNATURES[algorithm].backend().new_secret(lambda count: bytes([seed]) * count)
        made.append(signer_from_seed(algorithm, secret))
    return made


def keys(*sets: list[Signer], name: str = NAME) -> LogKeys:
    """What somebody knows who knows these keys."""
    return LogKeys(name, tuple(tuple(one.public for one in group) for group in sets))


def test_the_published_note_verifies() -> None:
    """The example of the specification is read, verified, and written again octet by octet."""
    note = parse_note(NOTE, what="the note")
    note.verify([parse_vkey(VKEY)], what="the note")
    assert note.encode() == NOTE


def test_a_changed_note_does_not_verify() -> None:
    """The example with another word is refused."""
    note = parse_note(NOTE.replace(b"example m", b"exemplar m"), what="the note")
    with pytest.raises(SignatureError):
        note.verify([parse_vkey(VKEY)], what="the note")


def test_the_published_checkpoint_is_read() -> None:
    """The example of the specification says what it says, and is written again the same."""
    found, note = parse_checkpoint(CHECKPOINT)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.root == base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    assert note.encode() == CHECKPOINT
    assert found.text() == note.text


@pytest.mark.parametrize("algorithms", IDENTITY_SETS)
def test_each_identity_signs_and_cosigns(algorithms: tuple[str, ...]) -> None:
    """Checkpoints and cosignatures of every kind of identity verify, each key on its own line."""
    own, other = signers(algorithms), signers(algorithms, 2)
    note = cp.sign_checkpoint(Checkpoint(NAME, 5, ROOT), own)
    assert len(note.signatures) == len(algorithms)
    both = cp.cosign(note, "medshare/witness/w", other, now=1_800_000_000)
    assert cp.verified_checkpoint(both.encode(), keys(own)) == Checkpoint(NAME, 5, ROOT)
    witness = keys(other, name="medshare/witness/w")
    read = parse_checkpoint(both.encode())[1]
    assert cp.cosigned_at(read, witness) == 1_800_000_000
    assert cp.cosigned_at(note, witness) is None


@pytest.mark.parametrize("algorithms", [("ed25519", "ml-dsa-65")])
@pytest.mark.parametrize("at", [0, 1])
def test_no_signature_can_be_left_out(algorithms: tuple[str, ...], at: int) -> None:
    """A checkpoint, or a cosignature, with one of its lines taken away is refused."""
    own, other = signers(algorithms), signers(algorithms, 2)
    note = cp.sign_checkpoint(Checkpoint(NAME, 5, ROOT), own)
    stripped = Note(note.text, note.signatures[:at] + note.signatures[at + 1 :])
    with pytest.raises(SignatureError, match="exactly"):
        cp.verified_checkpoint(stripped.encode(), keys(own))
    both = cp.cosign(note, "w", other, now=7)
    stripped = Note(both.text, both.signatures[: 2 + at] + both.signatures[3 + at :])
    with pytest.raises(SignatureError, match="all keys"):
        cp.cosigned_at(stripped, keys(other, name="w"))


def test_whose_checkpoint_it_is_is_checked() -> None:
    """A checkpoint of another record, or signed by another one, is not taken."""
    own, other = signers(("ecdsa-p256",)), signers(("ecdsa-p256",), 2)
    data = cp.sign_checkpoint(Checkpoint(NAME, 5, ROOT), own).encode()
    for wrong in (keys(other), keys(own, name="medshare/log/other"), LogKeys(NAME, ())):
        with pytest.raises(UntrustedSignerError):
            cp.verified_checkpoint(data, wrong)
    found = cp.verified_checkpoint(data, keys(other, own))
    assert found.size == 5


def test_keys_that_were_revoked_sign_nothing() -> None:
    """A checkpoint that only revoked keys have signed is refused, and the reason given."""
    own, newer = signers(("ecdsa-p256",)), signers(("ecdsa-p256",), 2)
    known = LogKeys(NAME, keys(newer).sets, keys(own).sets)
    with pytest.raises(RevokedError, match="revoked"):
        cp.verified_checkpoint(cp.sign_checkpoint(Checkpoint(NAME, 5, ROOT), own).encode(), known)


def test_a_cosignature_stands_for_one_time() -> None:
    """Lines of one witness with two times, or a time beyond all calendars, are refused."""
    other = signers(("ed25519", "ml-dsa-65"), 2)
    note = Note(Checkpoint(NAME, 5, ROOT).text(), ())
    early, late = cp.cosign(note, "w", other, now=7), cp.cosign(note, "w", other, now=8)
    mixed = Note(note.text, (early.signatures[0], late.signatures[1]))
    with pytest.raises(SignatureError, match="time"):
        cp.cosigned_at(mixed, keys(other, name="w"))
    with pytest.raises(SignatureError, match="time"):
        cp.cosigned_at(cp.cosign(note, "w", other, now=2**62), keys(other, name="w"))


def test_a_witness_signs_once() -> None:
    """Cosigning again replaces the earlier cosignature."""
    other = signers(("ecdsa-p256",))
    note = cp.cosign(Note(Checkpoint(NAME, 5, ROOT).text(), ()), "w", other, now=7)
    again = cp.cosign(note, "w", other, now=9)
    assert len(again.signatures) == 1
    assert cp.cosigned_at(again, keys(other, name="w")) == 9


@pytest.mark.parametrize("suite", SUITES)
def test_a_card_names_the_keys(suite: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With a station's card alone its checkpoints and cosignatures can be checked."""
    person: Person = make_person(tmp_path_factory.mktemp("home") / "a", "A", suite)
    origin = cp.station_origin(person.station.id)
    note = cp.sign_checkpoint(Checkpoint(origin, 1, ROOT), person.identity.signers)
    name = cp.witness_name(person.station.id)
    note = cp.cosign(note, name, person.identity.signers, now=7)
    card = person.station.card
    assert cp.verified_checkpoint(note.encode(), cp.keys_of_card(card)).size == 1
    assert cp.cosigned_at(note, cp.keys_of_card(card, witness=True)) == 7


@pytest.mark.parametrize("algorithm", SIGNATURES)
@pytest.mark.parametrize("cosigner", [False, True])
def test_a_vkey_survives_its_text(algorithm: str, cosigner: bool) -> None:
    """Every kind of key is read as it was written, and a changed letter is noticed."""
    public = PublicKey(algorithm, bytes(SIGNATURES[algorithm].public_size))
    key = NoteKey("medshare/log/x", public, cosigner)
    assert parse_vkey(key.vkey) == key
    for wrong in (key.vkey.replace("/x", "/y"), key.vkey + "=", key.vkey[:-8], "x", ""):
        with pytest.raises(FormatError):
            parse_vkey(wrong)


def test_kinds_of_keys_never_share_an_id() -> None:
    """The same key as log and as witness, and under other algorithms, has different ids."""
    names = [
        NoteKey("n", PublicKey(algorithm, bytes(64)), cosigner).id
        for algorithm in SIGNATURES
        for cosigner in (False, True)
    ]
    assert len(set(names)) == len(names)


NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="+"),
    min_size=1,
    max_size=20,
)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), max_size=60)
NOTES = st.builds(
    Note,
    TEXTS.map(lambda text: text + "\n"),
    st.lists(
        st.builds(
            NoteSignature,
            NAMES,
            st.binary(min_size=4, max_size=4),
            st.binary(min_size=1, max_size=80),
        ),
        min_size=1,
        max_size=4,
    ).map(tuple),
)


@given(NOTES)
def test_a_note_survives_its_text(note: Note) -> None:
    """What was written is what is read."""
    assert parse_note(note.encode(), what="a note") == note


@given(NOTES, st.integers(0), st.integers(0, 255))
def test_one_note_has_one_text(note: Note, place: int, octet: int) -> None:
    """A changed octet makes another note, or none; what is read is written the same again."""
    data = bytearray(note.encode())
    data[place % len(data)] = octet
    try:
        found = parse_note(bytes(data), what="a note")
    except FormatError:
        return
    assert found.encode() == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        "text\n\n— n ".encode(),
        "text\n\n— n AAAAAAA=".encode(),
        "text\n\n— n AAAA\n".encode(),
        "text\n\n— n AAAAAAB=\n".encode(),
        "text\n\n— a+b AAAAAAA=\n".encode(),
        "text\n\n— n  AAAAAAA=\n".encode(),
        b"text\n\n- n AAAAAAA=\n",
        "text\n\n— n AAAAAAA=\r\n".encode(),
        "te\txt\n\n— n AAAAAAA=\n".encode(),
        b"\xff\n\n\xe2\x80\x94 n AAAAAAA=\n",
    ],
)
def test_what_is_no_note_is_refused(data: bytes) -> None:
    """A note that is not written exactly as it must be is not read."""
    with pytest.raises(FormatError):
        parse_note(data, what="a note")


def test_a_note_is_bounded() -> None:
    """Neither its octets nor its signatures grow without end."""
    line = "— n AAAAAAA=\n"
    with pytest.raises(LimitError):
        parse_note(("t\n\n" + 65 * line).encode(), what="a note")
    with pytest.raises(LimitError):
        parse_note(b"x" * (1 << 18) + b"\n\n" + line.encode(), what="a note")


@pytest.mark.parametrize(
    "text",
    [
        "o\n5\n",
        f"o\n05\n{base64.b64encode(ROOT).decode()}\n",
        f"o\n-5\n{base64.b64encode(ROOT).decode()}\n",
        f"o\n٥\n{base64.b64encode(ROOT).decode()}\n",
        f"\n5\n{base64.b64encode(ROOT).decode()}\n",
        f"o p\n5\n{base64.b64encode(ROOT).decode()}\n",
        f"o\n5\n{base64.b64encode(ROOT[:31]).decode()}\n",
        f"o\n5\n{base64.b64encode(ROOT).decode()}\nextension\n",
        f"o\n0\n{base64.b64encode(ROOT).decode()}\n",
        f"o\n5\n{base64.b64encode(EMPTY_ROOT).decode()}\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """A checkpoint has three lines and no more, a number as it is written, and a root."""
    with pytest.raises(MedshareError) as caught:
        parse_checkpoint(f"{text}\n— n AAAAAAA=\n".encode())
    assert isinstance(caught.value, FormatError)
