"""/runners/members: the people of the organization and their roles."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from keeptrusts_runners.api.filters import check_parameters
from keeptrusts_runners.api.pagination import page as keyset
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.errors import AlreadyExists
from keeptrusts_runners.identity import accounts, queries
from keeptrusts_runners.identity.forms import MemberForm, RoleForm, TypedForm
from keeptrusts_runners.identity.models import Membership, User
from keeptrusts_runners.identity.scopes import ROLE_MEANINGS, Role, Scope
from keeptrusts_runners.identity.serializers import MemberIn, RoleIn


@page(Scope.MEMBERS, methods=("GET", "POST"))
def index(request: Page) -> HttpResponse:
    """`GET, POST /runners/members`: who is in, and letting somebody in."""
    form = MemberForm(request.POST if request.method == "POST" else None)
    if form.is_bound and (made := _added(form, request)):
        flash = f"{made.user.email} is a member now, as {made.role}."
        return see_other(reverse("members"), request=request, flash=flash)
    check_parameters(request, {"cursor"})
    rows, older = keyset(queries.members(request.principal.organization_id), request, order=("id",))
    context = {
        "rows": [(row, ROLE_MEANINGS[Role(row.role)]) for row in rows],
        "form": form,
        "older": older,
        "newer": "" if "cursor" in request.GET else None,
    }
    status = 422 if form.errors else 200
    return render(request, "runners/members/list.html", context, status=status)


def _added(form: MemberForm, request: Page) -> Membership | None:
    """The new member, or None with the reasons in the form."""
    fields = form.read(MemberIn.read)
    if fields is None:
        return None
    user = User.objects.filter(email=fields["email"].strip().lower()).first()
    if user is None:
        form.add_error("email", "Nobody here has this address.")
        return None
    try:
        return accounts.add_member(request.principal.organization_id, user, fields["role"])
    except AlreadyExists as error:
        form.add_error("email", error.detail)
        return None


@page(Scope.MEMBERS, methods=("GET", "POST"))
def detail(request: Page, user_id: UUID) -> HttpResponse:
    """`GET, POST /runners/members/{id}`: one member, and their role."""
    member = queries.member(user_id, request.principal.organization_id)
    given = request.POST if request.method == "POST" else None
    form = RoleForm(given, initial={"role": member.role})
    if form.is_bound and (fields := form.read(RoleIn.read)):
        changed = accounts.change_role(member.organization_id, user_id, fields["role"])
        flash = f"{changed.user.email} is {changed.role} from their next request on."
        return see_other(reverse("members"), request=request, flash=flash)
    context = {**_frame(member, request), "form": form}
    status = 422 if form.errors else 200
    return render(request, "runners/members/member.html", context, status=status)


def _frame(member: Membership, request: Page, verb: str = "") -> dict[str, Any]:
    here = reverse("member", args=[member.user_id])
    crumbs = [
        Link("Members", reverse("members")),
        Link(member.user.email, here, current=not verb),
    ]
    if verb:
        crumbs.append(Link(verb, "", current=True))
    return {
        "member": member,
        "crumbs": crumbs,
        "yourself": member.user_id == request.principal.id,
        "last_admin": queries.is_last_admin(member),
    }


@page(Scope.MEMBERS, methods=("GET", "POST"))
def remove(request: Page, user_id: UUID) -> HttpResponse:
    """`GET, POST /runners/members/{id}/remove`, confirmed by typing the address."""
    member = queries.member(user_id, request.principal.organization_id)
    given = request.POST if request.method == "POST" else None
    form = TypedForm(given, wanted=member.user.email)
    if form.is_valid():
        accounts.remove_member(member.organization_id, user_id)
        flash = f"{member.user.email} is no member any more."
        return see_other(reverse("members"), request=request, flash=flash)
    context = {**_frame(member, request, "Remove"), "form": form}
    status = 422 if form.errors else 200
    return render(request, "runners/members/remove.html", context, status=status)
