"""Which entry is bad, once it is known that entries do not follow each other.

Two witnesses are asked: the leaf hashes that were noted when the entries were written, and
the numbers that the entries themselves bear.  The first knows every case; the second is
asked where the noted hashes were made to agree.
"""

from collections.abc import Sequence
from typing import Final

from medshare.audit import entries
from medshare.audit.evidence import Fault, Finding
from medshare.audit.merkle import HASH_SIZE, leaf_hash

_LOOK: Final = 4096


def locate(place: int, window: Sequence[bytes], before: bytes, noted: bytes) -> Finding:
    """Return what is wrong with the entries in *window*, which begin at *place*.

    *before* is the leaf hash of the entry before, *noted* the leaf hashes that were noted from
    *place* on, as far as there are any.
    """
    leaves = [leaf_hash(entry) for entry in window[:_LOOK]]
    kept = [noted[at : at + HASH_SIZE] for at in range(0, len(noted), HASH_SIZE)]
    at = next((i for i, (a, b) in enumerate(zip(leaves, kept, strict=False)) if a != b), None)
    if at is not None:
        return _by_hashes(place, at, leaves, kept)
    return _by_numbers(place, window, leaves, before)


def _by_hashes(place: int, at: int, leaves: list[bytes], kept: list[bytes]) -> Finding:
    """Compare the sequence of hashes with the one that was noted, from the first difference on."""
    number = place + at
    comes = _find(leaves, kept[at], at)
    came = _find(kept, leaves[at], at)
    if comes is not None and came is not None:
        if comes != came and _find(leaves, leaves[at], at + 1) is not None:
            return _inserted(number, place + comes - 1)
        return _swapped(number, place + came)
    if came is not None:
        return _removed(number, place + came - 1)
    if comes is not None:
        return _inserted(number, place + comes - 1)
    return _altered(number)


def _by_numbers(place: int, window: Sequence[bytes], leaves: list[bytes], before: bytes) -> Finding:
    """Find the first entry that does not begin as it must, and ask its number why."""
    numbers = [entries.number_in(entry) for entry in window[: len(leaves)]]
    for at, (number, entry) in enumerate(zip(numbers, window, strict=False)):
        expected = place + at
        if entry.startswith(entries.head(expected, before)):
            before = leaves[at]
            continue
        if number is None:
            return _altered(expected)
        if number == expected:
            # It follows another entry than the one that stands before it: that one was replaced.
            return _altered(max(expected - 1, 0))
        if number < expected:
            return _inserted(number, expected - 1)
        if expected in numbers[at + 1 :]:
            return _swapped(expected, number)
        return _removed(expected, number - 1)
    return _altered(place)


def _find(hashes: list[bytes], wanted: bytes, after: int) -> int | None:
    try:
        return hashes.index(wanted, after)
    except ValueError:
        return None


def _altered(number: int) -> Finding:
    return Finding(Fault.ALTERED, number, number, f"entry {number} was altered")


def _removed(first: int, last: int) -> Finding:
    what = (
        f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing"
    )
    return Finding(Fault.REMOVED, first, last, what)


def _inserted(first: int, last: int) -> Finding:
    what = (
        f"entry {first} was inserted"
        if first == last
        else f"entries {first} to {last} were inserted"
    )
    return Finding(Fault.INSERTED, first, last, what)


def _swapped(first: int, last: int) -> Finding:
    return Finding(Fault.SWAPPED, first, last, f"entries {first} and {last} changed places")
