"""What an organization's approvers look at: what waits, what is in force, and what became of it.

Querysets for keyset pages; each says the order in which an index has it.
"""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q, QuerySet

from grants.models import Decision, GrantState, PermissionGrant
from grants.queries import in_force, with_session
from keeptrusts_runners import ids
from keeptrusts_runners.clock import DatabaseNow
from keeptrusts_runners.identity.models import ServiceAccount
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope

# runner_grant_waiting, runner_grant_active, runner_grant_lapsed, runner_grant_decision_newest.
FIRST_TO_LAPSE = ("request_lapses_at", "id")
FIRST_TO_END = ("expires_at", "id")
NEWEST = ("-id",)


def waiting(*, by: Principal) -> QuerySet[PermissionGrant]:
    """All that waits for a decision, by FIRST_TO_LAPSE."""
    return with_session(PermissionGrant.objects.waiting(), by)


def waiting_for(by: Principal) -> QuerySet[PermissionGrant]:
    """Of that, what this person may approve: nothing that they had a part in (as the verb has
    it), have decided on already, or have not the role for."""
    found = waiting(by=by)
    if not by.is_person or not by.has(Scope.APPROVE):
        return found.none()
    own_machines = ServiceAccount.objects.filter(owner_id=by.id).values_list("id", flat=True)
    own = [by.actor, *(ids.encode("sa", account) for account in own_machines)]
    roles = Q(rule__approver_roles__isnull=True) | Q(rule__approver_roles=[])
    return (
        found.exclude(requested_by=by.actor)
        .exclude(requested_owner=by.id, requested_owner__isnull=False)
        .exclude(session__dispatched_by__in=own)
        .exclude(decisions__by=by.id)
        .filter(roles | Q(rule__approver_roles__contains=[str(by.role)]))
    )


def active(*, by: Principal) -> QuerySet[PermissionGrant]:
    """What may be used now, by FIRST_TO_END."""
    return in_force(by=by)


def lapsed(*, by: Principal) -> QuerySet[PermissionGrant]:
    """Requests that nobody decided on in time, also where that is not written down yet, by
    NEWEST."""
    overdue = Q(state=GrantState.REQUESTED, request_lapses_at__lte=DatabaseNow())
    found = PermissionGrant.objects.filter(Q(state=GrantState.LAPSED) | overdue)
    return with_session(found, by)


def decisions(*, by: Principal) -> QuerySet[Decision]:
    """Each person's, with what it was about, by NEWEST."""
    return (
        Decision.objects.filter(organization_id=by.organization_id)
        .select_related("grant__session__profile", "by")
        .defer("grant__session__input", "grant__session__metadata", "grant__session__result")
    )


def revoked_at(instant: datetime, *, by: Principal) -> QuerySet[PermissionGrant]:
    """What was revoked at one instant: what one decision ended. Served by runner_grant_revoked."""
    found = PermissionGrant.objects.filter(state=GrantState.REVOKED, ended_at=instant)
    return with_session(found, by)
