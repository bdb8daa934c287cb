"""What a keystore in a token says, and keeps, when module, token or PIN is at fault."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medshare.errors import (
    KeyUnavailableError,
    MedshareError,
    PassphraseError,
    StorageError,
    TokenError,
    UsageError,
)
from medshare.keys.base import pending_generation
from medshare.keys.pkcs11 import TOKEN_FILE, TokenBackend
from medshare.keys.pkcs11_errors import GONE, name_of, token_errors, translated
from medshare.keys.pkcs11_objects import IDENTITY_MECHANISMS, KEK_MECHANISMS
from medshare.keys.pkcs11_uri import Pkcs11Uri, parse_uri
from medshare.sharing.send import SendOptions, send
from medshare.suites.signatures import Verifier
from tests import softhsm
from tests.fakes import MemoryStore, MemoryTransport
from tests.people import make_person, make_person_with
from tests.suites.keystore_suite import CREATED, KEY, LATER

pkcs11 = pytest.importorskip("pkcs11", reason="medshare[hsm] is not installed")
from tests.faulty_token import Faults, faulty  # noqa: E402  # it needs the library

pytestmark = pytest.mark.service

WRONG = b"000000"
PIN_LOCKED = pkcs11.TokenFlag.USER_PIN_LOCKED
FINAL_TRY = pkcs11.TokenFlag.USER_PIN_FINAL_TRY
PIN_SET = pkcs11.TokenFlag.USER_PIN_INITIALIZED


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """A token with faults to come, and a process that has not logged in yet."""
    with faulty(monkeypatch) as faults:
        softhsm.restart()
        yield faults


def hint_of(error: MedshareError) -> str:
    """Return what the error advises."""
    return error.hint or ""


# --- the library and the module -------------------------------------------------------------


def test_a_library_that_is_missing_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without python-pkcs11 the hint says how to install it."""
    backend = softhsm.backend()
    for name in [name for name in sys.modules if name.split(".")[0] == "pkcs11"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError) as caught:
        backend.create(tmp_path, created=CREATED)
    assert "medshare[hsm]" in hint_of(caught.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "not configured"),
        (Path("softhsm/libsofthsm2.so"), "not absolute"),
        (Path("/nowhere/libsofthsm2.so"), "no PKCS#11 module at"),
        (Path("/etc/passwd"), "does not load"),
    ],
)
def test_a_module_that_is_none_is_named(tmp_path: Path, path: Path | None, message: str) -> None:
    """Nothing configured, no absolute path, no file, no module: each in its own words."""
    backend = TokenBackend(path, softhsm.PIN, Pkcs11Uri(token="medshare"))
    with pytest.raises(MedshareError, match=message):
        backend.create(tmp_path, created=CREATED)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o770, 0o757])
def test_a_module_that_others_could_write_is_not_loaded(tmp_path: Path, mode: int) -> None:
    """Code that handles keys comes from this user or from root."""
    path = tmp_path / "module.so"
    path.write_bytes(b"")
    path.chmod(mode)
    with pytest.raises(StorageError, match="could have written"):
        TokenBackend(path, b"1", Pkcs11Uri(token="a")).create(tmp_path, created=CREATED)


@pytest.mark.parametrize(
    "text", ["pkcs11:token=medshare?module-path=/tmp/evil.so", "pkcs11:model=a", "pkcs11:"]
)
def test_a_keystore_takes_no_module_from_a_uri(tmp_path: Path, text: str) -> None:
    """A URI with a module path, or without a token, is refused before anything is loaded."""
    with pytest.raises(UsageError):
        TokenBackend(None, b"1", parse_uri(text)).create(tmp_path, created=CREATED)


# --- the token ------------------------------------------------------------------------------


def test_a_token_that_is_not_there_is_named_beside_those_that_are(tmp_path: Path) -> None:
    """The error says which tokens the module shows."""
    softhsm.token()
    backend = TokenBackend(softhsm.module(), softhsm.PIN, Pkcs11Uri(token="nowhere"))
    with pytest.raises(TokenError, match="no token 'pkcs11:token=nowhere'") as caught:
        backend.create(tmp_path, created=CREATED)
    assert "'medshare'" in hint_of(caught.value)


