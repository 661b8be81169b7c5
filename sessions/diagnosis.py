"""What can truthfully be said of a session from its row: why does it wait, why did it end, when
will it be late. Pure functions of what was read and of the database's clock; they decide
nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from profiles.models import HarnessStatus, ProfileStatus
from sessions.executors import Asking
from sessions.limits import Uses
from sessions.models import RunnerSession
from sessions.states import FAILURES, State

# How many heartbeats may be missed before kt_session_health calls a session late.
LATE_AFTER = 2


def late_after(session: RunnerSession) -> datetime | None:
    """When its heartbeat is late; counted from the claim before there was one."""
    last = session.heartbeat_at or session.dispatched_at
    if last is None or not session.heartbeat_interval_seconds:
        return None
    return last + timedelta(seconds=LATE_AFTER * session.heartbeat_interval_seconds)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a pending session is not claimed: a short word for lists and a sentence for its page.

    `until` is when time alone will change it; `by_executors`: it is for want of one.
    """

    word: str
    sentence: str
    until: datetime | None = None
    blocked: bool = True
    by_executors: bool = False

    @property
    def code(self) -> str:
        """The word as programs read it."""
        return self.word.lower().replace(" ", "_")


def waiting(session: RunnerSession, uses: Uses, asking: Asking, now: datetime) -> Waiting:
    """The first reason that keeps every executor from claiming it. Needs the profile and the
    harness."""
    profile, harness = session.profile, session.harness
    if profile.status == ProfileStatus.PAUSED:
        return Waiting("Profile paused", "Its profile is paused: nothing of it is handed out.")
    if harness is not None and harness.status == HarnessStatus.RECALLED:
        return Waiting(
            "Harness recalled", f"Its harness revision {harness.version} has been recalled."
        )
    if session.not_before and session.not_before > now:
        word = "Backing off" if session.failures else "Not before"
        reason = "It is tried again after a pause." if session.failures else "It is not yet time."
        return Waiting(word, reason, until=session.not_before)
    of_profile, of_key = uses.of_profile(session), uses.of_key(session)
    if of_profile.is_full:
        return Waiting(
            "Limit reached",
            f"Its profile runs {of_profile.live} of at most {of_profile.limit} sessions at once.",
        )
    if of_key.is_full:
        return Waiting(
            "Key limit reached",
            f"With its concurrency key {session.concurrency_key} {of_key.live} of at most "
            f"{of_key.limit} sessions run.",
        )
    return _for_an_executor(session, asking)


def _for_an_executor(session: RunnerSession, asking: Asking) -> Waiting:
    """Nothing blocks it; is there anybody who could take it?"""
    needs = _spelt(session.labels)
    if asking.truncated or asking.offering(session):
        offering = f"that offers {needs}" if needs else "that asks"
        return Waiting(
            "Waiting for an executor",
            f"Nothing blocks it. It goes to the next executor {offering}.",
            blocked=False,
            by_executors=True,
        )
    if not asking.for_profile(session.profile_id):
        return Waiting(
            "No executor",
            "No executor has asked for work of its profile within the last minute.",
            by_executors=True,
        )
    lacking = _spelt(asking.lacking(session))
    return Waiting(
        "Labels not offered",
        f"Executors ask for work of its profile, but none of them offers {lacking}.",
        by_executors=True,
    )


def _spelt(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items())


# One sentence for each reason that the product itself gives; a harness's own codes speak in the
# error beside them.
CAUSES = {
    "queue_timeout": "Nobody claimed it before its time in the queue was over.",
    "timeout": "It ran until its deadline and was ended there.",
    "pause_timeout": "It stayed paused for longer than a session may.",
    "lease_expired": "Its executor went silent: the lease ran out without a heartbeat.",
    "executor_evicted": "Its executor was evicted, which ended the lease.",
    "account_revoked": "The service account of its executor was revoked, which ended the lease.",
    "cancel_forced": "Its executor did not confirm the cancellation in time, so it was ended.",
    "cancel_requested": "Somebody cancelled it.",
    "cancel_acknowledged": "Somebody cancelled it, and its executor confirmed.",
    "failed": "Its executor reported a failure without a code.",
}


def ended_badly(session: RunnerSession) -> bool:
    return session.state in FAILURES


def cause(session: RunnerSession) -> str:
    """Why it is in its state, in one sentence."""
    known = CAUSES.get(session.reason)
    if known:
        return known
    return "Its executor reported a failure." if session.state == State.FAILED else ""


@dataclass(frozen=True, slots=True)
class Cancellation:
    """The way of a cancellation, as far as it has come."""

    cancel_requested_at: datetime | None
    cancel_requested_by: str
    cancel_delivered_at: datetime | None
    force_at: datetime | None
    acknowledged_at: datetime | None
    forced_at: datetime | None


def cancellation(session: RunnerSession) -> Cancellation:
    """What ended it without its lease holder is `forced`; the holder's own word, be it the
    acknowledgement or an outcome, is `acknowledged`; without a lease there was nobody to ask."""
    ended = session.ended_at if session.state == State.CANCELLED else None
    forced = session.reason in _FORCED
    asked = session.cancel_delivered_at is not None or session.reason == "cancel_acknowledged"
    return Cancellation(
        session.cancel_requested_at,
        session.cancel_requested_by,
        session.cancel_delivered_at,
        session.deadline_at if session.state == State.CANCELLING else None,
        ended if asked and not forced else None,
        ended if forced else None,
    )


# How a cancelling session ends without a word of its lease holder.
_FORCED = frozenset({"cancel_forced", "lease_expired", "executor_evicted", "account_revoked"})
