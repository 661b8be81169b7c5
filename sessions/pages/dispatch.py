"""/runners/sessions/new: dispatch one, or one like another again."""

from __future__ import annotations

import hashlib
import json
import secrets
import shlex
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from keeptrusts_runners import ids
from keeptrusts_runners.api.idempotency import Attempt
from keeptrusts_runners.api.strict_json import canonical
from keeptrusts_runners.console import panels, typed
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.responses import see_other, without_empty
from keeptrusts_runners.errors import DomainError, IdempotencyKeyReused, MissingScope, NotFound
from keeptrusts_runners.identity.queries import admins
from keeptrusts_runners.identity.scopes import Scope
from profiles import catalog
from profiles import queries as profile_queries
from profiles.models import HarnessStatus, ProfileStatus, RunnerProfile
from sessions import fleet, lifecycle, queries
from sessions.forms import DispatchForm
from sessions.models import RunnerSession, SideEffects
from sessions.serializers import DispatchIn

ROUTE = "POST runners/sessions/new"
REVISIONS_OFFERED = 50
SENT_BEFORE = (
    "This form has dispatched a session already, with other values. "
    "Send it again to dispatch another one."
)


@page(Scope.READ, methods=("GET", "POST"))
def new(request: Page) -> HttpResponse:
    """`GET, POST /runners/sessions/new?profile_id=&from=`; `from` is a session to begin with."""
    _may_dispatch(request)
    if request.method == "POST":
        return _sent(request)
    if cleaned := without_empty(request):
        return cleaned
    origin = _session(request.GET.get("from", ""), request)
    profile = _profile(request, request.GET.get("profile_id", ""), origin)
    if profile is None:
        return _page(request, None, None, origin)
    begun = typed.over(request, _begun(profile, origin))
    form = DispatchForm(initial=begun, revisions=_revisions(profile, request))
    return _page(request, profile, form, origin)


def _may_dispatch(request: Page) -> None:
    """Raises MissingScope, which says whom to ask."""
    if not request.principal.has(Scope.DISPATCH):
        people = ", ".join(admins(request.principal.organization_id)) or "an administrator"
        raise MissingScope(
            f"Dispatching takes a role that you do not have, such as operator. Ask {people}.",
            scope=str(Scope.DISPATCH),
        )


def _session(text: str, request: Page) -> RunnerSession | None:
    """Raises NotFound for what is no session of the organization's."""
    if not text:
        return None
    return queries.detail(_decoded("sess", text), by=request.principal)


def _decoded(prefix: str, text: str) -> UUID:
    try:
        return ids.decode(prefix, text)
    except ValueError:
        raise NotFound from None


def _profile(request: Page, text: str, origin: RunnerSession | None) -> RunnerProfile | None:
    """The one that is named, that of the session to begin with, or the only one there is."""
    if text:
        return catalog.profile(_decoded("prof", text), by=request.principal)
    if origin is not None:
        return catalog.profile(origin.profile_id, by=request.principal)
    only = _choices(request)[:2]
    return catalog.profile(only[0][2], by=request.principal) if len(only) == 1 else None


def _choices(request: Page) -> list[tuple[str, str, UUID]]:
    """The profiles that take dispatches: id as text, name, id."""
    found = RunnerProfile.objects.in_organization(request.principal.organization_id)
    rows = found.exclude(status=ProfileStatus.ARCHIVED).values_list("id", "name")
    named = sorted(rows, key=lambda row: row[1].casefold())
    return [(ids.encode("prof", key), name, key) for key, name in named]


def _revisions(profile: RunnerProfile, request: Page) -> list[tuple[str, str]]:
    """What a dispatch may pin, as choices; "" is what it pins by itself."""
    usable = profile_queries.revisions(profile.id, by=request.principal).filter(
        status=HarnessStatus.ACTIVE
    )
    rows = list(usable[:REVISIONS_OFFERED])
    current = f"Current: {rows[0].version}" if rows else "None published yet"
    return [("", current), *((ids.encode("harn", row.id), f"Pin {row.version}") for row in rows)]


def _begun(profile: RunnerProfile, origin: RunnerSession | None) -> dict[str, Any]:
    begun = {"profile_id": ids.encode("prof", profile.id), "key": secrets.token_hex(16)}
    return begun | _like(origin) if origin else begun


def _like(origin: RunnerSession) -> dict[str, Any]:
    """What another dispatch of it begins with: the current revision, and no start time."""
    same = ("task_id", "priority", "labels", "concurrency_key", "max_attempts")
    also = ("timeout_seconds", "queue_timeout_seconds")
    side_effects = "" if origin.side_effects == SideEffects.IDEMPOTENT else origin.side_effects
    return {name: getattr(origin, name) for name in (*same, *also)} | {
        "again": ids.encode("sess", origin.id),
        "input": origin.input or None,
        "metadata": origin.metadata or None,
        "side_effects": side_effects,
        "concurrency_limit": origin.concurrency_limit if origin.concurrency_key else None,
    }