def test_two_tokens_of_one_name_are_told_apart_by_their_serials(tmp_path: Path) -> None:
    """A name that fits two is refused; with the serial number it fits one."""
    softhsm.new_token("twin")
    softhsm.new_token("twin")
    module = softhsm.module()
    with pytest.raises(TokenError, match="several tokens") as caught:
        TokenBackend(module, softhsm.PIN, Pkcs11Uri(token="twin")).create(tmp_path, created=CREATED)
    serial = hint_of(caught.value).rsplit("=", 1)[-1]
    exact = TokenBackend(module, softhsm.PIN, Pkcs11Uri(token="twin", serial=serial))
    assert exact.create(tmp_path, created=CREATED).signers(0)[0].sign(b"m")


@pytest.mark.parametrize("name", IDENTITY_MECHANISMS)
def test_a_missing_mechanism_is_named(tmp_path: Path, faults: Faults, name: str) -> None:
    """A token that lacks a mechanism makes no keys, and the error names it."""
    faults.hidden = frozenset({name})
    with pytest.raises(TokenError, match=f"does not offer CKM_{name}$"):
        softhsm.backend().create(tmp_path, created=CREATED)
    assert "generate_keypair" not in faults.calls
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", KEK_MECHANISMS)
def test_a_mechanism_that_keks_need_is_named_when_one_is_made(
    tmp_path: Path, faults: Faults, name: str
) -> None:
    """An identity can be in a token that cannot hold KEKs."""
    faults.hidden = frozenset({name})
    store = softhsm.backend().create(tmp_path, created=CREATED)
    with pytest.raises(TokenError, match=f"CKM_{name}$"):
        store.make_kek("routine/0", created=CREATED)
    assert store.keks() == ()


@pytest.mark.parametrize("made", [0, 1])
def test_a_full_token_changes_nothing(tmp_path: Path, faults: Faults, made: int) -> None:
    """When there is no room for a key, the old generation stays the only one, and works."""
    store = softhsm.backend().create(tmp_path, created=CREATED)
    faults.fail("generate_keypair", *[None] * made, pkcs11.DeviceMemory())
    with pytest.raises(TokenError, match="full") as caught:
        store.prepare(created=LATER)
    assert "remove keys" in hint_of(caught.value)
    assert pending_generation(store) is pending_generation(softhsm.backend().open(tmp_path)) is None
    assert store.signers(0)[0].sign(b"message")
    assert store.prepare(created=LATER) == 1


def test_a_full_token_makes_no_station(tmp_path: Path, faults: Faults) -> None:
    """Without room for the first keys there is no record of them."""
    faults.fail("generate_keypair", pkcs11.DeviceMemory())
    with pytest.raises(TokenError, match="full"):
        softhsm.backend().create(tmp_path, created=CREATED)
    assert list(tmp_path.iterdir()) == []


# --- the PIN --------------------------------------------------------------------------------


def test_a_wrong_pin_is_said_to_be_wrong_and_not_repeated(tmp_path: Path, faults: Faults) -> None:
    """The error does not show the PIN, has a code of its own, and no key was made."""
    with pytest.raises(PassphraseError, match="PIN of the token 'medshare' is wrong") as caught:
        softhsm.backend(pin=WRONG).create(tmp_path, created=CREATED)
    assert caught.value.code == "key.pin"
    assert "000000" not in f"{caught.value!r} {caught.value.hint} {caught.value.__cause__!r}"
    assert "few tries" in hint_of(caught.value)
    assert faults.calls.count("open") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_last_try_is_not_spent_unasked(tmp_path: Path, faults: Faults) -> None:
    """With one try left no PIN is tried, right or wrong, until somebody asks for it."""
    softhsm.backend().create(tmp_path, created=CREATED)
    forget(faults)
    faults.set_flags = FINAL_TRY
    for pin in (softhsm.PIN, WRONG):
        with pytest.raises(TokenError, match="one more try") as caught:
            softhsm.backend(pin=pin).open(tmp_path)
        assert caught.value.code == "key.pin-last"
        assert "--force-last-pin-try" in hint_of(caught.value)
    assert "open" not in faults.calls
    forced = TokenBackend(softhsm.module(), softhsm.PIN, force_last_try=True)
    assert forced.open(tmp_path).signers(0)[0].sign(b"message")


