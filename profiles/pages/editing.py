"""/runners/profiles/new and …/{id}/edit: what a profile is, as a form."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from keeptrusts_runners.console import typed
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.errors import AlreadyExists, Invalid, ProfileArchived
from keeptrusts_runners.evidence import queries as evidence_queries
from keeptrusts_runners.identity.scopes import Role, Scope
from profiles import catalog
from profiles.forms import DEFAULTS, ProfileForm, initial
from profiles.models import ProfileStatus, RunnerProfile
from profiles.pages.frame import frame
from profiles.serializers import ProfileIn, columns


def _form(request: Page, *given: Any, **named: Any) -> ProfileForm:
    may_set_policy = request.principal.role is Role.ADMIN
    return ProfileForm(*given, may_set_policy=may_set_policy, **named)


@page(Scope.WRITE, methods=("GET", "POST"))
def new(request: Page) -> HttpResponse:
    """`GET, POST /runners/profiles/new`."""
    if request.method != "POST":
        return _new(request, _form(request, initial=typed.over(request, DEFAULTS)), 200)
    form = _form(request, request.POST)
    fields = form.read(ProfileIn.read)
    if fields is None:
        return _new(request, form, 422)
    try:
        made = catalog.create_profile(columns(fields), by=request.principal)
    except (AlreadyExists, Invalid) as error:
        return _new(request, _refused(form, error), error.status)
    to = reverse("profile", args=[made.id])
    return see_other(to, request=request, flash=f"{made.name} can be dispatched to.")


def _new(request: Page, form: ProfileForm, status: int) -> HttpResponse:
    crumbs = [Link("Fleet", reverse("fleet")), Link("New profile", "", current=True)]
    context = {"form": form, "crumbs": crumbs, "back": reverse("fleet")}
    return render(request, "runners/fleet/profile_form.html", context, status=status)


def _refused(form: ProfileForm, error: AlreadyExists | Invalid) -> ProfileForm:
    if isinstance(error, AlreadyExists):
        form.add_error("name", error.detail)
    else:
        form.refuse(error)
    return form


@page(Scope.WRITE, methods=("GET", "POST"))
def edit(request: Page, profile_id: UUID) -> HttpResponse:
    """`GET, POST /runners/profiles/{id}/edit`; who saves over somebody else's change sees both
    first."""
    if request.method != "POST":
        found = catalog.profile(profile_id, by=request.principal)
        if found.status == ProfileStatus.ARCHIVED:
            raise ProfileArchived
        begun = typed.over(request, initial(found))
        return _edit(request, found, _form(request, initial=begun), 200)
    found = catalog.for_update(profile_id, by=request.principal)
    form = _form(request, request.POST)
    fields = form.read(ProfileIn.read)
    if fields is None:
        return _edit(request, found, form, 422)
    if form.cleaned_data["version"] != found.version:
        return _overtaken(request, found, form)
    try:
        catalog.replace_profile(found, columns(fields), by=request.principal)
    except (AlreadyExists, Invalid) as error:
        return _edit(request, catalog.profile(profile_id, by=request.principal),
                     _refused(form, error), error.status)  # fmt: skip
    to = reverse("profile", args=[found.id])
    return see_other(
        to, request=request, flash=f"{found.name} is saved as version {found.version}."
    )


def _edit(
    request: Page, found: RunnerProfile, form: ProfileForm, status: int, **more: Any
) -> HttpResponse:
    context = {
        **frame(found, request, "Edit"),
        "form": form,
        "back": reverse("profile", args=[found.id]),
        **more,
    }
    return render(request, "runners/fleet/profile_form.html", context, status=status)


def _overtaken(request: Page, found: RunnerProfile, form: ProfileForm) -> HttpResponse:
    """Both values side by side, the typed ones kept; sent again, they replace the other's."""
    differences = form.differences(_form(request, initial=initial(found)))
    data = request.POST.copy()
    data["version"] = str(found.version)
    changer = evidence_queries.last_actor("prof", found.id, by=request.principal)
    return _edit(
        request, found, _form(request, data), 409, differences=differences, changer=changer
    )
