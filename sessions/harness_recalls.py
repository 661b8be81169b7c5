"""Recalling a harness revision: it is handed out no more, and what it touched is named.

Lock order: the revision, then each session.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from keeptrusts_runners.errors import StateConflict
from keeptrusts_runners.identity.principal import Principal
from profiles import catalog
from profiles.models import HarnessRevision
from sessions import lifecycle, queries
from sessions.models import RunnerSession

# How many sessions one recall names, and how many it cancels.
MAX_SESSIONS = 200


@dataclass(frozen=True, slots=True)
class Recall:
    """A recalled revision and what it touched, newest first. `truncated` says that it touched
    more than is listed, `open_left` that a repeat would find more to cancel."""

    harness: HarnessRevision
    sessions: list[RunnerSession]
    truncated: bool
    cancelled: int
    open_left: bool


def recall(
    profile_id: UUID,
    harness_id: UUID,
    *,
    by: Principal,
    reason: str,
    cancel_sessions: bool = False,
) -> Recall:
    """Recall the revision and, if wanted, cancel what is still open of it. Repeat it while
    `open_left`. A session that has been asked to end is not asked again."""
    harness = catalog.recall_harness(profile_id, harness_id, by=by, reason=reason)
    cancelled, open_left = 0, False
    if cancel_sessions:
        wanted = list(queries.to_cancel_of_harness(harness.id, by=by)[: MAX_SESSIONS + 1])
        open_left = len(wanted) > MAX_SESSIONS
        for session_id in wanted[:MAX_SESSIONS]:
            cancelled += _cancelled(session_id, by, reason)
    touched = list(queries.of_harness(harness.id, by=by)[: MAX_SESSIONS + 1])
    return Recall(
        harness, touched[:MAX_SESSIONS], len(touched) > MAX_SESSIONS, cancelled, open_left
    )


def _cancelled(session_id: UUID, by: Principal, reason: str) -> bool:
    """Whether there was still something to cancel: it may have ended meanwhile."""
    try:
        lifecycle.cancel(session_id, by=by, reason=reason)
    except StateConflict:
        return False
    return True
