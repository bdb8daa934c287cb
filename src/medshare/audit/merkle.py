"""The Merkle tree of RFC 6962 §2 (RFC 9162 §2.1) over SHA-256: roots, proofs, and checking them.

`Nodes` gives the hash of a complete subtree: *level* 0 is a leaf, the subtree of *level* l
and *index* i covers the leaves from i·2^l up to (i+1)·2^l.  Who has the leaf hashes can
answer for every level; a store that keeps some levels answers quickly.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from medshare.errors import AuditError

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
BLOCK_LEVEL: Final = 8
"""Subtrees of 2^8 leaves are hashed at once, and kept by stores (the width of C2SP tiles)."""
MAX_PROOF: Final = 63
_BLOCK: Final = 1 << BLOCK_LEVEL
_LEAF, _NODE = b"\x00", b"\x01"

Nodes = Callable[[int, int], bytes]
"""Takes level and index; returns the hash of that complete subtree."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry as a leaf."""
    return sha256(_LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the parent of two subtrees."""
    return sha256(_NODE + left + right).digest()


def block_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over *hashes*, whose number is a power of two."""
    layer = hashes
    while len(layer) > 1:
        layer = [
            sha256(_NODE + left + right).digest()
            for left, right in zip(layer[::2], layer[1::2], strict=True)
        ]
    return layer[0]


class Frontier:
    """A tree that grows, of which only the roots of its complete subtrees are kept."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        self._push(leaf, 0)

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add leaf hashes, whole blocks of them at once."""
        at = 0
        while at < len(leaves):
            if self.size % _BLOCK == 0 and len(leaves) - at >= _BLOCK:
                self._push(block_root(leaves[at : at + _BLOCK]), BLOCK_LEVEL)
                at += _BLOCK
            else:
                self._push(leaves[at], 0)
                at += 1

    def _push(self, subtree: bytes, level: int) -> None:
        place = self.size >> level
        while place & 1:
            subtree = node_hash(self._peaks.pop(), subtree)
            place >>= 1
        self._peaks.append(subtree)
        self.size += 1 << level

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        found = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            found = node_hash(peak, found)
        return found


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root of the tree with these leaf hashes."""
    tree = Frontier()
    tree.extend(leaves)
    return tree.root()


def nodes_of(leaves: Sequence[bytes]) -> Nodes:
    """Return what answers for the complete subtrees over *leaves*."""
    return lambda level, index: block_root(leaves[index << level : (index + 1) << level])


def root_at(nodes: Nodes, size: int) -> bytes:
    """Return the root of the tree of the first *size* leaves."""
    return _range_root(nodes, 0, size) if size else EMPTY_ROOT


def _split(count: int) -> int:
    """Return the largest power of two below *count*."""
    return 1 << (count - 1).bit_length() - 1


def _range_root(nodes: Nodes, begin: int, end: int) -> bytes:
    count = end - begin
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return nodes(level, begin >> level)
    middle = begin + _split(count)
    return node_hash(_range_root(nodes, begin, middle), _range_root(nodes, middle, end))


def inclusion_proof(nodes: Nodes, index: int, size: int) -> tuple[bytes, ...]:
    """Return the proof that leaf *index* is in the tree of *size* leaves (RFC 9162 §2.1.3.1)."""
    if not 0 <= index < size:
        raise ValueError("a leaf beyond the tree has no proof")
    proof = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            proof.append(_range_root(nodes, middle, end))
            end = middle
        else:
            proof.append(_range_root(nodes, begin, middle))
            begin = middle
    return tuple(reversed(proof))


def consistency_proof(nodes: Nodes, old: int, size: int) -> tuple[bytes, ...]:
    """Return the proof that the tree of *old* leaves is the beginning of that of *size*.

    RFC 9162 §2.1.4.1; empty when *old* is 0 or *size*.
    """
    if not 0 <= old <= size:
        raise ValueError("a larger tree is not the beginning of a smaller one")
    if old in {0, size}:
        return ()
    proof = []
    begin, end, known = 0, size, True
    while end != old:
        middle = begin + _split(end - begin)
        if old <= middle:
            proof.append(_range_root(nodes, middle, end))
            end = middle
        else:
            proof.append(_range_root(nodes, begin, middle))
            begin, known = middle, False
    if not known:
        proof.append(_range_root(nodes, begin, end))
    return tuple(reversed(proof))


def require_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raise AuditError unless *proof* shows *leaf* at *index* of this tree (RFC 9162 §2.1.3.2)."""
    place, last = index, size - 1
    found = leaf
    fits = 0 <= index < size
    for sibling in proof:
        if last == 0:
            fits = False
            break
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while place & 1 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    if not fits or last or found != root:
        raise AuditError(
            f"the proof does not show entry {index} in the record of {size} entries",
            code="audit.inclusion",
        )


def require_consistency(
    old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Raise AuditError unless *proof* shows that the tree of *old* leaves grew to this one.

    RFC 9162 §2.1.4.2.
    """
    if not _is_consistent(old, old_root, size, root, proof):
        raise AuditError(
            f"the record of {size} entries does not continue the one of {old} entries",
            code="audit.forked",
        )


def _is_consistent(
    old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> bool:
    if not 0 <= old <= size:
        return False
    if old in {0, size}:
        return not proof and old_root == (root if old == size else EMPTY_ROOT)
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while place & 1 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and before == old_root and after == root