def test_what_is_left_after_a_wrong_pin_is_said(tmp_path: Path, faults: Faults) -> None:
    """A token that reports the last try, or that it is locked now, is quoted."""
    for flag, words in ((FINAL_TRY, "ONE try is left"), (PIN_LOCKED, "locked itself now")):
        faults.set_flags = 0

        def wrong(name: str, flag: int = flag) -> None:
            faults.set_flags = flag

        faults.after = wrong
        with pytest.raises(PassphraseError) as caught:
            softhsm.backend(pin=WRONG).create(tmp_path, created=CREATED)
        assert words in hint_of(caught.value)


@pytest.mark.parametrize(
    ("set_flags", "unset_flags", "words"),
    [(PIN_LOCKED, 0, "is locked"), (0, PIN_SET, "no user PIN yet")],
)
def test_a_pin_is_not_wasted_on_a_token_that_takes_none(
    tmp_path: Path, faults: Faults, set_flags: int, unset_flags: int, words: str
) -> None:
    """A locked token, or one without a user PIN, is not asked; the way out is named."""
    faults.set_flags, faults.unset_flags = set_flags, unset_flags
    with pytest.raises(TokenError, match=words) as caught:
        softhsm.backend().create(tmp_path, created=CREATED)
    assert caught.value.hint
    assert "open" not in faults.calls


def test_a_wrong_pin_costs_no_try_where_the_right_one_is_known(
    tmp_path: Path, faults: Faults
) -> None:
    """A process that is logged in compares the PIN itself."""
    store = softhsm.backend().create(tmp_path, created=CREATED)
    faults.calls.clear()
    with pytest.raises(PassphraseError, match="wrong"):
        softhsm.backend(pin=WRONG).open(tmp_path)
    assert "open" not in faults.calls
    assert store.signers(0)[0].sign(b"message")


def test_a_pin_that_was_refused_is_not_tried_again(tmp_path: Path, faults: Faults) -> None:
    """When the PIN was changed elsewhere, a long-running process spends one try and no more."""
    signer = softhsm.backend().create(tmp_path, created=CREATED).signers(0)[0]
    softhsm.restart()
    faults.calls.clear()
    faults.fail("open", pkcs11.PinIncorrect())
    with pytest.raises(PassphraseError, match="wrong"):
        signer.sign(b"message")
    for _ in range(3):
        with pytest.raises(TokenError, match="refused the PIN"):
            signer.sign(b"message")
    assert faults.calls.count("open") == 1
    again = softhsm.backend().open(tmp_path)
    assert again.signers(0)[0].sign(b"message")


def test_a_pin_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """PKCS#11 takes a PIN as UTF-8."""
    with pytest.raises(UsageError, match="UTF-8"):
        softhsm.backend(pin=b"\xff\xfe").create(tmp_path, created=CREATED)


# --- removed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(GONE))
def test_a_lost_session_is_opened_again_once(tmp_path: Path, faults: Faults, name: str) -> None:
    """Whatever the token answers when session or token were lost, the call is made once more."""
    signer = softhsm.backend().create(tmp_path, created=CREATED).signers(0)[0]
    error = getattr(pkcs11, name)
    faults.fail("sign", error())
    Verifier(signer.public).verify(signer.sign(b"message"), b"message", what="it")
    faults.fail("sign", error(), error())
    with pytest.raises(TokenError, match="cannot sign: it was removed, or does not answer"):
        signer.sign(b"message")
    assert signer.sign(b"message")


