"""One session with a token: found, logged in, opened again when it was lost.

PKCS#11 makes three things a matter of the whole process, and so they are here:

- a module is loaded and initialised once, and we initialise it without leave for threads, so
  that every call, of whatever thread, is made under one lock;
- a login is for all sessions with a token, so that a second keystore in the same token
  shares the session of the first, if it knows the same PIN;
- what is lost, a session or a token that was pulled out, is lost for all.

A wrong PIN costs one of few tries, after which the token locks itself.  The last one is never
spent unless somebody asked for it, and no PIN is tried twice that was refused once.
"""

import hmac
import os
import stat
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from medshare.disk.atomic import storage_errors
from medshare.errors import (
    KeyUnavailableError,
    PassphraseError,
    StorageError,
    TokenError,
    UsageError,
)
from medshare.keys import pkcs11_errors
from medshare.keys.pkcs11_errors import library_error, token_errors
from medshare.keys.pkcs11_uri import KeyName, Pkcs11Uri

if TYPE_CHECKING:
    import pkcs11

Result = TypeVar("Result")
Work = Callable[["Connection"], Result]

LOCK: Final = threading.RLock()
"""Held during every call of a module."""
_OPEN: Final[dict[tuple[str, str], "Connection"]] = {}
"""The connections of this process, by module and name of the token."""
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class Connection:
    """A token, logged in; its representation shows no PIN."""

    def __init__(self, module: Path, uri: Pkcs11Uri, pin: str) -> None:
        self.uri = uri
        """The full name of the token."""
        self._module = module
        self._pin: str | None = pin
        self._session: pkcs11.Session | None = None
        self._keys: dict[tuple[int, KeyName], Any] = {}

    def __repr__(self) -> str:
        return f"Connection({self.label!r})"

    @property
    def label(self) -> str:
        """What the token is called."""
        return self.uri.token or ""

    @property
    def session(self) -> "pkcs11.Session":
        """The session; only inside `run`."""
        return self._session or self.login(force=False)

    @property
    def is_trusted(self) -> bool:
        """Whether the token has accepted the PIN and not refused it since."""
        return self._pin is not None

    def run(self, work: Work[Result], *, what: str) -> Result:
        """Return what *work* does in a session; once more in a new one when it was lost.

        *work* may therefore run twice.  Raises TokenError `the token cannot {what}: …`.
        """
        with LOCK, token_errors(what):
            try:
                return work(self)
            except library_error() as error:
                if not pkcs11_errors.is_gone(error):
                    raise
            self.forget()
            forget_sessions()
            return work(self)

    def key(self, kind: int, name: KeyName) -> Any:
        """Return the key object of class *kind* that is called *name*; only inside `run`.

        Raises KeyUnavailableError when there is none.
        """
        if (kind, name) not in self._keys:
            found = self.find(kind, name)
            if len(found) != 1:
                raise KeyUnavailableError(
                    f"the token '{self.label}' does not hold the key '{name.label}'",
                    hint="restore the newest backup of the token, or use the one that holds it",
                )
            self._keys[(kind, name)] = found[0]
        return self._keys[(kind, name)]

    def find(self, kind: int, name: KeyName) -> Sequence[Any]:
        """Return the objects of class *kind* with the id of *name*; only inside `run`."""
        from pkcs11 import Attribute, ObjectClass

        self._probe()
        wanted = {Attribute.CLASS: ObjectClass(kind), Attribute.ID: name.id}
        return list(self.session.get_objects(wanted))

    def labels(self) -> list[str]:
        """Return what the secret objects in the token are called; only inside `run`."""
        from pkcs11 import Attribute, ObjectClass

        found = []
        for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY):
            self._probe()
            objects = self.session.get_objects({Attribute.CLASS: kind})
            found += [str(one[Attribute.LABEL]) for one in objects]
        return sorted(set(found))

    def destroy(self, kinds: Iterable[int], name: KeyName) -> None:
        """Remove whatever objects of *kinds* have the id *name*; only inside `run`."""
        for kind in kinds:
            self._keys.pop((kind, name), None)
            for found in self.find(kind, name):
                found.destroy()

    def _probe(self) -> None:
        """Find out if the session is lost: the library would say so on stderr in a search."""
        from pkcs11.exceptions import FunctionNotSupported, RandomNoRNG

        with suppress(RandomNoRNG, FunctionNotSupported):
            self.session.generate_random(64)

    def require_mechanisms(self, names: Sequence[str]) -> None:
        """Raise TokenError, with their names, unless the token offers *names*; inside `run`."""
        offered = {_mechanism_name(one) for one in self.session.token.slot.get_mechanisms()}
        missing = [f"CKM_{name}" for name in names if name not in offered]
        if missing:
            raise pkcs11_errors.missing_mechanisms(self.label, missing)

    def forget(self) -> None:
        """Let the next call open a new session."""
        self._session = None
        self._keys.clear()

    def require_pin(self, pin: str) -> None:
        """Raise PassphraseError unless *pin* is the one that this process has logged in with."""
        if self._pin is None or not hmac.compare_digest(self._pin.encode(), pin.encode()):
            raise PassphraseError(
                f"the PIN of the token '{self.label}' is wrong",
                hint="this process knows the right one, so no try was spent",
                code="key.pin",
            )

    def login(self, *, force: bool) -> "pkcs11.Session":
        """Return a new session; the PIN is forgotten when the token refuses it."""
        token = find_token(load(self._module), self.uri)
        require_usable(token, force=force)
        if self._pin is None:
            raise TokenError(
                f"the token '{self.label}' refused the PIN of this process before",
                hint="run the same command again, with the right PIN",
            )
        try:
            self._session = _open(token, self._pin)
        except PassphraseError:
            self._pin = None
            raise
        return self._session


