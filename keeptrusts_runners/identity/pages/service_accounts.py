"""/runners/service-accounts: the machines of the organization, their roles and secrets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.debug import sensitive_variables

from keeptrusts_runners import ids
from keeptrusts_runners.api.filters import check_parameters
from keeptrusts_runners.api.pagination import page as keyset
from keeptrusts_runners.console import shown_once
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.errors import AlreadyExists, Conflict, Invalid
from keeptrusts_runners.identity import accounts, queries
from keeptrusts_runners.identity.forms import RotateForm, ServiceAccountForm, TypedForm
from keeptrusts_runners.identity.models import ServiceAccount
from keeptrusts_runners.identity.scopes import ROLE_MEANINGS, ROLE_SCOPES, Role, Scope
from keeptrusts_runners.identity.serializers import RotateIn, ServiceAccountIn


@page(Scope.MEMBERS)
def index(request: Page) -> HttpResponse:
    """`GET /runners/service-accounts`, newest first."""
    check_parameters(request, {"cursor"})
    rows, older = keyset(
        queries.service_accounts(request.principal.organization_id), request, order=("-id",)
    )
    newer = "" if "cursor" in request.GET else None
    context = {"rows": rows, "older": older, "newer": newer}
    return render(request, "runners/service_accounts/list.html", context)


@page(Scope.MEMBERS, methods=("GET", "POST"))
def new(request: Page) -> HttpResponse:
    """`GET, POST /runners/service-accounts/new`."""
    owners = [
        (ids.encode("user", each.user_id), each.user.email)
        for each in queries.members(request.principal.organization_id)
    ]
    form = ServiceAccountForm(request.POST if request.method == "POST" else None, owners=owners)
    if form.is_bound and (made := _made(form, request)):
        flash = f"{made.name} is made. Its secret is below, this once."
        return see_other(_address(made), request=request, flash=flash)
    crumbs = [
        Link("Service accounts", reverse("service_accounts")),
        Link("New service account", "", current=True),
    ]
    context = {"form": form, "crumbs": crumbs}
    status = 422 if form.errors else 200
    return render(request, "runners/service_accounts/new.html", context, status=status)


@sensitive_variables("secret")
def _made(form: ServiceAccountForm, request: Page) -> ServiceAccount | None:
    """The new account, its secret kept for its page; or None with the reasons in the form."""
    fields = form.read(ServiceAccountIn.read)
    if fields is None:
        return None
    try:
        made, secret = accounts.create_service_account(
            request.principal.organization_id,
            fields["name"],
            fields["role"],
            owner_id=fields.get("owner_user_id"),
        )
    except AlreadyExists as error:
        form.add_error("name", error.detail)
    except Invalid as error:
        form.refuse(error)
    else:
        shown_once.keep(request, ids.encode("sa", made.id), secret)
        return made
    return None


def _address(account: ServiceAccount) -> str:
    return reverse("service_account", args=[account.id])


@page(Scope.MEMBERS)
@sensitive_variables("context")
def detail(request: Page, account_id: UUID) -> HttpResponse:
    """`GET /runners/service-accounts/{id}`, with a secret that was made just now."""
    account = queries.service_account(account_id, request.principal.organization_id)
    role = Role(account.role)
    context = {
        **_frame(account),
        "secret": shown_once.take(request, ids.encode("sa", account_id)),
        "meaning": ROLE_MEANINGS[role],
        "scopes": sorted(str(scope) for scope in ROLE_SCOPES[role]),
        "form": RotateForm(),
    }
    return render(request, "runners/service_accounts/account.html", context)


def _frame(account: ServiceAccount, verb: str = "") -> dict[str, Any]:
    crumbs = [
        Link("Service accounts", reverse("service_accounts")),
        Link(account.name, _address(account), current=not verb),
    ]
    if verb:
        crumbs.append(Link(verb, "", current=True))
    return {"account": account, "crumbs": crumbs}


@page(Scope.MEMBERS, methods=("POST",))
@sensitive_variables("secret")
def rotate(request: Page, account_id: UUID) -> HttpResponse:
    """`POST /runners/service-accounts/{id}/secrets`: a further secret, and how long the others
    stay good."""
    account = queries.service_account(account_id, request.principal.organization_id)
    if account.revoked_at is not None:
        raise Conflict("A revoked service account has no secrets any more.", state="revoked")
    form = RotateForm(request.POST)
    fields = form.read(RotateIn.read)
    if fields is None:
        raise Invalid("Choose how long the earlier secrets stay good.")
    keep = timedelta(seconds=fields["keep_old_seconds"])
    _, secret = accounts.rotate_secret(account.organization_id, account_id, keep_old_for=keep)
    shown_once.keep(request, ids.encode("sa", account_id), secret)
    flash = "A new secret is below, this once."
    return see_other(_address(account), request=request, flash=flash)


@page(Scope.MEMBERS, methods=("GET", "POST"))
def revoke(request: Page, account_id: UUID) -> HttpResponse:
    """`GET, POST /runners/service-accounts/{id}/revoke`, confirmed by typing the name."""
    account = queries.service_account(account_id, request.principal.organization_id)
    given = request.POST if request.method == "POST" else None
    form = TypedForm(given, wanted=account.name)
    if form.is_valid():
        accounts.revoke_service_account(account.organization_id, account_id)
        flash = f"{account.name} is revoked: its tokens and leases have ended."
        return see_other(_address(account), request=request, flash=flash)
    context = {**_frame(account, "Revoke"), "form": form}
    status = 422 if form.errors else 200
    return render(request, "runners/service_accounts/revoke.html", context, status=status)
