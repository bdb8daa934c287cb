"""Cipher suites and algorithms, each behind the small protocols of `base`."""

from collections.abc import Sequence
from typing import Final

from medshare.errors import UnsupportedVersionError
from medshare.suites.base import Hasher, PublicKey, Suite
from medshare.suites.signatures import scheme_named

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


def hasher_named(name: str) -> Hasher:
    """Return a fresh hasher: `blake3` or `sm3`; raise UnsupportedVersionError for another."""
    try:
        return suite_named({"blake3": "intl", "sm3": "gm"}[name]).hasher()
    except KeyError:
        raise UnsupportedVersionError(f"hash '{name}' is unknown here") from None


def suite_of_keys(sign_keys: Sequence[PublicKey]) -> Suite:
    """Return the suite whose hash names a station with these keys: `gm` if one is of it."""
    families = {scheme_named(key.algorithm).family for key in sign_keys}
    return suite_named("gm" if "gm" in families else "intl")
