"""What a PKCS#11 token answers, in our words: the one place that knows its exceptions.

Exceptions are known by the names of their classes, which are those of the return values of
PKCS#11 (`DeviceRemoved` is CKR_DEVICE_REMOVED), so that nothing here loads the library.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from medshare.errors import LimitError, MedshareError, TokenError, UsageError

GONE: Final = frozenset(
    {
        "DeviceError",
        "DeviceRemoved",
        "KeyHandleInvalid",
        "ObjectHandleInvalid",
        "SessionClosed",
        "SessionHandleInvalid",
        "TokenNotPresent",
        "TokenNotRecognised",
        "UnwrappingKeyHandleInvalid",
        "UserNotLoggedIn",
        "WrappingKeyHandleInvalid",
    }
)
"""The token, or our session with it, is not what it was: another session may help, once."""

_NOT_A_WRAP: Final = frozenset(
    {
        "EncryptedDataInvalid",
        "EncryptedDataLenRange",
        "FunctionFailed",
        "GeneralError",
        "WrappedKeyInvalid",
        "WrappedKeyLenRange",
    }
)
"""What tokens answer when a wrapped key is not theirs; SoftHSM2 says CKR_GENERAL_ERROR."""

_RESUME: Final = "put it back, then run the same command again: it goes on where it stopped"
_REASONS: Final[dict[str, tuple[str, str | None]]] = {
    **dict.fromkeys(GONE, ("it was removed, or does not answer", _RESUME)),
    "DeviceMemory": ("it is full", "remove keys that nothing needs, or use another token"),
    "HostMemory": ("this machine has not enough memory", None),
    "SessionCount": ("too many programs use it at once", "end some of them, then try again"),
    "TokenWriteProtected": ("it is write-protected", None),
    "SessionReadOnly": ("it is write-protected", None),
    "PinExpired": ("its PIN has expired", "set a new one with the tool of the token's maker"),
    "PinLocked": (
        "its PIN is locked",
        "its security officer can set a new one; the keys in it are not lost",
    ),
    "UserPinNotInitialized": (
        "it has no user PIN yet",
        "set one with the tool of the token's maker; docs/hsm.md has an example",
    ),
    "AnotherUserAlreadyLoggedIn": ("its security officer is logged in", "log out, then try again"),
    **dict.fromkeys(
        ("MechanismInvalid", "FunctionNotSupported", "KeySizeRange", "DomainParamsInvalid"),
        ("it does not offer what is needed", "docs/hsm.md lists what a token must offer"),
    ),
    **dict.fromkeys(
        ("AttributeValueInvalid", "TemplateInconsistent", "KeyUnextractable", "KeyNotWrappable"),
        ("its policy does not allow it", "docs/hsm.md lists what a token must allow"),
    ),
}


@contextmanager
def token_errors(what: str) -> Iterator[None]:
    """Raise TokenError `the token cannot {what}: …` for whatever the library raises inside."""
    base = library_error()
    try:
        yield
    except base as error:
        raise translated(error, what) from error


def translated(error: Exception, what: str) -> MedshareError:
    """Return *error*, raised by the library on trying to *what*, in our words."""
    reason, hint = _REASONS.get(type(error).__name__, (f"it answers {name_of(error)}", None))
    return TokenError(f"the token cannot {what}: {reason}", hint=hint)


def name_of(error: Exception) -> str:
    """Return the name of a return value, as PKCS#11 writes it or as the library calls it."""
    name = type(error).__name__
    if name == "PKCS11Error":  # a value without a class of its own
        return str(error).rstrip(".") or name
    words = "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in name)
    return f"CKR{words}"


def is_gone(error: Exception) -> bool:
    """Tell whether *error* says that the token or the session is lost."""
    kind = type(error).__name__
    return kind in GONE or (kind == "PKCS11Error" and "not initialized" in str(error))


def is_no_wrap(error: Exception) -> bool:
    """Tell whether *error* may say that a wrapped key is damaged or another one's."""
    return type(error).__name__ in _NOT_A_WRAP


def library_error() -> type[Exception]:
    """Return the root of the library's exceptions; raise UsageError when it is not installed."""
    try:
        from pkcs11.exceptions import PKCS11Error
    except ImportError as error:
        raise UsageError(
            "a hardware token needs a library that is not installed",
            hint="pip install 'medshare[hsm]'",
        ) from error
    return PKCS11Error


def no_token(named: str, labels: list[str]) -> TokenError:
    """Return the error that says that the token *named* is not among those called *labels*."""
    there = ", ".join(f"'{label}'" for label in labels)
    return TokenError(
        f"there is no token {named}",
        hint=f"the module shows {there}"
        if labels
        else "connect it, then run the same command again",
    )


def missing_mechanisms(label: str, names: list[str]) -> TokenError:
    """Return the error that names the mechanisms that a token lacks."""
    return TokenError(
        f"the token '{label}' does not offer {', '.join(names)}",
        hint="docs/hsm.md lists what a token must offer",
    )


def too_many_generations(limit: int) -> LimitError:
    """Return the error that says that no further generation can be made."""
    return LimitError(
        f"a station has at most {limit} generations of keys, and all are used",
        hint="make a new station with another MEDSHARE_HOME and exchange its card",
    )
