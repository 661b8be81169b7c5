"""What superusers may do in the admin: a verb of the core for some rows, with a reason, on record.

Staff only look. A superuser acts as a person with the one scope that the verb asks for, in the
organization of each row, whose members find it in the session's chain and in the audit log. No
scope lets them approve anything: four eyes are the organization's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

from keeptrusts_runners import ids
from keeptrusts_runners.errors import DomainError, PermissionDenied
from keeptrusts_runners.evidence import audit
from keeptrusts_runners.identity.models import User
from keeptrusts_runners.identity.principal import Principal, PrincipalKind
from keeptrusts_runners.identity.scopes import Scope
from keeptrusts_runners.identity.tenancy import organization_scope

MOST_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Act:
    """A verb on one session. `name` becomes `staff.<name>` on the record, `effect` is what is
    confirmed."""

    name: str
    title: str
    effect: str
    scope: Scope
    verb: Callable[[UUID, Principal, str], object]


def superuser(user: object) -> User:
    """Raises PermissionDenied for everybody else."""
    if not isinstance(user, User) or not (user.is_active and user.is_superuser):
        raise PermissionDenied("Staff look; only superusers act here.")
    return user


def principal(user: object, organization_id: UUID, scope: Scope) -> Principal:
    """A superuser in an organization that they need not belong to."""
    person = superuser(user)
    return Principal(
        PrincipalKind.USER,
        person.id,
        organization_id,
        frozenset({scope}),
        name=person.email,
        account=ids.encode("user", person.id),
        owner_user_id=person.id,
    )


def perform(act: Act, session_id: UUID, organization_id: UUID, user: object, reason: str) -> str:
    """Do it to one session, in a transaction of its own; why it was refused, or nothing."""
    by = principal(user, organization_id, act.scope)
    audit.acting(by.actor)
    subject = ids.encode("sess", session_id)
    entry = audit.Entry(f"staff.{act.name}", subject, by.actor, detail={"reason": reason})
    try:
        with organization_scope(organization_id):
            act.verb(session_id, by, reason)
            audit.record(organization_id, [entry])
    except DomainError as refusal:
        return f"{subject}: {refusal.detail}"
    return ""


def offered(act: Act) -> Any:
    """The act as an action of a list whose keys are those of sessions. Asks for a reason first."""

    def action(page: Any, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase | None:
        superuser(request.user)
        rows = list(queryset.order_by("pk")[: MOST_AT_ONCE + 1])
        if len(rows) > MOST_AT_ONCE:
            messages.error(request, f"Nothing was done: choose at most {MOST_AT_ONCE} at once.")
            return None
        reason = request.POST.get("reason", "").strip()
        if "confirmed" in request.POST and reason:
            _report(request, act, [_one(act, row, request, reason) for row in rows])
            return None
        return _confirmation(page, request, act, rows)

    action.__name__ = action.__qualname__ = act.name
    return admin.action(permissions=["act"], description=act.title)(action)


def _one(act: Act, row: Any, request: HttpRequest, reason: str) -> str:
    return perform(act, row.pk, row.organization_id, request.user, reason)


def _report(request: HttpRequest, act: Act, outcomes: list[str]) -> None:
    refused = [each for each in outcomes if each]
    done = len(outcomes) - len(refused)
    if done:
        messages.success(request, f"{act.title}: {done} done.")
    for each in refused:
        messages.error(request, f"Refused. {each}")


def _confirmation(page: Any, request: HttpRequest, act: Act, rows: list[Any]) -> TemplateResponse:
    missing = "confirmed" in request.POST
    context = {
        **page.admin_site.each_context(request),
        "title": act.title,
        "opts": page.opts,
        "many": page.many,
        "act": act,
        "rows": [(row.pk, ids.encode("sess", row.pk)) for row in rows],
        "error": "Say why: it goes on the record of the organization." if missing else "",
    }
    return TemplateResponse(request, "admin/act.html", context, status=422 if missing else 200)
