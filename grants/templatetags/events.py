"""`{% load events %}`: what a ledger row shows of a record, however much it holds.

{% message event %}     the first characters, and how much more there is
{% log_row event asked marked hidden %}     a row of the window; built here and not by a template,
                                            since a window has five hundred of them
"""

from __future__ import annotations

import json
import re
from typing import Any

from django import template
from django.urls import reverse
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from grants.models import Event
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
def log_row(
    event: Event, asked: Asked, marked_seqs: range = range(0), hidden: int | None = None
) -> SafeString:
    """One `<li>`: number, time, level, type, step and message, payload."""
    seq, sought = event.seq, asked.filters.get("q", "")
    is_error = " data-error" if event.level in ERRORS else ""
    current = whole = ""
    if seq in marked_seqs:
        # On each row it would be a twelfth of the window.
        current = ' aria-current="true"'
        whole = f' <a href="{asked.here}/{seq}">Whole record</a>'
    return mark_safe(  # noqa: S308  (each part is escaped or made visible)
        f'<li id="e{seq}" data-seq="{seq}"{is_error}{current}>'
        f'<a href="?at={seq}{escape(asked.kept)}#e{seq}">{seq:,}</a> '
        f"{_time(event)} {_level(event)} "
        f'<span class="muted">{marked(event.kind, sought)}</span> '
        f"<p>{_said(event, asked, sought)}{_HIDDEN if seq == hidden else ''}{whole}</p>"
        f"{_payload(event, asked, sought)}</li>"
    )


_HIDDEN = ' <span class="chip">shown although filtered</span>'


def _time(event: Event) -> str:
    at = event.recorded_at
    return (
        f'<time datetime="{machine_instant(at)}" title="{instant(at, "us")}">'
        f"{instant(at, 'ms')}</time>"
    )


def _level(event: Event) -> str:
    word = event.level or "–"
    return f'<span class="level {looks.LEVEL_TONES.get(word, "")}">{escape(word)}</span>'


def _said(event: Event, asked: Asked, sought: str) -> str:
    if event.is_redacted:
        return '<span class="muted">redacted</span>'
    step = f'<span class="muted">{marked(event.step, sought)}</span> ' if event.step else ""
    return step + _cut(event.message or "", f"{asked.here}/{event.seq}", MAX_MESSAGE, sought)


def _payload(event: Event, asked: Asked, sought: str) -> str:
    data: Any = event.data
    if data is None:
        return ""
    length = len(bytes(event.body)) if event.body is not None else 0
    if length > MAX_PAYLOAD_BYTES:
        link = f'<a href="{asked.here}/{event.seq}">Payload ({size(length)})</a>'
        return f'<p class="payload">{link}</p>'
    text = json.dumps(data, ensure_ascii=False)
    return f"<details><summary>Payload</summary><pre>{marked(text, sought)}</pre></details>"
