"""/runners/sessions/{id}/events/{seq}: one record whole, and its redaction."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import custody, queries
from grants.forms import ReasonForm
from grants.models import TOMBSTONE, Event
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.errors import NotFound
from keeptrusts_runners.identity.queries import actors, spoken
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries as session_queries
from sessions.models import RunnerSession
from sessions.pages.frame import frame


def _found(session: RunnerSession, seq: int) -> Event:
    found = queries.events(session).filter(seq=seq).first() if seq < 2**63 else None
    if found is None:
        raise NotFound
    return found


@page()
def event(request: Page, session_id: UUID, seq: int) -> HttpResponse:
    """`GET /runners/sessions/{id}/events/{seq}`: one record, whole."""
    session = session_queries.detail(session_id, by=request.principal)
    found = _found(session, seq)
    tombstone = queries.tombstone_of(session, seq) if found.is_redacted else None
    known = actors({each.actor for each in (found, tombstone) if each is not None})
    may_redact = (
        request.principal.has(Scope.AUDIT) and not found.is_redacted and found.kind != TOMBSTONE
    )
    context = {
        **frame(session, "Event"),
        "event": found,
        "may_redact": may_redact,
        "is_last": seq >= session.ledger_head.seq,
        "tombstone": tombstone,
        "who": spoken(found.actor, known),
        "redacted_by": spoken(tombstone.actor, known) if tombstone else "",
    }
    return render(request, "runners/events/event.html", context)


@page(Scope.AUDIT, methods=("GET", "POST"))
def redact(request: Page, session_id: UUID, seq: int) -> HttpResponse:
    """`GET, POST /runners/sessions/{id}/events/{seq}/redact`: say why, then destroy its content."""
    session = session_queries.detail(session_id, by=request.principal)
    found = _found(session, seq)
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        custody.redact(session_id, found.id, form.cleaned_data["reason"], by=request.principal)
        to = reverse("session_event", args=[session_id, seq])
        return see_other(to, request=request, flash=f"The content of event {seq:,} is destroyed.")
    context = {
        **frame(session, "Redact"),
        "event": found,
        "form": form,
        "hold": queries.hold_of(session),
    }
    status = 422 if form.errors else 200
    return render(request, "runners/events/redact.html", context, status=status)
