"""/v1/runners/sessions/{id}/events/stream and /v1/runners/events/stream: server-sent events.

The views answer as any other, once and with what there is. Where the event loop stands behind them
their answer is the beginning of a stream, and the stream room goes on with it.
"""

from __future__ import annotations

import re
from typing import ClassVar
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from grants import following, queries, streams
from grants.filters import EventStreamFilters
from grants.streams import OrganizationStream, SessionStream
from keeptrusts_runners.api import event_stream
from keeptrusts_runners.api.filters import invalid
from keeptrusts_runners.api.permissions import demand
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.errors import TooManyStreams
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries as session_queries

_SEQ = re.compile(r"[0-9]{1,16}", re.ASCII)
_MAX_SEQ = 2**53 - 1
_AFTER = {"type": "integer", "minimum": 0, "maximum": _MAX_SEQ}


class StreamViewSet(ApiViewSet):
    """What goes on, as it goes on."""

    tag = "Events"
    scopes: ClassVar = {"events": Scope.READ, "hints": Scope.READ}
    session_token_actions: ClassVar = frozenset({"events"})
    media_types: ClassVar = {
        "events": (event_stream.MEDIA_TYPE,),
        "hints": (event_stream.MEDIA_TYPE,),
    }
    filters: ClassVar = {"events": EventStreamFilters}
    parameters: ClassVar = {
        "events": {
            "after_seq": _AFTER | {"description": "Begin behind this event; 0 by default."},
            "Last-Event-ID": {
                **_AFTER,
                "in": "header",
                "description": "As `after_seq`, over which it wins.",
            },
        }
    }
    refuses: ClassVar = {"events": (TooManyStreams,), "hints": (TooManyStreams,)}

    def events(self, request: Request, session_id: UUID) -> HttpResponse:
        """Follow a session's events as server-sent events: its history, then what comes.

        Each is an `event` whose id is its seq and whose data is what the list of events shows, in
        order, without gap or repeat; a reconnection goes on behind `Last-Event-ID`. With filters
        the id moves on without an event as well. `end` says that the session is final and all of
        its ledger was sent; what is written into the ledger later, such as a note, is not. `bye`
        says why the stream ends before that: `reason` is the code that a new request would be
        refused with, or `stopping`. A server without an event loop answers a part and ends; the
        client then reconnects.
        """
        session = session_queries.session(session_id, by=self.principal)
        found = self.filtered(queries.events(session))
        after = _after(request)
        ahead = following.stretch(found, session_id, after)
        if after > ahead.head:
            raise invalid(_source(request), f"is beyond the ledger, which ends at {ahead.head}.")
        first = streams.batch(ahead, after)
        if first.ends:
            return event_stream.answer(first.content + streams.end(first.reaches))
        stream = SessionStream(
            organization_id=self.organization_id,
            bearer=self.bearer,
            authorize=demand(self),
            session_id=session_id,
            found=found,
            key=(session_id, _filters(request)),
            after=first.reaches,
        )
        event_stream.hand_over(request._request, stream)
        return event_stream.answer(first.content)

    def hints(self, request: Request) -> HttpResponse:
        """Follow what goes on in the organization, as server-sent events.

        A `hint` names a session whose ledger has grown, with its `seq` and `state`; hints of one
        session are coalesced, and there is no order between sessions. They are no record: `reset`,
        which comes first and whenever hints were dropped, says that anything may have changed.
        `bye` as in a session's stream.
        """
        stream = OrganizationStream(self.organization_id, self.bearer, demand(self))
        event_stream.hand_over(request._request, stream)
        return event_stream.answer(event_stream.RESET)


_LAST_EVENT_ID = "Last-Event-ID"


def _source(request: Request) -> str:
    """Which of the two ways to name a place is used. Browsers send no empty header."""
    return _LAST_EVENT_ID if request.headers.get(_LAST_EVENT_ID) else "after_seq"


def _after(request: Request) -> int:
    """The number behind which to begin. Raises InvalidParameter."""
    source = _source(request)
    named = request.headers if source == _LAST_EVENT_ID else request.GET
    text = named.get(source, "0")
    if not _SEQ.fullmatch(text) or int(text) > _MAX_SEQ:
        raise invalid(source, "must be a whole number, as the id of an event is.")
    return int(text)


def _filters(request: Request) -> frozenset[tuple[str, str]]:
    """As they were given."""
    names = request.GET.keys() - {"after_seq"}
    return frozenset((name, request.GET[name]) for name in names)
