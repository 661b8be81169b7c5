"""/runners: is the fleet well, and if not, where?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import queries as grant_queries
from grants.queries import ATTENTION_CAP, BROKEN_NAMED, Attention
from keeptrusts_runners import clock, ids
from keeptrusts_runners.api.filters import check_parameters, invalid
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.formats import duration
from keeptrusts_runners.console.responses import is_fragment, without_empty
from keeptrusts_runners.errors import Malformed
from keeptrusts_runners.identity.scopes import Scope
from profiles import queries
from profiles.models import ProfileStatus
from sessions import fleet as reads
from sessions.fleet import PINNED_CAP, SAMPLE, WINDOW, ProfileFigures

PROFILES_SHOWN, REVISIONS_SHOWN, NAMED = 200, 10, 3
BAD_ENDS = "failed,timed_out,expired,lost"
FILTERS = frozenset({"status", "target", "q", "trouble"})
UNATTENDED = "unattended"


@dataclass(frozen=True, slots=True)
class Concern:
    """One line of the attention strip, with the list it is about."""

    text: str
    url: str
    tone: str = "expired"


@dataclass(frozen=True, slots=True)
class Row:
    """A profile with what its row says beside its figures."""

    figures: ProfileFigures

    @property
    def median_wait(self) -> float | None:
        return self.figures.waits[0] if self.figures.waits else None

    @property
    def long_wait(self) -> float | None:
        return self.figures.waits[1] if self.figures.waits else None

    @property
    def bars(self) -> list[tuple[str, str]]:
        return bars(self.figures.hours)

    @property
    def outcomes(self) -> str:
        """The sparkline in words."""
        good, bad = (sum(pair[which] for pair in self.figures.hours) for which in (0, 1))
        newest = f" among the newest {SAMPLE:,}" if self.figures.capped else ""
        return f"{good:,} ok, {bad:,} failed{newest}" if good or bad else "none ended"


BAR_WIDTH, BAR_GAP, BARS_HEIGHT = 3, 1, 20


def bars(hours: Sequence[Sequence[int]]) -> list[tuple[str, str]]:
    """Tone and outline of the good ends and of the bad ones on top of them, a bar each hour; what
    there is at all can be seen."""
    most = max((sum(pair) for pair in hours), default=0)
    drawn = {"completed": "", "failed": ""}
    for number, pair in enumerate(hours):
        below = 0
        for ends, tone in zip(pair, drawn, strict=True):
            if ends:
                height = min(BARS_HEIGHT - below, max(2, round(ends * BARS_HEIGHT / most)))
                left, foot = number * (BAR_WIDTH + BAR_GAP), BARS_HEIGHT - below
                drawn[tone] += f"M{left} {foot}v-{height}h{BAR_WIDTH}v{height}z"
                below += height
    return [(tone, outline) for tone, outline in drawn.items() if outline]


@page()
def fleet(request: Page) -> HttpResponse:
    """`GET /runners?status=&target=&q=`: is the fleet well, and if not, where?"""
    if cleaned := without_empty(request):
        return cleaned
    figures = reads.figures(by=request.principal, now=request.now)
    attention = grant_queries.attention(by=request.principal)
    context = {
        "concerns": _concerns(request, figures, attention),
        "totals": _totals(request, figures),
        "targets": sorted({each.execution_target for each in figures}, key=str.casefold),
        "statuses": [status.value for status in ProfileStatus],
        "trouble": request.GET.get("trouble"),
        "chips": _chips(request),
        "sample": SAMPLE,
        "may_write": request.principal.has(Scope.WRITE),
        **_profiles(request, figures),
    }
    revisions = reads.with_pinned(queries.recent_revisions(by=request.principal))
    context["revisions"] = list(revisions[:REVISIONS_SHOWN])
    context["pinned_cap"] = PINNED_CAP
    name = "_fleet" if is_fragment(request) else "fleet"
    status = 400 if "error" in context else 200
    return render(request, f"runners/fleet/{name}.html", context, status=status)


def _profiles(request: Page, figures: list[ProfileFigures]) -> dict[str, Any]:
    try:
        check_parameters(request, FILTERS)
    except Malformed as error:
        return {"error": error}
    if request.GET.get("trouble", UNATTENDED) != UNATTENDED:
        return {"error": invalid("trouble", f"is {UNATTENDED}.")}
    found = sorted(_matching(request, figures), key=_trouble)
    return {
        "profiles": [Row(each) for each in found[:PROFILES_SHOWN]],
        "left_out": max(0, len(found) - PROFILES_SHOWN),
        "any": bool(figures),
    }


def _matching(request: Page, figures: Iterable[ProfileFigures]) -> list[ProfileFigures]:
    status, target = request.GET.get("status"), request.GET.get("target")
    text = request.GET.get("q", "").strip().casefold()
    return [
        each
        for each in figures
        if status in (None, each.status)
        and target in (None, each.execution_target)
        and (text in each.name.casefold() or text == ids.encode("prof", each.id))
        and ("trouble" not in request.GET or each.left_waiting)
    ]


_CHIPS = {"status": "Status", "target": "Target", "q": "Name", "trouble": "Trouble"}


def _chips(request: Page) -> list[tuple[str, str, str]]:
    """Label, value and parameter of each filter that is set."""
    given = request.GET
    return [(label, given[name], name) for name, label in _CHIPS.items() if name in given]


def _trouble(profile: ProfileFigures) -> tuple[Any, ...]:
    """What is worst comes first, then what is busiest, then by name."""
    bad = profile.lost + profile.silent + profile.unconfirmed
    return (
        -bad,
        not profile.unattended,
        -profile.late,
        -profile.failed,
        -profile.queued,
        -profile.active,
        profile.name.casefold(),
    )


def _since(request: Page) -> str:
    """24 hours ago as the list's filter takes it; to the minute, so that links stay the same."""
    minute = request.now.replace(second=0, microsecond=0)
    return clock.rfc3339(minute - WINDOW) or ""


