"""Where a passphrase comes from: a file, a command, the OS keyring, or a person at a terminal.

The first source that is configured is the one, in this order.  A source that fails is an
error and not a reason to ask the next one, except that a keyring which does not know the
passphrase yet leads to the terminal.  There is no way to give a passphrase as an argument
or in an environment variable, where every process of the machine could read it.
"""

import os
import shlex
import stat
import subprocess
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, Final, cast

from medshare.disk.atomic import storage_errors
from medshare.errors import KeyUnavailableError, LimitError, StorageError, UsageError

MIN_LENGTH: Final = 12
"""Characters of a new passphrase."""
MAX_SIZE: Final = 4096
KEYRING_SERVICE: Final = "medshare"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

Ask = Callable[[str], str]
"""Asks a person, without showing what is typed."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What is configured; a source that is not is left empty."""

    file: Path | None = None
    command: tuple[str, ...] = ()
    keyring: str | None = None
    """The name under which the OS keyring knows the passphrase: the station's folder."""
    ask: Ask | None = None
    """None where there is no terminal."""


@dataclass(frozen=True, slots=True, repr=False)
class Passphrase:
    """A passphrase, and whether a person typed it just now."""

    value: bytes
    typed: bool

    def __repr__(self) -> str:
        return f"Passphrase(typed={self.typed})"


PROMPT: Final = "Passphrase of this station: "


def existing_passphrase(sources: Sources, *, prompt: str = PROMPT) -> Passphrase:
    """Return the passphrase of a station that exists, or the PIN of a token.

    Raises KeyUnavailableError when no source can give one, StorageError when the file is
    open to others or unreadable, UsageError when it is empty.
    """
    stored = _stored(sources)
    if stored is not None:
        return Passphrase(_checked(stored), typed=False)
    ask = _require_terminal(sources)
    return Passphrase(_checked(_octets(ask(prompt))), typed=True)


def new_passphrase(sources: Sources) -> Passphrase:
    """Return the passphrase for a new station; a person types it twice.

    Raises UsageError when it is shorter than `MIN_LENGTH` characters or was not typed
    twice alike, and what `existing_passphrase` raises.
    """
    stored = _stored(sources)
    if stored is not None:
        return Passphrase(_long_enough(_checked(stored)), typed=False)
    ask = _require_terminal(sources)
    first = _octets(ask(f"New passphrase (at least {MIN_LENGTH} characters): "))
    _long_enough(_checked(first))
    if _octets(ask("The same once more: ")) != first:
        raise UsageError("the two passphrases are not the same", hint="try again")
    return Passphrase(first, typed=True)


def remember(sources: Sources, passphrase: Passphrase) -> None:
    """Let the OS keyring know a passphrase that was typed, if one is configured."""
    if sources.keyring is not None and passphrase.typed:
        with keyring_library() as keyring:
            text = passphrase.value.decode("utf-8", "surrogateescape")
            keyring.set_password(KEYRING_SERVICE, sources.keyring, text)


def _stored(sources: Sources) -> bytes | None:
    if sources.file is not None:
        return read_passphrase_file(sources.file)
    if sources.command:
        return _from_command(sources.command)
    if sources.keyring is not None:
        with keyring_library() as keyring:
            found = keyring.get_password(KEYRING_SERVICE, sources.keyring)
        return None if found is None else _octets(found)
    return None


def read_passphrase_file(path: Path) -> bytes:
    """Return the passphrase in *path*, a file or a pipe, without the newline at its end.

    Raises StorageError when it cannot be read or others can read it, LimitError when it
    is longer than `MAX_SIZE` octets.
    """
    with storage_errors("read the passphrase file"):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            _require_own(os.fstat(file), path)
            octets = _read(file)
        finally:
            os.close(file)
    return _without_newline(octets)


def _require_own(status: os.stat_result, path: Path) -> None:
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode)):
        raise StorageError("the passphrase file is neither a file nor a pipe")
    if status.st_uid not in {os.geteuid(), 0}:
        raise StorageError(f"the passphrase file {path} belongs to another user")
    if status.st_mode & _OTHERS:
        raise StorageError(
            f"the passphrase file {path} is open to other users of this machine",
            hint=f"run: chmod 600 {shlex.quote(str(path))}",
            code="storage.permissions",
        )


def _read(file: int) -> bytes:
    octets = b""
    while len(octets) <= MAX_SIZE and (part := os.read(file, MAX_SIZE + 1 - len(octets))):
        octets += part
    if len(octets) > MAX_SIZE:
        raise LimitError(f"the passphrase has more than {MAX_SIZE} bytes")
    return octets


def _from_command(command: Sequence[str]) -> bytes:
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603  # the owner's configuration names it
            try:
                octets = _read(cast(IO[bytes], process.stdout).fileno())
            except BaseException:
                process.kill()
                raise
    except OSError as error:
        raise KeyUnavailableError(
            f"the passphrase command '{command[0]}' does not start",
            hint="check passphrase_command in config.toml",
        ) from error
    if process.returncode:
        raise KeyUnavailableError(
            f"the passphrase command '{command[0]}' failed with status {process.returncode}",
            hint="check passphrase_command in config.toml",
        )
    return _without_newline(octets)


def _without_newline(octets: bytes) -> bytes:
    """Drop one line end, and give every spelling of a text the same octets (Unicode NFC)."""
    for end in (b"\r\n", b"\n"):
        if octets.endswith(end):
            octets = octets.removesuffix(end)
            break
    try:
        return _octets(octets.decode())
    except UnicodeDecodeError:
        return octets


def _octets(text: str) -> bytes:
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogateescape")


def _checked(passphrase: bytes) -> bytes:
    if not passphrase:
        raise UsageError("the passphrase is empty")
    return passphrase


def _long_enough(passphrase: bytes) -> bytes:
    length = len(passphrase.decode("utf-8", "replace"))
    if length < MIN_LENGTH:
        raise UsageError(
            f"this passphrase is a little short: {length} characters, at least {MIN_LENGTH}"
            " protect your keys if the disk is stolen",
            hint="four or five words that have nothing to do with each other are easy to keep",
        )
    return passphrase


@contextmanager
def keyring_library() -> Iterator[ModuleType]:
    """Give the module `keyring`, and say in our words what goes wrong with it."""
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError as error:
        raise UsageError(
            "the OS keyring is asked for, but its library is not installed",
            hint="pip install 'medshare[keyring]'",
        ) from error
    try:
        yield keyring
    except KeyringError as error:
        raise KeyUnavailableError(
            f"the OS keyring does not answer ({type(error).__name__})",
            hint="unlock it, or give --passphrase-file FILE",
        ) from error


def _require_terminal(sources: Sources) -> Ask:
    if sources.ask is None:
        raise KeyUnavailableError(
            "a passphrase is needed, and there is no terminal to ask for it",
            hint="give --passphrase-file FILE or set MEDSHARE_PASSPHRASE_FILE",
        )
    return sources.ask
