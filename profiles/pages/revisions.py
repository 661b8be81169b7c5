"""/runners/profiles/{id}/revisions: what was published, publishing, and taking out of use."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from keeptrusts_runners.api.filters import check_parameters
from keeptrusts_runners.api.pagination import page as keyset
from keeptrusts_runners.console import typed
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.errors import AlreadyExists, Conflict, Invalid, ProfileArchived
from keeptrusts_runners.identity.queries import actors, spoken
from keeptrusts_runners.identity.scopes import Scope
from profiles import catalog, queries
from profiles.forms import DeprecateForm, RevisionForm
from profiles.models import HarnessRevision, HarnessStatus, ProfileStatus
from profiles.pages.frame import frame
from profiles.serializers import HarnessIn
from sessions import fleet as reads
from sessions.fleet import PINNED_CAP


@page()
def index(request: Page, profile_id: UUID) -> HttpResponse:
    """`GET /runners/profiles/{id}/revisions`, newest first."""
    found = catalog.profile(profile_id, by=request.principal)
    check_parameters(request, {"cursor"})
    newest = reads.with_pinned(queries.revisions(profile_id, by=request.principal))
    rows, older = keyset(newest, request)
    known = actors({each.published_by for each in rows})
    context = {
        **frame(found, request, "Revisions"),
        "revisions": [(each, spoken(each.published_by, known)) for each in rows],
        "pinned_cap": PINNED_CAP,
        "older": older,
        "newer": "" if "cursor" in request.GET else None,
    }
    return render(request, "runners/fleet/revisions.html", context)


@page(Scope.WRITE, methods=("GET", "POST"))
def publish(request: Page, profile_id: UUID) -> HttpResponse:
    """`GET, POST /runners/profiles/{id}/revisions/new`."""
    found = catalog.profile(profile_id, by=request.principal)
    if found.status == ProfileStatus.ARCHIVED:
        raise ProfileArchived
    given = request.POST if request.method == "POST" else None
    form = RevisionForm(given, initial=typed.over(request))
    made = _published(form, profile_id, request) if form.is_bound else None
    if made is not None:
        flash = f"{made.version} is published; dispatches pin it from now on."
        return see_other(reverse("profile", args=[profile_id]), request=request, flash=flash)
    context = {**frame(found, request, "Publish revision"), "form": form}
    context["latest"] = catalog.latest_harness(profile_id, by=request.principal)
    status = 422 if form.errors else 200
    return render(request, "runners/fleet/revision_form.html", context, status=status)


def _published(form: RevisionForm, profile_id: UUID, request: Page) -> HarnessRevision | None:
    """The revision that was published, or None with the reasons in the form."""
    fields = form.read(HarnessIn.read)
    if fields is None:
        return None
    try:
        return catalog.publish_harness(profile_id, fields, by=request.principal)
    except AlreadyExists as error:
        form.add_error("version", error.detail)
    except Invalid as error:
        form.refuse(error)
    return None


@page(Scope.WRITE, methods=("GET", "POST"))
def deprecate(request: Page, profile_id: UUID, harness_id: UUID) -> HttpResponse:
    """`GET, POST /runners/profiles/{id}/harnesses/{id}/deprecate`."""
    found = catalog.profile(profile_id, by=request.principal)
    revision = queries.revision(profile_id, harness_id, by=request.principal)
    if revision.status == HarnessStatus.RECALLED:
        raise Conflict("A recalled harness revision stays recalled.", current_state="recalled")
    given = request.POST if request.method == "POST" else None
    form = DeprecateForm(given, initial=typed.over(request))
    if form.is_valid():
        catalog.deprecate_harness(profile_id, harness_id, by=request.principal, **form.cleaned_data)
        to = reverse("harness", args=[profile_id, harness_id])
        flash = f"{revision.version} is deprecated: no dispatch pins it any more."
        return see_other(to, request=request, flash=flash)
    context = {
        **frame(found, request, "Deprecate"),
        "revision": revision,
        "form": form,
        "next": queries.newest_without(revision),
    }
    status = 422 if form.errors else 200
    return render(request, "runners/fleet/deprecate.html", context, status=status)
