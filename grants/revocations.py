"""Revoking many grants at once: all of an operation, a profile or an executor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

import structlog
from django.db.models import Q, QuerySet

from grants import access, ledger
from grants.ledger import Record
from grants.models import OPEN_GRANT_STATES, PermissionGrant
from keeptrusts_runners import clock
from keeptrusts_runners.errors import PermissionDenied, unknown_reference
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from profiles.models import RunnerProfile
from sessions.executor_models import RunnerExecutor
from sessions.models import RunnerSession

log = structlog.get_logger(__name__)

# How many grants one call ends; asked again, it goes on.
MAX_REVOKED = 100


def revoke_all(
    *,
    by: Principal,
    reason: str,
    operation: str | None = None,
    profile_id: UUID | None = None,
    executor_id: UUID | None = None,
) -> tuple[list[PermissionGrant], bool]:
    """End the organization's open grants and requests that all of these find, at most MAX_REVOKED;
    those that ended, and whether there are more.

    `operation` is a name, or a prefix that ends in `*`. A grant that is asked for meanwhile is not
    among them. Raises PermissionDenied for machines, Invalid for an id that leads nowhere.
    """
    _require_allowed(by, profile_id, executor_id)
    matching = _open(by.organization_id).filter(_all_of(operation, profile_id, executor_id))
    found = list(matching.values_list("session_id", "id")[: MAX_REVOKED + 1])
    ended = _revoke(found[:MAX_REVOKED], reason, by)
    log.warning("grants.revoked", by=by.actor, grants=len(ended), operation=operation)
    return ended, len(found) > MAX_REVOKED


def wanted(
    *,
    by: Principal,
    operation: str | None = None,
    profile_id: UUID | None = None,
    executor_id: UUID | None = None,
) -> list[PermissionGrant]:
    """What revoke_all would end if it came now, with sessions, and one more if it would leave
    some. Raises like it."""
    _require_allowed(by, profile_id, executor_id)
    matching = _open(by.organization_id).filter(_all_of(operation, profile_id, executor_id))
    with_session = matching.select_related("session__profile").prefetch_related("decisions")
    return list(with_session[: MAX_REVOKED + 1])


def _require_allowed(by: Principal, profile_id: UUID | None, executor_id: UUID | None) -> None:
    by.require(Scope.WRITE)
    if not by.is_person:
        raise PermissionDenied("People revoke what others hold; a machine revokes its own.")
    own = {"organization_id": by.organization_id}
    if profile_id and not RunnerProfile.objects.filter(id=profile_id, **own).exists():
        raise unknown_reference("/profile_id")
    if executor_id and not RunnerExecutor.objects.filter(id=executor_id, **own).exists():
        raise unknown_reference("/executor_id")


def _open(organization_id: UUID) -> QuerySet[PermissionGrant]:
    """Served by runner_grant_open, in the order in which sessions are locked."""
    found = PermissionGrant.objects.filter(
        organization_id=organization_id, state__in=OPEN_GRANT_STATES
    )
    return found.order_by("session_id", "id")


def _all_of(operation: str | None, profile_id: UUID | None, executor_id: UUID | None) -> Q:
    wanted = Q()
    if operation is not None:
        is_prefix = operation.endswith("*")
        lookup = "operation__startswith" if is_prefix else "operation"
        wanted &= Q(**{lookup: operation.removesuffix("*")})
    if profile_id is not None:
        wanted &= Q(session__profile_id=profile_id)
    if executor_id is not None:
        wanted &= Q(session__executor_id=executor_id)
    return wanted


def _revoke(
    found: Sequence[tuple[UUID, UUID]], reason: str, by: Principal
) -> list[PermissionGrant]:
    """All sessions are locked before any grant; what has ended meanwhile is left as it ended."""
    locked = RunnerSession.objects.in_organization(by.organization_id).filter(
        id__in={session_id for session_id, _ in found}
    )
    sessions = {each.id: each for each in locked.select_for_update(no_key=True).order_by("id")}
    grants = _open(by.organization_id).filter(id__in=[grant_id for _, grant_id in found])
    now = clock.now()
    ended: list[PermissionGrant] = []
    records: dict[UUID, list[Record]] = defaultdict(list)
    for grant in grants.select_for_update():
        grant.session = sessions[grant.session_id]
        records[grant.session_id].append(access.revoked(grant, grant.session, by, now, reason))
        ended.append(grant)
    if records:
        ledger.append(records)
    return ended
