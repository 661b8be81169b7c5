"""The tree of RFC 6962: known answers, and every size against a tree that is written naively."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeptrusts_runners.evidence import merkle

# The tree of eight leaves that implementations of RFC 6962 share as a known answer.
ENTRIES = [
    bytes.fromhex(entry)
    for entry in (
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
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
# (index, size): path, as the same source has them.
PATHS = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
}
CONSISTENCIES = {
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
LARGEST = 64


# --- a tree as the RFC's prose has it, without any of our code --------------------------------


def naive_root(entries):
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\0" + entries[0]).digest()
    k = 1
    while 2 * k < len(entries):
        k *= 2
    return hashlib.sha256(b"\1" + naive_root(entries[:k]) + naive_root(entries[k:])).digest()


def nodes_of(entries):
    return lambda node: naive_root(entries[node[1] << node[0] : (node[1] + 1) << node[0]])


MANY = [b"entry %d" % number for number in range(LARGEST)]
NODES = nodes_of(MANY)
NAIVE_ROOTS = [naive_root(MANY[:size]) for size in range(LARGEST + 1)]


def hexes(hashes):
    return [value.hex() for value in hashes]


@pytest.mark.parametrize("size", ROOTS)
def test_the_known_roots(size):
    leaves = [merkle.leaf_hash(entry) for entry in ENTRIES[:size]]
    assert merkle.root_of_leaves(leaves).hex() == ROOTS[size]
    assert merkle.root_of_nodes(size, nodes_of(ENTRIES)).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), PATHS)
def test_the_known_paths(index, size):
    path = merkle.inclusion_proof(index, size, nodes_of(ENTRIES))
    assert hexes(path) == PATHS[index, size]
    leaf, root = merkle.leaf_hash(ENTRIES[index]), bytes.fromhex(ROOTS[size])
    assert merkle.is_included(leaf, index, size, path, root)


@pytest.mark.parametrize(("old", "new"), CONSISTENCIES)
def test_the_known_consistency_proofs(old, new):
    proof = merkle.consistency_proof(old, new, nodes_of(ENTRIES))
    assert hexes(proof) == CONSISTENCIES[old, new]
    roots = bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new])
    assert merkle.is_consistent(old, roots[0], new, roots[1], proof)


def test_every_size_has_the_naive_root():
    leaves = [merkle.leaf_hash(entry) for entry in MANY]
    for size, root in enumerate(NAIVE_ROOTS):
        assert merkle.root_of_leaves(leaves[:size]) == root
        assert merkle.root_of_nodes(size, NODES) == root
    assert merkle.root_of_full(leaves) == NAIVE_ROOTS[LARGEST]


@pytest.mark.proves("evidence.anchor-proofs")
def test_every_leaf_of_every_size_is_proved_and_no_other():
    for size in range(1, LARGEST + 1):
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, NODES)
            leaf, root = merkle.leaf_hash(MANY[index]), NAIVE_ROOTS[size]
            assert merkle.is_included(leaf, index, size, proof, root)
            assert not merkle.is_included(merkle.leaf_hash(b"other"), index, size, proof, root)
            other = (index + 1) % size
            assert size == 1 or not merkle.is_included(leaf, other, size, proof, root)


@pytest.mark.proves("evidence.anchor-proofs")
def test_every_pair_of_sizes_is_consistent():
    for old in range(1, LARGEST + 1):
        for new in range(old, LARGEST + 1):
            proof = merkle.consistency_proof(old, new, NODES)
            roots = NAIVE_ROOTS[old], NAIVE_ROOTS[new]
            assert merkle.is_consistent(old, roots[0], new, roots[1], proof)
            assert not merkle.is_consistent(old, NAIVE_ROOTS[old - 1], new, roots[1], proof)
            assert not merkle.is_consistent(old, roots[0], new, NAIVE_ROOTS[new - 1], proof)


@given(st.data())
def test_a_changed_proof_proves_nothing(data):
    size = data.draw(st.integers(2, LARGEST))
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, NODES)
    place = data.draw(st.integers(0, len(proof) - 1))
    changes = {
        "flipped": [*proof[:place], bytes(32), *proof[place + 1 :]],
        "shorter": proof[:place] + proof[place + 1 :],
        "longer": [*proof[:place], proof[place], *proof[place:]],
        "none": [],
    }
    changed = changes[data.draw(st.sampled_from(sorted(changes)))]
    leaf = merkle.leaf_hash(MANY[index])
    assert not merkle.is_included(leaf, index, size, changed, NAIVE_ROOTS[size])


@given(st.data())
def test_a_changed_consistency_proof_proves_nothing(data):
    new = data.draw(st.integers(2, LARGEST))
    old = data.draw(st.integers(1, new - 1))
    proof = merkle.consistency_proof(old, new, NODES)
    place = data.draw(st.integers(0, len(proof) - 1))
    for changed in (
        [*proof[:place], bytes(32), *proof[place + 1 :]],
        proof[:place] + proof[place + 1 :],
        [*proof, bytes(32)],
        [],
    ):
        assert not merkle.is_consistent(old, NAIVE_ROOTS[old], new, NAIVE_ROOTS[new], changed)


def test_numbers_that_no_tree_has_prove_nothing():
    proof = merkle.inclusion_proof(3, 8, NODES)
    leaf = merkle.leaf_hash(MANY[3])
    for index, size in ((-1, 8), (8, 8), (3, 0), (3, 2), (2**70, 8), (3, 2**70)):
        assert not merkle.is_included(leaf, index, size, proof, NAIVE_ROOTS[8])
    for old, new in ((0, 8), (8, 3), (-1, 8), (3, 2**70)):
        assert not merkle.is_consistent(old, NAIVE_ROOTS[3], new, NAIVE_ROOTS[8], proof)
    with pytest.raises(ValueError):
        merkle.inclusion_proof(8, 8, NODES)
    with pytest.raises(ValueError):
        merkle.consistency_proof(0, 8, NODES)


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_complete_subtrees_cover_a_range_without_gap(one, two):
    begin, end = 0, max(one, two)
    covered = [
        (index << level, (index + 1) << level)
        for level, index in merkle.complete_subtrees(begin, end)
    ]
    assert sum(last - first for first, last in covered) == end
    assert all(left[1] == right[0] for left, right in pairwise(covered))
