"""What Hypothesis draws for the format: CBOR values, file sets, and damage."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st

from medshare.canonical import MAX_DEPTH, Value
from medshare.errors import FormatError
from medshare.manifest import FileEntry, Manifest, check_path
from tests.builder import CHUNK_SIZE, Octets, octets
from tests.forger import Forgery

SIZES = (
    0,  # no piece, perhaps no chunk
    1,  # the least content
    CHUNK_SIZE - 1,  # leaves one octet of room
    CHUNK_SIZE,  # fills a chunk to the last octet
    CHUNK_SIZE + 1,  # the last chunk holds one octet
    2 * CHUNK_SIZE,  # two chunks exactly
    3 * CHUNK_SIZE + 77,  # more than one boundary inside one file
)


def values() -> st.SearchStrategy[Value]:
    """Draw anything that the format can express."""
    leaves = (
        st.integers(0, 2**64 - 1)
        | st.binary(max_size=40)
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
        | st.booleans()
        | st.none()
    )
    keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
        max_leaves=20,
    ).filter(lambda value: depth(value) <= MAX_DEPTH)


def depth(value: Value) -> int:
    """Return how many containers lie inside each other."""
    match value:
        case dict():
            return 1 + max((depth(item) for item in value.values()), default=0)
        case list():
            return 1 + max((depth(item) for item in value), default=0)
    return 0


def is_allowed(path: str) -> bool:
    """Say whether the format allows *path*."""
    try:
        check_path(path)
    except FormatError:
        return False
    return True


def any_paths() -> st.SearchStrategy[str]:
    """Draw paths, mostly of characters that make trouble."""
    awkward = st.sampled_from("./\\: ~\0\n\u200d\u202e\uff0e\ufe0fAaßÜü\u0308\U0001f468CON")
    part = st.text(awkward | st.characters(), min_size=0, max_size=8)
    return st.lists(part, min_size=1, max_size=4).map("/".join)


def paths() -> st.SearchStrategy[str]:
    """Draw paths that the format allows, in several scripts."""
    letters = st.sampled_from("abcXYZ019 _-.影像胸部ÄöñЖשم\u200c\u2764\ufe0f")
    part = st.text(letters, min_size=1, max_size=10)
    return st.lists(part, min_size=1, max_size=3).map("/".join).filter(is_allowed)


def contents() -> st.SearchStrategy[bytes]:
    """Draw the content of a file: noise, or what compresses, of a size that matters."""
    noise = st.builds(octets, st.text("abcdef", max_size=3), st.sampled_from(SIZES))
    repeated = st.builds(
        lambda unit, size: (unit * (size // len(unit) + 1))[:size],
        st.binary(min_size=1, max_size=6),
        st.sampled_from(SIZES) | st.integers(0, 3000),
    )
    return noise | repeated | st.binary(max_size=200)


def file_sets() -> st.SearchStrategy[dict[str, bytes]]:
    """Draw the files of a parcel; their names never collide."""
    return st.dictionaries(paths(), contents(), min_size=1, max_size=6).filter(is_a_manifest)


def is_a_manifest(files: dict[str, bytes]) -> bool:
    """Say whether these paths may stand in one manifest."""
    try:
        Manifest(tuple(FileEntry(path, 0) for path in files)).encode()
    except FormatError:
        return False
    return True


def sizes() -> st.SearchStrategy[list[int]]:
    """Draw the sizes of the files of a parcel."""
    return st.lists(st.sampled_from(SIZES) | st.integers(0, 9000), max_size=12)


# --- damage -------------------------------------------------------------------------------


def flipped(data: bytes, bit: int) -> bytes:
    """Return *data* with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """Draw octets that differ from *data*: flipped, cut, extended, or partly exchanged."""
    spot = st.integers(0, len(data))
    return st.one_of(
        st.integers(0, 8 * len(data) - 1).map(lambda bit: flipped(data, bit)),
        spot.map(lambda end: data[:end]),
        st.tuples(spot, st.binary(min_size=1, max_size=40)).map(
            lambda drawn: data[: drawn[0]] + drawn[1] + data[drawn[0] :]
        ),
        st.tuples(spot, st.binary(min_size=1, max_size=40)).map(
            lambda drawn: data[: drawn[0]] + drawn[1] + data[drawn[0] + len(drawn[1]) :]
        ),
        st.tuples(spot, spot).map(lambda ends: data[: min(ends)] + data[max(ends) :]),
    ).filter(lambda other: other != data)


def damaged_parcels(parcel: Octets) -> st.SearchStrategy[Forgery]:
    """Draw parcels of which one object is damaged."""
    honest = Forgery(parcel.envelope, parcel.manifest, list(parcel.chunks), parcel.seal)

    def chunk(index: int) -> Callable[[bytes], Forgery]:
        def build(data: bytes) -> Forgery:
            chunks = [*honest.chunks[:index], data, *honest.chunks[index + 1 :]]
            return replace(honest, chunks=chunks)

        return build

    return st.one_of(
        damaged(honest.envelope).map(lambda data: replace(honest, envelope=data)),
        damaged(honest.manifest).map(lambda data: replace(honest, manifest=data)),
        damaged(honest.seal).map(lambda data: replace(honest, seal=data)),
        *(damaged(data).map(chunk(index)) for index, data in enumerate(honest.chunks)),
    )
