"""/v1/runners/sessions/{id}/retry and /disposition: what persons do about ended sessions."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from keeptrusts_runners.api.examples import Example
from keeptrusts_runners.api.idempotency import idempotent
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.errors import (
    AlreadyDecided,
    Conflict,
    NotLeaseHolder,
    ProfileArchived,
    StateConflict,
)
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries, retries
from sessions.models import Disposition
from sessions.serializers import DecidedOut, DispositionIn, SessionDetailOut, SessionRetryIn


class RetryViewSet(ApiViewSet):
    """Running a task again, and deciding about what was lost."""

    tag = "Sessions"
    scopes: ClassVar = {"retry": Scope.WRITE, "decide": Scope.WRITE}
    inputs: ClassVar = {"retry": SessionRetryIn, "decide": DispositionIn}
    outputs: ClassVar = {"retry": SessionDetailOut, "decide": DecidedOut}
    statuses: ClassVar = {"retry": 201}
    refuses: ClassVar = {
        "retry": (StateConflict, Conflict, NotLeaseHolder, ProfileArchived),
        "decide": (StateConflict, AlreadyDecided, Conflict, NotLeaseHolder, ProfileArchived),
    }
    examples: ClassVar = {
        "decide": (
            Example(
                "The effect was found to be there",
                request={"decision": "accept", "comment": "The transfer is in the books."},
            ),
        )
    }

    @idempotent
    def retry(self, request: Request, session_id: UUID) -> HttpResponse:
        """Run an ended session's task again, as a new session.

        With the same input, labels and limits, and `retry_of`; the newest usable harness revision
        is pinned, or with `same_harness` the one that the ended session had. It starts from the
        beginning, or from the ended session's checkpoint that `checkpoint_id` names, which the
        first claim then hands out.
        """
        made = retries.retry(session_id, by=self.principal, **self.body())
        return self.answer(SessionDetailOut.render(made), 201)

    def decide(self, request: Request, session_id: UUID) -> HttpResponse:
        """Decide about a lost session, whose outcome nobody knows.

        `accept` and `abandon` are recorded in its ledger, as is `retry`, which also dispatches a
        new session (`retry_id`). It needs no attention any more. The same decision again is the
        same answer.
        """
        fields = self.body()
        session = retries.decide(
            session_id,
            Disposition(fields["decision"]),
            by=self.principal,
            comment=fields["comment"],
        )
        retry_id = queries.newest_retry(session_id, by=self.principal)
        session.retry_id = retry_id  # type: ignore[attr-defined]  # part of this answer alone
        return self.answer(DecidedOut.render(session))
