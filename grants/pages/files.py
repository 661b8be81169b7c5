"""Files of a session: an artifact, and the bundle of its evidence."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from django.http import HttpResponse

from grants import artifacts
from grants.api.downloads import download
from grants.api.evidence import export
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries as session_queries


@page()
def artifact(request: Page, session_id: UUID, artifact_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/artifacts/{id}`: the bytes, as a download."""
    session_queries.detail(session_id, by=request.principal)
    found = artifacts.artifact(session_id, artifact_id)
    return cast(HttpResponse, download(found, request, by=request.principal))


@page(Scope.AUDIT)
def evidence(request: Page, session_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/evidence`: the signed bundle. It is read while it is sent,
    after this page's transaction and in one of its own."""
    session_queries.detail(session_id, by=request.principal)
    return cast(HttpResponse, export(session_id, by=request.principal))
