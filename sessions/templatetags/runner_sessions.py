"""`{% load runner_sessions %}`: what the pages of sessions need beside the console's own tags.

{% session_head as head %}    `tabs`, `health`, `offer` and `refresh` of the context's session
"""

from __future__ import annotations

from typing import Any

from django import template
from django.template import Context

from sessions.pages import frame
from sessions.queries import COUNT_CAP

register = template.Library()


@register.simple_tag(takes_context=True)
def session_head(context: Context) -> dict[str, Any]:
    of = (context[name] for name in ("request", "session", "current_tab", "counts"))
    return frame.head(*of)


@register.filter
def capped(count: int, noun: str = "session") -> str:
    """A count that goes no further than COUNT_CAP, of sessions or, with "", of what follows."""
    number = f"{COUNT_CAP:,}+" if count > COUNT_CAP else f"{count:,}"
    return f"{number} {noun}{'' if count == 1 else 's'}" if noun else number
