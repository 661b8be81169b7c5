"""/v1/runners/sessions/{id}/events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from grants import events, queries
from grants.filters import EventFilters
from grants.models import Event
from grants.serializers import EventIn, EventOut, IngestedOut
from keeptrusts_runners.api import body, strict_json
from keeptrusts_runners.api.examples import Example
from keeptrusts_runners.api.idempotency import idempotent
from keeptrusts_runners.api.lease_epoch import named_epoch
from keeptrusts_runners.api.pagination import list_answer, page
from keeptrusts_runners.api.pointers import pointer
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.errors import (
    ClientIdReused,
    FieldError,
    Invalid,
    LeaseEpochRequired,
    LeaseLost,
    LengthRequired,
    NotLeased,
    NotLeaseHolder,
    field_error,
)
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries as session_queries

NDJSON = "application/x-ndjson"


class EventViewSet(ApiViewSet):
    """The ledger of a session: telemetry, warnings, approvals, failures, state changes."""

    tag = "Events"
    scopes: ClassVar = {"list": Scope.READ, "create": Scope.WRITE}
    session_token_actions: ClassVar = frozenset({"list", "create"})
    inputs: ClassVar = {"create": EventIn}
    outputs: ClassVar = {"list": EventOut, "create": {201: EventOut, 200: IngestedOut}}
    statuses: ClassVar = {"create": (201, 200)}
    filters: ClassVar = {"list": EventFilters}
    parameters: ClassVar = {
        "create": {"Lease-Epoch": {"in": "header", "type": "integer", "minimum": 1}}
    }
    max_body_bytes: ClassVar = {"create": events.MAX_BYTES}
    refuses: ClassVar = {
        "create": (
            NotLeased,
            LeaseLost,
            LeaseEpochRequired,
            NotLeaseHolder,
            ClientIdReused,
            LengthRequired,
        )
    }
    examples: ClassVar = {
        "create": (
            Example(
                "One event",
                request={
                    "kind": "step.started",
                    "step": "collect",
                    "message": "Collecting artifacts",
                },
            ),
            Example(
                "A batch, all or nothing",
                request={"events": [{"kind": "log", "message": "first", "client_id": "a-1"}]},
            ),
        )
    }

    def list(self, request: Request, session_id: UUID) -> HttpResponse:
        """List a session's events by seq; `before_seq` reads backwards from there."""
        session = session_queries.session(session_id, by=self.principal)
        rows = self.filtered(queries.events(session))
        order = ("-seq",) if "before_seq" in request.GET else ("seq",)
        return self.answer(list_answer(*page(rows, request, order=order), EventOut))

    @idempotent
    def create(self, request: Request, session_id: UUID) -> HttpResponse:
        """Record events: one object, `{"events": [...]}`, or NDJSON; at most 1,000 and 5 MiB.

        All or nothing. With a `client_id` on each event a repeat is harmless. One event is
        answered whole, a batch with how many were accepted and where they stand.
        """
        document = self.document()
        if isinstance(document, list) and self._is_ndjson():
            return self._batch(request, session_id, document, {}, "")
        if isinstance(document, Mapping) and "events" in document:
            items = _batch_items(document)
            return self._batch(request, session_id, items, document, "/events")
        return self._one(request, session_id, document)

    def _is_ndjson(self) -> bool:
        return body.content_type(self.request._request) == NDJSON

    def document(self) -> Any:
        """The JSON document, or the list of what stands on the lines of NDJSON."""
        if not self._is_ndjson():
            return super().document()
        # Cut at the end of a line it could not be told from a whole one.
        body.require_length(self.request._request)
        data = body.read(self.request._request, events.MAX_BYTES)
        return strict_json.loads_lines(data, max_bytes=events.MAX_BYTES)

    def _batch(
        self,
        request: Request,
        session_id: UUID,
        items: Sequence[Any],
        document: Mapping[str, Any],
        pointer: str,
    ) -> HttpResponse:
        ingested = events.ingest(
            session_id,
            items,
            by=self.principal,
            lease_epoch=named_epoch(request, _epoch(document)),
            pointer=pointer,
        )
        answer = {
            "accepted": ingested.accepted,
            "duplicates": ingested.duplicates,
            "first_seq": ingested.first_seq,
            "last_seq": ingested.last_seq,
            "desired_state": str(ingested.session.desired_state),
        }
        return self.answer(IngestedOut.render(answer))

    def _one(self, request: Request, session_id: UUID, document: Any) -> HttpResponse:
        if not isinstance(document, Mapping):
            raise field_error("", "not_an_object", "The body must be an event or a batch.")
        epoch = named_epoch(request, _epoch(document))
        item = {name: value for name, value in document.items() if name != "lease_epoch"}
        try:
            ingested = events.ingest(
                session_id, [item], by=self.principal, lease_epoch=epoch, pointer=""
            )
        except Invalid as error:
            raise Invalid(errors=[_without_index(each) for each in error.errors]) from None
        known = Event.objects.filter(session_id=session_id)
        if ingested.places:
            event = known.get(seq=ingested.places[0].seq)
        else:
            event = known.get(client_id=item["client_id"])
        answer = EventOut.render(event)
        answer["desired_state"] = str(ingested.session.desired_state)
        return self.answer(answer, 201)


def _batch_items(document: Mapping[str, Any]) -> list[Any]:
    if unknown := sorted(document.keys() - {"events", "lease_epoch"}):
        raise field_error(pointer(unknown[0]), "unknown_field", "A batch has no such member.")
    if not isinstance(document["events"], list):
        raise field_error("/events", "not_a_list", "This must be a list of events.")
    return document["events"]


def _epoch(document: Mapping[str, Any]) -> dict[str, int]:
    epoch = document.get("lease_epoch")
    if epoch is None:
        return {}
    if not isinstance(epoch, int) or isinstance(epoch, bool) or not 1 <= epoch < 2**53:
        raise field_error("/lease_epoch", "invalid", "This must be an integer from 1.")
    return {"lease_epoch": epoch}


def _without_index(error: FieldError) -> FieldError:
    return FieldError(error.pointer.removeprefix("/0"), error.code, error.detail)