def _totals(request: Page, figures: list[ProfileFigures]) -> dict[str, Any]:
    oldest = min((p.oldest_queued_at for p in figures if p.oldest_queued_at), default=None)
    failed, capped = sum(p.failed for p in figures), any(p.capped for p in figures)
    return {
        "queued": sum(p.queued for p in figures),
        "active": sum(p.active for p in figures),
        "failed": f"{failed:,}+" if capped else f"{failed:,}",
        "failed_url": sessions_address(
            view="completed", state=BAD_ENDS, ended_after=_since(request)
        ),
        "oldest": oldest,
    }


def sessions_address(**query: str) -> str:
    return f"{reverse('sessions')}?{urlencode(query)}"


# --- what needs attention --------------------------------------------------------------------


def _concerns(request: Page, figures: list[ProfileFigures], attention: Attention) -> list[Concern]:
    return [
        *_broken(attention),
        *_damaged(attention),
        *_silent(figures),
        *_lost(attention),
        *_unattended(figures),
        *_waiting_long(figures),
        *_approvals(request, attention),
        *_unconfirmed(figures),
    ]


def _broken(attention: Attention) -> list[Concern]:
    found = [
        Concern(
            f"Evidence of {ids.encode('sess', each)} is broken",
            reverse("session", args=[each]),
            "failed",
        )
        for each in attention.broken[:BROKEN_NAMED]
    ]
    if rest := attention.broken[BROKEN_NAMED:]:
        url = sessions_address(session_id=",".join(ids.encode("sess", each) for each in rest))
        text = f"Evidence of {_count(len(rest), 'more session')} is broken"
        if unlisted := attention.broken_count - len(attention.broken):
            text += f", and of {unlisted:,} besides"
        found.append(Concern(text, url, "failed"))
    return found


def _damaged(attention: Attention) -> list[Concern]:
    if not attention.damaged:
        return []
    text = f"{_count(attention.damaged, 'artifact')} damaged"
    return [Concern(text, reverse("damaged_artifacts"), "failed")]


def _silent(figures: list[ProfileFigures]) -> list[Concern]:
    found = []
    if silent := sum(p.silent for p in figures):
        text = f"{_count(silent, 'session')} silent: the lease has run out"
        found.append(Concern(text, sessions_address(view="active", health="silent"), "failed"))
    if late := sum(p.late for p in figures):
        url = sessions_address(view="active", health="late")
        found.append(Concern(f"{_count(late, 'heartbeat')} late", url))
    return found


def _lost(attention: Attention) -> list[Concern]:
    if not attention.lost:
        return []
    number = _count(attention.lost, "session", ATTENTION_CAP)
    url = sessions_address(view="attention", attention="lost")
    return [Concern(f"{number} lost, outcome undecided", url, "failed")]


def _unattended(figures: list[ProfileFigures]) -> list[Concern]:
    """Profiles with work that nobody is there for, each by its name as far as there is room."""
    empty = [each for each in figures if each.left_waiting]
    if len(empty) > NAMED:
        text = f"{_count(len(empty), 'profile')} with work queued and no live executor"
        return [Concern(text, f"{reverse('fleet')}?{urlencode({'trouble': UNATTENDED})}")]
    found = []
    for each in empty:
        url = sessions_address(view="queue", profile_id=ids.encode("prof", each.id))
        paused = each.status == ProfileStatus.PAUSED
        why = "is paused" if paused else "has no live executor"
        queued = _count(each.queued, "session")
        found.append(Concern(f"{each.name} {why}, with {queued} queued", url))
    return found


def _waiting_long(figures: list[ProfileFigures]) -> list[Concern]:
    waiting = [each for each in figures if each.waiting_long]
    if not waiting:
        return []
    number = _count(sum(each.waiting_long for each in waiting), "session")
    targets = {each.queue_target_seconds for each in waiting}
    than = _target(*targets) if len(targets) == 1 else "their profiles allow"
    url = sessions_address(view="queue", past_queue_target="true")
    return [Concern(f"{number} queued for longer than {than}", url)]


def _target(seconds: int) -> str:
    return duration(seconds) if seconds % 60 else f"{seconds // 60:,} min"


def _approvals(request: Page, attention: Attention) -> list[Concern]:
    if not attention.oldest_at:
        return []
    age = duration(request.now - attention.oldest_at)
    text = f"{_count(attention.waiting, 'approval')} waiting, the oldest for {age}"
    return [Concern(text, f"{reverse('approvals')}?view=waiting")]


def _unconfirmed(figures: list[ProfileFigures]) -> list[Concern]:
    if not (unconfirmed := sum(p.unconfirmed for p in figures)):
        return []
    text = f"{_count(unconfirmed, 'cancellation')} not confirmed in time"
    return [Concern(text, sessions_address(view="attention", attention="cancel_unconfirmed"))]


def _count(number: int, noun: str, cap: int | None = None) -> str:
    more = "+" if number == cap else ""
    return f"{number:,}{more} {noun}{'' if number == 1 else 's'}"