def forget_sessions() -> None:
    """Let every connection open a new session: a handle of a lost one may come to name another."""
    for connection in _OPEN.values():
        connection.forget()


def connect(
    module: Path | None, uri: Pkcs11Uri, pin: bytes, *, force_last_try: bool = False
) -> Connection:
    """Return the connection of this process with the token that *uri* names.

    Raises PassphraseError when the PIN is wrong, TokenError when there is no module, no such
    token, or it cannot be used, also when only one try of a PIN is left and not
    *force_last_try*; UsageError when the library is not installed.
    """
    text = _pin_text(pin)
    with LOCK, token_errors("be opened"):
        path = _module_path(module)
        full = name_of(find_token(load(path), uri))
        known = _OPEN.get((str(path), str(full)))
        if known is not None and known.is_trusted:
            known.require_pin(text)
            return known
        made = Connection(path, full, text)
        made.login(force=force_last_try)
        _OPEN[(str(path), str(full))] = made
        return made


def load(path: Path) -> Any:
    """Return the PKCS#11 module at *path*, loaded and initialised once in this process."""
    error_root = library_error()
    import pkcs11

    try:
        return pkcs11.lib(str(path))
    except error_root as error:
        raise TokenError(
            f"the PKCS#11 module {path} does not load",
            hint="check pkcs11_module in config.toml: it must be the module of your token, "
            "for this kind of processor",
        ) from error


def find_token(module: Any, uri: Pkcs11Uri) -> "pkcs11.Token":
    """Return the one token in *module* that *uri* names; raise TokenError unless there is one."""
    there = [token for token in _tokens(module) if name_of(token).token]
    found = [token for token in there if _fits(token, uri)]
    if not found:
        raise pkcs11_errors.no_token(f"'{uri}'", sorted(token.label for token in there))
    if len(found) > 1:
        serials = ", ".join(sorted(f"serial={name_of(token).serial}" for token in found))
        raise TokenError(f"several tokens are called '{uri}'", hint=f"add one of {serials}")
    return found[0]


def name_of(token: "pkcs11.Token") -> Pkcs11Uri:
    """Return the full name of *token*, which does not change with the slot that it is in."""
    return Pkcs11Uri(
        token=token.label or None,
        manufacturer=token.manufacturer_id or None,
        serial=token.serial.decode("utf-8", "replace").strip() or None,
        model=token.model or None,
    )


