"""SoftHSM2 with faults of real tokens: what it reports is changed, what it is asked may fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pkcs11
import pytest

from medshare.keys import pkcs11_session
from tests import softhsm


@dataclass
class Faults:
    """What is wrong with the token from now on."""

    set_flags: int = 0
    unset_flags: int = 0
    hidden: frozenset[str] = frozenset()
    """Mechanisms that it does not offer."""
    raising: dict[str, list[Exception | None]] = field(default_factory=dict)
    """By the name of a call, what the next calls of it raise; None lets one pass."""
    calls: list[str] = field(default_factory=list)
    """The calls that were made."""
    after: Callable[[str], None] = lambda name: None
    """Called with the name of each call that failed."""

    def fail(self, name: str, *errors: Exception | None) -> None:
        """Let the next calls of *name* raise *errors*."""
        self.raising[name] = list(errors)

    def call(self, name: str, real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Make a call, unless it is to fail."""
        self.calls.append(name)
        error = self.raising[name].pop(0) if self.raising.get(name) else None
        if error is not None:
            raise error
        try:
            return real(*args, **options)
        except pkcs11.PKCS11Error:
            self.after(name)
            raise


class Faulty:
    """Anything of the library, seen through faults."""

    def __init__(self, real: Any, faults: Faults) -> None:
        self._real = real
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        if name == "flags":
            return (self._real.flags | self._faults.set_flags) & ~self._faults.unset_flags
        found = getattr(self._real, name)
        if not callable(found):
            return self._seen(found)

        def call(*args: Any, **options: Any) -> Any:
            real = [arg._real if isinstance(arg, Faulty) else arg for arg in args]
            return self._seen(self._faults.call(name, found, *real, **options))

        return call

    def __getitem__(self, key: Any) -> Any:
        return self._faults.call("__getitem__", self._real.__getitem__, key)

    def _seen(self, value: Any) -> Any:
        if isinstance(value, set):
            return {one for one in value if getattr(one, "name", one) not in self._faults.hidden}
        if isinstance(value, list | tuple):
            return type(value)(self._seen(one) for one in value)
        if hasattr(value, "__next__"):
            return iter([self._seen(one) for one in value])
        plain = value is None or isinstance(value, int | str | bytes | dict)
        return value if plain else Faulty(value, self._faults)


@contextmanager
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """Let this process see the module through faults, which are none at first."""
    softhsm.token()
    faults = Faults()
    real = pkcs11.lib
    with monkeypatch.context() as patch:
        patch.setattr(pkcs11, "lib", lambda path: Faulty(real(path), faults))
        patch.setattr(pkcs11_session, "_OPEN", {})
        yield faults
    softhsm.restart()
