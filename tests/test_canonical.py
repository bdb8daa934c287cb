"""Properties of the one encoding: what encodes decodes, and nothing else does."""

import contextlib
import tracemalloc
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical
from medshare.canonical import MAX_DEPTH, Fields, Value
from medshare.errors import FormatError, LimitError, MedshareError, UnsupportedVersionError
from tests.strategies import damaged, values


def decode(data: bytes, *, limit: int = 1 << 20, items: int = 1 << 20) -> Value:
    """Decode with limits that do not matter here."""
    return canonical.decode(data, limit=limit, what="it", items=items)


@given(values())
def test_what_is_encoded_decodes(value: Value) -> None:
    """Whatever the format can express comes back from its encoding."""
    assert decode(canonical.encode(value)) == value


@given(st.binary(max_size=64))
def test_what_decodes_is_written_again_alike(data: bytes) -> None:
    """Any octets are refused with a coded error, or are the encoding of what they decode to."""
    try:
        value = decode(data)
    except FormatError:
        return
    assert canonical.encode(value) == data


@given(values().flatmap(lambda value: damaged(canonical.encode(value))))
def test_damage_never_decodes_to_two_forms(data: bytes) -> None:
    """Damaged octets are refused, or are the one encoding of another value."""
    try:
        value = decode(data)
    except MedshareError:
        return
    assert canonical.encode(value) == data


@pytest.mark.parametrize("tag", [*range(6), 24, 25, 28, 29, 30, 35, 36, 37, 43000, 55799, 1 << 40])
@pytest.mark.parametrize("inner", [b"\x00", b"\x40", b"\x60", b"\x80", b"\xa0", b"\x82\x00\x01"])
def test_tags_are_refused(tag: int, inner: bytes) -> None:
    """No tag is accepted, neither one that the library knows nor another, around anything."""
    head = cbor2.dumps(cbor2.CBORTag(tag, 0))[:-1]
    with pytest.raises(FormatError):
        decode(head + inner)


def test_sixteen_containers_are_the_limit() -> None:
    """16 arrays inside each other decode, 17 do not, and a million do not exhaust the stack."""
    decode(b"\x81" * MAX_DEPTH + b"\0")
    for levels in (MAX_DEPTH + 1, 1_000_000):
        with pytest.raises(FormatError):
            decode(b"\x81" * levels + b"\0")


@pytest.mark.parametrize("head", [b"\x5b", b"\x7b", b"\x9b", b"\xbb"], ids=["b", "t", "a", "m"])
@pytest.mark.parametrize("size", [1 << 32, 1 << 62, (1 << 64) - 1])
def test_huge_lengths_allocate_nothing(head: bytes, size: int) -> None:
    """A length that is not backed by octets is refused before memory is taken for it."""
    tracemalloc.start()
    with pytest.raises(FormatError):
        decode(head + size.to_bytes(8) + b"\0" * 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_octets_are_limited() -> None:
    """One octet more than allowed is a LimitError, whatever the octets are."""
    with pytest.raises(LimitError):
        decode(b"\xff" * 11, limit=10)
    decode(canonical.encode(bytes(8)), limit=9)


@given(values(), st.integers(1, 40))
def test_items_are_limited_exactly(value: Value, most: int) -> None:
    """An object decodes with as many items as it has, and is a LimitError with fewer allowed."""
    data = canonical.encode(value)
    if count_items(value) <= most:
        assert decode(data, items=most) == value
    else:
        with pytest.raises(LimitError):
            decode(data, items=most)


def count_items(value: Any) -> int:
    """Count every data item, containers and keys included."""
    if isinstance(value, dict):
        return 1 + sum(1 + count_items(item) for item in value.values())
    if isinstance(value, list):
        return 1 + sum(count_items(item) for item in value)
    return 1


@given(st.binary(max_size=200), st.integers(0, 50))
def test_counting_items_accepts_any_octets(data: bytes, most: int) -> None:
    """Counting items ends, and raises nothing but LimitError, whatever the octets are."""
    with contextlib.suppress(LimitError):
        canonical._require_few_items(data, most, "it")


def test_lone_surrogates_are_refused() -> None:
    """Text that has no UTF-8 form, as from a broken file name, is a FormatError."""
    for value in ("\ud800", ["\udcff"], {"\udc80": 1}):
        with pytest.raises(FormatError):
            canonical.encode(value)


READERS: dict[str, tuple[Any, Any, Any]] = {
    "uint": (lambda f: f.uint("k", maximum=5), 5, (6, True, "5", b"5", None, [5], 1 << 63)),
    "uint-least": (lambda f: f.uint("k", minimum=2), 2, (1, 0)),
    "time": (lambda f: f.time("k"), 253_402_300_799, (253_402_300_800,)),
    "octets": (lambda f: f.octets("k", size=2), b"ab", (b"a", b"abc", "ab", 0, None)),
    "octets-most": (lambda f: f.octets("k", maximum=2), b"ab", (b"abc", "ab")),
    "text": (lambda f: f.text("k", maximum=2), "ab", ("abc", "aé", b"ab", 0, None)),
    "items": (lambda f: f.items("k", maximum=2), [1, 2], ([1, 2, 3], {}, "ab", None)),
    "mapping": (lambda f: f.mapping("k", maximum=1), {"a": 1}, ({"a": 1, "b": 2}, [], None)),
}


@pytest.mark.parametrize("kind", READERS)
def test_fields_are_read_strictly(kind: str) -> None:
    """A field of the right type within bounds is taken; any other is refused, or missing."""
    take, good, bad = READERS[kind]
    fields = Fields({"k": good}, what="it")
    assert take(fields) == good
    fields.finish()
    for value in bad:
        with pytest.raises(FormatError):
            take(Fields({"k": value}, what="it"))
    with pytest.raises(FormatError):
        take(Fields({}, what="it"))
    with pytest.raises(FormatError):
        take(fields)


def test_literal_and_leftover_fields() -> None:
    """A literal must equal what is expected, and no field may be left over."""
    fields = Fields({"kind": "x", "more": 1}, what="it")
    fields.literal("kind", "x")
    with pytest.raises(FormatError):
        fields.finish()
    with pytest.raises(FormatError):
        Fields({"kind": "y"}, what="it").literal("kind", "x")
    with pytest.raises(FormatError):
        Fields([], what="it")


def test_unknown_critical_extensions_are_refused() -> None:
    """An unknown extension that must be understood asks for a newer medshare."""
    canonical.refuse_unknown_critical({"a": 1}, frozenset({"a", "b"}))
    with pytest.raises(UnsupportedVersionError) as caught:
        canonical.refuse_unknown_critical({"a": 1, "c": 1}, frozenset({"a"}))
    assert caught.value.hint is not None
