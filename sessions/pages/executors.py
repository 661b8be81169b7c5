"""/runners/executors: who claims, what they hold, and what operators decide about them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from keeptrusts_runners import ids
from keeptrusts_runners.api.filters import (
    StrictFilterSet,
    TypeIDFilter,
    WordFilter,
    check_parameters,
)
from keeptrusts_runners.api.pagination import page as keyset
from keeptrusts_runners.console import typed
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.responses import is_fragment, see_other, without_empty
from keeptrusts_runners.errors import Malformed
from keeptrusts_runners.identity.queries import Actor, actors, spoken
from keeptrusts_runners.identity.scopes import Scope
from profiles.models import RunnerProfile
from sessions import evictions, executors, queries
from sessions.evictions import MAX_EVICTED
from sessions.executor_models import RunnerExecutor
from sessions.executors import STATUSES, Standing
from sessions.forms import DrainForm, EvictForm

HELD_SHOWN = 50
DRAINING = "draining"


class Filters(StrictFilterSet):
    """What the page's own form asks for."""

    profile_id = TypeIDFilter("prof", method="of_profile")
    state = WordFilter([*STATUSES, DRAINING], method="in_state")

    class Meta:
        model = RunnerExecutor
        fields: list[str] = []

    def of_profile(
        self, found: QuerySet[RunnerExecutor], name: str, value: UUID
    ) -> QuerySet[RunnerExecutor]:
        return executors.that_take(found, value)

    def in_state(
        self, found: QuerySet[RunnerExecutor], name: str, value: str
    ) -> QuerySet[RunnerExecutor]:
        if value == DRAINING:
            return found.filter(draining_at__isnull=False)
        return executors.with_status(found, value)


@page()
def index(request: Page) -> HttpResponse:
    """`GET /runners/executors?profile_id=&state=`, the last seen first."""
    if cleaned := without_empty(request):
        return cleaned
    profiles = _profiles(request)
    context: dict[str, Any] = {
        "states": [*STATUSES, DRAINING],
        "profiles": sorted(profiles.items(), key=lambda choice: choice[1].casefold()),
        "chips": _chips(request, profiles),
    }
    try:
        context |= _list(request, profiles)
    except Malformed as error:
        context["error"] = error
    name = "_list" if is_fragment(request) else "list"
    status = 400 if "error" in context else 200
    return render(request, f"runners/executors/{name}.html", context, status=status)


def _list(request: Page, profiles: dict[str, str]) -> dict[str, Any]:
    check_parameters(request, {*Filters.base_filters, "cursor"})
    found = Filters.apply(request, executors.listed(by=request.principal))
    rows, older = keyset(found, request, order=("-last_seen_at", "-id"))
    known = actors({row.account for row in rows})
    return {
        "rows": [_row(each, known, profiles) for each in executors.standings(rows, request.now)],
        "older": older,
        "newer": "" if "cursor" in request.GET else None,
    }


def _row(standing: Standing, known: dict[str, Actor], profiles: dict[str, str]) -> dict[str, Any]:
    executor = standing.executor
    only = executor.profile_ids
    return {
        "standing": standing,
        "executor": executor,
        "account": spoken(executor.account, known),
        "profiles": None if only is None else [profiles.get(_text(each), "?") for each in only],
    }


def _text(profile_id: UUID) -> str:
    return ids.encode("prof", profile_id)


def _profiles(request: Page) -> dict[str, str]:
    """Name by id, of the organization's profiles."""
    found = RunnerProfile.objects.in_organization(request.principal.organization_id)
    return {_text(key): name for key, name in found.values_list("id", "name")}


def _chips(request: Page, profiles: dict[str, str]) -> list[tuple[str, str, str]]:
    chips = []
    if profile := request.GET.get("profile_id"):
        chips.append(("Profile", profiles.get(profile, profile), "profile_id"))
    if state := request.GET.get("state"):
        chips.append(("State", state, "state"))
    return chips


# --- one of them -----------------------------------------------------------------------------


@page()
def detail(request: Page, executor_id: UUID) -> HttpResponse:
    """`GET /runners/executors/{id}`: what it said of itself, and what it holds."""
    context = _one(request, executor_id)
    held = queries.held_by(executor_id, by=request.principal)
    context["held"] = list(held[:HELD_SHOWN])
    context["list_url"] = (
        f"{reverse('sessions')}?{urlencode({'executor_id': ids.encode('exec', executor_id)})}"
    )
    name = "_detail" if is_fragment(request) else "detail"
    return render(request, f"runners/executors/{name}.html", context)


def _one(request: Page, executor_id: UUID, verb: str = "") -> dict[str, Any]:
    executor = executors.one(executor_id, by=request.principal)
    (standing,) = executors.standings([executor], request.now)
    known = actors({executor.account, executor.draining_by})
    here = reverse("executor", args=[executor_id])
    crumbs = [
        Link("Executors", reverse("executors")),
        Link(executor.name or spoken(executor.account, known), here, not verb),
    ]
    if verb:
        crumbs.append(Link(verb, "", current=True))
    return {
        **_row(standing, known, _profiles(request)),
        "drained_by": spoken(executor.draining_by, known),
        "crumbs": crumbs,
        "may_write": request.principal.has(Scope.WRITE),
        "most": MAX_EVICTED,
    }


@page(Scope.WRITE, methods=("GET", "POST"))
def drain(request: Page, executor_id: UUID) -> HttpResponse:
    """`GET, POST /runners/executors/{id}/drain`: say why, then do it."""
    given = request.POST if request.method == "POST" else None
    form = DrainForm(given, initial=typed.over(request))
    if not form.is_valid():
        return _ask(request, executor_id, "Drain", form)
    evictions.drain(executor_id, by=request.principal, **form.cleaned_data)
    return _back(request, executor_id, "Drained: nothing new is handed to it.")


@page(Scope.WRITE, methods=("POST",))
def undrain(request: Page, executor_id: UUID) -> HttpResponse:
    """`POST /runners/executors/{id}/undrain`."""
    evictions.undrain(executor_id, by=request.principal)
    return _back(request, executor_id, "It may claim again.")


@page(Scope.WRITE, methods=("GET", "POST"))
def evict(request: Page, executor_id: UUID) -> HttpResponse:
    """`GET, POST /runners/executors/{id}/evict`: say why, then do it."""
    given = request.POST if request.method == "POST" else None
    form = EvictForm(given, initial=typed.over(request))
    if not form.is_valid():
        return _ask(request, executor_id, "Evict", form)
    executor = evictions.evict(executor_id, by=request.principal, **form.cleaned_data)
    (left,) = executors.standings([executor])
    more = f" It holds {left.held:,} more: evict it again." if left.held else ""
    return _back(request, executor_id, f"Evicted: its leases have ended.{more}")


def _ask(request: Page, executor_id: UUID, verb: str, form: DrainForm | EvictForm) -> HttpResponse:
    context = {**_one(request, executor_id, verb), "form": form}
    status = 422 if form.errors else 200
    return render(request, f"runners/executors/{verb.lower()}.html", context, status=status)


def _back(request: Page, executor_id: UUID, flash: str) -> HttpResponse:
    return see_other(reverse("executor", args=[executor_id]), request=request, flash=flash)
