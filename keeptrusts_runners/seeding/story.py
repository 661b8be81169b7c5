"""One session's course, told record by record, with the rows that the verbs would have left.

The records are made by the functions that make them for real sessions; what differs is that here
nothing is locked or asked, and that the clock is the story's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from grants import ledger, receivers
from grants.ledger import Record
from grants.models import Artifact, Decision, PermissionGrant
from keeptrusts_runners import clock, ids
from keeptrusts_runners.identity import principal
from keeptrusts_runners.identity.principal import Principal, PrincipalKind
from keeptrusts_runners.seeding import besides, work
from keeptrusts_runners.seeding.cast import Cast
from keeptrusts_runners.seeding.plan import OPEN, Plan
from sessions import lifecycle, outcomes, transitions
from sessions.models import Checkpoint, DesiredState, RunnerSession, Transition
from sessions.signals import Change, Recorded
from sessions.states import FINAL, LEASED, State, Verb

Told = Iterator[tuple[Record, datetime]]
# Nobody heartbeats for what is seeded as running: its lease lasts for the whole of a demonstration.
OPEN_LEASE = timedelta(days=7)
_RUN = timedelta(days=30)
_DAY = 86400


@dataclass
class Story:
    """`tell` yields the records; once it has ended, the rows are those of the session."""

    cast: Cast
    plan: Plan
    rng: Random
    now: datetime
    session: RunnerSession = field(init=False)
    transitions: list[Transition] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    grants: list[PermissionGrant] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.at, self.seq = self.plan.created_at, 0
        self._left, self._numbered = self.plan.events, self.rng.random() < 0.6
        self.session = self._pending()

    def tell(self) -> Told:
        """The records in order, each with its instant."""
        for record, at in self._told():
            self.seq += 1
            yield record, at

    def id_at(self, at: datetime) -> UUID:
        """An id of that instant, which the seed decides."""
        return ids.at(ledger.microseconds(at) // 1000, self.rng.randbytes(10))

    # --- the rows of the session -------------------------------------------------------------

    def _pending(self) -> RunnerSession:
        place = self.rng.choice(self.cast.places)
        at, task = self.plan.created_at, self.rng.choice(work.TASKS)
        team = self.rng.choice(work.TEAMS)
        session = RunnerSession(
            id=self.id_at(at),
            organization_id=self.cast.organization_id,
            profile=place.profile,
            harness=self.rng.choice(place.harnesses),
            task_id=f"{task}-{at:%Y%m%d}-{self.plan.number}",
            labels={"team": team, "origin": "seed"},
            input={"job": task, "date": f"{at:%Y-%m-%d}"},
            metadata={"ticket": f"OPS-{1000 + self.plan.number}"},
            priority=self.rng.choice((0, 0, 0, 5)),
            dispatched_by=self.cast.dispatcher.actor,
            grant_policy=place.profile.grant_policy,
            grant_policy_version=place.profile.grant_policy_version,
            max_attempts=1 if self.plan.course in ("failed", "lost") else 3,
            backoff_seconds=5,
            queue_timeout_seconds=_DAY,
            timeout_seconds=int(_RUN.total_seconds()),
            created_at=at,
            updated_at=at,
        )
        session.deadline_at = at + timedelta(days=1)
        return session

    def wait(self, most: float) -> datetime:
        """Some time passes, up to so many seconds; until when."""
        self.at += timedelta(seconds=self.rng.uniform(0.05, 1) * most)
        return self.at

    def step(
        self,
        verb: Verb,
        target: State,
        by: Principal,
        *,
        reason: str = "",
        data: dict[str, Any] | None = None,
        kind: str | None = None,
        also: tuple[tuple[str, dict[str, Any]], ...] = (),
        **changes: Any,
    ) -> Told:
        """What transitions.apply does, without a database."""
        session, at = self.session, self.at
        source = None if verb is Verb.DISPATCH else State(session.state)
        session.state, session.reason, session.updated_at = target, reason, at
        session.version += source is not None
        for name, value in changes.items():
            setattr(session, name, value)
        if target not in LEASED:
            session.lease_expires_at = None
        if target in FINAL:
            session.ended_at, session.deadline_at, session.not_before = at, None, None
        change = Change(session, verb, source, target, by, at, reason, data or {}, kind, also)
        if kind is None:
            row = transitions.row_of(change, Recorded(self.seq + 1, at))
            row.id = self.id_at(at)
            self.transitions.append(row)
        yield receivers.record_of(change), at
        for name, more in also:
            yield receivers.also_of(change, name, more), at
        if source in LEASED and target not in LEASED:
            yield from besides.grants_end(self, target, by)

    # --- courses -----------------------------------------------------------------------------

    def _told(self) -> Told:
        session, dispatcher = self.session, self.cast.dispatcher
        data = lifecycle.dispatch_record(session, session.profile, session.harness)
        yield from self.step(Verb.DISPATCH, State.PENDING, dispatcher, data=data)
        match self.plan.course:
            case "pending":
                return
            case "cancelled while waiting":
                self.wait(900)
                yield from self._cancel(State.CANCELLED)
            case "expired":
                self.at = session.created_at + timedelta(days=1, seconds=1)
                yield from self.step(
                    Verb.EXPIRE, State.EXPIRED, self._system(), reason="queue_timeout"
                )
            case "completed after a failure":
                yield from self._attempt(0.4)
                yield from self._fail(State.PENDING)
                yield from self._complete_next()
            case "completed after a lost lease":
                yield from self._attempt(0.4)
                yield from self._lose(State.PENDING)
                yield from self._complete_next()
            case "completed after a pause":
                yield from self._attempt(0.4)
                yield from self._pause()
                yield from self._resume()
                yield from self._complete_next()
            case course:
                yield from self._attempt(1)
                yield from self._ending(course)

    def _ending(self, course: str) -> Told:
        match course:
            case "completed":
                yield from self._complete()
            case "failed":
                yield from self._fail(State.FAILED)
            case "lost":
                yield from self._lose(State.LOST)
            case "paused":
                yield from self._pause()
            case "timed out":
                self.session.run_deadline_at = self.session.deadline_at = self.at
                yield from self.step(
                    Verb.TIME_OUT, State.TIMED_OUT, self._system(), reason="timeout"
                )
            case "cancelled while running":
                yield from self._cancel(State.CANCELLING)
                self.wait(20)
                yield from self.step(
                    Verb.ACKNOWLEDGE, State.CANCELLED, self.executing(),
                    reason="cancel_acknowledged",
                )  # fmt: skip

    def _complete_next(self) -> Told:
        yield from self._attempt(1)
        yield from self._complete()

    def _attempt(self, share: float) -> Told:
        """Claimed, started, and as much of the work as that."""
        self.wait(120)
        yield from self._claim()
        self.wait(5)
        yield from self._start()
        number = round(self._left * share)
        self._left -= number
        seconds = self.plan.seconds * share
        if self.plan.course in OPEN:
            # It goes on until now, or until a little while ago.
            seconds = max(1.0, (self.now - self.at).total_seconds() - self.rng.uniform(60, 300))
        start, end = self.at, self.at + timedelta(seconds=seconds)
        half = start + (end - start) / 2
        by, first = self.executing(), number // 2
        self.said = number
        told = work.said(self.rng, by, number, start, end, self._numbered)
        for _ in range(first):
            yield next(told)
        self.at = half
        yield from besides.of_note(self)
        for record, at in told:
            yield record, max(at, self.at)
        self.at = max(self.at, end)
        if self.plan.course == "running" and self.session.grant_policy and not self.grants:
            yield from besides.requested(self)
        self.session.heartbeat_at = self.at
        self.session.lease_expires_at = self._leased_until()

    def _leased_until(self) -> datetime:
        if self.plan.course == "running":
            return self.now + OPEN_LEASE
        return self.at + timedelta(seconds=self.session.lease_ttl_seconds or 0)

    # --- steps -------------------------------------------------------------------------------

    def _system(self) -> Principal:
        return principal.system(self.cast.organization_id)

    def executing(self) -> Principal:
        """The session token of the present lease."""
        session = self.session
        return Principal(
            PrincipalKind.SESSION, session.id, session.organization_id, frozenset(),
            lease_epoch=session.lease_epoch, account=session.lease_account,
        )  # fmt: skip

    def _claim(self) -> Told:
        runner, session, at = self.rng.choice(self.cast.runners), self.session, self.at
        epoch, ttl = session.lease_epoch + 1, session.profile.lease_ttl_seconds
        expires_at = at + timedelta(seconds=ttl)
        lease = {
            "lease_epoch": epoch,
            "holder": runner.principal.account,
            "executor": runner.introduction,
            "image_digest": session.harness and session.harness.image_digest,
            "ttl_seconds": ttl,
            "expires_at": clock.rfc3339(expires_at),
        }
        yield from self.step(
            Verb.CLAIM, State.DISPATCHED, runner.principal, data={"attempt": epoch},
            also=(("lease.granted", lease),), lease_epoch=epoch,
            lease_account=runner.principal.account, lease_executor=runner.introduction,
            executor_id=runner.executor_id, lease_ttl_seconds=ttl, lease_expires_at=expires_at,
            heartbeat_interval_seconds=session.profile.heartbeat_interval_seconds,
            heartbeat_at=None, dispatched_at=at, deadline_at=session.run_deadline_at,
            not_before=None,
        )  # fmt: skip

    def _start(self) -> Told:
        session, at = self.session, self.at
        deadline = session.run_deadline_at or at + _RUN
        yield from self.step(
            Verb.HEARTBEAT, State.RUNNING, self.executing(), heartbeat_at=at,
            started_at=session.started_at or at, run_deadline_at=deadline, deadline_at=deadline,
        )  # fmt: skip

    def _complete(self) -> Told:
        report: dict[str, Any] = {"result": {"files": self.said, "status": "done"}}
        yield from self._outcome(Verb.COMPLETE, State.COMPLETED, report)

    def _fail(self, target: State) -> Told:
        code, message = self.rng.choice(work.FAILURES)
        report: dict[str, Any] = {"error": {"code": code, "message": message}}
        more: dict[str, Any] = {}
        if target is State.PENDING:
            report["retryable"] = True
            more = {"failures": self.session.failures + 1}
            more |= lifecycle.requeued(
                self.session, self.at, not_before=self.at + timedelta(seconds=5)
            )
        yield from self._outcome(Verb.FAIL, target, report, reason=code, **more)

    def _outcome(
        self, verb: Verb, target: State, report: dict[str, Any], reason: str = "", **more: Any
    ) -> Told:
        if self._numbered:
            report["event_count"] = self.said
        word = "completed" if verb is Verb.COMPLETE else "failed"
        yield from self.step(
            verb, target, self.executing(), reason=reason,
            data={**report, "reported_outcome": word}, reported_outcome=word,
            outcome_epoch=self.session.lease_epoch, result=report.get("result"),
            outcome_digest=outcomes.digest_of(verb, report), error=report.get("error"), **more,
        )  # fmt: skip

    def _lose(self, target: State) -> Told:
        session = self.session
        self.at = (session.lease_expires_at or self.at) + timedelta(seconds=1)
        ended = {
            "lease_epoch": session.lease_epoch,
            "holder": session.lease_account,
            "expired_at": clock.rfc3339(session.lease_expires_at),
            "last_heartbeat_at": clock.rfc3339(session.heartbeat_at),
        }
        more: dict[str, Any] = {"failures": session.failures + 1}
        if target is State.PENDING:
            not_before = self.at + timedelta(seconds=5)
            more |= lifecycle.requeued(session, self.at, not_before=not_before)
        yield from self.step(
            Verb.LOSE, target, self._system(), reason="lease_expired",
            also=(("lease.expired", ended),), **more,
        )  # fmt: skip

    def _pause(self) -> Told:
        data = {"desired_state": "paused", "comment": "The source is being moved."}
        yield from self.step(
            Verb.PAUSE, State.RUNNING, self.cast.operator, reason="pause_requested", data=data,
            desired_state=DesiredState.PAUSED,
        )  # fmt: skip
        self.wait(20)
        yield from self.step(
            Verb.ACKNOWLEDGE, State.PAUSED, self.executing(), reason="paused",
            **lifecycle.put_aside(self.session, self.at),
        )  # fmt: skip

    def _resume(self) -> Told:
        self.wait(1800)
        session = self.session
        session.run_deadline_at = self.at + timedelta(seconds=session.run_seconds_left or 0)
        yield from self.step(
            Verb.RESUME, State.PENDING, self.cast.operator, reason="resumed",
            data={"desired_state": "running", "from_checkpoint": None}, run_seconds_left=None,
            paused_at=None, **lifecycle.requeued(session, self.at),
        )  # fmt: skip

    def _cancel(self, target: State) -> Told:
        more: dict[str, Any] = {}
        if target is State.CANCELLING:
            more = {"deadline_at": self.at + lifecycle.CANCEL_TIMEOUT}
        yield from self.step(
            Verb.CANCEL, target, self.cast.operator, reason="cancel_requested",
            data=lifecycle.why("Superseded by a later run."), cancel_requested_at=self.at,
            desired_state=DesiredState.CANCELLED, cancel_requested_by=self.cast.operator.actor,
            **more,
        )  # fmt: skip