def test_a_token_that_was_pulled_out_is_missed_and_found_again(tmp_path: Path) -> None:
    """Without its token a keystore says so, and goes on when the token is back."""
    store = softhsm.backend().create(tmp_path, created=CREATED)
    store.make_kek("routine/0", created=CREATED)
    wrapped = store.wrap_key("routine/0", KEY)
    signer = store.signers(0)[0]
    folder = softhsm.tokens_folder()
    away = folder.with_name("away")
    folder.rename(away)
    folder.mkdir()
    try:
        softhsm.restart()
        for ask in (
            lambda: signer.sign(b"message"),
            lambda: store.prepare(created=LATER),
            lambda: softhsm.backend().open(tmp_path),
        ):
            with pytest.raises(TokenError, match="no token"):
                ask()
    finally:
        folder.rmdir()
        away.rename(folder)
    softhsm.restart()
    Verifier(signer.public).verify(signer.sign(b"message"), b"message", what="it")
    assert store.unwrap_key("routine/0", wrapped) == KEY
    assert pending_generation(store) is None


def test_a_send_goes_on_where_the_token_was_pulled_out(tmp_path: Path, faults: Faults) -> None:
    """A token that is removed before the seal stops a send; the next run moves no chunk twice."""
    alice = make_person_with(softhsm.backend(), tmp_path / "a", "alice")
    bob = make_person(tmp_path / "b", "bob")
    alice.trust(bob, "bob")
    (tmp_path / "study").write_bytes(bytes(range(256)) * 100)
    store = MemoryStore()

    def run() -> int:
        sent = send(
            [tmp_path / "study"],
            to=[alice.station.contacts.named("bob")],
            identity=alice.identity,
            station=alice.station,
            transport=MemoryTransport(store, alice.station.id),
            options=SendOptions(chunk_size=4096, workers=1, give_up_after=1),
        )
        return sent.moved_chunks

    unlocked = alice.identity
    gone = pkcs11.DeviceRemoved()
    faults.fail("sign", None, gone, gone)  # the envelope is signed, the seal is not
    with pytest.raises(TokenError, match="removed") as caught:
        run()
    assert "same command again" in hint_of(caught.value)
    assert run() == 0
    assert alice.identity is unlocked


# --- every answer of the library --------------------------------------------------------------


def exceptions() -> list[type[Exception]]:
    """Return every exception that the library can raise."""
    import pkcs11.exceptions

    found = vars(pkcs11.exceptions).values()
    return [one for one in found if isinstance(one, type) and issubclass(one, Exception)]


@pytest.mark.parametrize("kind", exceptions(), ids=lambda kind: kind.__name__)
def test_every_answer_of_the_library_is_translated(kind: type[Exception]) -> None:
    """No exception of the library gets out; each becomes a sentence that says what was tried."""
    with (
        pytest.raises(TokenError, match=r"^the token cannot do it: .{5,}") as caught,
        token_errors("do it"),
    ):
        raise kind
    assert isinstance(caught.value, KeyUnavailableError)


def test_an_answer_without_words_of_its_own_is_named() -> None:
    """A rare return value appears as PKCS#11 writes it, one of a vendor as a number."""
    import pkcs11.exceptions as answers

    assert name_of(answers.RandomNoRNG()).startswith("CKR_RANDOM_NO")
    assert name_of(answers.DataLenRange()) == "CKR_DATA_LEN_RANGE"
    vendor = answers.PKCS11Error("Unmapped error code 0x80000001")
    assert "0x80000001" in translated(vendor, "sign").message


def test_the_words_for_what_is_gone_are_those_of_the_library() -> None:
    """Each name in our tables is an exception that exists."""
    names = {kind.__name__ for kind in exceptions()}
    assert names >= GONE


def forget(faults: Faults) -> None:
    """Let this process be one that has not logged in yet."""
    from medshare.keys import pkcs11_session

    pkcs11_session._OPEN.clear()
    softhsm.restart()
    faults.calls.clear()


def test_the_record_names_the_token_that_is_opened(tmp_path: Path) -> None:
    """A record of another token's keys is not looked for in this one."""
    softhsm.token()
    other = softhsm.new_token("other")
    TokenBackend(softhsm.module(), softhsm.PIN, other).create(tmp_path, created=CREATED)
    store = softhsm.backend().open(tmp_path)
    assert store._token.label == "other"
    assert (tmp_path / TOKEN_FILE).exists()
