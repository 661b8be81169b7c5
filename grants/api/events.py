"""/v1/runners/sessions/{id}/events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from grants import events, filters, queries, reading
from grants.api import exports
from grants.filters import EventFilters, SpanFilters
from grants.models import Event
from grants.reading import Span
from grants.serializers import EventIn, EventOut, FacetsOut, HistogramOut, IngestedOut
from keeptrusts_runners.api import body, pagination, strict_json
from keeptrusts_runners.api.answers import JSON, NDJSON, TEXT
from keeptrusts_runners.api.examples import Example
from keeptrusts_runners.api.filters import invalid
from keeptrusts_runners.api.idempotency import idempotent
from keeptrusts_runners.api.lease_epoch import named_epoch
from keeptrusts_runners.api.pagination import list_answer
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

_SEQ = {"type": ["integer", "null"], "minimum": 1}


class EventViewSet(ApiViewSet):
    """The ledger of a session: telemetry, warnings, approvals, failures, state changes."""

    tag = "Events"
    scopes: ClassVar = {
        "list": Scope.READ,
        "create": Scope.WRITE,
        "histogram": Scope.READ,
        "facets": Scope.READ,
    }
    session_token_actions: ClassVar = frozenset({"list", "create", "histogram", "facets"})
    inputs: ClassVar = {"create": EventIn}
    outputs: ClassVar = {
        "list": EventOut,
        "create": {201: EventOut, 200: IngestedOut},
        "histogram": HistogramOut,
        "facets": FacetsOut,
    }
    statuses: ClassVar = {"create": (201, 200)}
    filters: ClassVar = {"list": EventFilters, "facets": SpanFilters}
    media_types: ClassVar = {"list": (JSON, NDJSON, TEXT)}
    page_members: ClassVar = {"list": {"searched_from": _SEQ, "searched_to": _SEQ}}
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

    def list(self, request: Request, session_id: UUID) -> HttpResponseBase:
        """List a session's events by seq; `before_seq` reads backwards from there.

        `kind`, or levels from warning up, are read from an index. Any other filter and `q`, a text
        in kind, step, message or data, look at 10,000 records a request at most: the answer says
        which (`searched_from`, `searched_to`), and `next_cursor` goes on behind them, also where
        nothing was found. With `Accept: application/x-ndjson` or `text/plain` all of what is found
        is streamed in order, without pages.
        """
        session = session_queries.session(session_id, by=self.principal)
        found = self.filtered(queries.events(session))
        span = filters.span(request.GET, queries.head(session).seq)
        if self.media_type != JSON:
            _refuse(request, "limit", "cursor", "q")
            whole = Span(span.after, span.before)
            return exports.export(session_id, found, whole, self.media_type, by=self.principal)
        return self._page(request, found, span)

    def _page(self, request: Request, found: QuerySet[Event], span: Span) -> HttpResponse:
        order = ("-seq",) if span.backwards else ("seq",)
        if (key := pagination.resume(request, order)) is not None:
            span = span.beyond(key[0])
        read = filters.find(request.GET, found, span, pagination.read_limit(request))
        more = not read.left.is_empty
        end = read.looked.last
        answer = list_answer(
            read.rows, pagination.cursor_after([end], request, order) if more else None, EventOut
        )
        return self.answer(answer | exports.searched(read.looked))

    def histogram(self, request: Request, session_id: UUID) -> HttpResponse:
        """Count a session's events over time: at most sixty buckets, by level, kept at ingest."""
        session = session_queries.session(session_id, by=self.principal)
        head = queries.head(session)
        kept = reading.histogram(head)
        answer = {
            "began_at": kept.began_at,
            "bucket_seconds": kept.width_seconds,
            "newest_seq": head.seq,
            "buckets": list(kept.buckets()),
        }
        return self.answer(HistogramOut.render(answer))

    def facets(self, request: Request, session_id: UUID) -> HttpResponse:
        """Count a session's events by level, kind and step.

        Levels are exact. Kinds and steps are counted among the newest 20,000 records, or among
        as many from `after_seq` on or before `before_seq`; the answer says which.
        """
        session = session_queries.session(session_id, by=self.principal)
        self.filtered(queries.events(session))
        head = queries.head(session)
        span = filters.span(request.GET, head.seq)
        from_end = span.backwards or span.after == 0
        looked = Span(span.after, span.before, backwards=from_end).first(reading.FACET_RECORDS)
        found = reading.facets(session, looked)
        counted = {
            name: [{"value": value, "count": count} for value, count in found[name]]
            for name in ("kinds", "steps")
        }
        levels = reading.histogram(head).by_level()
        answer = {"events": head.events, "levels": levels, **counted, **exports.searched(looked)}
        return self.answer(FacetsOut.render(answer))

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
        if ingested.rows:
            event = ingested.first()
        else:
            event = Event.objects.get(session_id=session_id, client_id=item["client_id"])
        answer = EventOut.render(event)
        answer["desired_state"] = str(ingested.session.desired_state)
        return self.answer(answer, 201)


def _refuse(request: Request, *names: str) -> None:
    """Raises InvalidParameter for what an export has no use for."""
    for name in names:
        if name in request.GET:
            raise invalid(name, "is for pages of JSON; an export has none.")


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
