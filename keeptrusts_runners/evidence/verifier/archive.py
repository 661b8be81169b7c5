"""Reads a bundle's archive without trusting it: nothing is unpacked, and every byte is known.

Only what the writer writes is accepted: plain files with known names, in order, once each, in
headers of one spelling. That leaves nothing of tar's many features to be abused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from keeptrusts_runners.evidence.layout import (
    BLOCK,
    END,
    MAX_LINE_BYTES,
    MEMBERS,
    max_bytes,
    tar_header,
)
from keeptrusts_runners.evidence.verifier.report import Damaged, Unusable, shown

_CHUNK_BYTES = 1024 * 1024
_NAME = slice(0, 100)
_SIZE = slice(124, 136)
_CHECKSUM = slice(148, 156)
_TYPE = slice(156, 157)
_MAGIC = slice(257, 262)
_OCTAL = re.compile(rb"[0-7]{11}\0")


@dataclass(frozen=True, slots=True)
class Member:
    """Where a file's content stands in the archive."""

    name: str
    offset: int
    size: int


class Archive:
    """The files of an opened bundle. Raises Unusable or Damaged as described there."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._length = file.seek(0, os.SEEK_END)
        self.members: dict[str, Member] = {}
        position = 0
        while (member := self._header(position)) is not None:
            self.members[member.name] = member
            position = self._end(member)
        self._check_end(position)

    def read(self, name: str) -> bytes:
        """A whole document; its size was limited when the archive was opened."""
        return b"".join(self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        member = self.members[name]
        position, end = member.offset, member.offset + member.size
        while position < end:
            # Two files may be read in turns: each chunk finds its own place.
            self._file.seek(position)
            chunk = self._file.read(min(_CHUNK_BYTES, end - position))
            if not chunk:
                raise Damaged(f"{name}: the archive ended while it was read")
            position += len(chunk)
            yield chunk

    def batches_of_lines(self, name: str) -> Iterator[list[bytes]]:
        """The lines of an .ndjson file, some thousand at a time, without their ends.

        A line that is too long is the last one, cut where it became so: it cannot be parsed.
        """
        rest = b""
        for chunk in self.chunks(name):
            *lines, rest = (rest + chunk).split(b"\n")
            if lines:
                yield lines
            if len(rest) > MAX_LINE_BYTES:
                break
        if rest:
            yield [rest[:MAX_LINE_BYTES]]

    def _header(self, position: int) -> Member | None:
        """The member whose header is at this position; None at the end of the archive."""
        block = self._read_at(position, BLOCK)
        if self.members and block == END[:BLOCK]:
            return None
        if not _has_valid_checksum(block):
            raise self._unreadable(block, position)
        name = block[_NAME].rstrip(b"\0").decode("utf-8", "backslashreplace")
        size = _checked_size(name, block)
        self._check_order(name)
        if block != tar_header(name, size):
            raise Unusable(f"{name} was packed again: give the archive as it was exported")
        member = Member(name, position + BLOCK, size)
        if member.offset + size > self._length:
            raise Damaged(f"{name}: the archive ends in the middle of it")
        return member

    def _unreadable(self, block: bytes, position: int) -> Exception:
        """What it means that no header stands where one has to."""
        if self.members:
            last = list(self.members)[-1]
            if len(block) < BLOCK:
                return Damaged(f"the archive ends after {last}, at byte {position + len(block)}")
            return Damaged(f"the header after {last}, at byte {position}, was changed")
        if block[_MAGIC] == b"ustar" or block.startswith(MEMBERS[0].encode()):
            return Damaged("the archive's first header was changed")
        return Unusable("this is not an uncompressed tar archive")

    def _check_order(self, name: str) -> None:
        if name not in MEMBERS:
            raise Unusable(
                f"{shown(name)} is no file of a bundle that this verifier knows; "
                "a newer one may know it"
            )
        if name in self.members:
            raise Unusable(f"{name} is there twice")
        if any(MEMBERS.index(name) < MEMBERS.index(other) for other in self.members):
            raise Unusable(f"{name} is not in its place: give the archive as it was exported")

    def _end(self, member: Member) -> int:
        """The position behind the member's last block, whose rest must be zeros."""
        end = member.offset + member.size
        padding = self._read_at(end, -member.size % BLOCK)
        if len(padding) != -member.size % BLOCK or any(padding):
            raise Damaged(f"the filling after {member.name}, at byte {end}, was changed")
        return end + len(padding)

    def _check_end(self, position: int) -> None:
        rest = self._read_at(position, _CHUNK_BYTES)
        if len(rest) > len(END) and len(rest) % BLOCK == 0 and not any(rest):
            raise Unusable("it was packed again: give the archive as it was exported")
        if rest != END:
            raise Damaged(f"the end of the archive, at byte {position}, was changed")

    def _read_at(self, position: int, size: int) -> bytes:
        self._file.seek(position)
        return self._file.read(size)


def _has_valid_checksum(block: bytes) -> bool:
    if len(block) != BLOCK:
        return False
    blanked = block[: _CHECKSUM.start] + b" " * 8 + block[_CHECKSUM.stop :]
    try:
        return int(block[_CHECKSUM].strip(b" \0"), 8) == sum(blanked)
    except ValueError:
        return False


def _checked_size(name: str, block: bytes) -> int:
    if block[_TYPE] != b"0":
        raise Unusable(f"{shown(name)} is not a plain file")
    if not _OCTAL.fullmatch(block[_SIZE]):
        raise Unusable(f"the size of {shown(name)} is not readable")
    size = int(block[_SIZE][:-1], 8)
    if size > max_bytes(name):
        raise Unusable(f"{shown(name)} is too large: {size} bytes")
    return size