def _page(
    request: Page,
    profile: RunnerProfile | None,
    form: DispatchForm | None,
    origin: RunnerSession | None,
    status: int = 200,
    **more: Any,
) -> HttpResponse:
    """Only the choice of a profile, while there is no form."""
    sessions = Link("Sessions", reverse("sessions"))
    context = {
        "crumbs": [sessions, Link("Dispatch", "", current=True)],
        "profiles": _choices(request),
        "profile": profile,
        "form": form,
        "origin": origin,
        **more,
    }
    if profile is None:
        context["fleet"] = panels.load(lambda: _fleet(request))
    else:
        context["figures"] = panels.load(lambda: _figures(profile, request))
        context["chosen"] = ids.encode("prof", profile.id)
    return render(request, "runners/sessions/dispatch.html", context, status=status)


def _figures(profile: RunnerProfile, request: Page) -> fleet.ProfileFigures:
    (found,) = fleet.figures(by=request.principal, now=request.now, profile_id=profile.id)
    return found


def _fleet(request: Page) -> list[tuple[str, fleet.ProfileFigures]]:
    """Every profile that takes dispatches, by name, with the address that chooses it."""
    found = fleet.figures(by=request.principal, now=request.now)
    taking = (each for each in found if each.status != ProfileStatus.ARCHIVED)
    named = sorted(taking, key=lambda each: each.name.casefold())
    here = reverse("dispatch")
    return [(f"{here}?profile_id={ids.encode('prof', each.id)}", each) for each in named]


# --- what was sent ---------------------------------------------------------------------------


def _sent(request: Page) -> HttpResponse:
    profile = _profile(request, request.POST.get("profile_id", ""), None)
    if profile is None:
        raise NotFound
    revisions = _revisions(profile, request)
    form = DispatchForm(request.POST, revisions=revisions)
    origin = _session(request.POST.get("again", ""), request)
    fields = form.read(DispatchIn.read)
    if fields is None:
        return _page(request, profile, form, origin, 422)
    if "preview" in request.POST:
        preview = {"curl": _curl(form), "changes": _changes(form, origin, revisions)}
        return _page(request, profile, form, origin, preview=preview)
    try:
        session_id = _dispatched(form, fields, request)
    except IdempotencyKeyReused:
        return _page(request, profile, _another(request, revisions), origin, 409)
    except DomainError as error:
        form.refuse(error)
        return _page(request, profile, form, origin, error.status)
    return see_other(f"/runners/sessions/{session_id}", request=request, flash="Dispatched.")


def _dispatched(form: DispatchForm, fields: dict[str, Any], request: Page) -> str:
    """The session of this form, which is made once however often the form is sent. Raises
    IdempotencyKeyReused, and what the verb raises."""
    attempt = Attempt(request.principal, ROUTE, form.cleaned_data["key"])
    digest = hashlib.sha256(canonical(form.body())).digest()
    attempt.begin(wait=True)
    if kept := attempt.recorded(digest):
        return str(json.loads(kept.content)["id"])
    session = lifecycle.dispatch(fields, by=request.principal)
    text = ids.encode("sess", session.id)
    attempt.record(digest, HttpResponse(canonical({"id": text}), status=201))
    return text


def _another(request: Page, revisions: list[tuple[str, str]]) -> DispatchForm:
    """The same values under a key of their own."""
    data = request.POST.copy()
    data["key"] = secrets.token_hex(16)
    form = DispatchForm(data, revisions=revisions)
    form.add_error(None, SENT_BEFORE)
    return form


def _changes(
    form: DispatchForm, origin: RunnerSession | None, revisions: list[tuple[str, str]]
) -> list[tuple[str, str, str]] | None:
    """Label, now and then, of what differs from the session it began with."""
    if origin is None:
        return None
    then = DispatchForm(initial=_like(origin), revisions=revisions)
    return form.differences(then)


def _curl(form: DispatchForm) -> str:
    """The same dispatch for a shell; the token comes from its environment."""
    body = json.dumps(form.body(), ensure_ascii=False)
    lines = (
        f"curl -X POST {shlex.quote(settings.PUBLIC_URL + '/v1/runners/sessions')}",
        '-H "Authorization: Bearer $TOKEN"',
        "-H 'Content-Type: application/json'",
        f"-H 'Idempotency-Key: {form.cleaned_data['key']}'",
        f"-d {shlex.quote(body)}",
    )
    return " \\\n  ".join(lines)
