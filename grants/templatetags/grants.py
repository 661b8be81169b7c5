"""`{% load grants %}`: a permission grant as pages show it.

    {% grant standing %}                       with its clocks, decisions and forms
    {% grant standing with_session=True %}     where it stands apart from its session
    {% grant standing refused=form %}          a form that was sent and not accepted

`standing` is a grants.standing.Standing; `back` is where its forms lead, by default its session.
"""

from __future__ import annotations

from typing import Any

from django import template
from django.template import Context

from grants.forms import DecisionForm, RenewForm, RevokeForm
from grants.standing import Standing

register = template.Library()


@register.inclusion_tag("runners/grants/_grant.html", takes_context=True)
def grant(
    context: Context,
    standing: Standing,
    with_session: bool = False,
    back: str = "",
    refused: Any = None,
) -> dict[str, Any]:
    decision = DecisionForm(standing.grant, comment_required=standing.comment_required)
    revoking = RevokeForm(standing.grant)
    renewing = RenewForm(standing.grant, standing.session.lease_epoch)
    return {
        "request": context["request"],
        "standing": standing,
        "grant": standing.grant,
        "session": standing.session,
        "with_session": with_session,
        "back": back,
        "decision": refused if isinstance(refused, DecisionForm) else decision,
        "revoking": refused if isinstance(refused, RevokeForm) else revoking,
        "renewing": refused if isinstance(refused, RenewForm) else renewing,
        "refused": refused,
    }
