"""Foreign text made harmless: what a terminal would obey or a reader could not see is spelled out.

Terminal colours are dropped. Every other control, direction override and zero-width character is
written as `\\u202e`, so that text can neither move a cursor nor pretend to be another text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# CSI and OSC sequences (ECMA-48), then any other two-character escape.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_KEPT = frozenset("\n\t")
# Nearly all text has none of these, and need not be looked at letter by letter.
_SUSPECT = re.compile(r"[^\x20-\x7e\n\t]")


def is_plain(text: str) -> bool:
    """Whether it is printable ASCII, lines and tabs: nothing of it has to be spelled out."""
    return _SUSPECT.search(text) is None


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it is the spelling of a character that is not seen."""
    if is_plain(text):
        yield text, False
        return
    plain: list[str] = []
    for character in _ANSI.sub("", text):
        if character in _KEPT or unicodedata.category(character) not in _UNSEEN:
            plain.append(character)
            continue
        yield "".join(plain), False
        yield f"\\u{ord(character):04x}", True
        plain.clear()
    yield "".join(plain), False


def plain(text: str) -> str:
    """The text for a terminal or a file; lines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(piece for piece, _ in pieces(text))
