"""/runners/sessions/batches: what was asked for many sessions, and what has come of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from keeptrusts_runners import ids
from keeptrusts_runners.api import pagination
from keeptrusts_runners.api.filters import check_parameters
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.responses import is_fragment, see_other
from keeptrusts_runners.identity.queries import actors, spoken
from keeptrusts_runners.identity.scopes import Scope
from sessions import batches
from sessions.batch_models import BatchState, BatchVerb, Outcome, RunnerBatch
from sessions.filters import BatchItemFilters
from sessions.pages import searching

# What has come of a session, as people call it by verb.
_SPOKEN = {
    (BatchVerb.CANCEL, Outcome.DONE): "Cancelled",
    (BatchVerb.RETRY, Outcome.DONE): "Retried",
    (None, Outcome.SKIPPED): "Skipped",
    (None, Outcome.REFUSED): "Refused",
    (None, Outcome.PENDING): "Waiting",
}


@page()
def index(request: Page) -> HttpResponse:
    """`GET /runners/sessions/batches`: newest first."""
    check_parameters(request, {"cursor", "limit"})
    found, older = pagination.page(batches.of_organization(by=request.principal), request)
    rows = batches.with_progress(found)
    known = actors({batch.requested_by for batch in rows})
    context = {
        "batches": [(batch, spoken(batch.requested_by, known), _settled(batch)) for batch in rows],
        "older": older,
        "newer": "" if "cursor" in request.GET else None,
        "crumbs": [Link("Sessions", reverse("sessions")), Link("Batches", "", current=True)],
    }
    name = "_index" if is_fragment(request) else "index"
    return render(request, f"runners/sessions/batches/{name}.html", context)


def _settled(batch: RunnerBatch) -> int:
    return batch.done + batch.skipped + batch.refused


@page()
def batch(request: Page, batch_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/batches/{id}`: its progress, and what has come of each session."""
    found = batches.batch(batch_id, by=request.principal)
    check_parameters(request, {"outcome", "cursor", "limit"})
    items = BatchItemFilters.apply(request, batches.items(batch_id, by=request.principal))
    rows, after = pagination.page(items, request, order=("session_id",))
    known = actors({found.requested_by, found.stopped_by})
    text = ids.encode("batch", found.id)
    context = {
        "batch": found,
        "id": text,
        "crumbs": [
            Link("Sessions", reverse("sessions")),
            Link("Batches", reverse("batches")),
            Link(text, "", current=True),
        ],
        "who": spoken(found.requested_by, known),
        "stopper": spoken(found.stopped_by, known),
        "chosen": searching.words(found.filter),
        "settled": _settled(found),
        "outcomes": _outcomes(found, request.GET.get("outcome")),
        "bars": _bars(found),
        "items": [(item, _of(found, item.outcome)) for item in rows],
        "after": after,
        "running": found.state == BatchState.RUNNING,
        "may_stop": found.state == BatchState.RUNNING and request.principal.has(Scope.WRITE),
    }
    name = "_batch" if is_fragment(request) else "batch"
    return render(request, f"runners/sessions/batches/{name}.html", context)


def _of(batch: RunnerBatch, outcome: str) -> str:
    of_verb = _SPOKEN.get((BatchVerb(batch.verb), Outcome(outcome)))
    return of_verb or _SPOKEN[None, Outcome(outcome)]


def _numbers(batch: RunnerBatch) -> dict[Outcome, int]:
    return {
        Outcome.DONE: batch.done,
        Outcome.SKIPPED: batch.skipped,
        Outcome.REFUSED: batch.refused,
        Outcome.PENDING: batch.total - _settled(batch),
    }


def _outcomes(batch: RunnerBatch, chosen: str | None) -> list[Link]:
    here = reverse("batch", args=[batch.id])
    every = Link("All", here, chosen is None, f"{batch.total:,}")
    return [every] + [
        Link(_of(batch, outcome), f"{here}?outcome={outcome}", chosen == outcome, f"{number:,}")
        for outcome, number in _numbers(batch).items()
    ]


_TONES = {Outcome.DONE: "completed", Outcome.SKIPPED: "cancelled", Outcome.REFUSED: "failed"}


def _bars(batch: RunnerBatch) -> list[dict[str, Any]]:
    """Stretches of the progress bar, in percent of its width."""
    bars, x = [], 0.0
    for outcome, tone in _TONES.items():
        width = round(100 * _numbers(batch)[outcome] / max(batch.total, 1), 2)
        if width:
            bars.append({"tone": tone, "x": x, "width": width})
        x += width
    return bars


@page(Scope.WRITE, methods=("POST",))
def stop(request: Page, batch_id: UUID) -> HttpResponse:
    """`POST /runners/sessions/batches/{id}/stop`: what is not done yet stays undone."""
    batches.stop(batch_id, by=request.principal)
    to = reverse("batch", args=[batch_id])
    return see_other(to, request=request, flash="Stopped. What was done stays done.")
