"""Server-sent events: how they are written, and how a view hands a stream over to the event loop.

A view answers with what there is, which is a whole and finite answer. Where the event loop stands
behind the request it is only the beginning: the view leaves there what is to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from django.http import HttpRequest, HttpResponse

from keeptrusts_runners.api.answers import encode
from keeptrusts_runners.errors import TooManyStreams
from keeptrusts_runners.identity.principal import Principal

MEDIA_TYPE: Final = "text/event-stream"
# The Handover's key in the WSGI environment.
HANDOVER: Final = "keeptrusts.handover"
# Proxies must neither keep nor hold back what is sent.
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_RETRY = b"retry: 2000\n\n"
RETRY_AFTER_SECONDS = 10

HEARTBEAT: Final = b":\n\n"
RESET: Final = b"event: reset\ndata: {}\n\n"


class Bearer(Hashable, Protocol):
    """By what a stream was opened: a token, or a browser's session."""

    def resolve(self) -> Principal:
        """Who it stands for now; call within the organization. Raises NotAuthenticated."""
        ...


@dataclass(frozen=True, slots=True)
class Stream:
    """What a view hands over: whose stream it is. `authorize` raises what a request of a bearer
    who is now this principal would be refused with. Of one `owner` only so many are kept."""

    organization_id: UUID
    bearer: Bearer
    authorize: Callable[[Principal], None]

    @property
    def owner(self) -> Hashable | None:
        return None


@dataclass(slots=True)
class Handover:
    """What the event loop offers with a request, and what the view leaves there."""

    full: bool = False
    stream: Stream | None = None


def message(name: str, data: Mapping[str, Any], seq: int | None = None) -> bytes:
    """One event; JSON has no line breaks, so that its data is one line."""
    number = b"" if seq is None else b"id: %d\n" % seq
    return number + b"event: %s\ndata: %s\n\n" % (name.encode(), encode(data))


def place(seq: int) -> bytes:
    """Moves a client's Last-Event-ID without an event."""
    return b"id: %d\n\n" % seq


def bye(reason: str) -> bytes:
    return message("bye", {"reason": reason})


def hand_over(request: HttpRequest, stream: Stream) -> None:
    """Leave the stream to the event loop, if it stands behind this request. Raises
    TooManyStreams."""
    handover: Handover | None = request.META.get(HANDOVER)
    if handover is None:
        return
    if handover.full:
        raise TooManyStreams(retry_after=RETRY_AFTER_SECONDS)
    handover.stream = stream


def answer(content: bytes) -> HttpResponse:
    return HttpResponse(_RETRY + content, content_type=MEDIA_TYPE, headers=_HEADERS)
