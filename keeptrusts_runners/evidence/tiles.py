"""A log's tree kept in tiles, as C2SP tlog-tiles has them: 256 hashes of one level in one row.

Tile (n, i) has the hashes of 256 neighbouring nodes of level 8·n, and so, folded, all nodes of the
seven levels above them. A proof in a log of n leaves reads O(log n / 8) rows. Pure functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keeptrusts_runners.evidence.merkle import HASH_BYTES, Node, root_of_full

WIDTH = 256
HEIGHT = 8  # levels of a tile: WIDTH is 2 to the power of this

Tile = tuple[int, int]  # level of tiles, index


class DamagedLog(Exception):  # noqa: N818 - says what the log is
    """What is stored of a log is not a tree that it can have."""


class NodeReader:
    """Answers the hashes of complete subtrees; `fetch` answers a tile's bytes, or None."""

    def __init__(self, fetch: Callable[[Tile], bytes | None]) -> None:
        self._fetch = fetch
        self._read: dict[Tile, bytes] = {}

    def __call__(self, node: Node) -> bytes:
        level, index = node
        within = level % HEIGHT
        tile = (level // HEIGHT, index << within >> HEIGHT)
        hashes = self.tile(tile)
        first, count = (index << within) % WIDTH, 1 << within
        wanted = hashes[first * HASH_BYTES : (first + count) * HASH_BYTES]
        if len(wanted) < count * HASH_BYTES:
            raise DamagedLog(f"tile {tile} has no whole node {node}")
        return root_of_full(split(wanted))

    def tile(self, tile: Tile) -> bytes:
        """A tile's bytes. Raises DamagedLog if there is none."""
        if tile not in self._read:
            found = self._fetch(tile)
            if found is None:
                raise DamagedLog(f"tile {tile} is missing")
            self._read[tile] = found
        return self._read[tile]


def split(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def grow(size: int, leaves: Sequence[bytes], tile: Callable[[Tile], bytes]) -> dict[Tile, bytes]:
    """The tiles that a log of `size` leaves changes or gains by these hashes of leaves.

    `tile` answers the present bytes of a tile that is not full yet. Raises DamagedLog for one
    that has another length than the size says.
    """
    grown: dict[Tile, bytes] = {}
    level, added = 0, list(leaves)
    while added:
        count, completed = size >> HEIGHT * level, []
        while added:
            key = (level, count // WIDTH)
            held = count % WIDTH
            begun = tile(key) if held else b""
            if len(begun) != held * HASH_BYTES:
                raise DamagedLog(f"tile {key} has not {held} hashes")
            new, added = added[: WIDTH - held], added[WIDTH - held :]
            grown[key] = begun + b"".join(new)
            count += len(new)
            if count % WIDTH == 0:
                completed.append(root_of_full(split(grown[key])))
        level, added = level + 1, completed
    return grown
