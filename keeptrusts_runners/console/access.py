"""Who may open a page: the one decorator on every view of the console.

    @page(Scope.READ)
    def index(request: Page) -> HttpResponse: ...

    @page(Scope.WRITE, methods=("POST",))
    def cancel(request: Page, session_id: str) -> HttpResponse:
        lifecycle.cancel(..., by=request.principal, reason=...)
        return see_other(url, request=request, flash="Session cancelled.")

The view runs in one transaction, inside its organization, with `request.principal`,
`request.organization_name`, `request.preferences` and `request.now` (the database's clock) set;
times are drawn in the zone that the person prefers, or with `utc=True` in UTC whatever that is. A
DomainError that it raises undoes the transaction and becomes a page. Rendering happens inside too,
so lazy querysets work in templates. A streaming answer would outlive the transaction and must not
come from such a view.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, cast

from django.contrib import messages
from django.contrib.auth import get_user
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import SimpleTemplateResponse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.utils.http import urlencode

from keeptrusts_runners.console import navigation, refusals, sign_in, typed
from keeptrusts_runners.console.cost import Cost, counted
from keeptrusts_runners.console.responses import SeeOther, here, is_fragment, to_sign_in
from keeptrusts_runners.console.sign_in import SignInForm
from keeptrusts_runners.errors import NotAuthenticated, PermissionDenied
from keeptrusts_runners.evidence import audit
from keeptrusts_runners.identity import browser
from keeptrusts_runners.identity.models import User
from keeptrusts_runners.identity.preferences import Preferences
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from keeptrusts_runners.identity.tenancy import organization_scope

# A reader waits two seconds at most; then the page says what to narrow.
READ_TIMEOUT = "2s"

View = Callable[..., HttpResponse]


class Page(HttpRequest):
    """The request as a view under `@page` sees it (for annotations)."""

    principal: Principal
    organization_name: str
    person: User
    preferences: Preferences
    now: datetime
    cost: Cost
    # What the header counts, by the addresses of its entries.
    waiting: dict[str, int]


def page(
    scope: Scope = Scope.READ,
    *,
    methods: tuple[str, ...] = ("GET",),
    utc: bool = False,
    atomic: bool = True,
) -> Callable[[View], View]:
    """Signed in, in an organization, holding `scope`; else sign-in, a choice, or a 403 page.

    A view that is not `atomic` calls a verb that opens its own scopes, and leads on from there.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        @refusals.answers_errors(*methods)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            principal = browser.principal_for(request)
            if principal is None:
                return _not_yet(request)
            known = cast(Page, request)
            known.principal = principal
            audit.acting(principal.actor)
            principal.require(scope)
            run = _within if atomic else _outside
            with timezone.override(UTC if utc else known.preferences.timezone):
                return _finish(known, run(known, view, *args, **kwargs))

        return guarded

    return decorate


def _within(request: Page, view: View, *args: Any, **kwargs: Any) -> HttpResponse:
    with counted(request), organization_scope(request.principal.organization_id):
        _begin(request)
        response = view(request, *args, **kwargs)
        if isinstance(response, SimpleTemplateResponse):
            response.render()
    return response


def _outside(request: Page, view: View, *args: Any, **kwargs: Any) -> HttpResponse:
    return view(request, *args, **kwargs)


def _begin(request: Page) -> None:
    """The database's clock, and in the same round trip what the header counts, which no fragment
    shows, and a limit on how long a page may read."""
    counts = {} if is_fragment(request) else navigation.counts(request.principal)
    columns = ["clock_timestamp()", *counts.values()]
    if request.method in ("GET", "HEAD"):
        columns.append(f"set_config('statement_timeout', '{READ_TIMEOUT}', true)")
    with connection.cursor() as cursor:
        given = {"organization": request.principal.organization_id}
        cursor.execute(f"SELECT {', '.join(columns)}", given)
        request.now, *counted = cursor.fetchone()
    request.waiting = dict(zip(counts, counted, strict=False))


def _finish(request: Page, response: HttpResponse) -> HttpResponse:
    """POST leads on with 303; nothing of a signed-in page stays in a shared or disk cache."""
    if request.method == "POST" and response.status_code == HttpResponseRedirect.status_code:
        response = SeeOther(response["Location"])
    response.headers.setdefault("Cache-Control", "private, no-store")
    patch_vary_headers(response, ["Cookie", "HX-Request"])
    return response


def _not_yet(request: HttpRequest) -> HttpResponse:
    """Nobody is signed in, or somebody who has yet to say where they act."""
    if is_fragment(request):
        raise NotAuthenticated("You are signed out.")
    then = here(request)
    if get_user(request).is_authenticated:
        return SeeOther("/choose-organization?" + urlencode({"next": then or ""}))
    if request.method == "POST":
        messages.warning(request, "You were signed out, so nothing was sent. Sign in first.")
        if carried := typed.sealed(request, then):
            return sign_in.ask(request, SignInForm(), then=then, typed=carried, status=401)
    return to_sign_in(request, then)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form without its token: an old tab, cookies switched off, or another site's doing."""
    return refusals.answer(
        request,
        PermissionDenied(
            "This form is out of date or did not come from this site. "
            "Nothing was done: go back, reload the page, and send it again."
        ),
    )
