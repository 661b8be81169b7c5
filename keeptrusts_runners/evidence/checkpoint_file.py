"""The checkpoints of a log in a file outside the database, one after another.

Whoever rolls the database back does not roll this back. An entry is a signed note and an empty
line. A crash may leave the last entry cut off; the next append takes its place.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from keeptrusts_runners.evidence.checkpoint import SignedCheckpoint, read_checkpoint

SUFFIX = ".checkpoints"
# A note of ours with two signatures has some 400 bytes: the last whole entry is always in it.
_TAIL_BYTES = 8 * 1024
_SIGNED_BY = "\u2014 ".encode()


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    path: Path

    def last(self) -> SignedCheckpoint | None:
        """The newest whole entry; None if there is none. Raises ValueError if it is not readable,
        and OSError."""
        try:
            with self.path.open("rb") as file:
                return self._last(_tail(file.fileno()))
        except FileNotFoundError:
            return None

    def append(self, notes: Iterable[str]) -> None:
        """Append entries and have them on disk before this returns."""
        entries = b"".join(note.encode() + b"\n" for note in notes)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            end = os.fstat(descriptor).st_size
            tail = _tail(descriptor)
            whole = end - len(tail) + len(_whole_entries(tail))
            os.ftruncate(descriptor, whole)
            os.pwrite(descriptor, entries, whole)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if end == 0:
            _sync(self.path.parent)

    def set_aside(self) -> Path:
        """Keep what is there under another name, and begin anew."""
        last = self.last()
        digest = sha256(last.note().encode() if last else b"").hexdigest()
        aside = self.path.with_name(f"{self.path.name}.given-up-{digest[:12]}")
        self.path.rename(aside)
        _sync(self.path.parent)
        return aside

    def _last(self, tail: bytes) -> SignedCheckpoint | None:
        parts = _whole_entries(tail).split(b"\n\n")
        if len(parts) < 3:
            return None
        return read_checkpoint(b"\n\n".join(parts[-3:-1]) + b"\n")


def _tail(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))


def _whole_entries(tail: bytes) -> bytes:
    """All but what a crash has cut off. An entry ends with its signatures and an empty line."""
    while tail:
        end = tail.rfind(b"\n\n")
        if end < 0:
            return b""
        begin = tail.rfind(b"\n\n", 0, end)
        if tail.startswith(_SIGNED_BY, begin + 2 if begin >= 0 else 0):
            return tail[: end + 2]
        tail = tail[:end]
    return tail


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
