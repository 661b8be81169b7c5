"""Template tags of the console: `{% load console %}`.

    {% state runner_session.state %}       icon, word and colour; any state word of the product
    {% health "late" %}                    the same look without the pill, for the second axis
    {% level "error" %}                    a log level as a word
    {% risk "high" %}                      1 to 4 bars and the word
    {% icon "tick" %}                      one shape alone, hidden from readers
    {% typeid "sess" id %}                 the full id with a copy button
    {% typeid "sess" id link=url short=True copy=False %}
                                           in tables: prefix and last 8 on narrow screens
    {% instant at %}  {% instant at "ms" %}            `2026-05-01 09:30:00Z` in `<time>`
    {% ago at %}                           `4 s ago`, ticking; beyond an hour the instant
    {% countdown at ended="expired" %}     `in 4m 09s`, ticking, then the word
    {% duration value %}                   a timedelta or seconds
    {% elapsed start end %}                a duration; ticks while `end` is None
    {% digest sha256 %}  {% digest sha256 full=True %}  12 digits or all, and a copy button
    {% json value %}                       nested details, two levels open
    {% chip "State" "failed" "state" %}    a filter with a link that removes it from the query
    {% pager older=cursor newer=cursor %}  keyset links that keep the rest of the query
    {% tabs "Session" links %}  {% crumbs links %}     lists of navigation.Link

    {{ count|number }}  {{ bytes|binary_size }}  {{ text|visible }}
    {{ word|spoken }}  {{ items|listed }}

None and "" are shown as a dash wherever a value is expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from html import escape
from typing import Any
from uuid import UUID

from django import template
from django.template import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from keeptrusts_runners import ids
from keeptrusts_runners.console import formats, json_html, looks
from keeptrusts_runners.console.context import now
from keeptrusts_runners.console.navigation import Link

register = template.Library()

NONE = mark_safe('<span class="muted">–</span>')
# A list draws the same few states fifty times.
_WORDS = 256
NOUNS = {
    "sess": "session",
    "prof": "profile",
    "harn": "harness",
    "evt": "event",
    "art": "artifact",
    "ckpt": "checkpoint",
    "org": "organization",
    "sa": "service account",
    "aud": "audit record",
}


@register.simple_tag
@lru_cache(maxsize=_WORDS)
def icon(name: str) -> SafeString:
    # Sized by attributes too: without the stylesheet an icon must not fill the page.
    return format_html(
        '<svg class="icon" width="12" height="12" aria-hidden="true" focusable="false">'
        '<use href="#i-{}"/></svg>',
        name,
    )


@register.simple_tag
@lru_cache(maxsize=_WORDS)
def state(word: str, label: str = "") -> SafeString:
    look = looks.of(word)
    return format_html(
        '<span class="state {}">{}{}</span>',
        look.tone,
        icon(look.icon),
        label or looks.spoken(word),
    )


@register.simple_tag
@lru_cache(maxsize=_WORDS)
def health(word: str) -> SafeString:
    """A second axis, never a state: the word and its icon without the pill."""
    if word in ("", "n/a"):
        return NONE
    look = looks.of(word)
    return format_html(
        '<span class="ink {}">{} {}</span>', look.tone, icon(look.icon), looks.spoken(word)
    )


@register.simple_tag
@lru_cache(maxsize=_WORDS)
def level(word: str) -> SafeString:
    tone = looks.LEVEL_TONES.get(word, "")
    return format_html('<span class="level {}">{}</span>', tone, word)


@register.simple_tag
def risk(word: str) -> SafeString:
    if word not in looks.RISKS:
        return NONE
    height = looks.RISKS.index(word) + 1
    tone = ("", "", "expired", "failed")[height - 1]
    return format_html(
        '<span class="level {}">{}\u00a0{}</span>', tone, icon(f"risk-{height}"), word.capitalize()
    )


def _copy(text: str, noun: str) -> SafeString:
    return format_html(
        '<button type="button" class="copy" data-copy="{}" aria-label="Copy {}">{}</button>',
        text,
        noun,
        icon("copy"),
    )


@register.simple_tag
def typeid(
    prefix: str, value: UUID | str | None, link: str = "", short: bool = False, copy: bool = True
) -> SafeString:
    if not value:
        return NONE
    text = ids.encode(prefix, value) if isinstance(value, UUID) else str(value)
    head, _, rest = text.rpartition("_")
    shown = format_html(
        '<code>{}_<span class="front">{}</span><span>{}</span></code>', head, rest[:-8], rest[-8:]
    )
    if link:
        shown = format_html('<a href="{}">{}</a>', link, shown)
    button = _copy(text, f"{NOUNS.get(prefix, prefix)} id") if copy else ""
    return format_html('<span class="id{}">{}{}</span>', " short" if short else "", shown, button)


@register.simple_tag
def digest(
    value: bytes | memoryview | str | None, full: bool = False, copy: bool = True
) -> SafeString:
    """SHA-256 as bytes or hex, with or without a `sha256:` in front."""
    if not value:
        return NONE
    text = value if isinstance(value, str) else bytes(value).hex()
    bare = text.rpartition(":")[2]
    shown = bare if full else f"{bare[:12]}…"
    button = _copy(text, "digest") if copy else ""
    return format_html(
        '<span class="id{}"><code title="{}">{}</code>{}</span>',
        " full" if full else "",
        text,
        shown,
        button,
    )


def _time(at: datetime, text: str, kind: str = "", ended: str = "") -> SafeString:
    ticking = f' data-relative="{kind}"' if kind else ""
    word = f' data-ended="{escape(ended)}"' if ended else ""
    return mark_safe(  # noqa: S308  (times and words of ours, the rest escaped)
        f'<time datetime="{formats.machine_instant(at)}" title="{formats.instant(at, "us")}"'
        f"{ticking}{word}>{escape(text)}</time>"
    )


@register.simple_tag
def instant(at: datetime | None, precision: str = "s") -> SafeString:
    return NONE if at is None else _time(at, formats.instant(at, precision))


@register.simple_tag(takes_context=True)
def ago(context: Context, at: datetime | None) -> SafeString:
    if at is None:
        return NONE
    text = formats.ago(at, now(context.get("request")))
    return _time(at, text or formats.instant(at), "ago")


@register.simple_tag(takes_context=True)
def countdown(context: Context, at: datetime | None, ended: str = "ended") -> SafeString:
    if at is None:
        return NONE
    text = formats.until(at, now(context.get("request")))
    return _time(at, text or ended, "countdown", ended)


@register.simple_tag
def duration(value: timedelta | float | None) -> SafeString:
    if value is None:
        return NONE
    return format_html(
        '<time datetime="{}">{}</time>', formats.machine_duration(value), formats.duration(value)
    )


@register.simple_tag(takes_context=True)
def elapsed(context: Context, start: datetime | None, end: datetime | None = None) -> SafeString:
    if start is None:
        return NONE
    if end is not None:
        return duration(end - start)
    return _time(start, formats.duration(now(context.get("request")) - start), "elapsed")


@register.simple_tag(name="json")
def json_tag(value: Any, open_levels: int = 2) -> SafeString:
    return json_html.render(value, open_levels)


@register.filter
def visible(text: str | None) -> SafeString:
    return formats.visible(text or "")


@register.filter
def number(count: int | None) -> str:
    """`1234567` → `1,234,567`."""
    return "–" if count is None else f"{count:,}"


@register.filter
def binary_size(count: int | None) -> str:
    return "–" if count is None else formats.size(count)


@register.filter
def spoken(word: str) -> str:
    """`timed_out` → `Timed out`."""
    return looks.spoken(str(word))


@register.filter
def listed(value: Any) -> str:
    """A list as `a, b`; anything else as text."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple, set)) else str(value)


