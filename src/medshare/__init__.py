"""Moves medical studies between hospitals: sealed end to end, signed, verified, resumable.

    result = medshare.send([study], to=[contact], identity=identity,
                           station=station, transport=transport)

What stands here is the stable surface; everything else is reached by its module and may
change.  Each name is imported when it is first used, so that `import medshare` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from medshare import errors
    from medshare.errors import MedshareError
    from medshare.receipt import Receipt
    from medshare.sharing.events import Event

__version__: Final = "0.1.0"

FORMAT: Final = "medshare/1"
"""The sealed format that this version writes, and the newest that it reads."""

_PLACES: Final = {
    "Event": "medshare.sharing.events",
    "MedshareError": "medshare.errors",
    "Receipt": "medshare.receipt",
    "errors": "medshare",
}

__all__ = ["FORMAT", "Event", "MedshareError", "Receipt", "__version__", "errors"]


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if place == __name__:
        return importlib.import_module(f"{place}.{name}")
    value = getattr(importlib.import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
