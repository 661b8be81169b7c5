"""/runners/evidence: the log of the organization, its checkpoints and keys, and what is broken."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render

from grants import bundle, queries
from keeptrusts_runners.api.filters import check_parameters
from keeptrusts_runners.api.pagination import page as keyset
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.evidence import log_keys, log_proofs
from keeptrusts_runners.identity.scopes import Scope


@page(Scope.AUDIT)
def index(request: Page) -> HttpResponse:
    """`GET /runners/evidence`."""
    check_parameters(request, {"cursor"})
    organization = request.principal.organization_id
    rows, older = keyset(log_proofs.checkpoints(organization), request, order=("-size",))
    context = {
        "rows": rows,
        "older": older,
        "newer": "" if "cursor" in request.GET else None,
        "keys": log_keys.registered_keys(),
        "bundle_key": bundle.signing_key().kid,
        "broken": queries.broken(by=request.principal),
    }
    return render(request, "runners/evidence/log.html", context)


@page(Scope.AUDIT)
def note(request: Page, size: int) -> HttpResponse:
    """`GET /runners/evidence/checkpoints/{size}.txt`: the signed note, to be kept elsewhere."""
    found = log_proofs.checkpoint(request.principal.organization_id, size)
    response = HttpResponse(found.note.encode(), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="checkpoint-{size}.txt"'
    response["X-Content-Type-Options"] = "nosniff"
    return response