def _query(context: Context, **changes: str | None) -> str:
    """The page's own query with these parameters set, or removed where None; always `?…`."""
    query = context["request"].GET.copy()
    for name, value in changes.items():
        query.pop(name, None)
        if value is not None:
            query[name] = value
    return f"?{query.urlencode()}"


@register.inclusion_tag("console/_chip.html", takes_context=True)
def chip(context: Context, label: str, value: str, parameter: str) -> dict[str, str]:
    remove = _query(context, cursor=None, **{parameter: None})
    return {"label": label, "value": value, "remove": remove}


@register.inclusion_tag("console/_pager.html", takes_context=True)
def pager(
    context: Context, older: str | None = None, newer: str | None = None, count: str = ""
) -> dict[str, str | None]:
    """`older` and `newer` are cursors. `newer=""` leads to the first page. `count` is words."""
    return {
        "older": _query(context, cursor=older) if older else None,
        "newer": _query(context, cursor=newer or None) if newer is not None else None,
        "count": count,
    }


@register.inclusion_tag("console/_tabs.html")
def tabs(label: str, links: Sequence[Link]) -> dict[str, Any]:
    return {"label": label, "links": links}


@register.inclusion_tag("console/_crumbs.html")
def crumbs(links: Sequence[Link]) -> dict[str, Any]:
    return {"links": links}
