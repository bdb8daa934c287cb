"""Damages octets at random: flips, cuts, splices, lies about lengths, and odd CBOR."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

import cbor2

MAX_SIZE = 1 << 17
"""Inputs do not grow beyond this, in octets."""

_ODD: tuple[Any, ...] = (
    0, 1, 23, 24, 255, 256, 2**16, 2**31, 2**32, 2**53, 2**63, 2**64 - 1, -1, -(2**63), 2**64,
    True, False, None, 1.5, float("nan"), "", "../x", "\x1b[2J", "\u202e", "x" * 5000, b"",
    bytes(16), bytes(32), b"\xff" * 64, [], {}, [[]] * 40, {"critical": {"x": 1}},
)  # fmt: skip
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
_PIECES = (
    b"\x00", b"\xff", b"\n", b"\r\n", b"=", b";", b'"', b"%00", b"..", b"/", b"\xed\xa0\x80",
    b"\x9f", b"\xbf", b"\x5f", b"\xd8\x1c", b"\xfb\x7f\xf8", b"9" * 25, b"[" * 300, b"\x81" * 300,
    "é".encode(), "١".encode(), b"1e999", b"NaN", b"0x1", b"-----BEGIN ", b"-----END ",
)  # fmt: skip


def _flip(data: bytearray, rng: random.Random, _: bytes) -> None:
    for _again in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(data: bytearray, rng: random.Random, _: bytes) -> None:
    data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _cut(data: bytearray, rng: random.Random, _: bytes) -> None:
    del data[rng.randrange(len(data)) :]


def _remove(data: bytearray, rng: random.Random, _: bytes) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 4, rng.randrange(1, 64)))]


def _repeat(data: bytearray, rng: random.Random, _: bytes) -> None:
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.randrange(1, 64)] * rng.choice((1, 1, 2, 50))


def _insert(data: bytearray, rng: random.Random, _: bytes) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(_PIECES)


def _number(data: bytearray, rng: random.Random, _: bytes) -> None:
    """Put an extreme number over some octets, or make one that stands there a little larger."""
    size = rng.choice((1, 2, 3, 4, 8))
    at = rng.randrange(len(data))
    order: Literal["big", "little"] = "big" if rng.random() < 0.5 else "little"
    held = int.from_bytes(data[at : at + size], order)
    number = rng.choice((held + 1, held - 1, held * 2, rng.choice(_NUMBERS)))
    data[at : at + size] = (number % (1 << 8 * size)).to_bytes(size, order)


def _splice(data: bytearray, rng: random.Random, other: bytes) -> None:
    at = rng.randrange(len(data))
    begin = rng.randrange(len(other) + 1)
    data[at : at + rng.randrange(256)] = other[begin : begin + rng.randrange(256)]


_EDITS: Sequence[Callable[[bytearray, random.Random, bytes], None]] = (
    _flip, _set, _cut, _remove, _repeat, _insert, _number, _splice,
)  # fmt: skip


def mutated(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Return *data* damaged in one or a few ways; *other* lends octets."""
    if rng.random() < 0.4:
        changed = odd_cbor(data, rng)
        if changed is not None:
            return changed[:MAX_SIZE]
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not damaged:
            damaged += rng.choice(_PIECES)
        rng.choice(_EDITS)(damaged, rng, other)
    return bytes(damaged[:MAX_SIZE])


def odd_cbor(data: bytes, rng: random.Random) -> bytes | None:
    """Return the CBOR *data* with one thing in it changed; None when it is no CBOR."""
    try:
        value = cbor2.loads(data)
        return cbor2.dumps(_changed(value, rng, 0), canonical=rng.random() < 0.9)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError):
        return None


def _changed(value: Any, rng: random.Random, depth: int) -> Any:
    if depth and (depth > 12 or rng.random() < 0.15):
        return _odd(value, rng)
    if isinstance(value, dict) and value:
        return _changed_map(value, rng, depth)
    if isinstance(value, list) and value:
        return _changed_list(value, rng, depth)
    if isinstance(value, bytes) and len(value) > 2 and rng.random() < 0.5:
        return odd_cbor(value, rng) or _odd(value, rng)
    return _odd(value, rng)


def _changed_map(value: dict[Any, Any], rng: random.Random, depth: int) -> dict[Any, Any]:
    made, key = dict(value), rng.choice(list(value))
    match rng.randrange(10):
        case 0:
            del made[key]
        case 1:
            made[rng.choice(("extra", "critical", "x", "", 7))] = rng.choice(_ODD)
        case 2:
            made[f"{key}x"] = made.pop(key)
        case _:
            made[key] = _changed(value[key], rng, depth + 1)
    return made


def _changed_list(value: list[Any], rng: random.Random, depth: int) -> list[Any]:
    made, at = list(value), rng.randrange(len(value))
    match rng.randrange(10):
        case 0:
            del made[at]
        case 1:
            made.insert(at, made[at])
        case 2:
            made.append(rng.choice(_ODD))
        case 3:
            rng.shuffle(made)
        case _:
            made[at] = _changed(made[at], rng, depth + 1)
    return made


def _odd(value: Any, rng: random.Random) -> Any:
    if isinstance(value, int) and rng.random() < 0.5:
        return value + rng.choice((-1, 1, 2**32))
    if isinstance(value, str) and rng.random() < 0.5:
        return value + rng.choice(("\x00", " ", "/..", "\u202e", "a" * 300))
    if isinstance(value, bytes) and rng.random() < 0.5:
        return value[:-1] if rng.random() < 0.5 else value + b"\x00"
    return rng.choice(_ODD)
