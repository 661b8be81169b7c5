"""Who could do what at an instant, and on whose decision: the grants that were in force then."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Least

from grants.models import PermissionGrant
from sessions.models import Transition
from sessions.states import Verb

# No rule gives more, renewals included, so that whoever was in force began within it.
LONGEST = timedelta(days=7)
ORDER = ("-activated_at", "-id")


def at(organization_id: UUID, instant: datetime) -> QuerySet[PermissionGrant]:
    """The grants that were in force at this instant, with `held_until`, `holder` (the account that
    had claimed the session), their sessions and decisions. To be ordered by ORDER.

    A range of runner_grant_activated of at most LONGEST. By the record alone: what a lapsed lease
    kept from being used before the reaper came is not counted out.
    """
    claim = Transition.objects.filter(
        session_id=OuterRef("session_id"),
        lease_epoch=OuterRef("lease_epoch"),
        verb=Verb.CLAIM,
    )
    return (
        PermissionGrant.objects.filter(
            organization_id=organization_id,
            activated_at__lte=instant,
            activated_at__gt=instant - LONGEST,
        )
        .annotate(held_until=Least("expires_at", "ended_at"))
        .filter(held_until__gt=instant)
        .annotate(holder=Subquery(claim.values("actor")[:1]), profile_id=F("session__profile_id"))
        .prefetch_related("decisions")
    )
