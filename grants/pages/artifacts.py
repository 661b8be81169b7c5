"""One artifact's page, the image on it, and the organization's artifacts that were damaged."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, HttpResponseNotModified
from django.shortcuts import render
from django.urls import reverse

from grants import artifacts, integrity, previews, queries
from grants.api.downloads import inert, stream
from grants.models import Artifact
from grants.previews import Preview
from keeptrusts_runners.api import etag
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.errors import (
    ContentBroken,
    ContentMissing,
    Invalid,
    NotFound,
    StorageUnavailable,
)
from keeptrusts_runners.evidence.file_names import file_name, sums_line
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries as session_queries
from sessions.pages.frame import frame

# What a page may read back while somebody waits for it; a larger one is for the API or the scrub.
MOST_BYTES_VERIFIED = 256 * 1024 * 1024


@page()
def preview(request: Page, session_id: UUID, artifact_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/artifacts/{aid}/preview`: what it is, and a look into it."""
    session = session_queries.detail(session_id, by=request.principal)
    artifact = artifacts.artifact(session_id, artifact_id)
    context: dict[str, Any] = {**frame(session, artifact.name), "artifact": artifact}
    try:
        context["preview"] = _look_into(artifact, request)
    except (ContentBroken, ContentMissing, StorageUnavailable) as error:
        context["refusal"] = error
    may_verify = request.principal.has(Scope.AUDIT)
    context["may_verify"] = may_verify and artifact.size_bytes <= MOST_BYTES_VERIFIED
    context["sums_line"] = sums_line(artifact.sha256, file_name(artifact.name))
    return render(request, "runners/artifacts/preview.html", context)


def _look_into(artifact: Artifact, request: Page) -> Preview:
    head = integrity.head(artifact, previews.HEAD_BYTES)
    found = previews.preview(artifact, head)
    # An image is asked for by the page, and on record then.
    if found.kind in ("text", "json", "csv"):
        integrity.record_download(artifact, f"0-{len(head) - 1}", by=request.principal)
    return found


@page()
def image(request: Page, session_id: UUID, artifact_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/artifacts/{aid}/image`: the bytes of a raster image, inline and
    under its own type; for anything else there is no such address."""
    session_queries.detail(session_id, by=request.principal)
    artifact = artifacts.artifact(session_id, artifact_id)
    found = previews.image(artifact, integrity.head(artifact, previews.HEAD_BYTES))
    if found is None:
        raise NotFound
    headers = inert(artifact) | {"Content-Disposition": "inline"}
    if etag.is_unchanged(request, headers["ETag"]):
        return HttpResponseNotModified(headers=headers)
    integrity.record_download(artifact, "", by=request.principal)
    chunks = integrity.proved(artifact)
    answer = stream(chunks, 200, artifact.size_bytes, headers, found.media_type)
    return cast(HttpResponse, answer)


@page(Scope.AUDIT, methods=("POST",))
def verify(request: Page, session_id: UUID, artifact_id: UUID) -> HttpResponse:
    """`POST /runners/sessions/{id}/artifacts/{aid}/verify`: read its bytes back now."""
    session_queries.detail(session_id, by=request.principal)
    artifact = artifacts.artifact(session_id, artifact_id)
    if artifact.size_bytes > MOST_BYTES_VERIFIED:
        raise Invalid("It is too large to be read back while a page waits.")
    finding = integrity.examine(artifact.organization_id, artifact.sha256)
    integrity.settle(artifact.organization_id, artifact.sha256, finding, by=request.principal)
    text, level = _SAID[finding.status]
    to = reverse("session_artifact_preview", args=[session_id, artifact_id])
    return see_other(to, request=request, flash=text, level=level)


_SAID = {
    "stored": ("Verified: the stored bytes have the recorded digest.", messages.SUCCESS),
    "broken": ("Broken: the stored bytes have another digest.", messages.ERROR),
    "missing": ("Missing: there are no stored bytes.", messages.ERROR),
}


@page()
def damaged(request: Page) -> HttpResponse:
    """`GET /runners/artifacts/damaged`: what was found broken or missing, and not good again."""
    found = queries.damaged(by=request.principal)
    crumbs = [Link("Fleet", reverse("fleet")), Link("Damaged artifacts", "", current=True)]
    context = {"artifacts": found, "crumbs": crumbs}
    return render(request, "runners/artifacts/damaged.html", context)
