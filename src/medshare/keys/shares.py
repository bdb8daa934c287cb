"""A key of 256 bits as m-of-n shares, each 33 words (SLIP-39): the border to shamir-mnemonic.

SLIP-39 is a published standard with official vectors and several implementations, so that
shares can be put together in thirty years without this program.  Words can be printed, read
out and typed; a checksum finds a wrong word, and a digest inside the shared secret finds a share
that does not belong.  Fewer than m shares say nothing about the key.

The library is the standard's reference implementation.  It makes no claim to run in constant
time: shares are made and put together rarely, by people, on machines that they trust for it.
"""

import struct
from collections.abc import Sequence
from types import ModuleType
from typing import Final

from medshare.errors import FormatError, IncompleteError, IntegrityError, UsageError
from medshare.suites.base import KEY_SIZE

MIN_THRESHOLD: Final = 2
MAX_SHARES: Final = 16
WORDS: Final = 33
_MAX_TEXT: Final = 2048
_PACKED: Final = struct.Struct(f">{WORDS}H")
PACKED_SIZE: Final = _PACKED.size


def split(key: bytes, *, threshold: int, count: int) -> tuple[str, ...]:
    """Return *count* shares of *key*, any *threshold* of which give it back.

    Raises UsageError when the numbers make no sense: one share must not be enough.
    """
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key of {KEY_SIZE} octets is shared")
    if not MIN_THRESHOLD <= threshold <= count <= MAX_SHARES:
        raise UsageError(
            f"a key cannot be shared so that {threshold} of {count} give it back",
            hint=f"name 2 to {MAX_SHARES} custodians, of whom at least {MIN_THRESHOLD} are needed: "
            "one alone could otherwise read everything",
        )
    (shares,) = _library().generate_mnemonics(1, [(threshold, count)], key)
    return tuple(shares)


def combine(shares: Sequence[str]) -> bytes:
    """Return the key that *shares*, as `check` returned them, were made of.

    Raises IncompleteError when there are too few, IntegrityError when they do not belong
    together.
    """
    library = _library()
    parsed = [library.Share.from_mnemonic(check(share)) for share in shares]
    if len({one.group_parameters() for one in parsed}) > 1:
        raise IntegrityError(
            "the shares are not all of one backup",
            hint="leave out the one whose first two words differ from those of the others",
        )
    different = {one.index: share for one, share in zip(parsed, shares, strict=True)}
    needed = parsed[0].member_threshold if parsed else MIN_THRESHOLD
    if len(different) < needed:
        raise IncompleteError(
            f"{needed} different shares are needed, and {len(different)} were given",
            hint="ask further custodians: medshare keys release",
        )
    try:
        key = library.combine_mnemonics(list(different.values())[:needed])
    except library.MnemonicError:
        raise IntegrityError(
            "the shares do not give back the key: one of them was changed",
            hint="try other shares, each with the rest",
        ) from None
    return bytes(key)


def check(share: str) -> str:
    """Return *share* with one space between its words; raise FormatError unless it is one."""
    words = share[:_MAX_TEXT].lower().split()
    if len(words) != WORDS or len(share) > _MAX_TEXT:
        raise FormatError(f"a share has {WORDS} words, and this has {len(words)}")
    library = _library()
    text = " ".join(words)
    try:
        library.Share.from_mnemonic(text)
    except library.MnemonicError:
        raise FormatError(
            "this is not a share: a word of it is mistyped, or missing",
            hint="compare it word by word with the original",
        ) from None
    return text


def pack(share: str) -> bytes:
    """Return *share* as octets, two for each word."""
    return _PACKED.pack(*_library().wordlist.mnemonic_to_indices(check(share)))


def unpack(octets: bytes) -> str:
    """Return the share that `pack` packed; raise FormatError when it is none."""
    wordlist = _library().wordlist
    if len(octets) != PACKED_SIZE:
        raise FormatError("this is not a share")
    indices = _PACKED.unpack(octets)
    if max(indices) >= len(wordlist.WORDLIST):
        raise FormatError("this is not a share")
    return check(wordlist.mnemonic_from_indices(indices))


def _library() -> ModuleType:
    try:
        import shamir_mnemonic  # type: ignore[import-untyped]  # it has no py.typed
    except ImportError as error:
        raise UsageError(
            "a backup for several custodians needs a library that is not installed",
            hint="pip install 'medshare[backup]'",
        ) from error
    library: ModuleType = shamir_mnemonic
    return library
