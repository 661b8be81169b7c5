"""What of an artifact can be shown on a page: text, JSON, CSV and raster images, and nothing else.

Both the declared type and the bytes have to agree that it is one of them. What any program would
run or lay out (HTML, SVG and other XML, PDF) is not shown in any form. Nothing here makes HTML.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from grants.models import Artifact
from grants.rasters import Raster, raster

# What of a file is looked at, and how much of that is drawn.
HEAD_BYTES = 256 * 1024
MOST_LINES, MOST_CHARACTERS = 2_000, 2_000
MOST_ROWS, MOST_COLUMNS, MOST_OF_A_CELL = 200, 50, 200
MOST_LEVELS = 40
MOST_IMAGE_BYTES = 16 * 1024 * 1024

UNKNOWN = "application/octet-stream"
_MARKUP_TYPE = re.compile(r"html|xml|svg|xsl|pdf|postscript")
_TEXT_TYPE = re.compile(
    r"text/.+|application/(?:.+\+)?json|application/(?:x-)?(?:ndjson|yaml|toml|sh|log|sql)"
)
_JSON_TYPE = re.compile(r"(?:application|text)/(?:.+\+)?json")
_CSV_TYPES = frozenset({"text/csv", "text/tab-separated-values", "application/csv"})
# Signs of a document that a browser would take for markup (WHATWG MIME Sniffing), and of PDF.
_MARKUP = re.compile(
    r"\s*(?:<(?:!doctype|html|head|body|script|iframe|svg|style|title|table|font|div|meta|link|img"
    r"|object|embed|form|br|h1|[abp])[\s/>]|<!--|<\?xml|<\?php|%pdf-|%!ps)",
    re.IGNORECASE,
)
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


@dataclass(frozen=True, slots=True)
class Preview:
    """`kind` is text, json, csv, image or none; `notes` say what is left out, or why there is
    nothing. Of the rest only what belongs to the kind is set."""

    kind: str
    notes: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    value: Any = None
    rows: list[list[str]] = field(default_factory=list)
    image: Raster | None = None


def preview(artifact: Artifact, head: bytes) -> Preview:
    """Of an artifact whose bytes begin with `head`, which is all of them or HEAD_BYTES."""
    declared = artifact.media_type
    if found := raster(head):
        return _image(artifact, found)
    if declared.startswith("image/") or not (
        declared == UNKNOWN
        or (_TEXT_TYPE.fullmatch(declared) and not _MARKUP_TYPE.search(declared))
    ):
        return _nothing("Files of this type are not shown here.")
    text = _text(head, whole=len(head) == artifact.size_bytes)
    if text is None:
        return _nothing("It is not text.")
    if _MARKUP.match(text):
        return _nothing("It looks like markup, which is not shown here.")
    return _of_text(artifact, text, whole=len(head) == artifact.size_bytes)


def _is_text_type(declared: str) -> bool:
    return bool(_TEXT_TYPE.fullmatch(declared)) and not _MARKUP_TYPE.search(declared)


def image(artifact: Artifact, head: bytes) -> Raster | None:
    """What the artifact may be served as inline: only the raster image that it says it is, or that
    does not say what it is."""
    found = raster(head)
    return found if found and _image(artifact, found).image else None


def _nothing(why: str) -> Preview:
    return Preview("none", [why])


def _image(artifact: Artifact, found: Raster) -> Preview:
    declared = artifact.media_type.replace("image/jpg", "image/jpeg")
    if declared not in (found.media_type, UNKNOWN):
        return _nothing(f"It is declared as {declared} and looks like {found.media_type}.")
    if artifact.size_bytes > MOST_IMAGE_BYTES:
        return _nothing("The image is too large to be shown here.")
    return Preview("image", image=found)


def _text(head: bytes, *, whole: bool) -> str | None:
    """None for bytes that are no text in UTF-8: invalid, with NUL, or mostly what is not seen."""
    if b"\0" in head:
        return None
    try:
        text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        # The last character of a beginning may be cut.
        if whole or error.start < len(head) - 4:
            return None
        text = head[: error.start].removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    text = text.replace("\r\n", "\n")
    unseen = sum(unicodedata.category(c) in _UNSEEN and c not in "\n\t" for c in text)
    return text if unseen <= max(200, len(text) // 20) else None


def _of_text(artifact: Artifact, text: str, *, whole: bool) -> Preview:
    declared, name = artifact.media_type, artifact.name.lower()
    vague = declared in (UNKNOWN, "text/plain")
    found = None
    if whole and (_JSON_TYPE.fullmatch(declared) or (vague and name.endswith(".json"))):
        found = _json(text)
    elif declared in _CSV_TYPES or (vague and name.endswith((".csv", ".tsv"))):
        found = _csv(text, whole=whole)
    return found or _lines(text, whole=whole)


def _json(text: str) -> Preview | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return Preview("json", value=value) if _levels(value) <= MOST_LEVELS else None


def _levels(value: Any) -> int:
    """How deep it is, without recursion."""
    depth, level = 0, [value]
    while level and depth <= MOST_LEVELS:
        depth, level = depth + 1, [inner for each in level for inner in _inner(each)]
    return depth


def _inner(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _csv(text: str, *, whole: bool) -> Preview | None:
    """A table of the first rows; None for what is none."""
    text = text if whole else text.rpartition("\n")[0]
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        rows = list(islice(reader, MOST_ROWS + 1))
    except csv.Error:
        return None
    notes = _beginning(whole)
    if len(rows) > MOST_ROWS:
        rows, notes = rows[:MOST_ROWS], [f"The first {MOST_ROWS} rows."]
    if any(len(row) > MOST_COLUMNS for row in rows):
        notes.append(f"The first {MOST_COLUMNS} columns.")
    cells = [[_cut(cell, MOST_OF_A_CELL) for cell in row[:MOST_COLUMNS]] for row in rows]
    return Preview("csv", notes, rows=cells) if cells else None


def _lines(text: str, *, whole: bool) -> Preview:
    lines = text.removesuffix("\n").split("\n") if text else []
    notes = _beginning(whole)
    if len(lines) > MOST_LINES:
        lines, notes = lines[:MOST_LINES], [f"The first {MOST_LINES:,} lines."]
    return Preview("text", notes, lines=[_cut(line, MOST_CHARACTERS) for line in lines])


def _beginning(whole: bool) -> list[str]:
    return [] if whole else [f"The first {HEAD_BYTES // 1024} KiB."]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"
