"""`{% load events %}`: what a ledger row shows of a record, however much it holds.

{% message event %}     the first characters, and how much more there is
{% log_rows rows asked marked hidden %} the rows of a window; built here and not by a template,
                                        since it has five hundred of them
{% histogram_bars bars height %}  {% histogram_rows bars %}     sixty bars, and the table of them
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from django import template
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from grants.models import Event
from grants.pages.event_bars import Bar
from grants.pages.event_places import Asked
from grants.queries import ERRORS
from keeptrusts_runners.console import looks
from keeptrusts_runners.console.formats import instant, machine_instant, size, visible

register = template.Library()

MAX_MESSAGE = 2_000
# A window of rows with their payloads stays a page that a telephone can open.
MAX_PAYLOAD_BYTES = 1024


def _address(event: Event) -> str:
    return reverse("session_event", args=[event.session_id, event.seq])


@register.simple_tag
def message(event: Event, most: int = MAX_MESSAGE) -> SafeString:
    return _cut(event.message or "", _address(event), most, "")


def _cut(text: str, address: str, most: int, sought: str) -> SafeString:
    if len(text) <= most:
        return marked(text, sought)
    shown, whole = marked(text[:most], sought), size(len(text.encode()))
    return format_html('{}… <a href="{}">Show all ({})</a>', shown, address, whole)


def marked(text: str, sought: str) -> SafeString:
    """Foreign text made visible, with what was sought in it marked."""
    if not sought:
        return visible(text)
    parts = re.split(f"({re.escape(sought)})", text, flags=re.IGNORECASE)
    return mark_safe(  # noqa: S308  (each part is made visible)
        "".join(
            f"<mark>{visible(part)}</mark>" if place % 2 else visible(part)
            for place, part in enumerate(parts)
        )
    )


@register.simple_tag
def log_rows(
    rows: Sequence[Event],
    asked: Asked,
    marked_seqs: range = range(0),
    hidden: int | None = None,
) -> SafeString:
    """An `<li>` for each: number, time, level, type, step and message, payload."""
    draw = _Rows(asked, marked_seqs, hidden)
    return mark_safe("\n".join(map(draw.row, rows)))  # noqa: S308  (see _Rows)


class _Rows:
    """The rows of one window. Every piece of a record is escaped or made visible."""

    def __init__(self, asked: Asked, marked_seqs: range, hidden: int | None) -> None:
        self.here, self.kept = asked.here, escape(asked.kept)
        self.sought = asked.filters.get("q", "")
        self.marked_seqs, self.hidden = marked_seqs, hidden
        # Five hundred rows have a few kinds, steps and levels.
        self.words: dict[str, str] = {}

    def row(self, event: Event) -> str:
        seq, said = event.seq, event.content
        is_error = " data-error" if event.level in ERRORS else ""
        current, more = self._about(seq)
        return (
            f'<li id="e{seq}" data-seq="{seq}"{is_error}{current}>'
            f'<a href="?at={seq}{self.kept}#e{seq}">{seq:,}</a> '
            f"{_time(event.recorded_at)} {_level(event.level)} {self._muted(event.kind)} "
            f"<p>{self._said(event, said)}{more}</p>{self._payload(event, said)}</li>"
        )

    def _about(self, seq: int) -> tuple[str, str]:
        """What the address says of it, as an attribute and behind its message."""
        current, more = "", _HIDDEN if seq == self.hidden else ""
        if seq in self.marked_seqs:
            # On each row it would be a twelfth of the window.
            current = ' aria-current="true"'
            more += f' <a href="{self.here}/{seq}">Whole record</a>'
        return current, more

    def _muted(self, word: str) -> str:
        if word not in self.words:
            self.words[word] = f'<span class="muted">{marked(word, self.sought)}</span>'
        return self.words[word]

    def _said(self, event: Event, said: Mapping[str, Any]) -> str:
        if event.is_redacted:
            return '<span class="muted">redacted</span>'
        step = f"{self._muted(event.step)} " if event.step else ""
        return step + _cut(
            said.get("message") or "", f"{self.here}/{event.seq}", MAX_MESSAGE, self.sought
        )

    def _payload(self, event: Event, said: Mapping[str, Any]) -> str:
        data = said.get("data")
        if data is None or event.body is None:
            return ""
        if (length := len(event.body)) > MAX_PAYLOAD_BYTES:
            link = f'<a href="{self.here}/{event.seq}">Payload ({size(length)})</a>'
            return f'<p class="payload">{link}</p>'
        text = marked(json.dumps(data, ensure_ascii=False), self.sought)
        return f"<details><summary>Payload</summary><pre>{text}</pre></details>"


_HIDDEN = ' <span class="chip">shown although filtered</span>'


def _time(at: datetime) -> str:
    exact = instant(at, "us")
    # To the millisecond, without asking for the page's zone again.
    shown = exact[:23] + exact[26:]
    return f'<time datetime="{machine_instant(at)}" title="{exact}">{shown}</time>'


def _level(word: str | None) -> str:
    word = word or "–"
    return f'<span class="level {looks.LEVEL_TONES.get(word, "")}">{escape(word)}</span>'


@register.simple_tag
def histogram_bars(bars: Sequence[Bar], height: int) -> SafeString:
    """A link for each bar, over its whole height."""
    return mark_safe("".join(_bar(bar, height) for bar in bars))  # noqa: S308  (numbers, and escaped)


def _bar(bar: Bar, height: int) -> str:
    place = f'x="{bar.x}" width="{bar.width}"'
    parts = "".join(
        f'<rect class="ink {part.tone}" {place} y="{part.y}" height="{part.height}" />'
        for part in bar.parts
    )
    return (
        f'<a href="{escape(bar.url)}" tabindex="-1" aria-label="{escape(bar.label)}">'
        f'<rect class="room" {place} y="0" height="{height}" />{parts}</a>'
    )


@register.simple_tag
def histogram_rows(bars: Sequence[Bar]) -> SafeString:
    """The same as rows of a table."""
    return mark_safe("".join(map(_bar_row, bars)))  # noqa: S308  (numbers, and escaped)


def _bar_row(bar: Bar) -> str:
    at = bar.starts_at
    time = (
        f'<time datetime="{machine_instant(at)}" title="{instant(at, "us")}">{instant(at)}</time>'
    )
    counts = (bar.events, bar.warnings, bar.errors)
    cells = "".join(f'<td class="number">{count:,}</td>' for count in counts)
    return f'<tr><th scope="row"><a href="{escape(bar.url)}">{time}</a></th>{cells}</tr>'
