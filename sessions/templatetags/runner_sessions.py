"""`{% load runner_sessions %}`: what the frame of a session's page needs to know.

{% session_head as head %}    `tabs`, `health`, `offer` and `refresh` of the context's session
"""

from __future__ import annotations

from typing import Any

from django import template
from django.template import Context

from sessions.pages import frame

register = template.Library()


@register.simple_tag(takes_context=True)
def session_head(context: Context) -> dict[str, Any]:
    of = (context[name] for name in ("request", "session", "current_tab", "counts"))
    return frame.head(*of)
