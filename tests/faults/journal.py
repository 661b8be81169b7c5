"""What clients asked for and what they were told, on disk before they count on it."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Entry:
    """One write: what was asked, and what was answered, where an answer came."""

    asked: Mapping[str, Any]
    answered: Mapping[str, Any] | None

    @property
    def verb(self) -> str:
        return str(self.asked["verb"])


class Journal:
    """Of one client. Not for several threads."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / f"journal-{next(_numbers)}"
        self._file = self.path.open("a")
        self._places = itertools.count()
        self.acknowledged = 0
        # Of the last claim that was acknowledged, on the monotonic clock.
        self.claim_asked_at = self.claimed_at = self._asked_at = 0.0

    def ask(self, verb: str, **facts: Any) -> int:
        """Note a request before it is sent; its place in the journal."""
        place = next(self._places)
        self._asked_at = time.monotonic()
        self._write({"place": place, "asked": {"verb": verb, **facts}})
        return place

    def acknowledge(self, place: int, verb: str, **facts: Any) -> None:
        """Note the answer, durably, and only then count it."""
        self._write({"place": place, "answered": facts})
        os.fsync(self._file.fileno())
        self.acknowledged += 1
        if verb == "claim":
            self.claim_asked_at, self.claimed_at = self._asked_at, time.monotonic()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[Entry]:
    """The entries of one client, in the order in which it asked."""
    asked: dict[int, Any] = {}
    answered: dict[int, Any] = {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        (asked if "asked" in entry else answered)[entry["place"]] = entry
    return [
        Entry(entry["asked"], answered[place]["answered"] if place in answered else None)
        for place, entry in asked.items()
    ]
