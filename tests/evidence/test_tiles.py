"""Tiles: a tree that grows in steps has in its rows what a naive tree has in its nodes."""

import random

import pytest

from keeptrusts_runners.evidence import merkle
from keeptrusts_runners.evidence.tiles import WIDTH, DamagedLog, NodeReader, grow

LEAVES = [merkle.leaf_hash(b"%d" % number) for number in range(70_000)]


def grown(steps):
    """The tiles of a log that was appended to in steps of these lengths."""
    tiles, size = {}, 0
    for step in steps:
        tiles |= grow(size, LEAVES[size : size + step], tiles.__getitem__)
        size += step
    return tiles, size


def reader(tiles):
    return NodeReader(tiles.get)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 1000, 65_535, 65_536, 65_537])
def test_the_root_is_the_trees(size):
    tiles, _ = grown([size])
    assert merkle.root_of_nodes(size, reader(tiles)) == merkle.root_of_leaves(LEAVES[:size])


def test_the_steps_do_not_matter():
    choice = random.Random(5)
    steps = [choice.randint(1, 700) for _ in range(200)]
    tiles, size = grown(steps)
    assert tiles == grown([size])[0]
    assert merkle.root_of_nodes(size, reader(tiles)) == merkle.root_of_leaves(LEAVES[:size])


def test_proofs_from_tiles_hold_for_every_earlier_size():
    tiles, _ = grown([70_000])
    choice = random.Random(6)
    for _ in range(200):
        new = choice.randint(2, 70_000)
        old, index = choice.randint(1, new), choice.randrange(new)
        nodes = reader(tiles)
        root = merkle.root_of_nodes(new, nodes)
        path = merkle.inclusion_proof(index, new, nodes)
        assert merkle.is_included(LEAVES[index], index, new, path, root)
        proof = merkle.consistency_proof(old, new, nodes)
        assert merkle.is_consistent(old, merkle.root_of_nodes(old, nodes), new, root, proof)


def test_a_proof_reads_few_tiles():
    tiles, size = grown([70_000])
    read = []

    def fetch(tile):
        read.append(tile)
        return tiles.get(tile)

    merkle.inclusion_proof(12_345, size, NodeReader(fetch))
    assert len(read) <= 6


def test_a_tile_only_grows():
    before, size = grown([1000])
    after = grow(size, LEAVES[size : size + 1000], before.__getitem__)
    for tile, hashes in after.items():
        assert hashes.startswith(before.get(tile, b""))


def test_a_missing_or_short_tile_is_told():
    tiles, size = grown([WIDTH + 3])
    with pytest.raises(DamagedLog):
        merkle.root_of_nodes(size, reader({}))
    short = tiles | {(0, 1): tiles[0, 1][:-32]}
    with pytest.raises(DamagedLog):
        merkle.root_of_nodes(size, reader(short))
    with pytest.raises(DamagedLog):
        grow(size, LEAVES[:1], short.__getitem__)
