"""Cipher suites and algorithms, each behind the small protocols of `base`."""

from typing import Final

from medshare.errors import UnsupportedVersionError
from medshare.suites.base import Suite

SUITE_NAMES: Final = ("intl", "gm")
"""Suites that a reader of this version understands."""


def suite_named(name: str) -> Suite:
    """Return the suite called *name*; raise UnsupportedVersionError if it is unknown."""
    if name == "intl":
        from medshare.suites.intl import INTL

        return INTL
    if name == "gm":
        from medshare.suites.gm import GM

        return GM
    raise UnsupportedVersionError(
        "the parcel uses a cipher suite that is unknown here",
        hint="update medshare, or ask the sender for suite 'intl' or 'gm'",
    )
