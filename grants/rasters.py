"""Raster images by their first bytes: which of four formats, and how many pixels.

A name or a declared type says nothing here. SVG is a document with scripts, and no raster.
"""

from __future__ import annotations

from dataclasses import dataclass

# A picture of more makes a browser's memory the viewer's problem.
MOST_PIXELS = 50_000_000

# Frames of JPEG, which begin with its size: all but tables, arithmetic coding and restarts.
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


@dataclass(frozen=True, slots=True)
class Raster:
    """An image's exact media type, and its size in pixels."""

    media_type: str
    width: int
    height: int


def raster(head: bytes) -> Raster | None:
    """The image that begins with these bytes, the more of them the better; None for anything else,
    and for more than MOST_PIXELS."""
    for media_type, size_of in _FORMATS:
        size = size_of(head)
        if size is not None:
            width, height = size
            fits = 0 < width * height <= MOST_PIXELS
            return Raster(media_type, width, height) if fits else None
    return None


def _png(head: bytes) -> tuple[int, int] | None:
    if not head.startswith(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR") or len(head) < 24:
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _gif(head: bytes) -> tuple[int, int] | None:
    if head[:6] not in (b"GIF87a", b"GIF89a") or len(head) < 13:
        return None
    return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")


def _webp(head: bytes) -> tuple[int, int] | None:
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return None
    kind = head[12:16]
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        sides = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
        return sides[0] & 0x3FFF, sides[1] & 0x3FFF
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        width, height = head[24:27], head[27:30]
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    return None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    """The size stands in the first frame, behind segments that say their length."""
    if not head.startswith(b"\xff\xd8\xff"):
        return None
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if marker in _JPEG_FRAMES:
            height, width = head[at + 5 : at + 7], head[at + 7 : at + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        if length < 2:
            return None
        at += 2 + length
    return None


_FORMATS = (
    ("image/png", _png),
    ("image/jpeg", _jpeg),
    ("image/gif", _gif),
    ("image/webp", _webp),
)
