"""/runners/stream: what pages that are open are told, as server-sent events."""

from __future__ import annotations

import re
from collections.abc import Iterable
from uuid import UUID

from django.http import HttpRequest, HttpResponse

from grants.models import LedgerHead
from grants.streams import PageStream
from keeptrusts_runners import ids
from keeptrusts_runners.api import event_stream
from keeptrusts_runners.api.filters import check_parameters, invalid
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.errors import NotFound
from keeptrusts_runners.identity.browser import Cookie
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from sessions import wakeups

_SESSION = "session:"
_MILLISECONDS = re.compile(r"[0-9]{1,15}", re.ASCII)
MAX_SESSIONS = 5


@page()
def stream(request: Page) -> HttpResponse:
    """`GET /runners/stream?topics=sessions,approvals,fleet,session:sess_…`.

    Each `signal` names a topic of which the page may show something else now, with the `version`
    that is also its id, or a session with its `last_seq`: no more than one a second of each. What
    has changed is read from the page, by whoever may read that. `Last-Event-ID` says since when;
    `bye` as in the streams of the API.
    """
    check_parameters(request, {"topics"})
    topics, sessions = _topics(request)
    event_stream.hand_over(
        request,
        PageStream(
            organization_id=request.principal.organization_id,
            bearer=Cookie(request.session.session_key or "", request.principal.organization_id),
            authorize=_may_read,
            user=request.principal.account,
            topics=topics,
            heads=_heads(sessions, request.principal.organization_id),
            since=_since(request),
        ),
    )
    return event_stream.answer(event_stream.HEARTBEAT)


def _may_read(principal: Principal) -> None:
    principal.require(Scope.READ)


def _topics(request: HttpRequest) -> tuple[frozenset[str], list[UUID]]:
    """Topics and sessions. Raises InvalidParameter, and NotFound for what is no session's id."""
    named = set(request.GET.get("topics", "").split(","))
    texts = [word.removeprefix(_SESSION) for word in named if word.startswith(_SESSION)]
    topics = {word for word in named if not word.startswith(_SESSION)}
    if not topics <= {*wakeups.TOPICS} or len(texts) > MAX_SESSIONS:
        taken = ", ".join(wakeups.TOPICS)
        raise invalid(
            "topics", f"is a list of {taken} and of at most {MAX_SESSIONS} session:sess_…"
        )
    try:
        return frozenset(topics), [ids.decode("sess", text) for text in texts]
    except ValueError:
        raise NotFound from None


def _heads(sessions: Iterable[UUID], organization_id: UUID) -> dict[UUID, int]:
    """Raises NotFound when one of them is not of this organization."""
    wanted = set(sessions)
    found = LedgerHead.objects.filter(session_id__in=wanted, organization_id=organization_id)
    heads = dict(found.values_list("session_id", "seq")) if wanted else {}
    if heads.keys() != wanted:
        raise NotFound
    return heads


def _since(request: HttpRequest) -> int | None:
    text = request.headers.get("Last-Event-ID", "")
    return int(text) if _MILLISECONDS.fullmatch(text) else None
