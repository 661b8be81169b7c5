"""What a state looks like: one shape, one tone and one word for every state word of the product.

The console knows the words only as text, so that it needs no domain app. Nine shapes and eight
tones (console.css) serve sessions, grants, profiles, harnesses, artifacts, evidence and health:
what means the same looks the same. A word that is not listed is shown neutrally, never hidden.
"""

from __future__ import annotations

from typing import NamedTuple


class Look(NamedTuple):
    """`icon` is a symbol of templates/console/_icons.html, `tone` a class of console.css."""

    icon: str
    tone: str


PENDING = Look("ring", "pending")
HANDED_OVER = Look("arrow", "dispatched")
UNDER_WAY = Look("play", "running")
WAITING = Look("bars", "paused")
GOOD = Look("tick", "completed")
BAD = Look("cross", "failed")
STOPPING = Look("stopping", "cancelled")
STOPPED = Look("dash", "cancelled")
OVERDUE = Look("mark", "expired")

_WORDS: dict[Look, str] = {
    PENDING: "pending requested not_checked retrying",
    HANDED_OVER: "dispatched approved uploading",
    UNDER_WAY: "running active busy checking verifying",
    WAITING: "paused waiting draining approval_waiting",
    GOOD: "completed verified stored healthy available consumed accepted",
    BAD: "failed denied broken recalled missing quarantined silent evicted",
    STOPPING: "cancelling",
    STOPPED: "cancelled ended revoked archived removed inactive offline unknown",
    OVERDUE: "timed_out expired lost lapsed late deprecated cannot_check overdue "
    "cancel_unconfirmed",
}
LOOKS: dict[str, Look] = {word: look for look, words in _WORDS.items() for word in words.split()}

# Log levels share the tones; only those that ask for attention have one.
LEVEL_TONES = {"warning": "expired", "error": "failed", "critical": "failed"}

RISKS = ("low", "medium", "high", "critical")


def of(word: str) -> Look:
    return LOOKS.get(word, STOPPED)


def spoken(word: str) -> str:
    """`timed_out` → `Timed out`."""
    return word.replace("_", " ").capitalize()
