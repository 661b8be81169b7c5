"""/runners/sessions/bulk/…: what is chosen, shown before it is done, and frozen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import queries as grant_queries
from keeptrusts_runners import clock
from keeptrusts_runners.api import filter_bodies
from keeptrusts_runners.api.fields import parse_instant
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.errors import field_error
from keeptrusts_runners.identity.scopes import Scope
from sessions import batches, queries
from sessions.batch_models import BatchVerb
from sessions.batches import Bulk, Preview
from sessions.filters import SessionFilters
from sessions.forms import BulkForm
from sessions.pages import searching

# From how many on the number is typed, how many are shown, and among how many sessions that hold
# grants is looked.
TYPED_BEYOND, SHOWN, HOLDERS = 100, 10, 10_000

_SHAPE = filter_bodies.shape_of(SessionFilters)


@dataclass(frozen=True, slots=True)
class Words:
    """What a page says of its verb."""

    verb: BatchVerb
    option: str
    option_label: str


CANCEL = Words(BatchVerb.CANCEL, "force", "End leases now, without waiting for their executors")
RETRY = Words(
    BatchVerb.RETRY, "same_harness", "With the harness revision that each had, not with the newest"
)


@page(Scope.WRITE, methods=("GET", "POST"))
def cancel(request: Page) -> HttpResponse:
    """`GET, POST /runners/sessions/bulk/cancel`, with the query of a list."""
    return _bulk(request, CANCEL)


@page(Scope.WRITE, methods=("GET", "POST"))
def retry(request: Page) -> HttpResponse:
    """`GET, POST /runners/sessions/bulk/retry`, with the query of a list."""
    return _bulk(request, RETRY)


def _bulk(request: Page, words: Words) -> HttpResponse:
    if request.method == "POST":
        return _send(request, words)
    asked = searching.asked(request)
    if asked.problems or not asked.parameters:
        return see_other(f"{reverse('sessions')}?{request.GET.urlencode()}")
    document = searching.document(asked.parameters)
    bulk = _asked(request, words, document, None, option=False)
    preview = batches.preview(bulk, by=request.principal)
    frozen = {"filter": document, "as_of": clock.rfc3339(preview.as_of)}
    return _ask(request, words, bulk, preview, BulkForm(initial=frozen))


def _send(request: Page, words: Words) -> HttpResponse:
    form = BulkForm(request.POST)
    sent = form.is_valid()
    if {"filter", "as_of"} & form.errors.keys():
        raise field_error("/filter", "invalid", "This form was not made by the page before it.")
    given = form.cleaned_data
    bulk = _asked(request, words, given["filter"], given["as_of"], option=given["option"])
    preview = batches.preview(bulk, by=request.principal)
    if preview.matched > TYPED_BEYOND:
        form.require_typed(preview.matched)
    if not sent or form.errors or preview.capped or not preview.matched:
        return _ask(request, words, bulk, preview, form)
    batch = batches.start(bulk, given["reason"], by=request.principal)
    flash = f"{batch.total:,} session{'' if batch.total == 1 else 's'} chosen."
    return see_other(reverse("batch", args=[batch.id]), request=request, flash=flash)


def _asked(request: Page, words: Words, document: Any, as_of: str | None, *, option: bool) -> Bulk:
    """As the API reads the same filter. Raises Invalid."""
    values = _SHAPE.read(document)
    filter_bodies.require_sense(
        SessionFilters, values, organization_id=request.principal.organization_id, now=request.now
    )
    matching = filter_bodies.narrow(SessionFilters, values, queries.sessions(by=request.principal))
    instant = parse_instant(as_of) if as_of else None
    return Bulk(words.verb, matching, document, {words.option: option}, instant)


def _ask(request: Page, words: Words, bulk: Bulk, preview: Preview, form: BulkForm) -> HttpResponse:
    if preview.matched > TYPED_BEYOND and not form.is_bound:
        form.require_typed(preview.matched)
    form.fields["option"].label = words.option_label
    context = {
        "words": words,
        "crumbs": [
            Link("Sessions", reverse("sessions")),
            Link(f"{words.verb.label} many", "", current=True),
        ],
        "form": form,
        "preview": preview,
        "most": batches.MAX_SESSIONS,
        "chosen": searching.words(bulk.filter),
        "sample": preview.sample[:SHOWN],
        "holding": _holding(request, bulk, preview) if words is CANCEL else 0,
        "typed": preview.matched > TYPED_BEYOND,
        "back": _back(bulk),
    }
    status = 422 if form.is_bound else 200
    return render(request, "runners/sessions/bulk.html", context, status=status)


def _holding(request: Page, bulk: Bulk, preview: Preview) -> int:
    """How many of them hold a grant that is active now: at most HOLDERS sessions hold any."""
    holders = grant_queries.in_force(by=request.principal).order_by().values("session_id")
    chosen = bulk.matching.filter(created_at__lte=preview.as_of)
    return chosen.filter(id__in=holders[:HOLDERS]).count()


def _back(bulk: Bulk) -> str:
    """The list of the same filter."""
    flat = [
        (name, part)
        for name, value in json.loads(json.dumps(bulk.filter)).items()
        for part in _flat(name, value)
    ]
    return f"{reverse('sessions')}?{urlencode(flat, safe=':,')}"


def _flat(name: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{key}:{text}" for key, text in value.items()]
    return [",".join(value) if isinstance(value, list) else str(value)]
