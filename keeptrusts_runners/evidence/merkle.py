"""The Merkle tree of RFC 6962 and RFC 9162, section 2.1, with SHA-256.

Pure functions over hashes. The signer grows a tree with them, the server proves with them, and
the verifier checks the proofs. A node is named by its level and its index in that level: it
covers the leaves from index·2^level, 2^level of them. Such complete subtrees never change again,
so they are all that need be kept; every other hash of a tree is folded from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()

Node = tuple[int, int]  # level, index
Nodes = Callable[[Node], bytes]
_Range = tuple[int, int]  # of leaves: begin, end


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry of the log."""
    return sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def complete_subtrees(begin: int, end: int) -> list[Node]:
    """The nodes, from left to right, that together cover the leaves of a range that a tree has as
    a subtree: each the largest that begins where the one before ended."""
    nodes = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        nodes.append((level, begin >> level))
        begin += 1 << level
    return nodes


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over complete subtrees, which stand from left to right."""
    if not hashes:
        return EMPTY_ROOT
    total = hashes[-1]
    for left in reversed(hashes[:-1]):
        total = node_hash(left, total)
    return total


def root_of_nodes(size: int, nodes: Nodes) -> bytes:
    """The root of the first `size` leaves; `nodes` answers the hash of a complete subtree."""
    return _subtree(nodes, (0, size))


def root_of_full(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of hashes that stand on one level."""
    while len(hashes) > 1:
        pairs = range(0, len(hashes), 2)
        hashes = [node_hash(hashes[left], hashes[left + 1]) for left in pairs]
    return hashes[0]


def root_of_leaves(hashes: Iterable[bytes]) -> bytes:
    """The root over hashes of leaves, as they come."""
    spine = Spine()
    for leaf in hashes:
        spine.append(leaf)
    return spine.root()


class Spine:
    """A tree that grows by leaves and keeps no more than its root needs."""

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[bytes] = []  # complete ones, from left to right

    def append(self, leaf: bytes) -> None:
        self.size += 1
        self._subtrees.append(leaf)
        count = self.size
        while count % 2 == 0:
            right = self._subtrees.pop()
            self._subtrees[-1] = node_hash(self._subtrees[-1], right)
            count //= 2

    def root(self) -> bytes:
        return fold(self._subtrees)


# --- proofs ----------------------------------------------------------------------------------


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """PATH(index, D[size]) of RFC 9162, section 2.1.3.1. Raises ValueError if there is no such
    leaf."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} has no leaf {index}")
    begin, end, siblings = 0, size, []
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            siblings.append((middle, end))
            end = middle
        else:
            siblings.append((begin, middle))
            begin = middle
    return [_subtree(nodes, sibling) for sibling in reversed(siblings)]


def consistency_proof(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """PROOF(old, D[new]) of RFC 9162, section 2.1.4.1; empty for equal sizes. Raises ValueError
    unless 0 < old <= new."""
    if not 0 < old <= new:
        raise ValueError(f"there is no proof from {old} to {new}")
    begin, end, parts = 0, new, []
    while old != end:
        middle = begin + _split(end - begin)
        if old <= middle:
            parts.append((middle, end))
            end = middle
        else:
            parts.append((begin, middle))
            begin = middle
    if begin > 0:
        parts.append((begin, end))
    return [_subtree(nodes, part) for part in reversed(parts)]


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _subtree(nodes: Nodes, leaves: _Range) -> bytes:
    return fold([nodes(node) for node in complete_subtrees(*leaves)])


# --- verification ----------------------------------------------------------------------------


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162, section 2.1.3.2: whether the tree of that size and root has this leaf there."""
    if not 0 <= index < size:
        return False
    position, last, total = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            total = node_hash(sibling, total)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            total = node_hash(total, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and total == root


def is_consistent(
    old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """RFC 9162, section 2.1.4.2: whether the new tree begins with all leaves of the old one."""
    if old == new:
        return not proof and old_root == new_root
    if not 0 < old < new or not proof:
        return False
    hashes = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    of_old = of_new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            of_old, of_new = node_hash(sibling, of_old), node_hash(sibling, of_new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            of_new = node_hash(of_new, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and of_old == old_root and of_new == new_root
