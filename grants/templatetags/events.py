"""`{% load events %}`: what a ledger row shows of a record, however much it holds.

{% message event %}     the first characters, and how much more there is
{% payload event %}     the data under the row, or a link to it where it is large
"""

from __future__ import annotations

from typing import Any

from django import template
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from grants.models import Event
from keeptrusts_runners.console.formats import size, visible

register = template.Library()

MAX_MESSAGE = 2_000
# Two hundred rows with their payloads stay a page that a telephone can open.
MAX_PAYLOAD_BYTES = 4 * 1024


def _address(event: Event) -> str:
    return reverse("session_event", args=[event.session_id, event.seq])


@register.simple_tag
def message(event: Event, most: int = MAX_MESSAGE) -> SafeString:
    text = event.message or ""
    if len(text) <= most:
        return visible(text)
    return format_html(
        '{}… <a href="{}">Show all ({})</a>',
        visible(text[:most]),
        _address(event),
        size(len(text.encode())),
    )


@register.inclusion_tag("runners/events/_payload.html")
def payload(event: Event) -> dict[str, Any]:
    found = {"event": event, "address": _address(event), "data": None, "large": 0}
    if event.body is None or event.data is None:
        return found
    length = len(bytes(event.body))
    return found | ({"large": length} if length > MAX_PAYLOAD_BYTES else {"data": event.data})
