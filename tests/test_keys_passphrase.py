"""Where a passphrase comes from, and which sources are refused."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from medshare.errors import KeyUnavailableError, LimitError, StorageError, UsageError
from medshare.keys.passphrase import (
    KEYRING_SERVICE,
    MAX_SIZE,
    Passphrase,
    Sources,
    existing_passphrase,
    new_passphrase,
    read_passphrase_file,
    remember,
)
from tests.rings import Ring, ring_in_place

LONG = "correct horse battery"


def secret_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    """Return a file with *content* and *mode*."""
    path = folder / "passphrase"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def answers(*given: str) -> tuple[Sources, list[str]]:
    """Return a terminal at which somebody types *given*, and the list of what was asked."""
    left, asked = list(given), []

    def ask(question: str) -> str:
        asked.append(question)
        return left.pop(0)

    return Sources(ask=ask), asked


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"correct horse battery", b"correct horse battery"),
        (b"correct horse battery\n", b"correct horse battery"),
        (b"correct horse battery\r\n", b"correct horse battery"),
        (b"two\nlines\n\n", b"two\nlines\n"),
        (b" blanks stay ", b" blanks stay "),
        ("cafe\u0301\n".encode(), "caf\u00e9".encode()),
        (b"\xff\xfe not text\n", b"\xff\xfe not text"),
        (b"x" * MAX_SIZE, b"x" * MAX_SIZE),
    ],
)
def test_a_file_gives_its_content_without_the_last_newline(
    tmp_path: Path, content: bytes, expected: bytes
) -> None:
    """One line end goes, everything else stays; text is brought to one spelling."""
    assert read_passphrase_file(secret_file(tmp_path, content)) == expected


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o777])
def test_a_file_open_to_others_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, mode: int
) -> None:
    """Any permission of group or others is refused, and the chmod to run is named."""
    path = secret_file(tmp_path, b"secret passphrase", mode)
    with pytest.raises(StorageError, match="open to other users") as caught:
        read_passphrase_file(path)
    assert caught.value.hint == f"run: chmod 600 {path}"


def test_an_endless_file_is_refused(tmp_path: Path) -> None:
    """A file that is too long is refused after reading no more than the bound."""
    with pytest.raises(LimitError):
        read_passphrase_file(secret_file(tmp_path, b"x" * (MAX_SIZE + 1)))


@pytest.mark.parametrize("kind", ["missing", "folder", "device"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    """A missing file, a folder and a device are storage errors."""
    path = {"missing": tmp_path / "no", "folder": tmp_path, "device": Path("/dev/zero")}[kind]
    with pytest.raises(StorageError):
        read_passphrase_file(path)


def test_a_pipe_will_do(tmp_path: Path) -> None:
    """What a shell makes of `<(pass show medshare)` can be read."""
    reading, writing = os.pipe()
    os.write(writing, b"from a pipe\n")
    os.close(writing)
    try:
        assert read_passphrase_file(Path(f"/dev/fd/{reading}")) == b"from a pipe"
    finally:
        os.close(reading)


def test_the_first_configured_source_is_the_one(tmp_path: Path, backend: Ring) -> None:
    """File goes before command, command before keyring, keyring before terminal."""
    backend.set_password(KEYRING_SERVICE, "home", "of the keyring")
    path = secret_file(tmp_path, b"of the file")
    everything = Sources(path, ("printf", "of the command"), "home", lambda _: "typed")
    command, ring = everything.command, everything.keyring
    found = [
        existing_passphrase(sources).value
        for sources in (
            everything,
            Sources(None, command, ring, everything.ask),
            Sources(None, (), ring, everything.ask),
            Sources(None, (), None, everything.ask),
        )
    ]
    assert found == [b"of the file", b"of the command", b"of the keyring", b"typed"]


def test_a_source_that_fails_does_not_lead_to_the_next(tmp_path: Path) -> None:
    """A missing file is an error, even where somebody could be asked."""
    sources, asked = answers(LONG)
    with pytest.raises(StorageError):
        existing_passphrase(Sources(file=tmp_path / "missing", ask=sources.ask))
    assert asked == []


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (("false",), KeyUnavailableError),
        (("/nonexistent/command",), KeyUnavailableError),
        (("true",), UsageError),
        (("yes",), LimitError),
    ],
    ids=["fails", "is missing", "says nothing", "never stops"],
)
def test_a_command_that_does_not_answer_well(
    command: Sequence[str], error: type[Exception]
) -> None:
    """A command that fails, is not there, says nothing or too much is an error at once."""
    with pytest.raises(error):
        existing_passphrase(Sources(command=tuple(command)))


def test_a_command_is_not_given_to_a_shell() -> None:
    """Its words arrive as they are written."""
    sources = Sources(command=("printf", "%s", "$HOME; echo `id`"))
    assert existing_passphrase(sources).value == b"$HOME; echo `id`"


def test_nobody_to_ask_is_an_error_that_says_what_to_do() -> None:
    """Without a source and without a terminal, the option and the variable are named."""
    for obtain in (existing_passphrase, new_passphrase):
        with pytest.raises(KeyUnavailableError) as caught:
            obtain(Sources())
        assert "--passphrase-file" in (caught.value.hint or "")


def test_an_empty_passphrase_is_refused(tmp_path: Path) -> None:
    """Neither an empty file nor an empty line opens anything."""
    with pytest.raises(UsageError, match="empty"):
        existing_passphrase(Sources(file=secret_file(tmp_path, b"\n")))
    with pytest.raises(UsageError, match="empty"):
        existing_passphrase(answers("")[0])


def test_a_new_passphrase_is_typed_twice() -> None:
    """Both times the same is accepted; the second question comes only after a good first."""
    sources, asked = answers(LONG, LONG)
    assert new_passphrase(sources) == Passphrase(LONG.encode(), typed=True)
    assert len(asked) == 2
    with pytest.raises(UsageError, match="not the same"):
        new_passphrase(answers(LONG, LONG + "!")[0])


def test_a_short_new_passphrase_is_refused_kindly(tmp_path: Path) -> None:
    """Eleven characters are too few, from a terminal or a file; twelve do, whatever the script."""
    sources, asked = answers("eleven chars"[:11])
    with pytest.raises(UsageError, match="a little short: 11 characters") as caught:
        new_passphrase(sources)
    assert len(asked) == 1
    assert "words" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="a little short"):
        new_passphrase(Sources(file=secret_file(tmp_path, b"short")))
    twelve = "密" * 12
    assert new_passphrase(answers(twelve, twelve)[0]).value == twelve.encode()
    assert existing_passphrase(answers("short")[0]).value == b"short"


def test_a_passphrase_has_no_telling_representation() -> None:
    """The value is not in its repr."""
    assert repr(Passphrase(b"secret", typed=True)) == "Passphrase(typed=True)"


@pytest.fixture
def backend() -> Iterator[Ring]:
    """A keyring of our own in place of that of the system."""
    with ring_in_place() as ring:
        yield ring


def test_the_keyring_learns_what_was_typed(backend: Ring) -> None:
    """A keyring without an entry leads to the terminal, and knows it the next time."""
    terminal, asked = answers(LONG)
    sources = Sources(keyring="home", ask=terminal.ask)
    typed = existing_passphrase(sources)
    assert (typed.value, typed.typed) == (LONG.encode(), True)
    remember(sources, typed)
    assert existing_passphrase(sources) == Passphrase(LONG.encode(), typed=False)
    assert len(asked) == 1


def test_a_keyring_that_is_not_configured_learns_nothing(backend: Ring) -> None:
    """Nothing goes into the keyring unasked."""
    remember(Sources(), Passphrase(b"secret", typed=True))
    remember(Sources(keyring="home"), Passphrase(b"from a file", typed=False))
    assert backend.kept == {}


def test_a_locked_keyring_is_an_error_that_says_so(backend: Ring) -> None:
    """What the library raises becomes one of our errors, without its text."""
    backend.locked = True
    with pytest.raises(KeyUnavailableError, match="KeyringLocked"):
        existing_passphrase(Sources(keyring="home"))


def test_a_keyring_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library is missing, the hint says how to install it."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(UsageError) as caught:
        existing_passphrase(Sources(keyring="home"))
    assert "medshare[keyring]" in (caught.value.hint or "")
