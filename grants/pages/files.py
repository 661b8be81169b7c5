"""Files of a session: the list of its artifacts, and each as a download."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render

from grants import artifacts, queries
from grants.api.downloads import download
from keeptrusts_runners.api.filters import check_parameters
from keeptrusts_runners.api.pagination import page as keyset
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.responses import is_fragment
from keeptrusts_runners.identity.queries import actors, spoken
from sessions import queries as session_queries
from sessions.pages.frame import frame


@page()
def of_session(request: Page, session_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/artifacts`: the newest first."""
    session = session_queries.detail(session_id, by=request.principal)
    check_parameters(request, {"cursor"})
    found, older = keyset(queries.artifacts(session.id), request)
    known = actors({each.created_by for each in found})
    context = {
        **frame(session, "Artifacts"),
        "rows": [(each, spoken(each.created_by, known)) for each in found],
        "older": older,
        "newer": "" if "cursor" in request.GET else None,
    }
    name = "_session" if is_fragment(request) else "session"
    return render(request, f"runners/artifacts/{name}.html", context)


@page()
def artifact(request: Page, session_id: UUID, artifact_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/artifacts/{id}`: the bytes, as a download."""
    session_queries.detail(session_id, by=request.principal)
    found = artifacts.artifact(session_id, artifact_id)
    return cast(HttpResponse, download(found, request, by=request.principal))
