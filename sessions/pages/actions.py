"""What operators do to one session: each a form that is sent, and back."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import queries as grant_queries
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.identity.scopes import Scope
from sessions import lifecycle, queries, transitions
from sessions.forms import CancelForm
from sessions.pages import frame
from sessions.states import State, Verb


@page(Scope.WRITE, methods=("GET", "POST"))
def cancel(request: Page, session_id: UUID) -> HttpResponse:
    """`GET, POST /runners/sessions/{id}/cancel`: say why, then do it."""
    form = CancelForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        session = lifecycle.cancel(session_id, by=request.principal, reason=reason)
        done = session.state == State.CANCELLED
        flash = "Session cancelled." if done else "Cancellation requested; the executor is told."
        return _back(request, session_id, flash)
    session = queries.detail(session_id, by=request.principal)
    transitions.require(session, Verb.CANCEL)
    context = {
        **frame.frame(session, "Cancel"),
        "form": form,
        "active_grants": grant_queries.active_grants([session.id]).get(session.id, 0),
    }
    status = 422 if form.errors else 200
    return render(request, "runners/sessions/cancel.html", context, status=status)


@page(Scope.WRITE, methods=("POST",))
def pause(request: Page, session_id: UUID) -> HttpResponse:
    """`POST /runners/sessions/{id}/pause`."""
    session = lifecycle.pause(session_id, by=request.principal)
    done = session.state == State.PAUSED
    flash = "Session paused." if done else "Pause requested; the executor is told."
    return _back(request, session_id, flash)


@page(Scope.WRITE, methods=("POST",))
def resume(request: Page, session_id: UUID) -> HttpResponse:
    """`POST /runners/sessions/{id}/resume`: back into the queue, or no pause after all."""
    session = lifecycle.resume(session_id, by=request.principal)
    queued = session.state == State.PENDING
    return _back(request, session_id, "Session queued again." if queued else "Pause withdrawn.")


def _back(request: Page, session_id: UUID, flash: str) -> HttpResponse:
    to = reverse("session", args=[session_id])
    return see_other(to, request=request, flash=flash, level=messages.SUCCESS)
