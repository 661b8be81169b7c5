"""JSON as nested `<details>`: collapsible without a script, every value escaped.

The first levels are open. Beyond `MAX_NODES` the rest is said to be left out rather than drawn;
the page beside it offers the whole as a download.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from keeptrusts_runners.console.formats import visible

MAX_NODES = 2_000
MAX_TEXT = 2_000


class _Drawing:
    def __init__(self, open_levels: int) -> None:
        self.open_levels = open_levels
        self.left = MAX_NODES

    def draw(self, value: Any, key: SafeString, depth: int) -> SafeString:
        self.left -= 1
        if isinstance(value, dict):
            return self.branch(value.items(), key, depth, "{", "}")
        if isinstance(value, (list, tuple)):
            return self.branch(enumerate(value), key, depth, "[", "]")
        return format_html("{}{}", key, _scalar(value))

    def branch(
        self, found: Iterable[tuple[Any, Any]], key: SafeString, depth: int, left: str, right: str
    ) -> SafeString:
        members = list(found)
        if not members:
            return format_html("{}{}{}", key, left, right)
        return format_html(
            "<details{}><summary>{}{} {} {}</summary><ul>{}</ul></details>",
            mark_safe(" open") if depth < self.open_levels else "",
            key,
            left,
            len(members),
            right,
            mark_safe("".join(self.items(members, depth))),  # noqa: S308  (built by format_html)
        )

    def items(self, members: list[tuple[Any, Any]], depth: int) -> Iterator[SafeString]:
        for name, value in members:
            if self.left <= 0:
                yield format_html("<li>{}</li>", "… the rest is in the download")
                return
            key = format_html('<span class="key">{}</span>: ', visible(str(name)))
            yield format_html("<li>{}</li>", self.draw(value, key, depth + 1))


def _scalar(value: Any) -> SafeString:
    text = json.dumps(value, ensure_ascii=False, default=str)
    if len(text) <= MAX_TEXT:
        return visible(text)
    return format_html("{}… ({} characters)", visible(text[:MAX_TEXT]), f"{len(text):,}")


def render(value: Any, open_levels: int = 2) -> SafeString:
    drawn = _Drawing(open_levels).draw(value, SafeString(""), 0)
    return format_html('<div class="json">{}</div>', drawn)
