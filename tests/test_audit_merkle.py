"""audit.merkle: the tree of RFC 6962, against known answers and against its own definition."""

from collections.abc import Sequence
from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.audit import merkle
from medshare.audit.merkle import EMPTY_ROOT, Frontier, leaf_hash, nodes_of
from medshare.errors import AuditError

MOST = 70

# The test tree of the Certificate Transparency project: eight entries, and the root after each.
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(bytes([number])) for number in range(MOST + 1)]


@cache
def defined_root(begin: int, end: int) -> bytes:
    """MTH of the leaves from *begin* to *end*, word for word as RFC 6962 §2.1 defines it."""
    if begin == end:
        return sha256().digest()
    if end - begin == 1:
        return LEAVES[begin]
    split = 1
    while 2 * split < end - begin:
        split *= 2
    left, right = defined_root(begin, begin + split), defined_root(begin + split, end)
    return sha256(b"\x01" + left + right).digest()


@cache
def node(level: int, index: int) -> bytes:
    """The hash of a complete subtree, as a store would keep it."""
    return nodes_of(LEAVES)(level, index)


def test_known_answers() -> None:
    """The roots are those of the tree that Certificate Transparency is tested with."""
    leaves = [leaf_hash(entry) for entry in ENTRIES]
    found = [merkle.root_of(leaves[: size + 1]).hex() for size in range(len(leaves))]
    assert found == ROOTS
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_known_inclusion_proof() -> None:
    """The proof for entry 0 of 8 is the one that Certificate Transparency is tested with."""
    proof = merkle.inclusion_proof(nodes_of([leaf_hash(e) for e in ENTRIES]), 0, 8)
    assert [one.hex() for one in proof] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]


@pytest.mark.parametrize("size", range(MOST + 1))
def test_roots_are_as_defined(size: int) -> None:
    """Root by nodes, by one leaf at a time and by blocks agree with the definition."""
    grown = Frontier()
    for leaf in LEAVES[:size]:
        grown.append(leaf)
    expected = defined_root(0, size)
    assert grown.root() == expected
    assert merkle.root_of(LEAVES[:size]) == expected
    assert merkle.root_at(nodes_of(LEAVES), size) == expected


@given(st.lists(st.integers(0, 700), max_size=4))
def test_blocks_and_single_leaves_mix(counts: list[int]) -> None:
    """However leaves are handed in, the frontier ends at the same root."""
    leaves = [sha256(number.to_bytes(4)).digest() for number in range(sum(counts))]
    grown, one_by_one = Frontier(), Frontier()
    at = 0
    for count in counts:
        grown.extend(leaves[at : at + count])
        at += count
    for leaf in leaves:
        one_by_one.append(leaf)
    assert (grown.size, grown.root()) == (len(leaves), one_by_one.root())


@pytest.mark.parametrize("size", range(1, MOST + 1))
def test_every_inclusion_proof_holds_and_no_other(size: int) -> None:
    """A leaf's proof shows that leaf, at its place, in its tree, and nothing else."""
    root = defined_root(0, size)
    for index in range(size):
        proof = merkle.inclusion_proof(node, index, size)
        merkle.require_inclusion(LEAVES[index], index, size, proof, root)
        for wrong in inclusion_lies(index, size, proof, root):
            with pytest.raises(AuditError) as caught:
                merkle.require_inclusion(*wrong)
            assert caught.value.code == "audit.inclusion"


Inclusion = tuple[bytes, int, int, Sequence[bytes], bytes]


def inclusion_lies(index: int, size: int, proof: Sequence[bytes], root: bytes) -> list[Inclusion]:
    """Statements that the proof must not support."""
    leaf, other = LEAVES[index], LEAVES[MOST]
    lies: list[Inclusion] = [
        (leaf, -1, size, proof, root),
        (leaf, size, size, proof, root),
        (leaf, index, 0, proof, root),
        (leaf, index, size, [*proof, other], root),
        (leaf, index, size, proof, other),
    ]
    if size <= MOST:
        lies.append((other, index, size, proof, root))
    lies += [(leaf, index, size, proof[:at], root) for at in range(len(proof))]
    lies += [
        (leaf, index, size, [*proof[:at], other, *proof[at + 1 :]], root)
        for at in range(len(proof))
    ]
    lies += [(leaf, wrong, size, proof, root) for wrong in (index ^ 1,) if wrong < size]
    return lies


@pytest.mark.parametrize("size", range(MOST + 1))
def test_consistency_between_all_pairs_and_no_other(size: int) -> None:
    """From each smaller tree there is a proof to this one, and it proves nothing else."""
    root, other = defined_root(0, size), LEAVES[MOST]
    for old in range(size + 1):
        before = defined_root(0, old)
        proof = merkle.consistency_proof(node, old, size)
        merkle.require_consistency(old, before, size, root, proof)
        lies = [(old, other, size, root, proof), (old, before, size, root, [*proof, other])]
        lies += [(-1, before, size, root, proof), (size + 1, before, size, root, proof)]
        if old:
            lies.append((old, before, size, other, proof))
        lies += [(old, before, size, root, proof[:at]) for at in range(len(proof))]
        lies += [
            (old, before, size, root, [*proof[:at], other, *proof[at + 1 :]])
            for at in range(len(proof))
        ]
        for wrong in lies:
            with pytest.raises(AuditError) as caught:
                merkle.require_consistency(*wrong)
            assert caught.value.code == "audit.forked"


def test_what_cannot_be_proved_is_a_mistake_of_the_caller() -> None:
    """There is no proof for a leaf beyond the tree, nor from a larger tree to a smaller one."""
    with pytest.raises(ValueError, match="beyond"):
        merkle.inclusion_proof(nodes_of(LEAVES), 5, 5)
    with pytest.raises(ValueError, match="larger"):
        merkle.consistency_proof(nodes_of(LEAVES), 6, 5)