def require_usable(token: "pkcs11.Token", *, force: bool) -> None:
    """Raise TokenError when a PIN would be wasted on *token*.

    That is: it has none, it is locked, or one wrong PIN would lock it and not *force*.
    """
    from pkcs11 import TokenFlag

    called, flags = f"the token '{token.label}'", TokenFlag(token.flags)
    if TokenFlag.USER_PIN_LOCKED in flags:
        raise TokenError(
            f"{called} is locked: its PIN was wrong too often",
            hint="its security officer can set a new PIN; the keys in it are not lost",
            code="key.pin-locked",
        )
    if TokenFlag.USER_PIN_INITIALIZED not in flags:
        raise TokenError(
            f"{called} has no user PIN yet",
            hint="set one with the tool of its maker; docs/hsm.md has an example",
        )
    if TokenFlag.USER_PIN_FINAL_TRY in flags and not force:
        raise TokenError(
            f"{called} allows one more try of its PIN before it locks; we would rather not "
            "spend it unasked",
            hint="look the PIN up, then: medshare keys check --force-last-pin-try",
            code="key.pin-last",
        )


def _open(token: "pkcs11.Token", pin: str) -> "pkcs11.Session":
    from pkcs11.exceptions import PinIncorrect, PinInvalid, PinLenRange, UserAlreadyLoggedIn

    try:
        return token.open(rw=True, user_pin=pin)
    except UserAlreadyLoggedIn:  # by another session of this process, with the same module
        return token.open(rw=True)
    except (PinIncorrect, PinInvalid, PinLenRange) as error:
        raise PassphraseError(
            f"the PIN of the token '{token.label}' is wrong",
            hint=_tries_left(token.slot.get_token()),
            code="key.pin",
        ) from error


def _tries_left(token: "pkcs11.Token") -> str:
    """Return what the token tells of further tries, which is no number in PKCS#11."""
    from pkcs11 import TokenFlag

    flags = TokenFlag(token.flags)
    if TokenFlag.USER_PIN_LOCKED in flags:
        return "it has locked itself now; its security officer can set a new PIN"
    if TokenFlag.USER_PIN_FINAL_TRY in flags:
        return "ONE try is left: a further wrong PIN locks the token"
    return "a token allows few tries, often three in a row, before it locks itself"


def _tokens(module: Any) -> Iterable["pkcs11.Token"]:
    from pkcs11.exceptions import TokenNotPresent, TokenNotRecognised

    for slot in module.get_slots(token_present=True):
        try:
            yield slot.get_token()
        except (TokenNotPresent, TokenNotRecognised):  # pulled out just now
            continue


def _fits(token: "pkcs11.Token", uri: Pkcs11Uri) -> bool:
    name = name_of(token)
    asked = (
        (uri.token, name.token),
        (uri.manufacturer, name.manufacturer),
        (uri.serial, name.serial),
        (uri.model, name.model),
        (uri.slot_id, token.slot.slot_id),
    )
    return all(wanted is None or wanted == found for wanted, found in asked)


def _mechanism_name(mechanism: Any) -> str:
    return str(getattr(mechanism, "name", mechanism))


def _pin_text(pin: bytes) -> str:
    try:
        return pin.decode()
    except UnicodeDecodeError:
        raise UsageError("the PIN of a token is text in UTF-8") from None


def _module_path(module: Path | None) -> Path:
    """Return the path of the module; it is code, so nobody else may have written it."""
    if module is None:
        raise TokenError(
            "the PKCS#11 module of the token is not configured",
            hint="set pkcs11_module in config.toml, or MEDSHARE_PKCS11_MODULE, to its path",
        )
    if not module.is_absolute():
        raise UsageError(f"the path of the PKCS#11 module is not absolute: {module}")
    if not module.is_file():
        raise TokenError(f"there is no PKCS#11 module at {module}", hint="check pkcs11_module")
    with storage_errors("look at the PKCS#11 module"):
        status = module.stat()
    if status.st_uid not in {os.geteuid(), 0} or status.st_mode & _OTHERS_WRITE:
        raise StorageError(
            f"other users of this machine could have written the PKCS#11 module {module}",
            hint="it is code that handles keys: install it again, as root",
            code="storage.permissions",
        )
    return module
