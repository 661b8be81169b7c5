"""/runners/sessions/{id}/note: what a person adds to a session's record."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import custody
from grants.forms import NoteForm
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries as session_queries
from sessions.pages.frame import frame


@page(Scope.WRITE, methods=("GET", "POST"))
def note(request: Page, session_id: UUID) -> HttpResponse:
    """`GET, POST /runners/sessions/{id}/note`: in every state, for whoever reads on."""
    form = NoteForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        made = custody.annotate(session_id, form.cleaned_data["message"], by=request.principal)
        events = reverse("session_events", args=[session_id])
        to = f"{events}?at={made.seq}#e{made.seq}"
        return see_other(to, request=request, flash="Note added to the record.")
    session = session_queries.detail(session_id, by=request.principal)
    context = {**frame(session, "Note"), "form": form}
    status = 422 if form.errors else 200
    return render(request, "runners/sessions/note.html", context, status=status)
