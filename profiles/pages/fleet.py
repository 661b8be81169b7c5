"""/runners: is the fleet well, and if not, where?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import queries as grant_queries
from grants.queries import Waiting
from keeptrusts_runners import clock, ids
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.formats import duration
from keeptrusts_runners.console.responses import is_fragment
from profiles import queries
from profiles.models import ProfileStatus
from sessions import queries as session_queries
from sessions.queries import ProfileFigures

PROFILES_SHOWN, REVISIONS_SHOWN = 200, 10

# Work that nobody has claimed for this long, on a profile where nothing is active.
NOBODY_CLAIMS_AFTER = timedelta(minutes=10)
BAD_ENDS = "failed,timed_out,expired,lost"


@dataclass(frozen=True, slots=True)
class Concern:
    """One line of the attention strip, with the list it is about."""

    text: str
    url: str
    tone: str = "expired"


@page()
def fleet(request: Page) -> HttpResponse:
    """`GET /runners`: is the fleet well, and if not, where?"""
    figures = session_queries.figures(by=request.principal, now=request.now)
    waiting = grant_queries.waiting(by=request.principal)
    revisions = list(queries.recent_revisions(by=request.principal)[:REVISIONS_SHOWN])
    context = {
        "concerns": _concerns(request, figures, waiting),
        "totals": _totals(request, figures),
        "profiles": sorted(figures, key=_trouble)[:PROFILES_SHOWN],
        "left_out": max(0, len(figures) - PROFILES_SHOWN),
        "revisions": revisions,
        "since": _since(request),
    }
    name = "_fleet" if is_fragment(request) else "fleet"
    return render(request, f"runners/fleet/{name}.html", context)


def _trouble(profile: ProfileFigures) -> tuple[Any, ...]:
    """What is worst comes first, then what is busiest, then by name."""
    bad = profile.lost + profile.unconfirmed
    return (-bad, -profile.failed, -profile.queued, -profile.active, profile.name.casefold())


def _since(request: Page) -> str:
    """24 hours ago as the list's filter takes it; to the minute, so that links stay the same."""
    minute = request.now.replace(second=0, microsecond=0)
    return clock.rfc3339(minute - timedelta(hours=24)) or ""


def _totals(request: Page, figures: list[ProfileFigures]) -> dict[str, Any]:
    oldest = min((p.oldest_queued_at for p in figures if p.oldest_queued_at), default=None)
    failed, capped = sum(p.failed for p in figures), any(p.capped for p in figures)
    bad = {"state": BAD_ENDS, "created_after": _since(request)}
    return {
        "queued": sum(p.queued for p in figures),
        "active": sum(p.active for p in figures),
        "failed": f"{failed:,}+" if capped else f"{failed:,}",
        "failed_url": sessions_address(**bad),
        "oldest": oldest,
    }


def sessions_address(**query: str) -> str:
    return f"{reverse('sessions')}?{urlencode(query)}"


def _concerns(request: Page, figures: list[ProfileFigures], waiting: Waiting) -> list[Concern]:
    found = []
    if lost := sum(p.lost for p in figures):
        url = sessions_address(state="lost", created_after=_since(request))
        found.append(Concern(f"{_count(lost, 'session')} lost in the last 24 h", url, "failed"))
    if waiting.count and waiting.oldest_at:
        age = duration(request.now - waiting.oldest_at)
        text = f"{_count(waiting.count, 'approval')} waiting, the oldest for {age}"
        found.append(Concern(text, reverse("approvals")))
    if unconfirmed := sum(p.unconfirmed for p in figures):
        text = f"{_count(unconfirmed, 'cancellation')} not confirmed in time"
        found.append(Concern(text, sessions_address(view="attention", state="cancelling")))
    if damaged := grant_queries.damaged_count(by=request.principal):
        text = f"{_count(damaged, 'artifact')} damaged"
        found.append(Concern(text, reverse("damaged_artifacts"), "failed"))
    found += _unclaimed(request, figures)
    return found


def _unclaimed(request: Page, figures: list[ProfileFigures]) -> list[Concern]:
    """Profiles with work that no executor comes for."""
    before = request.now - NOBODY_CLAIMS_AFTER
    idle = [
        p
        for p in figures
        if p.queued
        and not p.active
        and p.oldest_queued_at
        and p.oldest_queued_at < before
        and (p.last_claim_at is None or p.last_claim_at < before)
    ]
    if len(idle) == 1:
        (only,) = idle
        url = sessions_address(view="queue", profile_id=ids.encode("prof", only.id))
        why = "is paused" if only.status == ProfileStatus.PAUSED else "has no executor"
        return [Concern(f"{only.name} {why}, with {_count(only.queued, 'session')} queued", url)]
    if idle:
        text = f"{_count(len(idle), 'profile')} with work queued and nobody claiming it"
        return [Concern(text, sessions_address(view="queue"))]
    return []


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
