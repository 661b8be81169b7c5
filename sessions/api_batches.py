"""/v1/runners/sessions/bulk/… and /v1/runners/batches: one verb for many sessions."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from keeptrusts_runners import clock
from keeptrusts_runners.api import etag, filter_bodies
from keeptrusts_runners.api.examples import Example
from keeptrusts_runners.api.idempotency import idempotent
from keeptrusts_runners.api.pagination import list_answer, page
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.errors import Conflict, LimitReached, PermissionDenied
from keeptrusts_runners.identity.scopes import Scope
from profiles.serializers import NothingIn
from sessions import batches, queries
from sessions.batch_models import BatchVerb
from sessions.batch_serializers import (
    BatchItemOut,
    BatchOut,
    BulkCancelIn,
    BulkRetryIn,
    PreviewOut,
)
from sessions.batches import Bulk
from sessions.filters import BatchFilters, BatchItemFilters, SessionFilters

_PREVIEW_OR_BATCH = {200: PreviewOut, 201: BatchOut}


class BatchViewSet(ApiViewSet):
    """Cancelling and retrying many sessions at once, and watching it happen."""

    tag = "Batches"
    scopes: ClassVar = {
        "cancel": Scope.WRITE,
        "retry": Scope.WRITE,
        "list": Scope.READ,
        "retrieve": Scope.READ,
        "items": Scope.READ,
        "stop": Scope.WRITE,
    }
    inputs: ClassVar = {"cancel": BulkCancelIn, "retry": BulkRetryIn, "stop": NothingIn}
    outputs: ClassVar = {
        "cancel": _PREVIEW_OR_BATCH,
        "retry": _PREVIEW_OR_BATCH,
        "list": BatchOut,
        "retrieve": BatchOut,
        "items": BatchItemOut,
        "stop": BatchOut,
    }
    statuses: ClassVar = {"cancel": (200, 201), "retry": (200, 201)}
    filters: ClassVar = {"list": BatchFilters, "items": BatchItemFilters}
    tagged_actions: ClassVar = frozenset({"retrieve"})
    paginated_actions: ClassVar = frozenset({"list", "items"})
    refuses: ClassVar = {
        "cancel": (LimitReached, PermissionDenied),
        "retry": (LimitReached, PermissionDenied),
        "stop": (Conflict, PermissionDenied),
    }
    examples: ClassVar = {
        "cancel": (
            Example(
                "How many would it be?",
                request={
                    "filter": {"state": ["pending"], "label": {"team": "blue"}},
                    "reason": "Dispatched with the wrong input",
                    "dry_run": True,
                },
            ),
        ),
        "retry": (
            Example(
                "What an outage has cost",
                request={
                    "filter": {"state": ["failed", "lost"], "reason": "registry_unreachable"},
                    "reason": "The registry was out of reach",
                },
            ),
        ),
    }

    @idempotent
    def cancel(self, request: Request) -> HttpResponse:
        """Cancel all sessions that a filter finds.

        The filter takes the parameters of the session list as members: lists for words, an object
        for `label`. Of what it finds the open ones are meant, those on their way to an end only
        with `force`. `dry_run` answers how many that is and writes nothing; with its `as_of` the
        same request then acts on no session that was created since. What was chosen is worked off
        within seconds, on behalf of whoever asked, each as by its own cancel.
        """
        return self._bulk(BatchVerb.CANCEL, "force")

    @idempotent
    def retry(self, request: Request) -> HttpResponse:
        """Retry all sessions that a filter finds, each as a new session.

        As for cancel, but the ended ones are meant; of those that completed or were cancelled only
        if the filter's `state` names that. What has been retried is skipped, and what is
        at_most_once and may have had its effect is refused. A lost session is decided on with it.
        """
        return self._bulk(BatchVerb.RETRY, "same_harness")

    def _bulk(self, verb: BatchVerb, option: str) -> HttpResponse:
        fields = self.body()
        asked = Bulk(
            verb,
            self._matching(fields["filter"]),
            self.document()["filter"],
            {option: fields.get(option, False)},
            fields.get("as_of"),
        )
        if fields.get("dry_run"):
            return self.answer(PreviewOut.render(batches.preview(asked, by=self.principal)))
        batch = batches.start(asked, fields["reason"], by=self.principal)
        return self.answer(BatchOut.render(batch), 201)

    def _matching(self, values: dict[str, Any]) -> QuerySet[Any]:
        filter_bodies.require_sense(
            SessionFilters, values, organization_id=self.organization_id, now=clock.now()
        )
        return filter_bodies.narrow(SessionFilters, values, queries.sessions(by=self.principal))

    def list(self, request: Request) -> HttpResponse:
        """List batches, newest first."""
        rows, cursor = page(self.filtered(batches.of_organization(by=self.principal)), request)
        return self.answer(list_answer(batches.with_progress(rows), cursor, BatchOut))

    def retrieve(self, request: Request, batch_id: UUID) -> HttpResponse:
        """Get one batch, with its progress, which its ETag tells too."""
        batch = batches.batch(batch_id, by=self.principal)
        return self.answer(BatchOut.render(batch), tag=etag.strong(batch.id, batch.version))

    def items(self, request: Request, batch_id: UUID) -> HttpResponse:
        """List a batch's sessions, oldest first, and what has come of each."""
        rows = self.filtered(batches.items(batch_id, by=self.principal))
        return self.answer(list_answer(*page(rows, request, order=("session_id",)), BatchItemOut))

    def stop(self, request: Request, batch_id: UUID) -> HttpResponse:
        """Stop a running batch.

        What is still pending is skipped with the code `batch_stopped`; what is done stays done.
        Stopping again is the same answer.
        """
        self.body()
        return self.answer(BatchOut.render(batches.stop(batch_id, by=self.principal)))
