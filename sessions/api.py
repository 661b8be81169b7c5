"""/v1/runners/sessions: dispatch, read, and the lifecycle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from keeptrusts_runners.api import etag
from keeptrusts_runners.api.examples import Example
from keeptrusts_runners.api.idempotency import idempotent
from keeptrusts_runners.api.lease_epoch import named_epoch
from keeptrusts_runners.api.pagination import cursor_after, list_answer, page, resume
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.errors import (
    ClaimIdReused,
    ExecutorDraining,
    LeaseEpochRequired,
    LeaseLost,
    NotClaimable,
    NotLeased,
    NotLeaseHolder,
    OutcomeConflict,
    ProfileArchived,
    StateConflict,
    unknown_reference,
)
from keeptrusts_runners.identity import tokens
from keeptrusts_runners.identity.scopes import Scope
from profiles.models import RunnerProfile
from sessions import amendments, attention, claims, filters, lifecycle, listing, queries
from sessions.claims import ClaimRequest
from sessions.filters import SessionFilters
from sessions.models import RunnerSession
from sessions.serializers import (
    AmendIn,
    AttemptOut,
    CancelIn,
    CheckpointAnswer,
    CheckpointIn,
    CheckpointOut,
    ClaimIn,
    ClaimNextIn,
    ClaimOut,
    ClaimsOut,
    DispatchIn,
    HeartbeatIn,
    HeartbeatOut,
    ReasonIn,
    ResumeIn,
    SessionDetailOut,
    SessionListedOut,
    TransitionOut,
)

_FENCED = (NotLeased, LeaseLost, LeaseEpochRequired, NotLeaseHolder)


def _tag(session: RunnerSession) -> str:
    return etag.strong(session.id, session.version)


class SessionViewSet(ApiViewSet):
    """Runner sessions: dispatched by automation, driven by operators, run by executors."""

    tag = "Sessions"
    scopes: ClassVar = {
        "list": Scope.READ,
        "create": Scope.DISPATCH,
        "retrieve": Scope.READ,
        "amend": Scope.WRITE,
        "claim": Scope.CLAIM,
        "claim_next": Scope.CLAIM,
        "heartbeat": Scope.WRITE,
        "checkpoint": Scope.WRITE,
        "checkpoints": Scope.READ,
        "transitions": Scope.READ,
        "attempts": Scope.READ,
        "pause": Scope.WRITE,
        "resume": Scope.WRITE,
        "cancel": Scope.WRITE,
    }
    session_token_actions: ClassVar = frozenset(
        {"retrieve", "amend", "heartbeat", "checkpoint", "checkpoints", "transitions", "attempts"}
    )
    inputs: ClassVar = {
        "create": DispatchIn,
        "amend": AmendIn,
        "claim": ClaimIn,
        "claim_next": ClaimNextIn,
        "heartbeat": HeartbeatIn,
        "checkpoint": CheckpointIn,
        "pause": ReasonIn,
        "resume": ResumeIn,
        "cancel": CancelIn,
    }
    outputs: ClassVar = {
        "list": SessionListedOut,
        "create": SessionDetailOut,
        "retrieve": SessionDetailOut,
        "amend": SessionDetailOut,
        "claim": ClaimOut,
        "claim_next": {200: ClaimsOut, 204: None},
        "heartbeat": HeartbeatOut,
        "checkpoint": CheckpointAnswer,
        "checkpoints": CheckpointOut,
        "transitions": TransitionOut,
        "attempts": AttemptOut,
        "pause": SessionDetailOut,
        "resume": SessionDetailOut,
        "cancel": SessionDetailOut,
    }
    statuses: ClassVar = {"claim_next": (200, 204), "checkpoint": 201}
    filters: ClassVar = {"list": SessionFilters}
    paginated_actions: ClassVar = frozenset({"list", "checkpoints", "transitions", "attempts"})
    parameters: ClassVar = {
        name: {"Lease-Epoch": {"in": "header", "type": "integer", "minimum": 1}}
        for name in ("amend", "heartbeat", "checkpoint")
    }
    tagged_actions: ClassVar = frozenset({"retrieve", "amend"})
    refuses: ClassVar = {
        "create": (ProfileArchived,),
        "amend": (*_FENCED, StateConflict, OutcomeConflict),
        "claim": (StateConflict, NotClaimable, LeaseLost, ClaimIdReused, ExecutorDraining),
        "claim_next": (LeaseLost, ExecutorDraining),
        "heartbeat": _FENCED,
        "checkpoint": _FENCED,
        "pause": (StateConflict, NotLeaseHolder),
        "resume": (StateConflict, NotLeaseHolder),
        "cancel": (StateConflict, NotLeaseHolder),
    }
    examples: ClassVar = {
        "create": (
            Example(
                "A task for the newest revision of a profile",
                request={
                    "profile_id": "prof_01h455vb4pex5vsknk084sn02q",
                    "task_id": "task_456",
                    "input": {"job": "collect-artifacts"},
                },
            ),
        )
    }

    def list(self, request: Request) -> HttpResponse:
        """List runner sessions, newest first; `view=queue` in the order of claims.

        `health` is `late` after two missed heartbeats and `silent` once the lease has run out;
        `attention` are the reasons why a session needs somebody, each a word of the filter of that
        name, and `view=attention` lists those that have one.

        With `reason`, `label`, `harness_version`, `task_prefix`, `error`, `longer_than_seconds`,
        `shorter_than_seconds` or `past_queue_target` one answer looks at 100,000 sessions at most:
        it may hold few items or none and yet have a `next_cursor`, which goes on from there.
        """
        rows = attention.told(self.filtered(queries.sessions(by=self.principal)))
        order = listing.order_of(request.GET.get("view"))
        if filters.is_unbounded(request.GET):
            found, cursor = self._within_reach(rows, request, order)
        else:
            found, cursor = page(rows, request, order=order)
        return self.answer(list_answer(found, cursor, SessionListedOut))

    def _within_reach(
        self, rows: QuerySet[RunnerSession], request: Request, order: listing.Order
    ) -> tuple[Sequence[RunnerSession], str | None]:
        walked = filters.indexed(request.GET, queries.sessions(by=self.principal))
        if (after := resume(request, order)) is not None:
            walked = walked.filter(listing.behind(order, after))
        end = listing.horizon(walked, order)
        if end is None:
            return page(rows, request, order=order)
        found, cursor = page(rows.filter(listing.up_to(order, end)), request, order=order)
        return found, cursor or cursor_after(end, request, order)

    @idempotent
    def create(self, request: Request) -> HttpResponse:
        """Dispatch a runner session.

        The newest usable harness revision of the profile, or the one named, is pinned by id and
        digest now.
        """
        fields = self.body()
        if traceparent := getattr(request._request, "traceparent", None):
            fields["traceparent"] = str(traceparent)
        session = lifecycle.dispatch(fields, by=self.principal)
        return self.answer(SessionDetailOut.render(session), 201, _tag(session))

    def retrieve(self, request: Request, session_id: UUID) -> HttpResponse:
        """Get one runner session."""
        session = queries.session(session_id, by=self.principal)
        return self.answer(SessionDetailOut.render(session), tag=_tag(session))

    def amend(self, request: Request, session_id: UUID) -> HttpResponse:
        """Update a runner session: its state through the lifecycle, progress, metadata.

        The lease holder ends the session with `completed` or `failed` and acknowledges with
        `paused` or `cancelled`; anybody else pauses, cancels or resumes (`running`) it.
        """
        fields = self.body()
        session = amendments.amend(
            session_id,
            fields,
            by=self.principal,
            lease_epoch=named_epoch(request, fields),
            check=lambda locked: self.require_match(_tag(locked)),
        )
        return self.answer(SessionDetailOut.render(session), tag=_tag(session))

    def claim(self, request: Request, session_id: UUID) -> HttpResponse:
        """Claim a pending session.

        Atomic: of many claims at once exactly one wins. The answer holds the lease, the pinned
        harness, the last checkpoint and the session token that executing code uses.
        """
        claimed = claims.claim(session_id, _claim_request(self.body()), by=self.principal)
        return self.answer(self._claimed(claimed))

    def claim_next(self, request: Request) -> HttpResponse:
        """Claim the next sessions, by priority, then age.

        204 when there are none within `wait_seconds`. A session is handed out only to an executor
        whose `labels` hold all of the session's.
        """
        fields = self.body()
        self._require_profiles(fields.get("profiles", ()))
        found = claims.claim_next(_claim_request(fields), by=self.principal)
        if not found:
            return self.answer(status=204)
        return self.answer({"items": [self._claimed(session) for session in found]})

    def _require_profiles(self, named: Sequence[UUID]) -> None:
        """Raises Invalid for one that is not the organization's: it would wait for ever."""
        if not named:
            return
        known = RunnerProfile.objects.in_organization(self.organization_id).filter(id__in=named)
        missing = set(named) - set(known.values_list("id", flat=True))
        for index, profile_id in enumerate(named):
            if profile_id in missing:
                raise unknown_reference(f"/profiles/{index}")

    def _claimed(self, session: RunnerSession) -> dict[str, Any]:
        token = self._session_token(session)
        session.session_token = token  # type: ignore[attr-defined]  # part of this answer alone
        checkpoint = claims.checkpoint_to_resume_from(session)
        session.checkpoint_to_resume_from = checkpoint  # type: ignore[attr-defined]
        return ClaimOut.render(session)

    def heartbeat(self, request: Request, session_id: UUID) -> HttpResponse:
        """Record liveness: extends the lease, and the first one starts the session.

        The answer says what the session is to become (`desired_state`) and renews the holder's
        token; a person who does it for the holder gets none.
        """
        fields = self.body()
        session = claims.heartbeat(
            session_id,
            by=self.principal,
            lease_epoch=named_epoch(request, fields),
            progress=fields.get("progress"),
        )
        holds = claims.holds(session, self.principal)
        token = self._session_token(session) if holds else None
        session.session_token = token  # type: ignore[attr-defined]  # part of this answer alone
        return self.answer(HeartbeatOut.render(session))

    def _session_token(self, session: RunnerSession) -> str:
        """Its times are those of the lease, which the database's clock has given it."""
        ttl = session.lease_ttl_seconds or 0
        extended_at = session.lease_expires_at and session.lease_expires_at - timedelta(seconds=ttl)
        return tokens.issue_session(
            session.id, self.principal, session.lease_epoch, ttl, extended_at
        )

    @idempotent
    def checkpoint(self, request: Request, session_id: UUID) -> HttpResponse:
        """Record a checkpoint, which the next attempt is handed at its claim."""
        fields = self.body()
        session, made = claims.checkpoint(
            session_id,
            fields["data"],
            by=self.principal,
            label=fields.get("label", ""),
            lease_epoch=named_epoch(request, fields),
        )
        answer = CheckpointOut.render(made) | {"desired_state": str(session.desired_state)}
        return self.answer(answer, 201)

    def checkpoints(self, request: Request, session_id: UUID) -> HttpResponse:
        """List a session's checkpoints, newest first."""
        queries.session(session_id, by=self.principal)
        rows = page(queries.checkpoints(session_id), request, order=("-number",))
        return self.answer(list_answer(*rows, CheckpointOut))

    def transitions(self, request: Request, session_id: UUID) -> HttpResponse:
        """List a session's way through its lifecycle, in order."""
        queries.session(session_id, by=self.principal)
        rows = page(queries.transitions(session_id), request, order=("seq",))
        return self.answer(list_answer(*rows, TransitionOut))

    def attempts(self, request: Request, session_id: UUID) -> HttpResponse:
        """List a session's attempts in order: holder, times, and how each ended."""
        queries.session(session_id, by=self.principal)
        claimed, cursor = page(queries.claims(session_id), request, order=("seq",))
        return self.answer(list_answer(queries.attempts(claimed), cursor, AttemptOut))

    def pause(self, request: Request, session_id: UUID) -> HttpResponse:
        """Pause: at once while pending, else when the runner has acknowledged it."""
        reason = self.body().get("reason", "")
        session = lifecycle.pause(session_id, by=self.principal, reason=reason)
        return self.answer(SessionDetailOut.render(session))

    def resume(self, request: Request, session_id: UUID) -> HttpResponse:
        """Resume a paused session from its last checkpoint, or from the one named."""
        checkpoint_id = self.body().get("checkpoint_id")
        session = lifecycle.resume(session_id, by=self.principal, checkpoint_id=checkpoint_id)
        return self.answer(SessionDetailOut.render(session))

    def cancel(self, request: Request, session_id: UUID) -> HttpResponse:
        """Cancel: at once without a lease; with one the runner has a minute to acknowledge.

        Its grants end now in either case. `force` ends the lease now as well, and is recorded.
        Cancelling again is the same answer.
        """
        session = lifecycle.cancel(session_id, by=self.principal, **self.body())
        return self.answer(SessionDetailOut.render(session))


def _claim_request(fields: dict[str, Any]) -> ClaimRequest:
    executor = fields.get("executor", {})
    return ClaimRequest(
        executor=executor,
        claim_id=fields.get("claim_id", ""),
        image_digest=fields.get("image_digest"),
        lease_ttl_seconds=fields.get("lease_ttl_seconds"),
        profile_ids=tuple(fields.get("profiles", ())),
        labels=fields.get("labels", executor.get("labels", {})),
        max=fields.get("max", 1),
    )
